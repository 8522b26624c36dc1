"""Reflection padding, of a map or of one that is upsampled at the same time; and upsampling alone, which pads nothing.

Each thread computes one number of the result, in the backward pass by gathering: so a sum has one order, and nothing is
added to memory that other threads add to.
"""

from __future__ import annotations

from numba import cuda

from stylecore.kernels.cuda.arrays import Array
from stylecore.kernels.cuda.pools import split
from stylecore.kernels.cuda.product import ZERO
from stylecore.kernels.cuda.runtime import STRIDED, blocks_for, device_function, kernel

THREADS = 256


@device_function
def reflected(i, length):
    """The position that position i outside of a map shows: its mirror image about the first or the last one."""
    return length - 1 - abs(length - 1 - abs(i))


@kernel(THREADS)
def _pad_reflected(x, x_height, x_width, channels, padding, factor, top, begin, height, y_height, y_width, y):
    for item in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        n, i, j, c = split(item, channels, y_width, y_height)
        row = reflected(top + i - padding, height) // factor - begin
        column = reflected(j - padding, factor * x_width) // factor
        y[item] = x[((n * x_height + row) * x_width + column) * channels + c]


def pad_reflected(
    x: Array, padding: int, factor: int, y: Array, top: int = 0, begin: int = 0, height: int | None = None
) -> None:
    """Repeat each position factor x factor times, then reflect the map at its borders.

    Parameters
    ----------
    x : Array, (N, H, W, C)
    padding : int
        Rows and columns to add on each side; fewer than the upsampled map has.
    factor : int
    y : Array, (N, factor H + 2 padding, factor W + 2 padding, C)
        Result, or a strip of it.
    top : int
        Row of the whole result that y begins with, if it is a strip.
    begin : int
        Row of the whole map that x begins with, if it holds no more than the strip depends on.
    height : int, optional
        Rows of the whole map; by default those of x.
    """
    whole = factor * (x.shape[1] if height is None else height)
    _pad_reflected[blocks_for(y.size, THREADS, STRIDED), THREADS](
        x.flat, *x.shape[1:], padding, factor, top, begin, whole, *y.shape[1:3], y.flat
    )


@device_function
def shown_at(row, way, length, padding):
    """The row of a padded map that shows a row: directly, or reflected at the first or the last one; -1 if none does.

    `length` is that of the map; `way` is 0, 1 or 2.
    """
    place = row if way == 0 else (-row if way == 1 else 2 * (length - 1) - row)
    outside = place < 0 or place >= length
    return place + padding if outside == (way > 0) and place >= -padding and place < length + padding else -1


@kernel(THREADS)
def _pad_reflected_backward(dy, dy_height, dy_width, channels, padding, factor, height, width, dx):
    for item in range(cuda.grid(1), dx.size, cuda.gridsize(1)):
        n, i, j, c = split(item, channels, width, height)
        total = ZERO
        for row in range(3 * i * factor, 3 * (i + 1) * factor):
            p = shown_at(row // 3, row % 3, factor * height, padding)
            for column in range(3 * j * factor, 3 * (j + 1) * factor):
                q = shown_at(column // 3, column % 3, factor * width, padding)
                if p >= 0 and q >= 0:
                    total += dy[((n * dy_height + p) * dy_width + q) * channels + c]
        dx[item] = total


def pad_reflected_backward(dy: Array, padding: int, factor: int, dx: Array) -> None:
    """Gradient of `pad_reflected`: the sum of the gradients of all that shows a position.

    Parameters
    ----------
    dy : Array, (N, factor H + 2 padding, factor W + 2 padding, C)
    padding, factor : int
    dx : Array, (N, H, W, C)
        Result.
    """
    _pad_reflected_backward[blocks_for(dx.size, THREADS, STRIDED), THREADS](
        dy.flat, *dy.shape[1:], padding, factor, *dx.shape[1:3], dx.flat
    )


def upsample(x: Array, factor: int, y: Array) -> None:
    """Repeat each position factor x factor times.

    Parameters
    ----------
    x : Array, (N, H, W, C)
    factor : int
    y : Array, (N, factor H, factor W, C)
        Result.
    """
    pad_reflected(x, 0, factor, y)


def upsample_backward(dy: Array, factor: int, dx: Array) -> None:
    """Gradient of `upsample`: the sum of the gradients of a position's copies.

    Parameters
    ----------
    dy : Array, (N, factor H, factor W, C)
    factor : int
    dx : Array, (N, H, W, C)
        Result.
    """
    pad_reflected_backward(dy, 0, factor, dx)
