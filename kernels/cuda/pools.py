"""Pools over windows of size x size positions, each followed by its gradient; `kernels.cpu.pools` explains them.

Each thread computes one number of the result, and neighbouring threads neighbouring channels.
"""

from __future__ import annotations

import numpy as np
from numba import cuda

from stylecore.kernels.cuda.arrays import Array
from stylecore.kernels.cuda.product import ZERO
from stylecore.kernels.cuda.runtime import STRIDED, blocks_for, device_function, kernel

THREADS = 256


@device_function
def split(i, channels, width, height):
    """Image, row, column and channel of element i of an array (N, H, W, C)."""
    position = i // channels
    return position // width // height, position // width % height, position % width, i % channels


@kernel(THREADS)
def _max_pool(x, height, width, channels, size, stride, y_height, y_width, y, route):
    for item in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        n, i, j, c = split(item, channels, y_width, y_height)
        start = ((n * height + i * stride) * width + j * stride) * channels + c
        best, came_from = x[start], 0
        for place in range(1, size * size):
            value = x[start + (place // size * width + place % size) * channels]
            if value > best:
                best, came_from = value, place
        y[item], route[item] = best, came_from


def max_pool(x: Array, size: int, stride: int, y: Array, route: Array) -> None:
    """Take the maximum of each window.

    Parameters
    ----------
    x : Array, (N, H, W, C)
    size, stride : int
        From 1 to 15.
    y : Array, (N, H', W', C)
        Result, H' = (H - size) // stride + 1.
    route : Array, (N, H', W', C) uint8
        Result: where in its window each maximum was, counted row by row; the first of equal ones.
    """
    _, height, width, channels = x.shape
    _max_pool[_blocks(y), THREADS](
        x.flat, height, width, channels, size, stride, y.shape[1], y.shape[2], y.flat, route.flat
    )


@kernel(THREADS)
def _max_pool_backward(dy, route, y_height, y_width, channels, size, stride, height, width, dx):
    for item in range(cuda.grid(1), dx.size, cuda.gridsize(1)):
        n, i, j, c = split(item, channels, width, height)
        total = ZERO
        for p in range(max(0, (i - size + stride) // stride), min(y_height, i // stride + 1)):
            for q in range(max(0, (j - size + stride) // stride), min(y_width, j // stride + 1)):
                at = ((n * y_height + p) * y_width + q) * channels + c
                if route[at] == (i - p * stride) * size + j - q * stride:
                    total += dy[at]
        dx[item] = total


def max_pool_backward(dy: Array, route: Array, size: int, stride: int, dx: Array) -> None:
    """Gradient of `max_pool`: the gradient of each maximum goes to where the maximum was.

    Parameters
    ----------
    dy : Array, (N, H', W', C)
    route : Array, (N, H', W', C) uint8
        As `max_pool` wrote it.
    size, stride : int
    dx : Array, (N, H, W, C)
        Result.
    """
    _, height, width, channels = dx.shape
    _max_pool_backward[_blocks(dx), THREADS](
        dy.flat, route.flat, dy.shape[1], dy.shape[2], channels, size, stride, height, width, dx.flat
    )


@kernel(THREADS)
def _average_pool(x, height, width, channels, size, stride, share, y_height, y_width, y):
    for item in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        n, i, j, c = split(item, channels, y_width, y_height)
        start = ((n * height + i * stride) * width + j * stride) * channels + c
        total = ZERO
        for place in range(size * size):
            total += x[start + (place // size * width + place % size) * channels]
        y[item] = share * total


def average_pool(x: Array, size: int, stride: int, y: Array) -> None:
    """Take the mean of each window.

    Parameters
    ----------
    x : Array, (N, H, W, C)
    size, stride : int
    y : Array, (N, H', W', C)
        Result, H' = (H - size) // stride + 1.
    """
    _, height, width, channels = x.shape
    _average_pool[_blocks(y), THREADS](
        x.flat, height, width, channels, size, stride, np.float32(1 / size**2), y.shape[1], y.shape[2], y.flat
    )


@kernel(THREADS)
def _average_pool_backward(dy, y_height, y_width, channels, size, stride, share, height, width, dx):
    for item in range(cuda.grid(1), dx.size, cuda.gridsize(1)):
        n, i, j, c = split(item, channels, width, height)
        total = ZERO
        for p in range(max(0, (i - size + stride) // stride), min(y_height, i // stride + 1)):
            for q in range(max(0, (j - size + stride) // stride), min(y_width, j // stride + 1)):
                total += dy[((n * y_height + p) * y_width + q) * channels + c]
        dx[item] = share * total


def average_pool_backward(dy: Array, size: int, stride: int, dx: Array) -> None:
    """Gradient of `average_pool`: the gradient of each window is divided evenly among its positions.

    Parameters
    ----------
    dy : Array, (N, H', W', C)
    size, stride : int
    dx : Array, (N, H, W, C)
        Result.
    """
    _, height, width, channels = dx.shape
    _average_pool_backward[_blocks(dx), THREADS](
        dy.flat, dy.shape[1], dy.shape[2], channels, size, stride, np.float32(1 / size**2), height, width, dx.flat
    )


def _blocks(array):
    return blocks_for(array.size, THREADS, STRIDED)
