"""The kernels on the CPU: Numba on all cores, in float32 or float64.

See `stylecore.kernels.backend` for what a backend is. Numba compiles a kernel when it is first used, and the code is
kept on disk.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from stylecore.kernels.cpu import channels, features, lowering, narrow, padding, pools, winograd
from stylecore.kernels.cpu.runtime import allocate, empty, release_scratch
from stylecore.kernels.reference import (
    STRIP_VALUES,
    add,
    available_bytes,
    download,
    dropout,
    dropout_backward,
    mean_squared_error,
    preprocess,
    preprocess_backward,
    sigmoid,
    sigmoid_backward,
    softmax_cross_entropy,
    upload,
)

__all__ = [
    "STRIP_VALUES",
    "Convolution",
    "add",
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
    "instance_norm",
    "instance_norm_backward",
    "max_pool",
    "max_pool_backward",
    "mean_squared_error",
    "pad_reflected",
    "pad_reflected_backward",
    "prepare",
    "preprocess",
    "preprocess_backward",
    "release_scratch",
    "row_sums",
    "scale_shift",
    "scratch_bytes",
    "sigmoid",
    "sigmoid_backward",
    "softmax_cross_entropy",
    "total_variation",
    "total_variation_backward",
    "upload",
    "upsample",
    "upsample_backward",
]

_NOTHING = np.empty((0, 0, 0, 0), np.uint8)


class Convolution(NamedTuple):
    """Filters and bias of a convolution in the form that the functions here take; made by `prepare`.

    Attributes
    ----------
    filters : tuple of ndarray
        As `winograd.pack_filters` arranged them, or for the forward and the backward pass `lowering.pack_filters`, or
        these and then those of `narrow.pack_filters`.
    bias : ndarray, (K,)
    size, stride, padding : int
    channels : tuple of int
        C and K, of the input and the output.
    way : {"winograd", "lowering", "narrow"}
        The module that computes `convolve` and its gradients.
    points : tuple
        What `winograd.convolve` takes in the functions that apply a ReLU, and in their gradients.
    """

    filters: tuple[np.ndarray, ...]
    bias: np.ndarray
    size: int
    stride: int
    padding: int
    channels: tuple[int, int]
    way: str
    points: tuple[float, ...]

    @property
    def fuses_pool(self) -> bool:
        """Whether `conv_relu_pool` accepts this convolution: those with padding that run by Winograd's algorithm."""
        return self.way == "winograd" and self.padding == 1


def prepare(filters: np.ndarray, bias: np.ndarray, stride: int, padding: int, dtype: DTypeLike) -> Convolution:
    """Bring a convolution into the form that the functions here take.

    Parameters
    ----------
    filters : ndarray, (k, k, C, K)
    bias : ndarray, (K,)
    stride, padding : int
    dtype : dtype
        float32 or float64, or "bfloat16": float32, with the products of Winograd's algorithm in bfloat16.

    Returns
    -------
    Convolution
    """
    size, _, inputs, outputs = filters.shape
    points: tuple[float, ...] = winograd.F6
    if str(dtype) == "bfloat16":
        dtype, points = np.float32, winograd.F4_BFLOAT16
    filters, bias = np.asarray(filters, dtype), np.ascontiguousarray(bias, dtype)
    packed: tuple[np.ndarray, ...]
    if (size, stride) == (3, 1) and padding <= 1 and inputs % 16 == 0 and outputs % 16 == 0:
        way, packed = "winograd", (winograd.pack_filters(filters),)
    elif stride == 1 and padding < size and narrow.suits(size, outputs, dtype):
        way, packed = "narrow", lowering.pack_filters(filters) + narrow.pack_filters(filters)
    else:
        way, packed = "lowering", lowering.pack_filters(filters)
    return Convolution(packed, bias, size, stride, padding, (inputs, outputs), way, points)


def scratch_bytes(conv: Convolution, positions: tuple[int, ...]) -> int:
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
    if conv.way == "winograd":
        inputs, outputs = conv.channels
        size = max(
            winograd.scratch_size(conv.points, inputs, outputs, positions),
            winograd.scratch_size(conv.points, outputs, inputs, positions),
        )
    else:
        size = lowering.scratch_size(conv.filters, conv.channels[0], conv.size, conv.stride, positions[2])
    return size * conv.bias.itemsize


def conv_relu(x: np.ndarray, conv: Convolution, y: np.ndarray, mask: np.ndarray, above: int = 0) -> None:
    """Convolve, add the bias and apply the ReLU: y = max(x * filters + bias, 0).

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    conv : Convolution
    y : ndarray, (N, H', W', K)
        Result, H' = (H + 2 padding - k) // stride + 1.
    mask : ndarray, (N, H', W', ceil(K / 8)) uint8
        Result: where y is positive.
    above : int
        Rows of the halo above, if y is a strip: rows of x above those at the position of y.
    """
    if conv.way == "winograd":
        how = winograd.PLAIN, conv.filters[0], False, conv.bias, winograd.RELU
        winograd.convolve(conv.points, x, above, conv.padding, _NOTHING, *how, y.shape[:3], y, mask)
    else:
        lowering.forward(x, above, conv.filters[0], conv.bias, conv.size, conv.stride, conv.padding, y, mask)


