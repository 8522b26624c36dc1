"""The passes over the pairs of L-BFGS, steps and changes of the gradient, that an iteration within [0, 1] takes.

They are the rows of a matrix, with the gradient of the free values as its last. They come from memory each time, which
is what bounds these passes; so each reads them once. Sums are made part by part and then added up, and do not depend on
the number of threads.
"""

import numpy as np
from numba import njit, prange

from stylecore.kernels.cpu.runtime import FAST

# Values of the image that are worked on at once: their part of a few rows stays in the first-level cache.
PART = 2**11


@njit(**FAST)
def _parts(size):
    return (size + PART - 1) // PART


@njit(**FAST)
def _blocked(x, gradient):
    """Whether a value is at an end of the range and the way down leads out of it."""
    return (x <= 0 and gradient > 0) or (x >= 1 and gradient < 0)


@njit(parallel=True, **FAST)
def _combine(rows, used, coefficients, x, gradient, direction):
    for part in prange(_parts(x.size)):
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


def combine(rows, used, coefficients, x, gradient):
    """Sum of some rows, each multiplied with its coefficient; zero for values that are blocked.

    Parameters
    ----------
    rows : ndarray, (R, n)
    used : sequence of int
        Which of them.
    coefficients : ndarray, (R,)
    x, gradient : ndarray, (n,)
        A value is blocked if it is at an end of [0, 1] and the gradient there points out of it.

    Returns
    -------
    ndarray, (n,)
    """
    direction, used = np.empty_like(x), np.asarray(used)
    _combine(rows, used, coefficients[used].astype(rows.dtype), x, gradient, direction)
    return direction


@njit(parallel=True, **FAST)
def _move(x, direction, length, gradient, moved, sums):
    for part in prange(len(sums)):
        total = x.dtype.type(0)
        for k in range(part * PART, min((part + 1) * PART, x.size)):
            moved[k] = min(max(x[k] + length * direction[k], x.dtype.type(0)), x.dtype.type(1))
            total += gradient[k] * (moved[k] - x[k])
        sums[part] = total


def move(x, direction, length, gradient, moved):
    """Go from x along a direction and back into [0, 1], to `moved`; returns the change that the gradient foretells.

    Parameters
    ----------
    x, direction, gradient : ndarray, (n,)
    length : float
        Of the step, in directions.
    moved : ndarray, (n,)
        Result.

    Returns
    -------
    float
    """
    sums = np.empty(_parts(x.size))
    _move(x, direction, x.dtype.type(length), gradient, moved, sums)
    return float(sums.sum())


@njit(parallel=True, **FAST)
def _take(rows, used, step, change, x, gradient, new_x, new_gradient, sums):
    newest = rows[step], rows[change], rows[len(rows) - 1]
    for part in prange(len(sums)):
        begin, end = part * PART, min((part + 1) * PART, x.size)
        a, b, c = newest[0][begin:end], newest[1][begin:end], newest[2][begin:end]
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


def take(rows, used, step, change, x, gradient, new_x, new_gradient):
    """Write step and change of the gradient on the way to a new point into two rows, and its free gradient to the last.

    Parameters
    ----------
    rows : ndarray, (R, n)
        Changed in place. The free gradient is zero for values that are blocked, as in `combine`.
    used : sequence of int
        Rows to multiply with, these three among them.
    step, change : int
        The two rows.
    x, gradient, new_x, new_gradient : ndarray, (n,)

    Returns
    -------
    ndarray, (3, len(used)), float64
        Inner products of step, change and free gradient with the rows in use.
    """
    used = np.asarray(used)
    sums = np.empty((_parts(x.size), 3, len(used)))
    _take(rows, used, step, change, x, gradient, new_x, new_gradient, sums)
    return sums.sum(axis=0)
