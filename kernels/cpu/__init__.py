"""The kernels on the CPU: Numba on all cores, in float32 or float64.

See `stylecore.kernels` for what a backend is. Numba compiles a kernel at its first use and keeps the result on
disk.
"""

from typing import NamedTuple

import numpy as np

from stylecore.kernels.cpu import channels, features, lowering, pools, winograd
from stylecore.kernels.cpu.runtime import allocate, empty, release_scratch
from stylecore.kernels.reference import (
    STRIP_VALUES,
    available_bytes,
    download,
    dropout,
    dropout_backward,
    mean_squared_error,
    preprocess,
    preprocess_backward,
    softmax_cross_entropy,
    upload,
)

__all__ = [
    "STRIP_VALUES",
    "Convolution",
    "allocate",
    "available_bytes",
    "average_pool",
    "average_pool_backward",
    "batch_norm_relu",
    "batch_norm_relu_backward",
    "bias_relu",
    "bias_relu_backward",
    "channel_sums",
    "channel_sums_backward",
    "conv_relu",
    "conv_relu_backward",
    "conv_relu_pool",
    "conv_relu_pool_backward",
    "convolve",
    "convolve_backward",
    "convolve_backward_filters",
    "dense",
    "dense_backward",
    "download",
    "dropout",
    "dropout_backward",
    "empty",
    "gram",
    "gram_backward",
    "gram_scratch_bytes",
    "half_squared_distance",
    "half_squared_distance_backward",
    "max_pool",
    "max_pool_backward",
    "mean_squared_error",
    "prepare",
    "preprocess",
    "preprocess_backward",
    "release_scratch",
    "scratch_bytes",
    "softmax_cross_entropy",
    "total_variation",
    "total_variation_backward",
    "upload",
    "upsample",
    "upsample_backward",
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
        size = max(winograd.scratch_size(winograd.F6, *way, positions) for way in (conv.channels, conv.channels[::-1]))
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
        way = reading, conv.filters, False, conv.bias, writing
        winograd.convolve(winograd.F6, x, above, _NOTHING, *way, y.shape[:3], y, mask)
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
    way = reading, conv.filters, False, conv.bias, writing
    winograd.convolve(winograd.F6, x, above, _NOTHING, *way, shape, y, route)


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


def _convolve_back(dy, above, gate, reading, conv, dx, points=winograd.F6):
    way = reading, conv.filters, True, conv.bias, winograd.SUM
    winograd.convolve(points, dy, above, gate, *way, dx.shape[:3], dx, _NOTHING)


def convolve(x, conv, y):
    """The sum of a convolution alone, without bias: y = x * filters.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    conv : Convolution
    y : ndarray, (N, H', W', K)
        Result.
    """
    if conv.fuses_pool:
        way = winograd.PLAIN, conv.filters, False, conv.bias, winograd.SUM
        # What is trained on has maps of a few positions, which suit the small tile.
        winograd.convolve(winograd.F4, x, 0, _NOTHING, *way, y.shape[:3], y, _NOTHING)
    else:
        lowering.forward(x, 0, conv.filters, conv.bias, conv.size, conv.stride, conv.padding, y, _NOTHING)


def convolve_backward(dy, conv, dx):
    """Gradient of `convolve` with respect to x.

    Parameters
    ----------
    dy : ndarray, (N, H', W', K)
    conv : Convolution
    dx : ndarray, (N, H, W, C)
        Result.
    """
    if conv.fuses_pool:
        _convolve_back(dy, 0, _NOTHING, winograd.PLAIN, conv, dx, winograd.F4)
    else:
        lowering.backward(dy, 0, _NOTHING, conv.filters, conv.size, conv.stride, conv.padding, dx)


def convolve_backward_filters(x, dy, conv, dfilters):
    """Gradient of `convolve` with respect to the filters; that of a bias added to y is the sum of dy.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    dy : ndarray, (N, H', W', K)
    conv : Convolution
    dfilters : ndarray, (k, k, C, K)
        Result.
    """
    if conv.fuses_pool:
        winograd.filters_gradient(x, dy, dfilters)
    else:
        lowering.filters_gradient(x, dy, conv.size, conv.stride, conv.padding, dfilters)


# What is done to the outputs of a network alone, few as they are, is done as fast by NumPy: these are the reference's,
# imported above, in the arrays' own precision.

# A dense layer is a 1 x 1 convolution of a map that is one row of positions, a position an element of the batch.


def dense(x, weights, bias, y):
    """A dense layer: y = x weights + bias.

    Parameters
    ----------
    x : ndarray, (N, C)
    weights : ndarray, (C, K)
    bias : ndarray, (K,)
    y : ndarray, (N, K)
        Result.
    """
    convolve(x[None, None], prepare(weights[None, None], bias, 1, 0, x.dtype), y[None, None])
    y += bias


def dense_backward(dy, x, weights, dx, dweights, dbias):
    """Gradient of `dense` with respect to x, weights and bias.

    Parameters
    ----------
    dy : ndarray, (N, K)
    x : ndarray, (N, C)
    weights : ndarray, (C, K)
    dx, dweights, dbias : ndarray
        Results, of the shapes of x, weights and bias.
    """
    conv = prepare(weights[None, None], dbias, 1, 0, x.dtype)
    convolve_backward(dy[None, None], conv, dx[None, None])
    convolve_backward_filters(x[None, None], dy[None, None], conv, dweights[None, None])
    dbias[...] = dy.sum(axis=0)


batch_norm_relu = channels.batch_norm_relu
batch_norm_relu_backward = channels.batch_norm_relu_backward
bias_relu = channels.bias_relu
bias_relu_backward = channels.bias_relu_backward
upsample = pools.upsample
upsample_backward = pools.upsample_backward
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
