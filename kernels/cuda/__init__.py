"""The kernels on an NVIDIA GPU, by numba.cuda, in float32.

See `stylecore.kernels.backend` for what a backend is; the arrays here are those of `arrays`, in device memory. Numba
compiles a kernel when it is first used, and the code is kept on disk. Kernels run one after the other, and a function
returns before its kernels have finished, unless it returns a number.
"""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

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

STRIP_VALUES = 2**25
"""Values of a strip of a feature map: so many that computing them takes longer than launching the kernels."""


class Convolution(NamedTuple):
    """Filters and bias of a convolution in the form that the functions here take; made by `prepare`.

    Attributes
    ----------
    filters : tuple of Array
        For the forward and the backward pass, as ``algorithm.pack_filters`` arranged them.
    bias : Array, (K,)
    size, stride, padding : int
    channels : tuple of int
        C and K, of the input and the output.
    algorithm : module
        `winograd`, `first` or `lowering`.
    """

    filters: tuple[Array, Array]
    bias: Array
    size: int
    stride: int
    padding: int
    channels: tuple[int, int]
    algorithm: ModuleType

    @property
    def fuses_pool(self) -> bool:
        """Whether `conv_relu_pool` accepts this convolution: those that run by Winograd's algorithm."""
        return self.algorithm is winograd


def prepare(filters: np.ndarray, bias: np.ndarray, stride: int, padding: int, dtype: DTypeLike) -> Convolution:
    """Bring a convolution into the form that the functions here take, in device memory.

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
    size, _, inputs, outputs = filters.shape
    algorithm: ModuleType
    if (size, stride, padding) == (3, 1, 1) and inputs % 16 == 0 and outputs % 16 == 0:
        algorithm = winograd
    else:
        algorithm = first if first.accepts(filters, stride, padding) else lowering
    packed, device_bias = algorithm.pack_filters(filters), upload(np.asarray(bias, dtype))
    return Convolution(packed, device_bias, size, stride, padding, (inputs, outputs), algorithm)


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
    if conv.algorithm is winograd:
        return 4 * winograd.scratch_size(*conv.channels, positions)
    return 4 * lowering.scratch_size(conv.filters[1], positions) if conv.algorithm is lowering else 0


def conv_relu(x: Array, conv: Convolution, y: Array, mask: Array, above: int = 0) -> None:
    """Convolve, add the bias and apply the ReLU: y = max(x * filters + bias, 0).

    Parameters
    ----------
    x : Array, (N, H, W, C)
    conv : Convolution
    y : Array, (N, H', W', K)
        Result, H' = (H + 2 padding - k) // stride + 1.
    mask : Array, (N, H', W', ceil(K / 8)) uint8
        Result: where y is positive.
    above : int
        Rows of the halo above, if y is a strip: rows of x above those at the position of y.
    """
    filters, _ = conv.filters
    if conv.algorithm is winograd:
        reading, writing = winograd.PLAIN, winograd.RELU
        winograd.convolve(x, above, mask, reading, filters, conv.bias, writing, y.shape[:3], y, mask)
    elif conv.algorithm is first:
        first.forward(x, above, filters, conv.bias, y, mask)
    else:
        lowering.forward(x, above, filters, conv.bias, conv.size, conv.stride, conv.padding, y, mask)


def conv_relu_backward(dy: Array, mask: Array, conv: Convolution, dx: Array, above: int = 0) -> None:
    """Gradient of `conv_relu` with respect to x: dy where y was positive, else 0, back through the convolution.

    Parameters
    ----------
    dy : Array, (N, H', W', K)
    mask : Array, (N, H', W', ceil(K / 8)) uint8
    conv : Convolution
    dx : Array, (N, H, W, C)
        Result.
    above : int
        Rows of the halo of dy above, if dx is a strip.
    """
    _, filters = conv.filters
    if conv.algorithm is winograd:
        _convolve_backward(dy, above, mask, winograd.MASKED, conv, dx)
    elif conv.algorithm is first:
        first.backward(dy, above, mask, filters, dx)
    else:
        lowering.backward(dy, above, mask, filters, conv.size, conv.stride, conv.padding, dx)


def conv_relu_pool(x: Array, conv: Convolution, y: Array, route: Array, above: int = 0) -> None:
    """`conv_relu` and a 2 x 2 max pool with stride 2 in one, without the map between them.

    Parameters
    ----------
    x : Array, (N, H, W, C)
    conv : Convolution
        With ``fuses_pool``.
    y : Array, (N, H // 2, W // 2, K)
        Result.
    route : Array, (N, H // 2, W // 2, K) uint8
        Result: where each maximum was, or `BLOCKED` where it was not positive.
    above : int
        Rows of the halo above, if y is a strip.
    """
    positions = (len(x), 2 * y.shape[1], x.shape[2])
    reading, writing = winograd.PLAIN, winograd.POOL
    winograd.convolve(x, above, route, reading, conv.filters[0], conv.bias, writing, positions, y, route)


def conv_relu_pool_backward(dy: Array, route: Array, conv: Convolution, dx: Array, above: int = 0) -> None:
    """Gradient of `conv_relu_pool` with respect to x.

    Parameters
    ----------
    dy : Array, (N, H // 2, W // 2, K)
    route : Array, (N, H // 2, W // 2, K) uint8
    conv : Convolution
    dx : Array, (N, H, W, C)
        Result.
    above : int
        Rows of the halo above in the map before the pool, an even number, if dx is a strip.
    """
    _convolve_backward(dy, above, route, winograd.ROUTED, conv, dx)


def _convolve_backward(dy, above, gate, reading, conv, dx):
    writing = winograd.SUM
    winograd.convolve(dy, above, gate, reading, conv.filters[1], conv.bias, writing, dx.shape[:3], dx, gate)


# The other functions of the contract.
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
