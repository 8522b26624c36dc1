"""Runs that are set aside and taken up again."""

import json
import os
import re
import signal
import subprocess
import sys
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

import stylecore
from stylecore import Checkpoint, ImageError, ParameterError, StylecoreError, optimizers, resume, transfer
from stylecore.samples import PAINTING, PHOTOGRAPH

pytestmark = pytest.mark.slow

SETTINGS = {
    "size": 80,
    "iterations": [14, 30],
    "pyramid": [48],
    "init": "noise",
    "content_layers": ["relu2_2"],
    "style_layers": ["relu1_1", "relu2_1"],
}


class Killed(BaseException):
    """Ends a run as abruptly as a test can."""


def kill_at(number):
    """A callback that ends the run at an evaluation."""

    def callback(evaluation, image):
        if evaluation.number == number:
            raise Killed

    return callback


def interrupted(path, at=20, content=PHOTOGRAPH, style=PAINTING, **settings):
    with pytest.raises(Killed):
        transfer(content, style, checkpoint=Checkpoint(path, 0), callback=kill_at(at), **{**SETTINGS, **settings})


def refused(error, words):
    return pytest.raises(error, match=rf"^(?!.*\.\s)(?!.*\n).*{words}.*\.$")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.ckpt"


KILLED = """
import os, signal, sys
from stylecore import Checkpoint, optimizers, transfer
from stylecore.samples import PAINTING, PHOTOGRAPH

optimizers.MOST_PAIRS = int(sys.argv[4])

def kill(evaluation, image):
    if evaluation.number == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

transfer(PHOTOGRAPH, PAINTING, checkpoint=Checkpoint(sys.argv[1], 0), callback=kill, **eval(sys.argv[3]))
"""


PAIRS = 12


# In the first iteration, within the small scale, at its end, at the start of the large one, and beyond a full set of
# pairs there.
@pytest.mark.parametrize(("optimizer", "evaluations"), [("lbfgs", (2, 9, 14, 15, 42)), ("adam", (9, 20))])
def test_a_killed_run_ends_with_the_same_bits(optimizer, evaluations, path, monkeypatch):
    monkeypatch.setattr(optimizers, "MOST_PAIRS", PAIRS)
    settings = {**SETTINGS, "optimizer": optimizer}
    whole = transfer(PHOTOGRAPH, PAINTING, **settings)
    for evaluation in evaluations:
        command = [sys.executable, "-c", KILLED, str(path), str(evaluation), repr(settings), str(PAIRS)]
        assert subprocess.run(command).returncode == -signal.SIGKILL
        reached = []
        result = resume(path, callback=lambda evaluation, image, reached=reached: reached.append(evaluation.number))
        # It goes on where it was, and does not begin anew.
        assert reached[0] in range(evaluation - 3, evaluation + 1) and reached[-1] == 44
        np.testing.assert_array_equal(result.array, whole.array)
        assert [e[:4] for e in result.history] == [e[:4] for e in whole.history]
        assert result.settings == whole.settings
        assert all(a.seconds <= b.seconds for a, b in zip(result.history, result.history[1:], strict=False))
        path.unlink()


def test_the_same_call_goes_on(path):
    whole = transfer(PHOTOGRAPH, PAINTING, **SETTINGS)
    interrupted(path, 20)
    interrupted(path, 31)
    again = transfer(PHOTOGRAPH, PAINTING, checkpoint=path, **SETTINGS)
    np.testing.assert_array_equal(again.array, whole.array)


def test_a_finished_run_is_kept(path):
    whole = transfer(PHOTOGRAPH, PAINTING, checkpoint=path, **SETTINGS)
    evaluations = []
    again = resume(path, callback=lambda evaluation, image: evaluations.append(evaluation))
    assert evaluations == []
    np.testing.assert_array_equal(again.array, whole.array)


def test_pictures_in_memory_are_kept_in_the_file(path):
    rng = np.random.default_rng(0)
    content = Image.fromarray(rng.integers(0, 256, (40, 50, 4), np.uint8))
    settings = {"style": rng.random((60, 50, 3)), "init": rng.random((30, 40, 3), np.float32), "averaging": 0.5}
    settings["layer_weights"] = {"relu2_2": 1, "relu1_1": np.float32(0.1), "relu2_1": 0.3}
    whole = transfer(content, **{**SETTINGS, **settings})
    interrupted(path, content=content, **settings)
    result = resume(path)
    np.testing.assert_array_equal(result.array, whole.array)
    np.testing.assert_allclose(result.alpha, whole.alpha, rtol=0, atol=1e-6)


