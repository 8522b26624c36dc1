import io
import os
import resource
import struct
import warnings
import zlib
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from stylecore.errors import ImageError, TooLargeError
from stylecore.pictures.arrays import MAX_PIXELS, to_pil
from stylecore.pictures.geometry import crop, fit, resize, shape_for
from stylecore.pictures.reading import read_image, read_settings
from stylecore.pictures.writing import check_output, write_image

SUFFIXES = [".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"]
SETTINGS = {"style": "Überfluß ✓ \udc80", "weight": 1e-3, "layers": ["relu1_1"], "seed": None}


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


# ---------------------------------------------------------------- reading files


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp", ".ppm", ".gif"])
def test_reads_what_pillow_decodes(tmp_path, suffix):
    path = tmp_path / ("picture" + suffix)
    Image.fromarray(noise(7, 11, 3)).save(path)
    with Image.open(path) as image:
        expected = np.asarray(image.convert("RGB"), np.float32) / 255
    for source in (path, str(path)):
        rgb, alpha = read_image(source)
        assert rgb.dtype == np.float32 and rgb.flags.c_contiguous and alpha is None
        np.testing.assert_allclose(rgb, expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_modes(mode):
    image = Image.fromarray(noise(6, 5, 4 if mode.endswith("A") else 3)).convert(mode)
    rgb, alpha = read_image(image)
    expected = image.convert("RGB")
    np.testing.assert_allclose(rgb, np.asarray(expected, np.float32) / 255, atol=1e-6)
    if mode in ("LA", "RGBA"):
        np.testing.assert_allclose(alpha, np.asarray(image.getchannel("A"), np.float32) / 255, atol=1e-6)
    else:
        assert alpha is None


def test_premultiplied_alpha():
    straight = Image.new("RGBA", (3, 2), (200, 100, 50, 128))
    for source, opaque in (
        (straight.convert("RGBa"), "RGB"),
        (straight.convert("LA").convert("La"), "L"),
    ):
        rgb, alpha = read_image(source)
        np.testing.assert_allclose(alpha, 128 / 255, atol=1e-6)
        expected = np.asarray(straight.convert(opaque).convert("RGB"))
        np.testing.assert_allclose(rgb, expected / 255, atol=2 / 255)


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (3, 2))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "p.png", transparency=1)
    rgb, alpha = read_image(tmp_path / "p.png")
    np.testing.assert_array_equal(alpha, [[1, 0, 1], [1, 1, 1]])
    np.testing.assert_allclose(rgb[0, 1] * 255, [200, 100, 50], rtol=1e-6)  # its colour is kept


@pytest.mark.parametrize(("mode", "colour"), [("L", 7), ("RGB", (7, 7, 7))])
def test_transparent_colour(tmp_path, mode, colour):
    image = Image.new(mode, (3, 2), "white")
    image.putpixel((2, 1), colour)
    image.save(tmp_path / "t.png", transparency=colour)
    rgb, alpha = read_image(tmp_path / "t.png")
    np.testing.assert_array_equal(alpha, [[1, 1, 1], [1, 1, 0]])
    np.testing.assert_allclose(rgb[1, 2], 7 / 255, rtol=1e-6)


def test_colours_under_transparency_are_kept(tmp_path):
    pixels = noise(5, 6, 4)
    pixels[:, :3, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "a.png")
    rgb, alpha = read_image(tmp_path / "a.png")
    np.testing.assert_allclose(np.dstack([rgb, alpha]) * 255, pixels, atol=1e-4)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_grey_16_bits(tmp_path, suffix):
    grey = noise(9, 4, dtype=np.uint16)
    path = tmp_path / ("g" + suffix)
    if suffix == ".pgm":
        path.write_bytes(b"P5 4 9 65535\n" + grey.astype(">u2").tobytes())
    else:
        Image.fromarray(grey).save(path)
    rgb, alpha = read_image(path)
    np.testing.assert_allclose(rgb, np.repeat(grey[:, :, None] / 65535, 3, axis=2), rtol=1e-6)
    assert alpha is None


def test_grey_16_bits_big_endian_and_white_is_zero(tmp_path):
    grey = noise(3, 2, dtype=np.uint16)
    for photometric, expected in ((1, grey), (0, 65535 - grey)):
        tags = {256: (2,), 257: (3,), 258: (16,), 262: (photometric,), 277: (1,)}
        path = tmp_path / "g.tif"
        path.write_bytes(tiff(tags, [grey.tobytes()]))
        np.testing.assert_allclose(read_image(path)[0][:, :, 0] * 65535, expected, atol=0.01)
    path.write_bytes(tiff(tags | {262: (1,)}, [grey.astype(">u2").tobytes()], ">"))
    np.testing.assert_allclose(read_image(path)[0][:, :, 0] * 65535, grey, atol=0.01)


