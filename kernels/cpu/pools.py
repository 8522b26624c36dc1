"""Pools over windows of size x size positions, and the way up from fewer positions to more, each with its gradient.

A pool without padding drops the rows and columns that no whole window covers; their gradient is zero. Windows may
overlap (AlexNet's 3 x 3 with stride 2), so the gradient is gathered: each input row sums what the windows over it
send back, and no two threads write to one place.
"""

from numba import njit, prange

from stylecore.kernels.cpu.runtime import FAST


@njit(parallel=True, **FAST)
def max_pool(x, size, stride, y, route):
    """Take the maximum of each window.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    size, stride : int
        At most 15 and at least 1.
    y : ndarray, (N, H', W', C)
        Result, H' = (H - size) // stride + 1.
    route : ndarray, (N, H', W', C) uint8
        Where in its window each maximum stood, row by row; the first of equals.
    """
    height, width, channels = y.shape[1:]
    for line in prange(y.shape[0] * height):
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


@njit(parallel=True, **FAST)
def max_pool_backward(dy, route, size, stride, dx):
    """Gradient with respect to x: each maximum's gradient goes where it came from.

    Parameters
    ----------
    dy : ndarray, (N, H', W', C)
    route : ndarray, (N, H', W', C) uint8
        As `max_pool` wrote it.
    size, stride : int
    dx : ndarray, (N, H, W, C)
        Result.
    """
    zero = dx.dtype.type(0)
    height, _, channels = dx.shape[1:]
    for line in prange(dx.shape[0] * height):
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


@njit(parallel=True, **FAST)
def average_pool(x, size, stride, y):
    """Take the mean of each window.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    size, stride : int
    y : ndarray, (N, H', W', C)
        Result, H' = (H - size) // stride + 1.
    """
    height, width, channels = y.shape[1:]
    share = y.dtype.type(1 / (size * size))
    for line in prange(y.shape[0] * height):
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


@njit(parallel=True, **FAST)
def average_pool_backward(dy, size, stride, dx):
    """Gradient with respect to x: each window's gradient is shared out evenly.

    Parameters
    ----------
    dy : ndarray, (N, H', W', C)
    size, stride : int
    dx : ndarray, (N, H, W, C)
        Result.
    """
    height, _, channels = dx.shape[1:]
    share = dx.dtype.type(1 / (size * size))
    for line in prange(dx.shape[0] * height):
        n, i = line // height, line % height
        dx[n, i] = dx.dtype.type(0)
        for p in range(max(0, (i - size + stride) // stride), min(dy.shape[1], i // stride + 1)):
            for q in range(dy.shape[2]):
                source = dy[n, p, q]
                for b in range(size):
                    target = dx[n, i, q * stride + b]
                    for c in range(channels):
                        target[c] += share * source[c]


@njit(parallel=True, **FAST)
def upsample(x, factor, y):
    """Repeat each position factor x factor times, as its nearest neighbours.

    Parameters
    ----------
    x : ndarray, (N, H, W, C)
    factor : int
    y : ndarray, (N, factor H, factor W, C)
        Result.
    """
    height, width, channels = y.shape[1:]
    for line in prange(y.shape[0] * height):
        n, i = line // height, line % height
        for j in range(width):
            source, target = x[n, i // factor, j // factor], y[n, i, j]
            for c in range(channels):
                target[c] = source[c]


@njit(parallel=True, **FAST)
def upsample_backward(dy, factor, dx):
    """Gradient of `upsample`: each position gets the sum of its copies' gradients.

    Parameters
    ----------
    dy : ndarray, (N, factor H, factor W, C)
    factor : int
    dx : ndarray, (N, H, W, C)
        Result.
    """
    height, width, channels = dx.shape[1:]
    for line in prange(dx.shape[0] * height):
        n, i = line // height, line % height
        for j in range(width):
            total = dx[n, i, j]
            for c in range(channels):
                total[c] = 0
            for place in range(factor * factor):
                source = dy[n, i * factor + place // factor, j * factor + place % factor]
                for c in range(channels):
                    total[c] += source[c]
