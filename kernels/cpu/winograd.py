"""3 x 3 convolution with stride 1 by Winograd's minimal filtering, F(6 x 6, 3 x 3) or F(4 x 4, 3 x 3).

A tile of 8 x 8 inputs gives 6 x 6 outputs with 64 multiplications per pair of channels instead of 324; one of 6 x 6
gives 4 x 4 with 36 instead of 144:
Y = A^T [(G g G^T) * (B^T d B)] A (Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks").
Summed over channels, the products become as many matrix products between the transformed tiles V (tiles x C) and the
transformed filters U (C x K).

The large tile takes a tenth less time in layers with large maps; of maps with few positions, as in training, much of it
lies outside. Its rounding error is twice as large (5e-6 of the result with 256 channels, against 3e-6).

The gradient with respect to the input is the same routine with the filters rotated by 180 degrees and their channels
exchanged.

The filters are transformed where they are used, a few channels at a time. This is repeated for every block of tiles,
which takes a few percent of the time of the products; but U, four to seven times as large as the filters, is neither
stored nor read from memory.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from numba import get_thread_id, typeof, types
from numba.extending import intrinsic, overload, register_jitable

from stylecore.kernels import BLOCKED
from stylecore.kernels.cpu.product import NEXT, multiply, panel_columns
from stylecore.kernels.cpu.runtime import exact_subroutine, for_each, kernel, scratch, subroutine, threads
from stylecore.kernels.cpu.vectors import Code, native_lanes, wide_lanes

# How a tile is read: as it is, through the mask of a ReLU, or from a pooled map by its route.
PLAIN, MASKED, ROUTED = 0, 1, 2
# How it is written: as it is, through bias and ReLU, or through these and a pool.
SUM, RELU, POOL = 0, 1, 2

# The two tiles, by the points besides infinity at which their transforms evaluate polynomials. Along a side, a tile has
# one input more than there are points here, and two outputs fewer than inputs. Numba compiles everything once for each
# type of points: their number, and the precision of the products, which in single precision are those of bfloat16.
F4 = (0.0, 1.0, -1.0, 2.0, -2.0)
F6 = (*F4, 0.5, -0.5)
# With these, rounding to bfloat16 has half the effect.
F4_BFLOAT16: tuple[Any, ...] = tuple(np.float32(point) for point in (0, 2 / 3, -2 / 3, 3 / 2, -3 / 2))

# Channels of the input (in bfloat16 pairs of them) and of the output for which filters are transformed at a time: U for
# these, and the products with it, fit into the second-level cache.
DEPTH, WIDTH = 64, 32

# Elements between two of the matrices. If their distance were a power of two, the positions of a tile would all compete
# for the same few lines of the first-level cache (measured: seven times as long).
GAP = 16


# The transforms along one side, of anything that can be added and multiplied.


def _transforms_4(p, q):
    """The three transforms for the points 0, p, -p, q, -q."""

    def of_input(d0, d1, d2, d3, d4, d5):
        """B^T d."""
        even_p, odd_p = d4 - q**2 * d2, p * d3 - p * q**2 * d1
        even_q, odd_q = d4 - p**2 * d2, q * d3 - q * p**2 * d1
        return (
            (p * q) ** 2 * d0 - (p**2 + q**2) * d2 + d4,
            even_p + odd_p,
            even_p - odd_p,
            even_q + odd_q,
            even_q - odd_q,
            (p * q) ** 2 * d1 - (p**2 + q**2) * d3 + d5,
        )

    def of_filter(g0, g1, g2):
        """G g."""
        at_p, at_q = 1 / (2 * p**2 * (p**2 - q**2)), 1 / (2 * q**2 * (q**2 - p**2))
        even_p, odd_p = at_p * g0 + at_p * p**2 * g2, at_p * p * g1
        even_q, odd_q = at_q * g0 + at_q * q**2 * g2, at_q * q * g1
        return 1 / (p * q) ** 2 * g0, even_p + odd_p, even_p - odd_p, even_q + odd_q, even_q - odd_q, g2

    def of_output(m0, m1, m2, m3, m4, m5):
        """A^T m."""
        sum_p, difference_p = m1 + m2, m1 - m2
        sum_q, difference_q = m3 + m4, m3 - m4
        return (
            m0 + sum_p + sum_q,
            p * difference_p + q * difference_q,
            p**2 * sum_p + q**2 * sum_q,
            p**3 * difference_p + q**3 * difference_q + m5,
        )

    return of_input, of_filter, of_output


def _input_transform_6(d0, d1, d2, d3, d4, d5, d6, d7):
    """B^T d."""
    even_1, odd_1 = d2 + d6 - 4.25 * d4, d1 + d5 - 4.25 * d3
    even_2, odd_2 = d6 + 0.25 * d2 - 1.25 * d4, 0.5 * d1 - 2.5 * d3 + 2 * d5
    even_half, odd_half = d6 + 4 * d2 - 5 * d4, 2 * d1 - 2.5 * d3 + 0.5 * d5
    return (
        d0 - d6 + 5.25 * (d4 - d2),
        even_1 + odd_1,
        even_1 - odd_1,
        even_2 + odd_2,
        even_2 - odd_2,
        even_half + odd_half,
        even_half - odd_half,
        d7 - d1 + 5.25 * (d3 - d5),
    )


def _filter_transform_6(g0, g1, g2):
    """G g."""
    even_1, odd_1 = (-2 / 9) * (g0 + g2), (-2 / 9) * g1
    even_2, odd_2 = (1 / 90) * g0 + (2 / 45) * g2, (1 / 45) * g1
    even_half, odd_half = (32 / 45) * g0 + (8 / 45) * g2, (16 / 45) * g1
    return (
        g0,
        even_1 + odd_1,
        even_1 - odd_1,
        even_2 + odd_2,
        even_2 - odd_2,
        even_half + odd_half,
        even_half - odd_half,
        g2,
    )


def _output_transform_6(m0, m1, m2, m3, m4, m5, m6, m7):
    """A^T m."""
    sum_1, difference_1 = m1 + m2, m1 - m2
    sum_2, difference_2 = m3 + m4, m3 - m4
    sum_half, difference_half = m5 + m6, m5 - m6
    return (
        m0 + sum_1 + sum_2 + sum_half,
        difference_1 + 2 * difference_2 + (1 / 2) * difference_half,
        sum_1 + 4 * sum_2 + (1 / 4) * sum_half,
        difference_1 + 8 * difference_2 + (1 / 8) * difference_half,
        sum_1 + 16 * sum_2 + (1 / 16) * sum_half,
        difference_1 + 32 * difference_2 + (1 / 32) * difference_half + m7,
    )


_TRANSFORMS = {
    typeof(F4): _transforms_4(1, 2),
    typeof(F6): (_input_transform_6, _filter_transform_6, _output_transform_6),
    typeof(F4_BFLOAT16): _transforms_4(2 / 3, 3 / 2),
}


def _is_paired(kind):
    """Whether V and U hold pairs of channels in bfloat16, given Numba's type of the points."""
    return kind.dtype == types.float32


