"""Matrix products, to which the convolutions and the Gram matrices are reduced.

A block of threads computes a tile of the result, ROWS x COLUMNS, and each thread a register tile of 8 x 8 numbers. The
strips of both factors that a tile depends on pass through shared memory, DEPTH steps of the sum at a time; while one is
multiplied, the next is loaded from memory into registers, and then stored in the other half of the shared memory.

In shared memory, the numbers of A and of B for each step of the sum are contiguous, to be read four at a time. Rows of
A are stored transposed, and padded by four numbers, so that two neighbouring threads write to different banks. Of B the
even and the odd groups of four are stored separately: the eight neighbouring threads that read one group each then read
contiguous numbers, while each still has eight neighbouring columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import cuda, float32

from stylecore.kernels.cuda.runtime import FOUR_NUMBERS, device_function, kernel, load4, store4

if TYPE_CHECKING:
    from numba.cuda.cudadrv.devicearray import DeviceNDArray

ROWS, COLUMNS, DEPTH, THREADS = 128, 64, 8, 128

# Element counts in shared memory: of a step of A, from the even to the odd groups of B, of a step of B, and in all.
A_STEP = ROWS + 4
ODD = 48
B_STEP = ODD + COLUMNS // 2
A_HALF, B_HALF = DEPTH * A_STEP, DEPTH * B_STEP
A_SIZE, B_SIZE = 2 * A_HALF, 2 * B_HALF

ZERO = np.float32(0)


@device_function
def load4_if(condition, array, at):
    """Load four contiguous numbers, or zeros; `at` is a multiple of four."""
    a, b, c, d = ZERO, ZERO, ZERO, ZERO
    if condition:
        a, b, c, d = load4(array, at)
    return a, b, c, d


@device_function
def add_outer(a, a_at, b, b_at, left, right, total):
    """Add the outer product of eight numbers of A and eight of B, in shared memory, to a register tile."""
    left[0], left[1], left[2], left[3] = load4(a, a_at)
    left[4], left[5], left[6], left[7] = load4(a, a_at + 4)
    right[0], right[1], right[2], right[3] = load4(b, b_at)
    right[4], right[5], right[6], right[7] = load4(b, b_at + ODD)
    for i in range(8):
        for j in range(8):
            total[i, j] += left[i] * right[j]


@device_function
def multiply_strip(a, a_at, a_step, b, b_at, left, right, total):
    """Add the product of the strips that are in shared memory to a register tile."""
    # Two steps per iteration, so that the numbers of the second are loaded while the first are multiplied.
    for k in range(0, DEPTH, 2):
        add_outer(a, a_at + k * a_step, b, b_at + k * B_STEP, left, right, total)
        add_outer(a, a_at + (k + 1) * a_step, b, b_at + (k + 1) * B_STEP, left, right, total)


@device_function
def b_place(group):
    """Offset of the columns from 4 x group on, in a step of B in shared memory."""
    return group % 2 * ODD + group // 2 * 4


@device_function
def store4_weighted(c, at, add, weight, total, i, j):
    """Store four numbers of a register tile, times the weight, or add them to the numbers there."""
    c0, c1, c2, c3 = load4_if(add, c, at)
    c0, c1 = c0 + weight * total[i, j], c1 + weight * total[i, j + 1]
    c2, c3 = c2 + weight * total[i, j + 2], c3 + weight * total[i, j + 3]
    store4(c, at, c0, c1, c2, c3)


@device_function
def store_column(array, at, step, a, b, c, d):
    """Store four numbers in shared memory, a step apart."""
    array[at] = a
    array[at + step] = b
    array[at + 2 * step] = c
    array[at + 3 * step] = d


@kernel(THREADS, 4)
def _multiply(a, b, c, rows, columns, depth, scale, weights, weighted, add):
    shared_a = cuda.shared.array(A_SIZE, float32, FOUR_NUMBERS)
    shared_b = cuda.shared.array(B_SIZE, float32, FOUR_NUMBERS)
    left, right = cuda.local.array(8, float32), cuda.local.array(8, float32)
    total = cuda.local.array((8, 8), float32)
    for i in range(8):
        for j in range(8):
            total[i, j] = ZERO

    t = cuda.threadIdx.x
    across = (columns + COLUMNS - 1) // COLUMNS
    first_row, first_column = cuda.blockIdx.x // across * ROWS, cuda.blockIdx.x % across * COLUMNS

    # Two neighbouring threads load eight steps of one row of A, and sixteen all columns of one step of B; outside of
    # the matrices they load the nearest numbers, for results that are not stored.
    row, step, group = t // 2, t // 16, t % 16
    matrix = cuda.blockIdx.y
    a_at = (matrix * rows + min(first_row + row, rows - 1)) * depth + t % 2 * 4
    a_next = (matrix * rows + min(first_row + row + 64, rows - 1)) * depth + t % 2 * 4
    b_at = (matrix * depth + step) * columns + min(first_column + group * 4, columns - 4)
    a_to, b_to = t % 2 * 4 * A_STEP + row, step * B_STEP + b_place(group)
    a_from, b_from = t // 8 * 8, t % 8 * 4

    a0, a1, a2, a3 = load4(a, a_at)
    a4, a5, a6, a7 = load4(a, a_next)
    b0, b1, b2, b3 = load4(b, b_at)
    half = 0
    for k in range(DEPTH, depth + DEPTH, DEPTH):
        store_column(shared_a, half * A_HALF + a_to, A_STEP, a0, a1, a2, a3)
        store_column(shared_a, half * A_HALF + a_to + 64, A_STEP, a4, a5, a6, a7)
        store4(shared_b, half * B_HALF + b_to, b0, b1, b2, b3)
        cuda.syncthreads()
        if k < depth:
            a0, a1, a2, a3 = load4(a, a_at + k)
            a4, a5, a6, a7 = load4(a, a_next + k)
            b0, b1, b2, b3 = load4(b, b_at + k * columns)
        a_start, b_start = half * A_HALF + a_from, half * B_HALF + b_from
        multiply_strip(shared_a, a_start, A_STEP, shared_b, b_start, left, right, total)
        half = 1 - half

    row, column = first_row + a_from, first_column + t % 8 * 8
    at = (matrix * rows + row) * columns + column
    for i in range(8):
        if row + i < rows:
            weight = scale * weights[np.uint64(row + i)] if weighted else scale
            if column < columns:
                store4_weighted(c, at, add, weight, total, i, 0)
            if column + 4 < columns:
                store4_weighted(c, at + 4, add, weight, total, i, 4)
        at += columns


def multiply(
    a: DeviceNDArray,
    b: DeviceNDArray,
    c: DeviceNDArray,
    rows: int,
    columns: int,
    depth: int,
    count: int = 1,
    scale: float = 1.0,
    weights: DeviceNDArray | None = None,
    add: bool = False,
) -> None:
    """C = scale diag(w) A B, or C += scale diag(w) A B, for one or more matrices.

    Parameters
    ----------
    a, b, c : flat device arrays of float32
        `count` matrices each, of rows x depth, depth x columns and rows x columns.
    rows, columns, depth, count : int
        `columns` is a multiple of four, and `depth` of eight.
    scale : float
    weights : flat device array of float32, optional
        w, the weight of each row; one by default.
    add : bool
        Whether to add to C.
    """
    tiles = -(-rows // ROWS) * -(-columns // COLUMNS)
    weighted = weights is not None
    weights = weights if weighted else a
    _multiply[(tiles, count), THREADS](a, b, c, rows, columns, depth, np.float32(scale), weights, weighted, add)
