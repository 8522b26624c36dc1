"""Matrix product C = A B on one thread, by register tiles.

A tile is a few rows of A times a panel of B as wide as two vectors, summed in registers over the whole depth. BLAS
copies both operands into a layout of its own at every call, which for the small products of the kernels takes as long
as the product itself; here A is read in place, by rows or by columns, and B in place or as it was packed beforehand.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import DTypeLike

from stylecore.kernels.cpu.runtime import subroutine
from stylecore.kernels.cpu.vectors import REGISTERS, Code, Vector, constant_in_compiled_code, native_lanes

Integer = int | np.integer

# Two sums for each row must leave registers free for two vectors of B and an element of A.
ROWS = 14 if REGISTERS == 32 else 6


def _register_tile(rows):
    """Make an intrinsic that computes this number of rows of C, one panel wide; the arrays are flat, and unchecked."""

    @intrinsic
    def tile(typingctx, a, a_start, a_row, a_column, b, b_start, b_row, c, c_start, c_row, depth, add):
        index = types.intp
        signature = types.void(a, index, index, index, b, index, index, c, index, index, index, types.boolean)

        def generate(context, builder, signature, arguments):
            a, a_start, a_row, a_column, b, b_start, b_row, c, c_start, c_row, depth, add = arguments
            number, pairs = signature.args[7].dtype, signature.args[0].dtype == types.uint32
            code = Code(context, builder, number, native_lanes(str(number)))
            a, b, c = (code.data(signature.args[i], array) for i, array in ((0, a), (4, b), (7, c)))
            a_rows = [code.at(a, code.add(a_start, code.multiply(r, a_row))) for r in range(rows)]
            c_rows = [code.at(c, code.add(c_start, code.multiply(r, c_row))) for r in range(rows)]
            halves = (0, code.lanes)
            before, loop, after = (
                builder.block,
                builder.append_basic_block("depth"),
                builder.append_basic_block("store"),
            )
            builder.branch(loop)

            builder.position_at_end(loop)
            k = builder.phi(ir.IntType(64))
            sums = [[builder.phi(code.zero().value.type) for _ in halves] for _ in a_rows]
            b_row_k = code.at(b, code.add(b_start, code.multiply(k, b_row)))
            b_vectors = [(code.load_pairs if pairs else code.load)(code.at(b_row_k, half)) for half in halves]
            totals = []
            for a_row_r, row_sums in zip(a_rows, sums, strict=True):
                address = code.at(a_row_r, code.multiply(k, a_column))
                of_row = [Vector(builder, s) for s in row_sums]
                if pairs:
                    pair = code.broadcast_pair(address)
                    totals.append([code.plus_products(s, pair, v) for s, v in zip(of_row, b_vectors, strict=True)])
                else:
                    factor = code.broadcast(address)
                    totals.append([s + factor * v for s, v in zip(of_row, b_vectors, strict=True)])
            following = code.add(k, 1)
            k.add_incoming(code.index(0), before)
            k.add_incoming(following, loop)
            for row_sums, row_totals in zip(sums, totals, strict=True):
                for phi, total in zip(row_sums, row_totals, strict=True):
                    phi.add_incoming(code.zero().value, before)
                    phi.add_incoming(total.value, loop)
            builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)

            builder.position_at_end(after)
            for c_row_r, row_totals in zip(c_rows, totals, strict=True):
                for half, total in zip(halves, row_totals, strict=True):
                    address = code.at(c_row_r, half)
                    code.store(total + code.load(address).where(add, code.zero()), address)
            return context.get_dummy_value()

        return signature, generate

    return tile


_rows_at_once, _four_rows, _one_row = _register_tile(ROWS), _register_tile(4), _register_tile(1)


# The step to the next element of a row or column that is contiguous, and that the product is not added to C.
NEXT, ANEW = np.intp(1), np.bool_(False)


def panel_columns(dtype: DTypeLike) -> int:
    """Columns of a panel of B: two vectors of elements of this dtype."""
    return 2 * native_lanes(dtype)


constant_in_compiled_code(panel_columns)


def pad_columns(matrix: np.ndarray) -> np.ndarray:
    """Pad a matrix with columns of zeros to whole panels.

    Parameters
    ----------
    matrix : ndarray, (n, m)

    Returns
    -------
    ndarray, (n, m'), contiguous
        m' is the next multiple of `panel_columns`.
    """
    missing = -matrix.shape[1] % panel_columns(matrix.dtype)
    return np.ascontiguousarray(np.pad(matrix, ((0, 0), (0, missing))))


@subroutine
def multiply(
    a: np.ndarray,
    a_start: Integer,
    a_row: Integer,
    a_column: Integer,
    b: np.ndarray,
    b_start: Integer,
    b_row: Integer,
    c: np.ndarray,
    c_start: Integer,
    c_row: Integer,
    rows: Integer,
    depth: Integer,
    add: bool | np.bool_,
) -> None:
    """C = A B or, if `add`, C += A B, for one panel of B.

    If A and B are of uint32, each of their numbers holds two elements in bfloat16: of A those at 2 k and 2 k + 1 of a
    row, the first in the lower half, and of B those of a column. `depth` counts the numbers.

    Parameters
    ----------
    a : ndarray, flat
        Element (i, k) of A, rows x depth, is at a_start + i a_row + k a_column.
    a_start, a_row, a_column : int
    b : ndarray, flat
        Element (k, j) of B, depth x `panel_columns`, is at b_start + k b_row + j.
    b_start, b_row : int
    c : ndarray, flat
        Element (i, j) of C is at c_start + i c_row + j.
    c_start, c_row : int
    rows, depth : int
        At least one.
    add : bool

    Notes
    -----
    A sum starts at zero and is added to C at the end, so that a sum of many short products rounds less than a long one.

    Numba gives a literal in a call a type of its own, for which it would compile this function again; hence `NEXT` and
    `ANEW`.
    """
    i = 0
    while i + ROWS <= rows:
        start, to = a_start + i * a_row, c_start + i * c_row
        _rows_at_once(a, start, a_row, a_column, b, b_start, b_row, c, to, c_row, depth, add)
        i += ROWS
    while i + 4 <= rows:
        start, to = a_start + i * a_row, c_start + i * c_row
        _four_rows(a, start, a_row, a_column, b, b_start, b_row, c, to, c_row, depth, add)
        i += 4
    while i < rows:
        start, to = a_start + i * a_row, c_start + i * c_row
        _one_row(a, start, a_row, a_column, b, b_start, b_row, c, to, c_row, depth, add)
        i += 1
