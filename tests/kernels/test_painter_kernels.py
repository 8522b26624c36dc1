"""The kernels of a painter: the reference against finite differences, and the CPU's kernels against the reference."""

import numpy as np
import pytest

from stylecore.kernels import EPSILON, cpu, reference

pytestmark = pytest.mark.slow  # Most of it is compiled for these tests only.

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
SHAPES = pytest.mark.parametrize("shape", [(2, 2, 3, 5), (3, 4, 5, 17), (2, 37, 29, 16)], ids=str)
BACKENDS = pytest.mark.parametrize("backend", [reference, cpu], ids=["reference", "cpu"])


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


def assert_near(got, expected, dtype):
    assert got.dtype in (dtype, "float64")
    assert np.linalg.norm(got - expected) <= TOLERANCE[dtype] * max(np.linalg.norm(expected), 1)


def norm_inputs(shape, rng):
    x, dy = 3 * rng.standard_normal(shape) + 1, rng.standard_normal(shape)
    scale, shift = (rng.uniform(low, 2, (shape[0], shape[3])) for low in (0.5, -2))
    return x, dy, scale, shift


@pytest.mark.parametrize("relu", [False, True])
@SHAPES
def test_reference_instance_norm(shape, relu):
    rng = np.random.default_rng(0)
    x, dy, scale, shift = norm_inputs(shape, rng)
    y, dx, mean, variance, dscale, dshift = np.empty(shape), np.empty(shape), *np.empty((4, *scale.shape))

    def loss():
        reference.instance_norm(x, scale, shift, relu, y, mean, variance)
        return np.vdot(dy, y)

    loss()
    for n, image in enumerate(x):
        normal = (image - image.mean((0, 1))) / np.sqrt(image.var((0, 1)) + EPSILON)
        expected = scale[n] * normal + shift[n]
        np.testing.assert_allclose(y[n], np.maximum(expected, 0) if relu else expected, atol=1e-12)
    reference.instance_norm_backward(dy, x, scale, shift, relu, mean, variance, dx, dscale, dshift)
    for array, gradient in ((x, dx), (scale, dscale), (shift, dshift)):
        check_gradient(loss, gradient, array, rng, step=1e-7)


@DTYPES
@pytest.mark.parametrize("relu", [False, True])
@SHAPES
def test_cpu_instance_norm(shape, relu, dtype):
    inputs, results = norm_inputs(shape, np.random.default_rng(1)), []
    for backend, d in ((cpu, dtype), (reference, "float64")):
        x, dy, scale, shift = (array.astype(d) for array in inputs)
        y, (mean, variance), (dscale, dshift) = (
            np.empty(shape, d),
            np.empty((2, *scale.shape)),
            np.empty((2, *scale.shape)),
        )
        backend.instance_norm(x, scale, shift, relu, y, mean, variance)
        backend.instance_norm_backward(dy, x, scale, shift, relu, mean, variance, dy, dscale, dshift)
        results.append((y, mean, variance, dy, dscale, dshift))
    for got, expected in zip(*results, strict=True):
        assert_near(got, expected, dtype)


@BACKENDS
@pytest.mark.parametrize("relu", [False, True])
def test_sums_of_rows_and_scale_shift_make_the_normalisation(backend, relu):
    rng = np.random.default_rng(2)
    x, _, scale, shift = norm_inputs((1, 21, 13, 16), rng)
    y, z, sums, (mean, variance) = np.empty(x.shape), np.empty(x.shape), np.empty((21, 2, 16)), np.empty((2, 1, 16))
    backend.instance_norm(x, scale, shift, relu, y, mean, variance)
    for first, last in ((0, 4), (4, 21)):
        backend.row_sums(x[:, first:last], sums[first:last])
    measured, square = sums.sum(axis=0) / (21 * 13)
    factor = scale[0] / np.sqrt(square - measured**2 + EPSILON)
    backend.scale_shift(x, factor, shift[0] - measured * factor, relu, z)
    np.testing.assert_allclose(z, y, atol=1e-12)


@DTYPES
@pytest.mark.parametrize(("padding", "factor"), [(0, 2), (1, 1), (1, 2), (4, 1), (3, 3)])
@pytest.mark.parametrize("sides", [(5, 5), (5, 8), (11, 6)], ids=str)
def test_pad_reflected(sides, padding, factor, dtype):
    rng = np.random.default_rng(3)
    height, width = sides
    large = (2, factor * height + 2 * padding, factor * width + 2 * padding, 3)
    x, dy = rng.standard_normal((2, *sides, 3)), rng.standard_normal(large)
    expected, expected_dx, y, dx = np.empty(large), np.empty(x.shape), np.empty(large, dtype), np.empty(x.shape, dtype)

    def loss():
        reference.pad_reflected(x, padding, factor, expected)
        return np.vdot(dy, expected)

    loss()
    columns = (*[(0, 0)], *[(padding, padding)] * 2, (0, 0))
    np.testing.assert_array_equal(expected, np.pad(x.repeat(factor, 1).repeat(factor, 2), columns, "reflect"))
    reference.pad_reflected_backward(dy, padding, factor, expected_dx)
    check_gradient(loss, expected_dx, x, rng)
    loss()
    cpu.pad_reflected(x.astype(dtype), padding, factor, y)
    cpu.pad_reflected_backward(dy.astype(dtype), padding, factor, dx)
    np.testing.assert_array_equal(y, expected.astype(dtype))
    assert_near(dx, expected_dx, dtype)


@BACKENDS
def test_a_strip_of_a_padded_map_needs_only_the_rows_it_depends_on(backend):
    x = np.random.default_rng(4).standard_normal((1, 9, 5, 3))
    whole = np.empty((1, 22, 14, 3))
    backend.pad_reflected(x, 2, 2, whole)
    for top, end, begin, stop in ((0, 7, 0, 3), (8, 13, 3, 6), (17, 22, 7, 9)):
        strip = np.empty((1, end - top, 14, 3))
        backend.pad_reflected(x[:, begin:stop], 2, 2, strip, top, begin, 9)
        np.testing.assert_array_equal(strip, whole[:, top:end])


@BACKENDS
def test_add_and_sigmoid(backend):
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((2, 2, 3, 5, 4))
    total = y.copy()
    backend.add(x, total)
    np.testing.assert_array_equal(total, x + y)
    x *= 3
    dy, dx = rng.standard_normal(x.shape), np.empty(x.shape)

    def loss():
        backend.sigmoid(x, y)
        return np.vdot(dy, y)

    loss()
    np.testing.assert_allclose(y, 1 / (1 + np.exp(-x)))
    backend.sigmoid_backward(dy, y, dx)
    check_gradient(loss, dx, x, rng)
    large = np.array([-1e4, 1e4])
    with np.errstate(all="raise"):
        backend.sigmoid(large, large)
    np.testing.assert_array_equal(large, [0, 1])
