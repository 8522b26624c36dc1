"""The kernels for training: the reference against finite differences, and the CPU's kernels against the reference."""

from math import prod

import numpy as np
import pytest
from numba import typeof

from stylecore.kernels import EPSILON, cpu, reference
from stylecore.kernels.cpu import winograd

pytestmark = pytest.mark.slow

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])

# Kernel, stride, padding, input and output channels, and the input's positions: Winograd's algorithm with whole and
# partial tiles, panels and groups; lowering; and few outputs.
CONVOLUTIONS = [
    (3, 1, 1, 16, 16, (1, 1, 1)),
    (3, 1, 1, 16, 48, (3, 5, 7)),
    (3, 1, 1, 80, 32, (2, 8, 8)),
    (3, 1, 1, 144, 144, (1, 4, 9)),
    (3, 1, 1, 16, 32, (9, 24, 27)),
    (3, 1, 1, 16, 16, (1, 67, 65)),
    (3, 1, 0, 32, 16, (1, 67, 66)),
    (3, 1, 0, 16, 48, (3, 5, 7)),
    (3, 1, 0, 32, 16, (1, 27, 18)),
    (3, 1, 1, 3, 64, (2, 6, 5)),
    (3, 1, 1, 64, 3, (2, 6, 5)),
    (3, 2, 1, 8, 12, (2, 9, 8)),
    (1, 1, 0, 5, 7, (2, 3, 1)),
    (5, 1, 2, 4, 3, (1, 2, 7)),
    (11, 4, 2, 3, 20, (1, 23, 15)),
    (2, 3, 0, 2, 2, (2, 7, 6)),
    (5, 2, 4, 1, 1, (1, 1, 3)),
    (9, 1, 0, 3, 32, (2, 11, 9)),
    (3, 2, 0, 16, 32, (2, 9, 11)),
    (9, 1, 0, 16, 3, (2, 9, 17)),
    (9, 1, 4, 5, 2, (1, 3, 12)),
    (5, 1, 4, 2, 1, (2, 1, 1)),
]


def relative_error(got, expected):
    return np.linalg.norm(got - expected) / max(np.linalg.norm(expected), 1e-30)


def check_gradient(function, gradient, x, rng, step=1e-6):
    """Compare the gradient of a function of x, which is changed in place meanwhile, with difference quotients."""
    for _ in range(4):
        direction = rng.standard_normal(x.shape)
        values = []
        for sign in (1, -1):
            x += sign * step * direction
            values.append(function())
            x -= sign * step * direction
        numeric = (values[0] - values[1]) / (2 * step)
        assert np.vdot(gradient, direction) == pytest.approx(numeric, rel=1e-6, abs=1e-6 * np.abs(gradient).max())


