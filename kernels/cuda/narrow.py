"""Convolution with few output channels and stride 1, such as the last one of a painter: 9 x 9 with three outputs.

Most columns of a tile of `lowering.forward` would be unused, and the contributions in `lowering.backward` would be many
times as large as the map. So input and output exchange their roles: forward, the filters rotated by 180 degrees make a
convolution whose gradient this is, and backward a convolution of few inputs.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from stylecore.kernels.cuda import lowering
from stylecore.kernels.cuda.arrays import Array
from stylecore.kernels.cuda.product import ZERO
from stylecore.kernels.cuda.runtime import STRIDED, blocks_for, kernel

THREADS = 256

# The most channels of the output: an eighth of the columns of a tile.
OUTPUTS = 8


def accepts(filters: np.ndarray, stride: int, padding: int) -> bool:
    """Whether a convolution with these filters, (k, k, C, K), is computed faster here than by `lowering`."""
    size, _, inputs, outputs = filters.shape
    return stride == 1 and padding < size and outputs <= OUTPUTS and outputs < inputs


def pack_filters(filters: np.ndarray) -> tuple[Array, Array]:
    """Arrange filters as `forward` and `backward` read them.

    Parameters
    ----------
    filters : ndarray, (k, k, C, K)

    Returns
    -------
    forward, backward : Array
        Those of `lowering.pack_filters` for the rotated filters, in reverse.
    """
    backward, forward = lowering.pack_filters(filters[::-1, ::-1].transpose(0, 1, 3, 2))
    return forward, backward


def forward(x: Array, filters: Array, size: int, padding: int, y: Array) -> None:
    """Convolve without bias: y = x * filters.

    Parameters
    ----------
    x : Array, (N, H, W, C)
    filters : Array
        The first of `pack_filters`.
    size, padding : int
    y : Array, (N, H', W', K)
        Result, H' = H + 2 padding - size + 1.
    """
    lowering.backward(x, 0, None, filters, size, 1, size - 1 - padding, y)


def backward(dy: Array, filters: Array, bias: Array, size: int, padding: int, dx: Array) -> None:
    """Gradient with respect to x, given the gradient with respect to y of `forward`.

    Parameters
    ----------
    dy : Array, (N, H', W', K)
    filters : Array
        The second of `pack_filters`.
    bias : Array
        Not used.
    size, padding : int
    dx : Array, (N, H, W, C)
        Result.
    """
    lowering.forward(dy, 0, filters, bias, size, 1, size - 1 - padding, dx, None)


@kernel(THREADS)
def _add_rotated(sums, parts, taps, inputs, outputs, total):
    """Add the parts (k, k, K, C) of the rotated filters to (k, k, C, K)."""
    for i in range(cuda.grid(1), total.size, cuda.gridsize(1)):
        tap, c, k = i // outputs // inputs, i // outputs % inputs, i % outputs
        at = ((taps - 1 - tap) * outputs + k) * inputs + c
        value = ZERO
        for part in range(parts):
            value += sums[part * total.size + at]
        total[i] = value


def filters_gradient(x: Array, dy: Array, size: int, padding: int, dfilters: Array) -> None:
    """Gradient of the convolution with respect to its filters.

    Parameters
    ----------
    x : Array, (N, H, W, C)
    dy : Array, (N, H', W', K)
        Gradient with respect to the result of the convolution.
    size, padding : int
    dfilters : Array, (k, k, C, K)
        Result.
    """
    sums = lowering.sums_over_parts(dy, x, size, 1, size - 1 - padding)
    _add_rotated[blocks_for(dfilters.size, THREADS, STRIDED), THREADS](
        sums.flat, len(sums), size * size, *dfilters.shape[2:], dfilters.flat
    )
