import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stylecore import ParameterError
from stylecore.pictures import colour
from stylecore.pictures.geometry import resize
from stylecore.pictures.reading import read_image
from stylecore.samples import PAINTING, PHOTOGRAPH

LUMINANCE = [0.299, 0.587, 0.114]


@pytest.fixture(scope="module")
def content():
    return resize(read_image(PHOTOGRAPH)[0], (60, 80))


@pytest.fixture(scope="module")
def style():
    return resize(read_image(PAINTING)[0], (50, 70))


def moments(picture):
    colours = picture.reshape(-1, 3).astype(float)
    return colours.mean(axis=0), np.cov(colours, rowvar=False)


def narrowed(picture):
    """With colours so far from 0 and 1 that nothing is clipped."""
    return 0.5 + 0.3 * (picture - 0.5)


def test_style_changes_nothing(content, style):
    seen, (changed,) = colour.prepare("style", content, [style])
    assert seen is content and changed is style
    assert colour.restore("style", style, content) is style


def test_match_gives_mean_and_covariance(content, style):
    content = narrowed(content)
    matched = colour.match(style, content)
    assert matched.shape == style.shape and matched.dtype == np.float32
    for found, wanted in zip(moments(matched), moments(content), strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_match_moves_colours_no_further_than_another_map(content, style):
    content = narrowed(content)
    (mean, covariance), (wanted_mean, wanted) = moments(style), moments(content)
    other = np.linalg.cholesky(wanted) @ np.linalg.inv(np.linalg.cholesky(covariance))
    alternative = (style.reshape(-1, 3) - mean) @ other.T + wanted_mean
    np.testing.assert_allclose(np.cov(alternative, rowvar=False), wanted, atol=1e-6)
    moved = np.mean((colour.match(style, content) - style) ** 2)
    assert moved < np.mean((alternative.reshape(style.shape) - style) ** 2)


def test_match_leaves_what_matches(content):
    np.testing.assert_allclose(colour.match(content, content), content, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_match_of_a_single_colour(value, content):
    plain = np.full((20, 30, 3), value, np.float32)
    mean = content.mean(axis=(0, 1))
    np.testing.assert_allclose(colour.match(plain, content), np.broadcast_to(mean, plain.shape), atol=1e-5)
    np.testing.assert_allclose(colour.match(content, plain), value, atol=0.02)


def test_histogram_gives_the_distribution_of_each_channel(content, style):
    _, (matched,) = colour.prepare("histogram", content, [style])
    assert matched.shape == style.shape and matched.dtype == np.float32
    levels = np.linspace(0.02, 0.98, 30)
    for channel in range(3):
        found, wanted = (np.quantile(picture[:, :, channel], levels) for picture in (matched, content))
        np.testing.assert_allclose(found, wanted, atol=0.02)


def test_histogram_without_scikit_image(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.exposure", None)
    with pytest.raises(ParameterError, match=r"needs scikit-image; install it with: pip install scikit-image"):
        colour.check("histogram")
    colour.check("match")


def test_unknown():
    with pytest.raises(ParameterError, match=r'colour "contents" is not known \(did you mean content\?\)'):
        colour.check("contents")


def test_content_shows_the_network_greys_of_equal_mean_and_contrast(content, style):
    style = narrowed(style)
    seen, (changed,) = colour.prepare("content", content, [style])
    for picture in (seen, changed):
        assert np.ptp(picture, axis=2).max() < 1e-6
    np.testing.assert_allclose(seen[:, :, 0], content @ LUMINANCE, atol=1e-6)
    assert changed.mean() == pytest.approx(seen.mean(), abs=0.01)
    assert changed.std() == pytest.approx(seen.std(), rel=0.02)
    assert np.corrcoef(changed[:, :, 0].ravel(), (style @ LUMINANCE).ravel())[0, 1] > 0.99


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_restored_colours(seed):
    rng = np.random.default_rng(seed)
    picture, content = rng.random((2, 5, 7, 3), np.float32)
    picture[0, 0], content[0, 1] = rng.integers(0, 2, (2, 3))
    restored = colour.restore("content", picture, content)
    assert restored.min() >= 0 and restored.max() <= 1
    np.testing.assert_allclose(restored @ LUMINANCE, picture @ LUMINANCE, atol=1e-5)
    found, wanted = (image - (image @ LUMINANCE)[:, :, None] for image in (restored, content))
    # Of the content's chrominance it has a part, and all of it where there is room.
    part = np.sum(found * wanted, axis=2) / np.sum(wanted**2, axis=2).clip(1e-9)
    np.testing.assert_allclose(found, part[:, :, None] * wanted, atol=1e-4)
    assert part.max() <= 1 + 1e-4
    pale = part < 0.999
    ends = (restored < 1e-3) | (restored > 1 - 1e-3)
    colourless = np.abs(wanted).max(axis=2) < 1e-5
    assert np.all(ends.any(axis=2) | colourless | ~pale)


def test_restored_content_is_the_content(content):
    np.testing.assert_allclose(colour.restore("content", colour.grey(content), content), content, atol=1e-5)


# Opacity


@pytest.mark.parametrize("way", ["match", "histogram", "content"])
def test_only_visible_colours_count(content, style, way):
    """Colours hidden under transparent pixels change nothing of what is seen."""
    results = []
    for hidden in (0.0, 1.0):
        images, alphas = [], []
        for image in (content, style):
            alpha = np.ones(image.shape[:2], np.float32)
            alpha[:, :30] = 0
            images.append(np.where(alpha[:, :, None] > 0, image, np.float32(hidden)))
            alphas.append(alpha)
        _, (changed,) = colour.prepare(way, images[0], images[1:], content_alpha=alphas[0], style_alphas=alphas[1:])
        results.append(changed[:, 30:])
    np.testing.assert_array_equal(*results)
    _, (opaque,) = colour.prepare(way, content, [style])
    _, (same,) = colour.prepare(way, content, [style], style_alphas=[np.ones(style.shape[:2])])
    np.testing.assert_array_equal(opaque, same)
    assert np.abs(results[0] - opaque[:, 30:]).max() > 0.01


def test_moments_of_what_is_visible(content, style):
    content, alpha = narrowed(content), np.zeros(style.shape[:2])
    alpha[10:40, 20:50] = 1
    matched = colour.match(style, content, alpha)
    for found, wanted in zip(moments(matched[10:40, 20:50]), moments(content), strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_nothing_visible_is_as_if_all_were(content, style):
    nothing = np.zeros(style.shape[:2])
    np.testing.assert_array_equal(colour.match(style, content, nothing), colour.match(style, content))


# Greys


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.uint16])
def test_is_grey(dtype):
    most = 1 if np.issubdtype(dtype, np.floating) else np.iinfo(dtype).max
    grey = np.repeat(np.linspace(0, most, 200 * 5).reshape(200, 5, 1), 3, axis=2).astype(dtype)
    assert colour.is_grey(grey)
    rounded, tinted = grey.copy(), grey.copy()
    rounded[150, 2, 1] -= dtype(most / 255)
    tinted[150, 2, 1] -= dtype(2 * most / 255)
    assert colour.is_grey(rounded) and not colour.is_grey(tinted)


def test_greys_of_a_jpeg_are_grey(tmp_path, content):
    levels = np.rint(255 * colour.grey(content)).astype(np.uint8)
    Image.fromarray(levels).save(tmp_path / "g.jpg", quality=75)
    assert colour.is_grey(read_image(tmp_path / "g.jpg")[0]) and not colour.is_grey(content)
