"""What the losses need of a feature map F, seen as a matrix of M positions x C channels, or of the image itself.

All sums run over pieces of the map whose number depends on its shape alone and are added up in their order, so
that the results are the same bits whatever the number of threads.
"""

import numpy as np
from numba import get_num_threads, get_thread_id, njit, prange

from stylecore.kernels.cpu.product import NEXT, multiply, pad_columns, panel_columns
from stylecore.kernels.cpu.runtime import FAST, scratch

# Numbers of a piece of the map that is multiplied at a time, and stays in the second-level cache.
PIECE = 2**16
# Parts of the map that threads may sum by themselves; each takes the memory of a Gram matrix.
PARTS = 16


def _padded(channels, dtype):
    """Channels filled up to whole panels."""
    return -(-channels // panel_columns(dtype)) * panel_columns(dtype)


@njit(**FAST)
def _copy_padded(features, guide, begin, end, columns, piece):
    """Copy rows of F to a piece (rows, columns), flat, filled up with zeros; returns how many there are.

    With a guide, each is multiplied by the root of its weight, and those without a weight are left out.
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


@njit(parallel=True, **FAST)
def _gram(features, guide, rows, pieces, sums):
    """The upper right panels of F^T diag(g) F of each part of the map, in `sums` (parts, padded channels, same)."""
    positions, channels = features.shape
    parts, columns, _ = sums.shape
    panel = panel_columns(features.dtype)
    for part in prange(parts):
        first, last = part * positions // parts, (part + 1) * positions // parts
        total, add = sums[part].reshape(-1), False
        for begin in range(first, last, rows):
            end = min(begin + rows, last)
            piece, start, depth = features.reshape(-1), begin * channels, end - begin
            if columns > channels or guide.size:
                piece, start = pieces[get_thread_id()], 0
                depth = _copy_padded(features, guide, begin, end, columns, piece)
            if depth:
                for p in range(0, columns, panel):
                    b, height = start + p, p + panel
                    multiply(piece, start, NEXT, columns, piece, b, columns, total, p, columns, height, depth, add)
                add = True
        if not add:
            total[:] = 0


@njit(parallel=True, **FAST)
def _add_symmetric(sums, scale, total):
    """Add the sum of the parts' upper right triangles, in their order, to both sides of the diagonal."""
    for i in prange(len(total)):
        for j in range(i, len(total)):
            value = total.dtype.type(0)
            for part in range(len(sums)):
                value += sums[part, i, j]
            value = total[i, j] + scale * value
            total[i, j] = value
            total[j, i] = value


def _gram_plan(positions, channels, dtype):
    """Parts of the map, rows of a piece, and padded channels."""
    columns = _padded(channels, dtype)
    return min(max(positions // channels, 1), PARTS), max(16, PIECE // columns), columns


def gram_scratch_bytes(positions, channels, dtype):
    """Bytes of scratch memory that `gram` takes for a feature map.

    Parameters
    ----------
    positions, channels : int
    dtype : dtype

    Returns
    -------
    int
    """
    parts, rows, columns = _gram_plan(positions, channels, dtype)
    return (parts * columns**2 + get_num_threads() * rows * columns) * np.dtype(dtype).itemsize


def gram(features, scale, total, guide=None):
    """Add scale G, with the Gram matrix G = F^T F (paper, section 5.2), or of a region F^T diag(g) F, to a matrix.

    Parameters
    ----------
    features : ndarray, (M, C)
    scale : float
    total : ndarray, (C, C)
        Symmetric; changed in place.
    guide : ndarray, (M,), optional
        g, weight of each position, zero or more.
    """
    parts, rows, columns = _gram_plan(*features.shape, features.dtype)
    memory = scratch(parts * columns**2 + get_num_threads() * rows * columns, features.dtype)
    sums = memory[: parts * columns**2].reshape(parts, columns, columns)
    pieces = memory[sums.size :].reshape(-1, rows * columns)
    _gram(features, _guide(guide, features), rows, pieces, sums)
    _add_symmetric(sums, features.dtype.type(scale), total)


def _guide(guide, features):
    """A guide as the kernels take it: empty where there is none."""
    return np.empty(0, features.dtype) if guide is None else guide


@njit(parallel=True, **FAST)
def _gram_backward(features, guide, difference, rows, products, gradient):
    positions, channels = features.shape
    columns = difference.shape[1]
    whole = columns == channels and not guide.size
    flat, flat_difference = features.reshape(-1), difference.reshape(-1)
    for block in prange((positions + rows - 1) // rows):
        begin, end = block * rows, min((block + 1) * rows, positions)
        if not guide.size or guide[begin:end].any():
            product, start = (gradient.reshape(-1), begin * channels) if whole else (products[get_thread_id()], 0)
            for p in range(0, columns, panel_columns(difference.dtype)):
                a, c, count = begin * channels, start + p, end - begin
                multiply(
                    flat, a, channels, NEXT, flat_difference, p, columns, product, c, columns, count, channels, whole
                )
            if not whole:
                _add_rows(product, guide, begin, end, columns, gradient)


@njit(**FAST)
def _add_rows(product, guide, begin, end, columns, gradient):
    """Add a piece (rows, columns), flat, to the rows of the gradient, each times its weight."""
    for i in range(begin, end):
        weight = guide[i] if guide.size else guide.dtype.type(1)
        row, first = gradient[i], (i - begin) * columns
        for k in range(len(row)):
            row[k] += weight * product[first + k]


def gram_backward(features, difference, scale, gradient, guide=None):
    """Add scale F D, or scale diag(g) F D, to the gradient: of 1/4 sum (G - A)^2 that is F (G - A) (section 5.2).

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
    products = scratch(get_num_threads() * rows * columns, features.dtype).reshape(-1, rows * columns)
    _gram_backward(features, _guide(guide, features), scaled, rows, products, gradient)


@njit(parallel=True, **FAST)
def _channel_sums(features, guide, parts):
    positions = len(features)
    for part in prange(len(parts)):
        total = parts[part]
        total[:] = 0
        for i in range(part * positions // len(parts), (part + 1) * positions // len(parts)):
            weight = guide[i] if guide.size else guide.dtype.type(1)
            row = features[i]
            for c in range(len(row)):
                total[c] += np.float64(weight * row[c])


def channel_sums(features, scale, total, guide=None):
    """Add scale times the sum of each channel over the positions, F^T 1, or over a region F^T g, to a row.

    Parameters
    ----------
    features : ndarray, (M, C)
    scale : float
    total : ndarray, (C,), float64
        Changed in place.
    guide : ndarray, (M,), optional
        g, weight of each position, zero or more.
    """
    parts = np.empty((PARTS, features.shape[1]))
    _channel_sums(features, _guide(guide, features), parts)
    total += scale * parts.sum(axis=0)


@njit(parallel=True, **FAST)
def _channel_sums_backward(row, guide, gradient):
    for i in prange(len(gradient)):
        weight = guide[i] if guide.size else guide.dtype.type(1)
        target = gradient[i]
        for c in range(len(row)):
            target[c] += weight * row[c]


def channel_sums_backward(row, scale, gradient, guide=None):
    """Add scale times the same row, or g times that, to each position of the gradient.

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


@njit(parallel=True, **FAST)
def _half_squared_distance(a, b, parts):
    step = (a.size + parts.size - 1) // parts.size
    for p in prange(parts.size):
        total = 0.0
        for i in range(p * step, min((p + 1) * step, a.size)):
            difference = a[i] - b[i]
            total += np.float64(difference * difference)
        parts[p] = total


def half_squared_distance(a, b=None):
    """Half the sum of squared differences: the content term 1/2 sum (F - P)^2 (paper, section 5.1).

    Parameters
    ----------
    a, b : ndarray, of the same shape
        Without `b`, it is zero.

    Returns
    -------
    float
        Summed in float64.
    """
    parts = np.empty(64)
    b = np.zeros_like(a) if b is None else b
    _half_squared_distance(a.reshape(-1), b.reshape(-1), parts)
    return 0.5 * float(parts.sum())


@njit(parallel=True, **FAST)
def _half_squared_distance_backward(a, b, scale, gradient):
    for i in prange(a.size):
        gradient[i] += scale * (a[i] - b[i])


def half_squared_distance_backward(a, b, scale, gradient):
    """Add scale (a - b), the gradient with respect to a, to `gradient` in place.

    Parameters
    ----------
    a, b, gradient : ndarray, of the same shape
    scale : float
    """
    _half_squared_distance_backward(a.reshape(-1), b.reshape(-1), a.dtype.type(scale), gradient.reshape(-1))


@njit(parallel=True, **FAST)
def _total_variation(x, parts):
    height, width, channels = x.shape
    for i in prange(height):
        total = 0.0
        row, below = x[i].reshape(-1), x[min(i + 1, height - 1)].reshape(-1)
        for k in range(row.size):
            right = row[k + channels] - row[k] if k < (width - 1) * channels else x.dtype.type(0)
            down = below[k] - row[k]
            total += np.float64(right * right) + np.float64(down * down)
        parts[i] = total


def total_variation(x):
    """Half the sum of squared differences between neighbours in a column and in a row (section 5.4).

    Parameters
    ----------
    x : ndarray, (H, W, C)

    Returns
    -------
    float
        Summed in float64.
    """
    parts = np.empty(len(x))
    _total_variation(np.ascontiguousarray(x), parts)
    return 0.5 * float(parts.sum())


@njit(parallel=True, **FAST)
def _total_variation_backward(x, scale, gradient):
    height, width, channels = x.shape
    for i in prange(height):
        row, result = x[i].reshape(-1), gradient[i]
        above, below = x[max(i - 1, 0)].reshape(-1), x[min(i + 1, height - 1)].reshape(-1)
        for j in range(width):
            for c in range(channels):
                k = j * channels + c
                left = row[k] - row[k - channels] if j > 0 else x.dtype.type(0)
                right = row[k + channels] - row[k] if j < width - 1 else x.dtype.type(0)
                result[j, c] += scale * (left - right + (row[k] - above[k]) - (below[k] - row[k]))


def total_variation_backward(x, scale, gradient):
    """Add scale times the gradient of `total_variation` to `gradient` in place.

    Parameters
    ----------
    x, gradient : ndarray, (H, W, C)
    scale : float
    """
    _total_variation_backward(np.ascontiguousarray(x), x.dtype.type(scale), gradient)
