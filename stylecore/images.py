"""Pictures between files and arrays: reading, resizing and writing.

An array is (H, W, 3) in sRGB, float32 in [0, 1]; transparency travels beside it as an (H, W) array.
"""

import functools
import io
import json
import os
import re
import tempfile
import threading
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, UnidentifiedImageError

from stylecore import memory, tiff16
from stylecore.errors import ImageError, ParameterError, TooLargeError
from stylecore.files import replacing

MAX_PIXELS = 1_000_000_000
"""The largest picture that is read: a gigapixel is A0 at 750 dots per inch."""

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WebP", ".tif": "TIFF", ".tiff": "TIFF"}
_LONGEST_SIDE = {"JPEG": 65500, "WebP": 16383}
_SETTINGS = "stylecore"
_DESCRIPTION, _ORIENTATION = 270, 274  # EXIF tags
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
        return _from_array(source, name)
    if isinstance(source, Image.Image):
        with _decoding(name):
            return _from_pillow(source, name)
    if not isinstance(source, str | os.PathLike):
        raise ImageError(f"{name} is of type {type(source).__name__}; give a path, a Pillow image or a NumPy array.")
    with _open(source) as (file, image):
        pixels = tiff16.read(file, image.tag_v2) if image.format == "TIFF" else None
        if pixels is None or _conversion(image.info.get("icc_profile"), "RGB", source):
            return _from_pillow(image, source)
        return _from_array(_upright(pixels, _exif(image).get(_ORIENTATION)), source)


@contextmanager
def _open(path):
    """Open a picture file; yields the file and the Pillow image, whose pixels are not yet decoded."""
    if os.path.isdir(path):
        raise ImageError(f"{path} is a folder; name a picture in it.")
    with _decoding(path), open(path, "rb") as file, Image.open(file) as image:
        _check_size(image.height, image.width, path)
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


def _check_size(height, width, name):
    if height * width < 2:
        raise ImageError(f"{name} has only {width} x {height} pixels; use a larger picture.")
    if height * width > MAX_PIXELS:
        raise ImageError(f"{name} has {width} x {height} pixels, over a gigapixel; scale it down first.")


def _check_memory(height, width, name):
    """Refuse a file that memory cannot hold: as 8-bit and, for a moment twice, as float32 colours."""
    needed, free = height * width * 3 * (1 + 2 * 4), memory.available()
    if free is not None and needed > free:
        raise TooLargeError(
            f"{name} has {width} x {height} pixels, which need {needed / 2**30:.1f} GB of memory, and "
            f"{free / 2**30:.1f} GB are free; scale it down first."
        )


def _from_array(array, name):
    """Turn any array that `read_image` takes into (rgb, alpha)."""
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ImageError(f"{name} has shape {array.shape}; give (height, width) or (height, width, 1, 3 or 4).")
    _check_size(*array.shape[:2], name)
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
    if not _is_finite(array):
        raise ImageError(f"{name} holds values that are not finite (NaN or infinity); replace them first.")
    low, high = array.min(), array.max()
    slack = 1e-3  # Rounding may leave [0, 1] by a little; a quarter of an 8-bit step is invisible.
    if low < -slack or high > 1 + slack:
        looks_like = 255 if high <= 255 else 65535
        advice = f"divide by {looks_like}" if low >= 0 and 2 < high <= looks_like else "scale them"
        raise ImageError(f"{name} has values from {low:.4g} to {high:.4g}, outside [0, 1]; {advice} first.")


def _is_finite(array):
    return np.isfinite(array.min()) and np.isfinite(array.max())


def _from_pillow(image, name):
    """Turn a Pillow image of any mode into (rgb, alpha)."""
    _check_size(image.height, image.width, name)
    image.load()
    profile, orientation = image.info.get("icc_profile"), _exif(image).get(_ORIENTATION)
    if image.mode == "F":
        return _from_array(_upright(np.asarray(image), orientation), name)
    if image.mode.startswith("I"):
        pixels = _grey16(image, name)
        if not _conversion(profile, "L", name):
            return _from_array(_upright(pixels, orientation), name)
        image = Image.fromarray(_quantise(pixels / np.float32(65535), np.uint8))  # ImageCms knows only 8 bits

    opaque = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if opaque == "L" else "RGBA")
        alpha = _upright(np.asarray(image.getchannel("A")), orientation) / np.float32(255)
    if image.mode == "LAB":
        profile = _profile("LAB")
    elif image.mode != "CMYK":
        image = image.convert(opaque)
    if conversion := _conversion(profile, image.mode, name):
        image = ImageCms.applyTransform(image.convert(conversion.input_mode), conversion)
    pixels = np.asarray(image.convert("RGB"))
    return _from_array(_upright(pixels, orientation), name)[0], alpha


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


@functools.cache
def _profile(space):
    """ICC profile of "sRGB" or "LAB", with a fixed date so that equal pictures give equal files."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes())
    profile[24:36] = bytes.fromhex("07e8 0001 0001 0000 0000 0000")
    return bytes(profile)


def _conversion(profile, mode, name):
    """Transform from an ICC profile (bytes or None) to sRGB; None where there is nothing to convert.

    Its ``input_mode`` is `mode`, or RGB for a grey image that carries an RGB profile.
    """
    if not profile or profile == _profile("sRGB"):
        return None
    try:
        source, target = (ImageCms.ImageCmsProfile(io.BytesIO(p)) for p in (profile, _profile("sRGB")))
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


def resize(array, shape):
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


def _quantise(array, dtype):
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
    image = Image.fromarray(_quantise(rgb, np.uint8))
    if alpha is not None:
        image.putalpha(Image.fromarray(_quantise(alpha, np.uint8)))
    return image


def check_output(path, shape=None):
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


def write_image(path, rgb, *, alpha=None, settings=None):
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
    if not all(_is_finite(plane) for plane in planes):
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
        chunks.add_text(_SETTINGS, text)
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
    tiff16.write(file, _quantise(planes, np.uint16), _tagged(text), _profile("sRGB"))


_ENCODERS = {"PNG": _write_png, "JPEG": _write_jpeg, "WebP": _write_webp, "TIFF": _write_tiff}


def _save(image, file, kind, **options):
    # Writing to a file by itself, Pillow overlooks that the disk is full when its last block does not fit.
    encoded = io.BytesIO()
    image.save(encoded, kind, icc_profile=_profile("sRGB"), **options)
    file.write(encoded.getbuffer())


def _tagged(text):
    """Mark settings as ours, for a field that other programs use too; empty for none."""
    return f'{{"{_SETTINGS}": {text}}}' if text else ""


def _describe(text):
    """EXIF with the settings as ImageDescription."""
    exif = Image.Exif()
    if text:
        exif[_DESCRIPTION] = _tagged(text)
    return exif


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
        text = image.info.get(_SETTINGS)
        description = _exif(image).get(_DESCRIPTION)
    try:
        return json.loads(text) if text else json.loads(description)[_SETTINGS]
    except (TypeError, ValueError, LookupError):
        return None