def _held(points):
    """Channels that an element of V or U holds."""
    return 2 if _is_paired(typeof(points)) else 1


@overload(_held)
def _held_in_compiled_code(points):
    held = 2 if _is_paired(points) else 1
    return lambda points: held


def _factors(points, memory):
    """Memory as that of V or U."""
    return memory.view(np.uint32) if _is_paired(typeof(points)) else memory


@overload(_factors)
def _factors_in_compiled_code(points, memory):
    return (lambda points, memory: memory.view(np.uint32)) if _is_paired(points) else (lambda points, memory: memory)


# The transposes of the last two of F4, which lead from the gradient of the outputs to that of the filters.


def _output_gradient_transform(d0, d1, d2, d3):
    """A d."""
    even_1, odd_1 = d0 + d2, d1 + d3
    even_2, odd_2 = d0 + 4 * d2, 2 * d1 + 8 * d3
    return d0, even_1 + odd_1, even_1 - odd_1, even_2 + odd_2, even_2 - odd_2, d3


def _filter_gradient_transform(m0, m1, m2, m3, m4, m5):
    """G^T m."""
    sum_1, sum_2 = (1 / 6) * (m1 + m2), m3 + m4
    return (
        (1 / 4) * m0 - sum_1 + (1 / 24) * sum_2,
        (1 / 6) * (m2 - m1) + (1 / 12) * (m3 - m4),
        (1 / 6) * sum_2 - sum_1 + m5,
    )


def _transform_2d(transform, tile):
    """Transform a square tile, a list of rows, along both of its sides."""
    columns = [transform(*column) for column in zip(*tile, strict=True)]
    return [transform(*row) for row in zip(*columns, strict=True)]


