"""A picture enlarged to twice its size and its gradient, and a step of Adam, against NumPy in float64."""

import numpy as np
import pytest

from stylecore.kernels.cpu import pyramid

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}


def matrix(size):
    """Linear interpolation of ceil(size / 2) values to `size`, between the centres of the pixels."""
    smaller = -(-size // 2)
    at = ((np.arange(size) + 0.5) / 2 - 0.5).clip(0, smaller - 1)
    return np.array([np.interp(at, np.arange(smaller), unit) for unit in np.eye(smaller)]).T


@DTYPES
@pytest.mark.parametrize("shape", [(8, 12), (9, 5), (1, 7), (2, 1), (1, 1)])
def test_enlarge(shape, dtype):
    rng = np.random.default_rng(0)
    base = rng.standard_normal((*shape, 3)).astype(dtype)
    smaller = rng.standard_normal((-(-shape[0] // 2), -(-shape[1] // 2), 3)).astype(dtype)
    larger, dsmaller = np.empty_like(base), np.empty_like(smaller)
    pyramid.enlarge(smaller, base, larger)
    down, across = matrix(shape[0]), matrix(shape[1])
    expected = base + np.einsum("ik,jl,klc->ijc", down, across, smaller.astype(np.float64))
    np.testing.assert_allclose(larger, expected, atol=TOLERANCE[dtype])
    pyramid.enlarge_backward(base, dsmaller)
    expected = np.einsum("ik,jl,ijc->klc", down, across, base.astype(np.float64))
    np.testing.assert_allclose(dsmaller, expected, atol=TOLERANCE[dtype])


@DTYPES
def test_adam(dtype):
    rng = np.random.default_rng(1)
    values = rng.standard_normal(pyramid.PART + 5).astype(dtype)
    mean, square = np.zeros_like(values), np.zeros_like(values)
    expected, its_mean, its_square = values.astype(np.float64), 0, 0
    for step in range(1, 4):
        gradient = rng.standard_normal(values.shape).astype(dtype)
        pyramid.adam(gradient, 0.1, step, values, mean, square)
        its_mean = 0.9 * its_mean + 0.1 * gradient.astype(np.float64)
        its_square = 0.999 * its_square + 0.001 * gradient.astype(np.float64) ** 2
        expected -= 0.1 * (its_mean / (1 - 0.9**step)) / (np.sqrt(its_square / (1 - 0.999**step)) + 1e-8)
    np.testing.assert_allclose(values, expected, atol=10 * TOLERANCE[dtype])
