"""What the losses need of a feature map F, viewed as a matrix of M positions x C channels, or of two of them.

Sums are over parts whose number depends only on the shape of the map and the GPU, and are added in a fixed order, so
that the results are the same bits every time.
"""

from __future__ import annotations

import numpy as np
from numba import cuda, float32, float64
from numpy.typing import DTypeLike

from stylecore.kernels.cuda.arrays import Array, download, scratch, scratch_parts
from stylecore.kernels.cuda.product import (
    B_SIZE,
    B_STEP,
    COLUMNS,
    DEPTH,
    ZERO,
    b_place,
    load4_if,
    multiply,
    multiply_strip,
)
from stylecore.kernels.cuda.runtime import (
    FOUR_NUMBERS,
    STRIDED,
    blocks_for,
    device_function,
    kernel,
    multiprocessors,
    store4,
)

THREADS = 256

# A Gram matrix is computed in square tiles, by few threads with many sums each.
GRAM_THREADS = COLUMNS * COLUMNS // 64
GRAM_HALF, GRAM_B_HALF = DEPTH * COLUMNS, DEPTH * B_STEP
GRAM_SIZE = 2 * GRAM_HALF

# Blocks per multiprocessor, as many as it has room for, among which the positions of the tiles of a Gram matrix are
# divided, and the fewest positions of a block.
GRAM_BLOCKS, GRAM_POSITIONS = 8, 256

# Threads that add the parts of one number of a Gram matrix, and numbers of a block.
ADDERS, ADDED = 4, 64

# The most blocks per multiprocessor, as many as it has room for, among which a sum over a whole map is divided, and the
# fewest numbers of a thread.
SUM_BLOCKS, SUM_NUMBERS = 4, 8


@kernel(THREADS)
def _copy_columns(source, source_columns, target, target_columns):
    """Copy a matrix into one with more columns, and maybe more rows, which are filled with zeros."""
    for i in range(cuda.grid(1), target.size, cuda.gridsize(1)):
        row, column = i // target_columns, i % target_columns
        at = row * source_columns + column
        target[i] = source[at] if column < source_columns and at < source.size else ZERO


def _copy(source, target):
    _copy_columns[blocks_for(target.size, THREADS, STRIDED), THREADS](
        source.flat, source.shape[1], target.flat, target.shape[1]
    )


@kernel(THREADS)
def _add_columns(source, source_columns, target, target_columns):
    """Add the rows of a matrix with more columns, the last of which are left out."""
    for i in range(cuda.grid(1), target.size, cuda.gridsize(1)):
        row, column = i // target_columns, i % target_columns
        target[i] += source[row * source_columns + column]


