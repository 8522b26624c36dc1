"""The CPU kernels against the float64 reference."""

import numpy as np
import pytest

from stylecore.kernels import cpu, reference

# Sizes: a single pixel, below a tile of 4 x 4, one tile, odd, beyond a tile, and more than one block of tiles.
SIZES = [(1, 1), (1, 9), (2, 3), (4, 4), (5, 7), (13, 6), (37, 41)]
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
DTYPES = pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])


def relative_error(got, expected):
    return np.linalg.norm(got - expected) / max(np.linalg.norm(expected), 1e-30)


def mask_like(shape):
    return np.empty((*shape[:3], -(-shape[3] // 8)), np.uint8)


def make_convolution(rng, size, inputs, outputs, stride, padding, dtype):
    filters = rng.standard_normal((size, size, inputs, outputs)) / np.sqrt(size * size * inputs)
    bias = 0.1 * rng.standard_normal(outputs)
    made = [backend.prepare(filters, bias, stride, padding, d) for backend, d in ((cpu, dtype), (reference, "float64"))]
    return made


def output_shape(shape, size, outputs, stride, padding):
    return (shape[0], *((side + 2 * padding - size) // stride + 1 for side in shape[1:3]), outputs)


@DTYPES
@pytest.mark.parametrize("channels", [(3, 64), (16, 48), (64, 64), (80, 144), (128, 192), (24, 40), (5, 3)])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_3x3_convolution(size, channels, dtype):
    check_convolution((2, *size), channels, 3, 1, 1, dtype)


@DTYPES
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(1, 1, 0), (5, 1, 2), (11, 4, 2), (3, 2, 1), (3, 1, 0), (2, 3, 0), (7, 2, 3)]
)
@pytest.mark.parametrize("size", [(11, 11), (12, 17), (40, 23)], ids=str)
def test_other_convolutions(size, kernel, stride, padding, dtype):
    check_convolution((2, *size), (6, 10), kernel, stride, padding, dtype)


def check_convolution(positions, channels, kernel, stride, padding, dtype):
    rng = np.random.default_rng(0)
    inputs, outputs = channels
    ours, true = make_convolution(rng, kernel, inputs, outputs, stride, padding, dtype)
    x = rng.standard_normal((*positions, inputs))
    shape = output_shape(x.shape, kernel, outputs, stride, padding)
    expected, y = np.empty(shape), np.empty(shape, dtype)
    expected_mask, mask = mask_like(shape), mask_like(shape)
    reference.conv_relu(x, true, expected, expected_mask)
    cpu.conv_relu(x.astype(dtype), ours, y, mask)
    assert relative_error(y, expected) < TOLERANCE[dtype]
    np.testing.assert_array_equal(mask, reference.relu_mask(y))

    dy = rng.standard_normal(shape)
    expected_dx, dx = np.empty(x.shape), np.empty(x.shape, dtype)
    reference.conv_relu_backward(dy, mask, true, expected_dx)
    cpu.conv_relu_backward(dy.astype(dtype), mask, ours, dx)
    assert relative_error(dx, expected_dx) < TOLERANCE[dtype]


@DTYPES
@pytest.mark.parametrize("channels", [(16, 48), (64, 64), (80, 144), (128, 192)])
@pytest.mark.parametrize("size", [(2, 3), (4, 4), (5, 7), (13, 6), (37, 41)], ids=str)
def test_convolution_with_pool(size, channels, dtype):
    rng = np.random.default_rng(1)
    inputs, outputs = channels
    ours, true = make_convolution(rng, 3, inputs, outputs, 1, 1, dtype)
    x = rng.standard_normal((2, *size, inputs))
    shape = (2, size[0] // 2, size[1] // 2, outputs)
    expected, y = np.empty(shape), np.empty(shape, dtype)
    expected_route, route = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    reference.conv_relu_pool(x, true, expected, expected_route)
    cpu.conv_relu_pool(x.astype(dtype), ours, y, route)
    assert relative_error(y, expected) < TOLERANCE[dtype]
    # Rounding may turn a near tie or a near zero; anything more is a fault.
    assert np.mean(route != expected_route) < 1e-3

    dy = rng.standard_normal(shape)
    expected_dx, dx = np.empty(x.shape), np.empty(x.shape, dtype)
    reference.conv_relu_pool_backward(dy, route, true, expected_dx)
    cpu.conv_relu_pool_backward(dy.astype(dtype), route, ours, dx)
    assert relative_error(dx, expected_dx) < TOLERANCE[dtype]


# Rows of the whole; rows of the result; rows that are read, from a few above to a few below.
STRIPS = [(24, (0, 8), (0, 10)), (24, (8, 16), (6, 18)), (24, (16, 24), (14, 24)), (13, (8, 13), (4, 13))]


@DTYPES
@pytest.mark.parametrize("channels", [(3, 64), (16, 32), (160, 144)])
@pytest.mark.parametrize(("height", "rows", "read"), STRIPS)
def test_strips(height, rows, read, channels, dtype):
    """A strip of a convolution, given the rows around it, is that strip of the whole."""
    rng = np.random.default_rng(4)
    begin, end = rows
    above, read = begin - read[0], slice(*read)
    ours, true = make_convolution(rng, 3, *channels, 1, 1, dtype)
    x, dy = (rng.standard_normal((1, height, 11, count)) for count in channels)
    whole, whole_mask, whole_dx = np.empty(dy.shape), mask_like(dy.shape), np.empty(x.shape)
    reference.conv_relu(x, true, whole, whole_mask)
    reference.conv_relu_backward(dy, whole_mask, true, whole_dx)
    for backend, conv, d in ((cpu, ours, dtype), (reference, true, "float64")):
        y, mask = np.empty((1, end - begin, 11, channels[1]), d), mask_like((1, end - begin, 11, channels[1]))
        backend.conv_relu(x[:, read].astype(d), conv, y, mask, above)
        assert relative_error(y, whole[:, begin:end]) < TOLERANCE[d]
        np.testing.assert_array_equal(mask, reference.relu_mask(y))
        dx = np.empty((1, end - begin, 11, channels[0]), d)
        backend.conv_relu_backward(dy[:, read].astype(d), whole_mask[:, read], conv, dx, above)
        assert relative_error(dx, whole_dx[:, begin:end]) < TOLERANCE[d]


@DTYPES
@pytest.mark.parametrize("channels", [(16, 32), (160, 144)])
@pytest.mark.parametrize(("height", "rows", "read"), STRIPS)
def test_strips_with_pool(height, rows, read, channels, dtype):
    rng = np.random.default_rng(5)
    (begin, end), above = rows, rows[0] - read[0]
    ours, true = make_convolution(rng, 3, *channels, 1, 1, dtype)
    x = rng.standard_normal((1, height, 11, channels[0]))
    shape = (1, height // 2, 5, channels[1])
    whole, route, whole_dx = np.empty(shape), np.empty(shape, np.uint8), np.empty(x.shape)
    dy = rng.standard_normal(shape)
    reference.conv_relu_pool(x, true, whole, route)
    reference.conv_relu_pool_backward(dy, route, true, whole_dx)
    pooled, pooled_read = slice(begin // 2, end // 2), slice(read[0] // 2, read[1] // 2)
    for backend, conv, d in ((cpu, ours, dtype), (reference, true, "float64")):
        y, own_route = (np.empty(whole[:, pooled].shape, kind) for kind in (d, np.uint8))
        backend.conv_relu_pool(x[:, slice(*read)].astype(d), conv, y, own_route, above)
        assert relative_error(y, whole[:, pooled]) < TOLERANCE[d]
        assert np.mean(own_route != route[:, pooled]) < 1e-3
        dx = np.empty((1, end - begin, 11, channels[0]), d)
        backend.conv_relu_pool_backward(dy[:, pooled_read].astype(d), route[:, pooled_read], conv, dx, above)
        assert relative_error(dx, whole_dx[:, begin:end]) < TOLERANCE[d]


@DTYPES
@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 2), (3, 3), (2, 1)])
@pytest.mark.parametrize("size", [(3, 3), (4, 7), (9, 12)], ids=str)
def test_pools(size, window, stride, dtype):
    rng = np.random.default_rng(2)
    # Whole numbers make ties, which must go to the first of equals.
    x = rng.integers(-3, 4, (2, *size, 5)).astype(dtype)
    shape = output_shape(x.shape, window, 5, stride, 0)
    dy = rng.standard_normal(shape)
    y, expected = np.empty(shape, dtype), np.empty(shape)
    dx, expected_dx = np.empty(x.shape, dtype), np.empty(x.shape)
    route, expected_route = np.empty(shape, np.uint8), np.empty(shape, np.uint8)

    reference.max_pool(x, window, stride, expected, expected_route)
    cpu.max_pool(x, window, stride, y, route)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(route, expected_route)
    reference.max_pool_backward(dy, route, window, stride, expected_dx)
    cpu.max_pool_backward(dy.astype(dtype), route, window, stride, dx)
    assert relative_error(dx, expected_dx) < TOLERANCE[dtype]

    reference.average_pool(x, window, stride, expected)
    cpu.average_pool(x, window, stride, y)
    assert relative_error(y, expected) < TOLERANCE[dtype]
    reference.average_pool_backward(dy, window, stride, expected_dx)
    cpu.average_pool_backward(dy.astype(dtype), window, stride, dx)
    assert relative_error(dx, expected_dx) < TOLERANCE[dtype]


def check_sums(name, features, before, guide):
    """Sums over the map are added to what there was before, and stay symmetric if that was."""
    total, expected = before.copy(), before.astype("float64")
    getattr(cpu, name)(features, 0.7, total, guide)
    getattr(reference, name)(features.astype(np.float64), 0.7, expected, guide)
    assert relative_error(total, expected) < TOLERANCE[features.dtype.name]
    np.testing.assert_array_equal(total, total.T)


@DTYPES
@pytest.mark.parametrize(("positions", "channels"), [(1, 1), (1, 64), (7, 3), (1000, 64), (300, 512), (5001, 16)])
def test_features(positions, channels, dtype):
    rng = np.random.default_rng(3)
    features, other, before = rng.standard_normal((3, positions, channels))
    difference = rng.standard_normal((channels, channels))
    difference += difference.T
    single = [array.astype(dtype) for array in (features, other, before)]

    check_sums("gram", single[0], difference.astype(dtype), None)
    energy = 0.5 * np.sum(features**2)
    assert cpu.half_squared_distance(single[0]) == pytest.approx(energy, rel=TOLERANCE[dtype])
    distance = reference.half_squared_distance(features, other)
    assert abs(cpu.half_squared_distance(*single[:2]) - distance) < TOLERANCE[dtype] * distance

    expected, gradient = before.copy(), single[2].copy()
    reference.gram_backward(features, difference, 0.7, expected)
    cpu.gram_backward(single[0], difference.astype(dtype), 0.7, gradient)
    assert relative_error(gradient, expected) < TOLERANCE[dtype]

    expected, gradient = before.copy(), single[2].copy()
    reference.half_squared_distance_backward(features, other, 0.7, expected)
    cpu.half_squared_distance_backward(*single[:2], 0.7, gradient)
    assert relative_error(gradient, expected) < TOLERANCE[dtype]


@DTYPES
@pytest.mark.parametrize("kind", ["none", "soft", "hard", "one half", "empty"])
@pytest.mark.parametrize(("positions", "channels"), [(1, 1), (7, 3), (5000, 64), (300, 512), (5001, 16)])
def test_guided_features(positions, channels, kind, dtype):
    rng = np.random.default_rng(4)
    features, before = rng.standard_normal((2, positions, channels)).astype(dtype)
    row, difference = rng.standard_normal(channels).astype(dtype), rng.standard_normal((channels, channels))
    difference = (difference + difference.T).astype(dtype)
    guide = {
        "none": None,
        "soft": rng.random(positions),
        "hard": rng.integers(2, size=positions),
        "one half": np.arange(positions) < positions // 2,
        "empty": np.zeros(positions),
    }[kind]
    guide = None if guide is None else guide.astype(dtype)

    check_sums("gram", features, difference, guide)
    check_sums("channel_sums", features, row.astype("float64"), guide)
    for name, arguments in (("gram_backward", (features, difference, 0.7)), ("channel_sums_backward", (row, 0.7))):
        gradient, expected = before.copy(), before.astype("float64")
        getattr(cpu, name)(*arguments, gradient, guide)
        getattr(reference, name)(*(np.asarray(a, np.float64) for a in arguments), expected, guide)
        assert relative_error(gradient, expected) < TOLERANCE[dtype]


@DTYPES
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 8, 3), (7, 1, 3), (33, 50, 3), (5, 6, 1)])
def test_total_variation(shape, dtype):
    x = np.random.default_rng(6).random(shape)
    single, expected, gradient = x.astype(dtype), np.ones(shape), np.ones(shape, dtype)
    assert cpu.total_variation(single) == pytest.approx(reference.total_variation(x), rel=TOLERANCE[dtype])
    reference.total_variation_backward(x, 0.7, expected)
    cpu.total_variation_backward(single, 0.7, gradient)
    assert relative_error(gradient, expected) < TOLERANCE[dtype]
