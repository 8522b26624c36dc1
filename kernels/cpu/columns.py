"""Features of several layers side by side, and the cosine loss between them and fixed targets.

The features of a picture are two matrices. A row of the *fine* one belongs to a square of its pixels, a row of the
*coarse* one to a cell of 2 x 2 such squares; the squares of cell q are the rows 4 q to 4 q + 3. So no feature of a cell
has to be stored, or multiplied, once for each of its squares.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba.extending import register_jitable

from stylecore.kernels.cpu.runtime import for_each, kernel, subroutine


@register_jitable
def _row_of(i, j, width, block):
    """Row of a matrix for the square in row i and column j of a map, where block x block squares follow each other."""
    cell = i // block * (width // block) + j // block
    return (cell * block + i % block) * block + j % block


@subroutine
def _mean_squares(i, features, side, block, scale, matrix, begin):
    """Means of one row of squares."""
    width, channels = features.shape[1] // side, features.shape[2]
    for j in range(width):
        target = matrix[_row_of(i, j, width, block), begin : begin + channels]
        target[:] = 0
        for y in range(i * side, (i + 1) * side):
            for x in range(j * side, (j + 1) * side):
                source = features[y, x]
                for c in range(channels):
                    target[c] += scale * source[c]


@kernel
def _square_means(features, side, block, scale, matrix, begin):
    for_each(len(features) // side, _mean_squares, (features, side, block, scale, matrix, begin))


def square_means(features: np.ndarray, side: int, block: int, scale: float, matrix: np.ndarray, begin: int) -> None:
    """Write means over squares of a map to some columns of a matrix.

    Parameters
    ----------
    features : ndarray, (H, W, C)
    side : int
        Of the squares, which divides the sides of the map.
    block : int
        Squares along the side of a cell, whose rows in the matrix follow each other.
    scale : float
        Factor of the means.
    matrix : ndarray, (squares, D)
        Changed in place.
    begin : int
        First of the C columns.
    """
    _square_means(features, side, block, features.dtype.type(scale / side**2), matrix, begin)


@subroutine
def _add_squares(y, matrix, begin, side, block, scale, gradient):
    width, channels = gradient.shape[1] // side, gradient.shape[2]
    for x in range(gradient.shape[1]):
        row = _row_of(y // side, x // side, width, block)
        source, target = matrix[row, begin : begin + channels], gradient[y, x]
        for c in range(channels):
            target[c] += scale * source[c]


@kernel
def _square_means_backward(matrix, begin, side, block, scale, gradient):
    for_each(len(gradient), _add_squares, (matrix, begin, side, block, scale, gradient))


def square_means_backward(
    matrix: np.ndarray, begin: int, side: int, block: int, scale: float, gradient: np.ndarray
) -> None:
    """Add the gradient of `square_means` with respect to the map.

    Parameters
    ----------
    matrix : ndarray, (squares, D)
        Gradient with respect to the matrix.
    begin, side, block : int
    scale : float
    gradient : ndarray, (H, W, C)
        Changed in place.
    """
    _square_means_backward(matrix, begin, side, block, gradient.dtype.type(scale / side**2), gradient)


@subroutine
def _products(features, targets):
    """Squared length of the features, and their inner product with the targets."""
    square, product = features.dtype.type(0), features.dtype.type(0)
    for c in range(len(features)):
        square += features[c] * features[c]
        product += features[c] * targets[c]
    return square, product


@subroutine
def _factors(own, below, targets, parts, scale, factors):
    """Loss of one square. The gradient with respect to its features f is a f - b t; `factors` gets a and b (parts, 2).

    Divided by the lengths of f and t, these are the directions g and s, of which the loss is 1 - g s. Its gradient with
    respect to f is ((g s) g - s) / |f|, and s is t itself.
    """
    split, loss = len(own), 0.0
    for i in range(len(parts)):
        begin, middle, end = parts[i]
        square, product = _products(own[begin:middle], targets[begin:middle])
        square_below, product_below = _products(below[middle - split : end - split], targets[middle:end])
        norm = np.sqrt(square + square_below)
        norm = norm if norm > 0 else own.dtype.type(1)
        cosine = (product + product_below) / norm
        loss += 1 - np.float64(cosine)
        factors[i, 0], factors[i, 1] = scale * cosine / (norm * norm), scale / norm
    return loss


@subroutine
def _write_gradient(features, targets, a, b):
    for c in range(len(features)):
        features[c] = a * features[c] - b * targets[c]


@subroutine
def _subtract(features, targets, b):
    for c in range(len(features)):
        features[c] -= b * targets[c]


@subroutine
def _compare_cell(cell, fine, coarse, targets, parts, scale, losses):
    """Loss of the squares of one cell, whose features are overwritten by their gradient."""
    split, below, losses[cell] = fine.shape[1], coarse[cell], 0
    factors = np.empty((4, len(parts), 2), fine.dtype)
    for k in range(4):
        row = 4 * cell + k
        losses[cell] += _factors(fine[row], below, targets[row], parts, scale, factors[k])
    for i in range(len(parts)):
        begin, middle, end = parts[i]
        total = below[middle - split : end - split]
        _write_gradient(total, targets[4 * cell, middle:end], factors[:, i, 0].sum(), factors[0, i, 1])
        for k in range(1, 4):
            _subtract(total, targets[4 * cell + k, middle:end], factors[k, i, 1])
        for k in range(4):
            row = 4 * cell + k
            _write_gradient(fine[row, begin:middle], targets[row, begin:middle], factors[k, i, 0], factors[k, i, 1])


@kernel
def _cosine_loss(fine, coarse, targets, parts, scale, losses):
    for_each(len(coarse), _compare_cell, (fine, coarse, targets, parts, scale, losses))


def cosine_loss(fine: np.ndarray, coarse: np.ndarray, targets: np.ndarray, parts: Sequence[slice]) -> float:
    """Mean of 1 - cos(f, t) over squares and parts, for the features f of a square and of the cell that it is in.

    Parameters
    ----------
    fine : ndarray, (M, D)
    coarse : ndarray, (M / 4, D')
        Both are overwritten by the gradient with respect to them.
    targets : ndarray, (M, D + D')
        Of length one in each part, or zero.
    parts : sequence of slice
        Columns whose angle is measured, each by itself.

    Returns
    -------
    float
        Summed in float64. Features of length zero have the cosine 0.
    """
    split, count = fine.shape[1], len(fine) * len(parts)
    bounds = np.array([(part.start, min(max(split, part.start), part.stop), part.stop) for part in parts])
    losses = np.empty(len(coarse))
    _cosine_loss(fine, coarse, targets, bounds, fine.dtype.type(1 / count), losses)
    return float(losses.sum()) / count
