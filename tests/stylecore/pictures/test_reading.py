import io
import os
import shlex
import struct
import subprocess
import sys
import threading
import warnings
import zlib

import numpy as np
import pytest
from made_pictures import decoded, encoded, noise, ordinary_user, png, rgb16_tags, srgb_profile, swapped_profile, tiff
from PIL import Image, ImageOps, PngImagePlugin, features

from stylecore.errors import ImageError, TooLargeError
from stylecore.pictures import formats, reading
from stylecore.pictures.arrays import MAX_PIXELS
from stylecore.pictures.reading import lossy_format, read_image, read_settings
from stylecore.pictures.writing import write_image


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
    with pytest.warns(UserWarning, match=r"e\.png has a flaw, but can be read: Corrupt EXIF data; .*\.$") as caught:
        assert read_image(tmp_path / "e.png")[0].shape == (4, 6, 3)
    assert len(caught) == 1
    with pytest.warns(UserWarning, match=r"e\.png has a flaw"):
        assert read_settings(tmp_path / "e.png") is None
    with pytest.warns(UserWarning, match="style image has a flaw"):
        read_image((tmp_path / "e.png").open("rb"), name="style image")


def test_warnings_of_others_stay_as_they_are(tmp_path, monkeypatch):
    Image.new("RGB", (4, 4)).save(tmp_path / "w.png")
    monkeypatch.setattr(
        formats, "recognise", lambda header: warnings.warn("not of Pillow", FutureWarning, stacklevel=1)
    )
    with pytest.warns(FutureWarning, match=r"^not of Pillow$"):
        read_image(tmp_path / "w.png")


# Streams and pipes


class Pipe:
    """A stream that can be read once, from its start to its end, in pieces of any size."""

    def __init__(self, data):
        self._data, self.name = io.BytesIO(data), 3

    def read(self, size=-1):
        return self._data.read(min(size, 1000))

    def seekable(self):
        return False


@pytest.fixture
def file_and_pixels(tmp_path):
    pixels = noise(40, 50, 3)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    return tmp_path / "p.png", pixels / np.float32(255)


def test_streams(file_and_pixels):
    path, pixels = file_and_pixels
    with open(path, "rb") as file:
        for stream in (file, Pipe(path.read_bytes()), io.BytesIO(path.read_bytes())):
            rgb, alpha = read_image(stream)
            np.testing.assert_allclose(rgb, pixels, atol=1e-6)
            assert alpha is None and not stream.read(1)
            with pytest.raises(ImageError, match="content image is empty; check the program that writes it"):
                read_image(stream, name="content image")
    write_image(path, pixels, settings={"a": 1})
    assert read_settings(Pipe(path.read_bytes())) == {"a": 1}


def test_pipes(file_and_pixels, tmp_path):
    path, pixels = file_and_pixels
    os.mkfifo(tmp_path / "fifo")
    writer = threading.Thread(target=(tmp_path / "fifo").write_bytes, args=[path.read_bytes()])
    writer.start()
    np.testing.assert_allclose(read_image(tmp_path / "fifo")[0], pixels, atol=1e-6)
    writer.join()


def test_standard_input(file_and_pixels):
    path, pixels = file_and_pixels
    program = "from stylecore.pictures.reading import read_image; print(read_image('/dev/stdin')[0].sum())"
    for redirect in ("cat {} | {}", "{1} < {0}"):
        command = redirect.format(path, shlex.join([sys.executable, "-c", program]))
        output = subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout
        assert float(output) == pytest.approx(pixels.sum(), rel=1e-5)


def test_streams_that_cannot_be_read(file_and_pixels, monkeypatch):
    path, _ = file_and_pixels
    with open(path) as file, pytest.raises(ImageError, match="mask is a text stream; open it in binary mode"):
        read_image(file, name="mask")
    with pytest.raises(ImageError, match=r"mask cannot be read \(.*closed file\)"):
        read_image(file.buffer, name="mask")
    with pytest.raises(ImageError, match="mask is not a picture that Pillow can read"):
        read_image(io.BytesIO(b"words"), name="mask")
    monkeypatch.setattr(reading, "MAX_STREAM_BYTES", 2**20)
    with open("/dev/zero", "rb") as endless:
        for source, name in ((endless, "mask"), ("/dev/zero", "/dev/zero")):
            with pytest.raises(ImageError, match=f"{name} is a stream of over 1 MB; save it to a file first"):
                read_image(source, name="mask")


