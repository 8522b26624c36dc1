"""What the losses need of a feature map F, viewed as a matrix of M positions x C channels, or of the image itself.

All sums are over parts of the map whose number depends only on its shape, and are added in order, so that the results
are the same bits for any number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import get_thread_id
from numpy.typing import DTypeLike

from stylecore.kernels.cpu.product import NEXT, multiply, pad_columns, panel_columns
from stylecore.kernels.cpu.runtime import for_each, kernel, scratch, subroutine, threads

# Values of a piece of the map that is multiplied at a time, and fits into the second-level cache.
PIECE = 2**16
# Parts of the map that threads sum separately; each takes the memory of a Gram matrix.
PARTS = 16


def _padded(channels, dtype):
    """Number of channels, rounded up to whole panels."""
    return -(-channels // panel_columns(dtype)) * panel_columns(dtype)


@subroutine
def _copy_padded(features, guide, begin, end, columns, piece):
    """Copy rows of F to a piece (rows, columns), flat, padded with zeros; returns their number.

    With a guide, each row is multiplied by the square root of its weight, and rows of weight zero are left out.
    """
    channels, rows = features.shape[1], 0
    for i in range(begin, end):
        weight = guide[i] if guide.size else guide.dtype.type(1)
        if weight > 0:
            row, start, root = features[i], rows * columns, np.sqrt(weight)
            for c in range(channels):
                piece[start + c] = root * row[c]
            for c in range(channels, columns):
                piece[start + c] = 0
            rows += 1
    return rows


@subroutine
def _gram_part(part, features, guide, rows, pieces, sums):
    """The upper right panels of F^T diag(g) F of one part."""
    positions, channels = features.shape
    parts, columns, _ = sums.shape
    first, last = part * positions // parts, (part + 1) * positions // parts
    total, added = sums[part].reshape(-1), 0
    for begin in range(first, last, rows):
        end = min(begin + rows, last)
        piece, start, depth = features.reshape(-1), begin * channels, end - begin
        if columns > channels or guide.size:
            piece, start = pieces[get_thread_id()], 0
            depth = _copy_padded(features, guide, begin, end, columns, piece)
        if depth:
            for p in range(0, columns, panel_columns(features.dtype)):
                b, height = start + p, p + panel_columns(features.dtype)
                multiply(piece, start, NEXT, columns, piece, b, columns, total, p, columns, height, depth, added > 0)
            added += 1
    if not added:
        total[:] = 0


@subroutine
def _add_row(i, sums, scale, total):
    """Add row i of the sum of the upper right triangles of the parts, in order, to both sides of the diagonal."""
    for j in range(i, len(total)):
        value = total.dtype.type(0)
        for part in range(len(sums)):
            value += sums[part, i, j]
        value = total[i, j] + scale * value
        total[i, j] = value
        total[j, i] = value


@kernel
def _gram(features, guide, rows, pieces, sums, scale, total):
    for_each(len(sums), _gram_part, (features, guide, rows, pieces, sums))
    for_each(len(total), _add_row, (sums, scale, total))


def _gram_plan(positions, channels, dtype):
    """Number of parts of the map, rows of a piece, and padded channels."""
    columns = _padded(channels, dtype)
    return min(max(positions // channels, 1), PARTS), max(16, PIECE // columns), columns


def gram_scratch_bytes(positions: int, channels: int, dtype: DTypeLike) -> int:
    """Bytes of scratch memory that `gram` takes for a feature map, which is more than its gradient does.

    Parameters
    ----------
    positions, channels : int
    dtype : dtype

    Returns
    -------
    int
    """
    parts, rows, columns = _gram_plan(positions, channels, dtype)
    return (parts * columns**2 + threads() * rows * columns) * np.dtype(dtype).itemsize


def gram(features: np.ndarray, scale: float, total: np.ndarray, guide: np.ndarray | None = None) -> None:
    """Add scale G to a matrix, where G = F^T F is the Gram matrix (paper, section 5.2), or F^T diag(g) F with a guide.

    Parameters
    ----------
    features : ndarray, (M, C)
    scale : float
    total : ndarray, (C, C)
        Symmetric; changed in place.
    guide : ndarray, (M,), optional
        g, the weight of each position, zero or more.
    """
    parts, rows, columns = _gram_plan(features.shape[0], features.shape[1], features.dtype)
    memory = scratch(parts * columns**2 + threads() * rows * columns, features.dtype)
    sums = memory[: parts * columns**2].reshape(parts, columns, columns)
    pieces = memory[sums.size :].reshape(-1, rows * columns)
    _gram(features, _guide(guide, features), rows, pieces, sums, features.dtype.type(scale), total)


def _guide(guide, features):
    """A guide as the kernels take it: an empty array if there is none."""
    return np.empty(0, features.dtype) if guide is None else guide


@subroutine
def _gram_backward_block(block, features, guide, difference, rows, products, gradient):
    positions, channels = features.shape
    columns = difference.shape[1]
    begin, end = block * rows, min((block + 1) * rows, positions)
    if not _any_weight(guide, begin, end):
        return
    whole = columns == channels and not guide.size
    product, start = (gradient.reshape(-1), begin * channels) if whole else (products[get_thread_id()], 0)
    flat, flat_difference = features.reshape(-1), difference.reshape(-1)
    for p in range(0, columns, panel_columns(difference.dtype)):
        a, c, count = begin * channels, start + p, end - begin
        multiply(flat, a, channels, NEXT, flat_difference, p, columns, product, c, columns, count, channels, whole)
    if not whole:
        _add_rows(product, guide, begin, end, columns, gradient)


@subroutine
def _any_weight(guide, begin, end):
    """Whether a position of these has a weight."""
    for i in range(begin, min(end, guide.size)):
        if guide[i] > 0:
            return True
    return not guide.size


@subroutine
def _add_rows(product, guide, begin, end, columns, gradient):
    """Add a piece (rows, columns), flat, to rows of the gradient, each times its weight."""
    for i in range(begin, end):
        weight = guide[i] if guide.size else guide.dtype.type(1)
        row, first = gradient[i], (i - begin) * columns
        for k in range(len(row)):
            row[k] += weight * product[first + k]


@kernel
def _gram_backward(features, guide, difference, rows, products, gradient):
    blocks = (len(features) + rows - 1) // rows
    for_each(blocks, _gram_backward_block, (features, guide, difference, rows, products, gradient))


def gram_backward(
    features: np.ndarray, difference: np.ndarray, scale: float, gradient: np.ndarray, guide: np.ndarray | None = None
) -> None:
    """Add scale F D, or scale diag(g) F D with a guide, to the gradient; that of 1/4 sum (G - A)^2 is F (G - A).

    Parameters
    ----------
    features : ndarray, (M, C)
    difference : ndarray, (C, C)
        D, symmetric.
    scale : float
    gradient : ndarray, (M, C)
        Changed in place.
    guide : ndarray, (M,), optional
        g.
    """
    scaled = pad_columns((scale * difference).astype(features.dtype))
    columns = scaled.shape[1]
    rows = max(14, PIECE // columns)
    products = scratch(threads() * rows * columns, features.dtype).reshape(-1, rows * columns)
    _gram_backward(features, _guide(guide, features), scaled, rows, products, gradient)


@subroutine
def _channel_sums_part(part, features, guide, parts):
    positions, total = len(features), parts[part]
    total[:] = 0
    for i in range(part * positions // len(parts), (part + 1) * positions // len(parts)):
        weight = guide[i] if guide.size else guide.dtype.type(1)
        row = features[i]
        for c in range(len(row)):
            total[c] += np.float64(weight * row[c])


@kernel
def _channel_sums(features, guide, parts):
    for_each(len(parts), _channel_sums_part, (features, guide, parts))


def channel_sums(features: np.ndarray, scale: float, total: np.ndarray, guide: np.ndarray | None = None) -> None:
    """Add scale times the sum of each channel over the positions, F^T 1, or F^T g with a guide, to a vector.

    Parameters
    ----------
    features : ndarray, (M, C)
    scale : float
    total : ndarray, (C,), float64
        Changed in place.
    guide : ndarray, (M,), optional
        g, the weight of each position, zero or more.
    """
    parts = np.empty((PARTS, features.shape[1]))
    _channel_sums(features, _guide(guide, features), parts)
    total += scale * parts.sum(axis=0)


@subroutine
def _add_to_position(i, row, guide, gradient):
    weight = guide[i] if guide.size else guide.dtype.type(1)
    target = gradient[i]
    for c in range(len(row)):
        target[c] += weight * row[c]


@kernel
def _channel_sums_backward(row, guide, gradient):
    for_each(len(gradient), _add_to_position, (row, guide, gradient))


def channel_sums_backward(row: np.ndarray, scale: float, gradient: np.ndarray, guide: np.ndarray | None = None) -> None:
    """Add scale times a row, or scale g times it with a guide, to each position of the gradient.

    Parameters
    ----------
    row : ndarray, (C,)
        Gradient with respect to the sums.
    scale : float
    gradient : ndarray, (M, C)
        Changed in place.
    guide : ndarray, (M,), optional
        g.
    """
    _channel_sums_backward((scale * row).astype(gradient.dtype), _guide(guide, gradient), gradient)


@subroutine
def _squared_distance_part(part, a, b, parts):
    step, total = (a.size + parts.size - 1) // parts.size, 0.0
    some_a, some_b = a[part * step : (part + 1) * step], b[part * step : (part + 1) * step]
    for i in range(len(some_a)):
        difference = some_a[i] - some_b[i]
        total += np.float64(difference * difference)
    parts[part] = total


@kernel
def _squared_distance(a, b, parts):
    for_each(len(parts), _squared_distance_part, (a, b, parts))


def half_squared_distance(a: np.ndarray, b: np.ndarray | None = None) -> float:
    """Half the sum of squared differences: the content term 1/2 sum (F - P)^2 (paper, section 5.1).

    Parameters
    ----------
    a, b : ndarray, of the same shape
        The default of `b` is zero.

    Returns
    -------
    float
        Summed in float64.
    """
    if b is None:
        flat, zeros = a.reshape(-1), np.zeros(2**18, a.dtype)  # Not as many as in `a`, which may fill the memory.
        pieces = (flat[i : i + len(zeros)] for i in range(0, a.size, len(zeros)))
        return sum(half_squared_distance(piece, zeros[: len(piece)]) for piece in pieces)
    parts = np.empty(64)
    _squared_distance(a.reshape(-1), b.reshape(-1), parts)
    return 0.5 * float(parts.sum())


@subroutine
def _add_difference(part, parts, a, b, scale, gradient):
    begin, end = part * a.size // parts, (part + 1) * a.size // parts
    some_a, some_b, some = a[begin:end], b[begin:end], gradient[begin:end]
    for i in range(len(some)):
        some[i] += scale * (some_a[i] - some_b[i])


@kernel
def _half_squared_distance_backward(a, b, scale, gradient):
    for_each(PARTS, _add_difference, (PARTS, a, b, scale, gradient))


def half_squared_distance_backward(a: np.ndarray, b: np.ndarray, scale: float, gradient: np.ndarray) -> None:
    """Add scale (a - b), the gradient with respect to a, to `gradient` in place.

    Parameters
    ----------
    a, b, gradient : ndarray, of the same shape
    scale : float
    """
    _half_squared_distance_backward(a.reshape(-1), b.reshape(-1), a.dtype.type(scale), gradient.reshape(-1))


@subroutine
def _total_variation_row(i, x, rows):
    height, width, channels = x.shape
    total = 0.0
    row, below = x[i].reshape(-1), x[min(i + 1, height - 1)].reshape(-1)
    for k in range(row.size):
        right = row[k + channels] - row[k] if k < (width - 1) * channels else x.dtype.type(0)
        down = below[k] - row[k]
        total += np.float64(right * right) + np.float64(down * down)
    rows[i] = total


@kernel
def _total_variation(x, rows):
    for_each(len(x), _total_variation_row, (x, rows))


def total_variation(x: np.ndarray) -> float:
    """Half the sum of squared differences between vertical and horizontal neighbours (paper, section 5.4).

    Parameters
    ----------
    x : ndarray, (H, W, C)

    Returns
    -------
    float
        Summed in float64.
    """
    rows = np.empty(len(x))
    _total_variation(np.ascontiguousarray(x), rows)
    return 0.5 * float(rows.sum())


@subroutine
def _total_variation_backward_row(i, x, scale, gradient):
    height, width, channels = x.shape
    row, result = x[i].reshape(-1), gradient[i]
    above, below = x[max(i - 1, 0)].reshape(-1), x[min(i + 1, height - 1)].reshape(-1)
    for j in range(width):
        for c in range(channels):
            k = j * channels + c
            left = row[k] - row[k - channels] if j > 0 else x.dtype.type(0)
            right = row[k + channels] - row[k] if j < width - 1 else x.dtype.type(0)
            result[j, c] += scale * (left - right + (row[k] - above[k]) - (below[k] - row[k]))


@kernel
def _total_variation_backward(x, scale, gradient):
    for_each(len(x), _total_variation_backward_row, (x, scale, gradient))


def total_variation_backward(x: np.ndarray, scale: float, gradient: np.ndarray) -> None:
    """Add scale times the gradient of `total_variation` to `gradient` in place.

    Parameters
    ----------
    x, gradient : ndarray, (H, W, C)
    scale : float
    """
    _total_variation_backward(np.ascontiguousarray(x), x.dtype.type(scale), gradient)
