import os

import numpy as np
import pytest

from stylecore import ImageError, cli
from stylecore.pictures.geometry import resize
from stylecore.pictures.reading import read_image, read_settings
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.studies.comparisons import compare, demo, preset_sheet
from stylecore.weights import load

pytestmark = pytest.mark.slow

TINY = {"size": 64, "iterations": 2, "pyramid": 1}


def test_every_network_has_its_place_on_the_sheet(tmp_path):
    sheet = tmp_path / "sheet.png"
    results = compare(PHOTOGRAPH, PAINTING, sheet, ["small", "alexnet"], **TINY)
    assert [result.settings["network"] for result in results] == ["small", "alexnet"]
    content, style = load("small").default_layers
    assert results[0].settings["content_layers"] == list(content)
    assert results[0].settings["style_layers"] == list(style)
    shown, _ = read_image(sheet)
    pictures = [read_image(PHOTOGRAPH)[0], read_image(PAINTING)[0], *(result.array for result in results)]
    left = 0
    for picture in pictures:
        width = round(48 * picture.shape[1] / picture.shape[0])
        np.testing.assert_allclose(shown[:48, left : left + width], resize(picture, (48, width)), atol=1.5 / 255)
        left += width + 1
    assert left == shown.shape[1] + 1
    assert read_settings(sheet)["network"] == ["small", "alexnet"]


def test_the_sheet_is_checked_before_the_work(tmp_path):
    with pytest.raises(ImageError, match="there is no folder"):
        compare(PHOTOGRAPH, PAINTING, tmp_path / "nowhere" / "sheet.png", **TINY)


def test_command(tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    arguments = ["--sheet", str(sheet), "--networks", "small", "--size", "64", "--iterations", "2", "--quiet"]
    assert cli.main(["networks", str(PHOTOGRAPH), str(PAINTING), *arguments]) == 0
    assert capsys.readouterr().out.startswith(f"{sheet}: 64 x 48 pixels, 2 steps")
    assert cli.main(["networks", str(PHOTOGRAPH), str(PAINTING), *arguments, "--networks", "smal"]) == 2
    assert 'network "smal" is not known; near it are small' in capsys.readouterr().err


def test_the_shipped_network_needs_no_network(tmp_path, monkeypatch, capsys):
    """With nothing in the cache and no index to reach, the demonstration continues, and a transfer says what to do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLECORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    assert cli.main(["demo", "--size", "64", "--iterations", "2"]) == 0
    told = capsys.readouterr()
    assert "vgg19 cannot be fetched" in told.err and "continues with the network small" in told.err
    assert read_settings(tmp_path / "demo.png")["network"] == "small"
    pair = [str(PHOTOGRAPH), str(PAINTING), "-o", "out.png", "--size", "64", "--iterations", "2"]
    assert cli.main(["transfer", *pair]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("stylecore: error: vgg19 cannot be fetched")
    assert "--network small" in error and "stylecore weights convert" in error
    assert cli.main(["transfer", *pair, "--network", "small"]) == 0


# The presets


def test_preset_sheet_stopped():
    stop = {"callback": lambda evaluation, image: True}
    assert preset_sheet(PHOTOGRAPH, PAINTING, watch=lambda name: stop, size=48, iterations=2) is None


# The demonstration

SHALLOW = {
    "style_layers": ["relu1_1", "relu2_1"],
    "content_layers": ["relu2_2"],
    "size": 64,
    "iterations": 5,
    "pyramid": 1,
}


def test_demo_writes_picture_and_sheet(tmp_path):
    result = demo(tmp_path / "demo.png", tmp_path / "sheet.png", **SHALLOW)
    assert result.history[-1].loss < result.history[0].loss
    made, _ = read_image(tmp_path / "demo.png")
    np.testing.assert_allclose(made, result.array, atol=0.5 / 255 + 1e-6)
    sheet, _ = read_image(tmp_path / "sheet.png")
    assert 48 <= len(sheet) < 80 and sheet.shape[1] >= 3 * 64
    for left, picture in ((0, read_image(PHOTOGRAPH)[0]), (-64, made)):
        part = sheet[:48, left : left + 64 or None]
        np.testing.assert_allclose(part, resize(picture, (48, 64)), atol=1.5 / 255)
    middle = (sheet.shape[1] - 64) // 2
    np.testing.assert_allclose(
        sheet[:48, middle : middle + 64], resize(read_image(PAINTING)[0], (48, 64)), atol=1.5 / 255
    )
    for name in ("demo.png", "sheet.png"):
        assert read_settings(tmp_path / name)["size"] == 64


def test_demo_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["demo", "--size", "64", "--iterations", "2", "--quiet"]) == 0
    assert sorted(os.listdir(tmp_path)) == ["demo-sheet.png", "demo.png"]
    told = capsys.readouterr()
    assert told.out.startswith("demo.png and demo-sheet.png: 64 x 48 pixels, 2 steps in ")
    assert told.err == ""


@pytest.mark.parametrize("names", [("nowhere/demo.png", "sheet.png"), ("demo.png", "nowhere/sheet.png")])
def test_nothing_is_written_where_one_cannot_be(names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ImageError, match="there is no folder nowhere"):
        demo(*names, **SHALLOW)
    assert os.listdir(tmp_path) == []


def test_command_checks_outputs_before_it_fetches_the_network(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLECORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    assert cli.main(["demo", "--sheet", "nowhere/sheet.png"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("stylecore: error: nowhere/sheet.png cannot be written") and error.count("\n") == 1
    assert os.listdir(tmp_path) == []