# The innermost steps, one vector of channels at a time. They generate loops over the columns and the rows of a tile, as
# straight code takes long to compile, and is no faster: the values of a tile do not fit into the registers.


def _side(transform):
    """Number of elements that a transform takes."""
    return len(inspect.signature(transform).parameters)


def _generate_2d(code, transform, read, write, rows=1):
    """Generate code for `_transform_2d`, one vector at a time.

    `read` gets the coordinates of an element, a number of Python and an index of the generated code, and returns the
    vector. `write` gets an index, and as many vectors of the result's rows as `rows` says: all rows, in such groups.
    """
    side = _side(transform)
    between = code.room(8 * side)
    with code.loop(side) as b:
        column = transform(*(read(a, b) for a in range(side)))
        for a, value in enumerate(column):
            code.store(value, code.at(between, code.multiply(code.add(a * side, b), code.lanes)))
    with code.loop(len(column) // rows) as group:
        results = []
        for i in range(rows):
            first = code.multiply(code.add(code.multiply(group, rows), i), side * code.lanes)
            row = (code.load(code.at(between, code.add(first, b * code.lanes))) for b in range(side))
            results.append(transform(*row))
        write(group, *results)


def _filter_step(reverse):
    """Make an intrinsic that computes U = G g G^T of one vector of filters, or of those of two channels in pairs.

    In the backward pass the filters are rotated and their channels exchanged, so the vector is gathered across them.
    """

    @intrinsic
    def step(typingctx, points, filters, start, u, u_start, u_step):
        index = types.intp
        signature = types.void(points, filters, index, u, index, index)
        _, transform, _ = _TRANSFORMS[points]

        def generate(context, builder, signature, arguments):
            _, filters, start, u, u_start, u_step = arguments
            number = signature.args[1].dtype
            code = Code(context, builder, number, native_lanes(str(number)))
            taps = code.at(code.data(signature.args[1], filters), start)
            u = code.at(code.data(signature.args[3], u), u_start)

            def reads(taps):
                def read(a, b):
                    tap = code.add(3 * a, b)
                    if reverse:
                        tap = builder.sub(code.index(8), tap)
                        return code.gather(code.at(taps, code.multiply(tap, WIDTH)), 9 * WIDTH)
                    return code.load(code.at(taps, code.multiply(tap, WIDTH)))

                return read

            if _is_paired(points):
                room = code.room((points.count + 1) ** 2)
                _generate_2d(code, transform, reads(taps), _writes(code, room, code.lanes))

                def store(value, k):
                    first = code.load(code.at(room, code.multiply(k, code.lanes)))
                    code.store_pairs(first, value, code.at(u, code.multiply(k, u_step)))

                of_next_channel = code.at(taps, 1 if reverse else 9 * WIDTH)
                _generate_2d(code, transform, reads(of_next_channel), _each(code, store))
            else:
                _generate_2d(code, transform, reads(taps), _writes(code, u, u_step))
            return context.get_dummy_value()

        return signature, generate

    return step


def _each(code, store):
    """Make a function that stores a row of a transformed tile by one that gets an element and its number."""

    def write(a, row):
        for b, value in enumerate(row):
            store(value, code.add(code.multiply(a, len(row)), b))

    return write


def _writes(code, address, step, rounded=False):
    """Make a function that stores a row of a transformed tile, each element into a matrix of its own."""
    store = code.store_rounded if rounded else code.store
    return _each(code, lambda value, k: store(value, code.at(address, code.multiply(k, step))))


_transform_filter, _transform_filter_backward = _filter_step(False), _filter_step(True)


def _input_step(reading, border, transform_of=lambda points: _TRANSFORMS[points][0]):
    """Make an intrinsic that computes V = B^T d B of one vector of channels of a tile, or another such transform.

    Where the tile may cross the `border` of the map, values outside are taken as zero.
    """

    @intrinsic
    def step(typingctx, points, x, gate, start, height, width, channels, top, left, v, v_start, v_step):
        index = types.intp
        signature = types.void(points, x, gate, index, index, index, index, index, index, v, index, index)
        transform = transform_of(points)

        def generate(context, builder, signature, arguments):
            _, x, gate, start, height, width, channels, top, left, v, v_start, v_step = arguments
            number = signature.args[1].dtype
            code = Code(context, builder, number, wide_lanes(str(number)))
            x, gate, v = (code.data(signature.args[i], array) for i, array in ((1, x), (2, gate), (9, v)))

            nothing = code.zero_vector() if border else None

            def place(at, length):
                """Coordinate in x of a row or column, zero if it is outside, and whether it is inside."""
                if reading == ROUTED:
                    at = builder.ashr(at, code.index(1))
                if not border:
                    return at, None
                inside = builder.icmp_unsigned("<", at, length)
                return builder.select(inside, at, code.index(0)), inside

            rows = [place(code.add(top, a), height) for a in range(_side(transform))]

            def read(a, b):
                (row, row_inside), (column, column_inside) = rows[a], place(code.add(left, b), width)
                at = code.add(start, code.multiply(code.add(code.multiply(row, width), column), channels))
                address = code.at(x, at)
                if border:
                    address = builder.select(builder.and_(row_inside, column_inside), address, nothing)
                value = code.load(address)
                if reading == MASKED:
                    value = value.where(code.bits(code.at(gate, builder.udiv(at, code.index(8)))), code.zero())
                if reading == ROUTED:
                    # The tile begins at an odd row and column.
                    here = code.add(2 * ((a + 1) % 2), builder.and_(code.add(b, 1), code.index(1)))
                    chosen = builder.icmp_unsigned("==", code.load_bytes(code.at(gate, at)), code.bytes(here))
                    value = value.where(chosen, code.zero())
                return value

            _generate_2d(code, transform, read, _writes(code, code.at(v, v_start), v_step, _is_paired(points)))
            return context.get_dummy_value()

        return signature, generate

    return step


_read_plain, _read_masked, _read_routed = (_input_step(reading, False) for reading in (PLAIN, MASKED, ROUTED))
_read_plain_border, _read_masked_border, _read_routed_border = (
    _input_step(reading, True) for reading in (PLAIN, MASKED, ROUTED)
)
_read_gradient, _read_gradient_border = (
    _input_step(PLAIN, border, lambda points: _output_gradient_transform) for border in (False, True)
)


def _output_step(writing):
    """Make an intrinsic that computes A^T m A of one vector of channels of a tile, and writes the result.

    Neighbours in a row of the result are `y_column` apart, neighbours in a column `y_row`.
    """

    @intrinsic
    def step(typingctx, points, m, m_start, m_step, bias, bias_start, y, y_start, y_row, y_column, mark):
        index = types.intp
        signature = types.void(points, m, index, index, bias, index, y, index, index, index, mark)
        _, _, transform = _TRANSFORMS[points]

        def generate(context, builder, signature, arguments):
            _, m, m_start, m_step, bias, bias_start, y, y_start, y_row, y_column, mark = arguments
            number = signature.args[1].dtype
            code = Code(context, builder, number, wide_lanes(str(number)))
            m, bias, y, mark = (
                code.data(signature.args[i], array) for i, array in ((1, m), (4, bias), (6, y), (10, mark))
            )
            bias = code.load(code.at(bias, bias_start))

            def read(a, b):
                k = code.add(a * _side(transform), b)
                return code.load(code.at(m, code.add(m_start, code.multiply(k, m_step))))

            def write(a, b, value, origin=None):
                at = code.add(y_start, code.multiply(a, y_row), code.multiply(b, y_column))
                if writing != SUM:
                    value = value + bias
                    positive = value.exceeds(code.zero())
                    value = value.where(positive, code.zero())
                if writing == RELU:
                    code.store_bits(positive, code.at(mark, builder.udiv(at, code.index(8))))
                if writing == POOL:
                    code.store_bytes(builder.select(positive, origin, code.bytes(BLOCKED)), code.at(mark, at))
                code.store(value, code.at(y, at))

            def write_row(a, row):
                for b, value in enumerate(row):
                    write(a, b, value)

            def write_pooled(a, upper, lower):
                for b in range(0, len(upper), 2):
                    write(a, b // 2, *_first_maximum(code, [*upper[b : b + 2], *lower[b : b + 2]]))

            if writing == POOL:
                _generate_2d(code, transform, read, write_pooled, rows=2)
            else:
                _generate_2d(code, transform, read, write_row)
            return context.get_dummy_value()

        return signature, generate

    return step


def _first_maximum(code, window):
    """Maximum of some vectors, element by element, and the index of the first that has it, in bytes."""
    best, origin = window[0], code.bytes(0)
    for place, value in enumerate(window[1:], start=1):
        larger = value.exceeds(best)
        best, origin = value.where(larger, best), code.builder.select(larger, code.bytes(place), origin)
    return best, origin


_write_sum, _write_relu, _write_pool = (_output_step(writing) for writing in (SUM, RELU, POOL))


# Tiles, filters and products.


@register_jitable
def _matrices(points, rows, columns):
    """Element count of the matrices of a tile, which may be many times DEPTH columns wide."""
    return (len(points) + 1) ** 2 * (rows * columns + GAP * ((columns + DEPTH - 1) // DEPTH))


@register_jitable
def _own(points, size):
    """Element count of a thread's matrices for a group of filters and its products with `size` tiles."""
    return _matrices(points, DEPTH, WIDTH) + _matrices(points, size, WIDTH)


def pack_filters(filters: np.ndarray) -> np.ndarray:
    """Arrange 3 x 3 filters as `convolve` reads them, by groups of WIDTH outputs.

    Parameters
    ----------
    filters : ndarray, (3, 3, C, K)

    Returns
    -------
    ndarray, (ceil(K / WIDTH), C, 9, WIDTH)
        The last group is filled up with zeros.
    """
    inputs, outputs = filters.shape[2:]
    groups = -(-outputs // WIDTH)
    packed = np.zeros((inputs, 9, groups * WIDTH), filters.dtype)
    packed[:, :, :outputs] = filters.reshape(9, inputs, outputs).transpose(1, 0, 2)
    return np.ascontiguousarray(packed.reshape(inputs, 9, groups, WIDTH).transpose(2, 0, 1, 3))


@exact_subroutine
def _transform_filters(points, filters, reverse, group, channels, first, depth, u):
    """U of one group of outputs and of the inputs from `first` on, as matrices in panels of `depth` rows."""
    lanes, columns, step = native_lanes(filters.dtype), panel_columns(filters.dtype), depth * WIDTH + GAP
    for k in range(0, WIDTH, lanes):
        for row in range(depth):
            target, c = (k // columns * depth + row) * columns + k % columns, first + row * _held(points)
            if not reverse:
                start = (group * channels + c) * 9 * WIDTH + k
                _transform_filter(points, filters, start, u, target, step)
            elif group * WIDTH + k < channels:
                source, lane = c // WIDTH, c % WIDTH
                start = (source * channels + group * WIDTH + k) * 9 * WIDTH + lane
                _transform_filter_backward(points, filters, start, u, target, step)


@exact_subroutine
def _into_matrices(tile, points, x, shape, shift, gate, reading, grid, first_tile, size, v):
    """V of a tile, into matrices of `size` rows, whose first row is that of the tile `first_tile`.

    A tile begins the rows and columns of `shift` beyond its outputs. V holds matrices of size x depth for every DEPTH
    channels, or pairs of them, one after the other.
    """
    _, height, width, channels = shape
    scale, side = 2 if reading == ROUTED else 1, len(points) + 1
    t = first_tile + tile
    n, i, j = t // (grid[0] * grid[1]), t // grid[1] % grid[0], t % grid[1]
    top, left = (side - 2) * i + shift[0], (side - 2) * j + shift[1]
    inside = top >= 0 and left >= 0 and top + side <= scale * height and left + side <= scale * width
    held = _held(points)
    columns = channels // held
    for first in range(0, columns, DEPTH):
        depth = min(DEPTH, columns - first)
        step = size * depth + GAP
        for c in range(0, depth, wide_lanes(x.dtype) // held):
            start = n * height * width * channels + (first + c) * held
            target = side**2 * (size * first + GAP * (first // DEPTH)) + tile * depth + c
            if reading == PLAIN:
                if inside:
                    _read_plain(points, x, gate, start, height, width, channels, top, left, v, target, step)
                else:
                    _read_plain_border(points, x, gate, start, height, width, channels, top, left, v, target, step)
            elif reading == MASKED:
                if inside:
                    _read_masked(points, x, gate, start, height, width, channels, top, left, v, target, step)
                else:
                    _read_masked_border(points, x, gate, start, height, width, channels, top, left, v, target, step)
            elif inside:
                _read_routed(points, x, gate, start, height, width, channels, top, left, v, target, step)
            else:
                _read_routed_border(points, x, gate, start, height, width, channels, top, left, v, target, step)


@exact_subroutine
def _out_of_matrices(points, m, size, group, bias, writing, grid, begin, end, y, shape, mark):
    """Outputs of the tiles begin to end, which are the first of `size` in M, the channels of one group."""
    _, height, width, channels = shape
    lanes = wide_lanes(y.dtype)
    side = (len(points) - 1) // 2 if writing == POOL else len(points) - 1
    step = size * WIDTH + GAP
    edge, edge_marks = np.empty(side * side * lanes, y.dtype), np.empty(side * side * lanes, np.uint8)
    for t in range(begin, end):
        n, i, j = t // (grid[0] * grid[1]), t // grid[1] % grid[0], t % grid[1]
        rows, columns = min(side, height - side * i), min(side, width - side * j)
        whole = rows == side and columns == side
        for c in range(0, min(WIDTH, channels - group * WIDTH), lanes):
            source, first = (t - begin) * WIDTH + c, group * WIDTH + c
            start = ((n * height + side * i) * width + side * j) * channels + first
            if whole:
                target, target_marks, at, row, column = y, mark, start, width * channels, channels
            else:
                target, target_marks, at, row, column = edge, edge_marks, 0, side * lanes, lanes
            if writing == RELU:
                _write_relu(points, m, source, step, bias, first, target, at, row, column, target_marks)
            elif writing == POOL:
                _write_pool(points, m, source, step, bias, first, target, at, row, column, target_marks)
            else:
                _write_sum(points, m, source, step, bias, first, target, at, row, column, target_marks)
            if not whole:
                _copy_edge(writing, edge, edge_marks, side, rows, columns, start, width, channels, y, mark)


@subroutine
def _copy_edge(writing, edge, edge_marks, side, rows, columns, start, width, channels, y, mark):
    """Copy the outputs of a tile that are inside the map."""
    lanes = wide_lanes(y.dtype)
    per_byte = 8 if writing == RELU else 1
    for a in range(rows):
        for b in range(columns):
            source, target = (a * side + b) * lanes, start + (a * width + b) * channels
            for k in range(lanes):
                y[target + k] = edge[source + k]
            if writing != SUM:
                for k in range(lanes // per_byte):
                    mark[target // per_byte + k] = edge_marks[source // per_byte + k]


@subroutine
def _one_group(
    group, points, v, channels, filters, reverse, bias, writing, grid, begin, end, size, memory, y, shape, mark
):
    """One group of outputs of the tiles begin to end, which are the first of `size` in V, by M = V U."""
    own = memory[get_thread_id()]
    u, m = _factors(points, own), own[_matrices(points, DEPTH, WIDTH) :]
    panel, width, square = np.intp(panel_columns(m.dtype)), np.intp(WIDTH), (len(points) + 1) ** 2
    inputs, held = shape[3] if reverse else channels, _held(points)
    for first in range(0, channels // held, DEPTH):
        depth = min(DEPTH, channels // held - first)
        _transform_filters(points, filters, reverse, group, inputs, first * held, depth, u)
        for k in range(square):
            a = square * (size * first + GAP * (first // DEPTH)) + k * (size * depth + GAP)
            for p in range(0, WIDTH, panel):
                b, c = k * (depth * WIDTH + GAP) + p * depth, k * (size * WIDTH + GAP) + p
                multiply(v, a, depth, NEXT, u, b, panel, m, c, width, end - begin, depth, first > 0)
    _out_of_matrices(points, m, size, group, bias, writing, grid, begin, end, y, shape, mark)


@subroutine
def _one_block(
    block, points, x, x_shape, shift, gate, reading, filters, reverse, bias, writing, grid, size, memory, y, shape, mark
):
    """All steps for one block of `size` tiles."""
    begin, end = block * size, min((block + 1) * size, shape[0] * grid[0] * grid[1])
    v = _factors(points, memory[get_thread_id()][_own(points, size) :])
    for tile in range(end - begin):
        _into_matrices(tile, points, x, x_shape, shift, gate, reading, grid, begin, size, v)
    channels = x_shape[3]
    for group in range(_groups(shape[3])):
        _one_group(
            group, points, v, channels, filters, reverse, bias, writing, grid, begin, end, size, memory, y, shape, mark
        )


@register_jitable
def _groups(channels):
    return (channels + WIDTH - 1) // WIDTH


@kernel
def _convolve(
    points, x, x_shape, shift, gate, reading, filters, reverse, bias, writing, grid, size, v, memory, y, shape, mark
):
    """All steps, for blocks of `size` tiles: one block for each thread, or one for all whose V is in `v`.

    A thread with its own block waits for no other, and the block is so small that it fits into its cache. Where the
    filters are large, a large block for all is better: the threads divide the groups of filters, and few filters are
    transformed twice.
    """
    tiles, channels = shape[0] * grid[0] * grid[1], x_shape[3]
    reads, writes = (points, x, x_shape, shift, gate, reading), (memory, y, shape, mark)
    if not v.size:
        everything = (*reads, filters, reverse, bias, writing, grid, size, *writes)
        for_each((tiles + size - 1) // size, _one_block, everything)
        return
    for begin in range(0, tiles, size):
        end = min(begin + size, tiles)
        of_tiles = (*reads, grid, begin, size, v)
        for_each(end - begin, _into_matrices, of_tiles)
        of_groups = (points, v, channels, filters, reverse, bias, writing, grid, begin, end, size, *writes)
        for_each(_groups(shape[3]), _one_group, of_groups)


# Tiles of a block for one thread, which fits into its second-level cache, and of one for all threads. Both are
# multiples of the register tile on every processor. In bfloat16 they are twice as many.
BLOCK, SHARED = 42, 84
# Pairs of channels beyond which the threads work together on one block.
LIMIT = 128 * 128


def _plan(points, inputs, outputs, positions):
    """Rows and columns of tiles, tiles of a block, and element counts of the memory of a thread and of all threads."""
    n, height, width = positions
    side = len(points) - 1
    grid = -(-height // side), -(-width // side)
    tiles, held = n * grid[0] * grid[1], _held(points)
    columns = inputs // held
    if inputs * outputs <= LIMIT:
        size = min(BLOCK * held, tiles)
        return grid, size, _own(points, size) + _matrices(points, size, columns), 0
    size = min(SHARED * held, tiles)
    return grid, size, _own(points, size), _matrices(points, size, columns)


def scratch_size(points: tuple[float, ...], inputs: int, outputs: int, positions: tuple[int, ...]) -> int:
    """Element count of the scratch memory that a convolution takes in one direction.

    Parameters
    ----------
    points : tuple
        F4, F6 or F4_BFLOAT16.
    inputs, outputs : int
        Channels; in the backward pass, those of the output and of the input.
    positions : tuple of int, (N, H, W)
        Of the full-size map: that of the convolution, not the pooled one.

    Returns
    -------
    int
    """
    *_, own, shared = _plan(points, inputs, outputs, positions)
    return threads() * own + shared


def convolve(
    points: tuple[float, ...],
    x: np.ndarray,
    above: int,
    margin: int,
    gate: np.ndarray,
    reading: int,
    filters: np.ndarray,
    reverse: bool,
    bias: np.ndarray,
    writing: int,
    positions: tuple[int, ...],
    y: np.ndarray,
    mark: np.ndarray,
) -> None:
    """Compute a 3 x 3 convolution, or the gradient with respect to its input, with the steps before and after it.

    Parameters
    ----------
    points : tuple
        F4, F6 or F4_BFLOAT16.
    x : ndarray, (N, H, W, C)
        Input; (N, H // 2, W // 2, C) if `reading` is ROUTED. May have more rows than the result depends on.
    above : int
        Rows of the full-size input above the first row of the result; an even number if `reading` is ROUTED.
    margin : int
        Rows and columns before an output that its filter begins: the padding, and in the backward pass 2 less that. It
        is 1 unless `reading` and `writing` are PLAIN and SUM.
    gate : ndarray, uint8
        Mask or route through which `x` is read; not used if `reading` is PLAIN.
    reading : int
        PLAIN, MASKED or ROUTED.
    filters : ndarray, (ceil(K / WIDTH), C, 9, WIDTH)
        Of `pack_filters`; C and K are exchanged if `reverse`.
    reverse : bool
        Whether to compute the gradient with respect to the input: the filters are rotated, their channels exchanged.
    bias : ndarray, (K,)
        Not used if `writing` is SUM.
    writing : int
        SUM, RELU or POOL.
    positions : tuple of int, (N, H, W)
        Of the full-size map.
    y : ndarray, (N, H, W, K)
        Result; (N, H // 2, W // 2, K) if `writing` is POOL.
    mark : ndarray, uint8
        Result: the mask or the route; not written if `writing` is SUM.

    Notes
    -----
    C and K must be multiples of 16, so that masks are read and written in whole vectors.
    """
    inputs, outputs = x.shape[3], y.shape[3]
    grid, size, own, shared = _plan(points, inputs, outputs, positions)
    memory = scratch(threads() * own + shared, x.dtype)
    common, private = _factors(points, memory[:shared]), memory[shared:].reshape(threads(), own)
    source = x.reshape(-1), x.shape, (above - margin, -margin), gate.reshape(-1), reading
    steps = filters.reshape(-1), reverse, bias, writing, grid, size, common, private
    _convolve(points, *source, *steps, y.reshape(-1), y.shape, mark.reshape(-1))


# The gradient with respect to the filters, by F4.

# Tiles whose transforms are held at a time: a panel of them fits into the first-level cache, all into the last-level.
TILES = 256


@exact_subroutine
def _gradient_into_matrices(tile, dy, shape, nothing, grid, first_tile, size, columns, z):
    """Z = A dy A^T of a tile, into 36 matrices of size x columns, whose first row is that of the tile `first_tile`."""
    _, height, width, channels = shape
    step, t = size * columns + GAP, first_tile + tile
    n, i, j = t // (grid[0] * grid[1]), t // grid[1] % grid[0], t % grid[1]
    top, left = 4 * i, 4 * j
    inside = top + 4 <= height and left + 4 <= width
    for c in range(0, channels, wide_lanes(dy.dtype)):
        start, target = n * height * width * channels + c, tile * columns + c
        if inside:
            _read_gradient(F4, dy, nothing, start, height, width, channels, top, left, z, target, step)
        else:
            _read_gradient_border(F4, dy, nothing, start, height, width, channels, top, left, z, target, step)
    for k in range(36 if columns > channels else 0):
        row = k * step + tile * columns
        z[row + channels : row + columns] = 0


@subroutine
def _add_products(item, channels, count, size, columns, v, z, sums, add):
    """V^T Z of one of the 36 matrices, for DEPTH channels."""
    k, first = item % 36, item // 36 * DEPTH
    depth = min(DEPTH, channels - first)
    a = 36 * (size * first + GAP * (first // DEPTH)) + k * (size * depth + GAP)
    for p in range(0, columns, panel_columns(v.dtype)):
        b, c = k * (size * columns + GAP) + p, (k * channels + first) * columns + p
        multiply(v, a, NEXT, depth, z, b, columns, sums, c, columns, depth, count, add)


@kernel
def _sum_over_tiles(x, x_shape, dy, shape, padding, nothing, grid, size, columns, v, z, sums):
    """The 36 sums V^T Z over all tiles: (36, C, columns), flat."""
    tiles, channels, pieces = shape[0] * grid[0] * grid[1], x_shape[3], (x_shape[3] + DEPTH - 1) // DEPTH
    plain, shift = np.intp(PLAIN), (-padding, -padding)
    for start in range(0, tiles, size):
        count = min(size, tiles - start)
        for_each(count, _into_matrices, (F4, x, x_shape, shift, nothing, plain, grid, start, size, v))
        for_each(count, _gradient_into_matrices, (dy, shape, nothing, grid, start, size, columns, z))
        for_each(36 * pieces, _add_products, (channels, count, size, columns, v, z, sums, start > 0))


def filters_gradient(x: np.ndarray, dy: np.ndarray, padding: int, dfilters: np.ndarray) -> None:
    """Gradient of the convolution with respect to its filters: G^T [sum over tiles of (B^T d B) (A dy A^T)] G.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    dy : ndarray, (N, H', W', K)
        Gradient with respect to the result of the convolution.
    padding : int
        0 or 1.
    dfilters : ndarray, (3, 3, C, K)
        Result.

    Notes
    -----
    C and K must be multiples of 16. All threads work on the same tiles, so that no sum depends on how many they are.
    """
    (n, height, width, outputs), inputs = dy.shape, x.shape[3]
    grid = (-(-height // 4), -(-width // 4))
    size, panel = min(TILES, n * grid[0] * grid[1]), panel_columns(x.dtype)
    columns = -(-outputs // panel) * panel
    lengths = _matrices(F4, size, inputs), 36 * (size * columns + GAP), 36 * inputs * columns
    v, z, sums = np.split(scratch(sum(lengths), x.dtype), np.cumsum(lengths)[:2])
    nothing = np.empty(0, np.uint8)
    maps = x.reshape(-1), x.shape, dy.reshape(-1), dy.shape
    _sum_over_tiles(*maps, padding, nothing, grid, size, columns, v, z, sums)
    tile = sums.reshape(6, 6, inputs, columns)[..., :outputs]
    dfilters[...] = _transform_2d(_filter_gradient_transform, list(tile))
