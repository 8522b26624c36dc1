import importlib.util
import io
import struct
import tracemalloc
import warnings
import zlib

import numpy as np
import PIL
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made_pictures import cmyk_profile, decode, gradient, lzw, noise, rgb16_tags, swapped_profile, tiff
from PIL import Image, ImageCms

from stylecore.errors import ImageError, TooLargeError
from stylecore.pictures import tiff as tiff_module
from stylecore.pictures.reading import read_image, read_settings
from stylecore.pictures.writing import write_image


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


GREY, RGB, PALETTE, CMYK, YCBCR, LAB = 1, 2, 3, 5, 6, 8
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
NONE, DEFLATE, LZW = 1, 8, 5


def tags_of(height, width, bits, photometric, samples=1, **more):
    tags = {256: (width,), 257: (height,), 258: (bits,) * samples, 259: (NONE,), 262: (photometric,), 277: (samples,)}
    names = {"compression": 259, "planar": 284, "extra": 338, "form": 339, "subsampling": 530, "profile": 34675}
    values = {names[name]: value if isinstance(value, tuple | bytes) else (value,) for name, value in more.items()}
    return tags | values


def compressed(data, compression):
    return {NONE: bytes, DEFLATE: zlib.compress, LZW: lzw}[compression](data)


def store(path, pixels, bits, photometric, order="<", **more):
    """Write pixels, of shape (H, W) or (H, W, samples), in one strip or in one per plane."""
    pixels = np.asarray(pixels, pixels.dtype.newbyteorder(order))
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    planes = np.moveaxis(pixels, 2, 0) if more.get("planar") == 2 else [pixels]
    strips = [compressed(plane.tobytes(), more.get("compression", NONE)) for plane in planes]
    path.write_bytes(tiff(tags_of(*pixels.shape[:2], bits, photometric, samples, **more), strips, order))


def levels_of(path):
    rgb, alpha = read_image(path)
    return rgb if alpha is None else np.dstack([rgb, alpha])


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("compression", [NONE, DEFLATE, LZW])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("samples", [3, 4])
def test_rgb_and_rgba(tmp_path, bits, compression, order, planar, samples):
    pixels = noise(7, 5, samples, dtype=f"u{bits // 8}")
    extra = {"extra": 2} if samples == 4 else {}
    store(tmp_path / "t.tif", pixels, bits, RGB, order, compression=compression, planar=planar, **extra)
    exact = bits == 8 or compression != LZW or importlib.util.find_spec("imagecodecs")
    tolerance = 1e-6 if exact else 1 / 255
    np.testing.assert_allclose(levels_of(tmp_path / "t.tif"), pixels / np.iinfo(pixels.dtype).max, atol=tolerance)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("compression", [NONE, DEFLATE])
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("extra", [0, 1, 2])
@pytest.mark.parametrize("photometric", [0, GREY])
def test_grey_with_opacity(tmp_path, bits, compression, planar, extra, photometric):
    most = 2**bits - 1
    alpha = np.tile(np.linspace(0.5, 1, 5), (4, 1))
    grey = np.linspace(0, 1, 20).reshape(4, 5)
    stored = grey if photometric else 1 - grey
    pixels = np.rint(most * np.dstack([stored * alpha if extra == 1 else stored, alpha])).astype(f"u{bits // 8}")
    store(tmp_path / "t.tif", pixels, bits, photometric, compression=compression, planar=planar, extra=extra)
    rgb, found = read_image(tmp_path / "t.tif")
    np.testing.assert_allclose(rgb, np.repeat(grey[:, :, None], 3, axis=2), atol=3 / 255 if bits == 8 else 1e-4)
    if extra:
        np.testing.assert_allclose(found, alpha, atol=0.6 / most)
    else:
        assert found is None


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("compression", [NONE, DEFLATE, LZW])
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("profile", [None, cmyk_profile()])
def test_cmyk(tmp_path, bits, compression, planar, profile):
    pixels = np.zeros((2, 4, 4), f"u{bits // 8}")
    pixels[:, [0, 1, 2, 3], [0, 1, 2, 3]] = 2**bits - 1  # a column of each ink
    more = {} if profile is None else {"profile": profile}
    store(tmp_path / "t.tif", pixels, bits, CMYK, compression=compression, planar=planar, **more)
    colours = [[0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0]] if profile is None else [[1] * 3, [1] * 3, [1] * 3, [0] * 3]
    np.testing.assert_allclose(levels_of(tmp_path / "t.tif")[0], colours, atol=0.01)


