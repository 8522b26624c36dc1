import warnings

import numpy as np
import pytest

from stylecore import transfer
from stylecore.network import load_network
from stylecore.pictures.reading import read_image
from stylecore.pictures.tones import STYLE_WEIGHT, auto_style_weight, dark_share, suited_style_weight
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.settings import Settings
from stylecore.studies.experiments import mostly_black

RNG = np.random.default_rng(0)
BRIGHT = (0.4 + 0.6 * RNG.random((60, 80, 3))).astype(np.float32)


def partly(share, tone=(0.05, 0.02, 0.1)):
    """A picture of which the left part is one tone."""
    picture = BRIGHT.copy()
    picture[:, : round(80 * share)] = tone
    return picture


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 0.75, 1])
@pytest.mark.parametrize("tone", [(0, 0, 0), (0.05, 0.02, 0.1), (0.2, 0.2, 0.2)])
def test_dark_share(share, tone):
    assert dark_share(partly(share, tone)) == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("tone", [(1, 1, 1), (0.5, 0.5, 0.5), (0, 0.9, 0.1)])
def test_one_light_tone_is_not_dark(tone):
    assert dark_share(partly(0.9, tone)) == 0


def test_several_dark_tones_are_not_one():
    picture = partly(0.6, (0, 0, 0))
    picture[:, 48:] = (0, 0, 0.9)  # as dark to the eye, but blue
    assert dark_share(picture) == pytest.approx(0.6, abs=0.02)


def test_grain_does_not_hide_the_tone():
    large = partly(0.8, (0.1, 0.1, 0.1)).repeat(16, axis=0).repeat(16, axis=1)
    grain = np.random.default_rng(0).normal(scale=0.2, size=large.shape)
    assert dark_share((large + grain).astype(np.float32)) == pytest.approx(0.8, abs=0.03)


def test_only_what_is_visible_counts():
    cutout, alpha = partly(0.7, (0, 0, 0)), np.zeros((60, 80))
    alpha[:, 56:] = 1
    assert dark_share(cutout) == pytest.approx(0.7, abs=0.02)
    assert dark_share(cutout, alpha) == 0
    assert dark_share(cutout, 1 - alpha) == pytest.approx(1, abs=0.02)
    assert dark_share(cutout, 0 * alpha) == 0
    assert suited_style_weight("auto", [cutout, cutout], [None, alpha]) == 20.0
    assert suited_style_weight("auto", [cutout, cutout]) == pytest.approx(20 * 0.6**2, rel=0.1)


def test_auto_weight_follows_its_rule():
    shares = np.linspace(0, 1, 101)
    weights = [auto_style_weight(share) for share in shares]
    assert weights[0] == weights[50] == STYLE_WEIGHT == Settings().style_weight
    assert all(np.diff(weights[50:85]) < 0) and weights[-1] == 1
    assert auto_style_weight(0.7) == pytest.approx(20 * 0.6**2)


def test_warns_of_what_is_too_high_only():
    dark = partly(0.8)
    with pytest.warns(UserWarning, match=r'^80% of the style image .* style weight \("auto" chooses 3\.2 here\)'):
        assert suited_style_weight(20.0, [dark]) == 20.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert suited_style_weight(3.0, [dark]) == 3.0
        assert suited_style_weight("auto", [dark]) == pytest.approx(3.2, abs=0.1)
        assert suited_style_weight(1000.0, [BRIGHT]) == 1000.0
        assert suited_style_weight("auto", [BRIGHT]) == 20.0
        assert suited_style_weight("auto", [BRIGHT, partly(1)]) == 20.0  # half of the two


@pytest.mark.slow
def test_transfer_chooses_the_weight_and_tells_it():
    settings = {"size": 48, "iterations": 1, "network": load_network("vgg19")}
    dark = mostly_black(read_image(PAINTING)[0])
    suited = auto_style_weight(dark_share(dark))
    assert 1 <= suited < 5
    automatic = transfer(PHOTOGRAPH, dark, style_weight="auto", **settings)
    assert automatic.settings["style_weight"] == suited
    assert automatic.history[0].loss == transfer(PHOTOGRAPH, dark, style_weight=suited, **settings).history[0].loss
    with pytest.warns(UserWarning, match="one dark tone"):
        transfer(PHOTOGRAPH, dark, **settings)
