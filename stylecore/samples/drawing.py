"""Draw the sample sketch: a cup of coffee on its saucer, in the unsteady lines of a pen.

``python -m stylecore.samples.drawing drawing.png``
"""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image, ImageDraw

SIZE = 512

FINE = 4
"""Factor by which the sheet is enlarged while it is drawn, for soft edges."""


def draw() -> Image.Image:
    """Draw the sketch, black on white, 512 x 512 pixels; some of its lines leave gaps."""
    sheet = Image.new("L", (FINE * SIZE, FINE * SIZE), "white")
    rng = np.random.default_rng(5)
    for line in (
        _arc(256, 330, 225, 130, -30, 226),  # saucer, behind the cup
        _arc(250, 205, 140, 62, 0, 356),  # rim
        _arc(250, 212, 112, 44, 5, 365),  # coffee
        _arc(250, 215, 140, 170, 3, 177),  # side of the cup
        _arc(402, 262, 48, 52, -110, 128),  # handle, outside
        _arc(398, 262, 26, 30, -120, 135),  # handle, inside
    ):
        points = _shaken(line, rng) * FINE
        ImageDraw.Draw(sheet).line([tuple(point) for point in points], fill="black", width=4 * FINE, joint="curve")
    return sheet.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def _arc(x: float, y: float, a: float, b: float, begin: float, end: float) -> np.ndarray:
    """Points of an ellipse about (x, y) with half-axes a and b, between two angles in degrees."""
    angles = np.deg2rad(np.linspace(begin, end, 90))
    return np.stack([x + a * np.cos(angles), y + b * np.sin(angles)], axis=1)


def _shaken(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Points moved by a smooth random displacement of about two pixels."""
    knots = rng.normal(0, 2, (9, 2))
    places = np.linspace(0, 8, len(points))
    return points + np.stack([np.interp(places, np.arange(9), knots[:, axis]) for axis in (0, 1)], axis=1)


if __name__ == "__main__":
    draw().save(sys.argv[1])
