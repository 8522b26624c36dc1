import io
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
from made_pictures import (
    decoded,
    encoded,
    heic,
    noise,
    png,
    srgb_profile,
    swapped_profile,
)
from PIL import Image, ImageOps, PngImagePlugin, features

from stylecore import memory
from stylecore.errors import ImageError, TooLargeError
from stylecore.pictures.arrays import MAX_PIXELS
from stylecore.pictures.reading import read_image, read_settings


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


def test_rgb_16_bit_png(tmp_path):
    pixels = noise(5, 4, 3, dtype=np.uint16)
    (tmp_path / "d.png").write_bytes(png(4, 5, 16, 2, [row.astype(">u2").tobytes() for row in pixels]))
    np.testing.assert_allclose(read_image(tmp_path / "d.png")[0], pixels / 65535, atol=1 / 255)


# Transparency by a key colour (a PNG's tRNS): the left half has it, and the right one the nearest other level.


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("bright", [False, True])
def test_transparent_grey_of_every_depth(tmp_path, depth, bright):
    highest = 2**depth - 1
    key, other = (highest, highest - 1) if bright else (0, 1)
    bits = "".join(format(value, f"0{depth}b") for value in [key] * 8 + [other] * 8)
    row = int(bits, 2).to_bytes(2 * depth, "big")
    (tmp_path / "t.png").write_bytes(png(16, 3, depth, 0, [row] * 3, (b"tRNS", struct.pack(">H", key))))
    rgb, alpha = read_image(tmp_path / "t.png")
    np.testing.assert_array_equal(alpha, np.repeat([[0] * 8 + [1] * 8], 3, axis=0))
    np.testing.assert_allclose(rgb[0, [0, -1], 0], np.array([key, other]) / highest, atol=1e-6)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_transparent_colour_of_every_depth(tmp_path, depth, channel):
    key = [0x1234, 0x00FF, 0xFF00] if depth == 16 else [0x12, 0x00, 0xFF]
    other = list(key)
    other[channel] ^= 1  # of 16 bits, this is one that Pillow drops
    row = np.array([key] * 8 + [other] * 8, f">u{depth // 8}").tobytes()
    (tmp_path / "t.png").write_bytes(png(16, 2, depth, 2, [row] * 2, (b"tRNS", struct.pack(">3H", *key))))
    np.testing.assert_array_equal(read_image(tmp_path / "t.png")[1], [[0] * 8 + [1] * 8] * 2)


