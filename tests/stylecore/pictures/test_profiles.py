import struct
import warnings
import zlib

import numpy as np
import pytest
from made_pictures import (
    cmyk_profile,
    encoded,
    linear_profile,
    noise,
    png,
    rgb16_tags,
    srgb_profile,
    swapped_profile,
    tiff,
)
from PIL import Image, ImageCms

from stylecore.pictures.reading import read_image


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


# Profiles contain the time at which they were made, so they cannot be the names of the tests.
@pytest.mark.parametrize(
    "profile", [b"nonsense", linear_profile(b"GRAY"), srgb_profile()[:200]], ids=["nonsense", "grey", "cut off"]
)
def test_broken_or_unfitting_profile_is_ignored_with_one_warning(tmp_path, profile):
    pixels = noise(8, 8, 3)
    Image.fromarray(pixels).save(tmp_path / "b.tif", icc_profile=bytes(profile))
    with pytest.warns(UserWarning, match=r"b\.tif has a broken colour profile") as caught:
        rgb, _ = read_image(tmp_path / "b.tif")
    assert len(caught) == 1
    np.testing.assert_allclose(rgb * 255, pixels, atol=1e-4)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
def test_grey_profile_of_a_grey_picture_in_any_mode(tmp_path, mode):
    grey = np.linspace(0, 255, 64).astype(np.uint8).reshape(8, 8)
    image = Image.fromarray(grey).convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(255 - grey))
    image.save(tmp_path / "g.png", icc_profile=linear_profile(b"GRAY"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rgb, alpha = read_image(tmp_path / "g.png")
    np.testing.assert_allclose(rgb, np.repeat(encoded(grey / 255)[:, :, None], 3, axis=2), atol=0.04)
    if mode.endswith("A"):
        np.testing.assert_allclose(alpha, 1 - grey / 255, atol=1e-6)


# Gamma


def gamma_png(path, gamma, *chunks, value=128):
    body = struct.pack(">I", round(gamma * 100_000))
    path.write_bytes(png(4, 2, 8, 0, [bytes([value] * 4)] * 2, (b"gAMA", body), *chunks))


@pytest.mark.parametrize("gamma", [1.0, 0.55556, 0.45455, 0.4])
def test_gamma(tmp_path, gamma):
    gamma_png(tmp_path / "g.png", gamma)
    rgb = read_image(tmp_path / "g.png")[0][0, 0] * 255
    expected = 128 if gamma == 0.45455 else 255 * encoded((128 / 255) ** (1 / gamma))
    np.testing.assert_allclose(rgb, expected, atol=1e-3)
    assert gamma != 1 or np.rint(rgb[0]) == 188


def test_gamma_counts_only_where_nothing_better_is_known(tmp_path):
    gamma_png(tmp_path / "g.png", 1.0, (b"sRGB", b"\0"))
    np.testing.assert_allclose(read_image(tmp_path / "g.png")[0] * 255, 128, atol=1e-4)
    profile = (b"iCCP", b"mine\0\0" + zlib.compress(bytes(srgb_profile())))
    gamma_png(tmp_path / "g.png", 1.0, profile)
    np.testing.assert_allclose(read_image(tmp_path / "g.png")[0] * 255, 128, atol=1e-4)


def test_gamma_of_16_bits_keeps_them(tmp_path):
    grey = noise(6, 5, dtype=np.uint16)
    rows = [row.astype(">u2").tobytes() for row in grey]
    (tmp_path / "g.png").write_bytes(png(5, 6, 16, 0, rows, (b"gAMA", struct.pack(">I", 100_000))))
    np.testing.assert_allclose(read_image(tmp_path / "g.png")[0][:, :, 0], encoded(grey / 65535), atol=1e-5)


SRGB = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
ADOBE = (31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)


def colour_png(path, chromaticities, *chunks):
    chunk = (b"cHRM", struct.pack(">8I", *chromaticities))
    path.write_bytes(png(2, 2, 8, 2, [bytes([180, 120, 60] * 2)] * 2, chunk, *chunks))


def test_chromaticities(tmp_path):
    gamma = (b"gAMA", struct.pack(">I", 45_455))
    for chunks in ((), (gamma,)):
        colour_png(tmp_path / "c.png", SRGB, *chunks)
        np.testing.assert_allclose(read_image(tmp_path / "c.png")[0][0, 0] * 255, [180, 120, 60], atol=1e-4)
    colour_png(tmp_path / "c.png", ADOBE, (b"gAMA", struct.pack(">I", round(1e5 * 256 / 563))))
    # "Adobe RGB (1998) Color Image Encoding", 4.3.6: to XYZ; then IEC 61966-2-1.
    to_xyz = [[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]]
    to_srgb = [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
    light = np.array(to_srgb) @ to_xyz @ (np.array([180, 120, 60]) / 255) ** (563 / 256)
    np.testing.assert_allclose(read_image(tmp_path / "c.png")[0][0, 0], encoded(light), atol=2e-3)


def test_white_stays_white_whatever_the_white_point(tmp_path):
    warm = (34567, 35850, *ADOBE[2:])
    data = png(2, 2, 8, 2, [bytes([255] * 6)] * 2, (b"cHRM", struct.pack(">8I", *warm)))
    (tmp_path / "w.png").write_bytes(data)
    np.testing.assert_allclose(read_image(tmp_path / "w.png")[0], 1, atol=1e-4)


@pytest.mark.parametrize("wrong", ["gamma", "no luminance", "on a line"])
def test_impossible_values_are_ignored_with_a_warning(tmp_path, wrong):
    if wrong == "gamma":
        gamma_png(tmp_path / "i.png", 0)
    else:
        colour_png(tmp_path / "i.png", (0,) * 8 if wrong == "no luminance" else (30000, 30000) * 4)
    with pytest.warns(UserWarning, match=r"i\.png states a gamma or primary colours that are impossible") as caught:
        rgb = read_image(tmp_path / "i.png")[0]
    assert len(caught) == 1
    np.testing.assert_allclose(rgb[0, 0] * 255, 128 if wrong == "gamma" else [180, 120, 60], atol=1e-4)


# Other colours


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


def test_cmyk_with_profile(tmp_path):
    pixels = noise(16, 16, 4)
    pixels[:, :, 3] = 128
    Image.frombytes("CMYK", (16, 16), pixels.tobytes()).save(tmp_path / "c.tif", icc_profile=cmyk_profile())
    rgb, alpha = read_image(tmp_path / "c.tif")
    assert alpha is None
    np.testing.assert_allclose(rgb, 118.6 / 255, atol=0.03)  # Lab lightness 50, whatever C, M and Y are