def _padded(channels):
    """Number of channels, rounded up to whole strips of a product."""
    return -(-channels // DEPTH) * DEPTH


@kernel(GRAM_THREADS, GRAM_BLOCKS)
def _gram(features, guide, guided, positions, channels, parts, sums):
    """One tile on or above the diagonal of F^T diag(g) F of one part, in `sums` (parts, C, C)."""
    shared_a = cuda.shared.array(GRAM_SIZE, float32, FOUR_NUMBERS)
    shared_b = cuda.shared.array(B_SIZE, float32, FOUR_NUMBERS)
    left, right = cuda.local.array(8, float32), cuda.local.array(8, float32)
    total = cuda.local.array((8, 8), float32)
    for i in range(8):
        for j in range(8):
            total[i, j] = ZERO

    tile_row, tile_column = 0, cuda.blockIdx.x
    across = (channels + COLUMNS - 1) // COLUMNS
    while tile_column >= across - tile_row:
        tile_column -= across - tile_row
        tile_row += 1
    tile_column += tile_row
    part = cuda.blockIdx.y
    first, last = part * positions // parts, (part + 1) * positions // parts

    # Sixteen neighbouring threads load the channels of the tile at one position; outside of the map they load the
    # nearest numbers, for results that are not stored.
    t = cuda.threadIdx.x
    step, group = t // 16, t % 16
    a_at = first * channels + min(tile_row * COLUMNS + group * 4, channels - 4)
    b_at = first * channels + min(tile_column * COLUMNS + group * 4, channels - 4)
    a_to, b_to = step * COLUMNS + group * 4, step * B_STEP + b_place(group)
    a_from, b_from = t // 8 * 8, t % 8 * 4
    half = 0
    for k in range(first, last, DEPTH):
        for more in range(0, DEPTH, 4):
            inside = k + step + more < last
            at = (k - first + step + more) * channels
            a0, a1, a2, a3 = load4_if(inside, features, a_at + at)
            if guided and inside:
                weight = guide[k + step + more]
                a0, a1, a2, a3 = weight * a0, weight * a1, weight * a2, weight * a3
            b0, b1, b2, b3 = load4_if(inside, features, b_at + at)
            store4(shared_a, half * GRAM_HALF + a_to + more * COLUMNS, a0, a1, a2, a3)
            store4(shared_b, half * GRAM_B_HALF + b_to + more * B_STEP, b0, b1, b2, b3)
        cuda.syncthreads()
        a_start, b_start = half * GRAM_HALF + a_from, half * GRAM_B_HALF + b_from
        multiply_strip(shared_a, a_start, COLUMNS, shared_b, b_start, left, right, total)
        half = 1 - half

    row, column = tile_row * COLUMNS + a_from, tile_column * COLUMNS + t % 8 * 8
    at = (part * channels + row) * channels + column
    for i in range(8):
        if row + i < channels and column < channels:
            store4(sums, at, total[i, 0], total[i, 1], total[i, 2], total[i, 3])
            store4(sums, at + 4, total[i, 4], total[i, 5], total[i, 6], total[i, 7])
        at += channels


@kernel(ADDED * ADDERS)
def _add_parts(sums, parts, padded, channels, scale, total):
    """Add the sum of the parts, which are computed above the diagonal, on both sides of it."""
    shared = cuda.shared.array((ADDERS, ADDED), float32)
    lane, adder = cuda.threadIdx.x, cuda.threadIdx.y
    item = cuda.blockIdx.x * ADDED + lane
    i, j = item // channels, item % channels
    value = ZERO
    if item < channels * channels:
        at = min(i, j) * padded + max(i, j)
        for part in range(adder * parts // ADDERS, (adder + 1) * parts // ADDERS):
            value += sums[part * padded * padded + at]
    shared[adder, lane] = value
    cuda.syncthreads()
    if adder == 0 and item < channels * channels:
        value = ZERO
        for k in range(ADDERS):
            value += shared[k, lane]
        total[item] += scale * value


def _parts(positions, channels):
    """Number of tiles on or above the diagonal of a Gram matrix, and of parts into which its sum is divided."""
    across = blocks_for(channels, COLUMNS)
    tiles = across * (across + 1) // 2
    return tiles, min(max(GRAM_BLOCKS * multiprocessors() // tiles, 1), blocks_for(positions, GRAM_POSITIONS))


def gram_scratch_bytes(positions: int, channels: int, dtype: DTypeLike) -> int:
    """Bytes of scratch memory that `gram` or its gradient takes for a feature map, whichever is more.

    Parameters
    ----------
    positions, channels : int
    dtype : dtype

    Returns
    -------
    int
    """
    padded = _padded(channels)
    parts = _parts(positions, padded)[1]
    if padded == channels:
        return 4 * parts * padded**2
    return 4 * max(parts * padded**2 + positions * padded, padded**2 + 2 * positions * padded)


def gram(features: Array, scale: float, total: Array, guide: Array | None = None) -> None:
    """Add scale G to a matrix, where G = F^T F is the Gram matrix (paper, section 5.2), or F^T diag(g) F with a guide.

    Parameters
    ----------
    features : Array, (M, C)
    scale : float
    total : Array, (C, C)
        Symmetric; changed in place.
    guide : Array, (M,), optional
        g, the weight of each position, zero or more.
    """
    positions, channels = features.shape
    padded = _padded(channels)
    tiles, parts = _parts(positions, padded)
    sums, copied = scratch_parts((parts, padded, padded), (positions if padded > channels else 0, padded))
    if padded > channels:
        _copy(features, copied)
        features = copied
    _gram[(tiles, parts), GRAM_THREADS](features.flat, *_guide(guide, features), positions, padded, parts, sums.flat)
    _add_parts[blocks_for(channels**2, ADDED), (ADDED, ADDERS)](
        sums.flat, parts, padded, channels, np.float32(scale), total.flat
    )


def _guide(guide, other):
    """A guide as the kernels take it, and whether there is one: without a guide they get another array."""
    return (other if guide is None else guide).flat, guide is not None


def gram_backward(
    features: Array, difference: Array, scale: float, gradient: Array, guide: Array | None = None
) -> None:
    """Add scale F D, or scale diag(g) F D with a guide, to the gradient; that of 1/4 sum (G - A)^2 is F (G - A).

    Parameters
    ----------
    features : Array, (M, C)
    difference : Array, (C, C)
        D, symmetric.
    scale : float
    gradient : Array, (M, C)
        Changed in place.
    guide : Array, (M,), optional
        g.
    """
    positions, channels = features.shape
    padded = _padded(channels)
    weights = None if guide is None else guide.flat
    if padded == channels:
        multiply(
            features.flat,
            difference.flat,
            gradient.flat,
            positions,
            padded,
            padded,
            scale=scale,
            weights=weights,
            add=True,
        )
        return
    square, copied, product = scratch_parts((padded, padded), (positions, padded), (positions, padded))
    _copy(difference, square)
    _copy(features, copied)
    multiply(copied.flat, square.flat, product.flat, positions, padded, padded, scale=scale, weights=weights)
    _add_columns[blocks_for(gradient.size, THREADS, STRIDED), THREADS](product.flat, padded, gradient.flat, channels)


@kernel(ADDED * ADDERS)
def _channel_sums(features, guide, guided, positions, channels, parts, sums):
    """Sums of some neighbouring channels over one part of the map, in `sums` (parts, C)."""
    shared = cuda.shared.array((ADDERS, ADDED), float64)
    lane, adder = cuda.threadIdx.x, cuda.threadIdx.y
    channel, part = cuda.blockIdx.x * ADDED + lane, cuda.blockIdx.y
    first, last = part * positions // parts, (part + 1) * positions // parts
    total = 0.0
    if channel < channels:
        for i in range(first + adder, last, ADDERS):
            value = features[i * channels + channel]
            total += float64(guide[i] * value if guided else value)
    shared[adder, lane] = total
    cuda.syncthreads()
    if adder == 0 and channel < channels:
        total = 0.0
        for k in range(ADDERS):
            total += shared[k, lane]
        sums[part * channels + channel] = total


@kernel(THREADS)
def _add_sums(sums, parts, scale, total):
    """Add the sum of the parts to a vector, one channel per thread."""
    channel = cuda.grid(1)
    if channel < total.size:
        value = 0.0
        for part in range(parts):
            value += sums[part * total.size + channel]
        total[channel] += scale * value


def channel_sums(features: Array, scale: float, total: Array, guide: Array | None = None) -> None:
    """Add scale times the sum of each channel over the positions, F^T 1, or F^T g with a guide, to a vector.

    Parameters
    ----------
    features : Array, (M, C)
    scale : float
    total : Array, (C,), float64
        Changed in place.
    guide : Array, (M,), optional
        g, the weight of each position, zero or more.
    """
    positions, channels = features.shape
    parts = blocks_for(positions, GRAM_POSITIONS, SUM_BLOCKS)
    sums = scratch(parts, channels, dtype=np.float64)
    _channel_sums[(blocks_for(channels, ADDED), parts), (ADDED, ADDERS)](
        features.flat, *_guide(guide, features), positions, channels, parts, sums.flat
    )
    _add_sums[blocks_for(channels, THREADS), THREADS](sums.flat, parts, float(scale), total.flat)


@kernel(THREADS)
def _channel_sums_backward(row, scale, guide, guided, gradient):
    for i in range(cuda.grid(1), gradient.size, cuda.gridsize(1)):
        value = scale * row[i % row.size]
        gradient[i] += guide[i // row.size] * value if guided else value


def channel_sums_backward(row: Array, scale: float, gradient: Array, guide: Array | None = None) -> None:
    """Add scale times a row, or scale g times it with a guide, to each position of the gradient.

    Parameters
    ----------
    row : Array, (C,)
        Gradient with respect to the sums.
    scale : float
    gradient : Array, (M, C)
        Changed in place.
    guide : Array, (M,), optional
        g.
    """
    _channel_sums_backward[blocks_for(gradient.size, THREADS, STRIDED), THREADS](
        row.flat, np.float32(scale), *_guide(guide, gradient), gradient.flat
    )


@device_function
def sum_block(own, shared, sums):
    """Sum of the values of all threads of a block, in `sums` at the index of the block."""
    t = cuda.threadIdx.x
    shared[t] = own
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if t < half:
            shared[t] += shared[t + half]
        cuda.syncthreads()
        half //= 2
    if t == 0:
        sums[cuda.blockIdx.x] = shared[0]


@kernel(THREADS)
def _sum_of_squares(a, b, against_zero, sums):
    shared = cuda.shared.array(THREADS, float64)
    total = 0.0
    for i in range(cuda.grid(1), a.size, cuda.gridsize(1)):
        difference = a[i] if against_zero else a[i] - b[i]
        total += float64(difference * difference)
    sum_block(total, shared, sums)


def half_squared_distance(a: Array, b: Array | None = None) -> float:
    """Half the sum of squared differences: the content term 1/2 sum (F - P)^2 (paper, section 5.1).

    Parameters
    ----------
    a, b : Array, of the same shape
        The default of `b` is zero.

    Returns
    -------
    float
        Summed in float64.
    """
    blocks = blocks_for(a.size, THREADS * SUM_NUMBERS, SUM_BLOCKS)
    sums = scratch(blocks, dtype=np.float64)
    _sum_of_squares[blocks, THREADS](a.flat, (a if b is None else b).flat, b is None, sums.flat)
    return 0.5 * float(download(sums).sum())


@kernel(THREADS)
def _add_difference(a, b, scale, gradient):
    for i in range(cuda.grid(1), a.size, cuda.gridsize(1)):
        gradient[i] += scale * (a[i] - b[i])


def half_squared_distance_backward(a: Array, b: Array, scale: float, gradient: Array) -> None:
    """Add scale (a - b), the gradient with respect to a, to `gradient` in place.

    Parameters
    ----------
    a, b, gradient : Array, of the same shape
    scale : float
    """
    blocks = blocks_for(a.size, THREADS, STRIDED)
    _add_difference[blocks, THREADS](a.flat, b.flat, np.float32(scale), gradient.flat)
