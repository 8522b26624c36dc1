"""3 x 3 convolution with stride 1 and padding 1 by Winograd's minimal filtering F(4 x 4, 3 x 3).

A tile of 6 x 6 inputs gives 4 x 4 outputs with 36 multiplications per pair of channels instead of 144:
Y = A^T [(G g G^T) * (B^T d B)] A (Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks").
Summed over channels, the 36 products become 36 matrix products between the transformed tiles (tiles x C) and the
transformed filters (C x K).

The gradient with respect to the input is a convolution of the output's gradient with the filters rotated by 180
degrees and their channels exchanged. Rotating the filters is the same as rotating the tiles, so the backward pass
is the forward pass with exchanged channels that reads and writes its tiles back to front.

The filters are transformed at every call: that takes less than a tenth of the convolution's time, and four times the
memory of all filters would have to be held otherwise.
"""

from math import prod

import numpy as np
from numba import get_num_threads, get_thread_id, njit, prange
from stylecore.kernels import BLOCKED
from stylecore.kernels.cpu.bits import copy_where, equal_bits, positive_bits
from stylecore.kernels.cpu.product import ROWS, multiply, panel_columns
from stylecore.kernels.cpu.runtime import FAST, scratch

# How a tile is read: as it stands, through the mask of a ReLU, or out of a pool by its route.
PLAIN, MASKED, ROUTED = 0, 1, 2

# Channels that are transformed, and output channels that are computed, at a time: 36 such rows stay in the first-level
# cache, and so many of the filters in the second-level cache.
LANES = 32

# Points 0, 1, -1, 2, -2 and infinity.
G = np.array(
    [
        [1 / 4, 0, 0],
        [-1 / 6, -1 / 6, -1 / 6],
        [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6],
        [1 / 24, -1 / 12, 1 / 6],
        [0, 0, 1],
    ]
)


