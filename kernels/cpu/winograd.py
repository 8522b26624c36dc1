"""3 x 3 convolution with stride 1 and padding 1 by Winograd's minimal filtering F(4 x 4, 3 x 3).

A tile of 6 x 6 inputs gives 4 x 4 outputs with 36 multiplications per pair of channels instead of 144:
Y = A^T [(G g G^T) * (B^T d B)] A (Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks").
Summed over channels, the 36 products become 36 matrix products between the transformed tiles (tiles x C) and the
transformed filters (C x K), and those are BLAS's.

The gradient with respect to the input is a convolution of the output's gradient with the filters rotated by 180
degrees and their channels exchanged. Rotating the filters is the same as rotating the tiles, so the backward pass
reads and writes its tiles back to front and multiplies with the transposed products: one set of transformed
filters serves both directions.
"""

import numpy as np
from numba import get_num_threads, get_thread_id, njit, prange

from stylecore.kernels import BLOCKED
from stylecore.kernels.cpu.bits import copy_where, equal_bits, positive_bits
from stylecore.kernels.cpu.runtime import FAST

# How a tile is read: as it stands, through the mask of a ReLU, or out of a pool by its route.
PLAIN, MASKED, ROUTED = 0, 1, 2

# Channels that are transformed at a time: 36 of these rows stay in the first-level cache.
LANES = 64

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


@njit(parallel=True, **FAST)
def _transform_filters(filters, g, u):
    """U = G g G^T for every pair of channels; `filters` (3, 3, C, K), `u` (36, C, K)."""
    inputs, outputs = filters.shape[2:]
    for c in prange(inputs):
        half = np.empty((18, outputs), filters.dtype)
        for a in range(6):
            for j in range(3):
                for k in range(outputs):
                    half[3 * a + j, k] = (
                        g[a, 0] * filters[0, j, c, k] + g[a, 1] * filters[1, j, c, k] + g[a, 2] * filters[2, j, c, k]
                    )
        for a in range(6):
            for b in range(6):
                row = u[6 * a + b, c]
                for k in range(outputs):
                    row[k] = g[b, 0] * half[3 * a, k] + g[b, 1] * half[3 * a + 1, k] + g[b, 2] * half[3 * a + 2, k]


