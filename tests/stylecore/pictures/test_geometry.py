import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made_pictures import gradient

from stylecore.errors import ParameterError
from stylecore.pictures.geometry import crop, fit, resize, shape_for


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 5000))
def test_fit(height, width, side):
    h, w = fit((height, width, 3), side)
    assert max(h, w) == side and min(h, w) >= 1
    exact = min(height, width) * side / max(height, width)
    assert abs(min(h, w) - exact) <= 0.5 or (min(h, w) == 1 and exact < 1)


@settings(deadline=None)
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


@pytest.mark.parametrize("size", [50000, 10**400, (10**5, 10**5), "999999x999999", "1000x", "99999999999x"])
def test_shape_of_a_picture_that_is_too_large(size):
    with pytest.raises(ParameterError, match="over a gigapixel"):
        shape_for(size, (60, 100, 3))


@pytest.mark.parametrize("size", ["9" * 5000 + "x9", "9" * 5000 + "x", "9" * 5000, "x", 0, (0, 5), True])
def test_what_is_no_size(size):
    with pytest.raises(ParameterError, match="must be the longer side"):
        shape_for(size, (60, 100, 3))


@settings(deadline=None)
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


# Resizing with opacity


def disc(side, inside, outside):
    """A disc of one colour; another colour is hidden under the transparent pixels around it."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    alpha = (np.hypot(x, y) < 0.4 * side).astype(np.float32)
    return np.float32(outside) + alpha[:, :, None] * (np.float32(inside) - np.float32(outside)), alpha


@pytest.mark.parametrize("side", [64, 150, 300])
@pytest.mark.parametrize(("inside", "outside"), [((1, 1, 1), (0, 0, 0)), ((0.2, 0.5, 0.7), (1, 0, 1))])
def test_hidden_colours_do_not_bleed(side, inside, outside):
    rgb, alpha = disc(200, inside, outside)
    scaled, opacity = resize(rgb, (side, side), alpha), resize(alpha, (side, side))
    visible = opacity > 0.5 / 255
    assert 0.4 < visible.mean() < 0.7 and scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[visible], np.broadcast_to(np.float32(inside), scaled[visible].shape), atol=1e-4)
    np.testing.assert_allclose(scaled[0, 0], outside, atol=1e-4)  # what is hidden is kept
    assert np.abs(resize(rgb, (side, side))[visible] - np.float32(inside)).max() > 0.3  # without its opacity


def test_resize_with_full_opacity_is_as_without():
    picture = gradient(48, 64)
    for array in (picture, picture[:, :, 0]):
        scaled = resize(array, (30, 40), np.ones((48, 64), np.float32))
        np.testing.assert_allclose(scaled, resize(array, (30, 40)), atol=1e-6)
    np.testing.assert_array_equal(resize(picture, (30, 40), np.zeros((48, 64))), resize(picture, (30, 40)))
    assert resize(picture, (48, 64), np.ones((48, 64))) is picture


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, (6, 7, 3), elements=st.floats(0, 1, width=32)),
    hnp.arrays(np.float32, (6, 7), elements=st.floats(0, 1, width=32)),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_resize_with_opacity_stays_in_range(picture, alpha, shape):
    scaled = resize(picture, shape, alpha)
    assert scaled.shape == (*shape, 3) and scaled.min() >= 0 and scaled.max() <= 1


@pytest.mark.parametrize("shape", [(24, 36), (30, 31), (6, 9), (4, 6)])
def test_resizing_a_picture_that_wraps_around(shape):
    """It is the middle of nine copies that are resized together."""
    rng = np.random.default_rng(0)
    for array in (rng.random((12, 18, 3), np.float32), rng.random((12, 18), np.float32)):
        copies = np.tile(array, (3, 3, 1)[: array.ndim])
        expected = resize(copies, (3 * shape[0], 3 * shape[1]))[shape[0] : 2 * shape[0], shape[1] : 2 * shape[1]]
        np.testing.assert_allclose(resize(array, shape, wraps=True), expected, atol=1e-6)
