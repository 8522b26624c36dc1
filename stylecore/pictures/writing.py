"""Writing pictures."""

import io
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from stylecore.errors import ImageError
from stylecore.files import replacing
from stylecore.pictures import tiff16
from stylecore.pictures.arrays import is_finite, quantise, to_pil
from stylecore.pictures.profiles import profile_of
from stylecore.pictures.reading import DESCRIPTION, SETTINGS

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WebP", ".tif": "TIFF", ".tiff": "TIFF"}


_LONGEST_SIDE = {"JPEG": 65500, "WebP": 16383}


def check_output(path, shape=None, format=None):
    """Find out before the work whether a picture can be written afterwards.

    Parameters
    ----------
    path : str or path
        Where the picture is to be written.
    shape : tuple of int, optional
        (H, W, ...) of the picture, if known; formats limit it.

    Raises
    ------
    ImageError
        If the suffix is unknown, the folder is missing or closed to writing, the path is a folder or a
        write-protected file, or the format cannot hold a picture of that size.
    """
    path = Path(path)
    kind = _format(path)
    longest = _LONGEST_SIDE.get(kind)
    if shape and longest and max(shape[:2]) > longest:
        raise ImageError(f"{path} cannot be written: {kind} holds at most {longest} pixels a side; use PNG.")
    if os.path.isdir(path):
        raise ImageError(f"{path} is a folder; give the name of a picture in it.")
    if not os.path.isdir(path.parent):
        raise ImageError(f"{path} cannot be written: there is no folder {path.parent}; create it first.")
    try:
        with suppress(FileNotFoundError):
            path.open("r+b").close()
        tempfile.TemporaryFile(dir=path.parent).close()
    except (OSError, ValueError) as error:
        raise _not_written(path, error) from error


def _format(path):
    """Pillow's name of the format that a path's suffix stands for."""
    try:
        return _FORMATS[path.suffix.lower()]
    except KeyError:
        known = ", ".join(_FORMATS)
        raise ImageError(f"{path} has no suffix of a known picture format; use one of {known}.") from None


def _not_written(path, error):
    reason = getattr(error, "strerror", None) or error
    return ImageError(f"{path} cannot be written ({reason}); check the folder, or choose another.")


def write_image(path, rgb, *, alpha=None, settings=None, format=None):
    """Write a picture whole or not at all, with the colour profile of sRGB.

    The suffix tells the format: PNG (8 bits per channel), TIFF (16 bits per channel), JPEG (quality 95, full
    chroma) or WebP (quality 95).

    Parameters
    ----------
    path : str or path
        Ends in .png, .jpg, .jpeg, .webp, .tif or .tiff; an existing file is replaced.
    rgb : ndarray of float, shape (H, W, 3)
        sRGB; values outside [0, 1] are clipped.
    alpha : ndarray of float, shape (H, W), optional
        Opacity in [0, 1]. JPEG knows none: there the picture is laid on white.
    settings : dict, optional
        What made the picture, for `read_settings`; anything that JSON can hold.

    Raises
    ------
    ImageError
        If the picture cannot be written there, is not of the above shape, or holds values that are not
        finite, or if the settings cannot be put into JSON.
    """
    path = Path(path)
    check_output(path, rgb.shape)
    planes = [rgb] if alpha is None else [rgb, alpha]
    fits = rgb.shape[2:] == (3,) and rgb.size and (alpha is None or alpha.shape == rgb.shape[:2])
    if not fits or not all(np.issubdtype(plane.dtype, np.floating) for plane in planes):
        raise ImageError(f"{path} is not written: a picture is floats of shape (H, W, 3), its alpha (H, W).")
    if not all(is_finite(plane) for plane in planes):
        raise ImageError(f"{path} is not written: the picture holds values that are not finite.")
    try:
        text = json.dumps(settings)  # pure ASCII, as TIFF and EXIF want it
    except (TypeError, ValueError) as error:
        raise ImageError(f"{path} is not written: its settings cannot be put into JSON ({error}).") from error

    try:
        with replacing(path) as file:
            _ENCODERS[_format(path)](file, rgb, alpha, None if settings is None else text)
    except (OSError, ValueError) as error:
        raise _not_written(path, error) from error


def _write_png(file, rgb, alpha, text):
    chunks = PngImagePlugin.PngInfo()
    if text:
        chunks.add_text(SETTINGS, text)
    _save(to_pil(rgb, alpha), file, "PNG", pnginfo=chunks)


def _write_jpeg(file, rgb, alpha, text):
    if alpha is not None:
        rgb = 1 - alpha[:, :, None] * (1 - np.clip(rgb, 0, 1))
    _save(to_pil(rgb), file, "JPEG", quality=95, subsampling="4:4:4", exif=_describe(text))


def _write_webp(file, rgb, alpha, text):
    # "exact" keeps the colours under transparent pixels.
    _save(to_pil(rgb, alpha), file, "WebP", quality=95, exact=True, exif=_describe(text))


def _write_tiff(file, rgb, alpha, text):
    planes = rgb if alpha is None else np.dstack([rgb, alpha])
    tiff16.write(file, quantise(planes, np.uint16), _tagged(text), profile_of("sRGB"))


_ENCODERS = {"PNG": _write_png, "JPEG": _write_jpeg, "WebP": _write_webp, "TIFF": _write_tiff}


def _save(image, file, kind, **options):
    # Writing to a file by itself, Pillow overlooks that the disk is full when its last block does not fit.
    encoded = io.BytesIO()
    image.save(encoded, kind, icc_profile=profile_of("sRGB"), **options)
    file.write(encoded.getbuffer())


def _tagged(text):
    """Mark settings as ours, for a field that other programs use too; empty for none."""
    return f'{{"{SETTINGS}": {text}}}' if text else ""


def _describe(text):
    """EXIF with the settings as ImageDescription."""
    exif = Image.Exif()
    if text:
        exif[DESCRIPTION] = _tagged(text)
    return exif