@njit(parallel=True, **FAST)
def _exchange_channels(filters, exchanged):
    """Transpose (9, C, K) to (9, K, C), in squares that fit the first-level cache."""
    taps, inputs, outputs = filters.shape
    for block in prange(taps * ((inputs + 31) // 32)):
        tap, first = block % taps, block // taps * 32
        source, target = filters[tap], exchanged[tap]
        for begin in range(0, outputs, 32):
            for k in range(begin, min(begin + 32, outputs)):
                for c in range(first, min(first + 32, inputs)):
                    target[k, c] = source[c, k]


def _transformed(filters, exchange, memory):
    """Transform filters (3, 3, C, K) into matrices (36, C, K), or (36, K, C) if `exchange`, and the memory behind."""
    inputs, outputs = filters.shape[2:]
    u, rest = memory[: 36 * inputs * outputs], memory[36 * inputs * outputs :]
    if exchange:
        exchanged = rest[: filters.size].reshape(3, 3, outputs, inputs)
        _exchange_channels(filters.reshape(9, inputs, outputs), exchanged.reshape(9, outputs, inputs))
        filters = exchanged
    u = u.reshape(36, *filters.shape[2:])
    _transform_filters(filters, G.astype(filters.dtype), u)
    return u, rest


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
def _product_tile(m, q, first, count, tile):
    """A^T m A of channels first to first + count of tile q, left in the first 4 x 4 places of the tile."""
    for k in range(36):
        row = m[k, q]
        for c in range(count):
            tile[k * LANES + c] = row[first + c]
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
    tile = np.empty(36 * LANES, x.dtype)
    for t in range(begin, end):
        n, i, j = t // (grid[0] * grid[1]), t // grid[1] % grid[0], t % grid[1]
        _transform_tile(x, gate, reading, n, 4 * i - 1, 4 * j - 1, reverse, v, q + t - begin, tile)


@njit(**FAST)
def _out_of_tiles(m, bias, grid, begin, end, q, reverse, pool, y, code):
    tile = np.empty(36 * LANES, y.dtype)
    channels = y.shape[3]
    for t in range(begin, end):
        n, i, j = t // (grid[0] * grid[1]), t // grid[1] % grid[0], t % grid[1]
        for first in range(0, channels, LANES):
            count = min(LANES, channels - first)
            _product_tile(m, q + t - begin, first, count, tile)
            if reverse:
                _store_reversed(tile, first, count, n, 4 * i, 4 * j, y)
            elif pool:
                _store_pooled(tile, bias, first, count, n, 4 * i, 4 * j, y, code)
            else:
                _store_relu(tile, bias, first, count, n, 4 * i, 4 * j, y, code)


@njit(parallel=True, **FAST)
def _by_block(x, gate, reading, reverse, u, bias, grid, size, scratch, pool, y, code):
    """One thread takes a block of tiles through all three steps, which stay in its own cache."""
    tiles = x.shape[0] * grid[0] * grid[1]
    inputs, outputs = x.shape[3], y.shape[3]
    for block in prange((tiles + size - 1) // size):
        begin = block * size
        end = min(begin + size, tiles)
        count = end - begin
        own = scratch[get_thread_id()]
        v = own[: 36 * count * inputs].reshape((36, count, inputs))
        m = own[36 * count * inputs : 36 * count * (inputs + outputs)].reshape((36, count, outputs))
        _into_tiles(x, gate, reading, reverse, grid, begin, end, v, 0)
        for k in range(36):
            np.dot(v[k], u[k], m[k])
        _out_of_tiles(m, bias, grid, begin, end, 0, reverse, pool, y, code)


@njit(parallel=True, **FAST)
def _by_product(x, gate, reading, reverse, u, bias, grid, size, scratch, pool, y, code):
    """All threads share a block and divide its 36 products, so that each reads its own filters only."""
    tiles = x.shape[0] * grid[0] * grid[1]
    inputs, outputs = x.shape[3], y.shape[3]
    own = scratch[0]
    for begin in range(0, tiles, size):
        count = min(size, tiles - begin)
        v = own[: 36 * count * inputs].reshape((36, count, inputs))
        m = own[36 * count * inputs : 36 * count * (inputs + outputs)].reshape((36, count, outputs))
        for t in prange(count):
            _into_tiles(x, gate, reading, reverse, grid, begin + t, begin + t + 1, v, t)
        for k in prange(36):
            np.dot(v[k], u[k].T, m[k])
        for t in prange(count):
            _out_of_tiles(m, bias, grid, begin + t, begin + t + 1, t, reverse, pool, y, code)


def _tiling(inputs, outputs, tiles):
    """How the tiles are worked on: by block or by product, and the tiles of a block.

    With few channels the transforms weigh most, and a thread that keeps its own small block in its second-level
    cache is fastest (measured: 1.2 times). With many, the filters are larger than that cache, and the threads had
    better share them out.
    """
    if inputs * outputs <= 64 * 128:
        return _by_block, min(64, tiles)
    return _by_product, min(2**18 // (inputs + outputs), tiles)


def scratch_size(inputs, outputs, positions):
    """Numbers of scratch memory that a convolution takes.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    positions : tuple of int, (N, H, W)
        Of the full-size map: the convolution's, not the pooled one.

    Returns
    -------
    int
    """
    n, height, width = positions
    method, size = _tiling(inputs, outputs, n * -(-height // 4) * -(-width // 4))
    blocks = get_num_threads() if method is _by_block else 1
    # Exchanged filters take the place of the tiles before these are needed.
    return 36 * inputs * outputs + max(blocks * 36 * size * (inputs + outputs), 9 * inputs * outputs)


def convolve(x, gate, reading, filters, bias, reverse, pool, positions, y, code, scratch):
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
    filters : ndarray, (3, 3, C, K)
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
    scratch : ndarray, (scratch_size(...),)
        Of the type of `x`.

    Notes
    -----
    C and K must be multiples of eight, so that masks can be read and written by whole bytes.
    """
    inputs, outputs = filters.shape[2:]
    n, height, width = positions
    grid = (-(-height // 4), -(-width // 4))
    run, size = _tiling(inputs, outputs, n * grid[0] * grid[1])
    # By block, BLAS takes the filters as (from, to) matrices, and by product transposed: each is faster for its sizes.
    u, rest = _transformed(filters, reverse == (run is _by_block), scratch)
    blocks = rest[: rest.size // (36 * size * (inputs + outputs)) * (36 * size * (inputs + outputs))]
    blocks = blocks.reshape(-1, 36 * size * (inputs + outputs))
    run(x, gate, reading, reverse, u, bias, grid, size, blocks, pool, y, code)
