"""Convolution of any filter size and stride by lowering to matrix products.

Forward, the product of the receptive fields (positions x k k C) and the filters (k k C x K), where the receptive fields
are not copied: each tile of the product reads its numbers from the input. Backward, the product of the gradient
(positions x K) and the transposed filters gives the contribution of each output position to each input that it depends
on, and each input gathers its contributions. The gradient of the filters is the product of the transposed receptive
fields and the gradient, whose sum over the positions is divided into parts.
"""

from __future__ import annotations

import numpy as np
from numba import cuda, float32, uint8

from stylecore.kernels.cuda.arrays import Array, mask_or_bytes, scratch, upload
from stylecore.kernels.cuda.product import (
    A_HALF,
    A_SIZE,
    A_STEP,
    B_HALF,
    B_SIZE,
    B_STEP,
    COLUMNS,
    DEPTH,
    ROWS,
    THREADS,
    ZERO,
    b_place,
    load4_if,
    multiply,
    multiply_strip,
)
from stylecore.kernels.cuda.runtime import FOUR_NUMBERS, STRIDED, blocks_for, kernel, multiprocessors, store4

# Blocks per multiprocessor among which the sums over the positions are divided in the gradient of the filters, as many
# as it has room for; and the fewest positions of a block.
BLOCKS, POSITIONS = 3, 256


@kernel(THREADS, 3)
def _forward(x, above, x_height, x_width, inputs, filters, depth, columns, bias, size, stride, padding, height, width,
             rows, outputs, relu, y, mask):  # fmt: skip
    """A tile of `_multiply` in `product`, whose A is gathered from x: one position a thread."""
    shared_a = cuda.shared.array(A_SIZE, float32, FOUR_NUMBERS)
    shared_b = cuda.shared.array(B_SIZE, float32, FOUR_NUMBERS)
    left, right = cuda.local.array(8, float32), cuda.local.array(8, float32)
    total = cuda.local.array((8, 8), float32)
    for i in range(8):
        for j in range(8):
            total[i, j] = ZERO

    t = cuda.threadIdx.x
    across = (columns + COLUMNS - 1) // COLUMNS
    first_row, first_column = cuda.blockIdx.x // across * ROWS, cuda.blockIdx.x % across * COLUMNS
    step, group = t // 16, t % 16
    b_at = step * columns + min(first_column + group * 4, columns - 4)
    b_to = step * B_STEP + b_place(group)
    a_from, b_from = t // 8 * 8, t % 8 * 4
    position = min(first_row + t, rows - 1)
    n, top = position // width // height, position // width % height * stride - padding + above
    edge = position % width * stride - padding

    # Row, column and channel of the filter that the next number belongs to, which are the same in all threads.
    u, v, c = 0, 0, 0
    half = 0
    for k in range(0, depth, DEPTH):
        for i in range(DEPTH):
            value = ZERO
            row, column = top + u, edge + v
            if u < size and row >= 0 and row < x_height and column >= 0 and column < x_width:
                value = x[np.uint64(((n * x_height + row) * x_width + column) * inputs + c)]
            shared_a[half * A_HALF + i * A_STEP + t] = value
            c += 1
            if c == inputs:
                c = 0
                v += 1
            if v == size:
                v = 0
                u += 1
        b0, b1, b2, b3 = load4_if(True, filters, b_at + k * columns)
        store4(shared_b, half * B_HALF + b_to, b0, b1, b2, b3)
        cuda.syncthreads()
        a_start, b_start = half * A_HALF + a_from, half * B_HALF + b_from
        multiply_strip(shared_a, a_start, A_STEP, shared_b, b_start, left, right, total)
        half = 1 - half

    column = first_column + t % 8 * 8
    for i in range(8):
        row = first_row + a_from + i
        bits = 0
        for j in range(8):
            if row < rows and column + j < outputs:
                value = total[i, j]
                if relu:
                    value += bias[np.uint64(column + j)]
                    if value > ZERO:
                        bits |= 1 << j
                    else:
                        value = ZERO
                y[np.uint64(row * outputs + column + j)] = value
        if relu and row < rows and column < outputs:
            mask[np.uint64(row * ((outputs + 7) >> 3) + (column >> 3))] = uint8(bits)


@kernel(256)
def _gate(dy, mask, masked, outputs, padded, gated):
    """The gradient where the mask is set, if there is one, its channels padded with zeros."""
    for item in range(cuda.grid(1), gated.size, cuda.gridsize(1)):
        position, k = item // padded, item % padded
        value = ZERO
        if k < outputs and (not masked or mask[position * ((outputs + 7) >> 3) + (k >> 3)] >> (k & 7) & 1):
            value = dy[position * outputs + k]
        gated[item] = value


