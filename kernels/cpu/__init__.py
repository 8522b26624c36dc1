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
    channels: tuple
    fuses_pool: bool


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
        Its ``fuses_pool`` says whether `conv_relu_pool` takes it: those do that run by Winograd's algorithm.
    """
    channels = filters.shape[2:]
    by_winograd = (filters.shape[0], stride, padding) == (3, 1, 1) and not any(count % 8 for count in channels)
    filters = np.ascontiguousarray(filters, dtype)
    if by_winograd:
        filters = winograd.pack_filters(filters)
    return Convolution(filters, np.ascontiguousarray(bias, dtype), stride, padding, channels, by_winograd)


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
        size = max(winograd.scratch_size(*way, positions) for way in (conv.channels, conv.channels[::-1]))
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
            winograd.convolve(x, _NO_CODE, winograd.PLAIN, conv.filters, conv.bias, False, False, y.shape[:3], y, mask)
        else:
            size = lowering.scratch_size(conv.filters, conv.stride, y.shape[2], backward=False)
            lowering.forward(x, conv.filters, conv.bias, conv.stride, conv.padding, y, mask, scratch(size, x.dtype))


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
            winograd.convolve(
                dy, mask, winograd.MASKED, conv.filters, conv.bias, True, False, dx.shape[:3], dx, _NO_CODE
            )
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
        winograd.convolve(x, _NO_CODE, winograd.PLAIN, conv.filters, conv.bias, False, True, x.shape[:3], y, route)


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
        winograd.convolve(dy, route, winograd.ROUTED, conv.filters, conv.bias, True, False, dx.shape[:3], dx, _NO_CODE)


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