def test_styles_and_masks_are_kept_too(path, tmp_path):
    Image.fromarray(np.uint8(np.arange(96) < 40) * np.full((72, 1), 255, np.uint8)).save(tmp_path / "left.png")
    left = str(tmp_path / "left.png")
    right = (np.arange(96) >= 40) * np.ones((72, 1), bool)
    settings = {"style": [PAINTING, PHOTOGRAPH], "content": np.random.default_rng(0).random((72, 96, 3))}
    settings["regions"] = [(left, "all", "none"), ("not:" + left, "none", "all"), (right, "all", None)]
    settings["style_layers"] = {"relu1_1": 1, "relu2_1": 0.5}
    whole = transfer(**{**SETTINGS, **settings})
    interrupted(path, **settings)
    np.testing.assert_array_equal(resume(path).array, whole.array)


def test_words_are_no_files(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for word in ("content", "all", "vgg19"):
        (tmp_path / word).write_text("something else")
    interrupted(path, regions=[("all", "all")])
    resume(path)


def test_writing_waits_its_turn(path):
    written = []

    def callback(evaluation, image):
        written.append(os.stat(path).st_mtime_ns if path.exists() else None)

    transfer(PHOTOGRAPH, PAINTING, checkpoint=Checkpoint(path, 3600), callback=callback, **SETTINGS)
    # After the first iteration, and then at the end of each scale only.
    assert written[:2] == [None, written[2]] and written[1:14] == 13 * [written[1]]
    assert written[14:] == 30 * [written[14]] and written[14] > written[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 81}, "run with size 80 instead of 81; delete it"),
        ({"seed": 3}, "run with seed 0 instead of 3"),
        ({"style": PHOTOGRAPH}, "run with another style"),
        ({"init": np.zeros((5, 5, 3))}, "run with another init"),
        ({"style_layers": ["relu1_1"]}, r"style_layers \['relu1_1', 'relu2_1'\] instead of \['relu1_1'\]"),
    ],
)
def test_a_checkpoint_of_another_run(change, words, path):
    interrupted(path)
    before = path.read_bytes()
    with refused(ParameterError, words):
        transfer(**{"content": PHOTOGRAPH, "style": PAINTING, **SETTINGS, **change}, checkpoint=path)
    assert path.read_bytes() == before


def test_a_picture_that_has_changed(path, tmp_path):
    content = tmp_path / "content.png"
    Image.new("RGB", (40, 30), "red").save(content)
    interrupted(path, content=content)
    Image.new("RGB", (40, 30), "blue").save(content)
    with refused(ParameterError, r"content\.png has changed since .*run\.ckpt was written"):
        resume(path)
    path.unlink()
    interrupted(path, style=[PAINTING, str(content)])
    Image.new("RGB", (40, 30), "red").save(content)
    with refused(ParameterError, r"content\.png has changed since .*run\.ckpt was written"):
        resume(path)
    content.unlink()
    with refused(ImageError, r"content\.png, which .*run\.ckpt goes on from, is no longer there"):
        resume(path)