def test_32_bit_integers(tmp_path):
    Image.fromarray(noise(4, 4, dtype=np.uint16).astype(np.int32)).save(tmp_path / "i.tif")
    np.testing.assert_allclose(read_image(tmp_path / "i.tif")[0][:, :, 0], noise(4, 4, dtype=np.uint16) / 65535)
    Image.fromarray(np.full((4, 4), 100_000, np.int32)).save(tmp_path / "i.tif")
    with pytest.raises(ImageError, match=r"i\.tif holds 32-bit integers"):
        read_image(tmp_path / "i.tif")


def test_float_grey(tmp_path):
    grey = np.random.default_rng(0).random((4, 5), np.float32)
    Image.fromarray(grey).save(tmp_path / "f.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "f.tif")[0], np.repeat(grey[:, :, None], 3, axis=2))
    Image.fromarray(grey * 300).save(tmp_path / "f.tif")
    with pytest.raises(ImageError, match=r"f\.tif has values from .* outside \[0, 1\]"):
        read_image(tmp_path / "f.tif")


def test_rgb_16_bit_png(tmp_path):
    pixels = noise(5, 4, 3, dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 4, 5, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    (tmp_path / "d.png").write_bytes(data)
    np.testing.assert_allclose(read_image(tmp_path / "d.png")[0], pixels / 65535, atol=1 / 255)


def test_animation_gives_first_frame(tmp_path):
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    for suffix in (".gif", ".png", ".webp"):
        path = tmp_path / ("film" + suffix)
        frames[0].save(
            path, save_all=True, append_images=frames[1:], **({"lossless": True} if suffix == ".webp" else {})
        )
        np.testing.assert_allclose(read_image(path)[0][0, 0], [1, 0, 0], atol=0.02)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "grey16.png", "pillow"])
def test_exif_orientation(tmp_path, kind, orientation):
    upright = Image.new("RGB", (30, 20), "black")
    upright.paste("red", (0, 0, 15, 10))
    upright.paste("blue", (15, 10, 30, 20))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transposition that makes the stored image
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    expected = np.asarray(upright, np.float32) / 255
    if kind.startswith("grey16"):
        stored = Image.fromarray(np.asarray(stored.convert("L"), np.uint16) * 257)
        expected = np.repeat(np.asarray(upright.convert("L"), np.float32)[:, :, None], 3, axis=2) / 255
    exif = Image.Exif()
    exif[274] = orientation
    if kind == "pillow":
        stored.getexif()[274] = orientation
        source = stored
    else:
        source = tmp_path / ("o." + kind)
        stored.save(
            source,
            exif=exif,
            **({"quality": 100} if kind == "jpg" else {"lossless": True} if kind == "webp" else {}),
        )
        with Image.open(source) as image:  # the test's own table of transpositions is Pillow's
            assert ImageOps.exif_transpose(image).size == (30, 20)
    rgb, _ = read_image(source)
    assert rgb.shape == (20, 30, 3) and rgb.flags.c_contiguous
    assert np.abs(rgb - expected)[2:8, 2:12].max() < 0.02 and np.abs(rgb - expected)[12:18, 17:28].max() < 0.02
    assert np.abs(rgb - expected).mean() < 0.03


def test_orientation_turns_alpha_too(tmp_path):
    pixels = noise(4, 6, 4)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    rgb, alpha = read_image(tmp_path / "a.png")
    np.testing.assert_allclose(np.dstack([rgb, alpha]) * 255, np.rot90(pixels, -1), atol=1e-4)


