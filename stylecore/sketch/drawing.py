"""Reading line drawings: the ink of a sketch, and what is not a line drawing."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import scipy

from stylecore.errors import ImageError
from stylecore.pictures.colour import grey
from stylecore.pictures.geometry import fit, resize
from stylecore.pictures.reading import Source, read_image
from stylecore.sketch.libraries import skimage

INK = 0.5
"""Ink above which a pixel belongs to a line."""

LEAST_INK = 1e-4
"""Share of a sheet below which it counts as blank."""

MOST_TONES, MOST_LINES = 0.15, 0.4
"""Shares of pixels that are neither paper nor ink, and that are not paper, above which it is not a line drawing."""

LEAST_PAPER = 0.7
"""Tone of the paper below which it is not white enough."""

COLOURFUL = 0.2
"""Range of the channels, relative to the paper's colour, above which a pixel is neither."""

LINE_ART_SIDE = 256
"""Longer side, in pixels, at which the edges of a photograph are found."""


@dataclass(frozen=True)
class Drawing:
    """A line drawing.

    Attributes
    ----------
    ink : ndarray of float32, (H, W)
        Darkness of the lines in [0, 1], with their soft edges: 0 is paper, 1 is ink.
    """

    ink: np.ndarray

    @property
    def lines(self) -> np.ndarray:
        """Mask of the lines, (H, W) of bool."""
        return self.ink > INK

    def at(self, shape: tuple[int, int]) -> Drawing:
        """The drawing, resized to (height, width)."""
        return Drawing(resize(self.ink, shape))


def read_drawing(source: Source | Drawing, *, line_art: bool = False, name: str = "sketch") -> Drawing:
    """Read a line drawing, dark lines on light paper.

    The tone of the paper counts as white. A transparent drawing is put on white paper, or on black where its lines are
    light.

    Parameters
    ----------
    source : path, binary stream, PIL image, array or Drawing
        A `Drawing` is returned unchanged.
    line_art : bool
        Whether to take the edges of a photograph as the drawing.
    name : str
        What messages call a source that is not a file.

    Returns
    -------
    Drawing

    Raises
    ------
    ImageError
        If the picture cannot be read, is blank or is a photograph.

    Warns
    -----
    UserWarning
        If the lines are light on dark paper; they are inverted.
    """
    if isinstance(source, Drawing):
        return source
    name = str(source) if isinstance(source, str) or hasattr(source, "__fspath__") else name
    rgb, alpha = read_image(source, name=name)
    tone = grey(rgb)[..., 0]
    if alpha is not None:
        visible = tone[alpha > INK]
        paper = 0.0 if visible.size and np.median(visible) > 0.5 else 1.0
        tone = alpha * tone + (1 - alpha) * paper
    colourful = np.ptp(rgb - np.median(rgb, axis=(0, 1)), axis=2) > COLOURFUL
    ink = _edges(tone) if line_art else _ink(tone, colourful, name)
    if np.mean(ink > INK) < LEAST_INK:
        lack = "no edges" if line_art else "no lines"
        raise ImageError(f"{name} is blank: it has {lack}; give a drawing with dark lines on light paper.")
    return Drawing(ink.astype(np.float32))


def _ink(tone: np.ndarray, colourful: np.ndarray, name: str) -> np.ndarray:
    """Darkness of the lines relative to the paper, which is the most common tone; raises for a photograph."""
    if inverted := float(np.median(tone)) < 0.5:
        tone = 1 - tone
    paper = max(float(np.median(tone)), 0.5)
    ink = np.clip(1 - tone / paper, 0, 1)
    darkest = float(np.quantile(ink, 1 - LEAST_INK))
    if darkest > 0.25:  # Pencil lines are not black.
        ink = np.clip(ink / darkest, 0, 1)
    tones = float(np.mean(colourful | ((ink > 0.15) & (ink < 0.85))))
    if tones > MOST_TONES or np.mean(ink > 0.15) > MOST_LINES or (paper < LEAST_PAPER and np.ptp(tone) > 0.1):
        raise ImageError(
            f"{name} looks like a photograph: {tones:.0%} of it is neither paper nor ink; give a line drawing, or use "
            "--line-art (line_art=True), which draws the edges of the photograph."
        )
    if inverted and np.mean(ink > INK) >= LEAST_INK:
        warnings.warn(f"{name} has light lines on dark paper; it is inverted.", stacklevel=3)
    return ink


def _edges(tone: np.ndarray) -> np.ndarray:
    """Edges of a photograph as soft lines."""
    shape = fit(tone.shape, LINE_ART_SIDE)
    edges = skimage("feature").canny(resize(tone, shape), sigma=2.0, low_threshold=0.03, high_threshold=0.06)
    lines = scipy.ndimage.gaussian_filter(scipy.ndimage.binary_dilation(edges).astype(np.float32), 0.5)
    return resize(lines, tone.shape[:2])
