"""Pools over windows of size x size positions, and upsampling, each with its gradient.

A pool has no padding and drops the rows and columns that no whole window covers; their gradient is zero. Windows may
overlap (AlexNet's are 3 x 3 with stride 2), so the gradient is gathered: each row of the input sums the gradients of
the windows over it, and no two threads write to the same place.
"""

from __future__ import annotations

import numpy as np

from stylecore.kernels.cpu.runtime import for_each, kernel, subroutine


@subroutine
def _max_pool_row(line, x, size, stride, y, route):
    height, width, channels = y.shape[1:]
    n, i = line // height, line % height
    for j in range(width):
        best, routes, first = y[n, i, j], route[n, i, j], x[n, i * stride, j * stride]
        for c in range(channels):
            best[c] = first[c]
            routes[c] = 0
        for place in range(1, size * size):
            source = x[n, i * stride + place // size, j * stride + place % size]
            for c in range(channels):
                if source[c] > best[c]:
                    best[c] = source[c]
                    routes[c] = place


@subroutine
def _max_pool_2x2_row(line, x, y, route):
    """The same for windows of 2 x 2 that do not overlap, in loops that are vectorised: an eighth of the time."""
    height, width, channels = y.shape[1:]
    n, i = line // height, line % height
    for j in range(width):
        best, routes = y[n, i, j], route[n, i, j]
        above, below = x[n, 2 * i, 2 * j : 2 * j + 2], x[n, 2 * i + 1, 2 * j : 2 * j + 2]
        first, second, third, fourth = above[0], above[1], below[0], below[1]
        for c in range(channels):
            best[c] = max(max(first[c], second[c]), max(third[c], fourth[c]))
        for c in range(channels):
            lower = np.uint8(2) if third[c] == best[c] else np.uint8(3)
            upper = np.uint8(0) if first[c] == best[c] else np.uint8(1)
            routes[c] = upper if first[c] == best[c] or second[c] == best[c] else lower


@kernel
def max_pool(x: np.ndarray, size: int, stride: int, y: np.ndarray, route: np.ndarray) -> None:
    """Take the maximum of each window.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    size, stride : int
        From 1 to 15.
    y : ndarray, (N, H', W', C)
        Result, H' = (H - size) // stride + 1.
    route : ndarray, (N, H', W', C) uint8
        Result: where in its window each maximum was, counted row by row; the first of equal ones.
    """
    if size == 2 and stride == 2:
        for_each(y.shape[0] * y.shape[1], _max_pool_2x2_row, (x, y, route))
    else:
        for_each(y.shape[0] * y.shape[1], _max_pool_row, (x, size, stride, y, route))


@subroutine
def _max_pool_backward_row(line, dy, route, size, stride, dx):
    zero = dx.dtype.type(0)
    height, _, channels = dx.shape[1:]
    n, i = line // height, line % height
    dx[n, i] = zero
    for p in range(max(0, (i - size + stride) // stride), min(dy.shape[1], i // stride + 1)):
        for q in range(dy.shape[2]):
            source, routes = dy[n, p, q], route[n, p, q]
            for b in range(size):
                here = (i - p * stride) * size + b
                target = dx[n, i, q * stride + b]
                for c in range(channels):
                    target[c] += source[c] if routes[c] == here else zero


@kernel
def max_pool_backward(dy: np.ndarray, route: np.ndarray, size: int, stride: int, dx: np.ndarray) -> None:
    """Gradient of `max_pool`: the gradient of each maximum goes to where the maximum was.

    Parameters
    ----------
    dy : ndarray, (N, H', W', C)
    route : ndarray, (N, H', W', C) uint8
        As `max_pool` wrote it.
    size, stride : int
    dx : ndarray, (N, H, W, C)
        Result.
    """
    for_each(dx.shape[0] * dx.shape[1], _max_pool_backward_row, (dy, route, size, stride, dx))


@subroutine
def _average_pool_row(line, x, size, stride, y):
    height, width, channels = y.shape[1:]
    share = y.dtype.type(1 / (size * size))
    n, i = line // height, line % height
    for j in range(width):
        total = y[n, i, j]
        for c in range(channels):
            total[c] = 0
        for place in range(size * size):
            source = x[n, i * stride + place // size, j * stride + place % size]
            for c in range(channels):
                total[c] += source[c]
        for c in range(channels):
            total[c] *= share


@kernel
def average_pool(x: np.ndarray, size: int, stride: int, y: np.ndarray) -> None:
    """Take the mean of each window.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    size, stride : int
    y : ndarray, (N, H', W', C)
        Result, H' = (H - size) // stride + 1.
    """
    for_each(y.shape[0] * y.shape[1], _average_pool_row, (x, size, stride, y))


@subroutine
def _average_pool_backward_row(line, dy, size, stride, dx):
    height, _, channels = dx.shape[1:]
    share = dx.dtype.type(1 / (size * size))
    n, i = line // height, line % height
    dx[n, i] = dx.dtype.type(0)
    for p in range(max(0, (i - size + stride) // stride), min(dy.shape[1], i // stride + 1)):
        for q in range(dy.shape[2]):
            source = dy[n, p, q]
            for b in range(size):
                target = dx[n, i, q * stride + b]
                for c in range(channels):
                    target[c] += share * source[c]


@kernel
def average_pool_backward(dy: np.ndarray, size: int, stride: int, dx: np.ndarray) -> None:
    """Gradient of `average_pool`: the gradient of each window is divided evenly among its positions.

    Parameters
    ----------
    dy : ndarray, (N, H', W', C)
    size, stride : int
    dx : ndarray, (N, H, W, C)
        Result.
    """
    for_each(dx.shape[0] * dx.shape[1], _average_pool_backward_row, (dy, size, stride, dx))


@subroutine
def _upsample_row(line, x, factor, y):
    height, width, channels = y.shape[1:]
    n, i = line // height, line % height
    for j in range(width):
        source, target = x[n, i // factor, j // factor], y[n, i, j]
        for c in range(channels):
            target[c] = source[c]


@kernel
def upsample(x: np.ndarray, factor: int, y: np.ndarray) -> None:
    """Repeat each position factor x factor times.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    factor : int
    y : ndarray, (N, factor H, factor W, C)
        Result.
    """
    for_each(y.shape[0] * y.shape[1], _upsample_row, (x, factor, y))


@subroutine
def _upsample_backward_row(line, dy, factor, dx):
    height, width, channels = dx.shape[1:]
    n, i = line // height, line % height
    for j in range(width):
        total = dx[n, i, j]
        for c in range(channels):
            total[c] = 0
        for place in range(factor * factor):
            source = dy[n, i * factor + place // factor, j * factor + place % factor]
            for c in range(channels):
                total[c] += source[c]


@kernel
def upsample_backward(dy: np.ndarray, factor: int, dx: np.ndarray) -> None:
    """Gradient of `upsample`: the sum of the gradients of a position's copies.

    Parameters
    ----------
    dy : ndarray, (N, factor H, factor W, C)
    factor : int
    dx : ndarray, (N, H, W, C)
        Result.
    """
    for_each(dx.shape[0] * dx.shape[1], _upsample_backward_row, (dy, factor, dx))
