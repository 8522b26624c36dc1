"""Vectors of numbers in compiled code, for the innermost steps of the kernels.

Those steps are written in LLVM's own vector terms, through the small vocabulary below: no compiler keeps the sums of
a matrix product in registers unasked, nor does one see that a transform of 36 neighbouring vectors may stay there.
Everything around the steps is plain Numba. The arithmetic itself is written as formulas on anything that can be added
and multiplied, so that it reads, and can be tested, like any other Python.
"""

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba.core.cgutils import alloca_once
from numba.extending import overload
from numba.np.numpy_support import as_dtype

_INDEX = ir.IntType(64)
_BYTE = ir.IntType(8)
_CONTRACT = ("contract",)  # A multiplication and an addition may be rounded once.


def _vector_registers():
    """Bytes of a vector register, and how many of them there are."""
    features = llvm.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, 32
    if features.get("avx"):
        return 32, 16
    return 16, 32 if features.get("neon") else 16


VECTOR_BYTES, REGISTERS = _vector_registers()


def native_lanes(dtype):
    """Numbers of this type in a vector register."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def wide_lanes(dtype):
    """Numbers of this type in the vectors that go with a mask: at least eight, whose bits make a byte."""
    return max(8, native_lanes(dtype))


def constant_in_compiled_code(function):
    """Let compiled code call a function of a dtype, as a constant, so that loops of that length become vectors.

    Parameters
    ----------
    function : callable
        From a dtype to an int.
    """

    @overload(function)
    def compiled(dtype):
        value = function(as_dtype(dtype.dtype))
        return lambda dtype: value


constant_in_compiled_code(native_lanes)
constant_in_compiled_code(wide_lanes)


class Vector:
    """A vector of numbers in the code that is being generated; with +, - and *, also with plain numbers."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def _combine(self, other, operation):
        if not isinstance(other, Vector):
            other = Vector(self.builder, ir.Constant(self.value.type, [float(other)] * self.value.type.count))
        return Vector(self.builder, operation(self.value, other.value, flags=_CONTRACT))

    def __add__(self, other):
        return self._combine(other, self.builder.fadd)

    def __sub__(self, other):
        return self._combine(other, self.builder.fsub)

    def __mul__(self, other):
        return self._combine(other, self.builder.fmul)

    __rmul__ = __mul__

    def exceeds(self, other):
        """One bit per number: whether it is larger than the other's."""
        return self.builder.fcmp_ordered(">", self.value, other.value)

    def where(self, chosen, other):
        """These numbers where a bit is set, and the other's elsewhere."""
        return Vector(self.builder, self.builder.select(chosen, self.value, other.value))


class Code:
    """Loads, stores and address arithmetic on flat, contiguous arrays, as an intrinsic generates them.

    Indices are integers of the code that is being generated, or of Python. Nothing is checked.

    Parameters
    ----------
    context, builder
        As an intrinsic's code generator gets them.
    number : numba type
        float32 or float64.
    lanes : int
        Numbers in a vector.
    """

    def __init__(self, context, builder, number, lanes):
        self._context, self.builder, self.lanes = context, builder, lanes
        self._number = context.get_value_type(number)
        self._bytes = number.bitwidth // 8
        self._vector = ir.VectorType(self._number, lanes)

    def index(self, value):
        """An integer of Python as one of the code."""
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
        """Address of an array's first element."""
        return self._context.make_array(array_type)(self._context, self.builder, array).data

    def at(self, address, offset):
        """Address some elements further."""
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

    def load(self, address):
        """A vector of numbers."""
        return Vector(self.builder, self._load(address, self._vector, self._bytes))

    def gather(self, address, stride):
        """A vector of numbers that lie `stride` apart."""
        value = ir.Constant(self._vector, ir.Undefined)
        for lane in range(self.lanes):
            number = self.builder.load(self.at(address, lane * stride))
            value = self.builder.insert_element(value, number, ir.Constant(ir.IntType(32), lane))
        return Vector(self.builder, value)

    def store(self, vector, address):
        """Store a vector of numbers."""
        self._store(vector.value, address, self._bytes)

    def broadcast(self, address):
        """A vector that holds the one number at an address everywhere."""
        undefined = ir.Constant(self._vector, ir.Undefined)
        first = self.builder.insert_element(undefined, self.builder.load(address), ir.Constant(ir.IntType(32), 0))
        nowhere_else = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return Vector(self.builder, self.builder.shuffle_vector(first, undefined, nowhere_else))

    def bits(self, address):
        """One bit per number, from lanes / 8 bytes of a mask."""
        packed = self._load(address, ir.IntType(self.lanes), 1)
        return self.builder.bitcast(packed, ir.VectorType(ir.IntType(1), self.lanes))

    def store_bits(self, chosen, address):
        """Store one bit per number in lanes / 8 bytes of a mask."""
        self._store(self.builder.bitcast(chosen, ir.IntType(self.lanes)), address, 1)

    def bytes(self, value):
        """A vector of bytes that all have this value."""
        return ir.Constant(ir.VectorType(_BYTE, self.lanes), [value] * self.lanes)

    def load_bytes(self, address):
        """A vector of bytes."""
        return self._load(address, ir.VectorType(_BYTE, self.lanes), 1)

    def store_bytes(self, value, address):
        """Store a vector of bytes."""
        self._store(value, address, 1)
