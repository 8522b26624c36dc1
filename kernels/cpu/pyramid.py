"""The levels of a Laplacian pyramid, and a step of Adam on them.

A picture is enlarged to twice its sides, less one where they are odd, by linear interpolation between the centres of
its pixels: a new pixel is 3/4 of the one that it lies in, and 1/4 of the nearest other one.
"""

from __future__ import annotations

import numpy as np
from numba.extending import register_jitable

from stylecore.kernels.cpu.runtime import for_each, kernel, subroutine

# Values of a step of Adam that a thread computes at a time.
PART = 2**14


@register_jitable
def _other(i, size):
    """The pixel that the new pixel i is nearest to, besides its own, i // 2; its own at the edge."""
    return min(max(i // 2 + 2 * (i % 2) - 1, 0), size - 1)


@subroutine
def _enlarge_row(i, smaller, base, larger):
    height, width, channels = smaller.shape
    near, far = smaller.dtype.type(0.75), smaller.dtype.type(0.25)
    own, other = smaller[i // 2], smaller[_other(i, height)]
    row = near * own + far * other
    for j in range(larger.shape[1]):
        for c in range(channels):
            larger[i, j, c] = base[i, j, c] + near * row[j // 2, c] + far * row[_other(j, width), c]


@kernel
def enlarge(smaller: np.ndarray, base: np.ndarray, larger: np.ndarray) -> None:
    """Enlarge a picture and add it to another.

    Parameters
    ----------
    smaller : ndarray, (h, w, C)
    base : ndarray, (H, W, C)
        With h = ceil(H / 2) and w = ceil(W / 2).
    larger : ndarray, (H, W, C)
        Result.
    """
    for_each(len(larger), _enlarge_row, (smaller, base, larger))


@register_jitable
def _share(i, k, size):
    """Share of pixel k in the new pixel i."""
    share = 0.75 if i // 2 == k else 0.0
    return share + (0.25 if _other(i, size) == k else 0.0)


@subroutine
def _enlarge_backward_row(k, dlarger, dsmaller):
    height, width, channels = dsmaller.shape
    row = np.zeros(dlarger.shape[1:], dlarger.dtype)
    for i in range(max(2 * k - 1, 0), min(2 * k + 3, len(dlarger))):
        row += dlarger.dtype.type(_share(i, k, height)) * dlarger[i]
    for j in range(width):
        dsmaller[k, j] = 0
        for i in range(max(2 * j - 1, 0), min(2 * j + 3, len(row))):
            share = dlarger.dtype.type(_share(i, j, width))
            for c in range(channels):
                dsmaller[k, j, c] += share * row[i, c]


@kernel
def enlarge_backward(dlarger: np.ndarray, dsmaller: np.ndarray) -> None:
    """Gradient of `enlarge` with respect to the smaller picture; that with respect to `base` is `dlarger` itself.

    Parameters
    ----------
    dlarger : ndarray, (H, W, C)
    dsmaller : ndarray, (h, w, C)
        Result.
    """
    for_each(len(dsmaller), _enlarge_backward_row, (dlarger, dsmaller))


@subroutine
def _adam_part(part, gradient, rate, own, of_squares, values, mean, square):
    a, b, tiny = gradient.dtype.type(0.1), gradient.dtype.type(0.001), gradient.dtype.type(1e-8)
    for i in range(part * PART, min((part + 1) * PART, len(values))):
        mean[i] += a * (gradient[i] - mean[i])
        square[i] += b * (gradient[i] * gradient[i] - square[i])
        values[i] -= rate * (own * mean[i]) / (np.sqrt(of_squares * square[i]) + tiny)


@kernel
def _adam(gradient, rate, own, of_squares, values, mean, square):
    parts = (len(values) + PART - 1) // PART
    for_each(parts, _adam_part, (gradient, rate, own, of_squares, values, mean, square))


def adam(
    gradient: np.ndarray, rate: float, step: int, values: np.ndarray, mean: np.ndarray, square: np.ndarray
) -> None:
    """Take a step of Adam (Kingma and Ba 2015, algorithm 1), with decays of 0.9 and 0.999.

    Parameters
    ----------
    gradient : ndarray, (n,)
    rate : float
        Step size.
    step : int
        Number of this step, from 1 on.
    values, mean, square : ndarray, (n,)
        The values, and the means of the gradient and of its square; changed in place. The means begin at zero.
    """
    rate, own, of_squares = (gradient.dtype.type(x) for x in (rate, 1 / (1 - 0.9**step), 1 / (1 - 0.999**step)))
    _adam(gradient, rate, own, of_squares, values, mean, square)
