"""The first layer, a 3 x 3 convolution of the three channels of an image, and the gradient with respect to the image.

Three channels are too few for a matrix product: forward its sums would have only 27 steps, and backward only 3 of 64
columns would be used. Forward each thread computes eight channels of four neighbouring positions, from the 3 x 6 pixels
that they depend on; the weights of the first four channels of all threads are contiguous, followed by those of the last
four, so that neighbouring threads read from different banks of shared memory. Backward the gradient of a tile of
positions and a border around it passes through shared memory, eight channels at a time, and each thread computes the
three channels of four positions in a column.
"""

from __future__ import annotations

import numpy as np
from numba import cuda, float32, uint8

from stylecore.kernels.cuda.arrays import Array, upload
from stylecore.kernels.cuda.product import ZERO, load4_if
from stylecore.kernels.cuda.runtime import FOUR_NUMBERS, blocks_for, kernel, load4, store4

INPUTS = 3
# The most channels of the output, whose filters must fit into shared memory.
OUTPUTS = 64

THREADS = 128
FORWARD_FILTERS = 9 * INPUTS * OUTPUTS

# The tile of positions in the backward pass, the tile with its border, and the channels that are computed at a time.
# Two channels are so far apart in shared memory that 16 positions of two groups of four channels are in different
# banks.
TILE_ROWS, TILE_COLUMNS, CHANNELS = 16, 32, 8
BORDER_COLUMNS = TILE_COLUMNS + 2
BORDER = (TILE_ROWS + 2) * BORDER_COLUMNS
GRADIENTS = CHANNELS * BORDER
# The 27 weights of a channel, padded to a multiple of four.
WEIGHTS = 28
BACKWARD_FILTERS = WEIGHTS * OUTPUTS


def accepts(filters: np.ndarray, stride: int, padding: int) -> bool:
    """Whether the functions here can compute a convolution with these filters, (k, k, C, K)."""
    size, _, inputs, outputs = filters.shape
    return (size, stride, padding, inputs) == (3, 1, 1, INPUTS) and outputs % CHANNELS == 0 and outputs <= OUTPUTS