def test_broken_exif_is_no_obstacle(tmp_path):
    Image.fromarray(noise(4, 6, 3)).save(tmp_path / "e.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read_image(tmp_path / "e.png")[0].shape == (4, 6, 3)
    assert read_settings(tmp_path / "e.png") is None


# ---------------------------------------------------------------- colour profiles


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


def encoded(linear):
    """SRGB's curve (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_profile_is_converted(tmp_path, suffix):
    path = tmp_path / ("icc" + suffix)
    image = Image.new("RGB", (16, 16), (180, 120, 60))
    image.save(path, icc_profile=swapped_profile())
    np.testing.assert_allclose(read_image(path)[0][8, 8], np.array([60, 120, 180]) / 255, atol=0.02)
    image.save(path, icc_profile=linear_profile())
    expected = encoded(np.array([180, 120, 60]) / 255)
    np.testing.assert_allclose(read_image(path)[0][8, 8], expected, atol=0.02)


def test_profile_and_alpha(tmp_path):
    Image.new("RGBA", (4, 4), (180, 120, 60, 99)).save(tmp_path / "a.png", icc_profile=swapped_profile())
    rgb, alpha = read_image(tmp_path / "a.png")
    np.testing.assert_allclose(rgb[0, 0] * 255, [60, 120, 180], atol=2)
    np.testing.assert_allclose(alpha, 99 / 255, rtol=1e-6)


@pytest.mark.parametrize("space", [b"RGB ", b"GRAY"])
@pytest.mark.parametrize("deep", [False, True])
def test_profile_of_grey_image(tmp_path, space, deep):
    grey = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)
    pixels = grey.astype(np.uint16) * 257 if deep else grey
    Image.fromarray(pixels).save(tmp_path / "g.png", icc_profile=linear_profile(space))
    rgb, _ = read_image(tmp_path / "g.png")
    np.testing.assert_allclose(rgb[:, :, 1], encoded(grey / 255), atol=0.04)  # Little CMS is coarse in the darks


def test_profile_of_16_bit_tiff(tmp_path):
    tags = rgb16_tags(4, 4)
    pixels = np.full((4, 4, 3), (40000, 20000, 10000), "<u2")
    tags[34675] = swapped_profile()
    (tmp_path / "d.tif").write_bytes(tiff(tags, [pixels.tobytes()]))
    expected = np.array([10000, 20000, 40000]) / 65535
    np.testing.assert_allclose(read_image(tmp_path / "d.tif")[0][0, 0], expected, atol=0.01)


def test_srgb_profile_under_another_date_changes_nothing(tmp_path):
    profile = srgb_profile()
    profile[24:36] = bytes(12)
    pixels = noise(32, 32, 3)
    Image.fromarray(pixels).save(tmp_path / "s.png", icc_profile=bytes(profile))
    np.testing.assert_allclose(read_image(tmp_path / "s.png")[0] * 255, pixels, atol=1e-4)


@pytest.mark.parametrize("profile", [b"nonsense", linear_profile(b"GRAY"), srgb_profile()[:200]])
def test_broken_or_unfitting_profile_is_ignored_with_one_warning(tmp_path, profile):
    pixels = noise(8, 8, 3)
    Image.fromarray(pixels).save(tmp_path / "b.tif", icc_profile=bytes(profile))
    with pytest.warns(UserWarning, match=r"b\.tif has a broken colour profile") as caught:
        rgb, _ = read_image(tmp_path / "b.tif")
    assert len(caught) == 1
    np.testing.assert_allclose(rgb * 255, pixels, atol=1e-4)


def test_lab(tmp_path):
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    image = ImageCms.applyTransform(Image.new("RGB", (4, 4), (180, 120, 60)), to_lab)
    image.save(tmp_path / "lab.tif")
    np.testing.assert_allclose(read_image(tmp_path / "lab.tif")[0][0, 0] * 255, [180, 120, 60], atol=3)


def test_cmyk(tmp_path):
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    for suffix in (".jpg", ".tif"):
        image.save(tmp_path / ("c" + suffix))
        np.testing.assert_allclose(read_image(tmp_path / ("c" + suffix))[0][5, 5], [1, 0, 0], atol=0.02)


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


def test_cmyk_with_profile(tmp_path):
    pixels = noise(16, 16, 4)
    pixels[:, :, 3] = 128
    Image.frombytes("CMYK", (16, 16), pixels.tobytes()).save(tmp_path / "c.tif", icc_profile=cmyk_profile())
    rgb, alpha = read_image(tmp_path / "c.tif")
    assert alpha is None
    np.testing.assert_allclose(rgb, 118.6 / 255, atol=0.03)  # Lab lightness 50, whatever C, M and Y are


# ---------------------------------------------------------------- 16-bit TIFF


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


def rgb16_tags(height, width, samples=3):
    tags = {256: (width,), 257: (height,), 258: (16,) * samples, 259: (1,), 262: (2,), 277: (samples,)}
    return tags | ({338: (2,)} if samples == 4 else {})


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [1, 8, 32946])
@pytest.mark.parametrize("predictor", [1, 2])
@pytest.mark.parametrize("samples", [3, 4])
@pytest.mark.parametrize("planar", [1, 2])
def test_16_bit_tiff_forms(tmp_path, order, compression, predictor, samples, planar):
    pixels = noise(7, 5, samples, dtype=np.uint16)
    planes = [pixels] if planar == 1 else [pixels[:, :, c : c + 1] for c in range(samples)]
    strips = []
    for plane in planes:
        for top in range(0, 7, 3):
            strip = plane[top : top + 3].copy()
            if predictor == 2:
                strip[:, 1:] = np.diff(strip, axis=1)
            data = strip.astype(order + "u2").tobytes()
            strips.append(data if compression == 1 else zlib.compress(data))
    tags = rgb16_tags(7, 5, samples) | {259: (compression,), 278: (3,), 284: (planar,), 317: (predictor,)}
    (tmp_path / "t.tif").write_bytes(tiff(tags, strips, order, gap=b"\0"))
    rgb, alpha = read_image(tmp_path / "t.tif")
    result = rgb if samples == 3 else np.dstack([rgb, alpha])
    np.testing.assert_allclose(result, pixels / 65535, atol=1e-7)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bit_tiff_orientation(tmp_path, orientation):
    pixels = noise(4, 6, 3, dtype=np.uint16)
    (tmp_path / "deep.tif").write_bytes(tiff(rgb16_tags(4, 6) | {274: (orientation,)}, [pixels.tobytes()]))
    shallow = Image.fromarray((pixels // 257).astype(np.uint8))
    shallow.save(tmp_path / "shallow.png", exif=(exif := Image.Exif()).__setitem__(274, orientation) or exif)
    deep, expected = (read_image(tmp_path / name)[0] for name in ("deep.tif", "shallow.png"))
    np.testing.assert_allclose(deep, expected, atol=1 / 255)


def test_16_bit_tiff_with_premultiplied_alpha_is_undone(tmp_path):
    pixels = np.full((4, 4, 4), (10000, 20000, 5000, 32768), "<u2")
    (tmp_path / "p.tif").write_bytes(tiff(rgb16_tags(4, 4, 4) | {338: (1,)}, [pixels.tobytes()]))
    rgb, alpha = read_image(tmp_path / "p.tif")
    np.testing.assert_allclose(alpha, 0.5, atol=0.01)
    np.testing.assert_allclose(rgb[0, 0], np.array([20000, 40000, 10000]) / 65535, atol=0.01)


def test_16_bit_tiff_damaged(tmp_path):
    whole = zlib.compress(noise(8, 8, 3, dtype=np.uint16).tobytes())
    for compression, strip in ((8, whole[:100]), (8, b"no zlib"), (1, b"short")):
        (tmp_path / "d.tif").write_bytes(tiff(rgb16_tags(8, 8) | {259: (compression,)}, [strip]))
        with pytest.raises(ImageError, match=r"d\.tif cannot be read"):
            read_image(tmp_path / "d.tif")


def test_other_16_bit_tiffs_are_read_at_8_bits(tmp_path):
    lzw = tmp_path / "lzw.tif"
    pixels = noise(8, 8, 3, dtype=np.uint16)
    tags = rgb16_tags(8, 8) | {322: (16,), 323: (16,)}
    tile = np.zeros((16, 16, 3), "<u2")
    tile[:8, :8] = pixels
    data = tiff(tags, [tile.tobytes()])
    lzw.write_bytes(data.replace(struct.pack("<HH", 273, 4), struct.pack("<HH", 324, 4)))
    np.testing.assert_allclose(read_image(lzw)[0], pixels / 65535, atol=1 / 255)


# ---------------------------------------------------------------- reading arrays


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2"])
@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
def test_integer_arrays(dtype, shape):
    array = noise(*shape, dtype=np.dtype(dtype).newbyteorder("=")).astype(dtype)
    rgb, alpha = read_image(array)
    expected = (array / np.iinfo(dtype).max).reshape(4, 5, -1)
    np.testing.assert_allclose(rgb, np.broadcast_to(expected[:, :, :3], (4, 5, 3)), atol=1e-6)
    assert rgb.dtype == np.float32 and rgb.flags.c_contiguous and rgb.flags.writeable
    if shape[2:] == (4,):
        np.testing.assert_allclose(alpha, expected[:, :, 3], atol=1e-6)
    else:
        assert alpha is None


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_float_arrays_are_copied(dtype):
    array = np.random.default_rng(0).random((4, 5, 3)).astype(dtype)[:, ::-1]
    rgb, _ = read_image(array)
    np.testing.assert_allclose(rgb, array, atol=1e-6)
    rgb[:] = 0
    assert array.max() > 0


def test_rounding_beyond_the_range_is_clipped():
    rgb, _ = read_image(np.full((2, 2, 3), 1 + 1e-6))
    assert rgb.max() == 1


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((4, 4, 3), np.nan), "content image holds values that are not finite"),
        (np.full((4, 4), np.inf), "content image holds values that are not finite"),
        (np.dstack([np.ones((4, 4, 3)), np.full((4, 4), np.nan)]), "not finite"),
        (np.linspace(0, 255, 48).reshape(4, 4, 3), r"from 0 to 255, outside \[0, 1\]; divide by 255 first"),
        (np.linspace(0, 65535, 48).reshape(4, 4, 3), "divide by 65535 first"),
        (np.linspace(-1, 1, 48).reshape(4, 4, 3), r"from -1 to 1, outside \[0, 1\]; scale them first"),
        (np.linspace(0, 1.2, 48).reshape(4, 4, 3), r"from 0 to 1\.2, outside .* scale them"),
        (np.dstack([np.ones((4, 4, 3)), np.full((4, 4), 255.0)]), "divide by 255"),
        (np.zeros((4, 4, 2)), r"content image has shape \(4, 4, 2\); give"),
        (np.zeros((1, 4, 4, 3)), r"shape \(1, 4, 4, 3\)"),
        (np.zeros(4), r"shape \(4,\)"),
        (np.zeros((4, 4, 3), int), "is of type int64; give uint8"),
        (np.zeros((4, 4, 3), bool), "is of type bool"),
        (np.zeros((4, 4, 3), complex), "is of type complex128"),
        (np.full((4, 4, 3), "x"), "is of type <U1"),
        (np.zeros((0, 4, 3)), "has only 4 x 0 pixels"),
        (np.zeros((1, 1, 3)), "has only 1 x 1 pixels; use a larger"),
        ([[1]], "content image is of type list; give a path"),
        (None, "content image is of type NoneType"),
    ],
)
def test_unusable_arrays(array, message):
    with pytest.raises(ImageError, match=message):
        read_image(array, name="content image")


# ---------------------------------------------------------------- errors of reading


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ImageError, match=r"none\.png does not exist; check"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="is a folder; name a picture"):
        read_image(tmp_path)
    for path in ("", "a\0b.png", "x" * 300 + ".png"):
        with pytest.raises(ImageError):
            read_image(path)


def test_unreadable_file(tmp_path):
    path = tmp_path / "secret.png"
    Image.new("RGB", (4, 4)).save(path)
    path.chmod(0)
    with ordinary_user(), pytest.raises(ImageError, match=r"secret\.png may not be read"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"just text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"])
def test_not_a_picture(tmp_path, content):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"x\.png is not a picture that Pillow can read; convert"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".gif", ".bmp"])
def test_truncated(tmp_path, suffix):
    whole = tmp_path / ("whole" + suffix)
    Image.fromarray(noise(64, 64, 3)).save(whole)
    cut = tmp_path / ("cut" + suffix)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ImageError, match=r"cut\.\w+ (cannot be read|is not a picture)"):
        read_image(cut)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".gif"])
def test_damaged_files_raise_nothing_else(tmp_path, suffix):
    rng = np.random.default_rng(1)
    stream = tmp_path / ("whole" + suffix)
    Image.fromarray(noise(16, 16, 3)).save(stream, icc_profile=bytes(srgb_profile()), exif=b"Exif\0\0II*\0\x08\0\0\0")
    whole = np.frombuffer(stream.read_bytes(), np.uint8)
    path = tmp_path / ("damaged" + suffix)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(100):
            data = whole.copy()
            data[rng.integers(0, min(len(data), 800), 5)] = rng.integers(0, 256, 5)
            path.write_bytes(data.tobytes())
            for reader in (read_image, read_settings):
                try:
                    reader(path)
                except ImageError as error:
                    assert str(path) in str(error)


def bomb(path, width, height):
    """Write a PNG that announces an enormous size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    path.write_bytes(data + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))


