"""Instance normalisation, and the scales and shifts of channels that it comes down to; see `kernels.cpu.channels`.

All are y = max(factor x + offset, least), with a factor and an offset for each channel of each image; the least value
is zero, or minus infinity where there is no ReLU. Statistics and gradients follow from two sums over the positions, in
float64. They are over parts of an image whose number depends only on its shape and the GPU, and which are added in a
fixed order, so that the results are the same bits every time.
"""

from __future__ import annotations

import math

import numpy as np
from numba import cuda, float32, float64

from stylecore.kernels import EPSILON
from stylecore.kernels.cuda.arrays import Array, scratch_parts
from stylecore.kernels.cuda.features import ADDED, ADDERS, GRAM_POSITIONS, SUM_BLOCKS
from stylecore.kernels.cuda.product import ZERO
from stylecore.kernels.cuda.runtime import STRIDED, blocks_for, device_function, kernel

THREADS = 256


@device_function
def store_sums(total, total_x, shared, channels, sums):
    """Add the two sums of the threads that share a channel, and store them in `sums` (parts, 2, C)."""
    lane, adder = cuda.threadIdx.x, cuda.threadIdx.y
    shared[0, adder, lane], shared[1, adder, lane] = total, total_x
    cuda.syncthreads()
    channel = cuda.blockIdx.y * ADDED + lane
    if adder < 2 and channel < channels:
        value = 0.0
        for k in range(ADDERS):
            value += shared[adder, k, lane]
        sums[(2 * cuda.blockIdx.x + adder) * channels + channel] = value