@kernel(256)
def _gather(contributions, columns, above, height, width, size, stride, padding, dx_height, dx_width, channels, dx):
    """Sum the contributions to each input; row i of dy depends on rows from (i - above) stride - padding on."""
    for item in range(cuda.grid(1), dx.size, cuda.gridsize(1)):
        c, position = item % channels, item // channels
        column, row, n = position % dx_width, position // dx_width % dx_height, position // dx_width // dx_height
        total = ZERO
        for u in range(size):
            i = row + padding - u
            for v in range(size):
                j = column + padding - v
                if i % stride == 0 and j % stride == 0:
                    p, q = i // stride + above, j // stride
                    if p >= 0 and p < height and q >= 0 and q < width:
                        at = ((n * height + p) * width + q) * columns + (u * size + v) * channels + c
                        total += contributions[np.uint64(at)]
        dx[item] = total


def pack_filters(filters: np.ndarray) -> tuple[Array, Array]:
    """Arrange filters as `forward` and `backward` read them.

    Parameters
    ----------
    filters : ndarray, (k, k, C, K)

    Returns
    -------
    forward : Array, (k k C, K)
        The filters as a matrix, both sides padded with zeros to whole strips of a product.
    backward : Array, (K, k k C)
        Its transpose, likewise.
    """
    matrix = filters.reshape(-1, filters.shape[3])
    padded = np.zeros([-(-side // DEPTH) * DEPTH for side in matrix.shape], np.float32)
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    return upload(padded), upload(padded.T.copy())


def scratch_size(filters: Array, positions: tuple[int, ...]) -> int:
    """Element count of the scratch memory that a convolution takes backward; forward it takes none.

    Parameters
    ----------
    filters : Array
        The second of `pack_filters`.
    positions : tuple of int, (N, H', W')

    Returns
    -------
    int
    """
    n, height, width = positions
    return n * height * width * sum(filters.shape)


def forward(
    x: Array,
    above: int,
    filters: Array,
    bias: Array,
    size: int,
    stride: int,
    padding: int,
    y: Array,
    mask: Array | None,
) -> None:
    """Convolve, add the bias and apply the ReLU: y = max(x * filters + bias, 0).

    Parameters
    ----------
    x : Array, (N, H, W, C)
        May have more rows than the result depends on.
    above : int
        Rows of x above the first row at the position of y.
    filters : Array
        The first of `pack_filters`.
    bias : Array, (K,)
    size, stride, padding : int
    y : Array, (N, H', W', K)
        Result, H' = (H + 2 padding - size) // stride + 1.
    mask : Array, (N, H', W', ceil(K / 8)) uint8, or None
        Result: where y is positive; if it is None, neither the bias is added nor the ReLU applied.
    """
    n, height, width, outputs = y.shape
    depth, columns = filters.shape
    rows = n * height * width
    blocks = blocks_for(rows, ROWS) * blocks_for(columns, COLUMNS)
    _forward[blocks, THREADS](
        x.flat, above, *x.shape[1:], filters.flat, depth, columns, bias.flat, size, stride, padding, height, width,
        rows, outputs, mask is not None, y.flat, mask_or_bytes(mask, y).flat,
    )  # fmt: skip


def backward(
    dy: Array, above: int, mask: Array | None, filters: Array, size: int, stride: int, padding: int, dx: Array
) -> None:
    """Gradient with respect to x, given the gradient with respect to y of `forward`.

    Parameters
    ----------
    dy : Array, (N, H', W', K)
        May have more rows than the result depends on.
    above : int
        Rows of dy above the first row at the position of dx.
    mask : Array, (N, H', W', ceil(K / 8)) uint8, or None
        As `forward` wrote it; None if there was no ReLU.
    filters : Array
        The second of `pack_filters`.
    size, stride, padding : int
    dx : Array, (N, H, W, C)
        Result.
    """
    n, height, width, outputs = dy.shape
    padded, columns = filters.shape
    positions = n * height * width
    memory = scratch(positions * (padded + columns))
    gated, contributions = memory[: positions * padded], memory[positions * padded :]
    _gate[blocks_for(gated.size, 256, STRIDED), 256](
        dy.flat, mask_or_bytes(mask, dy).flat, mask is not None, outputs, padded, gated.flat
    )
    multiply(gated.flat, filters.flat, contributions.flat, positions, columns, padded)
    _gather[blocks_for(dx.size, 256, STRIDED), 256](
        contributions.flat, columns, above, height, width, size, stride, padding, *dx.shape[1:], dx.flat
    )


@kernel(THREADS, BLOCKS)
def _sum_over_part(x, x_height, x_width, inputs, size, stride, padding, dy, height, width, positions, outputs, rows,
                   parts, sums):  # fmt: skip
    """A tile of (receptive fields)^T dy over one part of the positions; each thread gathers one row of the tile.

    Neighbouring threads read neighbouring channels of x, at a position that is the same for all.
    """
    shared_a = cuda.shared.array(A_SIZE, float32, FOUR_NUMBERS)
    shared_b = cuda.shared.array(B_SIZE, float32, FOUR_NUMBERS)
    left, right = cuda.local.array(8, float32), cuda.local.array(8, float32)
    total = cuda.local.array((8, 8), float32)
    for i in range(8):
        for j in range(8):
            total[i, j] = ZERO

    t = cuda.threadIdx.x
    across = (outputs + COLUMNS - 1) // COLUMNS
    first_row, first_column = cuda.blockIdx.x // across * ROWS, cuda.blockIdx.x % across * COLUMNS
    part = cuda.blockIdx.y
    first, last = part * positions // parts, (part + 1) * positions // parts
    a_from, b_from = t // 8 * 8, t % 8 * 4
    own = min(first_row + t, rows - 1)
    u, v, c = own // inputs // size - padding, own // inputs % size - padding, own % inputs
    column = t % COLUMNS
    b_to = t // COLUMNS * B_STEP + b_place(column // 4) + column % 4
    column = min(first_column + column, outputs - 1)

    # Image, row and column of the next position.
    n, i, j = first // width // height, first // width % height, first % width
    half = 0
    for k in range(first, last, DEPTH):
        for step in range(DEPTH):
            value = ZERO
            row, edge = i * stride + u, j * stride + v
            if k + step < last and row >= 0 and row < x_height and edge >= 0 and edge < x_width:
                value = x[np.uint64(((n * x_height + row) * x_width + edge) * inputs + c)]
            shared_a[half * A_HALF + step * A_STEP + t] = value
            j += 1
            if j == width:
                j = 0
                i += 1
            if i == height:
                i = 0
                n += 1
        for step in range(0, DEPTH, THREADS // COLUMNS):
            at = k + step + t // COLUMNS
            value = ZERO
            if at < last:
                value = dy[np.uint64(at * outputs + column)]
            shared_b[half * B_HALF + step * B_STEP + b_to] = value
        cuda.syncthreads()
        a_start, b_start = half * A_HALF + a_from, half * B_HALF + b_from
        multiply_strip(shared_a, a_start, A_STEP, shared_b, b_start, left, right, total)
        half = 1 - half

    column = first_column + t % 8 * 8
    for i in range(8):
        row = first_row + a_from + i
        for j in range(8):
            if row < rows and column + j < outputs:
                sums[np.uint64((part * rows + row) * outputs + column + j)] = total[i, j]


def sums_over_parts(x: Array, dy: Array, size: int, stride: int, padding: int) -> Array:
    """Sums of (receptive field)^T dy over each part of the positions.

    Parameters
    ----------
    x : Array, (N, H, W, C)
    dy : Array, (N, H', W', K)
    size, stride, padding : int

    Returns
    -------
    Array, (parts, k k C, K)
        In scratch memory. The number of parts depends only on the shapes and the GPU.
    """
    n, height, width, outputs = dy.shape
    positions, rows = n * height * width, size * size * x.shape[3]
    tiles = blocks_for(rows, ROWS) * blocks_for(outputs, COLUMNS)
    parts = min(max(BLOCKS * multiprocessors() // tiles, 1), blocks_for(positions, POSITIONS))
    sums = scratch(parts, rows, outputs)
    _sum_over_part[(tiles, parts), THREADS](
        x.flat, *x.shape[1:], size, stride, padding, dy.flat, height, width, positions, outputs, rows, parts, sums.flat
    )
    return sums


@kernel(256)
def _add_parts(sums, parts, total):
    for i in range(cuda.grid(1), total.size, cuda.gridsize(1)):
        value = ZERO
        for part in range(parts):
            value += sums[np.uint64(part * total.size + i)]
        total[i] = value


def filters_gradient(x: Array, dy: Array, size: int, stride: int, padding: int, dfilters: Array) -> None:
    """Gradient of the convolution with respect to its filters.

    Parameters
    ----------
    x : Array, (N, H, W, C)
    dy : Array, (N, H', W', K)
        Gradient with respect to the result of the convolution.
    size, stride, padding : int
    dfilters : Array, (k, k, C, K)
        Result.

    Notes
    -----
    The parts are added in order, so that the result is the same bits every time.
    """
    sums = sums_over_parts(x, dy, size, stride, padding)
    _add_parts[blocks_for(dfilters.size, 256, STRIDED), 256](sums.flat, len(sums), dfilters.flat)