@pytest.mark.parametrize("side", [31_700, 50_000])
def test_decompression_bomb(tmp_path, side):
    bomb(tmp_path / "big.png", side, side)
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings(), pytest.raises(ImageError, match="gigapixel; scale it down first"):
        warnings.simplefilter("ignore")
        read_image(tmp_path / "big.png")
    assert limit == Image.MAX_IMAGE_PIXELS


def test_print_sizes_pass(tmp_path):
    path = tmp_path / "print.png"
    Image.new("1", (20_000, 10_000)).save(path)  # above the limit of Pillow itself
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_settings(path) is None
    assert MAX_PIXELS > 20_000 * 10_000


def test_one_pixel(tmp_path):
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    with pytest.raises(ImageError, match=r"dot\.png has only 1 x 1 pixels; use a larger picture"):
        read_image(tmp_path / "dot.png")


def test_closed_pillow_image(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "c.png")
    image = Image.open(tmp_path / "c.png")
    image.close()
    with pytest.raises(ImageError, match="style image cannot be read"):
        read_image(image, name="style image")


# ---------------------------------------------------------------- sizes


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 5000))
def test_fit(height, width, side):
    h, w = fit((height, width, 3), side)
    assert max(h, w) == side and min(h, w) >= 1
    exact = min(height, width) * side / max(height, width)
    assert abs(min(h, w) - exact) <= 0.5 or (min(h, w) == 1 and exact < 1)


