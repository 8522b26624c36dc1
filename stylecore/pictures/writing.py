"""Writing pictures, to files and to streams."""

from __future__ import annotations

import io
import json
import math
import os
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import IO, BinaryIO, cast

import numpy as np
from PIL import Image, PngImagePlugin

from stylecore.errors import ImageError
from stylecore.files import replacing
from stylecore.pictures import tiff
from stylecore.pictures.arrays import is_finite, to_pil
from stylecore.pictures.pillow import DESCRIPTION
from stylecore.pictures.profiles import profile_of
from stylecore.pictures.reading import SETTINGS

FORMATS = ("png", "jpg", "webp", "tif")
"""The formats that are written; "jpeg" and "tiff" are the same as "jpg" and "tif"."""

Target = str | os.PathLike[str] | BinaryIO
"""What `write_image` writes to."""

_ALIASES = {"jpeg": "jpg", "tiff": "tif"}
_NAMES = {"jpg": "JPEG", "webp": "WebP"}
_LONGEST_SIDE = {"jpg": 65500, "webp": 16383}
_MAX_EXIF_BYTES = {"jpg": 65533}  # a segment of a JPEG holds no more


def check_output(target: Target, shape: tuple[int, ...] | None = None, *, format: str | None = None) -> None:
    """Check that a picture can be written, before the work of making it.

    Parameters
    ----------
    target : str, path or binary stream
        Where the picture is to be written.
    shape : tuple of int, optional
        (H, W, ...) of the picture, if known; formats limit it.
    format : str, optional
        As for `write_image`.

    Raises
    ------
    ImageError
        If the format is unknown or not given, the folder is missing or not writable, the path is a folder or a
        write-protected file, or the format cannot hold a picture of that size.
    """
    name, kind = _name(target), _format(target, format)
    longest = _LONGEST_SIDE.get(kind)
    if shape and longest and max(shape[:2]) > longest:
        raise ImageError(f"{name} cannot be written: {_NAMES[kind]} holds at most {longest} pixels a side; use PNG.")
    if _is_stream(target) or _is_special(name):
        return
    path = Path(name)
    if os.path.isdir(path):
        raise ImageError(f"{path} is a folder; give the name of a picture in it.")
    if not os.path.isdir(path.parent):
        raise ImageError(f"{path} cannot be written: there is no folder {path.parent}; create it first.")
    try:
        with suppress(FileNotFoundError):
            path.open("r+b").close()
        tempfile.TemporaryFile(dir=path.parent).close()
    except (OSError, ValueError) as error:
        raise _not_written(name, error) from error


def write_image(
    target: Target,
    rgb: np.ndarray,
    *,
    alpha: np.ndarray | None = None,
    settings: dict | None = None,
    format: str | None = None,
    dpi: float | None = None,
) -> None:
    """Write a picture with the colour profile of sRGB; a file is written whole or not at all.

    The formats are PNG (8 bits per channel), TIFF (16 bits per channel), JPEG (quality 95, full chroma resolution) and
    WebP (quality 95).

    Parameters
    ----------
    target : str, path or binary stream
        A path ending in .png, .jpg, .jpeg, .webp, .tif or .tiff, whose file is replaced if it exists; or an object with
        ``write``, such as an open file, which need not be seekable and is not closed.
    rgb : ndarray of float, shape (H, W, 3)
        sRGB; values outside [0, 1] are clipped.
    alpha : ndarray of float, shape (H, W), optional
        Opacity in [0, 1]. JPEG has none: there the picture is composited on white.
    settings : dict, optional
        What made the picture, for `read_settings`; anything that JSON can hold.
    format : {"png", "jpg", "webp", "tif"}, optional
        Needed for a stream; for a path, it overrides the suffix.
    dpi : float, optional
        Resolution of a print in pixels per inch, for the file; WebP has no place for it.

    Raises
    ------
    ImageError
        If the picture cannot be written there, is not of the above shape, or holds values that are not
        finite, or if the settings cannot be converted to JSON.

    Warns
    -----
    UserWarning
        If the settings are too long for the format (64 kB for JPEG); the picture is written without them.
    """
    check_output(target, rgb.shape, format=format)
    name, kind = _name(target), _format(target, format)
    planes = [rgb] if alpha is None else [rgb, alpha]
    fits = rgb.shape[2:] == (3,) and rgb.size and (alpha is None or alpha.shape == rgb.shape[:2])
    if not fits or not all(np.issubdtype(plane.dtype, np.floating) for plane in planes):
        raise ImageError(f"{name} is not written: a picture is floats of shape (H, W, 3), its alpha (H, W).")
    if not all(is_finite(plane) for plane in planes):
        raise ImageError(f"{name} is not written: the picture holds values that are not finite.")
    try:
        text = "" if settings is None else json.dumps(settings)  # pure ASCII, as TIFF and EXIF require
    except (TypeError, ValueError) as error:
        raise ImageError(f"{name} is not written: its settings cannot be converted to JSON ({error}).") from error
    if len(_describe(text)) > _MAX_EXIF_BYTES.get(kind, math.inf):
        warnings.warn(
            f"{name} is written without its settings, which are too long for {_NAMES[kind]}; PNG would keep them.",
            stacklevel=2,
        )
        text = ""
    try:
        if _is_stream(target) or _is_special(name):
            _write_to_stream(target, kind, rgb, alpha, text, dpi)
        else:
            with replacing(name) as file:
                _ENCODERS[kind](file, rgb, alpha, text, dpi)
    except (OSError, ValueError) as error:
        raise _not_written(name, error) from error


