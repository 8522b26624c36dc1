"""TIFF files by tifffile: those that Pillow reads wrongly, at 8 bits only or not at all; and 16-bit pictures written.

Pillow decodes samples of up to 8 bits that are interleaved, in every compression. All else is decoded here, if
tifffile has the decoder: by itself it has those for Deflate and PackBits, with imagecodecs also that for LZW. Where
it has none, Pillow is left to read what it can: colours at 8 bits.
"""

from __future__ import annotations

import logging
import math
import warnings
import zlib
from collections.abc import Iterator
from itertools import product
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np
import tifffile

from stylecore.errors import ImageError
from stylecore.pictures.arrays import check_memory, check_size, fits_memory, quantise, scaled

BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262  # tags
WHITE_IS_ZERO = 0  # a photometric interpretation

_BLACK_IS_ZERO, _RGB, _CMYK, _YCBCR, _CIELAB = 1, 2, 5, 6, 8
_ORIENTATION, _ICC_PROFILE, _DNG_VERSION = 274, 34675, 50706  # tags
_UNDEFINED = 7  # type of a tag: bytes
_REDUCED, _MASK = 1, 4  # bits of what a page is
_UNSIGNED, _SIGNED = 1, 2  # sample formats
_PREMULTIPLIED, _STRAIGHT = 1, 2  # extra samples that are opacity
_INTERLEAVED = 1  # planar configuration
_UNCOMPRESSED, _LZW, _OLD_JPEG, _DEFLATE, _PACKBITS, _DEFLATE_OLD = 1, 5, 6, 8, 32773, 32946  # compressions
_DECODABLE = (_UNCOMPRESSED, _LZW, _DEFLATE, _PACKBITS, _DEFLATE_OLD)

# Mode of Pillow and number of colour channels.
_MODES = {WHITE_IS_ZERO: ("L", 1), _BLACK_IS_ZERO: ("L", 1), _RGB: ("RGB", 3), _CMYK: ("CMYK", 4)}

LARGEST_CLASSIC = 2**32 - 2**26
"""Bytes of pixels above which a BigTIFF is written; offsets in a classic TIFF end at 4 GB."""

LARGEST_STRIPPED = 4096
"""Side in pixels above which a TIFF is written in tiles."""

_STRIP_BYTES, _TILE = 2**20, 512
_EXPANSION = 1032  # the most bytes that one byte of Deflate can stand for
_SLACK = 2**28  # bytes beyond its strip or tile that it may fill before it is refused

# Without a handler, Python prints to stderr what the two libraries log about damaged tags, which names no file.
for _library in ("tifffile", "PIL"):
    logging.getLogger(_library).addHandler(logging.NullHandler())


class Page(NamedTuple):
    """Pixels of a TIFF as stored: not turned upright, not converted to sRGB.

    Attributes
    ----------
    pixels : ndarray of uint8, uint16 or floats in [0, 1], shape (H, W), (H, W, 3) or (H, W, 4)
        Of mode "L", "RGB" or "CMYK". In "L", 0 is black.
    mode : {"L", "RGB", "CMYK"}
    alpha : ndarray of float, shape (H, W), or None
        Opacity in [0, 1]; `pixels` are not multiplied by it.
    profile : bytes or None
        ICC profile.
    orientation : int or None
        As in EXIF.
    """

    pixels: np.ndarray
    mode: str
    alpha: np.ndarray | None
    profile: bytes | None
    orientation: int | None


