"""How the CUDA kernels are compiled and launched, and on which GPU.

Everything here also runs on Numba's simulator (NUMBA_ENABLE_CUDASIM=1), which executes kernels as plain Python and
takes fewer options.
"""

import threading
from functools import cache

from llvmlite import ir
from numba import config, cuda

from stylecore.kernels.code_cache import keeps_code

SIMULATED = bool(config.ENABLE_CUDASIM)

# Alignment of shared memory that is read four numbers at a time, in bytes; the simulator knows none.
FOUR_NUMBERS = None if SIMULATED else 16

# Small images have few blocks of threads, of which Numba would warn again and again.
config.CUDA_LOW_OCCUPANCY_WARNINGS = 0

# Blocks of 256 threads per multiprocessor for a loop in strides of the whole grid: several times what it has room for,
# so that one that is done early finds more to do.
STRIDED = 32

_KEEPS_CODE = not SIMULATED and keeps_code(lambda: None)


# Number of the GPU that this process works on, and of the one that each of its threads does.
_chosen = None
_local = threading.local()


def chosen():
    """Number of the GPU that this process works on; None as long as none was chosen."""
    return _chosen


def choose(number):
    """Work on this GPU from now on, in all threads; on the first one if it is None."""
    global _chosen
    _chosen = number


def enter():
    """Have the thread that calls it work on the chosen GPU: whichever has not said so, Numba puts on the first one."""
    number = _chosen or 0
    if getattr(_local, "number", None) != number:
        cuda.select_device(number)
        _local.number = number


def multiprocessors():
    """Multiprocessors of the chosen GPU, by which work is divided; few on the simulator.

    Nothing else is sized by the GPU: a kernel's tile fits the registers and the 48 KB of shared memory that a block has
    on every compute capability that the kernels are compiled for, which the tests check.
    """
    return 4 if SIMULATED else _multiprocessors_of(_chosen or 0)


@cache
def _multiprocessors_of(number):
    return cuda.gpus[number].MULTIPROCESSOR_COUNT


def kernel(threads, blocks=1):
    """Decorate a kernel for blocks of at most so many threads, as many of which must fit onto a multiprocessor at once.

    Together they tell the compiler how many registers a thread may take: 65536 / (threads x blocks).
    """
    if SIMULATED:
        return cuda.jit
    return cuda.jit(cache=_KEEPS_CODE, launch_bounds=(threads, blocks))


def device_function(function):
    """Decorate a function that kernels call, and which is written into them."""
    if not SIMULATED:
        return cuda.jit(function, device=True, inline="always")
    # The simulator takes long over a call, which only those need that ask for their thread.
    return cuda.jit(function, device=True) if "cuda" in function.__code__.co_names else function


if SIMULATED:

    def load4(array, index):
        """Four neighbouring numbers of a flat array; `index` must be a multiple of four."""
        assert index % 4 == 0 and 0 <= index <= array.size - 4
        return array[index], array[index + 1], array[index + 2], array[index + 3]

    def store4(array, index, a, b, c, d):
        """Write four neighbouring numbers of a flat array; `index` must be a multiple of four."""
        assert index % 4 == 0 and 0 <= index <= array.size - 4
        array[index], array[index + 1], array[index + 2], array[index + 3] = a, b, c, d

else:
    from numba.cuda import types
    from numba.cuda.extending import intrinsic

    _LANES = [ir.Constant(ir.IntType(32), lane) for lane in range(4)]

    def _four_at(context, builder, kind, array, index):
        """Pointer to a vector of four numbers of a flat array."""
        data = context.make_array(kind)(context, builder, array).data
        vector = ir.VectorType(context.get_data_type(kind.dtype), 4)
        return builder.bitcast(builder.gep(data, [index]), vector.as_pointer()), vector

    @intrinsic
    def load4(typingctx, array, index):
        """Four neighbouring numbers of a flat array; `index` must be a multiple of four."""

        def generate(context, builder, signature, arguments):
            pointer, _ = _four_at(context, builder, signature.args[0], *arguments)
            vector = builder.load(pointer, align=16)
            numbers = [builder.extract_element(vector, lane) for lane in _LANES]
            return context.make_tuple(builder, signature.return_type, numbers)

        return types.UniTuple(array.dtype, 4)(array, types.intp), generate

    @intrinsic
    def store4(typingctx, array, index, a, b, c, d):
        """Write four neighbouring numbers of a flat array; `index` must be a multiple of four."""

        def generate(context, builder, signature, arguments):
            pointer, kind = _four_at(context, builder, signature.args[0], *arguments[:2])
            vector = ir.Constant(kind, ir.Undefined)
            for lane, number in zip(_LANES, arguments[2:], strict=True):
                vector = builder.insert_element(vector, number, lane)
            builder.store(vector, pointer, align=16)
            return context.get_dummy_value()

        number = array.dtype
        return types.void(array, types.intp, number, number, number, number), generate


def blocks_for(items, threads, most=None):
    """Blocks of so many threads that have a thread for each item; perhaps at most so many per multiprocessor."""
    blocks = -(-items // threads)
    return blocks if most is None else min(blocks, most * multiprocessors())
