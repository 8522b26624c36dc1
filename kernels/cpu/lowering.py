"""Convolution of any filter size and stride by lowering to a matrix product ("im2col").

Each output position's receptive field is written out as a row of kh x kw x C numbers, a block of output rows at
a time, and the block times the filters (kh kw C x K) is one matrix product (Chellapilla et al. 2006, "High
Performance Convolutional Neural Networks for Document Processing"). On the way back the product with the transposed
filters gives every position's share of each input it saw, and the shares are summed.
"""

import numpy as np
from numba import get_num_threads, get_thread_id, njit, prange

from stylecore.kernels.cpu.runtime import FAST


@njit(**FAST)
def _lower(x, n, first, last, width, size, stride, padding, columns):
    """Write out the receptive fields of output rows first to last, each `width` positions wide."""
    zero = x.dtype.type(0)
    channels = x.shape[3]
    for i in range(first, last):
        for j in range(width):
            row = columns[(i - first) * width + j]
            for u in range(size):
                for v in range(size):
                    at = (u * size + v) * channels
                    y, z = i * stride - padding + u, j * stride - padding + v
                    if 0 <= y < x.shape[1] and 0 <= z < x.shape[2]:
                        source = x[n, y, z]
                        for c in range(channels):
                            row[at + c] = source[c]
                    else:
                        for c in range(channels):
                            row[at + c] = zero


@njit(parallel=True, **FAST)
def _forward(x, filters, bias, size, stride, padding, rows, scratch, y, mask):
    zero = y.dtype.type(0)
    height, width, outputs = y.shape[1:]
    blocks = (height + rows - 1) // rows
    for block in prange(x.shape[0] * blocks):
        n, first = block // blocks, block % blocks * rows
        last = min(first + rows, height)
        count = (last - first) * width
        columns = scratch[get_thread_id(), : count * filters.shape[0]].reshape((count, filters.shape[0]))
        _lower(x, n, first, last, width, size, stride, padding, columns)
        products = y[n, first:last].reshape((count, outputs))
        np.dot(columns, filters, products)
        bits = mask[n, first:last].reshape((count, mask.shape[3]))
        for q in range(count):
            row = products[q]
            for k in range(outputs):
                value = row[k] + bias[k]
                row[k] = value if value > zero else zero
            for b in range(mask.shape[3]):
                byte = 0
                for k in range(8 * b, min(8 * b + 8, outputs)):
                    byte |= (row[k] > zero) << k % 8
                bits[q, b] = byte


@njit(**FAST)
def _raise(columns, n, first, last, top, bottom, width, size, stride, padding, dx):
    """Add the shares of output rows first to last to the input rows top to bottom."""
    channels = dx.shape[3]
    for i in range(first, last):
        for j in range(width):
            row = columns[(i - first) * width + j]
            for u in range(size):
                y = i * stride - padding + u
                if y < top or y >= bottom:
                    continue
                for v in range(size):
                    z = j * stride - padding + v
                    if 0 <= z < dx.shape[2]:
                        at = (u * size + v) * channels
                        target = dx[n, y, z]
                        for c in range(channels):
                            target[c] += row[at + c]


@njit(parallel=True, **FAST)
def _backward(dy, mask, filters, size, stride, padding, rows, scratch, dx):
    zero = dx.dtype.type(0)
    width, outputs = dy.shape[2:]
    height = dx.shape[1]
    blocks = (height + rows - 1) // rows
    for block in prange(dx.shape[0] * blocks):
        n, top = block // blocks, block % blocks * rows
        bottom = min(top + rows, height)
        dx[n, top:bottom] = zero
        # Output row i sees the input rows from i stride - padding, `size` of them.
        first = max(0, (top + padding - size + stride) // stride)
        last = min(dy.shape[1], (bottom - 1 + padding) // stride + 1)
        count = max(0, last - first) * width
        own = scratch[get_thread_id()]
        gated = own[: count * outputs].reshape((count, outputs))
        columns = own[count * outputs : count * (outputs + filters.shape[0])].reshape((count, filters.shape[0]))
        for q in range(count):
            source, bits, row = dy[n, first + q // width, q % width], mask[n, first + q // width, q % width], gated[q]
            for k in range(outputs):
                row[k] = source[k] if bits[k // 8] >> (k % 8) & 1 else zero
        np.dot(gated, filters.T, columns)
        _raise(columns, n, first, last, top, bottom, width, size, stride, padding, dx)


def _block_rows(numbers_per_row):
    """Rows of a block, so that what a thread writes out of it stays in its second-level cache."""
    return max(1, 2**18 // numbers_per_row)


def _seen_rows(rows, size, stride):
    """Most output rows that see any of `rows` neighbouring input rows."""
    return (rows + size - 2) // stride + 1


def _forward_plan(filters, stride, width):
    per_row = width * filters.shape[0] * filters.shape[1] * filters.shape[2]
    rows = _block_rows(per_row)
    return rows, rows * per_row


def _backward_plan(filters, stride, width):
    size = filters.shape[0]
    per_row = width * (filters.shape[3] + size * size * filters.shape[2])
    rows = _block_rows(per_row) * stride
    return rows, _seen_rows(rows, size, stride) * per_row


def scratch_size(filters, stride, width, backward):
    """Numbers of scratch memory that a convolution takes.

    Parameters
    ----------
    filters : ndarray, (k, k, C, K)
    stride : int
    width : int
        Of the output.
    backward : bool

    Returns
    -------
    int
    """
    plan = _backward_plan if backward else _forward_plan
    return get_num_threads() * plan(filters, stride, width)[1]


def forward(x, filters, bias, stride, padding, y, mask, scratch):
    """Convolve, add the bias, cut at zero; y = max(x * filters + bias, 0).

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    filters : ndarray, (k, k, C, K)
    bias : ndarray, (K,)
    stride, padding : int
    y : ndarray, (N, H', W', K)
        Result, H' = (H + 2 padding - k) // stride + 1.
    mask : ndarray, (N, H', W', ceil(K / 8)) uint8
        Where y is positive.
    scratch : ndarray, (scratch_size(...),)
    """
    rows, per_thread = _forward_plan(filters, stride, y.shape[2])
    flat = filters.reshape(-1, filters.shape[3])
    _forward(x, flat, bias, filters.shape[0], stride, padding, rows, scratch.reshape(-1, per_thread), y, mask)


def backward(dy, mask, filters, stride, padding, dx, scratch):
    """Gradient with respect to x, given the gradient with respect to y of `forward`.

    Parameters
    ----------
    dy : ndarray, (N, H', W', K)
    mask : ndarray, (N, H', W', ceil(K / 8)) uint8
        As `forward` wrote it.
    filters : ndarray, (k, k, C, K)
    stride, padding : int
    dx : ndarray, (N, H, W, C)
        Result.
    scratch : ndarray, (scratch_size(...),)
    """
    rows, per_thread = _backward_plan(filters, stride, dy.shape[2])
    flat = filters.reshape(-1, filters.shape[3])
    _backward(dy, mask, flat, filters.shape[0], stride, padding, rows, scratch.reshape(-1, per_thread), dx)
