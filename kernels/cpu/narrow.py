"""Convolution with few output channels, such as the last one of a painter: 9 x 9 with three outputs.

By lowering, the products would be as wide as the outputs are many, and most of a vector would be padding. Here the
columns of a filter row stand beside its outputs: with all (v, k) as columns, the product of an input row with row u of
the filters gives what each input contributes to `size` neighbouring outputs; summed over u, and then along the row,
y[i, j, k] = sum over v of P[j + v, (v, k)].
"""

from __future__ import annotations

import numpy as np
from numba import get_thread_id
from numpy.typing import DTypeLike

from stylecore.kernels.cpu.lowering import PARTS, copy_padded
from stylecore.kernels.cpu.product import NEXT, multiply, pad_columns, panel_columns
from stylecore.kernels.cpu.runtime import for_each, kernel, scratch, subroutine, threads


def suits(size: int, outputs: int, dtype: DTypeLike) -> bool:
    """Whether a convolution with this many outputs takes fewer products here than by lowering."""
    panel = panel_columns(dtype)
    return -(-size * outputs // panel) < size * -(-outputs // panel)


def pack_filters(filters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Arrange filters for `forward`, and for the gradient with respect to the input.

    Parameters
    ----------
    filters : ndarray, (k, k, C, K)

    Returns
    -------
    forward : ndarray, (k C, k K)
        Row u C + c holds what input c contributes by row u of the filters; padded with zeros to whole panels.
    rotated : ndarray, (k k K, C)
        The filters rotated by 180 degrees with their channels exchanged, as `lowering.forward` reads them.
    """
    size, _, inputs, outputs = filters.shape
    forward = filters.transpose(0, 2, 1, 3).reshape(size * inputs, size * outputs)
    rotated = filters[::-1, ::-1].transpose(0, 1, 3, 2).reshape(size * size * outputs, inputs)
    return pad_columns(forward), pad_columns(rotated)


@subroutine
def _forward_row(line, x, filters, size, padding, memory, y):
    """One row of the output."""
    _, height, width, outputs = y.shape
    channels, columns, wide = x.shape[3], filters.shape[1], width + size - 1
    n, i = line // height, line % height
    own, flat_filters = memory[get_thread_id()], filters.reshape(-1)
    products, row, result = own[: wide * columns], own[wide * columns :], y[n, i].reshape(-1)
    first, last = max(0, padding - i), min(size, x.shape[1] + padding - i)
    for u in range(first, last):
        copy_padded(x, n, i - padding + u, -padding, wide, row)
        for p in range(0, columns, panel_columns(y.dtype)):
            b, add, start = u * channels * columns + p, u > first, np.intp(0)
            multiply(row, start, channels, NEXT, flat_filters, b, columns, products, p, columns, wide, channels, add)
    for j in range(width):
        for k in range(outputs):
            total = y.dtype.type(0)
            for v in range(size):
                total += products[(j + v) * columns + v * outputs + k]
            result[j * outputs + k] = total if first < last else y.dtype.type(0)


@kernel
def _forward(x, filters, size, padding, memory, y):
    for_each(y.shape[0] * y.shape[1], _forward_row, (x, filters, size, padding, memory, y))


@subroutine
def _sum_over_part(part, x, dy, size, padding, columns, memory, sums):
    """Sums of (input row)^T (shifted gradients) over a part of the rows."""
    _, height, width, outputs = dy.shape
    channels, parts, wide, lines = x.shape[3], len(sums), width + size - 1, dy.shape[0] * height
    own, total = memory[get_thread_id()], sums[part]
    total[:] = 0
    gradients, row = own[: wide * columns], own[wide * columns :]
    for line in range(part * lines // parts, (part + 1) * lines // parts):
        n, i = line // height, line % height
        gradients[:] = 0
        for v in range(size):
            for j in range(width):
                for k in range(outputs):
                    gradients[(j + v) * columns + v * outputs + k] = dy[n, i, j, k]
        for u in range(max(0, padding - i), min(size, x.shape[1] + padding - i)):
            copy_padded(x, n, i - padding + u, -padding, wide, row)
            for p in range(0, columns, panel_columns(x.dtype)):
                at, start, add = u * channels * columns + p, np.intp(0), np.bool_(True)
                multiply(row, start, NEXT, channels, gradients, p, columns, total, at, columns, channels, wide, add)


@kernel
def _sum_over_rows(x, dy, size, padding, columns, memory, sums):
    """Sums over each part of the rows, in `sums` (parts, k C columns)."""
    for_each(len(sums), _sum_over_part, (x, dy, size, padding, columns, memory, sums))


def _memory(width, size, channels, columns, parts, dtype):
    """Scratch memory for a number of matrices of the filters, and for the rows of each thread."""
    sums, own = parts * size * channels * columns, (width + size - 1) * (columns + channels)
    memory = scratch(sums + threads() * own, dtype)
    return memory[:sums].reshape(parts, size * channels * columns), memory[sums:].reshape(-1, own)


def forward(x: np.ndarray, filters: np.ndarray, size: int, padding: int, y: np.ndarray) -> None:
    """Convolve without bias: y = x * filters.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    filters : ndarray
        The first of `pack_filters`.
    size, padding : int
    y : ndarray, (N, H', W', K)
        Result, H' = H + 2 padding - size + 1.
    """
    _, own = _memory(y.shape[2], size, x.shape[3], filters.shape[1], 0, x.dtype)
    _forward(x, filters, size, padding, own, y)


def filters_gradient(x: np.ndarray, dy: np.ndarray, size: int, padding: int, dfilters: np.ndarray) -> None:
    """Gradient of the convolution with respect to its filters.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    dy : ndarray, (N, H', W', K)
        Gradient with respect to the result of the convolution.
    size, padding : int
    dfilters : ndarray, (k, k, C, K)
        Result.

    Notes
    -----
    The parts are added in order, for any number of threads.
    """
    n, height, width, outputs = dy.shape
    panel = panel_columns(x.dtype)
    columns = -(-size * outputs // panel) * panel
    sums, own = _memory(width, size, x.shape[3], columns, min(PARTS, n * height), x.dtype)
    _sum_over_rows(x, dy, size, padding, columns, own, sums)
    matrix = sums.sum(axis=0).reshape(size, x.shape[3], columns)[..., : size * outputs]
    dfilters[...] = matrix.reshape(size, x.shape[3], size, outputs).transpose(0, 2, 1, 3)
