"""The kernels on the CPU: Numba on all cores, and BLAS inside, in float32 or float64.

See `stylecore.kernels` for what a backend is. Numba compiles a kernel at its first use and keeps the result on
disk.
"""

from typing import NamedTuple

import numpy as np

from stylecore.kernels.cpu import features, lowering, pools, winograd
from stylecore.kernels.cpu.runtime import one_blas_thread, release_scratch, scratch

__all__ = [
    "Convolution",
    "average_pool",
    "average_pool_backward",
    "conv_relu",
    "conv_relu_backward",
    "conv_relu_pool",
    "conv_relu_pool_backward",
    "gram",
    "gram_backward",
    "half_squared_distance",
    "half_squared_distance_backward",
    "max_pool",
    "max_pool_backward",
    "one_blas_thread",
    "prepare",
    "release_scratch",
    "scratch_bytes",
]

_NO_CODE = np.empty((0, 0, 0, 0), np.uint8)


class Convolution(NamedTuple):
    """Filters and bias of a convolution, as the functions here take them; made by `prepare`."""

    filters: np.ndarray
    bias: np.ndarray
    stride: int
    padding: int

    @property
    def fuses_pool(self):
        """Whether `conv_relu_pool` takes this convolution."""
        size, _, inputs, outputs = self.filters.shape
        shape_fits = (size, self.stride, self.padding) == (3, 1, 1)
        return shape_fits and inputs % 8 == 0 and outputs % 8 == 0


def prepare(filters, bias, stride, padding, dtype):
    """Bring a convolution into the form that the functions here take.

    Parameters
    ----------
    filters : ndarray, (k, k, C, K)
    bias : ndarray, (K,)
    stride, padding : int
    dtype : dtype
        float32 or float64.

    Returns
    -------
    Convolution
    """
    return Convolution(np.ascontiguousarray(filters, dtype), np.ascontiguousarray(bias, dtype), stride, padding)


def scratch_bytes(conv, positions):
    """Bytes of scratch memory that a convolution takes, forward or backward, whichever is more.

    Parameters
    ----------
    conv : Convolution
    positions : tuple of int, (N, H', W')
        Of the convolution's output, before a pool.

    Returns
    -------
    int
    """
    if conv.fuses_pool:
        size = winograd.scratch_size(*conv.filters.shape[2:], positions)
    else:
        size = max(lowering.scratch_size(conv.filters, conv.stride, positions[2], b) for b in (False, True))
    return size * conv.filters.itemsize


def conv_relu(x, conv, y, mask):
    """Convolve, add the bias and cut at zero: y = max(x * filters + bias, 0).

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    conv : Convolution
    y : ndarray, (N, H', W', K)
        Result, H' = (H + 2 padding - k) // stride + 1.
    mask : ndarray, (N, H', W', ceil(K / 8)) uint8
        Where y is positive.
    """
    with one_blas_thread():
        if conv.fuses_pool:
            _winograd(x, _NO_CODE, winograd.PLAIN, conv, False, False, y.shape[:3], y, mask)
        else:
            size = lowering.scratch_size(conv.filters, conv.stride, y.shape[2], backward=False)
            lowering.forward(x, *conv, y, mask, scratch(size, x.dtype))


def conv_relu_backward(dy, mask, conv, dx):
    """Gradient of `conv_relu` with respect to x: dy where y was positive, else 0, through the convolution.

    Parameters
    ----------
    dy : ndarray, (N, H', W', K)
    mask : ndarray, (N, H', W', ceil(K / 8)) uint8
    conv : Convolution
    dx : ndarray, (N, H, W, C)
        Result.
    """
    with one_blas_thread():
        if conv.fuses_pool:
            _winograd(dy, mask, winograd.MASKED, conv, True, False, dx.shape[:3], dx, _NO_CODE)
        else:
            size = lowering.scratch_size(conv.filters, conv.stride, dy.shape[2], backward=True)
            lowering.backward(dy, mask, conv.filters, conv.stride, conv.padding, dx, scratch(size, dy.dtype))


def conv_relu_pool(x, conv, y, route):
    """`conv_relu` and a 2 x 2 max pool with stride 2 in one, without writing the map between them.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    conv : Convolution
        One with ``fuses_pool``.
    y : ndarray, (N, H // 2, W // 2, K)
        Result.
    route : ndarray, (N, H // 2, W // 2, K) uint8
        Where each maximum stood, or BLOCKED where it was not positive.
    """
    with one_blas_thread():
        _winograd(x, _NO_CODE, winograd.PLAIN, conv, False, True, x.shape[:3], y, route)


def conv_relu_pool_backward(dy, route, conv, dx):
    """Gradient of `conv_relu_pool` with respect to x.

    Parameters
    ----------
    dy : ndarray, (N, H // 2, W // 2, K)
    route : ndarray, (N, H // 2, W // 2, K) uint8
    conv : Convolution
    dx : ndarray, (N, H, W, C)
        Result.
    """
    with one_blas_thread():
        _winograd(dy, route, winograd.ROUTED, conv, True, False, dx.shape[:3], dx, _NO_CODE)


def _winograd(x, gate, reading, conv, reverse, pool, positions, y, code):
    size = winograd.scratch_size(*conv.filters.shape[2:], positions)
    winograd.convolve(
        x, gate, reading, conv.filters, conv.bias, reverse, pool, positions, y, code, scratch(size, x.dtype)
    )


max_pool = pools.max_pool
max_pool_backward = pools.max_pool_backward
average_pool = pools.average_pool
average_pool_backward = pools.average_pool_backward
half_squared_distance = features.half_squared_distance
half_squared_distance_backward = features.half_squared_distance_backward


def gram(f):
    """See `features.gram`."""
    with one_blas_thread():
        return features.gram(f)


def gram_backward(f, difference, scale, gradient):
    """See `features.gram_backward`."""
    with one_blas_thread():
        features.gram_backward(f, difference, scale, gradient)