@kernel(THREADS, 4)
def _forward(x, above, x_height, width, filters, bias, outputs, height, quads, y, mask):
    shared = cuda.shared.array(FORWARD_FILTERS, float32, FOUR_NUMBERS)
    own = cuda.threadIdx.y * cuda.blockDim.x + cuda.threadIdx.x
    for i in range(own, 27 * outputs, cuda.blockDim.x * cuda.blockDim.y):
        shared[i] = filters[i]
    cuda.syncthreads()

    item = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    if item >= quads:
        return
    across = (width + 3) >> 2
    n, row, column = item // across // height, item // across % height, item % across * 4
    group = cuda.threadIdx.x * 8
    total = cuda.local.array((4, 8), float32)
    pixels, weights = cuda.local.array(18, float32), cuda.local.array(8, float32)
    for p in range(4):
        for k in range(8):
            total[p, k] = bias[np.uint64(group + k)]
    for u in range(3):
        source = row + above + u - 1
        for v in range(6):
            left = column + v - 1
            inside = source >= 0 and source < x_height and left >= 0 and left < width
            at = ((n * x_height + source) * width + left) * 3
            for c in range(3):
                pixels[3 * v + c] = x[np.uint64(at + c)] if inside else ZERO
        for v in range(3):
            for c in range(3):
                at = ((u * 3 + v) * 3 + c) * outputs + cuda.threadIdx.x * 4
                weights[0], weights[1], weights[2], weights[3] = load4(shared, at)
                weights[4], weights[5], weights[6], weights[7] = load4(shared, at + outputs // 2)
                for p in range(4):
                    for k in range(8):
                        total[p, k] += pixels[3 * (p + v) + c] * weights[k]
    for p in range(4):
        bits = 0
        for k in range(8):
            if total[p, k] > ZERO:
                bits |= 1 << k
            else:
                total[p, k] = ZERO
        if column + p < width:
            at = ((n * height + row) * width + column + p) * outputs + group
            store4(y, at, total[p, 0], total[p, 1], total[p, 2], total[p, 3])
            store4(y, at + 4, total[p, 4], total[p, 5], total[p, 6], total[p, 7])
            mask[np.uint64(at >> 3)] = uint8(bits)


@kernel(THREADS, 4)
def _backward(dy, above, dy_height, width, mask, filters, outputs, height, dx):
    gradients = cuda.shared.array(GRADIENTS, float32, FOUR_NUMBERS)
    shared = cuda.shared.array(BACKWARD_FILTERS, float32, FOUR_NUMBERS)
    total = cuda.local.array((4, 3), float32)
    near, weights = cuda.local.array((6, 3), float32), cuda.local.array(WEIGHTS, float32)
    for i in range(4):
        for c in range(3):
            total[i, c] = ZERO

    t, n = cuda.threadIdx.x, cuda.blockIdx.z
    tile_row, tile_column = cuda.blockIdx.y * TILE_ROWS, cuda.blockIdx.x * TILE_COLUMNS
    down, across = t // TILE_COLUMNS * 4, t % TILE_COLUMNS
    for i in range(t, WEIGHTS * outputs, THREADS):
        shared[i] = filters[i]
    for first in range(0, outputs, CHANNELS):
        cuda.syncthreads()
        for item in range(t, 2 * BORDER, THREADS):
            place, four = item // 2, item % 2 * 4
            row = tile_row + place // BORDER_COLUMNS - 1 + above
            column = tile_column + place % BORDER_COLUMNS - 1
            inside = row >= 0 and row < dy_height and column >= 0 and column < width
            at = ((n * dy_height + row) * width + column) * outputs + first + four
            g0, g1, g2, g3 = load4_if(inside, dy, at)
            marks = uint8(0)
            if inside:
                marks = mask[np.uint64(at >> 3)]
            to = four * BORDER + place
            gradients[to] = g0 if marks >> four & 1 else ZERO
            gradients[to + BORDER] = g1 if marks >> (four + 1) & 1 else ZERO
            gradients[to + 2 * BORDER] = g2 if marks >> (four + 2) & 1 else ZERO
            gradients[to + 3 * BORDER] = g3 if marks >> (four + 3) & 1 else ZERO
        cuda.syncthreads()
        for k in range(CHANNELS):
            for i in range(0, WEIGHTS, 4):
                weights[i], weights[i + 1], weights[i + 2], weights[i + 3] = load4(shared, (first + k) * WEIGHTS + i)
            for i in range(6):
                for j in range(3):
                    near[i, j] = gradients[k * BORDER + (down + i) * BORDER_COLUMNS + across + j]
            for i in range(4):
                for u in range(3):
                    for v in range(3):
                        for c in range(3):
                            total[i, c] += near[i + 2 - u, 2 - v] * weights[(u * 3 + v) * 3 + c]

    column = tile_column + across
    for i in range(4):
        row = tile_row + down + i
        if row < height and column < width:
            for c in range(3):
                dx[np.uint64(((n * height + row) * width + column) * 3 + c)] = total[i, c]


def pack_filters(filters: np.ndarray) -> tuple[Array, Array]:
    """Arrange filters as `forward` and `backward` read them.

    Parameters
    ----------
    filters : ndarray, (3, 3, 3, K)

    Returns
    -------
    forward : Array, (27, 2, K / 8, 4)
        The weights of each input: those of the first four of every eight outputs, and then those of the last four.
    backward : Array, (K, WEIGHTS)
        The weights of each output, padded with zeros.
    """
    outputs = filters.shape[3]
    weights = np.zeros((outputs, WEIGHTS), np.float32)
    weights[:, :27] = filters.reshape(27, outputs).T
    halves = filters.reshape(27, outputs // 8, 2, 4).transpose(0, 2, 1, 3)
    return upload(halves), upload(weights)


def forward(x: Array, above: int, filters: Array, bias: Array, y: Array, mask: Array) -> None:
    """Convolve, add the bias and apply the ReLU: y = max(x * filters + bias, 0).

    Parameters
    ----------
    x : Array, (N, H, W, 3)
        May have more rows than the result depends on.
    above : int
        Rows of x above the first row of the result.
    filters : Array
        The first of `pack_filters`.
    bias : Array, (K,)
    y : Array, (N, H', W, K)
        Result.
    mask : Array, (N, H', W, K / 8) uint8
        Result: where y is positive.
    """
    n, height, width, outputs = y.shape
    groups = outputs // 8
    block = (groups, THREADS // groups)
    quads = n * height * blocks_for(width, 4)
    _forward[blocks_for(quads, block[1]), block](
        x.flat, above, x.shape[1], width, filters.flat, bias.flat, outputs, height, quads, y.flat, mask.flat
    )


def backward(dy: Array, above: int, mask: Array, filters: Array, dx: Array) -> None:
    """Gradient with respect to x, given the gradient with respect to y of `forward`.

    Parameters
    ----------
    dy : Array, (N, H', W, K)
        May have more rows than the result depends on.
    above : int
        Rows of dy above the first row at the position of dx.
    mask : Array, (N, H', W, K / 8) uint8
        As `forward` wrote it.
    filters : Array
        The second of `pack_filters`.
    dx : Array, (N, H, W, 3)
        Result.
    """
    n, height, width, _ = dx.shape
    grid = (blocks_for(width, TILE_COLUMNS), blocks_for(height, TILE_ROWS), n)
    _backward[grid, THREADS](dy.flat, above, dy.shape[1], width, mask.flat, filters.flat, dy.shape[3], height, dx.flat)