def test_transparent_colour_of_a_pillow_image():
    for depth, scale in ((2, 1), (4, 5), (8, 85)):
        row = int("".join(format(value * scale, f"0{depth}b") for value in (3, 0)), 2) << (-2 * depth % 8)
        data = png(2, 1, depth, 0, [row.to_bytes(-(-2 * depth // 8), "big")], (b"tRNS", struct.pack(">H", 3 * scale)))
        with Image.open(io.BytesIO(data)) as image:
            np.testing.assert_array_equal(read_image(image)[1], [[0, 1]])


# Metadata of a PNG


@pytest.mark.parametrize("compressed", [False, True])
def test_png_with_much_text(tmp_path, compressed):
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt("XML:com.adobe.xmp", "<x>" + "edited, " * 150_000, zip=compressed)
    chunks.add_text("Comment", "words " * 300_000, zip=compressed)
    image = Image.new("RGB", (3, 2), (10, 20, 30))
    image.save(tmp_path / "t.png", pnginfo=chunks, icc_profile=bytes(srgb_profile()) + bytes(2_000_000))
    np.testing.assert_allclose(read_image(tmp_path / "t.png")[0][0, 0] * 255, [10, 20, 30], atol=1e-4)
    assert read_settings(tmp_path / "t.png") is None


@pytest.mark.parametrize("count", [1, 8])
def test_png_with_a_bomb_of_text(tmp_path, count):
    text = b"Comment\0\0" + zlib.compress(bytes(2**26 + 1 if count == 1 else 2**26 - 1), 1)
    (tmp_path / "b.png").write_bytes(png(3, 2, 8, 0, [b"abc"] * 2, *[(b"zTXt", text)] * count))
    limits = PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY
    with pytest.raises(ImageError, match=r"b\.png cannot be read"):
        read_image(tmp_path / "b.png")
    assert limits == (PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY)


# Frames


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".avif"])
def test_animation_gives_first_frame_with_a_warning(tmp_path, suffix):
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow does not write AVIF")
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue", "green")]
    path = tmp_path / ("film" + suffix)
    lossless = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **lossless)
    with pytest.warns(UserWarning, match=rf"film\{suffix} has 3 frames; the first is used\.$") as caught:
        np.testing.assert_allclose(read_image(path)[0][0, 0], [1, 0, 0], atol=0.02)
    assert len(caught) == 1
    frames[0].save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_image(path)


def test_further_pictures_of_a_phone_are_no_frames(tmp_path):
    path = tmp_path / "phone.jpg"
    depth_map = Image.new("RGB", (4, 3), "blue")
    Image.new("RGB", (40, 30), "red").save(path, "MPO", save_all=True, append_images=[depth_map])
    with Image.open(path) as image:
        assert image.n_frames == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(read_image(path)[0][0, 0], [1, 0, 0], atol=0.02)


@pytest.fixture
def without_heif(monkeypatch):
    """As if pillow-heif were not installed."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if kind != "HEIF"])


def test_heif_needs_pillow_heif(tmp_path, without_heif):
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(ImageError, match=r"phone\.heic is a HEIF .* pip install pillow-heif, or export it as JPEG"):
        read_image(tmp_path / "phone.heic")


def test_damaged_heic(tmp_path):
    heic(tmp_path / "h.heic", Image.new("RGB", (64, 64)))
    (tmp_path / "h.heic").write_bytes((tmp_path / "h.heic").read_bytes()[:100])
    with pytest.raises(ImageError, match=r"h\.heic is a damaged HEIF picture; export it again or as PNG"):
        read_image(tmp_path / "h.heic")


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_heic_is_turned_upright_once(tmp_path, orientation):
    stored = Image.new("RGB", (64, 128), "black")
    stored.paste("red", (0, 0, 32, 64))
    exif = Image.Exif()
    exif[274] = orientation
    heic(tmp_path / "h.heic", stored, exif=exif.tobytes())
    stored.getexif()[274] = orientation
    upright = np.asarray(ImageOps.exif_transpose(stored), np.float32) / 255
    rgb, alpha = read_image(tmp_path / "h.heic")
    assert rgb.shape == upright.shape and alpha is None
    assert np.abs(rgb - upright).mean() < 0.02


def test_heic_colours_and_opacity(tmp_path):
    image = Image.new("RGBA", (64, 64), (180, 120, 60, 99))
    image.info["icc_profile"] = swapped_profile()
    heic(tmp_path / "h.heic", image)
    rgb, alpha = read_image(tmp_path / "h.heic")
    np.testing.assert_allclose(rgb[30, 30] * 255, [60, 120, 180], atol=4)
    np.testing.assert_allclose(alpha * 255, 99, atol=2)
    del image.info["icc_profile"]
    heic(tmp_path / "h.heic", image.convert("RGB"), color_primaries=12, transfer_characteristics=13)  # Display P3
    light = np.array([[1.224940, -0.224940, 0], [-0.042057, 1.042057, 0], [-0.019638, -0.078636, 1.098274]]) @ decoded(
        np.array([180, 120, 60]) / 255
    )  # the matrices of CSS Color 4, multiplied
    np.testing.assert_allclose(read_image(tmp_path / "h.heic")[0][30, 30], encoded(light), atol=0.015)


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


def test_closed_pillow_image(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "c.png")
    image = Image.open(tmp_path / "c.png")
    image.close()
    with pytest.raises(ImageError, match="style image cannot be read"):
        read_image(image, name="style image")


@pytest.mark.parametrize(("free", "side"), [(10**9, 400), (400 * 300 * 8, 200), (400 * 300 * 3, 100)])
def test_a_jpeg_that_does_not_fit_is_read_smaller(tmp_path, monkeypatch, free, side):
    shades = np.linspace(0, 255, 400).astype(np.uint8)[None, :, None].repeat(300, 0).repeat(3, 2)
    Image.fromarray(shades).save(tmp_path / "a.jpg", quality=95)
    monkeypatch.setattr(memory, "available", lambda: free)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rgb, _ = read_image(tmp_path / "a.jpg")
    assert rgb.shape == (side * 3 // 4, side, 3)
    np.testing.assert_allclose(rgb[10, :, 0], np.linspace(0, 1, side), atol=0.03)
    assert len(caught) == (side < 400) and all("it is read at" in str(warning.message) for warning in caught)


def test_a_jpeg_that_fits_at_no_size(tmp_path, monkeypatch):
    Image.new("RGB", (400, 300)).save(tmp_path / "a.jpg")
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(TooLargeError, match="400 x 300 pixels, which need"):
        read_image(tmp_path / "a.jpg")
