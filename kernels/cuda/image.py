"""The functions of the image itself, (H, W, 3): preprocessing and its gradient, and the total variation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import cuda, float64
from numpy.typing import ArrayLike

from stylecore.kernels.cuda.arrays import Array, download, scratch
from stylecore.kernels.cuda.features import SUM_BLOCKS, SUM_NUMBERS, sum_block
from stylecore.kernels.cuda.product import ZERO
from stylecore.kernels.cuda.runtime import STRIDED, blocks_for, kernel

THREADS = 256


@kernel(THREADS)
def _preprocess(image, order, scale, shift, out):
    for pixel in range(cuda.grid(1), image.size // 3, cuda.gridsize(1)):
        at = 3 * pixel
        out[at] = image[at + order[0]] * scale[0] - shift[0]
        out[at + 1] = image[at + order[1]] * scale[1] - shift[1]
        out[at + 2] = image[at + order[2]] * scale[2] - shift[2]


@kernel(THREADS)
def _preprocess_backward(gradient, order, scale):
    for pixel in range(cuda.grid(1), gradient.size // 3, cuda.gridsize(1)):
        at = 3 * pixel
        a, b, c = gradient[at] * scale[0], gradient[at + 1] * scale[1], gradient[at + 2] * scale[2]
        gradient[at + order[0]] = a
        gradient[at + order[1]] = b
        gradient[at + order[2]] = c


def preprocess(image: Array, order: Sequence[int], scale: ArrayLike, shift: ArrayLike, out: Array) -> None:
    """Input of the network for an image: its channels reordered, scaled and shifted.

    Parameters
    ----------
    image : Array, (H, W, 3)
    order : sequence of int
        The channel of the image that each input channel of the network is; a permutation that is its own inverse.
    scale, shift : ndarray, (3,)
    out : Array, (1, H, W, 3)
        Result: scale x - shift.
    """
    blocks = blocks_for(image.size // 3, THREADS, STRIDED)
    _preprocess[blocks, THREADS](image.flat, _integers(order), _numbers(scale), _numbers(shift), out.flat)


def preprocess_backward(gradient: Array, order: Sequence[int], scale: ArrayLike) -> Array:
    """Gradient with respect to the image, given that with respect to the input of the network.

    Parameters
    ----------
    gradient : Array, (1, H, W, 3)
        Overwritten.
    order : sequence of int
    scale : ndarray, (3,)

    Returns
    -------
    Array, (H, W, 3)
        In the memory of `gradient`.
    """
    blocks = blocks_for(gradient.size // 3, THREADS, STRIDED)
    _preprocess_backward[blocks, THREADS](gradient.flat, _integers(order), _numbers(scale))
    return gradient.reshape(*gradient.shape[1:])


def _integers(values):
    return tuple(int(value) for value in values)


def _numbers(values):
    return tuple(np.float32(value) for value in values)


@kernel(THREADS)
def _total_variation(x, height, row, channels, sums):
    shared = cuda.shared.array(THREADS, float64)
    total = 0.0
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        if i % row < row - channels:
            right = x[i + channels] - x[i]
            total += float64(right * right)
        if i < (height - 1) * row:
            down = x[i + row] - x[i]
            total += float64(down * down)
    sum_block(total, shared, sums)


def total_variation(x: Array) -> float:
    """Half the sum of squared differences between vertical and horizontal neighbours (paper, section 5.4).

    Parameters
    ----------
    x : Array, (H, W, C)

    Returns
    -------
    float
        Summed in float64.
    """
    height, width, channels = x.shape
    blocks = blocks_for(x.size, THREADS * SUM_NUMBERS, SUM_BLOCKS)
    sums = scratch(blocks, dtype=np.float64)
    _total_variation[blocks, THREADS](x.flat, height, width * channels, channels, sums.flat)
    return 0.5 * float(download(sums).sum())


@kernel(THREADS)
def _total_variation_backward(x, height, row, channels, scale, gradient):
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        value = x[i]
        total = ZERO
        if i % row >= channels:
            total += value - x[i - channels]
        if i % row < row - channels:
            total -= x[i + channels] - value
        if i >= row:
            total += value - x[i - row]
        if i < (height - 1) * row:
            total -= x[i + row] - value
        gradient[i] += scale * total


def total_variation_backward(x: Array, scale: float, gradient: Array) -> None:
    """Add scale times the gradient of `total_variation` to `gradient` in place.

    Parameters
    ----------
    x, gradient : Array, (H, W, C)
    scale : float
    """
    height, width, channels = x.shape
    blocks = blocks_for(x.size, THREADS, STRIDED)
    _total_variation_backward[blocks, THREADS](
        x.flat, height, width * channels, channels, np.float32(scale), gradient.flat
    )
