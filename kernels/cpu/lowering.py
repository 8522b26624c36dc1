"""Convolution of any filter size and stride by lowering to matrix products.

The products that "im2col" makes of a convolution (Chellapilla et al. 2006, "High Performance Convolutional Neural
Networks for Document Processing"), without a copy of the receptive fields: row u of a filter covers k x C contiguous
values of an input row, `stride` x C further for each output position, which in memory already are the rows of a matrix.
An output row is the sum over u of these matrices times the rows of the filters (k C x K). In the backward pass the
product with the transposed filters gives the contribution of each output position to each input that it depends on, and
the contributions are summed.
"""

from __future__ import annotations

import numpy as np
from numba import get_thread_id
from numba.extending import register_jitable

from stylecore.kernels.cpu.bits import bias_relu, gate
from stylecore.kernels.cpu.product import ANEW, NEXT, multiply, pad_columns, panel_columns
from stylecore.kernels.cpu.runtime import for_each, kernel, scratch, subroutine, threads

# Output positions that are computed at a time.
POSITIONS = 112


@subroutine
def copy_padded(x, n, y, left, columns, row):
    """Copy columns of an input row from `left` on, with zeros outside the map."""
    _, _, width, channels = x.shape
    source = x[n, y].reshape(-1)
    first, last = max(0, -left), max(0, min(columns, width - left))
    for c in range(first * channels):
        row[c] = 0
    for c in range(first * channels, last * channels):
        row[c] = source[left * channels + c]
    for c in range(last * channels, columns * channels):
        row[c] = 0


@subroutine
def _forward_piece(piece, x, above, filters, bias, size, stride, padding, memory, y, mask):
    """Outputs of some neighbouring positions of a row."""
    _, height, width, outputs = y.shape
    channels, columns, bytes_ = x.shape[3], filters.shape[1], mask.shape[3]
    depth, step = size * channels, stride * channels
    flat, marks, flat_filters = y.reshape(-1), mask.reshape(-1), filters.reshape(-1)
    pieces = _pieces(width)
    n, i, begin = piece // (height * pieces), piece // pieces % height, piece % pieces * POSITIONS
    count = min(POSITIONS, width - begin)
    products, row = memory[get_thread_id()][: POSITIONS * columns], memory[get_thread_id()][POSITIONS * columns :]
    # The rows of the filters that overlap the map; a window that is all padding has none, and sums to zero.
    first, last = max(0, padding - above - i * stride), min(size, x.shape[1] + padding - above - i * stride)
    if first >= last:
        for k in range(products.size):
            products[k] = 0
    for u in range(first, last):
        left = begin * stride - padding
        copy_padded(x, n, i * stride - padding + above + u, left, (count - 1) * stride + size, row)
        for p in range(0, columns, panel_columns(y.dtype)):
            b, add, start = u * depth * columns + p, u > first, np.intp(0)
            multiply(row, start, step, NEXT, flat_filters, b, columns, products, p, columns, count, depth, add)
    for q in range(count):
        position = (n * height + i) * width + begin + q
        if mask.size:
            bias_relu(products, q * columns, bias, flat, position * outputs, marks, position * bytes_)
        else:
            for k in range(outputs):
                flat[position * outputs + k] = products[q * columns + k]


@register_jitable
def _pieces(width):
    return (width + POSITIONS - 1) // POSITIONS


@kernel
def _forward(x, above, filters, bias, size, stride, padding, memory, y, mask):
    pieces = y.shape[0] * y.shape[1] * _pieces(y.shape[2])
    for_each(pieces, _forward_piece, (x, above, filters, bias, size, stride, padding, memory, y, mask))


# Parts of the output rows that threads sum separately; each takes the memory of the filters.
PARTS = 16


