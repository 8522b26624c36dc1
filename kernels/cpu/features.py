"""What the losses need of a feature map F, seen as a matrix of M positions x C channels, with each gradient.

All sums run over pieces of the map whose number depends on its shape alone and are added up in their order, so
that the results are the same bits whatever the number of threads.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import reduce

import numpy as np
from numba import get_num_threads, njit, prange
from stylecore.kernels.cpu.runtime import FAST


def gram(features):
    """Gram matrix G = F^T F (paper, section 5.2).

    Parameters
    ----------
    features : ndarray, (M, C)

    Returns
    -------
    ndarray, (C, C)
    """
    positions, channels = features.shape
    parts = np.array_split(features, min(max(positions // channels, 1), 16))
    # NumPy sees that both factors are one array and computes half of the product; Numba does not.
    with ThreadPoolExecutor(get_num_threads()) as pool:
        return reduce(np.add, pool.map(lambda part: part.T @ part, parts))


@njit(parallel=True, **FAST)
def _gram_backward(features, difference, gradient):
    rows = max(16, 2**16 // features.shape[1])
    for block in prange((features.shape[0] + rows - 1) // rows):
        begin, end = block * rows, min((block + 1) * rows, features.shape[0])
        share = np.dot(features[begin:end], difference)
        for i in range(end - begin):
            row, target = share[i], gradient[begin + i]
            for c in range(row.size):
                target[c] += row[c]


def gram_backward(features, difference, scale, gradient):
    """Add scale F D to the gradient: of 1/4 sum (G - A)^2 that is F (G - A) (paper, section 5.2).

    Parameters
    ----------
    features : ndarray, (M, C)
    difference : ndarray, (C, C)
        D, symmetric.
    scale : float
    gradient : ndarray, (M, C)
        Changed in place.
    """
    _gram_backward(features, (scale * difference).astype(features.dtype), gradient)


@njit(parallel=True, **FAST)
def _half_squared_distance(a, b, parts):
    step = (a.size + parts.size - 1) // parts.size
    for p in prange(parts.size):
        total = 0.0
        for i in range(p * step, min((p + 1) * step, a.size)):
            difference = a[i] - b[i]
            total += np.float64(difference * difference)
        parts[p] = total


def half_squared_distance(a, b):
    """Half the sum of squared differences: the content term 1/2 sum (F - P)^2 (paper, section 5.1).

    Parameters
    ----------
    a, b : ndarray, (M, C)

    Returns
    -------
    float
        Summed in float64.
    """
    parts = np.empty(64)
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
    a, b, gradient : ndarray, (M, C)
    scale : float
    """
    _half_squared_distance_backward(a.reshape(-1), b.reshape(-1), a.dtype.type(scale), gradient.reshape(-1))
