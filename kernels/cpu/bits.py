"""Masks: one bit per ReLU output, eight channels to a byte.

The functions are written in LLVM's own terms, because each then becomes a comparison or a blend of eight numbers
at once; a plain loop over the bits was measured to take ten times as long and more.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _eight_at(context, builder, array_type, array, start):
    """Address of eight neighbouring numbers of a contiguous one-dimensional array, and their vector type."""
    data = context.make_array(array_type)(context, builder, array).data
    eight = ir.VectorType(context.get_value_type(array_type.dtype), 8)
    return builder.bitcast(builder.gep(data, [start]), eight.as_pointer()), eight


@intrinsic
def positive_bits(typingctx, values, start):
    """Bit k of the result says whether ``values[start + k] > 0``, for k from 0 to 7.

    Parameters
    ----------
    values : array, (n,)
        Contiguous, float32 or float64.
    start : int
        First of the eight numbers; ``start + 8 <= n`` is not checked.

    Returns
    -------
    uint8
    """

    def generate(context, builder, signature, arguments):
        address, eight = _eight_at(context, builder, signature.args[0], *arguments)
        numbers = builder.load(address)
        numbers.align = signature.args[0].dtype.bitwidth // 8
        positive = builder.fcmp_ordered(">", numbers, ir.Constant(eight, [0.0] * 8))
        return builder.bitcast(positive, ir.IntType(8))

    return types.uint8(values, types.intp), generate


@intrinsic
def equal_bits(typingctx, codes, start, code):
    """Bit k of the result says whether ``codes[start + k] == code``, for k from 0 to 7.

    Parameters
    ----------
    codes : array, (n,) uint8
        Contiguous.
    start : int
        First of the eight codes; ``start + 8 <= n`` is not checked.
    code : uint8

    Returns
    -------
    uint8
    """

    def generate(context, builder, signature, arguments):
        array, start, code = arguments
        address, eight = _eight_at(context, builder, signature.args[0], array, start)
        numbers = builder.load(address)
        numbers.align = 1
        wanted = ir.Constant(eight, ir.Undefined)
        for k in range(8):
            wanted = builder.insert_element(wanted, code, ir.Constant(ir.IntType(32), k))
        return builder.bitcast(builder.icmp_unsigned("==", numbers, wanted), ir.IntType(8))

    return types.uint8(codes, types.intp, types.uint8), generate


@intrinsic
def copy_where(typingctx, bits, source, start, target, target_start):
    """Copy ``source[start + k]`` to ``target[target_start + k]`` where bit k is set, and zero elsewhere.

    Parameters
    ----------
    bits : uint8
    source, target : array, (n,)
        Contiguous, of the same type, float32 or float64.
    start, target_start : int
        First of the eight numbers in each; that eight are there is not checked.
    """

    def generate(context, builder, signature, arguments):
        alignment = signature.args[1].dtype.bitwidth // 8
        address, eight = _eight_at(context, builder, signature.args[1], arguments[1], arguments[2])
        numbers = builder.load(address)
        numbers.align = alignment
        chosen = builder.bitcast(arguments[0], ir.VectorType(ir.IntType(1), 8))
        gated = builder.select(chosen, numbers, ir.Constant(eight, [0.0] * 8))
        target_address, _ = _eight_at(context, builder, signature.args[3], arguments[3], arguments[4])
        builder.store(gated, target_address).align = alignment
        return context.get_dummy_value()

    return types.void(types.uint8, source, types.intp, target, types.intp), generate
