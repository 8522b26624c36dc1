"""The commands ``stylecore paint`` and ``stylecore train styles``, with a small painter."""

import shutil
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

import stylecore
from stylecore import cli
from stylecore.cli.terminal import Watch
from stylecore.painter import files, painting
from stylecore.painter.architecture import stages
from stylecore.painter.files import PainterWeights, shapes
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.video.outputs import write_film
from stylecore.video.sources import open_source

pytestmark = pytest.mark.slow

TABLE = stages((16, 16, 16), 1)


@pytest.fixture(scope="module")
def painter(tmp_path_factory):
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("painter") / "painter.h5"
    arrays = {key: 0.3 * rng.standard_normal(shape) for key, shape in shapes(TABLE, 2).items()}
    files.write(PainterWeights(("waves", "dots"), TABLE, arrays, "a test"), path)
    return path


def test_a_picture(painter, tmp_path, capsys):
    out = tmp_path / "out.png"
    given = ["paint", str(PHOTOGRAPH), "-o", str(out), "--painter", str(painter), "--size", "80", "-q"]
    assert cli.main([*given, "--blend", "waves=1", "dots=3"]) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 80 x 60 pixels in ")
    expected = stylecore.Painter(painter).paint(PHOTOGRAPH, {"waves": 1, "dots": 3}, size=80)
    np.testing.assert_array_equal(np.asarray(Image.open(out)), np.asarray(expected))
    assert cli.main([*given, "--style", "dots"]) == 0
    assert np.any(np.asarray(Image.open(out)) != np.asarray(expected))


def test_the_device_is_chosen(painter, tmp_path, capsys):
    given = ["paint", str(PHOTOGRAPH), "--painter", str(painter), "--size", "40", "-q"]
    pictures = []
    for device in ("cpu", "reference"):
        out = tmp_path / f"{device}.png"
        assert cli.main([*given, "-o", str(out), "--device", device]) == 0
        pictures.append(np.asarray(Image.open(out), float))
    assert np.abs(pictures[0] - pictures[1]).max() <= 1
    assert cli.main([*given, "-o", str(tmp_path / "no.png"), "--device", "cud"]) == 2
    assert 'device "cud" is not known (did you mean' in capsys.readouterr().err
    assert not (tmp_path / "no.png").exists()


def test_the_opacity_is_kept(painter, tmp_path):
    rgba = np.zeros((20, 24, 4), np.uint8)
    rgba[:10, :, 3] = 255
    Image.fromarray(rgba).save(tmp_path / "photo.png")
    given = [str(tmp_path / "photo.png"), "-o", str(tmp_path / "out.png"), "--painter", str(painter)]
    assert cli.main(["paint", *given]) == 0
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.png"))[..., 3], rgba[..., 3])


def test_the_styles_are_listed(painter, capsys):
    assert cli.main(["paint", "--styles", "--painter", str(painter)]) == 0
    assert capsys.readouterr().out == "waves\ndots\n"


def test_a_film_is_painted_frame_by_frame(painter, tmp_path, capsys):
    rng = np.random.default_rng(1)
    frames = rng.random((5, 32, 40, 3)).astype(np.float32)
    film, out = tmp_path / "film.mp4", tmp_path / "out.mp4"
    write_film(film, ((Fraction(i, 10), frame) for i, frame in enumerate(frames)), Fraction(10), (32, 40))
    assert cli.main(["paint", str(film), "-o", str(out), "--painter", str(painter)]) == 0
    assert f"{out}: 5 frames in" in capsys.readouterr().out
    painted = [frame.pixels for frame in open_source(out).frames()]
    assert len(painted) == 5 and painted[0].shape == (32, 40, 3)
    folder = tmp_path / "frames"
    assert cli.main(["paint", str(film), "-o", str(folder), "--painter", str(painter), "--size", "20"]) == 0
    assert sorted(file.name for file in folder.iterdir()) == [f"frame_{i:06d}.png" for i in range(1, 6)]
    first = next(open_source(film).frames()).pixels / 255
    expected = stylecore.Painter(painter).paint(first.astype(np.float32), size=20)
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "frame_000001.png")), np.asarray(expected))


def test_a_film_that_is_stopped_says_what_was_written(painter, tmp_path, monkeypatch, capsys):
    frames = tmp_path / "frames"
    frames.mkdir()
    for i in range(1, 4):
        Image.fromarray(np.full((16, 16, 3), 40 * i, np.uint8)).save(frames / f"view{i}.png")
    counts = []
    monkeypatch.setattr(Watch, "count", lambda watch, *given: counts.append(given) or len(counts) == 2)
    given = ["paint", str(frames), "--painter", str(painter), "-o"]
    assert cli.main([*given, str(tmp_path / "out")]) == 130
    assert "2 of 3 frames have been written" in capsys.readouterr().err
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["view1.png", "view2.png"]
    counts.clear()
    assert cli.main([*given, str(tmp_path / "out.mp4")]) == 130
    assert "no picture has been written" in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


