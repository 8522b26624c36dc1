"""The command ``stylecore sketch``: what it writes and prints, and what it refuses without writing anything."""

import os

import numpy as np
import pytest
from PIL import Image, ImageDraw

from stylecore import cli
from stylecore.sketch.indexing import SUFFIX

pytestmark = pytest.mark.slow

QUICK = ["--size", "64", "--iterations", "2"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a drawing, a photograph, and a folder of two photographs and an unreadable one."""
    monkeypatch.chdir(tmp_path)
    drawing = Image.new("L", (100, 100), "white")
    ImageDraw.Draw(drawing).ellipse([20, 20, 80, 80], outline="black", width=3)
    drawing.save("drawing.png")
    os.mkdir("photos")
    rng = np.random.default_rng(0)
    for name in ("one.jpg", "photos/a.jpg", "photos/b.jpg"):
        photo = Image.fromarray(rng.integers(60, 120, (64, 80, 3), np.uint8))
        ImageDraw.Draw(photo).ellipse([25, 15, 60, 50], fill=(200, 30, 40))
        photo.save(name)
    return tmp_path


@pytest.fixture
def refused(folder, capfd):
    """Run the command, which must fail with one sentence and leave every file as it was."""

    def refused(*arguments, words):
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert cli.main(["sketch", *arguments]) == 2
        out, err = capfd.readouterr()
        assert out == ""
        errors = [line for line in err.splitlines() if line.startswith("stylecore: error: ")]
        assert len(errors) == 1 and errors[0].endswith(".") and ". " not in errors[0]
        assert words in errors[0]
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

    return refused


def test_one_photograph(capfd):
    arguments = ["sketch", "drawing.png", "--photo", "one.jpg", "-o", "out.png", "--sheet", "stages.png", *QUICK]
    assert cli.main(arguments) == 0
    assert capfd.readouterr().out == "out.png: 64 x 64 pixels, coloured from one.jpg\n"
    assert Image.open("out.png").size == (64, 64)
    assert Image.open("stages.png").width > 4 * 256
    assert sorted(os.listdir()) == ["drawing.png", "one.jpg", "out.png", "photos", "stages.png"]


def test_a_folder(capfd):
    with open("photos/broken.jpg", "wb") as file:
        file.write(b"broken")
    assert cli.main(["sketch", "drawing.png", "--photos", "photos", "-o", "out.png", "--pick", "2", *QUICK]) == 0
    out, err = capfd.readouterr()
    assert "coloured from photos/" in out.replace(os.sep, "/")
    assert "3 of 3 photographs indexed" in err
    assert "warning: 1 picture cannot be read and is skipped" in err and "broken.jpg" in err
    assert os.path.exists("photos" + SUFFIX)


def test_retrieval_prints_the_best_photographs(capfd):
    arguments = ["sketch", "drawing.png", "--photos", "photos", "--retrieve", "5", "--index", "kept.npz", "--quiet"]
    assert cli.main([*arguments, "--sheet", "found.png"]) == 0
    out, err = capfd.readouterr()
    assert sorted(out.split()) == [os.path.join("photos", name) for name in ("a.jpg", "b.jpg")]
    assert err == ""
    assert sorted(os.listdir()) == ["drawing.png", "found.png", "kept.npz", "one.jpg", "photos"]


def test_line_art_takes_the_edges_of_a_photograph():
    assert cli.main(["sketch", "one.jpg", "--line-art", "--photo", "photos/a.jpg", "-o", "out.png", *QUICK]) == 0


def test_white_lines_on_black_are_inverted_with_a_warning(capfd):
    Image.eval(Image.open("drawing.png"), lambda tone: 255 - tone).save("black.png")
    assert cli.main(["sketch", "black.png", "--photo", "one.jpg", "-o", "out.png", "-q", *QUICK]) == 0
    assert "warning: black.png has light lines on dark paper; it is inverted." in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["drawing.png", "-o", "out.png"], "either a folder"),
        (["drawing.png", "--photo", "one.jpg"], "--output"),
        (["drawing.png", "--photo", "one.jpg", "-o", "out.gif"], "out.gif"),
        (["drawing.png", "--photo", "one.jpg", "-o", "one.jpg"], "one of the input files"),
        (["drawing.png", "--photo", "one.jpg", "-o", "out.png", "--sheet", "out.png"], "written twice"),
        (["drawing.png", "--photo", "one.jpg", "-o", "out.png", "--ink", "3"], "ink is 3"),
        (["drawing.png", "--photo", "one.jpg", "-o", "out.png", "--pick", "0"], "pick is 0"),
        (["drawing.png", "--photo", "one.jpg", "-o", "out.png", "--size", "0"], "size is 0"),
        (["drawing.png", "--photo", "one.jpg", "--retrieve", "3"], "--retrieve"),
        (["drawing.png", "--photo", "missing.jpg", "-o", "out.png"], "missing.jpg does not exist"),
        (["drawing.png", "--photos", "missing", "-o", "out.png"], "is not a folder"),
        (["missing.png", "--photo", "one.jpg", "-o", "out.png"], "missing.png does not exist"),
        (["one.jpg", "--photo", "one.jpg", "-o", "out.png"], "looks like a photograph"),
    ],
)
def test_what_cannot_be_used_is_refused(refused, arguments, words):
    refused(*arguments, words=words)


def test_blank_sheets_are_refused(refused):
    for colour in ((255, 255, 255, 255), (0, 0, 0, 0)):
        Image.new("RGBA", (50, 50), colour).save("blank.png")
        refused("blank.png", "--photo", "one.jpg", "-o", "out.png", words="is blank")


def test_an_index_of_another_version_is_refused(refused):
    np.savez("old.npz", version=0, network="vgg19", names=["a.jpg"], stamps=["1 2"])
    refused("drawing.png", "--photos", "photos", "-o", "out.png", "--index", "old.npz", words="index of version 0")
