"""The kernels on an NVIDIA GPU, by numba.cuda, in float32.

See `stylecore.kernels` for what a backend is; the arrays here are those of `arrays`, in the device's memory. Numba
compiles a kernel at its first use and keeps the result on disk. Kernels run one after the other, and a function returns
before its kernel is done, unless it gives a number.
"""

from typing import NamedTuple

import numpy as np

from stylecore.kernels.cuda import features, first, image, lowering, pools, winograd
from stylecore.kernels.cuda.arrays import (
    Array,
    allocate,
    available_bytes,
    download,
    empty,
    release_scratch,
    select,
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
    "empty",
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
    "select",
    "total_variation",
    "total_variation_backward",
    "upload",
]

# So many that a strip keeps the device busy for longer than the launch of its kernels takes.
STRIP_VALUES = 2**25


class Convolution(NamedTuple):
    """Filters and bias of a convolution, as the functions here take them; made by `prepare`.

    Attributes
    ----------
    filters : tuple of Array
        For the way forward and for the way back, as `algorithm` has them.
    algorithm : module
        `winograd`, `first` or `lowering`.
    """

    filters: tuple
    bias: Array
    size: int
    stride: int
    padding: int
    channels: tuple
    algorithm: object

    @property
    def fuses_pool(self):
        """Whether `conv_relu_pool` takes it."""
        return self.algorithm is winograd


def prepare(filters, bias, stride, padding, dtype):
    """Bring a convolution into the form that the functions here take, onto the device.

    Parameters
    ----------
    filters : ndarray, (k, k, C, K)
    bias : ndarray, (K,)
    stride, padding : int
    dtype : dtype
        float32.

    Returns
    -------
    Convolution
    """
    filters = np.asarray(filters, dtype)
    size, _, *channels = filters.shape
    if (size, stride, padding) == (3, 1, 1) and not any(count % 16 for count in channels):
        algorithm = winograd
    else:
        algorithm = first if first.takes(filters, stride, padding) else lowering
    bias = upload(np.asarray(bias, dtype))
    return Convolution(algorithm.pack_filters(filters), bias, size, stride, padding, tuple(channels), algorithm)


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
    if conv.algorithm is winograd:
        return 4 * winograd.scratch_size(*conv.channels, positions)
    return 4 * lowering.scratch_size(conv.filters[1], positions) if conv.algorithm is lowering else 0


def conv_relu(x, conv, y, mask, above=0):
    """Convolve, add the bias and cut at zero: y = max(x * filters + bias, 0).

    Parameters
    ----------
    x : Array, (N, H, W, C)
    conv : Convolution
    y : Array, (N, H', W', K)
        Result, H' = (H + 2 padding - k) // stride + 1.
    mask : Array, (N, H', W', ceil(K / 8)) uint8
        Where y is positive.
    above : int
        Rows of x above those that y belongs to, if y is a strip of the whole: x then has its neighbours (halo) as well.
    """
    filters, _ = conv.filters
    if conv.algorithm is winograd:
        reading, writing = winograd.PLAIN, winograd.RELU
        winograd.convolve(x, above, mask, reading, filters, conv.bias, writing, y.shape[:3], y, mask)
    elif conv.algorithm is first:
        first.forward(x, above, filters, conv.bias, y, mask)
    else:
        lowering.forward(x, above, filters, conv.bias, conv.size, conv.stride, conv.padding, y, mask)


def conv_relu_backward(dy, mask, conv, dx, above=0):
    """Gradient of `conv_relu` with respect to x: dy where y was positive, else 0, through the convolution.

    Parameters
    ----------
    dy : Array, (N, H', W', K)
    mask : Array, (N, H', W', ceil(K / 8)) uint8
    conv : Convolution
    dx : Array, (N, H, W, C)
        Result.
    above : int
        Rows of dy above those that dx belongs to, if dx is a strip of the whole.
    """
    _, filters = conv.filters
    if conv.algorithm is winograd:
        _convolve_back(dy, above, mask, winograd.MASKED, conv, dx)
    elif conv.algorithm is first:
        first.backward(dy, above, mask, filters, dx)
    else:
        lowering.backward(dy, above, mask, filters, conv.size, conv.stride, conv.padding, dx)


def conv_relu_pool(x, conv, y, route, above=0):
    """`conv_relu` and a 2 x 2 max pool with stride 2 in one, without writing the map between them.

    Parameters
    ----------
    x : Array, (N, H, W, C)
    conv : Convolution
        One with ``fuses_pool``.
    y : Array, (N, H // 2, W // 2, K)
        Result.
    route : Array, (N, H // 2, W // 2, K) uint8
        Where each maximum stood, or BLOCKED where it was not positive.
    above : int
        Rows of x above those that y belongs to, if y is a strip of the whole.
    """
    positions = (len(x), 2 * y.shape[1], x.shape[2])
    reading, writing = winograd.PLAIN, winograd.POOL
    winograd.convolve(x, above, route, reading, conv.filters[0], conv.bias, writing, positions, y, route)


def conv_relu_pool_backward(dy, route, conv, dx, above=0):
    """Gradient of `conv_relu_pool` with respect to x.

    Parameters
    ----------
    dy : Array, (N, H // 2, W // 2, K)
    route : Array, (N, H // 2, W // 2, K) uint8
    conv : Convolution
    dx : Array, (N, H, W, C)
        Result.
    above : int
        Rows of the map before the pool, an even number, that dy has above those that dx belongs to, if dx is a strip
        of the whole.
    """
    _convolve_back(dy, above, route, winograd.ROUTED, conv, dx)


def _convolve_back(dy, above, gate, reading, conv, dx):
    writing = winograd.SUM
    winograd.convolve(dy, above, gate, reading, conv.filters[1], conv.bias, writing, dx.shape[:3], dx, gate)


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
preprocess = image.preprocess
preprocess_backward = image.preprocess_backward
total_variation = image.total_variation
total_variation_backward = image.total_variation_backward
