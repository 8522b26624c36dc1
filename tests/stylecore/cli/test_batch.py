import json
import shutil

import pytest

from stylecore import cli
from stylecore.samples import PAINTING, PHOTOGRAPH

pytestmark = pytest.mark.slow

QUICK = ["--network", "small", "--size", "48", "--iterations", "2", "--pyramid", "1", "--quiet"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two photographs, in a folder of their own, and two paintings."""
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg"):
        shutil.copyfile(PHOTOGRAPH, tmp_path / "photos" / name)
    for name in ("x.jpg", "y.jpg"):
        shutil.copyfile(PAINTING, tmp_path / name)
    (tmp_path / "photos" / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_all_pairs(capsys, folder):
    assert cli.main(["batch", "photos", "--styles", "x.jpg", "y.jpg", "-o", "out", *QUICK]) == 0
    assert names(folder / "out") == ["a-x.png", "a-y.png", "b-x.png", "b-y.png", "manifest.json"]
    assert capsys.readouterr().out == "4 pictures made, 0 were there; see out/manifest.json\n"
    assert cli.main(["batch", "photos", "--styles", "?.jpg", "-o", "out", *QUICK]) == 0
    assert "0 pictures made, 4 were there" in capsys.readouterr().out


def test_zipped_pairs_with_names(folder):
    given = [
        "batch",
        "photos/*",
        "--styles",
        "x.jpg",
        "y.jpg",
        "--pairs",
        "zip",
        "--name",
        "{number}_{style}_{content}.jpg",
    ]
    (folder / "photos" / "notes.txt").unlink()
    assert cli.main([*given, "-o", "out", *QUICK]) == 0
    assert names(folder / "out") == ["0001_x_a.jpg", "0002_y_b.jpg", "manifest.json"]


def test_a_bad_picture_is_reported_at_the_end(capsys, folder):
    (folder / "photos" / "a.jpg").write_text("not a picture")
    assert cli.main(["batch", "photos", "--styles", "x.jpg", "-o", "out", *QUICK]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 pictures made, 0 were there, 1 failed; see out/manifest.json"
    assert lines[1].startswith("out/a-x.png: photos/a.jpg is not a picture")
    record = json.loads((folder / "out" / "manifest.json").read_text())
    assert [each["state"] for each in record["pictures"]] == ["failed", "made"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing", "--styles", "x.jpg"], "nothing is neither a picture nor a folder"),
        (["photos", "--styles", "*.tif"], "*.tif is neither"),
        (["photos", "--styles", "x.jpg", "--pairs", "zip"], "2 photographs and 1 paintings"),
        (["photos", "--styles", "x.jpg", "--name", "{style}.png"], "is the output of two jobs"),
        (["photos", "--styles", "x.jpg", "--name", "{photo}.png"], "has the field {photo}"),
        (["photos", "--styles", "x.jpg", "--name", "{content"], "is a template such as"),
        (["photos", "--styles", "x.jpg", "--name", "{content}"], "suffix"),
        (["photos", "--styles", "x.jpg", "--style-scale", "0"], "style_scale is 0"),
        (["photos", "--styles", "x.jpg", "--workers", "2", "--dask", "tcp://x:1"], "give only one of them"),
        (["photos", "--styles", "x.jpg", "-o", "x.jpg"], "x.jpg cannot be made"),
    ],
)
def test_bad_input(capsys, folder, arguments, words):
    assert cli.main(["batch", "-o", "out", *arguments, *QUICK]) == 2
    error = capsys.readouterr().err
    assert words in error and error.startswith("stylecore: error: ") and error.count("\n") == 1
    assert not (folder / "out").exists() or names(folder / "out") == []