def test_the_sound_of_a_film_is_kept(painter, tmp_path):
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        video, audio = container.add_stream("libx264", rate=10), container.add_stream("aac", rate=48000)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        for i in range(5):
            container.mux(
                video.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), 50 * i, np.uint8), format="rgb24"))
            )
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(np.zeros((2, 24000), np.float32), format="fltp", layout="stereo")
        sound.rate, sound.pts = 48000, 0
        container.mux([*audio.encode(sound), *audio.encode(None)])
    given = ["paint", str(tmp_path / "film.mp4"), "--painter", str(painter), "-o"]
    assert cli.main([*given, str(tmp_path / "out.mp4")]) == 0
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(container.streams.audio) == 1
        assert float(container.streams.audio[0].duration * container.streams.audio[0].time_base) == pytest.approx(
            0.5, abs=0.1
        )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["photo.jpg"], "give a photograph and --output"),
        (["none.jpg", "-o", "out.png"], "none.jpg"),
        (["photo.jpg", "-o", "out.xyz"], "out.xyz"),
        (["photo.jpg", "-o", "photo.jpg"], "is the input file"),
        (["photo.jpg", "-o", "out.png", "--style", "dot"], 'no style "dot"'),
        (["photo.jpg", "-o", "out.png", "--blend", "dots=-1"], "weight of dots is -1"),
        (["photo.jpg", "-o", "out.png", "--blend", "dots=0"], "all weights"),
        (["photo.jpg", "-o", "out.png", "--blend", "dots=a"], "is not NAME=WEIGHT"),
        (["photo.jpg", "-o", "out.png", "--painter", "none.h5"], "none.h5 is not a file"),
        (["photo.jpg", "-o", "out.png", "--size", "0"], "0"),
        (["photo.jpg", "-o", "out"], "out"),
    ],
)
def test_bad_input(painter, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(PHOTOGRAPH, "photo.jpg")
    more = [] if "--painter" in arguments else ["--painter", str(painter)]
    assert cli.main(["paint", *arguments, *more]) == 2
    error = capsys.readouterr().err
    assert words in error and error.startswith("stylecore: error: ") and error.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_transfer_starts_from_a_painter(painter, tmp_path, monkeypatch):
    monkeypatch.setattr(painting, "SHIPPED", painter)
    settings = {"network": "small", "size": 64, "iterations": 1, "optimizer": "lbfgs"}
    result = stylecore.transfer(PHOTOGRAPH, PAINTING, init="painter", **settings)
    assert [evaluation.size for evaluation in result.history] == [(48, 64)]
    with pytest.raises(stylecore.ParameterError, match="cannot start from a painter"):
        stylecore.transfer(PHOTOGRAPH, PAINTING, init="painter", method="neighbours", size=64)
    starts = [stylecore.Painter(painter).paint(PHOTOGRAPH, style, size=64) for style in ("waves", "dots")]
    losses = [
        stylecore.transfer(PHOTOGRAPH, PAINTING, init=start, pyramid=1, **settings).history[0].loss for start in starts
    ]
    assert result.history[0].loss == pytest.approx(min(losses), rel=0.05)
    out = tmp_path / "out.png"
    given = ["--network", "small", "--size", "64", "--iterations", "2", "-q"]
    assert cli.main(["transfer", str(PHOTOGRAPH), str(PAINTING), "-o", str(out), "--init", "painter", *given]) == 0
    assert stylecore.read_settings(out)["init"] == "painter"


def test_a_painter_is_trained(tmp_path, capsys):
    folder, rng = tmp_path / "photographs", np.random.default_rng(2)
    folder.mkdir()
    for number in range(6):
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).save(folder / f"{number}.png")
    out = tmp_path / "painter.h5"
    layers = ["--content-layers", "relu2_1", "--style-layers", "relu1_1"]
    settings = ["--network", "small", "--crop", "16", "--batch", "2", "--steps", "2", "--warm-up", "1", *layers]
    given = ["train", "styles", str(folder), "--styles", str(PAINTING), "-o", str(out), "--names", "bay", "--half"]
    assert cli.main([*given, *settings]) == 0
    streams = capsys.readouterr()
    assert streams.out.startswith(f"{out}: bay; loss ") and "epoch 1, loss" in streams.err
    assert stylecore.Painter(out).styles == ("bay",)
    more = [
        "train",
        "styles",
        str(folder),
        "--styles",
        str(PHOTOGRAPH),
        "--add",
        str(out),
        "-o",
        str(tmp_path / "b.h5"),
    ]
    assert cli.main([*more, *settings]) == 0
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'b.h5'}: bay, photograph; loss ")
    assert cli.main([*more, *settings, "--names", "bay"]) == 2
    assert "two styles have the name bay" in capsys.readouterr().err
