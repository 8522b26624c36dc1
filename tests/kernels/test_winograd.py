"""The transforms of Winograd's algorithm, as formulas on plain numbers."""

from functools import partial

import numpy as np
import pytest
from numba import typeof

from stylecore.kernels import cpu, reference
from stylecore.kernels.cpu import winograd

TILES = {"F4": winograd.F4, "F6": winograd.F6, "bfloat16": winograd.F4_BFLOAT16}
POINTS = pytest.mark.parametrize("points", TILES.values(), ids=TILES)


@POINTS
def test_transforms_make_a_correlation(points):
    rng = np.random.default_rng(0)
    side = len(points) + 1
    d, g = rng.standard_normal((side, side)), rng.standard_normal((3, 3))
    of_input, of_filter, of_output = winograd._TRANSFORMS[typeof(points)]
    v, u = winograd._transform_2d(of_input, d), winograd._transform_2d(of_filter, g)
    y = winograd._transform_2d(of_output, (np.array(u) * np.array(v)).tolist())
    expected = [[np.sum(d[a : a + 3, b : b + 3] * g) for b in range(side - 2)] for a in range(side - 2)]
    np.testing.assert_allclose(y, expected, atol=1e-12)


@POINTS
def test_filters_are_evaluated_at_the_points(points):
    # The transform of 1, x and x^2 is that of a polynomial at each point, up to a factor that the point has.
    _, of_filter, _ = winograd._TRANSFORMS[typeof(points)]
    columns = np.array([of_filter(*row) for row in np.eye(3)]).T
    np.testing.assert_allclose(columns[:-1] / columns[:-1, :1], [[1, point, point**2] for point in points])
    np.testing.assert_array_equal(columns[-1], [0, 0, 1])


def test_packed_filters_are_filled_up_with_zeros():
    filters = np.random.default_rng(0).standard_normal((3, 3, 16, 48))
    packed = winograd.pack_filters(filters)
    assert packed.shape == (2, 16, 9, winograd.WIDTH)
    np.testing.assert_array_equal(packed[1, 5, 7], [*filters[2, 1, 5, 32:], *[0] * 16])


def in_bfloat16(array):
    """Numbers rounded to bfloat16, the eight bits after the first, to even ones where two are equally near."""
    bits = np.asarray(array, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(np.float64)


def correlate(x, filters, rounded):
    """A convolution of a map, (H, W, C), by tiles whose factors are changed by `rounded`."""
    of_input, of_filter, of_output = (
        partial(winograd._transform_2d, transform) for transform in winograd._TRANSFORMS[typeof(winograd.F4_BFLOAT16)]
    )
    height, width = x.shape[:2]
    padded = np.pad(x, ((1, 5), (1, 5), (0, 0)))
    result = np.empty((height + 4, width + 4, filters.shape[3]))
    u = rounded(np.array(of_filter(filters)))
    for i in range(0, height, 4):
        for j in range(0, width, 4):
            v = rounded(np.array(of_input(padded[i : i + 6, j : j + 6])))
            result[i : i + 4, j : j + 4] = of_output(np.einsum("abc,abck->abk", v, u))
    return result[:height, :width]


@pytest.mark.parametrize("channels", [(16, 16), (32, 48), (144, 80), (160, 144)])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 8), (13, 6), (29, 30)], ids=str)
def test_products_in_bfloat16(size, channels):
    rng = np.random.default_rng(0)
    filters, bias = rng.standard_normal((3, 3, *channels)), rng.standard_normal(channels[1])
    x, dy = (rng.standard_normal((*size, count)).astype(np.float32) for count in channels)
    conv = cpu.prepare(filters, bias, 1, 1, "bfloat16")
    y, mask = np.empty((1, *dy.shape), np.float32), np.empty((1, *size, channels[1] // 8), np.uint8)
    cpu.conv_relu(x[None], conv, y, mask)
    positive = reference.relu_mask(y)
    np.testing.assert_array_equal(mask, positive)
    dx = np.empty((1, *x.shape), np.float32)
    cpu.conv_relu_backward(dy[None], mask, conv, dx)
    blocked = dy * (y[0] > 0)
    rotated = filters[::-1, ::-1].swapaxes(2, 3)

    # Sums in another order may round a factor to the other side of a tie.
    for rounded, tolerance in ((in_bfloat16, 1e-3), (np.asarray, 0.03)):
        expected = np.maximum(correlate(x, filters, rounded) + bias, 0)
        assert np.linalg.norm(y[0] - expected) <= tolerance * np.linalg.norm(expected)
        expected = correlate(blocked, rotated, rounded)
        assert np.linalg.norm(dx[0] - expected) <= tolerance * np.linalg.norm(expected)


def test_a_pool_after_products_in_bfloat16():
    rng = np.random.default_rng(1)
    filters, bias = rng.standard_normal((3, 3, 32, 48)), rng.standard_normal(48)
    conv = cpu.prepare(filters, bias, 1, 1, "bfloat16")
    x, dy = rng.standard_normal((1, 13, 10, 32)).astype(np.float32), rng.standard_normal((1, 6, 5, 48))
    whole, mask = np.empty((1, 13, 10, 48), np.float32), np.empty((1, 13, 10, 6), np.uint8)
    cpu.conv_relu(x, conv, whole, mask)
    y, route = np.empty(dy.shape, np.float32), np.empty(dy.shape, np.uint8)
    cpu.conv_relu_pool(x, conv, y, route)
    np.testing.assert_array_equal(y, whole[:, :12].reshape(1, 6, 2, 5, 2, 48).max((2, 4)))

    dx, expected = np.empty(x.shape, np.float32), np.empty(x.shape)
    cpu.conv_relu_pool_backward(dy.astype(np.float32), route, conv, dx)
    reference.conv_relu_pool_backward(dy, route, reference.prepare(filters, bias, 1, 1, "float64"), expected)
    assert np.linalg.norm(dx - expected) <= 0.03 * np.linalg.norm(expected)
