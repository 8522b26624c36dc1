"""Reading pictures: from files, streams, Pillow images and arrays, to sRGB arrays with their opacity apart."""

from __future__ import annotations

import io
import json
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, cast

import numpy as np
import PIL
import tifffile
from PIL import Image

from stylecore.errors import ImageError, TooLargeError
from stylecore.pictures import formats, pillow, tiff
from stylecore.pictures.arrays import from_array
from stylecore.pictures.profiles import to_srgb

SETTINGS = "stylecore"
"""Name under which settings are stored in a picture."""

MAX_STREAM_BYTES = 2**30
"""The most that is read from a stream or a pipe, which must be held in memory; files have no such limit."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".heic")
"""Suffixes of the files of a folder that are taken for pictures."""

Source = str | os.PathLike[str] | BinaryIO | Image.Image | np.ndarray
"""What `read_image` accepts."""

_LIBRARIES = tuple(os.path.dirname(cast(str, module.__file__)) for module in (PIL, tifffile))

# Guards the settings of Pillow, and the filters of warnings, which are changed while a picture is decoded.
_decoding_lock = threading.Lock()


def read_image(source: Source, *, name: str = "image") -> tuple[np.ndarray, np.ndarray | None]:
    """Read a picture as sRGB, upright, with its opacity apart.

    EXIF orientation is applied. Colours are converted to sRGB from an embedded ICC profile or from a PNG's gamma and
    chromaticities. 16-bit greys keep their precision, as do colours of 16 bits or floats in TIFF, if tifffile decodes
    them; 16-bit colours in PNG, and those that a profile converts, are read at 8 bits. Of an animation or a document,
    the first frame or page is read. Colours under transparent pixels stay as they are stored.

    Parameters
    ----------
    source : str, path, binary stream, PIL.Image.Image or ndarray
        A file, which may be a pipe; an object with ``read``, such as an open file, which is read to its end; a Pillow
        image; or an array of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), of uint8, uint16, or floats in [0, 1],
        which may also be one of Dask, Zarr or another library with ``__array__``.
    name : str
        What messages call a source that is not a file, such as "content image".

    Returns
    -------
    rgb : ndarray of float32, shape (H, W, 3)
        sRGB in [0, 1], C contiguous; float64 if an array of float64 was given.
    alpha : ndarray, shape (H, W), or None
        Opacity in [0, 1]; None where the picture has none.

    Raises
    ------
    ImageError
        If the picture is missing, unreadable, damaged, too large or of an unsupported format, or an array is not one
        of the above.
    TooLargeError
        If the picture does not fit into the free memory.

    Warns
    -----
    UserWarning
        If the file has further frames or pages, or flaws that do not prevent it from being read.
    """
    if isinstance(source, np.ndarray):
        return from_array(source, name)
    if hasattr(source, "__array__") and hasattr(source, "dtype"):  # Such as an array of Dask or Zarr.
        return from_array(np.asarray(source), name)
    if isinstance(source, Image.Image):
        with _decoding(name):
            return _finished(*pillow.read(source, name), name)
    with _opened(source, name) as (file, name), _decoding(name):
        if _is_tiff(file) and (page := tiff.read(file, name)):
            pixels = to_srgb(page.pixels, page.mode, page.profile, name)
            return _finished(pixels, page.alpha, page.orientation, name)
        return _finished(*pillow.read_file(file, name), name)


def read_settings(source: str | os.PathLike[str] | BinaryIO, *, name: str = "image") -> dict | None:
    """Read the settings that `write_image` stored in a picture.

    Parameters
    ----------
    source : str, path or binary stream
        A picture of any format.
    name : str
        What messages call a stream.

    Returns
    -------
    dict or None
        The settings; None if the picture holds none.

    Raises
    ------
    ImageError
        If the file is missing, unreadable or not a picture.
    """
    text: object = None
    with _opened(source, name) as (file, name), _decoding(name):
        if _is_tiff(file):
            description: object = tiff.read_description(file)
        else:
            with pillow.opened(file, name) as image:
                text = image.info.get(SETTINGS)
                description = pillow.exif(image).get(pillow.DESCRIPTION)
    try:
        return json.loads(cast(str, text)) if text else json.loads(cast(str, description))[SETTINGS]
    except (TypeError, ValueError, LookupError):
        return None


def lossy_format(source: object) -> str | None:
    """Name the format of a file that does not keep colours exactly.

    Parameters
    ----------
    source : object
        What was given as a picture.

    Returns
    -------
    str or None
        "JPEG", "WebP", "HEIF" or "AVIF"; None for any other file, and for what is not a path to a regular file.
    """
    if not isinstance(source, str | os.PathLike) or not os.path.isfile(source):
        return None
    with suppress(OSError), open(source, "rb") as file:
        kind = formats.recognise(file.read(formats.HEADER_BYTES))
        return kind if kind in ("JPEG", "WebP", "HEIF", "AVIF") else None
    return None


# Files and streams


@contextmanager
def _opened(source: object, name: str) -> Iterator[tuple[BinaryIO, str]]:
    """Open a path or take a stream, as a seekable file at its start; yields it with its name in messages."""
    if hasattr(source, "read"):
        yield _in_memory(cast(BinaryIO, source), name), name
        return
    if not isinstance(source, str | os.PathLike):
        kind = type(source).__name__
        raise ImageError(f"{name} is of type {kind}; give a path, a binary stream, a Pillow image or a NumPy array.")
    path = os.fsdecode(source)
    if not path:
        raise ImageError(f"the file name of the {name} is empty; give the path of a picture.")
    if os.path.isdir(path):
        raise ImageError(f"{path} is a folder; name a picture in it.")
    try:
        file = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist; check the path.") from error
    except PermissionError as error:
        raise ImageError(f"{path} may not be read; change its permissions.") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be opened ({getattr(error, 'strerror', None) or error}).") from error
    with file:
        regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        yield (file if regular else _in_memory(file, path)), path


def _in_memory(stream: BinaryIO, name: str) -> BinaryIO:
    """Read a stream to its end, once, as it may not be seekable."""
    if isinstance(stream, io.TextIOBase):
        raise ImageError(f"{name} is a text stream; open it in binary mode.")
    content = io.BytesIO()
    try:
        while chunk := stream.read(2**20):
            content.write(chunk)
            if content.tell() > MAX_STREAM_BYTES:
                raise ImageError(f"{name} is a stream of over {MAX_STREAM_BYTES >> 20} MB; save it to a file first.")
    except (OSError, ValueError, TypeError) as error:
        raise ImageError(f"{name} cannot be read ({error}).") from error
    if not content.tell():
        raise ImageError(f"{name} is empty; check the program that writes it.")
    content.seek(0)
    return content


def _is_tiff(file: BinaryIO) -> bool:
    header = file.read(formats.HEADER_BYTES)
    file.seek(0)
    return formats.recognise(header) == "TIFF"


# Decoding


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Set Pillow's limits to ours, and turn the errors and warnings of decoders into ones that name the picture."""
    caught: list[warnings.WarningMessage]
    with _decoding_lock, pillow.limits(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except (ImageError, TooLargeError):
            raise
        except Image.DecompressionBombError as error:
            raise ImageError(f"{name} has over a gigapixel; scale it down first.") from error
        except MemoryError as error:
            raise TooLargeError(f"{name} does not fit into memory; scale it down first.") from error
        except Exception as error:  # On damaged files, decoders raise exceptions of any kind.
            reason = _clause(error) or type(error).__name__
            raise ImageError(f"{name} cannot be read ({reason}); export it again or as PNG.") from error
    _warn_again(caught, name)


def _warn_again(caught: list[warnings.WarningMessage], name: str) -> None:
    """Issue the warnings of decoders once each, with the picture's name, and all others as they are."""
    texts = []
    for warning in caught:
        if not warning.filename.startswith(_LIBRARIES):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        elif not issubclass(warning.category, Image.DecompressionBombWarning):
            texts.append(_clause(warning.message))
    for text in dict.fromkeys(texts):
        warnings.warn(f"{name} has a flaw, but can be read: {text}.", stacklevel=5)


def _clause(message: object) -> str:
    """A message of another library as part of a sentence."""
    return " ".join(str(message).split()).rstrip(".").replace(". ", "; ")


def _finished(
    pixels: np.ndarray, alpha: np.ndarray | None, orientation: object, name: str
) -> tuple[np.ndarray, np.ndarray | None]:
    rgb, _ = from_array(_upright(pixels, orientation), name)
    return rgb, None if alpha is None else np.ascontiguousarray(_upright(alpha, orientation))


def _upright(pixels: np.ndarray, orientation: object) -> np.ndarray:
    """Turn pixels as the EXIF orientation (1 to 8, or None) says; a view."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels
