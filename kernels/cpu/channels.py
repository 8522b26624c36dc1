"""What training does to each channel by itself: bias or batch normalisation, each with the ReLU behind it.

Both are y = max(factor x + offset, 0) with a factor and an offset a channel; the way back needs two sums over the batch
and all positions, of the gradient that the ReLU lets through and of that times x. Whether it lets through is computed
anew from x, which costs less than to fetch y from memory. All sums run over parts whose number depends on the shape
alone, so that the results are the same bits whatever the number of threads.
"""

import numpy as np
from numba import njit, prange

from stylecore.kernels import EPSILON
from stylecore.kernels.cpu.runtime import FAST

# Parts of the map that threads may sum over by themselves, and positions that are summed in the numbers' own precision.
PARTS, POSITIONS = 64, 32


@njit(parallel=True, **FAST)
def _scale_relu(x, factor, offset, y):
    """y = max(factor x + offset, 0) of matrices of positions x channels."""
    zero = x.dtype.type(0)
    for part in prange(PARTS):
        for i in range(part * len(x) // PARTS, (part + 1) * len(x) // PARTS):
            row, result = x[i], y[i]
            for c in range(row.size):
                result[c] = max(factor[c] * row[c] + offset[c], zero)


@njit(parallel=True, **FAST)
def _sums(x, sums):
    """Sums of x and of x^2 by channel, (parts, 2, C) float64."""
    channels = x.shape[1]
    for part in prange(len(sums)):
        first, last = part * len(x) // PARTS, (part + 1) * len(x) // PARTS
        some = np.empty((2, channels), x.dtype)
        sums[part] = 0
        for begin in range(first, last, POSITIONS):
            some[:] = 0
            for i in range(begin, min(begin + POSITIONS, last)):
                row = x[i]
                for c in range(channels):
                    some[0, c] += row[c]
                    some[1, c] += row[c] * row[c]
            sums[part] += some


@njit(parallel=True, **FAST)
def _gated_sums(dy, x, factor, offset, sums):
    """Sums of dy and of dy x by channel where factor x + offset is positive, (parts, 2, C) float64."""
    channels, zero = x.shape[1], x.dtype.type(0)
    for part in prange(len(sums)):
        first, last = part * len(x) // PARTS, (part + 1) * len(x) // PARTS
        some = np.empty((2, channels), x.dtype)
        sums[part] = 0
        for begin in range(first, last, POSITIONS):
            some[:] = 0
            for i in range(begin, min(begin + POSITIONS, last)):
                row, gradient = x[i], dy[i]
                for c in range(channels):
                    value = gradient[c]
                    passed = value if factor[c] * row[c] + offset[c] > zero else zero
                    some[0, c] += passed
                    some[1, c] += passed * row[c]
            sums[part] += some


@njit(parallel=True, **FAST)
def _combine_gated(dy, x, factor, offset, slope, rest, dx):
    """dx = factor dy + slope x + rest, with dy only where factor x + offset is positive."""
    zero = x.dtype.type(0)
    for part in prange(PARTS):
        for i in range(part * len(x) // PARTS, (part + 1) * len(x) // PARTS):
            row, gradient, result = x[i], dy[i], dx[i]
            for c in range(row.size):
                value = gradient[c]
                passed = value if factor[c] * row[c] + offset[c] > zero else zero
                result[c] = factor[c] * passed + slope[c] * row[c] + rest[c]


def _matrix(x):
    return x.reshape(-1, x.shape[-1])


def _affine(scale, shift, mean, variance, dtype):
    """Factor and offset that scale the deviation and shift the mean of each channel."""
    factor = scale / np.sqrt(variance + EPSILON)
    return factor.astype(dtype), (shift - mean * factor).astype(dtype)


def bias_relu(x, bias, y):
    """Add the bias and cut at zero: y = max(x + bias, 0).

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    bias : ndarray, (C,)
    y : ndarray, (N, H, W, C)
        Result.
    """
    _scale_relu(_matrix(x), np.ones_like(bias), bias, _matrix(y))


def bias_relu_backward(dy, x, bias, dx, dbias):
    """Gradient of `bias_relu` with respect to x and bias.

    Parameters
    ----------
    dy, x : ndarray, (N, H, W, C)
    bias : ndarray, (C,)
    dx : ndarray, (N, H, W, C)
        Result; may be dy itself.
    dbias : ndarray, (C,)
        Result.
    """
    sums, one, zero = np.empty((PARTS, 2, len(bias))), np.ones_like(bias), np.zeros_like(bias)
    _gated_sums(_matrix(dy), _matrix(x), one, bias, sums)
    dbias[...] = sums[:, 0].sum(axis=0)
    _combine_gated(_matrix(dy), _matrix(x), one, bias, zero, zero, _matrix(dx))


def batch_norm_relu(x, scale, shift, y, mean, variance):
    """Give each channel mean `shift` and deviation `scale` over the batch and all positions, and cut at zero.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    scale, shift : ndarray, (C,)
    y : ndarray, (N, H, W, C)
        Result.
    mean, variance : ndarray, (C,) float64
        Results, of x.
    """
    sums = np.empty((PARTS, 2, len(scale)))
    _sums(_matrix(x), sums)
    mean[...], mean_square = sums.sum(axis=0) / x[..., 0].size
    variance[...] = np.maximum(mean_square - mean**2, 0)
    _scale_relu(_matrix(x), *_affine(scale, shift, mean, variance, x.dtype), _matrix(y))


def batch_norm_relu_backward(dy, x, scale, shift, mean, variance, dx, dscale, dshift):
    """Gradient of `batch_norm_relu` with respect to x, scale and shift.

    Parameters
    ----------
    dy, x : ndarray, (N, H, W, C)
    scale, shift, mean, variance : ndarray, (C,)
    dx : ndarray, (N, H, W, C)
        Result; may be dy itself.
    dscale, dshift : ndarray, (C,)
        Results.
    """
    sums = np.empty((PARTS, 2, len(scale)))
    factor, offset = _affine(scale, shift, mean, variance, x.dtype)
    _gated_sums(_matrix(dy), _matrix(x), factor, offset, sums)
    total, total_x = sums.sum(axis=0)
    deviation, count = np.sqrt(variance + EPSILON), x[..., 0].size
    to_scale = (total_x - mean * total) / deviation
    dscale[...], dshift[...] = to_scale, total
    # factor (dy - total / count - (x - mean) / deviation to_scale / count), sorted by powers of x.
    slope = -scale * to_scale / (deviation**2 * count)
    rest = -scale * total / (deviation * count) - slope * mean
    coefficients = slope.astype(x.dtype), rest.astype(x.dtype)
    _combine_gated(_matrix(dy), _matrix(x), factor, offset, *coefficients, _matrix(dx))
