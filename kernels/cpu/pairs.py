"""The passes over the pairs of L-BFGS, steps and changes of the gradient, in one iteration within [0, 1].

The pairs are the rows of a matrix, whose last row is the gradient of the free values. The passes are limited by reading
them from memory, so each reads them once. Sums are over parts, which are then added in order, and do not depend on the
number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba.extending import register_jitable

from stylecore.kernels.cpu.runtime import for_each, kernel, subroutine

# Values of the image in a part: those of a few rows fit into the first-level cache.
PART = 2**11


@register_jitable
def _parts(size):
    return (size + PART - 1) // PART


@subroutine
def _blocked(x, gradient):
    """Whether a value is at a bound of [0, 1] and descending would leave the range."""
    return (x <= 0 and gradient > 0) or (x >= 1 and gradient < 0)


@subroutine
def _combine_part(part, rows, used, coefficients, x, gradient, direction):
    begin, end = part * PART, min((part + 1) * PART, x.size)
    total = direction[begin:end]
    total[:] = 0
    for i in range(len(used)):
        row, coefficient = rows[used[i], begin:end], coefficients[i]
        for k in range(end - begin):
            total[k] += coefficient * row[k]
    for k in range(begin, end):
        if _blocked(x[k], gradient[k]):
            direction[k] = 0


@kernel
def _combine(rows, used, coefficients, x, gradient, direction):
    for_each(_parts(x.size), _combine_part, (rows, used, coefficients, x, gradient, direction))


def combine(
    rows: np.ndarray, used: Sequence[int], coefficients: np.ndarray, x: np.ndarray, gradient: np.ndarray
) -> np.ndarray:
    """Linear combination of some rows, and zero for values that are blocked.

    Parameters
    ----------
    rows : ndarray, (R, n)
    used : sequence of int
        Indices of the rows to combine.
    coefficients : ndarray, (R,)
    x, gradient : ndarray, (n,)
        A value is blocked if it is at a bound of [0, 1] and a step against the gradient would leave the range.

    Returns
    -------
    ndarray, (n,)
    """
    direction, indices = np.empty_like(x), np.asarray(used)
    _combine(rows, indices, coefficients[indices].astype(rows.dtype), x, gradient, direction)
    return direction


@subroutine
def _move_part(part, x, direction, length, gradient, moved, sums):
    begin, end = part * PART, min((part + 1) * PART, x.size)
    start, along, slope, point = x[begin:end], direction[begin:end], gradient[begin:end], moved[begin:end]
    zero, one = x.dtype.type(0), x.dtype.type(1)
    for k in range(end - begin):
        point[k] = min(max(start[k] + length * along[k], zero), one)
    # In one loop with what is stored, this sum would be vectorised, and so ordered, only where the arrays are found not
    # to overlap, by a rough check of their addresses.
    total = zero
    for k in range(end - begin):
        total += slope[k] * (point[k] - start[k])
    sums[part] = total


@kernel
def _move(x, direction, length, gradient, moved, sums):
    for_each(len(sums), _move_part, (x, direction, length, gradient, moved, sums))


def move(x: np.ndarray, direction: np.ndarray, length: float, gradient: np.ndarray, moved: np.ndarray) -> float:
    """Step from x along a direction, clipped to [0, 1]; returns the change of the loss that the gradient predicts.

    Parameters
    ----------
    x, direction, gradient : ndarray, (n,)
    length : float
        Of the step, as a multiple of the direction.
    moved : ndarray, (n,)
        Result.

    Returns
    -------
    float
        The inner product of the gradient with the step.
    """
    sums = np.empty(_parts(x.size))
    _move(x, direction, x.dtype.type(length), gradient, moved, sums)
    return float(sums.sum())


@subroutine
def _take_part(part, rows, used, step, change, x, gradient, new_x, new_gradient, sums):
    begin, end = part * PART, min((part + 1) * PART, x.size)
    a, b, c = rows[step, begin:end], rows[change, begin:end], rows[len(rows) - 1, begin:end]
    for k in range(end - begin):
        at = begin + k
        a[k] = new_x[at] - x[at]
        b[k] = new_gradient[at] - gradient[at]
        c[k] = 0 if _blocked(new_x[at], new_gradient[at]) else new_gradient[at]
    for i in range(len(used)):
        row = rows[used[i], begin:end]
        with_a, with_b, with_c = row.dtype.type(0), row.dtype.type(0), row.dtype.type(0)
        for k in range(end - begin):
            with_a += row[k] * a[k]
            with_b += row[k] * b[k]
            with_c += row[k] * c[k]
        sums[part, 0, i], sums[part, 1, i], sums[part, 2, i] = with_a, with_b, with_c


@kernel
def _take(rows, used, step, change, x, gradient, new_x, new_gradient, sums):
    for_each(len(sums), _take_part, (rows, used, step, change, x, gradient, new_x, new_gradient, sums))


def take(
    rows: np.ndarray,
    used: Sequence[int] | np.ndarray,
    step: int,
    change: int,
    x: np.ndarray,
    gradient: np.ndarray,
    new_x: np.ndarray,
    new_gradient: np.ndarray,
) -> np.ndarray:
    """Store the step to a new point and the change of the gradient in two rows, and the free gradient in the last.

    Parameters
    ----------
    rows : ndarray, (R, n)
        Changed in place. The free gradient is zero for values that are blocked, as in `combine`.
    used : sequence of int
        Indices of the rows to multiply with, which include these three.
    step, change : int
        Indices of the two rows.
    x, gradient, new_x, new_gradient : ndarray, (n,)

    Returns
    -------
    ndarray, (3, len(used)), float64
        Inner products of step, change and free gradient with these rows.
    """
    indices = np.asarray(used)
    sums = np.empty((_parts(x.size), 3, len(indices)))
    _take(rows, indices, step, change, x, gradient, new_x, new_gradient, sums)
    return sums.sum(axis=0)
