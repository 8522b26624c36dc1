"""Vectors in compiled code, for the innermost steps of the kernels.

These steps generate LLVM vector instructions through the small vocabulary below, because the compiler would keep
neither the sums of a matrix product in registers, nor the 36 vectors of a transform. Everything around them is plain
Numba. The arithmetic itself is written as formulas on anything that can be added and multiplied, so that it can be read
and tested like any other Python.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import config
from numba.core.cgutils import alloca_once, for_range, get_or_insert_function
from numba.extending import overload
from numba.np.numpy_support import as_dtype
from numpy.typing import DTypeLike

_INDEX = ir.IntType(64)
_BYTE = ir.IntType(8)


def _vector_registers():
    """Bytes of a vector register, and the number of registers."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, 32
    if features.get("avx"):
        return 32, 16
    return 16, 32 if features.get("neon") else 16


VECTOR_BYTES, REGISTERS = _vector_registers()

BFLOAT16 = (
    VECTOR_BYTES == 64
    and bool(llvm.get_host_cpu_features().get("avx512bf16"))
    # Numba may be told to compile for another processor.
    and not (config.CPU_NAME or config.CPU_FEATURES)
)
"""Whether the processor multiplies numbers in bfloat16; elsewhere that is computed in float32, bit by bit the same."""


# LLVM rounds to bfloat, and multiplies vectors of it, since version 16; before, the latter were of integers.
_HAS_BFLOAT = llvm.llvm_version_info >= (16,)


class _BFloat(ir.Type):
    """The type bfloat of LLVM, which llvmlite has not."""

    def _to_string(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, _BFloat)

    def __hash__(self):
        return hash(_BFloat)


