"""Pictures between files and arrays: reading, resizing and writing.

An array is (H, W, 3) in sRGB, float32 in [0, 1]; transparency travels beside it as an (H, W) array.
"""

import json
import os
import threading
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

from stylecore import memory
from stylecore.errors import ImageError, TooLargeError
from stylecore.pictures import tiff16
from stylecore.pictures.arrays import MAX_PIXELS, check_size, from_array, quantise
from stylecore.pictures.profiles import conversion_from, profile_of

SETTINGS = "stylecore"


DESCRIPTION, _ORIENTATION = 270, 274  # EXIF tags


_pillow_limit = threading.Lock()


def read_image(source, *, name="image"):
    """Read a picture as sRGB, upright, with its transparency apart.

    EXIF orientation is honoured and an embedded colour profile is converted to sRGB. 16-bit greys and common
    16-bit RGB TIFFs keep their precision; other 16-bit files are read at 8 bits. Of an animation the first
    frame is read. Colours under transparent pixels stay as they are stored.

    Parameters
    ----------
    source : str, path, PIL.Image.Image or ndarray
        A file, a Pillow image, or an array of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), of uint8,
        uint16, or floats in [0, 1].
    name : str
        What to call an array or a Pillow image in messages, such as "content image".

    Returns
    -------
    rgb : ndarray of float32, shape (H, W, 3)
        sRGB in [0, 1], C contiguous; float64 if an array of float64 was given.
    alpha : ndarray, shape (H, W), or None
        Opacity in [0, 1]; None where the picture has none.

    Raises
    ------
    ImageError
        If the picture is missing, unreadable, damaged or too large, or an array is not one of the above.
    """
    if isinstance(source, np.ndarray):
        return from_array(source, name)
    if isinstance(source, Image.Image):
        with _decoding(name):
            return _from_pillow(source, name)
    if not isinstance(source, str | os.PathLike):
        raise ImageError(f"{name} is of type {type(source).__name__}; give a path, a Pillow image or a NumPy array.")
    with _open(source) as (file, image):
        pixels = tiff16.read(file, image.tag_v2) if image.format == "TIFF" else None
        if pixels is None or conversion_from(image.info.get("icc_profile"), "RGB", source):
            return _from_pillow(image, source)
        return from_array(_upright(pixels, _exif(image).get(_ORIENTATION)), source)


@contextmanager
def _open(path):
    """Open a picture file; yields the file and the Pillow image, whose pixels are not yet decoded."""
    if os.path.isdir(path):
        raise ImageError(f"{path} is a folder; name a picture in it.")
    with _decoding(path), open(path, "rb") as file, Image.open(file) as image:
        check_size(image.height, image.width, path)
        _check_memory(image.height, image.width, path)
        yield file, image


@contextmanager
def _decoding(name):
    """Raise Pillow's limit on the picture's size, and turn what decoding raises into errors of ours."""
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS
        try:
            yield
        except (ImageError, TooLargeError):
            raise
        except FileNotFoundError as error:
            raise ImageError(f"{name} does not exist; check the path.") from error
        except PermissionError as error:
            raise ImageError(f"{name} may not be read; change its permissions.") from error
        except UnidentifiedImageError as error:
            raise ImageError(f"{name} is not a picture that Pillow can read; convert it to PNG.") from error
        except Image.DecompressionBombError as error:
            raise ImageError(f"{name} has over a gigapixel; scale it down first.") from error
        except MemoryError as error:
            raise TooLargeError(f"{name} does not fit into memory; scale it down first.") from error
        except Exception as error:  # On damaged files, decoders raise whatever they stumble upon.
            raise ImageError(f"{name} cannot be read ({error}); export it again or as PNG.") from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_memory(height, width, name):
    """Refuse a file that memory cannot hold: as 8-bit and, for a moment twice, as float32 colours."""
    needed, free = height * width * 3 * (1 + 2 * 4), memory.available()
    if free is not None and needed > free:
        raise TooLargeError(
            f"{name} has {width} x {height} pixels, which need {needed / 2**30:.1f} GB of memory, and "
            f"{free / 2**30:.1f} GB are free; scale it down first."
        )


def _from_pillow(image, name):
    """Turn a Pillow image of any mode into (rgb, alpha)."""
    check_size(image.height, image.width, name)
    image.load()
    profile, orientation = image.info.get("icc_profile"), _exif(image).get(_ORIENTATION)
    if image.mode == "F":
        return from_array(_upright(np.asarray(image), orientation), name)
    if image.mode.startswith("I"):
        pixels = _grey16(image, name)
        if not conversion_from(profile, "L", name):
            return from_array(_upright(pixels, orientation), name)
        image = Image.fromarray(quantise(pixels / np.float32(65535), np.uint8))  # ImageCms knows only 8 bits

    opaque = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if opaque == "L" else "RGBA")
        alpha = _upright(np.asarray(image.getchannel("A")), orientation) / np.float32(255)
    if image.mode == "LAB":
        profile = profile_of("LAB")
    elif image.mode != "CMYK":
        image = image.convert(opaque)
    if conversion := conversion_from(profile, image.mode, name):
        image = ImageCms.applyTransform(image.convert(conversion.input_mode), conversion)
    pixels = np.asarray(image.convert("RGB"))
    return from_array(_upright(pixels, orientation), name)[0], alpha


def _grey16(image, name):
    """Pixels of Pillow's integer modes as uint16; mode I too holds 16-bit greys, in 32 bits."""
    pixels = np.asarray(image)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ImageError(f"{name} holds 32-bit integers; save it with 8 or 16 bits per channel.")
    if image.format == "TIFF" and image.tag_v2.get(tiff16.PHOTOMETRIC) == tiff16.WHITE_IS_ZERO:
        pixels = 65535 - pixels
    return pixels.astype(np.uint16)


def _exif(image):
    """EXIF tags of an image; none if they are damaged, which is no reason to refuse the picture."""
    try:
        return image.getexif()
    except Exception:
        return {}


def _upright(pixels, orientation):
    """Turn pixels as the EXIF orientation (1 to 8, or None) says; a view."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def read_settings(path):
    """Read the settings that `write_image` stored in a picture.

    Parameters
    ----------
    path : str or path
        A picture of any format.

    Returns
    -------
    dict or None
        The settings; None if the picture holds none.

    Raises
    ------
    ImageError
        If the file is missing, unreadable or not a picture.
    """
    with _open(path) as (_, image):
        text = image.info.get(SETTINGS)
        description = _exif(image).get(DESCRIPTION)
    try:
        return json.loads(text) if text else json.loads(description)[SETTINGS]
    except (TypeError, ValueError, LookupError):
        return None
