"""Pictures and files that several tests make."""

import os
import struct
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image, ImageCms


def noise(*shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def gradient(height, width):
    """A smooth picture, which lossy formats keep well."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return np.dstack([x / width, y / height, 0.5 + 0.4 * np.sin((x + y) / 20)]).astype(np.float32)


def decode(path):
    """Pixels of a file by Pillow alone."""
    with Image.open(path) as image:
        return np.asarray(image, np.float32) / 255


@contextmanager
def ordinary_user():
    """Run as a user whom permissions bind; root may do everything."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        yield


def tiff(tags, strips, order="<", gap=b""):
    """Compose a TIFF of 16-bit samples from tags {number: tuple of int, or bytes} and strips of bytes."""
    data = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 0)
    offsets = []
    for strip in strips:
        offsets.append(len(data))
        data += strip + gap
    tags = {278: tags[257], **tags, 273: tuple(offsets), 279: tuple(map(len, strips))}
    entries = b""
    for tag, values in sorted(tags.items()):
        kind, value = (7, values) if isinstance(values, bytes) else (4, struct.pack(f"{order}{len(values)}I", *values))
        if len(value) > 4:
            data, value = data + value, struct.pack(order + "I", len(data))
        entries += struct.pack(order + "HHI", tag, kind, len(values)) + value
    start = len(data)
    data += struct.pack(order + "H", len(tags)) + entries + bytes(4)
    return data[:4] + struct.pack(order + "I", start) + data[8:]


def lzw(data):
    """Code bytes by LZW, each as itself; the table is cleared before codes of 10 bits are due."""
    codes = [256]
    for start in range(0, len(data), 250):
        codes += [*data[start : start + 250], 256]
    bits = "".join(format(code, "09b") for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def rgb16_tags(height, width, samples=3):
    tags = {256: (width,), 257: (height,), 258: (16,) * samples, 259: (1,), 262: (2,), 277: (samples,)}
    return tags | ({338: (2,)} if samples == 4 else {})


def srgb_profile():
    return bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())


def tag_table(profile):
    """Offsets of a profile's tags by name, and where each offset itself is stored."""
    for i in range(struct.unpack_from(">I", profile, 128)[0]):
        name, offset = struct.unpack_from(">4sI", profile, 132 + 12 * i)
        yield name, offset, 136 + 12 * i


def swapped_profile():
    """A profile in which red and blue have changed places."""
    profile = srgb_profile()
    offsets = {name: offset for name, offset, _ in tag_table(profile)}
    for name, _, place in list(tag_table(profile)):
        if name in (b"rXYZ", b"bXYZ"):
            struct.pack_into(">I", profile, place, offsets[b"bXYZ" if name == b"rXYZ" else b"rXYZ"])
    return bytes(profile)


def linear_profile(space=b"RGB "):
    """SRGB's primaries (or grey) with a linear curve: a parametric curve of type 0 with exponent 1."""
    profile = srgb_profile()
    for name, offset, _ in list(tag_table(profile)):
        if name.endswith(b"TRC"):
            struct.pack_into(">HHi", profile, offset + 8, 0, 0, 1 << 16)
    if space == b"GRAY":
        profile[16:20] = space
        place = profile.index(b"rTRC")
        profile[place : place + 4] = b"kTRC"
    return bytes(profile)


def decoded(values):
    """The inverse of `encoded`."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encoded(linear):
    """SRGB's curve (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


def png(width, height, depth, kind, rows, *chunks):
    """Compose a PNG from the packed bytes of its rows, unfiltered, and further chunks of (name, content)."""
    data = b"".join(b"\0" + row for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    result = b"\x89PNG\r\n\x1a\n"
    for name, body in [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]:
        result += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return result


def cmyk_profile():
    """A CMYK profile in which the ink K alone counts: Lab lightness is 100 - K."""

    def s15(*values):
        return b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    lightness = [255 * (1 - (i & 1)) for i in range(16)]  # K varies fastest
    grid = bytes(v for L in lightness for v in (L, 128, 128))
    identity = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + s15(1, 0, 0, 0, 1, 0, 0, 0, 1) + 4 * identity + grid + 3 * identity
    text = b"text" + bytes(4) + b"none\0" + bytes(3)
    desc = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(4 + 4 + 2 + 1 + 67 + 3)
    white = b"XYZ " + bytes(4) + s15(0.9642, 1, 0.8249)
    tags = {b"desc": desc, b"cprt": text, b"wtpt": white, b"A2B0": lut}
    table, body, place = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, place + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = bytearray(128)
    header[8:12], header[12:24], header[36:40] = bytes([2, 16, 0, 0]), b"prtrCMYKLab ", b"acsp"
    header[68:80] = s15(0.9642, 1, 0.8249)
    header[0:4] = struct.pack(">I", place + len(body))
    return bytes(header) + table + body


def heic(path, image, **options):
    """Write a HEIC, if pillow-heif can."""
    pillow_heif = pytest.importorskip("pillow_heif")
    if not pillow_heif.libheif_info()["HEIF"]:
        pytest.skip("this libheif does not write HEIC")
    pillow_heif.from_pillow(image).save(path, quality=100, chroma=444, **options)