def native_lanes(dtype: DTypeLike) -> int:
    """Number of elements of this dtype in a vector register."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def wide_lanes(dtype: DTypeLike) -> int:
    """Number of elements of this dtype in a vector that has a mask: at least eight, whose bits fill a byte."""
    return max(8, native_lanes(dtype))


def constant_in_compiled_code(function: Callable[[DTypeLike], int]) -> None:
    """Make calls of a function constants in compiled code, so that loops of that length are vectorised.

    Parameters
    ----------
    function : callable
        Maps a dtype to an int.
    """

    @overload(function)
    def compiled(dtype):
        value = function(as_dtype(dtype.dtype))
        return lambda dtype: value


constant_in_compiled_code(native_lanes)
constant_in_compiled_code(wide_lanes)


class Vector:
    """A vector in the code that is being generated; it can be added, subtracted and multiplied, also with numbers.

    A product is fused with what it is added to, and both are rounded once, where the processor can do that. Which of
    two products is fused is not left to LLVM, which may choose differently each time it optimises a function.
    """

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def _vector(self, other):
        if isinstance(other, Vector):
            return other
        return Vector(self.builder, ir.Constant(self.value.type, [float(other)] * self.value.type.count))

    def _times_plus(self, factor, other):
        kind = self.value.type
        name = f"llvm.fmuladd.v{kind.count}{'f32' if isinstance(kind.element, ir.FloatType) else 'f64'}"
        function = get_or_insert_function(self.builder.module, ir.FunctionType(kind, [kind] * 3), name)
        return Vector(self.builder, self.builder.call(function, [self.value, factor.value, other.value]))

    def __neg__(self):
        return Vector(self.builder, self.builder.fneg(self.value))

    def __add__(self, other):
        other = self._vector(other)
        if isinstance(other, _Product):
            return other.plus(self)
        return Vector(self.builder, self.builder.fadd(self.value, other.value))

    def __sub__(self, other):
        other = self._vector(other)
        if isinstance(other, _Product):
            return (-other).plus(self)
        return Vector(self.builder, self.builder.fsub(self.value, other.value))

    def __mul__(self, other):
        return _Product(self, self._vector(other))

    __rmul__ = __mul__

    def exceeds(self, other):
        """One bit per element: whether it is larger than that of the other vector."""
        return self.builder.fcmp_ordered(">", self.value, other.value)

    def rounded(self):
        """The bits of the elements rounded to bfloat16, as a value of LLVM."""
        builder, count = self.builder, self.value.type.count
        halves = ir.VectorType(ir.IntType(16), count)
        if _HAS_BFLOAT:
            return builder.bitcast(builder.fptrunc(self.value, ir.VectorType(_BFloat(), count)), halves)
        words = ir.VectorType(ir.IntType(32), count)
        one, sixteen, below_half = (ir.Constant(words, [value] * count) for value in (1, 16, 0x7FFF))
        bits = builder.bitcast(self.value, words)
        odd = builder.and_(builder.lshr(bits, sixteen), one)
        return builder.trunc(builder.lshr(builder.add(bits, builder.add(below_half, odd)), sixteen), halves)

    def where(self, chosen, other):
        """The elements of this vector where a bit is set, and those of the other elsewhere."""
        return Vector(self.builder, self.builder.select(chosen, self.value, other.value))


class _Product(Vector):
    """A product of two vectors, which is multiplied where it is used, or fused with an addition or subtraction."""

    def __init__(self, a, b):
        self.builder, self._factors = a.builder, (a, b)

    @property
    def value(self):
        """The product itself."""
        a, b = self._factors
        return self.builder.fmul(a.value, b.value)

    def plus(self, other):
        """The sum with another vector."""
        a, b = self._factors
        return a._times_plus(b, other)

    def __neg__(self):
        a, b = self._factors
        return _Product(-a, b)

    def __add__(self, other):
        return self.plus(self._vector(other))

    def __sub__(self, other):
        return self.plus(-self._vector(other))


class Code:
    """Loads, stores and address arithmetic on flat, contiguous arrays, to be generated by an intrinsic.

    Indices are integers of the generated code, or of Python. No bounds are checked.

    Parameters
    ----------
    context, builder
        Those of the intrinsic's code generator.
    number : numba type
        float32 or float64.
    lanes : int
        Number of elements in a vector.
    """

    def __init__(self, context, builder, number, lanes):
        self._context, self.builder, self.lanes = context, builder, lanes
        self._number = context.get_value_type(number)
        self._bytes = number.bitwidth // 8
        self._vector = ir.VectorType(self._number, lanes)
        self._pairs = ir.VectorType(ir.IntType(32), lanes)

    def index(self, value):
        """An integer of Python as a constant of the generated code."""
        return ir.Constant(_INDEX, value) if isinstance(value, int) else value

    def add(self, *terms):
        """Sum of indices."""
        total = self.index(terms[0])
        for term in terms[1:]:
            total = self.builder.add(total, self.index(term))
        return total

    def multiply(self, a, b):
        """Product of two indices."""
        return self.builder.mul(self.index(a), self.index(b))

    def data(self, array_type, array):
        """Address of the first element of an array."""
        return self._context.make_array(array_type)(self._context, self.builder, array).data

    def at(self, address, offset):
        """Address that is some elements further."""
        return self.builder.gep(address, [self.index(offset)])

    def _load(self, address, type_, alignment):
        return self.builder.load(self.builder.bitcast(address, type_.as_pointer()), align=alignment)

    def _store(self, value, address, alignment):
        self.builder.store(value, self.builder.bitcast(address, value.type.as_pointer()), align=alignment)

    def zero(self):
        """A vector of zeros."""
        return Vector(self.builder, ir.Constant(self._vector, [0.0] * self.lanes))

    def zero_vector(self):
        """Address of a vector of zeros."""
        place = alloca_once(self.builder, self._vector)
        self.builder.store(self.zero().value, place)
        return self.builder.bitcast(place, self._number.as_pointer())

    def room(self, vectors):
        """Address of memory for some vectors, until the function returns."""
        place = alloca_once(self.builder, self._vector, size=vectors)
        return self.builder.bitcast(place, self._number.as_pointer())

    @contextmanager
    def loop(self, count):
        """Generate what the ``with`` block contains once, to be executed for each index below `count`."""
        with for_range(self.builder, self.index(count)) as loop:
            yield loop.index

    def load(self, address):
        """Load a vector."""
        return Vector(self.builder, self._load(address, self._vector, self._bytes))

    def store_rounded(self, vector, address):
        """Store a vector rounded to bfloat16, two elements in each of half as many numbers of 32 bits."""
        self._store(vector.rounded(), address, 4)

    def store_pairs(self, first, second, address):
        """Store two vectors rounded to bfloat16, with elements of both in each number of 32 bits."""
        order = [lane // 2 + lane % 2 * self.lanes for lane in range(2 * self.lanes)]
        mixed = ir.Constant(ir.VectorType(ir.IntType(32), 2 * self.lanes), order)
        self._store(self.builder.shuffle_vector(first.rounded(), second.rounded(), mixed), address, 4)

    def load_pairs(self, address):
        """Load a vector of numbers of 32 bits with two elements each."""
        return self._load(address, self._pairs, 4)

    def broadcast_pair(self, address):
        """Load one number with two elements into all numbers of a vector."""
        return self._repeat(self._load(address, ir.IntType(32), 4))

    def plus_products(self, total, a, b):
        """Add to each element of a vector the two products of a pair in `a` with one in `b`: first of the second ones.

        That is how processors with an instruction for it round, too, unless a number is subnormal.
        """
        if BFLOAT16:
            kind = ir.VectorType(_BFloat(), 2 * self.lanes) if _HAS_BFLOAT else self._pairs
            function = get_or_insert_function(
                self.builder.module,
                ir.FunctionType(self._vector, [self._vector, kind, kind]),
                "llvm.x86.avx512bf16.dpbf16ps.512",
            )
            factors = [self.builder.bitcast(pairs, kind) for pairs in (a, b)]
            return Vector(self.builder, self.builder.call(function, [total.value, *factors]))
        high, shift = (ir.Constant(self._pairs, [value] * self.lanes) for value in (0xFFFF0000, 16))
        for part in (lambda pairs: self.builder.and_(pairs, high), lambda pairs: self.builder.shl(pairs, shift)):
            x, y = (Vector(self.builder, self.builder.bitcast(part(pairs), self._vector)) for pairs in (a, b))
            total = total + x * y
        return total

    def gather(self, address, stride):
        """Load a vector of elements that are `stride` apart."""
        value = ir.Constant(self._vector, ir.Undefined)
        for lane in range(self.lanes):
            number = self.builder.load(self.at(address, lane * stride))
            value = self.builder.insert_element(value, number, ir.Constant(ir.IntType(32), lane))
        return Vector(self.builder, value)

    def store(self, vector, address):
        """Store a vector."""
        self._store(vector.value, address, self._bytes)

    def broadcast(self, address):
        """Load one element into all elements of a vector."""
        return Vector(self.builder, self._repeat(self.builder.load(address)))

    def _repeat(self, value):
        undefined = ir.Constant(ir.VectorType(value.type, self.lanes), ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
        nowhere_else = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, undefined, nowhere_else)

    def bits(self, address):
        """Load one bit per element, from lanes / 8 bytes of a mask."""
        packed = self._load(address, ir.IntType(self.lanes), 1)
        return self.builder.bitcast(packed, ir.VectorType(ir.IntType(1), self.lanes))

    def store_bits(self, chosen, address):
        """Store one bit per element, in lanes / 8 bytes of a mask."""
        self._store(self.builder.bitcast(chosen, ir.IntType(self.lanes)), address, 1)

    def bytes(self, value):
        """A vector of bytes that are all equal to an index."""
        if isinstance(value, int):
            return ir.Constant(ir.VectorType(_BYTE, self.lanes), [value] * self.lanes)
        return self._repeat(self.builder.trunc(value, _BYTE))

    def load_bytes(self, address):
        """Load a vector of bytes."""
        return self._load(address, ir.VectorType(_BYTE, self.lanes), 1)

    def store_bytes(self, value, address):
        """Store a vector of bytes."""
        self._store(value, address, 1)
