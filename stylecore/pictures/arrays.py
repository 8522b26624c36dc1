"""Arrays of pictures: checked, scaled to [0, 1], and rounded to the levels of a file.

A picture is an array of shape (H, W, 3) in sRGB, float32 in [0, 1]; its opacity is a separate array of shape (H, W).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from PIL import Image

from stylecore import memory
from stylecore.errors import ImageError, TooLargeError

CHUNK = 1024
"""Side in pixels of the chunks of an array of Dask."""

MAX_PIXELS = 1_000_000_000
"""The largest picture that is read: a gigapixel is A0 at 750 dots per inch."""


def check_size(height: int, width: int, name: str) -> None:
    """Raise ImageError if a picture of this size cannot be used.

    Parameters
    ----------
    height, width : int
        In pixels.
    name : str
        The picture's name in messages.
    """
    if height * width < 2:
        raise ImageError(f"{name} has only {width} x {height} pixels; use a larger picture.")
    if height * width > MAX_PIXELS:
        raise ImageError(f"{name} has {width} x {height} pixels, over a gigapixel; scale it down first.")


def check_memory(height: int, width: int, name: str, *, stored_bytes: int = 3) -> None:
    """Raise TooLargeError if the free memory cannot hold a picture while it is read.

    Parameters
    ----------
    height, width : int
        In pixels.
    name : str
        The picture's name in messages.
    stored_bytes : int
        Bytes of a pixel as the file stores it; beside them, its float32 colours are held twice for a moment.
    """
    if not fits_memory(height, width, stored_bytes=stored_bytes):
        needed, free = _bytes(height, width, stored_bytes) / 2**30, (memory.available() or 0) / 2**30
        raise TooLargeError(
            f"{name} has {width} x {height} pixels, which need {needed:.1f} GB of memory, and {free:.1f} GB are free; "
            "scale it down first."
        )


def fits_memory(height: int, width: int, *, stored_bytes: int = 3) -> bool:
    """Whether the free memory, as far as it is known, can hold a picture while it is read; see `check_memory`."""
    free = memory.available()
    return free is None or _bytes(height, width, stored_bytes) <= free


def _bytes(height: int, width: int, stored_bytes: int) -> int:
    return height * width * (stored_bytes + 2 * 3 * 4)


def from_array(array: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Turn any array that `read_image` accepts into colours and opacity.

    Parameters
    ----------
    array : ndarray, shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)
        Of uint8, uint16, or floats in [0, 1].
    name : str
        The picture's name in messages.

    Returns
    -------
    rgb : ndarray of float32 or float64, shape (H, W, 3)
        In [0, 1], C contiguous; a copy.
    alpha : ndarray, shape (H, W), or None
        In [0, 1].

    Raises
    ------
    ImageError
        If the shape, the type or the values are not as above.
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ImageError(f"{name} has shape {array.shape}; give (height, width) or (height, width, 1, 3 or 4).")
    check_size(array.shape[0], array.shape[1], name)
    array = scaled(array, name)
    rgb = array[:, :, :3] if array.shape[2] >= 3 else np.repeat(array, 3, axis=2)
    alpha = np.ascontiguousarray(array[:, :, 3]) if array.shape[2] == 4 else None
    return np.ascontiguousarray(rgb), alpha


def scaled(array: np.ndarray, name: str) -> np.ndarray:
    """Scale the levels of a file to [0, 1].

    Parameters
    ----------
    array : ndarray of uint8, uint16 or floats
        Floats are in [0, 1] already, but for rounding, and are clipped.
    name : str
        The picture's name in messages.

    Returns
    -------
    ndarray of float32, or float64 if the array is of float64
        A copy.

    Raises
    ------
    ImageError
        If the array is of another type, or holds floats outside [0, 1].
    """
    if array.dtype.type in (np.uint8, np.uint16):
        return array / np.float32(np.iinfo(array.dtype).max)
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(f"{name} is of type {array.dtype}; give uint8, uint16, or floats in [0, 1].")
    _check_range(array, name)
    return array.clip(0, 1).astype(np.float64 if array.dtype == np.float64 else np.float32)


def _check_range(array: np.ndarray, name: str) -> None:
    if not is_finite(array):
        raise ImageError(f"{name} holds values that are not finite (NaN or infinity); replace them first.")
    low, high = array.min(), array.max()
    slack = 1e-3  # Rounding may exceed [0, 1] slightly; a quarter of an 8-bit step is invisible.
    if low < -slack or high > 1 + slack:
        looks_like = 255 if high <= 255 else 65535
        advice = f"divide by {looks_like}" if low >= 0 and 2 < high <= looks_like else "scale them"
        raise ImageError(f"{name} has values from {low:.4g} to {high:.4g}, outside [0, 1]; {advice} first.")


def is_finite(array: np.ndarray) -> bool:
    """Whether all values of an array are finite, computed without a temporary array of its size."""
    return bool(np.isfinite(array.min()) and np.isfinite(array.max()))


def quantise(array: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """Round floats to the full range of an unsigned integer type.

    Parameters
    ----------
    array : ndarray of float, shape (H, W, ...)
        Values outside [0, 1] are clipped.
    dtype : dtype
        Such as uint8, whose levels are 0 to 255.

    Returns
    -------
    ndarray of `dtype`, of the same shape
    """
    levels = np.empty(array.shape, dtype)
    for top in range(0, len(array), 64):  # a few rows at a time, so that temporary arrays stay small
        rows = slice(top, top + 64)
        levels[rows] = np.rint(np.clip(array[rows], 0, 1) * np.iinfo(levels.dtype).max)
    return levels


def to_pil(rgb: np.ndarray, alpha: np.ndarray | None = None) -> Image.Image:
    """Make a Pillow image, to display or to process further.

    Parameters
    ----------
    rgb : ndarray of float, shape (H, W, 3)
        sRGB; values outside [0, 1] are clipped.
    alpha : ndarray of float, shape (H, W), optional
        Opacity in [0, 1].

    Returns
    -------
    PIL.Image.Image
        Mode RGB, or RGBA if `alpha` is given; 8 bits per channel.
    """
    image = Image.fromarray(quantise(rgb, np.uint8))
    if alpha is not None:
        image.putalpha(Image.fromarray(quantise(alpha, np.uint8)))
    return image


def like(picture: np.ndarray, source: object) -> Any:
    """A picture as an array of the kind of another one: of Dask, with its chunks in tiles, or of Zarr.

    Parameters
    ----------
    picture : ndarray, shape (H, W, 3)
    source : object
        What a picture was read from.

    Returns
    -------
    dask.array.Array, zarr.Array or ndarray
        The picture itself, if `source` is anything else.
    """
    kind = type(source).__module__.partition(".")[0]
    if kind == "dask":
        return import_module("dask.array").from_array(picture, chunks=(CHUNK, CHUNK, 3))
    return import_module("zarr").array(picture) if kind == "zarr" else picture
