"""The lines of a sketch, laid over a picture."""

from __future__ import annotations

import numpy as np

from stylecore.errors import ParameterError
from stylecore.sketch.drawing import Drawing


def overlay(picture: np.ndarray, drawing: Drawing, strength: float = 1.0) -> np.ndarray:
    """Lay the lines of a drawing over a picture: the picture times one minus the ink.

    Parameters
    ----------
    picture : ndarray, (H, W, 3)
        sRGB in [0, 1].
    drawing : Drawing
        It is resized to the picture.
    strength : float
        Darkness of the lines, in [0, 1]: with 1 they are black.

    Returns
    -------
    ndarray of float32, (H, W, 3)

    Raises
    ------
    ParameterError
        If the strength is out of its range.
    """
    check_strength(strength)
    height, width = picture.shape[:2]
    ink = drawing.at((height, width)).ink
    return (picture * (1 - strength * ink[..., None])).astype(np.float32)


def check_strength(strength: float) -> None:
    """Raise ParameterError unless the strength of the ink is in [0, 1]."""
    if not 0 <= strength <= 1:
        raise ParameterError(f"ink is {strength:g}; it must be a number from 0 to 1.")