@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=9),
        elements=st.floats(0, 1, width=32),
    ),
    st.integers(1, 20),
    st.integers(1, 20),
)
def test_resize_stays_in_range(array, height, width):
    scaled = resize(array, (height, width))
    assert scaled.shape == (height, width, *array.shape[2:]) and scaled.dtype == np.float32
    assert scaled.min() >= 0 and scaled.max() <= 1
    if array.min() == array.max():
        np.testing.assert_allclose(scaled, array.flat[0], atol=1e-5)
    if (height, width) == array.shape[:2]:
        np.testing.assert_array_equal(scaled, array)


def test_resize_down_does_not_alias_and_up_is_smooth():
    stripes = np.tile(np.float32([0, 1]), (64, 32))  # the finest there are
    np.testing.assert_allclose(resize(stripes, (16, 16))[:, 2:-2], 0.5, atol=0.02)
    picture = gradient(48, 64)
    up = resize(picture, (96, 128))
    np.testing.assert_allclose(resize(up, (48, 64)), picture, atol=0.02)
    for c in range(3):  # channels do not mix
        np.testing.assert_array_equal(resize(picture[:, :, c], (96, 128)), up[:, :, c])


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("transparent", [False, True])
def test_round_trip(tmp_path, suffix, transparent):
    rgb, alpha = gradient(45, 64), gradient(45, 64)[:, :, 2] if transparent else None
    path = tmp_path / ("out" + suffix)
    write_image(path, rgb, alpha=alpha, settings=SETTINGS)
    assert os.listdir(tmp_path) == [path.name]
    assert read_settings(path) == SETTINGS
    back, back_alpha = read_image(path)
    tolerance = {".png": 0.5 / 255, ".tif": 0.5 / 65535, ".tiff": 0.5 / 65535}.get(suffix, 0.04)
    if transparent and suffix.startswith(".j"):
        rgb, alpha = rgb * alpha[:, :, None] + (1 - alpha[:, :, None]), None
    np.testing.assert_allclose(back, rgb, atol=tolerance + 1e-6)
    if alpha is None:
        assert back_alpha is None
    else:
        np.testing.assert_allclose(back_alpha, alpha, atol=min(tolerance, 0.5 / 255) + 1e-6)
    with Image.open(path) as image:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)
        if suffix.startswith(".j"):
            assert image.layer[0][1:3] == image.layer[1][1:3] == (1, 1)  # 4:4:4


