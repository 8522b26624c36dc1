"""Size and shape of pictures: fitting, cropping and resizing."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image

from stylecore.errors import ParameterError
from stylecore.pictures.arrays import MAX_PIXELS

INVISIBLE = 0.5 / 255
"""Opacity below which nothing is visible: it rounds to zero at 8 bits."""

# Rows of a resized picture that are converted at a time.
BAND = 256


def fit(shape: Sequence[int], longer_side: int) -> tuple[int, int]:
    """Size with the same aspect ratio and a given longer side.

    Parameters
    ----------
    shape : tuple of int
        (H, W, ...), in pixels.
    longer_side : int
        Length of the longer side of the result, in pixels.

    Returns
    -------
    tuple of int
        (height, width), each at least 1.
    """
    scale = longer_side / max(shape[:2])
    height, width = (max(1, round(side * scale)) for side in shape[:2])
    return height, width


def shape_for(size: int | Sequence[int] | str, shape: Sequence[int]) -> tuple[int, int]:
    """Size of a picture, requested in one of three ways.

    Parameters
    ----------
    size : int, (int, int) or str
        The longer side in pixels; (width, height), or a string such as "640x480"; or a factor, such as "1.5x".
    shape : tuple of int
        (H, W, ...) of the picture that the longer side or the factor refers to.

    Returns
    -------
    tuple of int
        (height, width)

    Raises
    ------
    ParameterError
        If the size is none of these, is below one pixel, or gives over a gigapixel.
    """
    sides = _sides(size, shape)
    for side in sides:
        if isinstance(side, bool) or not isinstance(side, int | np.integer) or side < 1:
            raise ParameterError(
                f"size is {size!r}; it must be the longer side in pixels, one or more, or such as 640x480 or 1.5x."
            )
    if max(sides) <= MAX_PIXELS:
        height, width = fit(shape, sides[0]) if len(sides) == 1 else (int(sides[1]), int(sides[0]))
        if height * width <= MAX_PIXELS:
            return height, width
    raise ParameterError(f"size {size!s:.30} gives a picture of over a gigapixel; choose a smaller one.")


def _sides(size: int | Sequence[int] | str, shape: Sequence[int]) -> list:
    """The longer side alone, or width and height."""
    if isinstance(size, str):
        if match := re.fullmatch(r"(\d{1,12})x(\d{1,12})", size):
            return [int(side) for side in match.groups()]
        if match := re.fullmatch(r"(\d{1,12}(?:\.\d*)?|\.\d+)x", size):
            return [round(float(match[1]) * max(shape[:2]))]
    return list(size) if isinstance(size, tuple | list) and len(size) == 2 else [size]


def crop(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Crop a picture, its opacity or a mask centrally to the aspect ratio of another shape.

    Parameters
    ----------
    array : ndarray, shape (H, W) or (H, W, C)
    shape : tuple of int
        (height, width) with the aspect ratio.

    Returns
    -------
    ndarray
        A view of the largest such part; the array itself where the aspect ratio differs only by the rounding of `fit`.
    """
    if fit(array.shape, max(shape[:2])) == tuple(shape[:2]):
        return array
    scale = min(array.shape[0] / shape[0], array.shape[1] / shape[1])
    height, width = (max(1, round(side * scale)) for side in shape[:2])
    top, left = (array.shape[0] - height) // 2, (array.shape[1] - width) // 2
    return array[top : top + height, left : left + width]


def resize(
    array: np.ndarray, shape: Sequence[int], alpha: np.ndarray | None = None, *, wraps: bool = False
) -> np.ndarray:
    """Resize a picture, its opacity or a mask by Lanczos resampling, with antialiasing.

    Parameters
    ----------
    array : ndarray, shape (H, W) or (H, W, C)
        Values in [0, 1].
    shape : tuple of int
        (height, width) of the result.
    alpha : ndarray, shape (H, W), optional
        Opacity of the picture, in [0, 1]. With it, colours are weighted by their opacity (premultiplied), so that
        colours of transparent pixels do not bleed into visible ones. Where the result is invisible, they are not
        weighted.
    wraps : bool
        Whether opposite edges of the picture, which has no `alpha` then, meet.

    Returns
    -------
    ndarray of float32, shape (height, width) or (height, width, C)
        Values in [0, 1]; the array itself if it has that size already.
    """
    if array.shape[:2] == tuple(shape[:2]):
        return array
    margin = 0
    if wraps:  # By what Lanczos resampling sees around a pixel.
        margin = 4 * max(1, -(-max(array.shape[:2]) // max(shape[:2])))
        array = np.pad(array, [(margin, margin)] * 2 + [(0, 0)] * (array.ndim - 2), "wrap")
    scaled = _resampled(array, shape, margin)
    if alpha is not None:
        opacity = _resampled(alpha, shape)
        visible = opacity > INVISIBLE
        weighted = _resampled(array * alpha.reshape(alpha.shape + (1,) * (array.ndim - 2)), shape)
        scaled[visible] = (weighted[visible].T / opacity[visible]).T
    return scaled.clip(0, 1, out=scaled)


def _resampled(array: np.ndarray, shape: Sequence[int], margin: int = 0) -> np.ndarray:
    """Lanczos resampling of an array within its margin, whose values may exceed those of the array slightly."""
    planes = array.reshape(*array.shape[:2], -1)
    height, width = shape[:2]
    scaled = np.empty((height, width, planes.shape[2]), np.float32)
    box = margin, margin, array.shape[1] - margin, array.shape[0] - margin
    for c in range(planes.shape[2]):
        plane = Image.fromarray(np.ascontiguousarray(planes[:, :, c], np.float32))
        plane = plane.resize((width, height), Image.Resampling.LANCZOS, box)
        # In bands, since Pillow makes two copies of what it exports.
        for top in range(0, height, BAND):
            bottom = min(top + BAND, height)
            scaled[top:bottom, :, c] = np.asarray(plane.crop((0, top, width, bottom)))
    return scaled.reshape(height, width, *array.shape[2:])
