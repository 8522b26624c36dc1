"""Matrix product C = A B for a B that is packed beforehand, on one thread.

BLAS packs both its operands anew at every call, which for the small products of Winograd's algorithm takes as long
as a third of the product itself (measured: 210 GFLOP/s on two cores with BLAS, 300 with this, of 310 at most). Here
B, the filters, is laid out by their transform as the product reads it, and A is read where it lies.

The product is made of register tiles: ROWS rows of A times a panel of B as wide as two vectors, summed in registers
over the whole depth. The tile is written in LLVM's own terms, for no compiler keeps a loop's sums in registers
unasked; everything around it is plain Numba.
"""

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload
from numba.np.numpy_support import as_dtype
from stylecore.kernels.cpu.runtime import FAST


def _register_tile():
    """Bytes of a vector, and rows of a tile: two sums a row must leave registers free for B and a number of A."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, 14  # 32 registers
    if features.get("avx"):
        return 32, 6  # 16 registers
    if features.get("neon"):
        return 16, 12  # 32 registers
    return 16, 6


VECTOR_BYTES, ROWS = _register_tile()


@intrinsic
def _tile(typingctx, a, a_start, a_stride, b, b_start, c, c_start, c_stride, depth):
    """C = A B for ROWS rows of A and one panel of B, `depth` numbers deep; flat arrays, unchecked."""
    index = types.intp
    signature = types.void(a, index, index, b, index, c, index, index, index)

    def generate(context, builder, signature, arguments):
        _, a_start, a_stride, _, b_start, _, c_start, c_stride, depth = arguments
        number = signature.args[0].dtype
        size = number.bitwidth // 8
        lanes = VECTOR_BYTES // size
        vector = ir.VectorType(context.get_value_type(number), lanes)

        def constant(value):
            return ir.Constant(ir.IntType(64), value)

        def address(argument, start):
            array = context.make_array(signature.args[argument])(context, builder, arguments[argument])
            return builder.gep(array.data, [start])

        def broadcast(value):
            first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
            everywhere = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), everywhere)

        a_rows = [builder.gep(address(0, a_start), [builder.mul(a_stride, constant(r))]) for r in range(ROWS)]
        c_rows = [builder.gep(address(5, c_start), [builder.mul(c_stride, constant(r))]) for r in range(ROWS)]
        panel = address(3, b_start)

        c_tiles = [
            [builder.bitcast(builder.gep(c_row, [constant(half * lanes)]), vector.as_pointer()) for half in range(2)]
            for c_row in c_rows
        ]
        zero = ir.Constant(vector, [0.0] * lanes)
        before = builder.block
        loop, after = builder.append_basic_block("depth"), builder.append_basic_block("store")
        builder.branch(loop)

        builder.position_at_end(loop)
        k = builder.phi(ir.IntType(64))
        k.add_incoming(constant(0), before)
        sums = [[builder.phi(vector) for _ in range(2)] for _ in a_rows]
        b_row = builder.gep(panel, [builder.mul(k, constant(2 * lanes))])
        b_vectors = []
        for half in range(2):
            pointer = builder.bitcast(builder.gep(b_row, [constant(half * lanes)]), vector.as_pointer())
            b_vectors.append(builder.load(pointer, align=size))
        totals = []
        for a_row, row_sums in zip(a_rows, sums, strict=True):
            factor = broadcast(builder.load(builder.gep(a_row, [k])))
            products = [builder.fmul(factor, b_vector, flags=["contract"]) for b_vector in b_vectors]
            totals.append([builder.fadd(p, s, flags=["contract"]) for p, s in zip(products, row_sums, strict=True)])
        following = builder.add(k, constant(1))
        k.add_incoming(following, loop)
        for row_sums, row_totals in zip(sums, totals, strict=True):
            for phi, total in zip(row_sums, row_totals, strict=True):
                phi.add_incoming(zero, before)
                phi.add_incoming(total, loop)
        builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)

        builder.position_at_end(after)
        for pointers, row_totals in zip(c_tiles, totals, strict=True):
            for pointer, total in zip(pointers, row_totals, strict=True):
                builder.store(total, pointer, align=size)
        return context.get_dummy_value()

    return signature, generate


def panel_columns(dtype):
    """Columns of a panel of packed B: two vectors of numbers of this type."""
    return 2 * VECTOR_BYTES // np.dtype(dtype).itemsize


@overload(panel_columns)
def _compiled_panel_columns(dtype):
    # A constant for each type, so that loops over a panel are compiled to two vector instructions.
    columns = panel_columns(as_dtype(dtype.dtype))
    return lambda dtype: columns


@njit(**FAST)
def multiply(a, a_start, b, b_start, c, c_start, rows, depth, columns):
    """C = A B, written over what C held.

    Parameters
    ----------
    a : ndarray, flat
        A, rows x depth, from `a_start` on.
    a_start : int
    b : ndarray, flat
        B, depth x columns, from `b_start` on, panel by panel: (columns / panel_columns, depth, panel_columns).
    b_start : int
    c : ndarray, flat
        C, rows x columns, from `c_start` on.
    c_start : int
    rows : int
        A multiple of ROWS.
    depth : int
    columns : int
        A multiple of `panel_columns`.
    """
    width = panel_columns(b.dtype)
    for panel in range(columns // width):
        for row in range(0, rows, ROWS):
            _tile(
                a,
                a_start + row * depth,
                depth,
                b,
                b_start + panel * depth * width,
                c,
                c_start + row * columns + panel * width,
                columns,
                depth,
            )