@pytest.mark.parametrize("bits", [8, 16])
def test_cmyk_with_opacity(tmp_path, bits):
    pixels = np.full((3, 2, 5), 2**bits - 1, f"u{bits // 8}")
    pixels[:, :, :4], pixels[:, 0, 4] = 0, 0
    store(tmp_path / "t.tif", pixels, bits, CMYK, extra=2)
    np.testing.assert_array_equal(levels_of(tmp_path / "t.tif")[0], [[1, 1, 1, 0], [1, 1, 1, 1]])


def packed(values, bits):
    """Rows of values of any number of bits, the most significant first, each row from a byte of its own."""
    rows = ["".join(format(value, f"0{bits}b") for value in row) for row in values]
    return b"".join(int(row + "0" * (-len(row) % 8), 2).to_bytes(-(-len(row) // 8), "big") for row in rows)


@pytest.mark.parametrize("bits", [1, 2, 4, 12])
@pytest.mark.parametrize("photometric", [0, GREY])
@pytest.mark.parametrize("compression", [NONE, DEFLATE, LZW])
def test_grey_of_few_bits(tmp_path, bits, photometric, compression):
    values = np.random.default_rng(0).integers(0, 2**bits, (4, 6))
    data = compressed(packed(values, bits), compression)
    (tmp_path / "t.tif").write_bytes(tiff(tags_of(4, 6, bits, photometric, compression=compression), [data]))
    grey = values / (2**bits - 1)
    if bits == 12 and photometric == 0 and not importlib.util.find_spec("imagecodecs"):
        with pytest.raises(ImageError, match=r"t\.tif is a TIFF of an unusual kind; .* pip install imagecodecs"):
            read_image(tmp_path / "t.tif")
    else:
        expected = grey if photometric else 1 - grey
        np.testing.assert_allclose(read_image(tmp_path / "t.tif")[0][:, :, 1], expected, atol=1e-6)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("compression", [NONE, DEFLATE, LZW])
@pytest.mark.parametrize("order", ["<", ">"])
def test_signed_integers_are_refused(tmp_path, bits, compression, order):
    store(
        tmp_path / "t.tif", noise(4, 5, dtype=f"u{bits // 8}"), bits, GREY, order, form=SIGNED, compression=compression
    )
    with pytest.raises(
        ImageError, match=rf"t\.tif holds signed {bits}-bit integers; save it with 8 or 16 unsigned bits"
    ):
        read_image(tmp_path / "t.tif")


@pytest.mark.parametrize("compression", [NONE, DEFLATE, LZW])
@pytest.mark.parametrize("form", [UNSIGNED, SIGNED])
def test_32_bit_integers(tmp_path, compression, form):
    grey = noise(4, 4, dtype=np.uint16)
    store(tmp_path / "i.tif", grey.astype(np.uint32), 32, GREY, form=form, compression=compression)
    np.testing.assert_allclose(read_image(tmp_path / "i.tif")[0][:, :, 0], grey / 65535, atol=1e-6)
    store(tmp_path / "i.tif", grey.astype(np.uint32) + 65_000, 32, GREY, form=form, compression=compression)
    with pytest.raises(ImageError, match=r"i\.tif holds 32-bit integers; save it with 8 or 16 bits"):
        read_image(tmp_path / "i.tif")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("photometric", "samples"), [(0, 1), (GREY, 1), (RGB, 3), (RGB, 4)])
@pytest.mark.parametrize("compression", [NONE, DEFLATE])
def test_floats(tmp_path, dtype, photometric, samples, compression):
    pixels = np.random.default_rng(0).random((4, 5, samples)).astype(dtype)
    more = {"form": FLOAT, "compression": compression} | ({"extra": 2} if samples == 4 else {})
    store(tmp_path / "f.tif", pixels, 8 * pixels.itemsize, photometric, **more)
    expected = np.repeat(pixels if photometric else 1 - pixels.astype(float), 3, axis=2) if samples == 1 else pixels
    np.testing.assert_allclose(levels_of(tmp_path / "f.tif"), expected, atol=1e-6)
    for wrong, message in ((pixels * 300, r"has values from .* outside \[0, 1\]"), (pixels * np.nan, "not finite")):
        store(tmp_path / "f.tif", wrong.astype(dtype), 8 * pixels.itemsize, photometric, **more)
        with pytest.raises(ImageError, match=rf"f\.tif .*{message}"), np.errstate(over="ignore"):
            read_image(tmp_path / "f.tif")


@pytest.mark.parametrize("photometric", [0, GREY])
def test_compressed_floats_by_pillow(tmp_path, photometric):
    grey = np.random.default_rng(0).random((4, 5), np.float32)
    store(tmp_path / "f.tif", grey, 32, photometric, form=FLOAT, compression=LZW)
    expected = grey if photometric else 1 - grey
    np.testing.assert_allclose(read_image(tmp_path / "f.tif")[0][:, :, 2], expected, atol=1e-6)


def test_profile_of_floats_and_of_planes(tmp_path):
    pixels = np.full((4, 4, 3), (0.6, 0.3, 0.15), np.float32)
    store(tmp_path / "f.tif", pixels, 32, RGB, form=FLOAT, planar=2, profile=swapped_profile())
    np.testing.assert_allclose(read_image(tmp_path / "f.tif")[0][0, 0], [0.15, 0.3, 0.6], atol=0.01)


@pytest.mark.parametrize(
    ("mode", "compression"),
    [
        *[("1", kind) for kind in ("group3", "group4", "tiff_ccitt", "packbits")],
        *[("P", kind) for kind in ("raw", "tiff_lzw", "packbits")],
        *[("RGB", kind) for kind in ("tiff_lzw", "packbits", "lzma", "zstd", "jpeg", "webp")],
        *[("CMYK", kind) for kind in ("tiff_lzw", "jpeg")],
        ("YCbCr", "jpeg"),
        *[("LAB", kind) for kind in ("raw", "tiff_lzw")],
        *[("I;16", kind) for kind in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma", "zstd")],
    ],
)
def test_what_pillow_writes_is_read(tmp_path, mode, compression):
    image = Image.fromarray(np.rint(255 * gradient(32, 48)).astype(np.uint8))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
    elif mode == "LAB":
        to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        image = ImageCms.applyTransform(image, to_lab)
    else:
        image = image.convert(mode)
    try:
        image.save(tmp_path / "t.tif", compression=compression)
    except (OSError, RuntimeError, ValueError):
        pytest.skip(f"this Pillow does not write {compression}")
    expected = np.asarray(image, np.float32) / 65535 if mode == "I;16" else read_image(image)[0][:, :, 0]
    np.testing.assert_allclose(read_image(tmp_path / "t.tif")[0][:, :, 0], expected, atol=0.05)


@pytest.mark.parametrize(
    ("photometric", "bits", "more", "message"),
    [
        (LAB, 8, {"planar": 2}, r"unsupported kind \(8-bit CIELAB\); save it as RGB"),
        (LAB, 16, {}, r"unsupported kind \(16-bit CIELAB\); save it as RGB"),
        (YCBCR, 8, {"planar": 2}, "uncompressed YCbCr in a form that is not supported; save it as RGB"),
        (YCBCR, 16, {}, "unusual kind"),
        (32803, 16, {}, "unusual kind"),  # of a camera's filters
    ],
)
def test_unsupported_kinds(tmp_path, photometric, bits, more, message):
    store(tmp_path / "t.tif", noise(4, 6, 3, dtype=f"u{bits // 8}"), bits, photometric, **more)
    with pytest.raises(ImageError, match=rf"t\.tif .*{message}"):
        read_image(tmp_path / "t.tif")


@pytest.mark.skipif(int(PIL.__version__.split(".")[0]) < 12, reason="Pillow before 12 calls it truncated")
def test_ycbcr_without_compression(tmp_path):
    pixels = noise(6, 8, 3)
    store(tmp_path / "y.tif", pixels, 8, YCBCR, subsampling=(1, 1))
    expected = np.asarray(Image.frombytes("YCbCr", (8, 6), pixels.tobytes()).convert("RGB")) / np.float32(255)
    np.testing.assert_allclose(read_image(tmp_path / "y.tif")[0], expected, atol=1e-6)


def test_subsampled_ycbcr_without_compression_is_refused(tmp_path):
    tags = tags_of(4, 4, 8, YCBCR, 3, subsampling=(2, 2))
    (tmp_path / "y.tif").write_bytes(tiff(tags, [noise(24).tobytes()]))
    with pytest.raises(ImageError, match=r"y\.tif holds uncompressed YCbCr in a form that is not supported"):
        read_image(tmp_path / "y.tif")


def test_old_jpeg(tmp_path):
    """TIFF 6.0's own JPEG, with a whole JPEG file inside, as scanners wrote it."""
    jpeg = io.BytesIO()
    Image.new("RGB", (16, 16), (180, 120, 60)).save(jpeg, "JPEG", quality=95, subsampling="4:4:4")
    tags = tags_of(16, 16, 8, YCBCR, 3, compression=6, subsampling=(1, 1))
    tags |= {512: (1,), 513: (8,), 514: (len(jpeg.getvalue()),)}  # the first strip starts at byte 8
    (tmp_path / "o.tif").write_bytes(tiff(tags, [jpeg.getvalue()]))
    np.testing.assert_allclose(read_image(tmp_path / "o.tif")[0] * 255, [[[180, 120, 60]] * 16] * 16, atol=4)


def test_raw_file_of_a_camera(tmp_path):
    """Which has a preview in the place of the first page, and the sensor's data elsewhere."""
    for marks in ({50706: (0x0104,)}, {254: (1,), 330: (8,)}):
        (tmp_path / "raw.dng").write_bytes(tiff(rgb16_tags(4, 4) | marks, [bytes(96)]))
        with pytest.raises(ImageError, match=r"raw\.dng starts with a preview, as a camera's raw file does; develop"):
            read_image(tmp_path / "raw.dng")
    (tmp_path / "only.tif").write_bytes(tiff(rgb16_tags(4, 4) | {254: (1,)}, [bytes(96)]))
    assert read_image(tmp_path / "only.tif")[0].max() == 0


def test_samples_of_different_depths(tmp_path):
    (tmp_path / "d.tif").write_bytes(tiff(rgb16_tags(4, 4) | {258: (5, 6, 5)}, [bytes(32)]))
    with pytest.raises(ImageError, match=r"d\.tif is a TIFF of an unsupported kind \(\(5, 6, 5\)-bit RGB\)"):
        read_image(tmp_path / "d.tif")


# Pages


@pytest.mark.parametrize("deep", [False, True])
def test_further_pages(tmp_path, deep):
    path = tmp_path / "p.tif"
    pages = np.stack([np.full((4, 5, 3), value, np.uint16 if deep else np.uint8) for value in (200, 100, 50)])
    most = 65535 if deep else 255
    tifffile.imwrite(path, pages, photometric="rgb")
    with pytest.warns(UserWarning, match=r"p\.tif has 3 pages; the first is used\.$") as caught:
        np.testing.assert_allclose(read_image(path)[0], 200 / most, atol=1e-6)
    assert len(caught) == 1
    with tifffile.TiffWriter(path) as writer, warnings.catch_warnings():
        warnings.simplefilter("error")
        writer.write(pages[0], photometric="rgb")
        writer.write(pages[1], photometric="rgb", subfiletype=1)  # a preview
        writer.write(pages[2, :, :, 0] > 0, photometric="minisblack", subfiletype=4)  # a mask
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(read_image(path)[0], 200 / most, atol=1e-6)


# Damage


@pytest.mark.parametrize("bits", [8, 16])
def test_missing_strips(tmp_path, bits):
    tags = tags_of(8, 8, bits, RGB, 3) | {278: (4,)}
    (tmp_path / "d.tif").write_bytes(tiff(tags, [bytes(4 * 8 * 3 * bits // 8)]))
    with pytest.raises(ImageError, match=r"d\.tif cannot be read \(parts of the picture are missing\)"):
        read_image(tmp_path / "d.tif")


def test_bomb_of_deflate(tmp_path):
    strip = zlib.compress(bytes(600_000_000), 1)
    (tmp_path / "b.tif").write_bytes(tiff(rgb16_tags(8, 8) | {259: (DEFLATE,)}, [strip]))
    tracemalloc.start()
    with pytest.raises(ImageError, match=r"b\.tif cannot be read \(compressed data expand to more than the picture\)"):
        read_image(tmp_path / "b.tif")
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def test_large_strips_are_no_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr("stylecore.pictures.tiff._SLACK", 0)
    pixels = np.zeros((50, 60, 3), np.uint16)
    store(tmp_path / "t.tif", pixels, 16, RGB, compression=DEFLATE)
    assert read_image(tmp_path / "t.tif")[0].max() == 0


def test_file_larger_than_the_memory(tmp_path, monkeypatch):
    store(tmp_path / "large.tif", noise(200, 300, 3, dtype=np.uint16), 16, RGB)
    monkeypatch.setattr("stylecore.memory.available", lambda: 1000)
    with pytest.raises(TooLargeError, match=r"large\.tif has 300 x 200 pixels, which need .* GB are free; scale"):
        read_image(tmp_path / "large.tif")


# Earlier tests, of tags as other programs write them


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


def test_other_16_bit_tiffs_are_read_at_8_bits(tmp_path):
    lzw = tmp_path / "lzw.tif"
    pixels = noise(8, 8, 3, dtype=np.uint16)
    tags = rgb16_tags(8, 8) | {322: (16,), 323: (16,)}
    tile = np.zeros((16, 16, 3), "<u2")
    tile[:8, :8] = pixels
    data = tiff(tags, [tile.tobytes()])
    lzw.write_bytes(data.replace(struct.pack("<HH", 273, 4), struct.pack("<HH", 324, 4)))
    np.testing.assert_allclose(read_image(lzw)[0], pixels / 65535, atol=1 / 255)


def test_16_bit_tiff_damaged(tmp_path):
    whole = zlib.compress(noise(8, 8, 3, dtype=np.uint16).tobytes())
    for compression, strip in ((8, whole[:100]), (8, b"no zlib"), (1, b"short")):
        (tmp_path / "d.tif").write_bytes(tiff(rgb16_tags(8, 8) | {259: (compression,)}, [strip]))
        with pytest.raises(ImageError, match=r"d\.tif cannot be read"):
            read_image(tmp_path / "d.tif")


def test_grey_16_bits_big_endian_and_white_is_zero(tmp_path):
    grey = noise(3, 2, dtype=np.uint16)
    for photometric, expected in ((1, grey), (0, 65535 - grey)):
        tags = {256: (2,), 257: (3,), 258: (16,), 262: (photometric,), 277: (1,)}
        path = tmp_path / "g.tif"
        path.write_bytes(tiff(tags, [grey.tobytes()]))
        np.testing.assert_allclose(read_image(path)[0][:, :, 0] * 65535, expected, atol=0.01)
    path.write_bytes(tiff(tags | {262: (1,)}, [grey.astype(">u2").tobytes()], ">"))
    np.testing.assert_allclose(read_image(path)[0][:, :, 0] * 65535, grey, atol=0.01)


@settings(deadline=None)
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


def test_tiff_of_many_strips(tmp_path):
    rgb = np.random.default_rng(0).random((700, 500, 3), np.float32)
    write_image(tmp_path / "s.tif", rgb)
    np.testing.assert_allclose(read_image(tmp_path / "s.tif")[0], rgb, atol=0.51 / 65535)
    np.testing.assert_allclose(decode(tmp_path / "s.tif"), rgb, atol=1.01 / 255)


@pytest.mark.parametrize("with_alpha", [False, True])
@pytest.mark.parametrize("shape", [(1300, 515), (5, 1030)])
def test_large_pictures_are_written_in_tiles(tmp_path, monkeypatch, shape, with_alpha):
    monkeypatch.setattr("stylecore.pictures.tiff.LARGEST_STRIPPED", 512)
    rng = np.random.default_rng(0)
    rgb, alpha = rng.random((*shape, 3), np.float32), rng.random(shape, np.float32) if with_alpha else None
    write_image(tmp_path / "t.tif", rgb, alpha=alpha, settings={"a": 1}, dpi=300)
    with tifffile.TiffFile(tmp_path / "t.tif") as file:
        assert file.pages[0].is_tiled and file.pages[0].tags["XResolution"].value == (300, 1)
    back, back_alpha = read_image(tmp_path / "t.tif")
    np.testing.assert_allclose(back, rgb, atol=0.51 / 65535)
    if with_alpha:
        np.testing.assert_allclose(back_alpha, alpha, atol=0.51 / 65535)
    assert read_settings(tmp_path / "t.tif") == {"a": 1}


def test_large_pictures_are_written_as_bigtiff(tmp_path, monkeypatch):
    rgb = np.random.default_rng(0).random((20, 30, 3), np.float32)
    for limit, version in ((2**20, 42), (0, 43)):
        monkeypatch.setattr("stylecore.pictures.tiff.LARGEST_CLASSIC", limit)
        write_image(tmp_path / "b.tif", rgb, settings={"a": 1})
        assert (tmp_path / "b.tif").read_bytes()[:4] == struct.pack("<2sH", b"II", version)
        np.testing.assert_allclose(read_image(tmp_path / "b.tif")[0], rgb, atol=0.51 / 65535)
        assert read_settings(tmp_path / "b.tif") == {"a": 1}


@pytest.mark.parametrize(
    ("change", "layout"),
    [
        (lambda a: a, {"rowsperstrip": 7}),
        (lambda a: a, {"tile": (16, 32), "compression": "zlib", "predictor": True}),
        (lambda a: np.moveaxis(a, 2, 0), {"planarconfig": "separate", "rowsperstrip": 5}),
        (lambda a: (a >> 8).astype(np.uint8), {"rowsperstrip": 9}),
        (lambda a: a[..., 0], {"photometric": "minisblack", "tile": (16, 16)}),
        (lambda a: (a / 65535).astype(np.float32), {"rowsperstrip": 3}),
    ],
    ids=["strips", "tiles", "planes", "8 bits", "grey", "floats"],
)
def test_what_does_not_fit_into_memory_is_read_smaller_piece_by_piece(change, layout, tmp_path, monkeypatch):
    path, samples = tmp_path / "large.tif", np.random.default_rng(0).integers(0, 65536, (101, 77, 3)).astype(np.uint16)
    tifffile.imwrite(path, change(samples), **{"photometric": "rgb", **layout})
    whole, _ = read_image(path)
    monkeypatch.setattr(tiff_module, "fits_memory", lambda height, width, **more: height < 30)
    with pytest.warns(UserWarning, match="77 x 101 pixels, too many for the free memory; it is read at 20 x 26"):
        small, _ = read_image(path)
    blocks = [[whole[i : i + 4, j : j + 4].mean((0, 1)) for j in range(0, 77, 4)] for i in range(0, 101, 4)]
    np.testing.assert_allclose(small, blocks, atol=0.51 / (255 if change(samples).dtype == np.uint8 else 65535))


def test_few_bits_are_averaged_and_palettes_are_left_to_pillow(tmp_path, monkeypatch):
    checks = Image.fromarray((np.indices((40, 64)).sum(axis=0) % 2 * 255).astype(np.uint8))
    checks.convert("1").save(tmp_path / "bits.tif")
    checks.convert("P").save(tmp_path / "palette.tif")
    monkeypatch.setattr(tiff_module, "fits_memory", lambda height, width, **more: height < 30)
    with pytest.warns(UserWarning, match="64 x 40 pixels, too many"):
        small, _ = read_image(tmp_path / "bits.tif")
    np.testing.assert_allclose(small, np.full((20, 32, 3), 0.5), atol=1e-6)
    assert read_image(tmp_path / "palette.tif")[0].shape == (40, 64, 3)