@given(hnp.arrays(np.uint16, st.tuples(st.integers(2, 6), st.integers(1, 6), st.sampled_from([3, 4]))))
def test_tiff_keeps_all_16_bits(tmp_path_factory, levels):
    path = tmp_path_factory.getbasetemp() / "deep.tif"
    rgb, alpha = read_image(levels)
    write_image(path, rgb, alpha=alpha)
    back, back_alpha = read_image(path)
    np.testing.assert_array_equal(back, rgb)
    assert (alpha is None) == (back_alpha is None)
    if alpha is not None:
        np.testing.assert_array_equal(back_alpha, alpha)
    np.testing.assert_allclose(decode(path), levels / 65535, atol=1.01 / 255)  # Pillow reads it too


@given(hnp.arrays(np.uint8, st.tuples(st.integers(2, 6), st.integers(1, 6), st.sampled_from([3, 4]))))
def test_png_keeps_all_8_bits(tmp_path_factory, levels):
    path = tmp_path_factory.getbasetemp() / "exact.png"
    rgb, alpha = read_image(levels)
    write_image(path, rgb, alpha=alpha)
    np.testing.assert_array_equal(np.rint(decode(path) * 255), levels)
    np.testing.assert_array_equal(read_image(path)[0], rgb)


def test_tiff_of_many_strips(tmp_path):
    rgb = np.random.default_rng(0).random((700, 500, 3), np.float32)
    write_image(tmp_path / "s.tif", rgb)
    np.testing.assert_allclose(read_image(tmp_path / "s.tif")[0], rgb, atol=0.51 / 65535)
    np.testing.assert_allclose(decode(tmp_path / "s.tif"), rgb, atol=1.01 / 255)