def read(file: BinaryIO, name: str) -> Page | None:
    """Read the first page of a TIFF, unless it is left to Pillow.

    Parameters
    ----------
    file : binary file
        Seekable.
    name : str
        The file's name in messages.

    Returns
    -------
    Page or None
        None if Pillow is to read it.

    Raises
    ------
    ImageError
        If the page is of a kind that neither library reads correctly.
    Exception
        Whatever tifffile raises for a damaged file.

    Warns
    -----
    UserWarning
        If the file has further pages.
    """
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        check_size(page.imagelength, page.imagewidth, name)
        if page.compression != _OLD_JPEG and len(page.dataoffsets) < math.prod(page.chunked):
            raise ValueError("parts of the picture are missing")
        preview = page.subfiletype & _REDUCED and (page.subifds or len(tiff.pages) > 1)
        if preview or _DNG_VERSION in page.tags:
            raise ImageError(f"{name} starts with a preview, as a camera's raw file does; develop or export it first.")
        _check_kind(page, name)
        fits = fits_memory(page.imagelength, page.imagewidth, stored_bytes=page.samplesperpixel)
        for_pillow = _is_for_pillow(page) and (fits or page.photometric not in _MODES)
        samples = None if for_pillow else _decode(file, page, name)
        if (pages := _count_pages(tiff)) > 1:
            warnings.warn(f"{name} has {pages} pages; the first is used.", stacklevel=2)
    return None if samples is None else _interpret(samples, page, name)


def read_description(file: BinaryIO) -> str:
    """Read the tag ImageDescription of the first page; empty if there is none."""
    with tifffile.TiffFile(file) as tiff:
        return tiff.pages.first.description


def _count_pages(tiff: tifffile.TiffFile) -> int:
    """Number of pages that are pictures in their own right, not reduced copies or masks of others."""
    try:
        others = tiff.pages[1:] if len(tiff.pages) > 1 else []
        return 1 + sum(
            isinstance(page, tifffile.TiffPage) and not page.subfiletype & (_REDUCED | _MASK) for page in others
        )
    except Exception:  # Damage in later pages does not concern the first.
        return 1


def _check_kind(page: tifffile.TiffPage, name: str) -> None:
    """Raise ImageError for what neither tifffile nor Pillow reads correctly."""
    bits, interleaved = page.bitspersample, page.planarconfig == _INTERLEAVED
    if page.sampleformat == _SIGNED and bits != 32:
        raise ImageError(f"{name} holds signed {bits}-bit integers; save it with 8 or 16 unsigned bits per channel.")
    if page.photometric == _YCBCR and page.compression == _UNCOMPRESSED:
        complete = sum(page.databytecounts) >= 3 * page.imagelength * page.imagewidth
        if not (interleaved and complete):  # chroma at reduced resolution, or planes apart
            raise ImageError(f"{name} holds uncompressed YCbCr in a form that is not supported; save it as RGB.")
    usual = bits == 8 and page.sampleformat == _UNSIGNED and interleaved
    if page.imagedepth > 1 or not isinstance(bits, int) or (page.photometric == _CIELAB and not usual):
        kind = getattr(page.photometric, "name", page.photometric)
        raise ImageError(f"{name} is a TIFF of an unsupported kind ({bits}-bit {kind}); save it as RGB.")


def _is_for_pillow(page: tifffile.TiffPage) -> bool:
    if page.photometric not in _MODES:
        return True
    _, channels = _MODES[page.photometric]
    most = channels + (page.photometric == _RGB)  # not every Pillow reads opacity beside grey, and none beside CMYK
    interleaved = page.planarconfig == _INTERLEAVED or page.samplesperpixel == 1
    usual = page.sampleformat == _UNSIGNED and page.bitspersample in (1, 2, 4, 8)
    return usual and interleaved and page.samplesperpixel <= most


def _decode(file: BinaryIO, page: tifffile.TiffPage, name: str) -> np.ndarray | None:
    """Samples as stored, shape (H, W, samples); None if tifffile lacks the decoder."""
    if page.compression not in _DECODABLE or page.dtype is None:
        return None
    divisor = _divisor(page, name)
    if page.compression in (_DEFLATE, _DEFLATE_OLD):
        _check_expansion(file, page)
    try:
        if divisor > 1:
            return _reduced(page, divisor, name)
        samples = page.asarray(maxworkers=1)
    except Exception as error:
        if "imagecodecs" in str(error):
            return None
        raise
    if page.planarconfig != _INTERLEAVED and page.samplesperpixel > 1:
        samples = np.moveaxis(samples, 0, -1)
    return samples.reshape(page.imagelength, page.imagewidth, page.samplesperpixel)