def make_convolution(case, rng):
    size, stride, padding, inputs, outputs, (n, *sides) = case
    filters = rng.standard_normal((size, size, inputs, outputs)) / np.sqrt(size * size * inputs)
    x = rng.standard_normal((n, *sides, inputs))
    dy = rng.standard_normal((n, *((side + 2 * padding - size) // stride + 1 for side in sides), outputs))
    return filters, stride, padding, x, dy


@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_reference_convolution(case):
    rng = np.random.default_rng(0)
    filters, stride, padding, x, dy = make_convolution(case, rng)
    y, dx, dfilters = np.empty(dy.shape), np.empty(x.shape), np.empty(filters.shape)

    def loss():
        reference.convolve(x, conv, y)
        return np.vdot(dy, y)

    conv = reference.prepare(filters, np.ones(dy.shape[3]), stride, padding, "float64")
    reference.convolve_backward(dy, conv, dx)
    reference.convolve_backward_filters(x, dy, conv, dfilters)
    check_gradient(loss, dx, x, rng)
    check_gradient(loss, dfilters, conv.filters, rng)


@DTYPES
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_cpu_convolution(case, dtype):
    filters, stride, padding, x, dy = make_convolution(case, np.random.default_rng(1))
    shapes = dy.shape, x.shape, filters.shape
    results = []
    for backend, d in ((cpu, dtype), (reference, "float64")):
        conv = backend.prepare(filters, np.ones(dy.shape[3]), stride, padding, d)
        y, dx, dfilters = (np.full(shape, np.nan, d) for shape in shapes)
        backend.convolve(x.astype(d), conv, y)
        backend.convolve_backward(dy.astype(d), conv, dx)
        backend.convolve_backward_filters(x.astype(d), dy.astype(d), conv, dfilters)
        results.append((y, dx, dfilters))
    for got, expected in zip(*results, strict=True):
        assert got.dtype == dtype
        assert relative_error(got, expected) < TOLERANCE[dtype]


def test_winograd_gradient_transforms_are_the_transposes():
    """<A^T m A, d> = <m, A d A^T> and <G g G^T, m> = <g, G^T m G>."""
    rng = np.random.default_rng(2)
    m, d, g = rng.standard_normal((6, 6)), rng.standard_normal((4, 4)), rng.standard_normal((3, 3))
    _, of_filter, of_output = winograd._TRANSFORMS[typeof(winograd.F4)]
    pairs = [
        (of_output, m, winograd._output_gradient_transform, d),
        (of_filter, g, winograd._filter_gradient_transform, m),
    ]
    for forward, x, backward, y in pairs:
        there, back = (np.array(winograd._transform_2d(t, a)) for t, a in ((forward, x), (backward, y)))
        assert np.vdot(there, y) == pytest.approx(np.vdot(x, back), abs=1e-12)


SHAPES = [(1, 1, 1, 1), (2, 1, 3, 5), (3, 4, 5, 17), (2, 37, 29, 64)]


def away_from_zero(x, by=1e-3):
    """x with what lies near zero moved away from it, where a ReLU has its kink."""
    return np.where(np.abs(x) < by, np.copysign(by, x), x)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_reference_bias_relu(shape):
    rng = np.random.default_rng(3)
    bias = rng.standard_normal(shape[3])
    x, dy = away_from_zero(rng.standard_normal(shape)) - bias, rng.standard_normal(shape)
    y, dx, dbias = np.empty(shape), np.empty(shape), np.empty(bias.shape)

    def loss():
        reference.bias_relu(x, bias, y)
        return np.vdot(dy, y)

    reference.bias_relu_backward(dy, x, bias, dx, dbias)
    check_gradient(loss, dx, x, rng)
    check_gradient(loss, dbias, bias, rng)


# A batch of one value is normalised to zero, whatever it is, where the gradient vanishes.
@pytest.mark.parametrize("shape", SHAPES[1:-1], ids=str)
def test_reference_batch_norm_relu(shape):
    rng = np.random.default_rng(4)
    channels = shape[3]
    x, dy = 3 * rng.standard_normal(shape) + 1, rng.standard_normal(shape)
    scale, shift = rng.uniform(0.5, 2, channels), rng.standard_normal(channels)
    y, dx, mean, variance, dscale, dshift = (np.empty(s) for s in (shape, shape, *[channels] * 4))

    def loss():
        reference.batch_norm_relu(x, scale, shift, y, mean, variance)
        return np.vdot(dy, y)

    loss()
    np.testing.assert_allclose(mean, x.mean((0, 1, 2)))
    np.testing.assert_allclose(variance, x.var((0, 1, 2)))
    np.testing.assert_allclose(y, np.maximum(scale * (x - mean) / np.sqrt(variance + EPSILON) + shift, 0))
    reference.batch_norm_relu_backward(dy, x, scale, shift, mean, variance, dx, dscale, dshift)
    for array, gradient in ((x, dx), (scale, dscale), (shift, dshift)):
        check_gradient(loss, gradient, array, rng, step=1e-7)


@DTYPES
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cpu_channels(shape, dtype):
    rng = np.random.default_rng(5)
    channels = shape[3]
    x, dy = 3 * rng.standard_normal(shape) + 1, rng.standard_normal(shape)
    scale, shift = rng.uniform(0.5, 2, channels), rng.standard_normal(channels)
    results = []
    for backend, d in ((cpu, dtype), (reference, "float64")):
        single = [array.astype(d) for array in (x, dy, scale, shift)]
        y, dx, z, dz = (np.full(shape, np.nan, d) for _ in range(4))
        dbias, dscale, dshift = (np.full(channels, np.nan, d) for _ in range(3))
        mean, variance = np.empty((2, channels))
        backend.bias_relu(single[0], single[3], y)
        backend.bias_relu_backward(single[1], single[0], single[3], dx, dbias)
        backend.batch_norm_relu(single[0], *single[2:], z, mean, variance)
        dz[...] = single[1]
        backend.batch_norm_relu_backward(dz, single[0], *single[2:], mean, variance, dz, dscale, dshift)
        results.append((y, dx, dbias, mean, variance, z, dz, dscale, dshift))
    # Where all values of a channel are one, rounding is all that is left of their deviation.
    tolerance = TOLERANCE[dtype] * (1 if prod(shape[:3]) > 1 else 1e3)
    for got, expected in zip(*results, strict=True):
        assert np.linalg.norm(got - expected) <= tolerance * max(np.linalg.norm(expected), 1)


@DTYPES
@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES[:-1], ids=str)
def test_upsample(shape, factor, dtype):
    rng = np.random.default_rng(6)
    n, height, width, channels = shape
    large = (n, factor * height, factor * width, channels)
    x, dy = rng.standard_normal(shape), rng.standard_normal(large)
    y, expected, dx, expected_dx = np.empty(large, dtype), np.empty(large), np.empty(shape, dtype), np.empty(shape)

    def loss():
        reference.upsample(x, factor, expected)
        return np.vdot(dy, expected)

    reference.upsample_backward(dy, factor, expected_dx)
    check_gradient(loss, expected_dx, x, rng)
    loss()
    cpu.upsample(x.astype(dtype), factor, y)
    cpu.upsample_backward(dy.astype(dtype), factor, dx)
    np.testing.assert_array_equal(y, expected.astype(dtype))
    assert relative_error(dx, expected_dx) < TOLERANCE[dtype]


@DTYPES
@pytest.mark.parametrize(("count", "inputs", "outputs"), [(1, 1, 1), (7, 5, 3), (130, 192, 10), (64, 16, 101)])
def test_dense(count, inputs, outputs, dtype):
    rng = np.random.default_rng(7)
    x, weights, bias, dy = (
        rng.standard_normal(s) for s in ((count, inputs), (inputs, outputs), outputs, (count, outputs))
    )
    y = np.empty(dy.shape)

    def loss():
        reference.dense(x, weights, bias, y)
        return np.vdot(dy, y)

    results = []
    for backend, d in ((cpu, dtype), (reference, "float64")):
        single = [array.astype(d) for array in (x, weights, bias, dy)]
        arrays = [np.full(array.shape, np.nan, d) for array in (dy, x, weights, bias)]
        backend.dense(*single[:3], arrays[0])
        backend.dense_backward(single[3], *single[:2], *arrays[1:])
        results.append(arrays)
    for got, expected in zip(*results, strict=True):
        assert relative_error(got, expected) < TOLERANCE[dtype]
    for array, gradient in zip((x, weights, bias), results[1][1:], strict=True):
        check_gradient(loss, gradient, array, rng)


def test_dropout_keeps_the_mean_and_its_gradient_is_that_of_what_was_kept():
    rng = np.random.default_rng(8)
    x, dy, kept = rng.random((400, 300)), rng.standard_normal((400, 300)), rng.random((400, 300)) >= 0.3
    for backend in (reference, cpu):
        y, dx = np.empty(x.shape), np.empty(x.shape)
        backend.dropout(x, kept, 0.3, y)
        assert y.mean() == pytest.approx(x.mean(), rel=0.01)
        assert (y[~kept] == 0).all()
        backend.dropout_backward(dy, kept, 0.3, dx)

        def loss(backend=backend, y=y):
            backend.dropout(x, kept, 0.3, y)
            return np.vdot(dy, y)

        check_gradient(loss, dx, x, rng)


@pytest.mark.parametrize("smoothing", [0, 0.1])
def test_softmax_cross_entropy(smoothing):
    rng = np.random.default_rng(9)
    scores, labels = 3 * rng.standard_normal((6, 4)), np.array([0, 3, 1, 2, 2, 0])
    truth = (1 - smoothing) * np.eye(4)[labels] + smoothing / 4
    softmax = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    for backend in (reference, cpu):
        gradient = np.empty(scores.shape)
        value = backend.softmax_cross_entropy(scores, labels, smoothing, gradient)
        assert value == pytest.approx(-np.mean(np.sum(truth * np.log(softmax), axis=1)))
        # Neither overflows, nor depends on a constant that is added to all scores.
        assert backend.softmax_cross_entropy(scores + 1e4, labels, smoothing, gradient) == pytest.approx(value)

        def loss(backend=backend):
            return backend.softmax_cross_entropy(scores, labels, smoothing, np.empty(scores.shape))

        check_gradient(loss, gradient, scores, rng)


def test_mean_squared_error():
    rng = np.random.default_rng(10)
    x, target = rng.standard_normal((2, 3, 4, 5, 2))
    for backend in (reference, cpu):
        gradient = np.empty(x.shape)
        assert backend.mean_squared_error(x, target, gradient) == pytest.approx(np.mean((x - target) ** 2))

        def loss(backend=backend):
            return backend.mean_squared_error(x, target, np.empty(x.shape))

        check_gradient(loss, gradient, x, rng)