def conv_relu_backward(dy: np.ndarray, mask: np.ndarray, conv: Convolution, dx: np.ndarray, above: int = 0) -> None:
    """Gradient of `conv_relu` with respect to x: dy where y was positive, else 0, back through the convolution.

    Parameters
    ----------
    dy : ndarray, (N, H', W', K)
    mask : ndarray, (N, H', W', ceil(K / 8)) uint8
    conv : Convolution
    dx : ndarray, (N, H, W, C)
        Result.
    above : int
        Rows of the halo of dy above, if dx is a strip.
    """
    if conv.way == "winograd":
        _convolve_backward(dy, above, mask, winograd.MASKED, conv, dx, conv.points)
    else:
        lowering.backward(dy, above, mask, conv.filters[1], conv.size, conv.stride, conv.padding, dx)


def conv_relu_pool(x: np.ndarray, conv: Convolution, y: np.ndarray, route: np.ndarray, above: int = 0) -> None:
    """`conv_relu` and a 2 x 2 max pool with stride 2 in one, without the map between them.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    conv : Convolution
        With ``fuses_pool``.
    y : ndarray, (N, H // 2, W // 2, K)
        Result.
    route : ndarray, (N, H // 2, W // 2, K) uint8
        Result: where each maximum was, or `BLOCKED` where it was not positive.
    above : int
        Rows of the halo above, if y is a strip.
    """
    positions = (len(x), 2 * y.shape[1], x.shape[2])
    how = winograd.PLAIN, conv.filters[0], False, conv.bias, winograd.POOL
    winograd.convolve(conv.points, x, above, conv.padding, _NOTHING, *how, positions, y, route)


def conv_relu_pool_backward(
    dy: np.ndarray, route: np.ndarray, conv: Convolution, dx: np.ndarray, above: int = 0
) -> None:
    """Gradient of `conv_relu_pool` with respect to x.

    Parameters
    ----------
    dy : ndarray, (N, H // 2, W // 2, K)
    route : ndarray, (N, H // 2, W // 2, K) uint8
    conv : Convolution
    dx : ndarray, (N, H, W, C)
        Result.
    above : int
        Rows of the halo above in the map before the pool, an even number, if dx is a strip.
    """
    _convolve_backward(dy, above, route, winograd.ROUTED, conv, dx, conv.points)


def _convolve_backward(dy, above, gate, reading, conv, dx, points):
    how = reading, conv.filters[0], True, conv.bias, winograd.SUM
    winograd.convolve(points, dy, above, 2 - conv.padding, gate, *how, dx.shape[:3], dx, _NOTHING)


def convolve(x: np.ndarray, conv: Convolution, y: np.ndarray) -> None:
    """Convolve without bias: y = x * filters.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    conv : Convolution
    y : ndarray, (N, H', W', K)
        Result.
    """
    if conv.way == "winograd":
        how = winograd.PLAIN, conv.filters[0], False, conv.bias, winograd.SUM
        # The maps in training have few positions, which suit the small tile.
        winograd.convolve(winograd.F4, x, 0, conv.padding, _NOTHING, *how, y.shape[:3], y, _NOTHING)
    elif conv.way == "narrow":
        narrow.forward(x, conv.filters[2], conv.size, conv.padding, y)
    else:
        lowering.forward(x, 0, conv.filters[0], conv.bias, conv.size, conv.stride, conv.padding, y, _NOTHING)


def convolve_backward(dy: np.ndarray, conv: Convolution, dx: np.ndarray) -> None:
    """Gradient of `convolve` with respect to x.

    Parameters
    ----------
    dy : ndarray, (N, H', W', K)
    conv : Convolution
    dx : ndarray, (N, H, W, C)
        Result.
    """
    if conv.way == "winograd":
        _convolve_backward(dy, 0, _NOTHING, winograd.PLAIN, conv, dx, winograd.F4)
    elif conv.way == "narrow":
        # As there are few outputs, the rotated filters make a convolution of few inputs.
        lowering.forward(dy, 0, conv.filters[3], conv.bias, conv.size, 1, conv.size - 1 - conv.padding, dx, _NOTHING)
    else:
        lowering.backward(dy, 0, _NOTHING, conv.filters[1], conv.size, conv.stride, conv.padding, dx)


def convolve_backward_filters(x: np.ndarray, dy: np.ndarray, conv: Convolution, dfilters: np.ndarray) -> None:
    """Gradient of `convolve` with respect to the filters; that of a bias added to y is the sum of dy.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    dy : ndarray, (N, H', W', K)
    conv : Convolution
    dfilters : ndarray, (k, k, C, K)
        Result.
    """
    if conv.way == "winograd":
        winograd.filters_gradient(x, dy, conv.padding, dfilters)
    elif conv.way == "narrow":
        narrow.filters_gradient(x, dy, conv.size, conv.padding, dfilters)
    else:
        lowering.filters_gradient(x, dy, conv.size, conv.stride, conv.padding, dfilters)


# The functions of the few outputs of a network are as fast in NumPy: they are the reference's, imported above, and
# compute in the precision of the arrays.

# A dense layer is a 1 x 1 convolution of a map that is one row of positions, one for each element of the batch.


def dense(x: np.ndarray, weights: np.ndarray, bias: np.ndarray, y: np.ndarray) -> None:
    """Apply a dense layer: y = x weights + bias.

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


def dense_backward(
    dy: np.ndarray, x: np.ndarray, weights: np.ndarray, dx: np.ndarray, dweights: np.ndarray, dbias: np.ndarray
) -> None:
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


# The other functions of the contract.
batch_norm_relu = channels.batch_norm_relu
batch_norm_relu_backward = channels.batch_norm_relu_backward
instance_norm = channels.instance_norm
instance_norm_backward = channels.instance_norm_backward
row_sums = channels.row_sums
scale_shift = channels.scale_shift
pad_reflected = padding.pad_reflected
pad_reflected_backward = padding.pad_reflected_backward
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