def _divisor(page: tifffile.TiffPage, name: str) -> int:
    """The least power of two by which both sides must be divided for the picture to fit into memory."""
    assert page.dtype is not None
    stored = 2 * page.samplesperpixel * page.dtype.itemsize
    for divisor in (1, 2, 4, 8, 16):
        if fits_memory(-(-page.imagelength // divisor), -(-page.imagewidth // divisor), stored_bytes=stored):
            return divisor
    check_memory(page.imagelength, page.imagewidth, name, stored_bytes=stored)
    return 1


def _reduced(page: tifffile.TiffPage, divisor: int, name: str) -> np.ndarray:
    """Samples of a picture at a fraction of its size: the means of squares, summed strip by strip or tile by tile."""
    height, width = -(-page.imagelength // divisor), -(-page.imagewidth // divisor)
    sums = np.zeros((height, width, page.samplesperpixel), np.float32)
    for segment, (plane, _, top, left, _), _ in page.segments(maxworkers=1):
        if segment is None:  # It is not stored, which means zeros.
            continue
        rows = np.arange(top, min(top + segment.shape[1], page.imagelength)) // divisor
        columns = np.arange(left, min(left + segment.shape[2], page.imagewidth)) // divisor
        part = segment[0, : len(rows), : len(columns)].astype(np.float32)
        for axis, places in enumerate((rows, columns)):
            part = np.add.reduceat(part, np.flatnonzero(np.diff(places, prepend=-1)), axis=axis)
        sums[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1, plane : plane + part.shape[2]] += part
    down, across = (
        np.bincount(np.arange(length) // divisor).astype(np.float32) for length in (page.imagelength, page.imagewidth)
    )
    sums /= down[:, None, None] * across[:, None]
    warnings.warn(
        f"{name} has {page.imagewidth} x {page.imagelength} pixels, too many for the free memory; it is read at "
        f"{width} x {height}.",
        stacklevel=4,
    )
    assert page.dtype is not None
    if page.dtype.kind == "f":
        return sums.astype(page.dtype)
    # Means of few bits are not rounded to as few.
    return sums / np.float32(2**page.bitspersample - 1) if page.bitspersample < 8 else (sums + 0.5).astype(page.dtype)


def _check_expansion(file: BinaryIO, page: tifffile.TiffPage) -> None:
    """Raise ValueError for compressed data that would fill the memory, as tifffile expands them without a bound."""
    assert page.dtype is not None
    largest = math.prod(page.chunks) * page.dtype.itemsize + _SLACK
    for offset, size in zip(page.dataoffsets, page.databytecounts, strict=False):
        if size * _EXPANSION <= largest:
            continue
        file.seek(offset)
        expander, data, expanded = zlib.decompressobj(), file.read(size), 0
        while data:
            expanded += len(expander.decompress(data, 2**24))
            data = expander.unconsumed_tail
            if expanded > largest:
                raise ValueError("compressed data expand to more than the picture")


def _interpret(samples: np.ndarray, page: tifffile.TiffPage, name: str) -> Page:
    """What the samples of a page mean."""
    mode, channels = _MODES[page.photometric]
    if samples.shape[2] < channels:
        raise ValueError("channels are missing")
    samples = _scaled_to_type(samples, page.bitspersample, name)
    pixels = samples[:, :, 0] if mode == "L" else samples[:, :, :channels]
    alpha = None
    # Where nothing says what a fourth sample beside RGB is, it is opacity, as Pillow has it.
    extra = page.extrasamples or (_STRAIGHT,) * (mode == "RGB" and samples.shape[2] == 4)
    opacity = next((i for i, meaning in enumerate(extra) if meaning in (_PREMULTIPLIED, _STRAIGHT)), None)
    if opacity is not None:
        alpha = scaled(samples[:, :, channels + opacity], name)
        if extra[opacity] == _PREMULTIPLIED:
            pixels = _unpremultiplied(scaled(pixels, name), alpha)
    if page.photometric == WHITE_IS_ZERO:
        pixels = (np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1) - pixels
    return Page(pixels, mode, alpha, page.tags.valueof(_ICC_PROFILE), page.tags.valueof(_ORIENTATION))


def _scaled_to_type(samples: np.ndarray, bits: int, name: str) -> np.ndarray:
    """Samples of any depth as uint8, uint16 or floats in [0, 1]."""
    if samples.dtype.kind in "iu" and samples.dtype.itemsize > 2:
        if samples.min() < 0 or samples.max() > 65535:
            raise ImageError(f"{name} holds {bits}-bit integers; save it with 8 or 16 bits per channel.")
        return samples.astype(np.uint16)  # 16-bit values in 32 bits, as some programs store them
    if samples.dtype.kind == "f":
        return scaled(samples, name)
    if bits in (8, 16):
        return samples
    return samples / np.float32(2**bits - 1)


def _unpremultiplied(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Divide colours by their opacity; where that is zero they are unknown, and left."""
    divisor = np.where(alpha > 0, alpha, 1)
    return np.minimum(pixels / divisor.reshape(divisor.shape + (1,) * (pixels.ndim - 2)), 1)


def write(
    file: IO[bytes],
    rgb: np.ndarray,
    alpha: np.ndarray | None,
    description: str,
    icc_profile: bytes,
    dpi: float | None = None,
) -> None:
    """Write a picture with 16 bits per channel, compressed by Deflate with horizontal differences.

    Parameters
    ----------
    file : binary file
        Open for writing, seekable, at its start.
    rgb : ndarray of float, shape (H, W, 3)
        In [0, 1].
    alpha : ndarray of float, shape (H, W), or None
        Opacity in [0, 1]; the colours are not premultiplied by it.
    description : str
        ASCII text for the tag ImageDescription; empty for none.
    icc_profile : bytes
        The colour profile of `rgb`.
    dpi : float, optional
        Resolution in pixels per inch.

    Notes
    -----
    Above `LARGEST_STRIPPED` pixels a side, it is stored in tiles, which are rounded to 16 bits one by one, so that
    there is no second copy of the picture; above `LARGEST_CLASSIC` bytes of pixels, it is a BigTIFF.
    """
    height, width, _ = rgb.shape
    samples = 3 if alpha is None else 4
    size = 2 * height * width * samples
    if max(height, width) <= LARGEST_STRIPPED:
        pixels: Any = _levels(rgb, alpha, (slice(None), slice(None)))
        layout: dict[str, Any] = {"rowsperstrip": max(1, _STRIP_BYTES // (2 * width * samples))}
    else:
        pixels = _tiles(rgb, alpha)
        layout = {"tile": (_TILE, _TILE), "shape": (height, width, samples), "dtype": np.uint16}
    if dpi is not None:
        layout |= {"resolution": (dpi, dpi), "resolutionunit": "INCH"}
    with tifffile.TiffWriter(file, bigtiff=size > LARGEST_CLASSIC) as tiff:
        tiff.write(
            pixels,
            photometric="rgb",
            planarconfig="contig",
            extrasamples=["unassalpha"] if samples == 4 else None,
            compression="zlib",
            predictor=True,
            description=description or None,
            extratags=[(_ICC_PROFILE, _UNDEFINED, len(icc_profile), icc_profile, True)],
            software=False,  # tifffile's version would make files of equal pictures differ
            metadata=None,
            maxworkers=1,
            **layout,
        )


def _levels(rgb: np.ndarray, alpha: np.ndarray | None, part: tuple[slice, slice]) -> np.ndarray:
    """A part of a picture at 16 bits, (h, w, 3) or with its opacity (h, w, 4)."""
    planes = rgb[part] if alpha is None else np.dstack([rgb[part], alpha[part]])
    return quantise(planes, np.uint16)


def _tiles(rgb: np.ndarray, alpha: np.ndarray | None) -> Iterator[np.ndarray]:
    """Yield the tiles of a picture at 16 bits, row by row; those at its end are filled up with zeros."""
    height, width, _ = rgb.shape
    for top, left in product(range(0, height, _TILE), range(0, width, _TILE)):
        levels = _levels(rgb, alpha, (slice(top, top + _TILE), slice(left, left + _TILE)))
        tile = np.zeros((_TILE, _TILE, levels.shape[2]), np.uint16)
        tile[: levels.shape[0], : levels.shape[1]] = levels
        yield tile
