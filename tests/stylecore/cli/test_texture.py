import shutil

import numpy as np
import pytest
from PIL import Image

import stylecore
from stylecore import cli
from stylecore.samples import PAINTING

pytestmark = pytest.mark.slow

QUICK = ["--network", "small", "--size", "64", "--iterations", "6", "--optimizer", "lbfgs", "--quiet"]


def test_a_texture(capsys, tmp_path):
    out = tmp_path / "out.png"
    assert cli.main(["texture", str(PAINTING), "-o", str(out), "--tileable", *QUICK]) == 0
    assert capsys.readouterr().out == f"{out}: 64 x 64 pixels, 6 steps\n"
    given = {"network": "small", "size": 64, "iterations": 6, "optimizer": "lbfgs"}
    expected = stylecore.texture(PAINTING, tileable=True, **given)
    np.testing.assert_array_equal(np.asarray(Image.open(out)), np.asarray(expected.image))
    assert stylecore.read_settings(out)["style"] == ["painting.jpg"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "100", "--tileable"], "choose multiples of 8"),
        (["--size", "2x"], "no photograph to enlarge"),
        (["-o", "out.gif"], "out.gif"),
        (["--style-loss", "gramm"], "invalid choice"),
        (["no.jpg"], "no.jpg"),
    ],
)
def test_bad_input(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["texture", str(PAINTING), "-o", "out.png", *QUICK, *arguments]) == 2
    error = capsys.readouterr().err
    assert words in error and error.startswith("stylecore: error: ") and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_painting_is_not_overwritten(capsys, tmp_path):
    painting = shutil.copyfile(PAINTING, tmp_path / "painting.jpg")
    assert cli.main(["texture", str(painting), "-o", str(painting), *QUICK]) == 2
    assert "is one of the input files" in capsys.readouterr().err
    assert painting.read_bytes() == PAINTING.read_bytes()