# Formats that Pillow does not read


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\x0a" + bytes(40), "is a JPEG XL picture, which is not supported; export it as PNG"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "is a JPEG XL picture"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG drawing, which has no pixels; export it as PNG"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- by hand -->\n<SVG>', "is an SVG drawing"),
        (b'<?xml version="1.0"?><html>', "is not a picture"),
        (b"%PDF-1.7\n", "is a PDF document; export the page as PNG"),
        (b"gimp xcf v011\0", "is a GIMP project; export it as PNG"),
        (b"\0\0\0\x18ftypcrx ", "is a camera's raw file; develop it and export it as TIFF or JPEG"),
        (b"\0\0\0\x18ftypisom", "is a video; export a frame of it as PNG"),
    ],
)
def test_other_formats(tmp_path, content, message):
    (tmp_path / "x.png").write_bytes(content)
    for source, name in ((tmp_path / "x.png", r"x\.png"), (io.BytesIO(content), "style image")):
        with pytest.raises(ImageError, match=f"{name} {message}"):
            read_image(source, name="style image")


@pytest.fixture
def without_heif(monkeypatch):
    """As if pillow-heif were not installed."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if kind != "HEIF"])


def test_heif_needs_pillow_heif(tmp_path, without_heif):
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(ImageError, match=r"phone\.heic is a HEIF .* pip install pillow-heif, or export it as JPEG"):
        read_image(tmp_path / "phone.heic")


def heic(path, image, **options):
    """Write a HEIC, if pillow-heif can."""
    pillow_heif = pytest.importorskip("pillow_heif")
    if not pillow_heif.libheif_info()["HEIF"]:
        pytest.skip("this libheif does not write HEIC")
    pillow_heif.from_pillow(image).save(path, quality=100, chroma=444, **options)


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


@pytest.mark.parametrize(
    ("suffix", "options", "kind"),
    [
        (".jpg", {}, "JPEG"),
        (".webp", {}, "WebP"),
        (".webp", {"lossless": True}, None),
        (".png", {}, None),
        (".tif", {}, None),
    ],
)
def test_lossy_format(tmp_path, suffix, options, kind):
    path = tmp_path / ("x" + suffix)
    Image.fromarray(noise(8, 8, 3)).save(path, **options)
    assert lossy_format(path) == lossy_format(str(path)) == kind
    for other in (tmp_path, tmp_path / "none.jpg", path.read_bytes(), Image.open(path), "", None):
        assert lossy_format(other) is None


# Errors


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ImageError, match=r"none\.png does not exist; check"):
        read_image(tmp_path / "none.png")
    with pytest.raises(ImageError, match="is a folder; name a picture"):
        read_image(tmp_path)
    with pytest.raises(ImageError, match="the file name of the style image is empty; give the path of a picture"):
        read_image("", name="style image")
    for path in ("a\0b.png", "x" * 300 + ".png"):
        with pytest.raises(ImageError, match=r"b?\.png cannot be opened"):
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


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif", "gif", "bmp", "avif", "heic", "deep.tif", "planar.tif"])
def test_damaged_files_raise_nothing_else(tmp_path, kind):
    rng = np.random.default_rng(1)
    whole, path = tmp_path / f"whole.{kind}", tmp_path / f"damaged.{kind}"
    image = Image.fromarray(noise(16, 16, 3))
    if kind == "heic":
        heic(whole, image)
    elif kind == "deep.tif":
        write_image(whole, np.asarray(image) / 255, settings={"a": 1})
    elif kind == "planar.tif":
        planes = [plane.tobytes() for plane in np.moveaxis(noise(16, 16, 4, dtype=np.uint16), 2, 0)]
        whole.write_bytes(tiff(rgb16_tags(16, 16, 4) | {284: (2,), 34675: bytes(srgb_profile())}, planes))
    elif kind == "avif" and not features.check("avif"):
        pytest.skip("this Pillow does not write AVIF")
    else:
        image.save(whole, icc_profile=bytes(srgb_profile()), exif=b"Exif\0\0II*\0\x08\0\0\0")
    content = np.frombuffer(whole.read_bytes(), np.uint8)
    structures = [(0, min(len(content), 800)), (max(0, len(content) - 300), len(content))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in range(100):
            data = content[: rng.integers(1, len(content))] if step % 4 == 3 else content.copy()
            if step % 4 != 3:
                data[rng.integers(*structures[step % 2], 5)] = rng.integers(0, 256, 5)
            path.write_bytes(data.tobytes())
            for reader in (read_image, read_settings):
                try:
                    reader(path)
                except (ImageError, TooLargeError) as error:
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


def test_file_larger_than_the_memory(tmp_path, monkeypatch):
    Image.new("RGB", (300, 200)).save(tmp_path / "large.png")
    monkeypatch.setattr("stylecore.memory.available", lambda: 10**6)
    with pytest.raises(TooLargeError, match=r"large\.png has 300 x 200 pixels, which need .* GB are free; scale"):
        read_image(tmp_path / "large.png")