def test_values_are_rounded_and_clipped(tmp_path):
    rgb = np.zeros((2, 3, 3))
    rgb[0, :, 0] = [-0.5, 1.5, 100.6 / 255]
    write_image(tmp_path / "r.png", rgb)
    np.testing.assert_array_equal(decode(tmp_path / "r.png")[0, :, 0] * 255, [0, 255, 101])
    assert to_pil(rgb, np.ones((2, 3))).mode == "RGBA" and to_pil(rgb).mode == "RGB"


def test_equal_pictures_give_equal_files(tmp_path):
    for suffix in SUFFIXES:
        for name in ("a", "b"):
            write_image(tmp_path / (name + suffix), gradient(8, 8), settings=SETTINGS)
        assert (tmp_path / ("a" + suffix)).read_bytes() == (tmp_path / ("b" + suffix)).read_bytes()


def test_settings_of_others(tmp_path):
    path = tmp_path / "none.tif"
    write_image(path, gradient(4, 4))
    assert read_settings(path) is None
    for description in ('{"shape": [4, 4]}', "my holidays", "[1]", "7"):
        Image.new("RGB", (4, 4)).save(path, description=description)
        assert read_settings(path) is None
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("stylecore", '{"a": "ä"}')
    Image.new("RGB", (4, 4)).save(tmp_path / "i.png", pnginfo=chunks)
    assert read_settings(tmp_path / "i.png") == {"a": "ä"}
    with pytest.raises(ImageError, match=r"gone\.png does not exist"):
        read_settings(tmp_path / "gone.png")


def test_new_files_have_ordinary_permissions_and_links_stay(tmp_path):
    (tmp_path / "plain").touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    write_image(tmp_path / "link.png", gradient(4, 4))
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.xyz", r"a\.xyz has no suffix of a known picture format; use one of \.png, \.jpg"),
        ("a", "has no suffix"),
        ("none/a.png", r"a\.png cannot be written: there is no folder .*none"),
        ("folder.png", r"folder\.png is a folder"),
        ("x" * 300 + ".png", "cannot be written"),
        ("a\0b.png", "cannot be written"),
    ],
)
def test_unusable_outputs(tmp_path, name, message):
    (tmp_path / "folder.png").mkdir()
    for attempt in (check_output, lambda path: write_image(path, gradient(4, 4))):
        with pytest.raises(ImageError, match=message):
            attempt(str(tmp_path / name))
    assert os.listdir(tmp_path) == ["folder.png"]


def test_check_output_leaves_nothing_and_harms_nothing(tmp_path):
    check_output(tmp_path / "new.PNG")
    assert os.listdir(tmp_path) == []
    (tmp_path / "old.tif").write_bytes(b"old")
    check_output(tmp_path / "old.tif")
    assert (tmp_path / "old.tif").read_bytes() == b"old"


def test_formats_limit_the_size(tmp_path):
    check_output(tmp_path / "a.png", (70_000, 10))
    for name, shape in (("a.webp", (16_384, 5, 3)), ("a.jpg", (5, 65_501))):
        with pytest.raises(ImageError, match="pixels a side; use PNG"):
            check_output(tmp_path / name, shape)
    with pytest.raises(ImageError, match="WebP holds at most 16383 pixels a side"):
        write_image(tmp_path / "a.webp", np.zeros((16_384, 1, 3), np.float32))


