"""TIFF with 16 bits per channel, in colour, which Pillow would reduce to 8 bits or cannot write.

Written is one baseline file: little-endian, strips, zlib ("Deflate") with horizontal differences.
Read are the forms that photo tools commonly write: RGB or RGBA in strips, interleaved or plane by plane,
uncompressed or Deflate, with or without horizontal differences, in either byte order. The tags are those of
"TIFF Revision 6.0" (Aldus, 1992), with Deflate from "TIFF Technical Note 2 for Photoshop" (Adobe, 2002).
"""

import struct
import zlib

import numpy as np

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, DESCRIPTION = 256, 257, 258, 259, 262, 270
STRIP_OFFSETS, SAMPLES, STRIP_ROWS, STRIP_SIZES, PLANAR = 273, 277, 278, 279, 284
PREDICTOR, EXTRA_SAMPLES, SAMPLE_FORMAT, ICC_PROFILE = 317, 338, 339, 34675

UNCOMPRESSED, DEFLATE, DEFLATE_OLD = 1, 8, 32946
RGB, WHITE_IS_ZERO, INTERLEAVED, BY_PLANE = 2, 0, 1, 2
DIFFERENCES, UNSIGNED, STRAIGHT_ALPHA = 2, 1, 2

# What a file must say for `read` to take it, and what is meant where it says nothing.
READABLE = {
    COMPRESSION: (UNCOMPRESSED, DEFLATE, DEFLATE_OLD),
    PHOTOMETRIC: (RGB,),
    PLANAR: (INTERLEAVED, BY_PLANE),
    PREDICTOR: (1, DIFFERENCES),
}
DEFAULTS = {COMPRESSION: UNCOMPRESSED, PLANAR: INTERLEAVED, PREDICTOR: 1}

_ASCII, _SHORT, _LONG, _UNDEFINED = 2, 3, 4, 7
_STRIP_BYTES = 1 << 20


def write(file, pixels, description, icc_profile):
    """Write a picture to an open binary file.

    Parameters
    ----------
    file : binary file
        Open for writing, seekable, at its start.
    pixels : ndarray of uint16, shape (H, W, 3) or (H, W, 4)
        RGB, or RGB with straight (not premultiplied) alpha.
    description : str
        ASCII text for the tag ImageDescription; empty for none.
    icc_profile : bytes
        The colour profile of `pixels`.

    Raises
    ------
    ValueError
        If the picture is larger than the 4 GB that a TIFF can address.
    """
    height, width, samples = pixels.shape
    rows = max(1, _STRIP_BYTES // (2 * width * samples))
    file.write(struct.pack("<2sHI", b"II", 42, 0))
    offsets, sizes = [], []
    for top in range(0, height, rows):
        strip = pixels[top : top + rows].astype("<u2")
        strip[:, 1:] -= strip[:, :-1].copy()
        offsets.append(file.tell())
        sizes.append(file.write(zlib.compress(strip.tobytes())))
    tags = [
        (WIDTH, _LONG, [width]),
        (LENGTH, _LONG, [height]),
        (BITS, _SHORT, [16] * samples),
        (COMPRESSION, _SHORT, [DEFLATE]),
        (PHOTOMETRIC, _SHORT, [RGB]),
        (DESCRIPTION, _ASCII, description.encode("ascii") + b"\0"),
        (STRIP_OFFSETS, _LONG, offsets),
        (SAMPLES, _SHORT, [samples]),
        (STRIP_ROWS, _LONG, [rows]),
        (STRIP_SIZES, _LONG, sizes),
        (PLANAR, _SHORT, [INTERLEAVED]),
        (PREDICTOR, _SHORT, [DIFFERENCES]),
        (EXTRA_SAMPLES, _SHORT, [STRAIGHT_ALPHA] * (samples - 3)),
        (SAMPLE_FORMAT, _SHORT, [UNSIGNED] * samples),
        (ICC_PROFILE, _UNDEFINED, icc_profile),
    ]
    _write_directory(file, [tag for tag in tags if tag[2] and tag[2] != b"\0"])


def _write_directory(file, tags):
    """Write the values of the tags, then the directory that lists them, and point the header to it."""
    entries = []
    for tag, kind, values in tags:
        code = {_SHORT: "H", _LONG: "I"}.get(kind)
        data = struct.pack(f"<{len(values)}{code}", *values) if code else values
        if len(data) > 4:
            file.write(b"\0" * (file.tell() % 2))
            place = file.tell()
            file.write(data)
            data = struct.pack("<I", place)
        entries.append(struct.pack("<HHI4s", tag, kind, len(values), data))
    file.write(b"\0" * (file.tell() % 2))
    start = file.tell()
    file.write(struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", 0))
    if file.tell() > 0xFFFFFFFF:
        raise ValueError("a TIFF holds at most 4 GB")
    file.seek(4)
    file.write(struct.pack("<I", start))


def read(file, tags):
    """Read the pixels of an open TIFF, where they are of a kind that this module knows.

    Parameters
    ----------
    file : binary file
        The TIFF, open for reading.
    tags : PIL.TiffImagePlugin.ImageFileDirectory_v2
        Its directory, as Pillow's ``image.tag_v2`` has it.

    Returns
    -------
    ndarray of uint16, shape (H, W, 3) or (H, W, 4), or None
        RGB, or RGB with straight alpha, as stored (not turned upright); None for any other kind of TIFF.

    Raises
    ------
    ValueError or zlib.error
        If the pixel data are incomplete or damaged.
    """
    samples = tags.get(SAMPLES, 1)
    known = all(tags.get(tag, DEFAULTS.get(tag)) in values for tag, values in READABLE.items())
    extra = (STRAIGHT_ALPHA,) * (samples - 3)
    if not (
        known
        and samples in (3, 4)
        and STRIP_OFFSETS in tags
        and tuple(tags.get(BITS, ())) == (16,) * samples
        and tuple(tags.get(EXTRA_SAMPLES, ())) == extra
        and set(tags.get(SAMPLE_FORMAT, (UNSIGNED,))) == {UNSIGNED}
    ):
        return None
    height, width = tags[LENGTH], tags[WIDTH]
    rows = min(tags.get(STRIP_ROWS, height), height)
    planes = samples if tags.get(PLANAR) == BY_PLANE else 1
    pixels = np.empty((planes, height, width, samples // planes), np.uint16)
    strips = [plane[top : top + rows] for plane in pixels for top in range(0, height, rows)]
    order = "<u2" if tags.prefix == b"II" else ">u2"
    for strip, offset, size in zip(strips, tags[STRIP_OFFSETS], tags[STRIP_SIZES], strict=True):
        file.seek(offset)
        data = file.read(size)
        if tags.get(COMPRESSION) in (DEFLATE, DEFLATE_OLD):
            # The bound keeps a small malicious file from filling the memory.
            data = zlib.decompressobj().decompress(data, strip.nbytes)
        strip[...] = np.frombuffer(data, order, strip.size).reshape(strip.shape)
        if tags.get(PREDICTOR) == DIFFERENCES:
            np.cumsum(strip, axis=1, dtype=np.uint16, out=strip)
    return pixels.transpose(1, 2, 0, 3).reshape(height, width, samples)
