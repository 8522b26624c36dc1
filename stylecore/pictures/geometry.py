"""The size and the shape of pictures: fitting, cropping and resizing."""

import re

import numpy as np
from PIL import Image

from stylecore.errors import ParameterError


def fit(shape, longer_side):
    """Size with the same aspect ratio and a given longer side.

    Parameters
    ----------
    shape : tuple of int
        (H, W, ...), in pixels.
    longer_side : int
        Length of the longer side afterwards, in pixels.

    Returns
    -------
    tuple of int
        (height, width), each at least 1.
    """
    scale = longer_side / max(shape[:2])
    height, width = (max(1, round(side * scale)) for side in shape[:2])
    return height, width


def shape_for(size, shape):
    """Size of a picture that is asked for in one of three ways.

    Parameters
    ----------
    size : int, (int, int) or str
        The longer side in pixels; (width, height), or such as "640x480"; or a factor, such as "1.5x".
    shape : tuple of int
        (H, W, ...) of the picture that the longer side or the factor is of.

    Returns
    -------
    tuple of int
        (height, width)

    Raises
    ------
    ParameterError
        If the size is none of these, or nothing would be left.
    """
    if isinstance(size, str):
        if match := re.fullmatch(r"(\d+)x(\d+)", size):
            size = tuple(map(int, match.groups()))
        elif match := re.fullmatch(r"(\d+\.?\d*|\.\d+)x", size):
            size = round(float(match[1]) * max(shape[:2]))
    sides = size if isinstance(size, (tuple, list)) and len(size) == 2 else [size]
    for side in sides:
        if isinstance(side, bool) or not isinstance(side, (int, np.integer)) or side < 1:
            raise ParameterError(
                f"size is {size!r}; it must be the longer side in pixels, one or more, or such as 640x480 or 1.5x."
            )
    return fit(shape, size) if len(sides) == 1 else (int(size[1]), int(size[0]))


def crop(array, shape):
    """The largest part about the middle of a picture or a mask that has another shape's aspect.

    Parameters
    ----------
    array : ndarray, shape (H, W) or (H, W, C)
    shape : tuple of int
        (height, width) with the aspect.

    Returns
    -------
    ndarray
        A view; the array itself where the aspect differs only by the rounding of `fit`.
    """
    if fit(array.shape, max(shape[:2])) == tuple(shape[:2]):
        return array
    scale = min(array.shape[0] / shape[0], array.shape[1] / shape[1])
    height, width = (max(1, round(side * scale)) for side in shape[:2])
    top, left = (array.shape[0] - height) // 2, (array.shape[1] - width) // 2
    return array[top : top + height, left : left + width]


def resize(array, shape, alpha=None):
    """Scale a picture or a mask up or down, with Lanczos' filter widened to the scale (no aliasing).

    Parameters
    ----------
    array : ndarray, shape (H, W) or (H, W, C)
        Values in [0, 1].
    shape : tuple of int
        (height, width) afterwards.

    Returns
    -------
    ndarray of float32, shape (height, width) or (height, width, C)
        Values in [0, 1]; the array itself if it has that size already.
    """
    if array.shape[:2] == tuple(shape[:2]):
        return array
    planes = array.reshape(*array.shape[:2], -1)
    height, width = shape[:2]
    scaled = np.empty((height, width, planes.shape[2]), np.float32)
    for c in range(planes.shape[2]):
        plane = Image.fromarray(np.ascontiguousarray(planes[:, :, c], np.float32))
        scaled[:, :, c] = plane.resize((width, height), Image.Resampling.LANCZOS)
    return scaled.clip(0, 1, out=scaled).reshape(height, width, *array.shape[2:])