def test_no_permission_to_write(tmp_path):
    (tmp_path / "old.png").write_bytes(b"old")
    tmp_path.chmod(0o555)
    with ordinary_user():
        for name in ("old.png", "new.png"):
            for attempt in (check_output, lambda path: write_image(path, gradient(4, 4))):
                with pytest.raises(ImageError, match="cannot be written"):
                    attempt(tmp_path / name)
    tmp_path.chmod(0o755)
    assert (tmp_path / "old.png").read_bytes() == b"old"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_full_disk_leaves_the_old_file(tmp_path, suffix):
    path = tmp_path / ("old" + suffix)
    path.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # writing more fails as on a full disk
    try:
        with pytest.raises(ImageError, match=r"old\.\w+ cannot be written"):
            write_image(path, np.random.default_rng(0).random((100, 100, 3)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == [path.name] and path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("rgb", "alpha", "settings", "message"),
    [
        (np.full((4, 4, 3), np.nan), None, None, "not finite"),
        (np.zeros((4, 4, 3)), np.full((4, 4), np.inf), None, "not finite"),
        (np.zeros((4, 4)), None, None, r"floats of shape \(H, W, 3\)"),
        (np.zeros((4, 4, 4)), None, None, r"floats of shape \(H, W, 3\)"),
        (np.zeros((4, 4, 3), np.uint8), None, None, "floats of shape"),
        (np.zeros((0, 4, 3)), None, None, "floats of shape"),
        (np.zeros((4, 4, 3)), np.zeros((4, 5)), None, r"its alpha \(H, W\)"),
        (np.zeros((4, 4, 3)), None, {"a": object()}, "settings cannot be converted to JSON"),
    ],
)
def test_unusable_pictures(tmp_path, rgb, alpha, settings, message):
    with pytest.raises(ImageError, match=message):
        write_image(tmp_path / "a.png", rgb, alpha=alpha, settings=settings)
    assert os.listdir(tmp_path) == []


def test_settings_too_long_for_jpeg(tmp_path):
    def exif_bytes(length):
        exif = Image.Exif()
        exif[270] = '{"stylecore": {"a": "' + "x" * length + '"}}'
        return len(exif.tobytes())

    most = max(length for length in range(65_400, 65_533) if exif_bytes(length) <= 65_533)
    for length, stored in ((most, True), (most + 1, False), (10**6, False)):
        settings = {"a": "x" * length}
        with nullcontext() if stored else pytest.warns(UserWarning, match=r"a\.jpg is written without its settings"):
            write_image(tmp_path / "a.jpg", gradient(4, 4), settings=settings)
        assert read_settings(tmp_path / "a.jpg") == (settings if stored else None)
        for suffix in (".png", ".webp", ".tif"):
            write_image(tmp_path / ("a" + suffix), gradient(4, 4), settings=settings)
            assert read_settings(tmp_path / ("a" + suffix)) == settings


# ---------------------------------------------------------------- the size asked for


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (50, (30, 50)),
        (np.int64(50), (30, 50)),
        ((64, 48), (48, 64)),
        ([64, 48], (48, 64)),
        ("64x48", (48, 64)),
        ("1x", (60, 100)),
        ("1.5x", (90, 150)),
        (".5x", (30, 50)),
        ("2.x", (120, 200)),
    ],
)
def test_shape_for(size, expected):
    assert shape_for(size, (60, 100, 3)) == expected


@given(
    height=st.integers(1, 300), width=st.integers(1, 300), target=st.tuples(st.integers(1, 300), st.integers(1, 300))
)
def test_crop(height, width, target):
    picture = np.arange(height * width).reshape(height, width)
    cropped = crop(picture, target)
    rows, columns = cropped.shape
    # One side is whole, the other as long as the aspect says, and what is cut off is the same on both sides.
    assert rows == height or columns == width
    scale = min(height / target[0], width / target[1])
    if fit(picture.shape, max(target)) == target:
        assert cropped is picture
    else:
        assert abs(rows - scale * target[0]) <= 1 and abs(columns - scale * target[1]) <= 1
    top, left = divmod(int(cropped[0, 0]), width)
    assert top == (height - rows) // 2 and left == (width - columns) // 2


def test_file_larger_than_the_memory(tmp_path, monkeypatch):
    Image.new("RGB", (300, 200)).save(tmp_path / "large.png")
    monkeypatch.setattr("stylecore.memory.available", lambda: 10**6)
    with pytest.raises(TooLargeError, match=r"large\.png has 300 x 200 pixels, which need .* GB are free; scale"):
        read_image(tmp_path / "large.png")