@subroutine
def _sum_over_part(part, x, dy, size, stride, padding, memory, sums):
    """Sums of (receptive field of a filter row)^T dy over a part of the rows."""
    _, height, width, outputs = dy.shape
    channels, parts = x.shape[3], len(sums)
    depth, step, lines = size * channels, stride * channels, x.shape[0] * height
    columns = sums.shape[1] // (size * depth)
    own, total = memory[get_thread_id()], sums[part]
    total[:] = 0
    gradients, row = own[: width * columns], own[width * columns :]
    for line in range(part * lines // parts, (part + 1) * lines // parts):
        n, i = line // height, line % height
        for j in range(width):
            for k in range(outputs):
                gradients[j * columns + k] = dy[n, i, j, k]
            for k in range(outputs, columns):
                gradients[j * columns + k] = 0
        top = i * stride - padding
        for u in range(max(0, -top), min(size, x.shape[1] - top)):
            copy_padded(x, n, top + u, -padding, (width - 1) * stride + size, row)
            for p in range(0, columns, panel_columns(x.dtype)):
                at, start, add = u * depth * columns + p, np.intp(0), np.bool_(True)
                multiply(row, start, NEXT, step, gradients, p, columns, total, at, columns, depth, width, add)


@kernel
def _sum_over_rows(x, dy, size, stride, padding, memory, sums):
    """Sums of (receptive field of a filter row)^T dy over each part of the rows, in `sums` (parts, k k C columns)."""
    for_each(len(sums), _sum_over_part, (x, dy, size, stride, padding, memory, sums))


@subroutine
def _add_contributions(contributions, n, first_row, top, bottom, size, stride, padding, dx):
    """Add contributions (width, padded columns), the first of them to `first_row`, to rows top to bottom of dx."""
    _, _, width, channels = dx.shape
    for u in range(size):
        y = first_row + u
        if y < top or y >= bottom:
            continue
        # Neighbouring positions depend on the same inputs; with v outside, no addition waits for the previous one.
        for v in range(size):
            at = (u * size + v) * channels
            first = max(0, (padding - v + stride - 1) // stride)
            last = min(len(contributions), (width - 1 + padding - v) // stride + 1)
            some, targets = (
                contributions[first:last, at : at + channels],
                dx[n, y, first * stride - padding + v :: stride],
            )
            for j in range(len(some)):
                for c in range(channels):
                    targets[j, c] += some[j, c]


@subroutine
def _backward_block(block, dy, above, mask, filters, size, stride, padding, rows, memory, dx):
    """Gradient with respect to some neighbouring rows."""
    _, outputs_height, width, outputs = dy.shape
    _, height, _, _ = dx.shape
    columns, bytes_ = filters.shape[1], mask.shape[3]
    flat, marks, flat_filters = dy.reshape(-1), mask.reshape(-1), filters.reshape(-1)
    blocks = (height + rows - 1) // rows
    n, top = block // blocks, block % blocks * rows
    bottom = min(top + rows, height)
    for i in range(top, bottom):
        dx[n, i] = 0
    own = memory[get_thread_id()]
    gated, products = own[: POSITIONS * outputs], own[POSITIONS * outputs :]
    # Row i of dy depends on `size` rows of dx, from (i - above) stride - padding on.
    first = max(0, (top + padding - size + stride) // stride + above)
    for i in range(first, min(outputs_height, (bottom - 1 + padding) // stride + 1 + above)):
        for begin in range(0, width, POSITIONS):
            count = min(POSITIONS, width - begin)
            position = (n * outputs_height + i) * width + begin
            source, start = flat, position * outputs
            if mask.size:
                source, start = gated, 0
                for q in range(count):
                    at = (position + q) * bytes_
                    gate(marks, at, flat, (position + q) * outputs, outputs, gated, q * outputs)
            for p in range(0, columns, panel_columns(dx.dtype)):
                c = begin * columns + p
                multiply(
                    source, start, outputs, NEXT, flat_filters, p, columns, products, c, columns, count, outputs, ANEW
                )
        first_row = (i - above) * stride - padding
        contributions = products.reshape((width, columns))
        _add_contributions(contributions, n, first_row, top, bottom, size, stride, padding, dx)


@kernel
def _backward(dy, above, mask, filters, size, stride, padding, rows, memory, dx):
    blocks = len(dx) * ((dx.shape[1] + rows - 1) // rows)
    for_each(blocks, _backward_block, (dy, above, mask, filters, size, stride, padding, rows, memory, dx))


def pack_filters(filters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Arrange filters as `forward` and `backward` read them.

    Parameters
    ----------
    filters : ndarray, (k, k, C, K)

    Returns
    -------
    forward : ndarray, (k k C, K)
        The filters as a matrix; its columns are padded with zeros to whole panels.
    backward : ndarray, (K, k k C)
        Its transpose, likewise.
    """
    matrix = filters.reshape(-1, filters.shape[3])
    return pad_columns(matrix), pad_columns(matrix.T)


def scratch_size(filters: tuple[np.ndarray, ...], channels: int, size: int, stride: int, width: int) -> int:
    """Element count of the scratch memory that a convolution takes, forward or backward, whichever is more.

    Parameters
    ----------
    filters : tuple of ndarray
        Of `pack_filters`.
    channels : int
        Of the input.
    size, stride : int
    width : int
        Of the output.

    Returns
    -------
    int
    """
    own = max(_forward_size(filters[0], channels, size, stride), _backward_size(filters[1], width))
    return threads() * own


def _forward_size(filters, channels, size, stride):
    return POSITIONS * filters.shape[1] + ((POSITIONS - 1) * stride + size) * channels


def _backward_size(filters, width):
    return POSITIONS * len(filters) + width * filters.shape[1]


def forward(
    x: np.ndarray,
    above: int,
    filters: np.ndarray,
    bias: np.ndarray,
    size: int,
    stride: int,
    padding: int,
    y: np.ndarray,
    mask: np.ndarray,
) -> None:
    """Convolve, add the bias and apply the ReLU: y = max(x * filters + bias, 0).

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
        May have more rows than the result depends on.
    above : int
        Rows of x above the first row at the position of y.
    filters : ndarray
        The first of `pack_filters`.
    bias : ndarray, (K,)
    size, stride, padding : int
    y : ndarray, (N, H', W', K)
        Result, H' = (H + 2 padding - size) // stride + 1.
    mask : ndarray, (N, H', W', ceil(K / 8)) uint8
        Result: where y is positive; if it is empty, neither the bias is added nor the ReLU applied.
    """
    per_thread = _forward_size(filters, x.shape[3], size, stride)
    memory = scratch(threads() * per_thread, x.dtype).reshape(-1, per_thread)
    _forward(x, above, filters, bias, size, stride, padding, memory, y, mask)


def backward(
    dy: np.ndarray,
    above: int,
    mask: np.ndarray,
    filters: np.ndarray,
    size: int,
    stride: int,
    padding: int,
    dx: np.ndarray,
) -> None:
    """Gradient with respect to x, given the gradient with respect to y of `forward`.

    Parameters
    ----------
    dy : ndarray, (N, H', W', K)
        May have more rows than the result depends on.
    above : int
        Rows of dy above the first row at the position of dx.
    mask : ndarray, (N, H', W', ceil(K / 8)) uint8
        As `forward` wrote it; empty if there was no ReLU.
    filters : ndarray
        The second of `pack_filters`.
    size, stride, padding : int
    dx : ndarray, (N, H, W, C)
        Result.

    Notes
    -----
    A thread computes some neighbouring rows of dx; the products of output rows that depend on rows of two threads are
    computed twice, which keeps every sum in one thread, and in one order.
    """
    per_thread = _backward_size(filters, dy.shape[2])
    memory = scratch(threads() * per_thread, dy.dtype).reshape(-1, per_thread)
    rows = max(16, 4 * size)
    _backward(dy, above, mask, filters, size, stride, padding, rows, memory, dx)


def filters_gradient(x: np.ndarray, dy: np.ndarray, size: int, stride: int, padding: int, dfilters: np.ndarray) -> None:
    """Gradient of the convolution with respect to its filters.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    dy : ndarray, (N, H', W', K)
        Gradient with respect to the result of the convolution.
    size, stride, padding : int
    dfilters : ndarray, (k, k, C, K)
        Result.

    Notes
    -----
    The parts are added in order, for any number of threads.
    """
    n, height, width, outputs = dy.shape
    columns = -(-outputs // panel_columns(x.dtype)) * panel_columns(x.dtype)
    parts = min(PARTS, n * height)
    per_part = size * size * x.shape[3] * columns
    per_thread = width * columns + ((width - 1) * stride + size) * x.shape[3]
    memory = scratch(parts * per_part + threads() * per_thread, x.dtype)
    sums, own = memory[: parts * per_part].reshape(parts, -1), memory[parts * per_part :].reshape(-1, per_thread)
    _sum_over_rows(x, dy, size, stride, padding, own, sums)
    dfilters[...] = sums.sum(axis=0).reshape(size, size, -1, columns)[..., :outputs]
