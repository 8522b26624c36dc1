import numpy as np
import pytest

from stylecore import ParameterError, texture, transfer
from stylecore.samples import PAINTING

pytestmark = pytest.mark.slow

QUICK = {"network": "small", "size": 64, "iterations": 12, "pyramid": 2, "optimizer": "lbfgs"}


def seam(picture):
    """Mean difference between opposite edges, relative to that of neighbouring rows and columns."""
    across = np.abs(picture[0] - picture[-1]).mean() + np.abs(picture[:, 0] - picture[:, -1]).mean()
    within = np.abs(np.diff(picture, axis=0)).mean() + np.abs(np.diff(picture, axis=1)).mean()
    return across / within


def test_a_texture_is_a_transfer_without_content():
    made = texture(PAINTING, **QUICK)
    blank = np.full((64, 64, 3), 0.5, np.float32)
    same = {
        "content_layers": [],
        "content_weight": 0,
        "init": "noise",
        "tv_weight": 5.0,
        "edges": "reflect",
        "style_growth": 0,
    }
    np.testing.assert_array_equal(made.array, transfer(blank, PAINTING, **{**QUICK, "size": (64, 64)}, **same).array)
    assert made.settings["content"] is None and made.history[-1].loss < made.history[0].loss


def test_a_tile_has_no_seam():
    given = {**QUICK, "iterations": 60}
    assert seam(texture(PAINTING, tileable=True, **given).array) < 1.4 < 1.6 < seam(texture(PAINTING, **given).array)


def test_seeds_give_different_textures():
    first, again, other = (texture(PAINTING, seed=seed, **QUICK).array for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 0.02


@pytest.mark.parametrize(("size", "shape"), [(48, (48, 48)), ((64, 40), (40, 64)), ("64x40", (40, 64))])
def test_sizes(size, shape):
    assert texture(PAINTING, **{**QUICK, "size": size, "iterations": 2}).array.shape[:2] == shape


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"size": 60, "tileable": True}, "choose multiples of 8, such as 64x64"),
        ({"size": (64, 3), "tileable": True}, "such as 64x8"),
        ({"size": "2x"}, "no photograph to enlarge"),
        ({"size": 0}, "size is 0"),
        ({"content_weight": 1}, "content_weight has no effect"),
        ({"init": "content"}, "init has no effect"),
        ({"tileable": True, "edges": "zeros"}, "cannot both be given"),
        ({"colours": "match"}, 'no setting "colours"'),
    ],
)
def test_bad_input(given, words):
    with pytest.raises(ParameterError, match=words):
        texture(PAINTING, **{**QUICK, **given})