@kernel(ADDED * ADDERS)
def _sums(x, positions, channels, parts, sums):
    """Sums of x and of x^2 of some neighbouring channels over one part of the positions."""
    shared = cuda.shared.array((2, ADDERS, ADDED), float64)
    channel, part = cuda.blockIdx.y * ADDED + cuda.threadIdx.x, cuda.blockIdx.x
    total, square = 0.0, 0.0
    if channel < channels:
        for i in range(part * positions // parts + cuda.threadIdx.y, (part + 1) * positions // parts, ADDERS):
            value = float64(x[i * channels + channel])
            total += value
            square += value * value
    store_sums(total, square, shared, channels, sums)


def row_sums(x: Array, sums: Array) -> None:
    """Sums of x and of x^2 over each row of a map, from which mean and variance follow.

    Parameters
    ----------
    x : Array, (1, H, W, C)
    sums : Array, (H, 2, C) float64
        Result.
    """
    _, height, width, channels = x.shape
    grid = height, blocks_for(channels, ADDED)
    _sums[grid, (ADDED, ADDERS)](x.flat, height * width, channels, height, sums.flat)


@kernel(THREADS)
def _scale_shift(x, factor, offset, positions, channels, least, y):
    """y = max(factor x + offset, least), where an image has so many positions."""
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        at = i // (positions * channels) * channels + i % channels
        y[i] = max(factor[at] * x[i] + offset[at], least)


def scale_shift(x: Array, factor: Array, offset: Array, relu: bool, y: Array) -> None:
    """Scale and shift each channel, and maybe apply the ReLU: y = factor x + offset, or max(factor x + offset, 0).

    Parameters
    ----------
    x : Array, (1, H, W, C)
    factor, offset : Array, (C,)
    relu : bool
    y : Array, (1, H, W, C)
        Result; may be x itself.
    """
    _scale_shift[blocks_for(x.size, THREADS, STRIDED), THREADS](
        x.flat, factor.flat, offset.flat, *_positions(x), _least(relu), y.flat
    )


@kernel(THREADS)
def _statistics(sums, parts, positions, channels, mean, variance):
    """Mean and variance of a channel of an image from the sums of its parts."""
    at = cuda.grid(1)
    if at < mean.size:
        first, total, square = at // channels * parts * 2 * channels + at % channels, 0.0, 0.0
        for part in range(parts):
            total += sums[first + 2 * part * channels]
            square += sums[first + (2 * part + 1) * channels]
        mean[at] = total / positions
        variance[at] = max(square / positions - mean[at] * mean[at], 0.0)


@kernel(THREADS)
def _affine(scale, shift, mean, variance, factor, offset):
    """Factor and offset that instance normalisation comes down to."""
    at = cuda.grid(1)
    if at < mean.size:
        value = scale[at] / math.sqrt(variance[at] + EPSILON)
        factor[at], offset[at] = float32(value), float32(shift[at] - mean[at] * value)


def instance_norm(x: Array, scale: Array, shift: Array, relu: bool, y: Array, mean: Array, variance: Array) -> None:
    """Normalise each channel of each image to mean `shift` and deviation `scale`, and apply the ReLU if `relu`.

    Parameters
    ----------
    x : Array, (N, H, W, C)
    scale, shift : Array, (N, C)
    relu : bool
    y : Array, (N, H, W, C)
        Result.
    mean, variance : Array, (N, C) float64
        Results, of x.
    """
    positions, channels = _positions(x)
    grid, parts = _grid(x)
    factor, offset, memory = scratch_parts(mean.shape, mean.shape, _sums_shape(grid, channels))
    sums, blocks = memory.view(np.float64), blocks_for(mean.size, THREADS)
    _sums[grid, (ADDED, ADDERS)](x.flat, len(x) * positions, channels, grid[0], sums.flat)
    _statistics[blocks, THREADS](sums.flat, parts, positions, channels, mean.flat, variance.flat)
    _affine[blocks, THREADS](scale.flat, shift.flat, mean.flat, variance.flat, factor.flat, offset.flat)
    _scale_shift[blocks_for(x.size, THREADS, STRIDED), THREADS](
        x.flat, factor.flat, offset.flat, positions, channels, _least(relu), y.flat
    )


@kernel(ADDED * ADDERS)
def _gated_sums(dy, x, factor, offset, least, positions, channels, parts, image_parts, sums):
    """Sums of dy and of dy x where factor x + offset exceeds the least value, as `_sums`."""
    shared = cuda.shared.array((2, ADDERS, ADDED), float64)
    channel, part = cuda.blockIdx.y * ADDED + cuda.threadIdx.x, cuda.blockIdx.x
    total, total_x = 0.0, 0.0
    if channel < channels:
        at = part // image_parts * channels + channel
        for i in range(part * positions // parts + cuda.threadIdx.y, (part + 1) * positions // parts, ADDERS):
            value = x[i * channels + channel]
            if factor[at] * value + offset[at] > least:
                gradient = float64(dy[i * channels + channel])
                total += gradient
                total_x += gradient * value
    store_sums(total, total_x, shared, channels, sums)


@kernel(THREADS)
def _coefficients(sums, parts, positions, channels, scale, mean, variance, slope, rest, dscale, dshift):
    """Gradients of scale and shift from the sums, and with them dx = factor dy + slope x + rest."""
    at = cuda.grid(1)
    if at < mean.size:
        first, total, total_x = at // channels * parts * 2 * channels + at % channels, 0.0, 0.0
        for part in range(parts):
            total += sums[first + 2 * part * channels]
            total_x += sums[first + (2 * part + 1) * channels]
        deviation = math.sqrt(variance[at] + EPSILON)
        to_scale = (total_x - mean[at] * total) / deviation
        by_x = -scale[at] * to_scale / (deviation * deviation * positions)
        slope[at], rest[at] = float32(by_x), float32(-scale[at] * total / (deviation * positions) - by_x * mean[at])
        dscale[at], dshift[at] = float32(to_scale), float32(total)


@kernel(THREADS)
def _combine_gated(dy, x, factor, offset, least, slope, rest, positions, channels, dx):
    """dx = factor dy + slope x + rest, with dy only where factor x + offset exceeds the least value."""
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        at = i // (positions * channels) * channels + i % channels
        value = x[i]
        passed = dy[i] if factor[at] * value + offset[at] > least else ZERO
        dx[i] = factor[at] * passed + slope[at] * value + rest[at]


def instance_norm_backward(
    dy: Array,
    x: Array,
    scale: Array,
    shift: Array,
    relu: bool,
    mean: Array,
    variance: Array,
    dx: Array,
    dscale: Array,
    dshift: Array,
) -> None:
    """Gradient of `instance_norm` with respect to x, scale and shift.

    Parameters
    ----------
    dy, x : Array, (N, H, W, C)
    scale, shift : Array, (N, C)
    relu : bool
    mean, variance : Array, (N, C) float64
    dx : Array, (N, H, W, C)
        Result; may be dy itself.
    dscale, dshift : Array, (N, C)
        Results.
    """
    positions, channels = _positions(x)
    grid, parts = _grid(x)
    blocks, least = blocks_for(mean.size, THREADS), _least(relu)
    factor, offset, slope, rest, memory = scratch_parts(*[mean.shape] * 4, _sums_shape(grid, channels))
    sums = memory.view(np.float64)
    _affine[blocks, THREADS](scale.flat, shift.flat, mean.flat, variance.flat, factor.flat, offset.flat)
    _gated_sums[grid, (ADDED, ADDERS)](
        dy.flat, x.flat, factor.flat, offset.flat, least, len(x) * positions, channels, grid[0], parts, sums.flat
    )
    _coefficients[blocks, THREADS](
        sums.flat, parts, positions, channels, scale.flat, mean.flat, variance.flat, slope.flat, rest.flat, dscale.flat,
        dshift.flat,
    )  # fmt: skip
    _combine_gated[blocks_for(x.size, THREADS, STRIDED), THREADS](
        dy.flat, x.flat, factor.flat, offset.flat, least, slope.flat, rest.flat, positions, channels, dx.flat
    )


def _positions(x):
    """Positions of each image of a map, and its channels."""
    return x.shape[1] * x.shape[2], x.shape[3]


def _grid(x):
    """Blocks that compute the sums over a map, by parts and by channels; and the parts of each image."""
    positions, channels = _positions(x)
    parts = blocks_for(positions, GRAM_POSITIONS, SUM_BLOCKS)
    return (len(x) * parts, blocks_for(channels, ADDED)), parts


def _sums_shape(grid, channels):
    """Shape of the memory for two sums of each part: numbers of float64 take the room of two."""
    return (4 * grid[0] * channels,)


def _least(relu):
    return np.float32(0 if relu else -np.inf)
