"""Colour profiles: from what a picture's colours are stored as to sRGB."""

import functools
import io
import warnings

import numpy as np
from PIL import Image, ImageCms


@functools.cache
def profile_of(space):
    """ICC profile of "sRGB" or "LAB", with a fixed date so that equal pictures give equal files."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes())
    profile[24:36] = bytes.fromhex("07e8 0001 0001 0000 0000 0000")
    return bytes(profile)


def conversion_from(profile, mode, name):
    """Transform from an ICC profile (bytes or None) to sRGB; None where there is nothing to convert.

    Its ``input_mode`` is `mode`, or RGB for a grey image that carries an RGB profile.
    """
    if not profile or profile == profile_of("sRGB"):
        return None
    try:
        source, target = (ImageCms.ImageCmsProfile(io.BytesIO(p)) for p in (profile, profile_of("sRGB")))
        if mode == "L" and source.profile.xcolor_space.strip() == "RGB":
            mode = "RGB"
        conversion = ImageCms.buildTransform(
            source,
            target,
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (OSError, ImageCms.PyCMSError):
        warnings.warn(f"{name} has a broken colour profile; its colours are taken as sRGB.", stacklevel=2)
        return None
    return None if _changes_nothing(conversion) else conversion


def _changes_nothing(conversion):
    """Whether the profile is sRGB under another name; then the pixels stay exactly what they are."""
    if conversion.input_mode not in ("L", "RGB"):
        return False
    steps = np.arange(0, 256, 15, dtype=np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(len(steps) ** 2, len(steps), 3)
    sample = Image.fromarray(colours).convert(conversion.input_mode)
    before, after = sample.convert("RGB"), ImageCms.applyTransform(sample, conversion)
    return np.abs(np.asarray(before, int) - np.asarray(after, int)).max() <= 1
