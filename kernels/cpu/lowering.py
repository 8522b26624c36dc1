"""Convolution of any filter size and stride by lowering to a matrix product ("im2col").

Each output position's receptive field is written out as a row of kh x kw x C numbers, a block of output rows at
a time, and the block times the filters (kh kw C x K) is one matrix product (Chellapilla et al. 2006, "High
Performance Convolutional Neural Networks for Document Processing"). On the way back the product with the transposed
filters gives every position's share of each input it saw, and the shares are summed.
"""

import numpy as np
from numba import get_num_threads, get_thread_id, njit, prange
from stylecore.kernels.cpu.bits import copy_where, positive_bits
from stylecore.kernels.cpu.runtime import FAST


@njit(**FAST)
def _inside(j, stride, padding, size, width):
    """The part of the window of output column j that lies inside the input: its first and last column, and offset."""
    left = j * stride - padding
    return max(left, 0), min(left + size, width), max(-left, 0)


@njit(**FAST)
def _lower(x, n, first, last, width, size, stride, padding, columns):
    """Write out the receptive fields of output rows first to last, each `width` positions wide."""
    zero = x.dtype.type(0)
    channels = x.shape[3]
    for i in range(first, last):
        for u in range(size):
            y = i * stride - padding + u
            if y < 0 or y >= x.shape[1]:
                for j in range(width):
                    columns[(i - first) * width + j, u * size * channels : (u + 1) * size * channels] = zero
                continue
            source = x[n, y].reshape(-1)
            for j in range(width):
                row = columns[(i - first) * width + j]
                begin, end, skipped = _inside(j, stride, padding, size, x.shape[2])
                at, count = u * size * channels, (end - begin) * channels
                if end - begin < size:
                    row[at : at + size * channels] = zero
                    at += skipped * channels
                for c in range(count):
                    row[at + c] = source[begin * channels + c]


@njit(**FAST)
def _bias_relu(row, bias, bits):
    """Add the bias and cut at zero, in place, and write the mask."""
    zero = row.dtype.type(0)
    for k in range(row.size):
        value = row[k] + bias[k]
        row[k] = value if value > zero else zero
    whole = row.size // 8
    for b in range(whole):
        bits[b] = positive_bits(row, 8 * b)
    if 8 * whole < row.size:
        byte = 0
        for k in range(8 * whole, row.size):
            byte |= (row[k] > zero) << k % 8
        bits[whole] = byte


@njit(**FAST)
def _gate(source, bits, row):
    """Copy where the mask is set, zero elsewhere."""
    whole = row.size // 8
    for b in range(whole):
        copy_where(bits[b], source, 8 * b, row, 8 * b)
    for k in range(8 * whole, row.size):
        row[k] = source[k] if bits[whole] >> k % 8 & 1 else row.dtype.type(0)


@njit(parallel=True, **FAST)
def _forward(x, filters, bias, size, stride, padding, rows, scratch, y, mask):
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
            _bias_relu(products[q], bias, bits[q])


@njit(**FAST)
def _raise(columns, n, first, last, top, bottom, width, size, stride, padding, dx):
    """Add the shares of output rows first to last to the input rows top to bottom."""
    channels = dx.shape[3]
    for i in range(first, last):
        for u in range(size):
            y = i * stride - padding + u
            if y < top or y >= bottom:
                continue
            target = dx[n, y].reshape(-1)
            for j in range(width):
                row = columns[(i - first) * width + j]
                begin, end, skipped = _inside(j, stride, padding, size, dx.shape[2])
                at = (u * size + skipped) * channels
                for c in range((end - begin) * channels):
                    target[begin * channels + c] += row[at + c]


@njit(parallel=True, **FAST)
def _backward(dy, mask, filters, size, stride, padding, rows, scratch, dx):
    width, outputs = dy.shape[2:]
    height = dx.shape[1]
    blocks = (height + rows - 1) // rows
    for block in prange(dx.shape[0] * blocks):
        n, top = block // blocks, block % blocks * rows
        bottom = min(top + rows, height)
        dx[n, top:bottom] = dx.dtype.type(0)
        # Output row i sees the input rows from i stride - padding, `size` of them.
        first = max(0, (top + padding - size + stride) // stride)
        last = min(dy.shape[1], (bottom - 1 + padding) // stride + 1)
        count = max(0, last - first) * width
        own = scratch[get_thread_id()]
        gated = own[: count * outputs].reshape((count, outputs))
        columns = own[count * outputs : count * (outputs + filters.shape[0])].reshape((count, filters.shape[0]))
        for q in range(count):
            i, j = first + q // width, q % width
            _gate(dy[n, i, j], mask[n, i, j], gated[q])
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