def test_files_that_are_no_checkpoint(path):
    with refused(StylecoreError, "is not a file; name the checkpoint"):
        resume(path)
    path.write_bytes(b"something else, which is to be kept")
    for attempt in (lambda: resume(path), lambda: transfer(PHOTOGRAPH, PAINTING, checkpoint=path, **SETTINGS)):
        with refused(StylecoreError, "is damaged, incomplete or no checkpoint"):
            attempt()
    assert path.read_bytes() == b"something else, which is to be kept"
    path.unlink()
    with ZipFile(path, "w") as archive:
        archive.writestr("run.json", json.dumps({"format": "something else"}))
    with refused(StylecoreError, "is not a checkpoint of stylecore's"):
        resume(path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint(part, path):
    interrupted(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with refused(StylecoreError, "is damaged, incomplete"):
        resume(path)


def test_a_damaged_checkpoint(path):
    interrupted(path)
    with ZipFile(path) as archive:
        row = archive.getinfo("state/rows/1.npy")
    damaged = bytearray(path.read_bytes())
    damaged[row.header_offset + row.compress_size // 2] ^= 1
    path.write_bytes(damaged)
    with refused(StylecoreError, "is damaged, incomplete"):
        resume(path)


@pytest.mark.parametrize(("name", "value"), [("stylecore", "0.0.1"), ("format_version", 99)])
def test_a_checkpoint_of_another_version(name, value, path):
    interrupted(path)
    with ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    entries["run.json"] = json.dumps({**json.loads(entries["run.json"]), name: value})
    with ZipFile(path, "w") as archive:
        for entry, content in entries.items():
            archive.writestr(entry, content)
    with refused(StylecoreError, f"was written by stylecore .* and this is {re.escape(stylecore.__version__)}"):
        resume(path)


def test_what_cannot_be_written_down(path):
    with refused(ParameterError, 'optimizer "scipy" cannot be resumed'):
        transfer(PHOTOGRAPH, PAINTING, optimizer="scipy", checkpoint=path, **SETTINGS)
    network = stylecore.network.load_network("vgg19")
    with refused(ParameterError, "network is a Network, which a checkpoint cannot hold"):
        transfer(PHOTOGRAPH, PAINTING, network=network, checkpoint=path, **SETTINGS)
    with refused(StylecoreError, "no checkpoint can be written to .*nowhere"):
        transfer(PHOTOGRAPH, PAINTING, checkpoint=path.parent / "nowhere" / "run.ckpt", **SETTINGS)
    for every in (-1, float("nan"), "often", None):
        with refused(ParameterError, "checkpoint_every is"):
            Checkpoint(path, every)
    assert not path.exists()


FULL = """
import resource, sys
import numpy as np
import stylecore

# A limit of the size of files stands in for a full disk.
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
try:
    stylecore.resume(sys.argv[1])
except stylecore.StylecoreError as error:
    print(error)
"""


def test_the_state_stays_when_a_new_one_cannot_be_written(path):
    interrupted(path)
    before = path.read_bytes()
    process = subprocess.run([sys.executable, "-c", FULL, path], capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout == f"the checkpoint {path} cannot be written: File too large.\n"
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["run.ckpt"]


# On the command line

STYLECORE = [sys.executable, "-m", "stylecore"]
OPTIONS = ["--size", "64", "--pyramid", "1", "--content-layers", "relu2_2", "--style-layers", "relu1_1", "relu2_1"]


def command(*arguments, folder):
    return subprocess.run([*STYLECORE, *arguments], cwd=folder, capture_output=True, text=True)


def test_the_command_line_goes_on_after_a_kill(tmp_path):
    arguments = ["transfer", PHOTOGRAPH, PAINTING, *OPTIONS, "--iterations", "300", "--checkpoint", "run.ckpt"]
    process = subprocess.Popen([*STYLECORE, *arguments, "--checkpoint-every", "0", "-o", "out.png"], cwd=tmp_path)
    try:
        while not (tmp_path / "run.ckpt").exists():
            assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    assert [name for name in os.listdir(tmp_path) if not name.endswith(".tmp")] == ["run.ckpt"]
    process = command("resume", "run.ckpt", "-q", "--sheet", "out.png", folder=tmp_path)
    assert process.returncode == 2 and "out.png is to be written twice" in process.stderr
    process = command("resume", "run.ckpt", "-q", "--sheet", "sheet.png", "--save-every", "300", folder=tmp_path)
    assert (process.returncode, process.stderr) == (0, "")
    assert (tmp_path / "sheet.png").exists() and (tmp_path / "out-0300.png").exists()
    assert "out.png: 64 x 48 pixels, 300 steps in " in process.stdout
    assert "run.ckpt" not in os.listdir(tmp_path) and (tmp_path / "out.png").exists()


def test_what_a_run_is_made_from_is_not_replaced(path, tmp_path):
    size = {"mask": (96, 72), "painting": (30, 20)}
    for name in size:
        Image.new("L", size[name], 255).save(tmp_path / f"{name}.png")
    regions = [(str(tmp_path / "mask.png"), "all")]
    interrupted(path, style=[str(tmp_path / "painting.png")], regions=regions, content=np.ones((72, 96, 3)))
    for name in size:
        process = command("resume", "run.ckpt", "-o", f"{name}.png", folder=tmp_path)
        assert process.returncode == 2 and f"{name}.png is one of the pictures to work from" in process.stderr


def test_the_command_line_refuses(tmp_path):
    process = command("resume", "nowhere.h5", folder=tmp_path)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == "stylecore: error: nowhere.h5 is not a file; name the checkpoint of a run.\n"
    output = ["-o", "out.png", "--checkpoint", "out.png"]
    (tmp_path / "out.png").write_bytes(b"")
    process = command("transfer", PHOTOGRAPH, PAINTING, *OPTIONS, *output, folder=tmp_path)
    assert process.returncode == 2 and "out.png is to be written twice" in process.stderr
