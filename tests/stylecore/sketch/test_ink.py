"""The lines on top of a picture."""

import numpy as np
import pytest

from stylecore import ParameterError
from stylecore.sketch import Drawing, overlay

PICTURE = np.full((4, 4, 3), 0.8, np.float32)
DRAWING = Drawing(np.array([[0, 0.5, 1, 0]] * 4, np.float32))


def test_ink_multiplies_the_picture():
    np.testing.assert_allclose(overlay(PICTURE, DRAWING)[0, :, 0], [0.8, 0.4, 0, 0.8])


def test_strength_scales_the_ink():
    np.testing.assert_allclose(overlay(PICTURE, DRAWING, 0.5)[0, :, 1], [0.8, 0.6, 0.4, 0.8])


def test_the_drawing_is_resized():
    assert overlay(np.ones((8, 8, 3), np.float32), DRAWING).shape == (8, 8, 3)


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(ParameterError, match="from 0 to 1"):
        overlay(PICTURE, DRAWING, strength)
