"""The section of pictures side by side, on one small pair."""

import os
from pathlib import Path

import numpy as np
import pytest

from stylecore.errors import ParameterError
from stylecore.network import load_network
from stylecore.pictures.reading import read_image
from stylecore.samples import PAINTING, PHOTOGRAPH


@pytest.fixture
def pictures(monkeypatch):
    """The module of the section, which is not installed."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent.parent)
    from benchmarks import pictures

    return pictures


@pytest.fixture
def setting(pictures, tmp_path):
    from benchmarks.setting import Setting

    fields = dict.fromkeys(Setting.__dataclass_fields__)
    given = {"picture_pairs": [f"{PHOTOGRAPH}{os.pathsep}{PAINTING}"], "presets": ["quick", "classic"]}
    setting = Setting(**{**fields, **given, "pictures_folder": str(tmp_path), "picture_size": 96})
    setting.__dict__["network"] = load_network("vgg19")
    return setting


@pytest.fixture
def quick(pictures, monkeypatch):
    """Presets of a few evaluations."""
    presets = pictures.load_presets(pictures.PRESETS)
    few = {"iterations": 3, "pyramid": 1}
    known = {"classic": presets["classic"]._replace(settings={**presets["classic"].settings, **few})}
    known["quick"] = presets["classic"]._replace(settings=few)
    monkeypatch.setattr(pictures, "load_presets", lambda file: known)
    monkeypatch.setattr(pictures, "RIM", 4)
    monkeypatch.setattr(pictures, "CUTS", (4, 6))


@pytest.mark.slow
def test_pictures_are_painted_once_and_compared(pictures, setting, quick, tmp_path):
    section = pictures.measure(setting)
    assert [row["preset"] for row in section["pictures"]] == ["quick", "classic", "classic, 40"]
    for row in section["pictures"]:
        assert -1 < row["ssim"] < 1 and len(row["style terms"]) == 5
        assert min(row["rim"].values()) > 0 and row["seconds"] > 0
        assert read_image(tmp_path / f"{row['picture']}.png")[0].shape == (72, 96, 3)
    assert (tmp_path / "photograph-painting-sheet.jpg").is_file()
    single, means = pictures.tables(section)
    assert "| photograph | painting | quick" in single and "of 1" in means
    assert pictures.measure(setting) == section  # From the files, with the seconds of the first time.


def test_a_pair_or_a_preset_that_is_not_known(pictures, setting):
    with pytest.raises(ParameterError, match='no preset "quick"'):
        pictures.measure(setting)
    with pytest.raises(ParameterError, match="name both"):
        pictures._split("photo.jpg")


def test_ssim_on_the_curve_of_classic(pictures):
    curve = [{"style terms": {"style:a": np.exp(i)}, "ssim": 0.1 * i} for i in (3, 1, 2)]
    for x in (0, 1, 1.5, 2.5, 3, 4):
        assert pictures.ssim_of_classic({"style terms": {"style:a": np.exp(x)}}, curve) == pytest.approx(0.1 * x)


def test_structural_similarity(pictures):
    photograph = read_image(PHOTOGRAPH)[0][:64, :64]
    assert pictures.structural_similarity(photograph, photograph) == pytest.approx(1)
    assert pictures.structural_similarity(photograph, 1 - photograph) < 0.5
