"""Arrays of pictures: checked and brought to [0, 1], and rounded to the levels of a file.

An array is (H, W, 3) in sRGB, float32 in [0, 1]; transparency travels beside it as an (H, W) array.
"""

import numpy as np
from PIL import Image

from stylecore.errors import ImageError

MAX_PIXELS = 1_000_000_000

"""The largest picture that is read: a gigapixel is A0 at 750 dots per inch."""


def check_size(height, width, name):
    """Raise ImageError if a picture of this size cannot be used."""
    if height * width < 2:
        raise ImageError(f"{name} has only {width} x {height} pixels; use a larger picture.")
    if height * width > MAX_PIXELS:
        raise ImageError(f"{name} has {width} x {height} pixels, over a gigapixel; scale it down first.")


def from_array(array, name):
    """Turn any array that `read_image` takes into (rgb, alpha)."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ImageError(f"{name} has shape {array.shape}; give (height, width) or (height, width, 1, 3 or 4).")
    check_size(*array.shape[:2], name)
    if array.dtype.type in (np.uint8, np.uint16):
        array = array / np.float32(np.iinfo(array.dtype).max)
    elif np.issubdtype(array.dtype, np.floating):
        _check_range(array, name)
        array = array.clip(0, 1).astype(np.float64 if array.dtype == np.float64 else np.float32)
    else:
        raise ImageError(f"{name} is of type {array.dtype}; give uint8, uint16, or floats in [0, 1].")
    rgb = array[:, :, :3] if array.shape[2] >= 3 else np.repeat(array, 3, axis=2)
    alpha = np.ascontiguousarray(array[:, :, 3]) if array.shape[2] == 4 else None
    return np.ascontiguousarray(rgb), alpha


def _check_range(array, name):
    if not is_finite(array):
        raise ImageError(f"{name} holds values that are not finite (NaN or infinity); replace them first.")
    low, high = array.min(), array.max()
    slack = 1e-3  # Rounding may leave [0, 1] by a little; a quarter of an 8-bit step is invisible.
    if low < -slack or high > 1 + slack:
        looks_like = 255 if high <= 255 else 65535
        advice = f"divide by {looks_like}" if low >= 0 and 2 < high <= looks_like else "scale them"
        raise ImageError(f"{name} has values from {low:.4g} to {high:.4g}, outside [0, 1]; {advice} first.")


def is_finite(array):
    """Whether all values of an array are finite, without a temporary array of its size."""
    return np.isfinite(array.min()) and np.isfinite(array.max())


def quantise(array, dtype):
    """Round floats in [0, 1] to the full range of an unsigned type, a few rows at a time to save memory."""
    levels = np.empty(array.shape, dtype)
    for top in range(0, len(array), 64):
        rows = slice(top, top + 64)
        levels[rows] = np.rint(np.clip(array[rows], 0, 1) * np.iinfo(dtype).max)
    return levels


def to_pil(rgb, alpha=None):
    """Make a Pillow image, for showing or for further work.

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
