"""3 x 3 convolution with stride 1 and padding up to 1 by Winograd's F(4 x 4, 3 x 3); see `kernels.cpu.winograd`.

It takes three kernels: tiles of 6 x 6 inputs are transformed into 36 matrices V (tiles x C), which are multiplied with
the transformed filters U (C x K), and the products are transformed into tiles of 4 x 4 outputs. The first includes the
step before the convolution (the mask or the route, in the backward pass), and the last the steps after it (bias, ReLU
and pool). The filters are transformed once for each direction.

In the transforms each thread computes one channel of one tile, and neighbouring threads neighbouring channels, so that
all reads and writes are of contiguous numbers.
"""

from __future__ import annotations

import numpy as np
from numba import cuda, float32, int32

from stylecore.kernels import BLOCKED
from stylecore.kernels.cuda.arrays import Array, empty, mask_or_bytes, scratch, upload
from stylecore.kernels.cuda.product import multiply
from stylecore.kernels.cuda.runtime import blocks_for, device_function, kernel, multiprocessors

THREADS = 128

# How a tile is read and written, as in `kernels.cpu.winograd`.
PLAIN, MASKED, ROUTED = 0, 1, 2
SUM, RELU, POOL = 0, 1, 2

# The most numbers per multiprocessor that V and M have together; if there are more, the tiles are computed in several
# turns. This many keep the GPU busy for longer than launching three kernels takes.
LIMIT = 2**20

ZERO, TWO, FOUR, FIVE, EIGHT = (np.float32(number) for number in (0, 2, 4, 5, 8))
SIXTH, TWELFTH, TWENTYFOURTH, QUARTER = (np.float32(1 / number) for number in (6, 12, 24, 4))


@device_function
def input_transform(d0, d1, d2, d3, d4, d5):
    """B^T d."""
    even_1, odd_1 = d4 - FOUR * d2, d3 - FOUR * d1
    even_2, odd_2 = d4 - d2, TWO * (d3 - d1)
    first, last = FOUR * d0 - FIVE * d2 + d4, FOUR * d1 - FIVE * d3 + d5
    return first, even_1 + odd_1, even_1 - odd_1, even_2 + odd_2, even_2 - odd_2, last


@device_function
def filter_transform(g0, g1, g2):
    """G g."""
    even_1, odd_1 = -SIXTH * (g0 + g2), -SIXTH * g1
    even_2, odd_2 = TWENTYFOURTH * g0 + SIXTH * g2, TWELFTH * g1
    return QUARTER * g0, even_1 + odd_1, even_1 - odd_1, even_2 + odd_2, even_2 - odd_2, g2


@device_function
def output_transform(m0, m1, m2, m3, m4, m5):
    """A^T m."""
    sum_1, difference_1 = m1 + m2, m1 - m2
    sum_2, difference_2 = m3 + m4, m3 - m4
    last = difference_1 + EIGHT * difference_2 + m5
    return m0 + sum_1 + sum_2, difference_1 + TWO * difference_2, sum_1 + FOUR * sum_2, last


@kernel(THREADS, 8)
def _transform_filters(filters, inputs, outputs, reverse, u):
    """U = G g G^T of each filter; in the backward pass the filters are rotated, and C and K exchanged."""
    i = cuda.grid(1)
    if i >= inputs * outputs:
        return
    g = cuda.local.array((3, 3), float32)
    half = cuda.local.array((6, 3), float32)
    source = i % inputs * outputs + i // inputs if reverse else i
    for a in range(3):
        for b in range(3):
            tap = (2 - a) * 3 + 2 - b if reverse else a * 3 + b
            g[a, b] = filters[tap * inputs * outputs + source]
    for b in range(3):
        half[0, b], half[1, b], half[2, b], half[3, b], half[4, b], half[5, b] = filter_transform(
            g[0, b], g[1, b], g[2, b]
        )
    step = inputs * outputs
    for a in range(6):
        at = 6 * a * step + i
        u[at], u[at + step], u[at + 2 * step], u[at + 3 * step], u[at + 4 * step], u[at + 5 * step] = filter_transform(
            half[a, 0], half[a, 1], half[a, 2]
        )


@device_function
def place_of(tile, down, across):
    """Image, row and column of a tile, counted row by row."""
    return tile // (down * across), tile // across % down, tile % across


