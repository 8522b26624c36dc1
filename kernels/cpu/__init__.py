"""The kernels on the CPU: Numba on all cores, in float32 or float64.

See `stylecore.kernels` for what a backend is. Numba compiles a kernel at its first use and keeps the result on
disk.
"""

from typing import NamedTuple

import numpy as np
from stylecore.kernels.cpu import features, lowering, pools, winograd
from stylecore.kernels.cpu.runtime import allocate, release_scratch
from stylecore.kernels.reference import (
    STRIP_VALUES,
    available_bytes,
    download,
    preprocess,
    preprocess_backward,
    upload,
)

__all__ = [
    "STRIP_VALUES",
    "Convolution",
    "allocate",
    "available_bytes",
    "average_pool",
    "average_pool_backward",
    "channel_sums",
    "channel_sums_backward",
    "conv_relu",
    "conv_relu_backward",
    "conv_relu_pool",
    "conv_relu_pool_backward",
    "download",
    "gram",
    "gram_backward",
    "gram_scratch_bytes",
    "half_squared_distance",
    "half_squared_distance_backward",
    "max_pool",
    "max_pool_backward",
    "prepare",
    "preprocess",
    "preprocess_backward",
    "release_scratch",
    "scratch_bytes",
    "total_variation",
    "total_variation_backward",
    "upload",
]

_NOTHING = np.empty((0, 0, 0, 0), np.uint8)


class Convolution(NamedTuple):
    """Filters and bias of a convolution, as the functions here take them; made by `prepare`."""

    filters: np.ndarray | tuple
    bias: np.ndarray
    size: int
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
    size, _, *channels = filters.shape
    by_winograd = (size, stride, padding) == (3, 1, 1) and not any(count % 16 for count in channels)
    pack = winograd.pack_filters if by_winograd else lowering.pack_filters
    filters, bias = pack(np.asarray(filters, dtype)), np.ascontiguousarray(bias, dtype)
    return Convolution(filters, bias, size, stride, padding, tuple(channels), by_winograd)


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
        size = lowering.scratch_size(conv.filters, conv.channels[0], conv.size, conv.stride, positions[2])
    return size * conv.bias.itemsize


def conv_relu(x, conv, y, mask, above=0):
    """Convolve, add the bias and cut at zero: y = max(x * filters + bias, 0).

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    conv : Convolution
    y : ndarray, (N, H', W', K)
        Result, H' = (H + 2 padding - k) // stride + 1.
    mask : ndarray, (N, H', W', ceil(K / 8)) uint8
        Where y is positive.
    above : int
        Rows of x above those that y belongs to, if y is a strip of the whole: x then has its neighbours (halo) as well.
    """
    if conv.fuses_pool:
        reading, writing = winograd.PLAIN, winograd.RELU
        winograd.convolve(x, above, _NOTHING, reading, conv.filters, False, conv.bias, writing, y.shape[:3], y, mask)
    else:
        lowering.forward(x, above, conv.filters, conv.bias, conv.size, conv.stride, conv.padding, y, mask)


def conv_relu_backward(dy, mask, conv, dx, above=0):
    """Gradient of `conv_relu` with respect to x: dy where y was positive, else 0, through the convolution.

    Parameters
    ----------
    dy : ndarray, (N, H', W', K)
    mask : ndarray, (N, H', W', ceil(K / 8)) uint8
    conv : Convolution
    dx : ndarray, (N, H, W, C)
        Result.
    above : int
        Rows of dy above those that dx belongs to, if dx is a strip of the whole.
    """
    if conv.fuses_pool:
        _convolve_back(dy, above, mask, winograd.MASKED, conv, dx)
    else:
        lowering.backward(dy, above, mask, conv.filters, conv.size, conv.stride, conv.padding, dx)


def conv_relu_pool(x, conv, y, route, above=0):
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
    above : int
        Rows of x above those that y belongs to, if y is a strip of the whole.
    """
    shape = (len(x), 2 * y.shape[1], x.shape[2])
    reading, writing = winograd.PLAIN, winograd.POOL
    winograd.convolve(x, above, _NOTHING, reading, conv.filters, False, conv.bias, writing, shape, y, route)


def conv_relu_pool_backward(dy, route, conv, dx, above=0):
    """Gradient of `conv_relu_pool` with respect to x.

    Parameters
    ----------
    dy : ndarray, (N, H // 2, W // 2, K)
    route : ndarray, (N, H // 2, W // 2, K) uint8
    conv : Convolution
    dx : ndarray, (N, H, W, C)
        Result.
    above : int
        Rows of the map before the pool, an even number, that dy has above those that dx belongs to, if dx is a strip
        of the whole.
    """
    _convolve_back(dy, above, route, winograd.ROUTED, conv, dx)


def _convolve_back(dy, above, gate, reading, conv, dx):
    shape = dx.shape[:3]
    winograd.convolve(dy, above, gate, reading, conv.filters, True, conv.bias, winograd.SUM, shape, dx, _NOTHING)


max_pool = pools.max_pool
max_pool_backward = pools.max_pool_backward
average_pool = pools.average_pool
average_pool_backward = pools.average_pool_backward
gram = features.gram
gram_backward = features.gram_backward
gram_scratch_bytes = features.gram_scratch_bytes
channel_sums = features.channel_sums
channel_sums_backward = features.channel_sums_backward
half_squared_distance = features.half_squared_distance
half_squared_distance_backward = features.half_squared_distance_backward
total_variation = features.total_variation
total_variation_backward = features.total_variation_backward
