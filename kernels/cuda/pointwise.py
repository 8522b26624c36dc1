"""What a painter does to each number separately: the sum at the end of a residual block, and the logistic function."""

from __future__ import annotations

import math

import numpy as np
from numba import cuda

from stylecore.kernels.cuda.arrays import Array
from stylecore.kernels.cuda.runtime import STRIDED, blocks_for, kernel

THREADS = 256

HALF, ONE = np.float32(0.5), np.float32(1)


@kernel(THREADS)
def _add(x, y):
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        y[i] += x[i]


def add(x: Array, y: Array) -> None:
    """Add the input of a residual block to its output: y += x; the gradient passes to both unchanged.

    Parameters
    ----------
    x, y : Array, of the same shape
    """
    _add[blocks_for(y.size, THREADS, STRIDED), THREADS](x.flat, y.flat)


@kernel(THREADS)
def _sigmoid(x, y):
    for i in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        y[i] = HALF * (ONE + math.tanh(HALF * x[i]))


def sigmoid(x: Array, y: Array) -> None:
    """Logistic function: y = 1 / (1 + exp(-x)), written with tanh, which does not overflow.

    Parameters
    ----------
    x : Array
    y : Array
        Result; may be x itself.
    """
    _sigmoid[blocks_for(y.size, THREADS, STRIDED), THREADS](x.flat, y.flat)


@kernel(THREADS)
def _sigmoid_backward(dy, y, dx):
    for i in range(cuda.grid(1), dx.size, cuda.gridsize(1)):
        dx[i] = dy[i] * y[i] * (ONE - y[i])


def sigmoid_backward(dy: Array, y: Array, dx: Array) -> None:
    """Gradient of `sigmoid`: dy y (1 - y).

    Parameters
    ----------
    dy : Array
    y : Array
        Of `sigmoid`.
    dx : Array
        Result; may be dy itself.
    """
    _sigmoid_backward[blocks_for(dx.size, THREADS, STRIDED), THREADS](dy.flat, y.flat, dx.flat)