def _into_tiles(reading):
    """Make the kernel that computes V of the tiles from `first` on; each thread computes one channel of a tile."""

    @kernel(THREADS, 4)
    def into_tiles(x, gate, above, padding, height, width, channels, down, across, first, tiles, v):
        channel = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x
        t = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
        if t >= tiles:
            return
        n, i, j = place_of(first + t, down, across)
        top, left = 4 * i - padding + above, 4 * j - padding
        d = cuda.local.array((6, 6), float32)
        for a in range(6):
            for b in range(6):
                d[a, b] = ZERO
        if reading == ROUTED:
            # 4 x 4 windows of a pool cover the tile and one row or column on each side; the padding is 1.
            for a in range(4):
                for b in range(4):
                    row, column = (top >> 1) + a, (left >> 1) + b
                    if row >= 0 and row < height and column >= 0 and column < width:
                        at = ((n * height + row) * width + column) * channels + channel
                        value, route = x[np.uint64(at)], gate[np.uint64(at)]
                        for p in range(2):
                            for q in range(2):
                                # The position in the tile.
                                y, z = 2 * a + p - 1, 2 * b + q - 1
                                if y >= 0 and y < 6 and z >= 0 and z < 6 and route == 2 * p + q:
                                    d[y, z] = value
        else:
            for a in range(6):
                for b in range(6):
                    row, column = top + a, left + b
                    if row >= 0 and row < height and column >= 0 and column < width:
                        at = ((n * height + row) * width + column) * channels + channel
                        value = x[np.uint64(at)]
                        if reading == PLAIN or gate[np.uint64(at >> 3)] >> (at & 7) & 1:
                            d[a, b] = value
        for b in range(6):
            d[0, b], d[1, b], d[2, b], d[3, b], d[4, b], d[5, b] = input_transform(
                d[0, b], d[1, b], d[2, b], d[3, b], d[4, b], d[5, b]
            )
        step = tiles * channels
        for a in range(6):
            v0, v1, v2, v3, v4, v5 = input_transform(d[a, 0], d[a, 1], d[a, 2], d[a, 3], d[a, 4], d[a, 5])
            at = (6 * a * tiles + t) * channels + channel
            v[np.uint64(at)] = v0
            v[np.uint64(at + step)] = v1
            v[np.uint64(at + 2 * step)] = v2
            v[np.uint64(at + 3 * step)] = v3
            v[np.uint64(at + 4 * step)] = v4
            v[np.uint64(at + 5 * step)] = v5

    return into_tiles


