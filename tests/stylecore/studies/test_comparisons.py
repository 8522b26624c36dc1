import numpy as np
import pytest

from stylecore import ImageError, cli
from stylecore.pictures.geometry import resize
from stylecore.pictures.reading import read_image, read_settings
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.studies.comparisons import compare
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
    """With nothing in the cache and no index to reach, the demonstration goes on, and a transfer tells what to do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STYLECORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    assert cli.main(["demo", "--size", "64", "--iterations", "2"]) == 0
    told = capsys.readouterr()
    assert "vgg19 cannot be fetched" in told.err and "goes on with the network small" in told.err
    assert read_settings(tmp_path / "demo.png")["network"] == "small"
    pair = [str(PHOTOGRAPH), str(PAINTING), "-o", "out.png", "--size", "64", "--iterations", "2"]
    assert cli.main(["transfer", *pair]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("stylecore: error: vgg19 cannot be fetched")
    assert "--network small" in error and "stylecore weights convert" in error
    assert cli.main(["transfer", *pair, "--network", "small"]) == 0
