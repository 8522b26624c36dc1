"""Pictures by Pillow: opened within limits of our own, and turned into pixels of any mode with their opacity apart."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import BinaryIO, cast

import numpy as np
from PIL import Image, ImageFile, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError, features

from stylecore.errors import ImageError
from stylecore.pictures import formats, tiff
from stylecore.pictures.arrays import MAX_PIXELS, check_memory, check_size, fits_memory, scaled
from stylecore.pictures.profiles import from_gamma, to_srgb

DESCRIPTION = 270
"""EXIF tag ImageDescription."""

_ORIENTATION = 274

# Bounds on the metadata of a PNG after decompression, in bytes: of one chunk, and of all texts.
_MAX_CHUNK, _MAX_TEXTS = 2**26, 2**28

# Formats whose further frames are pictures of the same kind; those of an MPO are depth maps and previews.
_WITH_FRAMES = {"GIF", "PNG", "WEBP", "AVIF", "HEIF", "FLI", "DCX"}

Decoded = tuple[np.ndarray, np.ndarray | None, object]
"""Pixels in sRGB, shape (H, W) or (H, W, 3); opacity, shape (H, W), or None; and orientation as in EXIF, or None."""


@contextmanager
def limits() -> Iterator[None]:
    """Set Pillow's limits on sizes and metadata, for all threads, and restore them."""
    before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = _MAX_CHUNK, _MAX_TEXTS
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = before


@contextmanager
def opened(file: BinaryIO, name: str) -> Iterator[Image.Image]:
    """Identify a file; yields an image whose pixels are not yet decoded.

    Parameters
    ----------
    file : binary file
        Seekable.
    name : str
        The file's name in messages.

    Raises
    ------
    ImageError
        If it is not a picture that Pillow reads, or is too large or too small.
    """
    file.seek(0)
    header = file.read(formats.HEADER_BYTES)
    if formats.recognise(header) == "HEIF":
        with suppress(ImportError):
            from pillow_heif import register_heif_opener

            register_heif_opener()
    try:
        image = Image.open(file)
    except UnidentifiedImageError as error:
        kind = formats.recognise(header)
        if kind in Image.OPEN and (kind == "HEIF" or (kind == "AVIF" and features.check("avif"))):
            raise ImageError(f"{name} is a damaged {kind} picture; export it again or as PNG.") from error
        raise ImageError(f"{name} {formats.advice(header)}") from error
    with image:
        check_size(image.height, image.width, name)
        if isinstance(image, ImageFile.ImageFile):
            # Pillow joins a row from blocks of this size, in time quadratic in their number.
            image.decodermaxblock = max(image.decodermaxblock, 8 * image.width)
        yield image


def read_file(file: BinaryIO, name: str) -> Decoded:
    """Read the first frame of a file.

    Parameters
    ----------
    file, name
        As for `opened`.

    Returns
    -------
    Decoded

    Warns
    -----
    UserWarning
        If the file has further frames, or is read at a part of its size for lack of memory.
    """
    with opened(file, name) as image:
        if image.format == "JPEG":
            _scale_into_memory(image, name)
        check_memory(image.height, image.width, name)
        decoded = read(image, name, file)
        frames = 1
        if image.format in _WITH_FRAMES:
            with suppress(Exception):  # Damage in later frames does not concern the first.
                frames = getattr(image, "n_frames", 1)
        if frames > 1:
            warnings.warn(f"{name} has {frames} frames; the first is used.", stacklevel=2)
    return decoded