def _out_of_tiles(writing):
    """Make the kernel that computes the outputs of the tiles from `first` on, one channel of a tile per thread."""

    @kernel(THREADS, 8)
    def out_of_tiles(m, bias, height, width, channels, down, across, first, tiles, y, mark):
        lane, lanes = cuda.threadIdx.x, cuda.blockDim.x
        channel = cuda.blockIdx.y * lanes + lane
        t = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
        signs = cuda.shared.array(THREADS, int32)
        sign = 0
        if t < tiles:
            half, out = cuda.local.array((4, 6), float32), cuda.local.array((4, 4), float32)
            step = 6 * tiles * channels
            for b in range(6):
                at = (b * tiles + t) * channels + channel
                half[0, b], half[1, b], half[2, b], half[3, b] = output_transform(
                    m[np.uint64(at)],
                    m[np.uint64(at + step)],
                    m[np.uint64(at + 2 * step)],
                    m[np.uint64(at + 3 * step)],
                    m[np.uint64(at + 4 * step)],
                    m[np.uint64(at + 5 * step)],
                )
            for a in range(4):
                out[a, 0], out[a, 1], out[a, 2], out[a, 3] = output_transform(
                    half[a, 0], half[a, 1], half[a, 2], half[a, 3], half[a, 4], half[a, 5]
                )
            n, i, j = place_of(first + t, down, across)
            if writing == POOL:
                for a in range(2):
                    for b in range(2):
                        row, column = 2 * i + a, 2 * j + b
                        if row < height and column < width:
                            best, route = out[2 * a, 2 * b], 0
                            for place in range(1, 4):
                                value = out[2 * a + place // 2, 2 * b + place % 2]
                                if value > best:
                                    best, route = value, place
                            best += bias[channel]
                            at = ((n * height + row) * width + column) * channels + channel
                            y[np.uint64(at)] = best if best > ZERO else ZERO
                            mark[np.uint64(at)] = route if best > ZERO else BLOCKED
            else:
                for a in range(4):
                    for b in range(4):
                        row, column = 4 * i + a, 4 * j + b
                        value = out[a, b]
                        if writing == RELU:
                            value += bias[channel]
                            if value > ZERO:
                                sign |= 1 << (4 * a + b)
                            else:
                                value = ZERO
                        if row < height and column < width:
                            y[np.uint64(((n * height + row) * width + column) * channels + channel)] = value
        if writing == RELU:
            # Each thread has a bit for each of its 16 outputs; a byte of the mask has one bit of each of eight threads.
            own = cuda.threadIdx.y * lanes + lane
            signs[own] = sign
            cuda.syncthreads()
            for item in range(own, 2 * THREADS, THREADS):
                byte, place, tile = item % (lanes // 8), item // (lanes // 8) % 16, item // (lanes * 2)
                bits = 0
                for k in range(8):
                    bits |= (signs[tile * lanes + byte * 8 + k] >> place & 1) << k
                n, i, j = place_of(first + cuda.blockIdx.x * cuda.blockDim.y + tile, down, across)
                row, column = 4 * i + place // 4, 4 * j + place % 4
                if cuda.blockIdx.x * cuda.blockDim.y + tile < tiles and row < height and column < width:
                    at = ((n * height + row) * width + column) * channels + cuda.blockIdx.y * lanes
                    mark[np.uint64((at >> 3) + byte)] = bits

    return out_of_tiles


_INTO_TILES = [_into_tiles(reading) for reading in (PLAIN, MASKED, ROUTED)]
_OUT_OF_TILES = [_out_of_tiles(writing) for writing in (SUM, RELU, POOL)]


def pack_filters(filters: np.ndarray) -> tuple[Array, Array]:
    """U of 3 x 3 filters, for the forward and the backward pass.

    Parameters
    ----------
    filters : ndarray, (3, 3, C, K)

    Returns
    -------
    forward : Array, (36, C, K)
    backward : Array, (36, K, C)
    """
    inputs, outputs = filters.shape[2:]
    uploaded = upload(filters)
    both = empty((36, inputs, outputs)), empty((36, outputs, inputs))
    for reverse, u in enumerate(both):
        blocks = blocks_for(inputs * outputs, THREADS)
        _transform_filters[blocks, THREADS](uploaded.flat, inputs, outputs, bool(reverse), u.flat)
    return both


def _tiles_at_once(inputs, outputs, positions):
    """Number of tiles down and across the map, and of the tiles that are computed at a time."""
    n, height, width = positions
    down, across = blocks_for(height, 4), blocks_for(width, 4)
    tiles = n * down * across
    turns = blocks_for(36 * (inputs + outputs) * tiles, LIMIT * multiprocessors())
    return down, across, blocks_for(tiles, turns)


def scratch_size(inputs: int, outputs: int, positions: tuple[int, ...]) -> int:
    """Element count of the scratch memory that a convolution takes, forward or backward.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    positions : tuple of int, (N, H, W)
        Of the full-size map: that of the convolution, not the pooled one.

    Returns
    -------
    int
    """
    return 36 * (inputs + outputs) * _tiles_at_once(inputs, outputs, positions)[2]


def convolve(
    x: Array,
    above: int,
    padding: int,
    gate: Array | None,
    reading: int,
    u: Array,
    bias: Array,
    writing: int,
    positions: tuple[int, ...],
    y: Array,
    mark: Array | None,
) -> None:
    """Compute a 3 x 3 convolution, or the gradient with respect to its input, with the steps before and after it.

    Parameters
    ----------
    x : Array, (N, H', W', C)
        Input; (N, H' // 2, W' // 2, C) if `reading` is ROUTED. May have more rows than the result depends on.
    above : int
        Rows of the full-size input above the first row of the result; an even number if `reading` is ROUTED.
    padding : int
        Of this pass: 0 or 1 forward, and 2 minus that backward; 1 if `reading` is ROUTED.
    gate : Array of uint8 or None
        Mask or route through which `x` is read; not used if `reading` is PLAIN.
    reading : int
        PLAIN, MASKED or ROUTED.
    u : Array, (36, C, K)
        Of `pack_filters`.
    bias : Array, (K,)
        Not used if `writing` is SUM.
    writing : int
        SUM, RELU or POOL.
    positions : tuple of int, (N, H, W)
        Of the full-size result.
    y : Array, (N, H, W, K)
        Result; (N, H // 2, W // 2, K) if `writing` is POOL.
    mark : Array of uint8 or None
        Result: the mask or the route; not written if `writing` is SUM.

    Notes
    -----
    C and K must be multiples of 16.
    """
    inputs, outputs = u.shape[1:]
    down, across, at_once = _tiles_at_once(inputs, outputs, positions)
    tiles = positions[0] * down * across
    memory = scratch(36 * at_once * (inputs + outputs))
    v, m = memory[: 36 * at_once * inputs], memory[36 * at_once * inputs :]
    gate, mark = mask_or_bytes(gate, x), mask_or_bytes(mark, y)
    for first in range(0, tiles, at_once):
        count = min(at_once, tiles - first)
        grid, block = _grid(count, inputs)
        _INTO_TILES[reading][grid, block](
            x.flat, gate.flat, above, padding, x.shape[1], x.shape[2], inputs, down, across, first, count, v.flat
        )
        multiply(v.flat, u.flat, m.flat, count, outputs, inputs, count=36)
        grid, block = _grid(count, outputs)
        _OUT_OF_TILES[writing][grid, block](
            m.flat, bias.flat, y.shape[1], y.shape[2], outputs, down, across, first, count, y.flat, mark.flat
        )


def _grid(tiles, channels):
    """Grid and block in which each thread has a channel of a tile; a block has 32 channels if that divides them."""
    lanes = 16 if channels % 32 else 32
    return (blocks_for(tiles, THREADS // lanes), channels // lanes), (lanes, THREADS // lanes)
