import os
import subprocess
import sys

import pytest

from stylecore import cli
from stylecore.pictures.reading import read_image
from stylecore.pictures.writing import write_image
from stylecore.samples import PAINTING

pytestmark = pytest.mark.slow

QUICK = ["--network", "small", "--size", "64", "--iterations", "4", "--pyramid", "1", "--frame-iterations", "2"]


@pytest.fixture
def folder(tmp_path):
    """A film of four frames, as a folder of pictures."""
    picture = read_image(PAINTING)[0][:48, :80]
    (tmp_path / "in").mkdir()
    for i in range(4):
        write_image(tmp_path / "in" / f"{i}.png", picture[:, i : i + 64])
    return tmp_path


def video(folder, *options):
    return cli.main(["video", str(folder / "in"), str(PAINTING), "-o", str(folder / "out"), *QUICK, *options])


def test_a_film_is_painted(folder, capsys):
    assert video(folder, "--sheet", str(folder / "sheet.png"), "--live", str(folder / "live.png"), "--preview") == 0
    output = capsys.readouterr()
    assert output.out.startswith(f"{folder / 'out'}: 4 frames, 1 shot, in ")
    assert f"film {folder / 'in'}; painting {PAINTING}" in output.err and "frame 1 of 4" in output.err
    assert sorted(os.listdir(folder)) == ["in", "live.png", "out", "out-preview.png", "sheet.png"]
    assert sorted(os.listdir(folder / "out")) == ["0.png", "1.png", "2.png", "3.png"]


def test_options_become_settings(folder, monkeypatch):
    from stylecore import video as package

    given = {}
    monkeypatch.setattr(package, "transfer_video", lambda *arguments, **settings: given.update(settings) or 1 / 0)
    numbers = ["--from", "1.5", "--to", "3", "--every", "2", "--passes", "2", "--long-term", "1", "3"]
    others = ["--temporal-weight", "5", "--flow", "f", "--keep-going", "--colour", "match", "--style-weight", "7"]
    with pytest.raises(ZeroDivisionError):
        video(folder, *numbers, *others)
    expected = {"start": 1.5, "stop": 3, "every": 2, "passes": 2, "long_term": [1, 3], "frame_iterations": 2}
    expected |= {
        "temporal_weight": 5,
        "flow": "f",
        "keep_going": True,
        "colour": "match",
        "style_weight": 7,
        "size": 64,
    }
    assert {name: given[name] for name in expected} == expected


def test_a_preset_is_used(folder, monkeypatch):
    from stylecore import video as package

    given = {}
    monkeypatch.setattr(package, "transfer_video", lambda *arguments, **settings: given.update(settings) or 1 / 0)
    (folder / "p.toml").write_text("[mine]\ndescription = 'x'\nstyle_weight = 3.0\n")
    with pytest.raises(ZeroDivisionError):
        video(folder, "--preset", "mine", "--presets", str(folder / "p.toml"))
    assert given["style_weight"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--every", "0"], "every is 0"),
        (["--passes", "x"], "not a whole number"),
        (["--presets", "x.toml"], "--presets needs --preset"),
        (["--inti", "noise"], "has no option --inti"),
        (["--init", "file.png"], "invalid choice"),
    ],
)
def test_errors_are_one_sentence(folder, capsys, change, message):
    assert video(folder, *change) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("stylecore: error") == 1 and "Traceback" not in error


def test_missing_inputs_are_one_sentence(folder, capsys):
    assert cli.main(["video", "missing.mp4", str(PAINTING), "-o", str(folder / "a.mp4")]) == 2
    assert "missing.mp4 cannot be opened" in capsys.readouterr().err
    assert cli.main(["video", str(folder / "in"), "missing.png", "-o", str(folder / "a.mp4")]) == 2
    assert "missing.png" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_keeps_the_frames_and_the_same_command_goes_on(folder):
    import signal
    import time

    command = [sys.executable, "-m", "stylecore", "video", "in", str(PAINTING), "-o", "out.mkv", *QUICK]
    command[command.index("2")] = "40"
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    painted = folder / "out.mkv.frames" / "painted1"
    deadline = time.monotonic() + 120
    while not (painted.is_dir() and list(painted.glob("*.tif"))):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130 and "the same command continues" in error and "Traceback" not in error
    assert not (folder / "out.mkv").exists()
    assert subprocess.run(command, cwd=folder, timeout=300).returncode == 0
    assert (folder / "out.mkv").exists() and not (folder / "out.mkv.frames").exists()