def _scale_into_memory(image: Image.Image, name: str) -> None:
    """Let a JPEG that does not fit into the memory be decoded at a half, a quarter or an eighth of its size."""
    width, height = image.size
    for divisor in (1, 2, 4, 8):
        smaller = -(-width // divisor), -(-height // divisor)
        if fits_memory(smaller[1], smaller[0]):
            if divisor > 1:
                image.draft(image.mode, smaller)
                warnings.warn(
                    f"{name} has {width} x {height} pixels, too many for the free memory; it is read at "
                    f"{image.width} x {image.height}.",
                    stacklevel=3,
                )
            return


def read(image: Image.Image, name: str, file: BinaryIO | None = None) -> Decoded:
    """Decode an image of any mode, and convert it to sRGB.

    Parameters
    ----------
    image : PIL.Image.Image
    name : str
        Its name in messages.
    file : binary file, optional
        What it was opened from.

    Returns
    -------
    Decoded
    """
    check_size(image.height, image.width, name)
    raw_mode = _raw_mode(image)
    image.load()
    alpha = _keyed_alpha(image, raw_mode, file)
    if image.mode == "F" or image.mode.startswith("I"):
        mode, pixels = "L", _deep_grey(image, name)
    elif image.mode in ("CMYK", "LAB"):
        mode, pixels = image.mode, np.asarray(image)
    else:
        mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
        if alpha is None and image.has_transparency_data:
            pixels = np.asarray(image.convert("LA" if mode == "L" else "RGBA"))
            alpha = pixels[:, :, -1] / np.float32(255)
            pixels = pixels[:, :, 0] if mode == "L" else pixels[:, :, :3]
        else:
            pixels = np.asarray(image.convert(mode))
    profile = image.info.get("icc_profile")
    pixels = to_srgb(pixels, mode, profile, name)
    if not profile and "srgb" not in image.info:
        pixels = from_gamma(pixels, image.info.get("gamma"), _chromaticities(image), name)
    return pixels, alpha, exif(image).get(_ORIENTATION)


def _raw_mode(image: Image.Image) -> str | None:
    """How a PNG stores its pixels, such as "L;2"; None for other images, and once the pixels are decoded."""
    if isinstance(image, PngImagePlugin.PngImageFile) and image.tile:
        return cast(str, image.tile[0][3])
    return None


def _keyed_alpha(image: Image.Image, raw_mode: str | None, file: BinaryIO | None) -> np.ndarray | None:
    """Opacity where one colour stands for transparency, as a PNG's tRNS may say; None elsewhere."""
    key = image.info.get("transparency")
    if image.mode == "RGB" and isinstance(key, tuple):
        high, low = np.divmod(key, 256) if raw_mode == "RGB;16B" else (key, None)
        transparent = (np.asarray(image) == high).all(axis=2)
        if low is not None and file is not None:
            transparent &= (_low_bytes(file) == low).all(axis=2)
    elif image.mode in ("L", "I", "I;16") and isinstance(key, int):
        # The key is of the file's depth; pixels of a few bits are scaled to eight.
        transparent = np.asarray(image) == key * {"L;2": 85, "L;4": 17}.get(raw_mode or "", 1)
    elif image.mode == "1" and isinstance(key, int):
        transparent = np.asarray(image) == bool(key)
    else:
        return None
    return (~transparent).astype(np.float32)


def _low_bytes(file: BinaryIO) -> np.ndarray:
    """The lower half of a PNG's 16-bit colours, which Pillow drops."""
    file.seek(0)
    with Image.open(file) as image:
        assert isinstance(image, ImageFile.ImageFile)
        # The lower bytes come out where the bytes are taken for little-endian.
        image.tile = [ImageFile._Tile(codec, box, offset, "RGB;16L") for codec, box, offset, _ in image.tile]
        return np.asarray(image)


def _deep_grey(image: Image.Image, name: str) -> np.ndarray:
    """Pixels of a grey image of integers of over 8 bits, or of floats."""
    pixels = np.asarray(image)
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if image.mode == "F":
        pixels = scaled(pixels, name)
    elif pixels.min() < 0 or pixels.max() > 65535:  # mode I holds 16-bit greys in 32 bits
        raise ImageError(f"{name} holds 32-bit integers; save it with 8 or 16 bits per channel.")
    elif tags.get(tiff.BITS_PER_SAMPLE) == (12,):
        pixels = pixels / np.float32(4095)
    else:
        pixels = pixels.astype(np.uint16)
    if tags.get(tiff.PHOTOMETRIC) == tiff.WHITE_IS_ZERO:
        pixels = (65535 if pixels.dtype == np.uint16 else 1) - pixels
    return pixels


def _chromaticities(image: Image.Image) -> tuple[float, ...] | None:
    """Of white, red, green and blue, x and y, where a PNG or a HEIF states them; else None."""
    if stated := image.info.get("nclx_profile"):  # by pillow-heif
        corners = ("white", "red", "green", "blue")
        chromaticities = tuple(stated.get(f"color_primary_{c}_{axis}", 0) for c in corners for axis in "xy")
        return chromaticities if all(chromaticities) else None
    return image.info.get("chromaticity")


def exif(image: Image.Image) -> Mapping[int, object]:
    """EXIF tags of an image; none if they are damaged, which is no reason to refuse the picture."""
    try:
        return image.getexif()
    except Exception:
        return {}