def pack_filters(filters):
    """Lay out 3 x 3 filters as `convolve` reads them, by groups of LANES outputs.

    Parameters
    ----------
    filters : ndarray, (3, 3, C, K)

    Returns
    -------
    ndarray, (ceil(K / LANES), 9, C, LANES)
        The last group is filled up with zeros.
    """
    inputs, outputs = filters.shape[2:]
    groups = -(-outputs // LANES)
    packed = np.zeros((9, inputs, groups * LANES), filters.dtype)
    packed[:, :, :outputs] = filters.reshape(9, inputs, outputs)
    return np.ascontiguousarray(packed.reshape(9, inputs, groups, LANES).transpose(2, 0, 1, 3))


@njit(**FAST)
def _exchange_group(packed, group, outputs, exchanged):
    """The filters of one group of inputs, exchanged to outputs: (9, outputs, LANES) of (groups, 9, inputs, LANES)."""
    first = group * LANES
    count = min(LANES, packed.shape[2] - first)
    for tap in range(9):
        for k in range(outputs):
            source, row = packed[k // LANES, tap], exchanged[tap, k]
            for c in range(count):
                row[c] = source[first + c, k % LANES]
            for c in range(count, LANES):
                row[c] = 0


@njit(**FAST)
def _transform_group(filters, g, u):
    """U = G g G^T of a group of filters (9, C, LANES), as 36 matrices packed for `multiply`, (36 C LANES,) flat."""
    inputs = filters.shape[1]
    width = panel_columns(u.dtype)
    half = np.empty((18, LANES), u.dtype)
    for c in range(inputs):
        for a in range(6):
            g0, g1, g2 = g[a, 0], g[a, 1], g[a, 2]
            for j in range(3):
                f0, f1, f2, row = filters[j, c], filters[3 + j, c], filters[6 + j, c], half[3 * a + j]
                for k in range(LANES):
                    row[k] = g0 * f0[k] + g1 * f1[k] + g2 * f2[k]
        for a in range(6):
            h0, h1, h2 = half[3 * a], half[3 * a + 1], half[3 * a + 2]
            for b in range(6):
                g0, g1, g2 = g[b, 0], g[b, 1], g[b, 2]
                matrix = (6 * a + b) * inputs * LANES
                for first in range(0, LANES, width):
                    start = matrix + first * inputs + c * width
                    for k in range(width):
                        u[start + k] = g0 * h0[first + k] + g1 * h1[first + k] + g2 * h2[first + k]


@njit(parallel=True, **FAST)
def _transform_filters(packed, g, reverse, exchanged, u):
    """U of all groups of the outputs of this direction; `exchanged` has room for one group a thread."""
    for group in prange(u.shape[0]):
        if reverse:
            filters = exchanged[get_thread_id()]
            _exchange_group(packed, group, filters.shape[1], filters)
            _transform_group(filters, g, u[group])
        else:
            _transform_group(packed[group], g, u[group])


@njit(**FAST)
def _input_transform(tile, start, step):
    """B^T d in place, along one side: six rows of LANES numbers, `step` apart."""
    # Numba computes integer times float32 in float64, so the constants carry the tile's type.
    two, four, five = tile.dtype.type(2), tile.dtype.type(4), tile.dtype.type(5)
    for c in range(start, start + LANES):
        d0, d1, d2 = tile[c], tile[c + step], tile[c + 2 * step]
        d3, d4, d5 = tile[c + 3 * step], tile[c + 4 * step], tile[c + 5 * step]
        even_1, odd_1 = d4 - four * d2, d3 - four * d1
        even_2, odd_2 = d4 - d2, two * (d3 - d1)
        tile[c] = four * d0 - five * d2 + d4
        tile[c + step] = even_1 + odd_1
        tile[c + 2 * step] = even_1 - odd_1
        tile[c + 3 * step] = even_2 + odd_2
        tile[c + 4 * step] = even_2 - odd_2
        tile[c + 5 * step] = four * d1 - five * d3 + d5


@njit(**FAST)
def _output_transform(tile, start, step):
    """A^T m in place, along one side: six rows of LANES numbers, `step` apart, become the first four."""
    two, four, eight = tile.dtype.type(2), tile.dtype.type(4), tile.dtype.type(8)
    for c in range(start, start + LANES):
        m1, m2, m3, m4 = tile[c + step], tile[c + 2 * step], tile[c + 3 * step], tile[c + 4 * step]
        sum_1, difference_1 = m1 + m2, m1 - m2
        sum_2, difference_2 = m3 + m4, m3 - m4
        tile[c] = tile[c] + sum_1 + sum_2
        tile[c + step] = difference_1 + two * difference_2
        tile[c + 2 * step] = sum_1 + four * sum_2
        tile[c + 3 * step] = difference_1 + eight * difference_2 + tile[c + 5 * step]


@njit(**FAST)
def _load(x, gate, reading, n, top, left, first, count, tile, reverse):
    """Read the 6 x 6 inputs at (top, left), channels first to first + count, zero outside the map."""
    zero = x.dtype.type(0)
    scale = 2 if reading == ROUTED else 1
    height, width = scale * x.shape[1], scale * x.shape[2]
    for a in range(6):
        i = top + a
        for b in range(6):
            j = left + b
            start = LANES * (35 - 6 * a - b if reverse else 6 * a + b)
            if i < 0 or i >= height or j < 0 or j >= width:
                for c in range(LANES):
                    tile[start + c] = zero
                continue
            if reading == PLAIN:
                row = x[n, i, j]
                for c in range(count):
                    tile[start + c] = row[first + c]
            elif reading == MASKED:
                row, bits = x[n, i, j], gate[n, i, j]
                for c in range(0, count, 8):
                    copy_where(bits[(first + c) // 8], row, first + c, tile, start + c)
            else:
                row, routes = x[n, i // 2, j // 2], gate[n, i // 2, j // 2]
                here = np.uint8(2 * (i % 2) + j % 2)
                for c in range(0, count, 8):
                    copy_where(equal_bits(routes, first + c, here), row, first + c, tile, start + c)


@njit(**FAST)
def _transform_tile(x, gate, reading, n, top, left, reverse, v, q, tile):
    """V[:, q] = B^T d B for the tile at (top, left), all channels."""
    channels = x.shape[3]
    for first in range(0, channels, LANES):
        count = min(LANES, channels - first)
        _load(x, gate, reading, n, top, left, first, count, tile, reverse)
        for b in range(6):
            _input_transform(tile, b * LANES, 6 * LANES)
        for a in range(6):
            _input_transform(tile, 6 * a * LANES, LANES)
        for k in range(36):
            row = v[k, q]
            for c in range(count):
                row[first + c] = tile[k * LANES + c]


@njit(**FAST)
def _product_tile(m, q, tile):
    """A^T m A of tile q, left in the first 4 x 4 places of the tile."""
    for k in range(36):
        row = m[k, q]
        for c in range(LANES):
            tile[k * LANES + c] = row[c]
    for b in range(6):
        _output_transform(tile, b * LANES, 6 * LANES)
    for a in range(4):
        _output_transform(tile, 6 * a * LANES, LANES)


@njit(**FAST)
def _bias_relu(tile, start, bias, first, count):
    """Add the bias and cut at zero, in place."""
    zero = tile.dtype.type(0)
    for c in range(count):
        value = tile[start + c] + bias[first + c]
        tile[start + c] = value if value > zero else zero


@njit(**FAST)
def _store_relu(tile, bias, first, count, n, top, left, y, mask):
    for a in range(min(4, y.shape[1] - top)):
        for b in range(min(4, y.shape[2] - left)):
            start = LANES * (6 * a + b)
            _bias_relu(tile, start, bias, first, count)
            row, bits = y[n, top + a, left + b], mask[n, top + a, left + b]
            for c in range(count):
                row[first + c] = tile[start + c]
            for c in range(0, count, 8):
                bits[(first + c) // 8] = positive_bits(tile, start + c)


@njit(**FAST)
def _store_pooled(tile, bias, first, count, n, top, left, pooled, route):
    zero = tile.dtype.type(0)
    for a in range(min(2, pooled.shape[1] - top // 2)):
        for b in range(min(2, pooled.shape[2] - left // 2)):
            row = pooled[n, top // 2 + a, left // 2 + b]
            routes = route[n, top // 2 + a, left // 2 + b]
            start = LANES * (12 * a + 2 * b)
            for c in range(count):
                at = start + c
                best, origin = tile[at], np.uint8(0)
                if tile[at + LANES] > best:
                    best, origin = tile[at + LANES], np.uint8(1)
                if tile[at + 6 * LANES] > best:
                    best, origin = tile[at + 6 * LANES], np.uint8(2)
                if tile[at + 7 * LANES] > best:
                    best, origin = tile[at + 7 * LANES], np.uint8(3)
                best += bias[first + c]
                row[first + c] = best if best > zero else zero
                routes[first + c] = origin if best > zero else np.uint8(BLOCKED)


@njit(**FAST)
def _store_reversed(tile, first, count, n, top, left, dx):
    for a in range(min(4, dx.shape[1] - top)):
        for b in range(min(4, dx.shape[2] - left)):
            start = LANES * (6 * (3 - a) + 3 - b)
            row = dx[n, top + a, left + b]
            for c in range(count):
                row[first + c] = tile[start + c]


@njit(**FAST)
def _into_tiles(x, gate, reading, reverse, grid, begin, end, v, q):
    """Transform tiles begin to end into the rows of V from q on."""
    tile = np.empty(36 * LANES, x.dtype)
    for t in range(begin, end):
        n, i, j = t // (grid[0] * grid[1]), t // grid[1] % grid[0], t % grid[1]
        _transform_tile(x, gate, reading, n, 4 * i - 1, 4 * j - 1, reverse, v, q + t - begin, tile)


@njit(**FAST)
def _out_of_tiles(m, q, group, bias, reverse, pool, grid, begin, end, y, code):
    """Transform the rows of M from q on into tiles begin to end, the channels of one group."""
    tile = np.empty(36 * LANES, y.dtype)
    first = group * LANES
    count = min(LANES, y.shape[3] - first)
    for t in range(begin, end):
        n, i, j = t // (grid[0] * grid[1]), t // grid[1] % grid[0], t % grid[1]
        _product_tile(m, q + t - begin, tile)
        if reverse:
            _store_reversed(tile, first, count, n, 4 * i, 4 * j, y)
        elif pool:
            _store_pooled(tile, bias, first, count, n, 4 * i, 4 * j, y, code)
        else:
            _store_relu(tile, bias, first, count, n, 4 * i, 4 * j, y, code)


@njit(**FAST)
def _to_rows(tiles):
    """Tiles, filled up to whole register tiles of the product."""
    return (tiles + ROWS - 1) // ROWS * ROWS


@njit(**FAST)
def _tiles_matrix(memory, count, inputs):
    """V for so many tiles; the rows that only fill it up are zero, for what lies there could be slow to multiply."""
    rows = _to_rows(count)
    v = memory[: 36 * rows * inputs].reshape((36, rows, inputs))
    v[:, count:] = 0
    return v


@njit(**FAST)
def _multiply(v, k, u, m):
    """M[k] = V[k] U[k] for one of the 36 products and one group of outputs."""
    _, rows, inputs = v.shape
    start = k * rows * inputs
    multiply(v.reshape(-1), start, u, k * inputs * LANES, m.reshape(-1), k * rows * LANES, rows, inputs, LANES)


@njit(parallel=True, **FAST)
def _by_block(x, gate, reading, bias, reverse, pool, grid, size, u, blocks, y, code):
    """Each thread takes blocks of tiles, which stay in its cache, through all steps."""
    tiles = x.shape[0] * grid[0] * grid[1]
    inputs = x.shape[3]
    for block in prange((tiles + size - 1) // size):
        begin = block * size
        end = min(begin + size, tiles)
        own = blocks[get_thread_id()]
        v = _tiles_matrix(own, end - begin, inputs)
        m = own[v.size : v.size + 36 * v.shape[1] * LANES].reshape((36, v.shape[1], LANES))
        _into_tiles(x, gate, reading, reverse, grid, begin, end, v, 0)
        for group in range(u.shape[0]):
            for k in range(36):
                _multiply(v, k, u[group], m)
            _out_of_tiles(m, 0, group, bias, reverse, pool, grid, begin, end, y, code)


@njit(parallel=True, **FAST)
def _by_product(x, gate, reading, bias, reverse, pool, grid, size, u, blocks, y, code):
    """All threads share a block of tiles and divide its 36 products, so that each reads its own filters only."""
    tiles = x.shape[0] * grid[0] * grid[1]
    inputs = x.shape[3]
    groups = u.shape[0]
    for begin in range(0, tiles, size):
        end = min(begin + size, tiles)
        v = _tiles_matrix(blocks[0], end - begin, inputs)
        rows = v.shape[1]
        m = blocks[0, v.size : v.size + groups * 36 * rows * LANES].reshape((groups, 36, rows, LANES))
        for t in prange(begin, end):
            _into_tiles(x, gate, reading, reverse, grid, t, t + 1, v, t - begin)
        for k in prange(36):
            for group in range(groups):
                _multiply(v, k, u[group], m[group])
        for t in prange(begin, end):
            for group in range(groups):
                _out_of_tiles(m[group], t - begin, group, bias, reverse, pool, grid, t, t + 1, y, code)


def _tiling(inputs, outputs):
    """How the tiles are worked on, by block or by product, and the most tiles of a block.

    A thread that keeps its own small block of tiles in its cache waits for no other; but once the filters are much
    larger than that cache, the threads had better share them out (measured: 1.2 to 1.5 times as fast).
    """
    return (_by_block if inputs * outputs <= 256 * 256 else _by_product), 3 * ROWS


def _sizes(inputs, outputs, positions):
    """The method, the most tiles of a block, and the numbers that the filters and the blocks take of the memory."""
    n, height, width = positions
    method, size = _tiling(inputs, outputs)
    size = min(size, n * -(-height // 4) * -(-width // 4))
    groups = -(-outputs // LANES)
    filters = groups * 36 * inputs * LANES
    if method is _by_block:
        blocks = (get_num_threads(), 36 * _to_rows(size) * (inputs + LANES))
    else:
        blocks = (1, 36 * _to_rows(size) * (inputs + groups * LANES))
    return method, size, (groups, filters // groups), blocks


def scratch_size(inputs, outputs, positions):
    """Numbers of scratch memory that a convolution takes in that direction.

    Parameters
    ----------
    inputs, outputs : int
        Channels; on the way back, those of the output and of the input.
    positions : tuple of int, (N, H, W)
        Of the full-size map: the convolution's, not the pooled one.

    Returns
    -------
    int
    """
    _, _, filters, blocks = _sizes(inputs, outputs, positions)
    return prod(filters) + max(prod(blocks), get_num_threads() * 9 * inputs * LANES)


def convolve(x, gate, reading, packed, bias, reverse, pool, positions, y, code):
    """Run a 3 x 3 convolution, or its gradient with respect to the input if `reverse`.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
        Input; on the way back the gradient with respect to the output, (N, H, W, K), or (N, H // 2, W // 2, K) if
        `reading` is ROUTED.
    gate : ndarray, uint8
        Mask or route through which `x` is read; anything if `reading` is PLAIN.
    reading : int
        PLAIN, MASKED or ROUTED.
    packed : ndarray
        The filters, of `pack_filters`.
    bias : ndarray, (K,)
        Not used on the way back.
    reverse : bool
        Whether this is the way back.
    pool : bool
        Whether a 2 x 2 max pool follows; forward only.
    positions : tuple of int, (N, H, W)
        Of the full-size map.
    y : ndarray
        Where the result goes: (N, H, W, K), pooled (N, H // 2, W // 2, K), on the way back (N, H, W, C).
    code : ndarray, uint8
        Where the mask or, if `pool`, the route goes; not written on the way back.

    Notes
    -----
    C and K must be multiples of eight, so that masks can be read and written by whole bytes.
    """
    inputs, outputs = x.shape[3], y.shape[3]
    run, size, filters, blocks = _sizes(inputs, outputs, positions)
    memory = scratch(scratch_size(inputs, outputs, positions), x.dtype)
    u, rest = memory[: prod(filters)].reshape(filters), memory[prod(filters) :]
    # Exchanged filters take the place of the tiles before these are needed.
    exchanged = rest[: get_num_threads() * 9 * inputs * LANES].reshape(-1, 9, inputs, LANES)
    _transform_filters(packed, G.astype(x.dtype), reverse, exchanged, u)
    grid = (-(-positions[1] // 4), -(-positions[2] // 4))
    run(x, gate, reading, bias, reverse, pool, grid, size, u, rest[: prod(blocks)].reshape(blocks), y, code)
