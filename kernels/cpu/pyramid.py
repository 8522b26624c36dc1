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


@subroutine
def _add_shares(row, share, total):
    for j in range(len(row)):
        total[j] += share * row[j]


@subroutine
def _enlarge_backward_row(k, dlarger, dsmaller):
    height, width, channels = dlarger.shape
    near, far = dlarger.dtype.type(0.75), dlarger.dtype.type(0.25)
    # With a column more on each side, where the share of a pixel beyond the edge is that of the one at the edge.
    total = np.zeros((2 * dsmaller.shape[1] + 2) * channels, dlarger.dtype)
    row = total[channels : (width + 1) * channels]
    for i in range(2 * k, min(2 * k + 2, height)):
        _add_shares(dlarger[i].reshape(-1), near, row)
    _add_shares(dlarger[max(2 * k - 1, 0)].reshape(-1), far, row)
    if 2 * k + 2 <= height:
        _add_shares(dlarger[min(2 * k + 2, height - 1)].reshape(-1), far, row)
    total[:channels] = row[:channels]
    if width % 2 == 0:
        total[(width + 1) * channels :] = row[(width - 1) * channels :]
    shares = total.reshape((-1, 2, channels))
    for j in range(dsmaller.shape[1]):
        for c in range(channels):
            outer = shares[j, 0, c] + shares[j + 1, 1, c]
            dsmaller[k, j, c] = far * outer + near * (shares[j, 1, c] + shares[j + 1, 0, c])


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
def _adam_part(part, gradient, rate, of_mean, of_square, values, mean, square):
    a, b, tiny = gradient.dtype.type(0.1), gradient.dtype.type(0.001), gradient.dtype.type(1e-8)
    begin, end = part * PART, min((part + 1) * PART, len(values))
    slope, own_mean, own_square, point = gradient[begin:end], mean[begin:end], square[begin:end], values[begin:end]
    for i in range(end - begin):
        own_mean[i] += a * (slope[i] - own_mean[i])
        own_square[i] += b * (slope[i] * slope[i] - own_square[i])
    for i in range(end - begin):
        point[i] -= rate * (of_mean * own_mean[i]) / (np.sqrt(of_square * own_square[i]) + tiny)


@kernel
def _adam(gradient, rate, of_mean, of_square, values, mean, square):
    parts = (len(values) + PART - 1) // PART
    for_each(parts, _adam_part, (gradient, rate, of_mean, of_square, values, mean, square))


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
    rate, of_mean, of_square = (gradient.dtype.type(x) for x in (rate, 1 / (1 - 0.9**step), 1 / (1 - 0.999**step)))
    _adam(gradient, rate, of_mean, of_square, values, mean, square)
