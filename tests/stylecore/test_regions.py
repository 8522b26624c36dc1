"""Regions: what masks and label images are read as, how they come down to a layer, and what is refused."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from stylecore import ImageError, ParameterError
from stylecore.regions import Region, area_average, read_regions

CONTENT, FIRST, SECOND = (np.zeros((*shape, 3)) for shape in ((8, 12), (10, 10), (6, 9)))
LEFT = np.arange(12) < 6 * np.ones((8, 1))
TOP = np.arange(10)[:, None] < 5 * np.ones((1, 10))


def read(*regions, styles=(FIRST,)):
    return read_regions(list(regions), None, CONTENT, list(styles))


def read_labels(*labels, styles=(FIRST,)):
    return read_regions(None, list(labels), CONTENT, list(styles))


def refused(words, error=ParameterError):
    """Expect an error of one sentence with these words in it."""
    return pytest.raises(error, match=rf"^(?!.*\.\s)(?!.*\n).*{words}.*\.$")


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


# Carried down to a layer


def test_area_average_by_hand():
    mask = np.array([[1, 0, 0, 1], [1, 1, 0, 0.5]])
    np.testing.assert_allclose(area_average(mask, (1, 2)), [[0.75, 0.375]])
    # Three positions over four columns: each takes one and a third.
    np.testing.assert_allclose(area_average(mask[:1], (1, 3)), [[0.75, 0, 0.75]], atol=1e-15)
    np.testing.assert_allclose(area_average(mask, (4, 4)), np.repeat(mask, 2, axis=0))


@given(
    mask=st.tuples(st.integers(1, 20), st.integers(1, 20)).flatmap(
        lambda shape: arrays(np.float32, shape, elements=st.floats(0, 1, width=32))
    ),
    height=st.integers(1, 25),
    width=st.integers(1, 25),
)
def test_area_average_keeps_the_share_of_a_region(mask, height, width):
    mean = area_average(mask, (height, width))
    assert mean.shape == (height, width)
    assert mean.min() >= -1e-12 and mean.max() <= 1 + 1e-12
    assert mean.mean() == pytest.approx(mask.mean(dtype=np.float64), abs=1e-9)
    np.testing.assert_allclose(mean + area_average(1.0 - mask, (height, width)), 1)


# Masks


def test_no_regions():
    assert read_regions(None, None, CONTENT, [FIRST, SECOND]) == [Region("", None, {0: None, 1: None})]


def test_masks_and_words():
    sky, land = read((LEFT, "all", None), ("rest", "none", "rest"), styles=(FIRST, SECOND))
    assert (sky.name, land.name) == ("1", "2")
    np.testing.assert_array_equal(sky.mask, LEFT)
    np.testing.assert_array_equal(land.mask, ~LEFT)
    assert sky.styles.keys() == {0} and land.styles.keys() == {1}
    np.testing.assert_array_equal(sky.styles[0], np.ones((10, 10)))
    np.testing.assert_array_equal(land.styles[1], np.ones((6, 9)))  # No other region takes any of it.


def test_rest_of_soft_masks_that_overlap():
    soft = np.linspace(0, 1, 12) * np.ones((8, 1))
    *_, rest = read((LEFT, "all"), (soft, "all"), ("rest", "all"))
    np.testing.assert_allclose(rest.mask, (1 - LEFT - soft).clip(0), atol=1e-6)


def test_files_inverses_and_transparency(tmp_path):
    Image.fromarray(np.uint8(255 * LEFT)).save(tmp_path / "left.png")
    white = np.full((10, 10, 4), 255, np.uint8)
    white[..., 3] = np.uint8(255 * TOP)
    Image.fromarray(white).save(tmp_path / "top.png")
    one, two = read((tmp_path / "left.png", TOP), (f"not:{tmp_path / 'left.png'}", str(tmp_path / "top.png")))
    np.testing.assert_array_equal(one.mask, LEFT)
    np.testing.assert_array_equal(two.mask, ~LEFT)
    np.testing.assert_array_equal(one.styles[0], TOP)
    np.testing.assert_array_equal(two.styles[0], TOP)


def test_regions_that_were_read_are_kept():
    regions = read((LEFT, TOP))
    assert read_regions(regions, None, CONTENT, [FIRST])[0] is regions[0]


@pytest.mark.parametrize("size", [(4, 6), (16, 24), (41, 61)])
def test_a_mask_of_another_size_is_resampled_with_a_warning(size):
    mask = np.zeros(size)
    mask[:, : size[1] // 2] = 1
    with pytest.warns(
        UserWarning, match=rf"content image is of {size[1]} x {size[0]} pixels.*12 x 8; the mask is resampled"
    ):
        (region,) = read((mask, TOP))
    assert region.mask.shape == (8, 12) and region.mask.dtype == np.float32
    np.testing.assert_allclose(region.mask, LEFT, atol=0.2)


@pytest.mark.parametrize(
    ("regions", "words"),
    [
        ([], "regions is an empty list"),
        ("sky.png", "regions is of type str; give a list"),
        (["sky.png"], "region 1 is of type str; give a list"),
        ([LEFT], "region 1 is of type ndarray; give a list"),
        (3, "regions is of type int"),
        ([(LEFT,)], "region 1 has 1 mask; it needs one for the content image and one for the 1 style image"),
        ([(LEFT, TOP), (LEFT, TOP, TOP)], "region 2 has 3 masks"),
        ([(None, TOP)], "region 1 is not in the content image"),
        ([(LEFT, TOP), ("none", TOP)], "region 2 is not in the content image"),
        ([(LEFT, TOP), ("rest", None)], "region 2 is in no style image"),
        ([(np.zeros((8, 12)), TOP)], "region 1 is empty on the content image"),
        ([(LEFT, np.zeros((10, 10)))], "region 1 is empty on the style image"),
        ([("all", TOP), ("rest", TOP)], "region 2 is empty on the content image"),
        ([(LEFT.T, TOP)], "mask of region 1 on the content image is of 8 x 12 .* 12 x 8, .*another aspect ratio"),
        ([(LEFT[..., None] * [1.0, 0, 0], TOP)], "mask of region 1 on the content image has colours"),
    ],
)
def test_bad_masks(regions, words):
    with refused(words):
        read_regions(regions, None, CONTENT, [FIRST])


def test_unreadable_masks():
    with refused("sky.png does not exist", ImageError):
        read(("sky.png", TOP))
    with refused("sky.png does not exist", ImageError):
        read(("not:sky.png", TOP))
    with refused("mask of region 1 on the style image 2 .*not finite", ImageError):
        read((LEFT, None, np.full((6, 9), np.nan)), styles=(FIRST, SECOND))
    with refused("both as masks and as label images"):
        read_regions([(LEFT, TOP)], [LEFT, TOP], CONTENT, [FIRST])


# Label images


def label_image(mask, colours):
    return np.uint8(colours)[np.where(mask, 0, 1)]


def test_labels():
    content, first = label_image(LEFT, [(255, 0, 0), (0, 16, 255)]), label_image(TOP, [(0, 16, 255), (255, 0, 0)])
    second = np.broadcast_to(np.uint8([255, 0, 0]), SECOND.shape)
    blue, red = read_labels(content, first, second, styles=(FIRST, SECOND))
    assert (blue.name, red.name) == ("#0010ff", "#ff0000")
    np.testing.assert_array_equal(red.mask, LEFT)
    np.testing.assert_array_equal(blue.mask, ~LEFT)
    np.testing.assert_array_equal(red.styles[0], ~TOP)
    assert blue.styles.keys() == {0} and red.styles.keys() == {0, 1}


def test_labels_of_another_size_are_resampled():
    larger = np.repeat(np.repeat(label_image(LEFT, [(9, 9, 9), (0, 0, 0)]), 2, axis=0), 2, axis=1)
    with pytest.warns(UserWarning, match="label image of the content image is of 24 x 16 pixels"):
        regions = read_labels(larger, label_image(TOP, [(9, 9, 9), (0, 0, 0)]))
    np.testing.assert_allclose(regions[1].mask, LEFT, atol=1e-6)


def test_bad_labels():
    red, blue = (255, 0, 0), (0, 0, 255)
    content, style = label_image(LEFT, [red, blue]), label_image(TOP, [red, blue])
    with refused("labels has 1 label image; it needs one for the content image and one for the 1 style image"):
        read_labels(content)
    with refused("region #0000ff is in no style image"):
        read_labels(content, label_image(TOP, [red, red]))
    with refused("region #00ff00 is not in the content image"):
        read_labels(label_image(LEFT, [red, red]), label_image(TOP, [red, (0, 255, 0)]))
    with refused("label image of the style image has 100 colours; .*PNG", ImageError):
        read_labels(content, np.arange(100, dtype=np.uint8).reshape(10, 10))
    with refused("another aspect ratio"):
        read_labels(style, style)


def test_labels_of_a_jpeg(tmp_path):
    blue, path = np.zeros((8, 12, 3), np.uint8), tmp_path / "labels.jpg"
    blue[:, :, 2] = 255
    Image.fromarray(blue).save(path, quality=95)  # as 254
    exact = np.resize(blue, (10, 10, 3))
    advice = r"; .*labels\.jpg is a JPEG file, which alters colours, so save label images as PNG"
    with refused("region #0000fe is in no style image" + advice):
        read_labels(path, exact)
    Image.fromarray(exact).save(path, quality=95)
    with refused("region #0000ff is in no style image" + advice):
        read_labels(label_image(LEFT, [(0, 0, 255), (0, 0, 255)]), path)
