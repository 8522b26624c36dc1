"""What training does to each channel separately: bias, batch or instance normalisation, and the ReLU after them.

All are y = max(factor x + offset, least), with a factor and an offset for each channel; the least value is zero, or
minus infinity where there is no ReLU. Instance normalisation is batch normalisation of a batch of one. The backward
pass takes two sums over the positions: of the gradient that passes the ReLU, and of that times x. Whether the ReLU was
positive is computed again from x, which costs less than to read y from memory. All sums are over parts whose number
depends only on the shape, so that the results are the same bits for any number of threads.
"""

from __future__ import annotations

import numpy as np

from stylecore.kernels import EPSILON
from stylecore.kernels.cpu.runtime import for_each, kernel, subroutine

# Parts of the map that threads sum separately, and positions that are summed in the precision of the values.
PARTS, POSITIONS = 64, 32


@subroutine
def _scale_shift_part(part, x, factor, offset, least, y):
    for i in range(part * len(x) // PARTS, (part + 1) * len(x) // PARTS):
        row, result = x[i], y[i]
        for c in range(row.size):
            result[c] = max(factor[c] * row[c] + offset[c], least)


@kernel
def _scale_shift(x, factor, offset, least, y):
    """y = max(factor x + offset, least) of matrices of positions x channels."""
    for_each(PARTS, _scale_shift_part, (x, factor, offset, least, y))


@subroutine
def _sums_part(part, x, sums):
    channels = x.shape[1]
    first, last = part * len(x) // len(sums), (part + 1) * len(x) // len(sums)
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


@kernel
def _sums(x, sums):
    """Sums of x and of x^2 by channel, (parts, 2, C) float64."""
    for_each(len(sums), _sums_part, (x, sums))


@subroutine
def _gated_sums_part(part, dy, x, factor, offset, least, sums):
    channels, zero = x.shape[1], x.dtype.type(0)
    first, last = part * len(x) // len(sums), (part + 1) * len(x) // len(sums)
    some = np.empty((2, channels), x.dtype)
    sums[part] = 0
    for begin in range(first, last, POSITIONS):
        some[:] = 0
        for i in range(begin, min(begin + POSITIONS, last)):
            row, gradient = x[i], dy[i]
            for c in range(channels):
                value = gradient[c]
                passed = value if factor[c] * row[c] + offset[c] > least else zero
                some[0, c] += passed
                some[1, c] += passed * row[c]
        sums[part] += some


@kernel
def _gated_sums(dy, x, factor, offset, least, sums):
    """Sums of dy and of dy x by channel where factor x + offset exceeds the least value, (parts, 2, C) float64."""
    for_each(len(sums), _gated_sums_part, (dy, x, factor, offset, least, sums))


@subroutine
def _combine_gated_part(part, dy, x, factor, offset, least, slope, rest, dx):
    zero = x.dtype.type(0)
    for i in range(part * len(x) // PARTS, (part + 1) * len(x) // PARTS):
        row, gradient, result = x[i], dy[i], dx[i]
        for c in range(row.size):
            value = gradient[c]
            passed = value if factor[c] * row[c] + offset[c] > least else zero
            result[c] = factor[c] * passed + slope[c] * row[c] + rest[c]


@kernel
def _combine_gated(dy, x, factor, offset, least, slope, rest, dx):
    """dx = factor dy + slope x + rest, with dy only where factor x + offset exceeds the least value."""
    for_each(PARTS, _combine_gated_part, (dy, x, factor, offset, least, slope, rest, dx))


def _matrix(x):
    return x.reshape(-1, x.shape[-1])


def _affine(scale, shift, mean, variance, dtype):
    """Factor and offset of each channel that batch normalisation comes down to."""
    factor = scale / np.sqrt(variance + EPSILON)
    return factor.astype(dtype), (shift - mean * factor).astype(dtype)


def bias_relu(x: np.ndarray, bias: np.ndarray, y: np.ndarray) -> None:
    """Add the bias and apply the ReLU: y = max(x + bias, 0).

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    bias : ndarray, (C,)
    y : ndarray, (N, H, W, C)
        Result.
    """
    _scale_shift(_matrix(x), np.ones_like(bias), bias, x.dtype.type(0), _matrix(y))


def bias_relu_backward(dy: np.ndarray, x: np.ndarray, bias: np.ndarray, dx: np.ndarray, dbias: np.ndarray) -> None:
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
    _gated_sums(_matrix(dy), _matrix(x), one, bias, x.dtype.type(0), sums)
    dbias[...] = sums[:, 0].sum(axis=0)
    _combine_gated(_matrix(dy), _matrix(x), one, bias, x.dtype.type(0), zero, zero, _matrix(dx))


def batch_norm_relu(
    x: np.ndarray, scale: np.ndarray, shift: np.ndarray, y: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> None:
    """Normalise each channel to mean `shift` and standard deviation `scale`, and apply the ReLU.

    Mean and variance are over the batch and all positions: see `reference.batch_norm_relu` for the formula.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    scale, shift : ndarray, (C,)
    y : ndarray, (N, H, W, C)
        Result.
    mean, variance : ndarray, (C,) float64
        Results, of x.
    """
    _normalise(x, scale, shift, 0, y, mean, variance)


def _normalise(x, scale, shift, least, y, mean, variance):
    sums = np.empty((PARTS, 2, len(scale)))
    _sums(_matrix(x), sums)
    mean[...], mean_square = sums.sum(axis=0) / x[..., 0].size
    variance[...] = np.maximum(mean_square - mean**2, 0)
    factor, offset = _affine(scale, shift, mean, variance, x.dtype)
    _scale_shift(_matrix(x), factor, offset, x.dtype.type(least), _matrix(y))


def batch_norm_relu_backward(
    dy: np.ndarray,
    x: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    dx: np.ndarray,
    dscale: np.ndarray,
    dshift: np.ndarray,
) -> None:
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
    _normalise_backward(dy, x, scale, shift, 0, mean, variance, dx, dscale, dshift)


def _normalise_backward(dy, x, scale, shift, least, mean, variance, dx, dscale, dshift):
    sums, least = np.empty((PARTS, 2, len(scale))), x.dtype.type(least)
    factor, offset = _affine(scale, shift, mean, variance, x.dtype)
    _gated_sums(_matrix(dy), _matrix(x), factor, offset, least, sums)
    total, total_x = sums.sum(axis=0)
    deviation, count = np.sqrt(variance + EPSILON), x[..., 0].size
    to_scale = (total_x - mean * total) / deviation
    dscale[...], dshift[...] = to_scale, total
    # factor (dy - total / count - (x - mean) / deviation to_scale / count), ordered by powers of x.
    slope = -scale * to_scale / (deviation**2 * count)
    rest = -scale * total / (deviation * count) - slope * mean
    coefficients = slope.astype(x.dtype), rest.astype(x.dtype)
    _combine_gated(_matrix(dy), _matrix(x), factor, offset, least, *coefficients, _matrix(dx))


def instance_norm(
    x: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    relu: bool,
    y: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
) -> None:
    """Normalise each channel of each image to mean `shift` and deviation `scale`, and apply the ReLU if `relu`.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    scale, shift : ndarray, (N, C)
    relu : bool
    y : ndarray, (N, H, W, C)
        Result.
    mean, variance : ndarray, (N, C) float64
        Results, of x.
    """
    for image in zip(x, scale, shift, [_least(relu)] * len(x), y, mean, variance, strict=True):
        _normalise(*image)


def instance_norm_backward(
    dy: np.ndarray,
    x: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
    relu: bool,
    mean: np.ndarray,
    variance: np.ndarray,
    dx: np.ndarray,
    dscale: np.ndarray,
    dshift: np.ndarray,
) -> None:
    """Gradient of `instance_norm` with respect to x, scale and shift.

    Parameters
    ----------
    dy, x : ndarray, (N, H, W, C)
    scale, shift : ndarray, (N, C)
    relu : bool
    mean, variance : ndarray, (N, C)
    dx : ndarray, (N, H, W, C)
        Result; may be dy itself.
    dscale, dshift : ndarray, (N, C)
        Results.
    """
    least = [_least(relu)] * len(x)
    for image in zip(dy, x, scale, shift, least, mean, variance, dx, dscale, dshift, strict=True):
        _normalise_backward(*image)


def _least(relu):
    return 0 if relu else -np.inf


def row_sums(x: np.ndarray, sums: np.ndarray) -> None:
    """Sums of x and of x^2 over each row of a map, from which mean and variance follow.

    Parameters
    ----------
    x : ndarray, (1, H, W, C)
    sums : ndarray, (H, 2, C) float64
        Result. They depend on nothing but the row, so that a map can be passed in strips.
    """
    _sums(_matrix(x), sums)


def scale_shift(x: np.ndarray, factor: np.ndarray, offset: np.ndarray, relu: bool, y: np.ndarray) -> None:
    """Scale and shift each channel, and maybe apply the ReLU: y = factor x + offset, or max(factor x + offset, 0).

    Parameters
    ----------
    x : ndarray, (1, H, W, C)
    factor, offset : ndarray, (C,)
    relu : bool
    y : ndarray, (1, H, W, C)
        Result; may be x itself.
    """
    _scale_shift(_matrix(x), factor, offset, x.dtype.type(_least(relu)), _matrix(y))
