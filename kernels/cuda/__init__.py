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

from stylecore.kernels.cuda import (
    channels,
    features,
    first,
    image,
    lowering,
    narrow,
    padding,
    pointwise,
    pools,
    winograd,
)
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
    "add",
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
    "convolve",
    "convolve_backward",
    "convolve_backward_filters",
    "download",
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
    "pad_reflected",
    "pad_reflected_backward",
    "prepare",
    "preprocess",
    "preprocess_backward",
    "release_scratch",
    "row_sums",
    "scale_shift",
    "scratch_bytes",
    "select",
    "sigmoid",
    "sigmoid_backward",
    "total_variation",
    "total_variation_backward",
    "upload",
    "upsample",
    "upsample_backward",
]

STRIP_VALUES = 2**25
"""Values of a strip of a feature map: so many that computing them takes longer than launching the kernels."""


class Convolution(NamedTuple):
    """Filters and bias of a convolution in the form that the functions here take; made by `prepare`.

    Attributes
    ----------
    filters, plain_filters : tuple of Array
        For the forward and the backward pass, as ``pack_filters`` of the algorithms arranged them.
    bias : Array, (K,)
    size, stride, padding : int
    channels : tuple of int
        C and K, of the input and the output.
    algorithm : module
        `winograd`, `first` or `lowering`.
    plain_algorithm : module
        That of `convolve` and its gradients, which add no bias and have no ReLU: `winograd`, `narrow` or `lowering`.
    """

    filters: tuple[Array, Array]
    plain_filters: tuple[Array, Array]
    bias: Array
    size: int
    stride: int
    padding: int
    channels: tuple[int, int]
    algorithm: ModuleType
    plain_algorithm: ModuleType

    @property
    def fuses_pool(self) -> bool:
        """Whether `conv_relu_pool` accepts this convolution: those with padding that run by Winograd's algorithm."""
        return self.algorithm is winograd and self.padding == 1


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
    plain: ModuleType
    if (size, stride) == (3, 1) and padding <= 1 and inputs % 16 == 0 and outputs % 16 == 0:
        algorithm = plain = winograd
    else:
        algorithm = first if first.accepts(filters, stride, padding) else lowering
        plain = narrow if narrow.accepts(filters, stride, padding) else lowering
    packed = algorithm.pack_filters(filters)
    plain_packed = packed if plain is algorithm else plain.pack_filters(filters)
    device_bias, channels = upload(np.asarray(bias, dtype)), (inputs, outputs)
    return Convolution(packed, plain_packed, device_bias, size, stride, padding, channels, algorithm, plain)


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
        winograd.convolve(x, above, conv.padding, None, reading, filters, conv.bias, writing, y.shape[:3], y, mask)
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
    winograd.convolve(x, above, 1, None, reading, conv.filters[0], conv.bias, writing, positions, y, route)


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
    padding, writing = 2 - conv.padding, winograd.SUM
    winograd.convolve(dy, above, padding, gate, reading, conv.filters[1], conv.bias, writing, dx.shape[:3], dx, None)


def convolve(x: Array, conv: Convolution, y: Array) -> None:
    """Convolve without bias: y = x * filters.

    Parameters
    ----------
    x : Array, (N, H, W, C)
    conv : Convolution
    y : Array, (N, H', W', K)
        Result.
    """
    filters, _ = conv.plain_filters
    if conv.plain_algorithm is winograd:
        reading, writing = winograd.PLAIN, winograd.SUM
        winograd.convolve(x, 0, conv.padding, None, reading, filters, conv.bias, writing, y.shape[:3], y, None)
    elif conv.plain_algorithm is narrow:
        narrow.forward(x, filters, conv.size, conv.padding, y)
    else:
        lowering.forward(x, 0, filters, conv.bias, conv.size, conv.stride, conv.padding, y, None)


def convolve_backward(dy: Array, conv: Convolution, dx: Array) -> None:
    """Gradient of `convolve` with respect to x.

    Parameters
    ----------
    dy : Array, (N, H', W', K)
    conv : Convolution
    dx : Array, (N, H, W, C)
        Result.
    """
    _, filters = conv.plain_filters
    if conv.plain_algorithm is winograd:
        _convolve_backward(dy, 0, None, winograd.PLAIN, conv, dx)
    elif conv.plain_algorithm is narrow:
        narrow.backward(dy, filters, conv.bias, conv.size, conv.padding, dx)
    else:
        lowering.backward(dy, 0, None, filters, conv.size, conv.stride, conv.padding, dx)


def convolve_backward_filters(x: Array, dy: Array, conv: Convolution, dfilters: Array) -> None:
    """Gradient of `convolve` with respect to the filters; that of a bias added to y is the sum of dy.

    Parameters
    ----------
    x : Array, (N, H, W, C)
    dy : Array, (N, H', W', K)
    conv : Convolution
    dfilters : Array, (k, k, C, K)
        Result.
    """
    if conv.plain_algorithm is narrow:
        narrow.filters_gradient(x, dy, conv.size, conv.padding, dfilters)
    else:
        lowering.filters_gradient(x, dy, conv.size, conv.stride, conv.padding, dfilters)


# The other functions of the contract.
add = pointwise.add
sigmoid = pointwise.sigmoid
sigmoid_backward = pointwise.sigmoid_backward
instance_norm = channels.instance_norm
instance_norm_backward = channels.instance_norm_backward
row_sums = channels.row_sums
scale_shift = channels.scale_shift
pad_reflected = padding.pad_reflected
pad_reflected_backward = padding.pad_reflected_backward
upsample = padding.upsample
upsample_backward = padding.upsample_backward
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