def _is_stream(target: Target) -> bool:
    return hasattr(target, "write")


def _is_special(name: str) -> bool:
    """Whether a path is a pipe or a device, which is written to and not replaced."""
    return os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name)


def _name(target: Target) -> str:
    """What messages call a target."""
    if isinstance(target, io.TextIOBase):
        raise ImageError("the output stream is a text stream; open it in binary mode.")
    if _is_stream(target):
        return "the output stream"
    if not isinstance(target, str | os.PathLike):
        raise ImageError(f"the output is of type {type(target).__name__}; give a path or a binary stream.")
    if not (name := os.fsdecode(target)):
        raise ImageError("the file name of the output is empty; give the path of the picture to write.")
    return name


def _format(target: Target, format: str | None) -> str:
    """One of `FORMATS`, by its name or by a path's suffix."""
    known = ", ".join(FORMATS)
    if format is None and _is_stream(target):
        raise ImageError(f"a stream has no suffix to choose a format by; give format= as one of {known}.")
    kind = Path(_name(target)).suffix if format is None else str(format)
    kind = kind.lower().removeprefix(".")
    kind = _ALIASES.get(kind, kind)
    if kind not in FORMATS:
        if format is not None:
            raise ImageError(f'format "{format}" is not known; choose one of {known}.')
        raise ImageError(f"{_name(target)} has no suffix of a known picture format; use one of .{', .'.join(FORMATS)}.")
    return kind


def _not_written(name: str, error: Exception) -> ImageError:
    reason = getattr(error, "strerror", None) or error
    return ImageError(f"{name} cannot be written ({reason}); check where it leads, or choose another.")


def _write_to_stream(
    target: Target, kind: str, rgb: np.ndarray, alpha: np.ndarray | None, text: str, dpi: float | None
) -> None:
    encoded = io.BytesIO()  # as a pipe is not seekable
    _ENCODERS[kind](encoded, rgb, alpha, text, dpi)
    if _is_stream(target):
        stream = cast(BinaryIO, target)
        stream.write(encoded.getbuffer())
        if hasattr(stream, "flush"):
            stream.flush()
    else:
        with open(cast(str, target), "wb") as file:
            file.write(encoded.getbuffer())


def _write_png(file: IO[bytes], rgb: np.ndarray, alpha: np.ndarray | None, text: str, dpi: float | None) -> None:
    chunks = PngImagePlugin.PngInfo()
    if text:
        chunks.add_text(SETTINGS, text)
    _save(to_pil(rgb, alpha), file, "PNG", pnginfo=chunks, **_resolution(dpi))


def _write_jpeg(file: IO[bytes], rgb: np.ndarray, alpha: np.ndarray | None, text: str, dpi: float | None) -> None:
    if alpha is not None:
        rgb = 1 - alpha[:, :, None] * (1 - np.clip(rgb, 0, 1))
    options = {"quality": 95, "subsampling": "4:4:4", "exif": _describe(text), **_resolution(dpi)}
    _save(to_pil(rgb), file, "JPEG", **options)


def _write_webp(file: IO[bytes], rgb: np.ndarray, alpha: np.ndarray | None, text: str, dpi: float | None) -> None:
    # "exact" keeps the colours under transparent pixels.
    _save(to_pil(rgb, alpha), file, "WebP", quality=95, exact=True, exif=_describe(text))


def _write_tiff(file: IO[bytes], rgb: np.ndarray, alpha: np.ndarray | None, text: str, dpi: float | None) -> None:
    tiff.write(file, rgb, alpha, _tagged(text), profile_of("sRGB"), dpi)


def _resolution(dpi: float | None) -> dict[str, tuple[float, float]]:
    """The option of Pillow for the resolution, if there is one."""
    return {} if dpi is None else {"dpi": (dpi, dpi)}


_ENCODERS = {"png": _write_png, "jpg": _write_jpeg, "webp": _write_webp, "tif": _write_tiff}


def _save(image: Image.Image, file: IO[bytes], kind: str, **options: object) -> None:
    # Writing to a file by itself, Pillow does not notice that the disk is full when its last block does not fit.
    encoded = io.BytesIO()
    image.save(encoded, kind, icc_profile=profile_of("sRGB"), **options)
    file.write(encoded.getbuffer())


def _tagged(text: str) -> str:
    """Mark settings as ours, for a field that other programs use too; empty for none."""
    return f'{{"{SETTINGS}": {text}}}' if text else ""


def _describe(text: str) -> bytes:
    """EXIF with the settings as ImageDescription; empty for none."""
    if not text:
        return b""
    exif = Image.Exif()
    exif[DESCRIPTION] = _tagged(text)
    return exif.tobytes()
