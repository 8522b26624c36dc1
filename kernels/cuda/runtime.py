"""How the CUDA kernels are compiled and launched, and on which GPU.

Everything here also runs on Numba's simulator (NUMBA_ENABLE_CUDASIM=1), which executes kernels as plain Python and
accepts fewer options.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cache

from llvmlite import ir
from numba import config, cuda

from stylecore.errors import BackendError
from stylecore.kernels.code_cache import keep

SIMULATED = bool(config.ENABLE_CUDASIM)

# Alignment in bytes of shared memory that is read four numbers at a time; the simulator has none.
FOUR_NUMBERS = None if SIMULATED else 16

# Small images have few blocks of threads, about which Numba would warn again and again.
config.CUDA_LOW_OCCUPANCY_WARNINGS = 0

# Blocks of 256 threads per multiprocessor for a loop in strides of the whole grid: several times as many as it has room
# for, so that a multiprocessor that finishes early gets more to do.
STRIDED = 32


# Number of the GPU that this process uses, and of the one that each of its threads has selected.
_chosen: int | None = None
_local = threading.local()
_forked = False


def chosen() -> int | None:
    """Number of the GPU that this process uses; None as long as none was chosen."""
    return _chosen


def choose(number: int | None) -> None:
    """Use this GPU in all threads; the first one if it is None."""
    global _chosen
    _chosen = number


def enter() -> None:
    """Select the chosen GPU for the calling thread; Numba would use the first one.

    Raises
    ------
    BackendError
        If the process was forked after its parent had used a GPU, as CUDA does not work in the child.
    """
    if _forked:
        raise BackendError(
            "kernels cannot run on a GPU in a process that was forked after the GPU had been used; start processes "
            'with multiprocessing.get_context("spawn").'
        )
    number = _chosen or 0
    if getattr(_local, "number", None) != number:
        cuda.select_device(number)
        _local.number = number


def _note_fork() -> None:
    global _forked
    _forked = _forked or (_chosen is not None and not SIMULATED)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def multiprocessors() -> int:
    """Number of multiprocessors of the chosen GPU, by which work is divided; few on the simulator.

    Nothing else depends on the GPU: a kernel's tile fits into the registers and the 48 KB of shared memory that a block
    has on every compute capability that the kernels are compiled for, which the tests check.
    """
    return 4 if SIMULATED else _multiprocessors_of(_chosen or 0)


@cache
def _multiprocessors_of(number: int) -> int:
    return cuda.gpus[number].MULTIPROCESSOR_COUNT


def kernel(threads: int, blocks: int = 1) -> Callable:
    """Decorate a kernel.

    Parameters
    ----------
    threads : int
        The most threads that a block has.
    blocks : int
        The number of such blocks that must fit onto a multiprocessor at once. The compiler may then give each thread
        65536 / (threads x blocks) registers.
    """
    if SIMULATED:
        return cuda.jit
    from numba.cuda.dispatcher import CUDACache

    def decorate(function):
        dispatcher = cuda.jit(launch_bounds=(threads, blocks))(function)
        keep(dispatcher, CUDACache)
        return dispatcher

    return decorate


def device_function(function: Callable) -> Callable:
    """Decorate a function that kernels call, and which is inlined in them."""
    if not SIMULATED:
        return cuda.jit(function, device=True, inline="always")
    # Calls are slow on the simulator, and only functions that use the thread's index need to be decorated.
    return cuda.jit(function, device=True) if "cuda" in function.__code__.co_names else function


if SIMULATED:

    def load4(array, index):
        """Load four contiguous numbers of a flat array; `index` must be a multiple of four."""
        assert index % 4 == 0 and 0 <= index <= array.size - 4
        return array[index], array[index + 1], array[index + 2], array[index + 3]

    def store4(array, index, a, b, c, d):
        """Store four contiguous numbers of a flat array; `index` must be a multiple of four."""
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
        """Load four contiguous numbers of a flat array; `index` must be a multiple of four."""

        def generate(context, builder, signature, arguments):
            pointer, _ = _four_at(context, builder, signature.args[0], *arguments)
            vector = builder.load(pointer, align=16)
            numbers = [builder.extract_element(vector, lane) for lane in _LANES]
            return context.make_tuple(builder, signature.return_type, numbers)

        return types.UniTuple(array.dtype, 4)(array, types.intp), generate

    @intrinsic
    def store4(typingctx, array, index, a, b, c, d):
        """Store four contiguous numbers of a flat array; `index` must be a multiple of four."""

        def generate(context, builder, signature, arguments):
            pointer, kind = _four_at(context, builder, signature.args[0], *arguments[:2])
            vector = ir.Constant(kind, ir.Undefined)
            for lane, number in zip(_LANES, arguments[2:], strict=True):
                vector = builder.insert_element(vector, number, lane)
            builder.store(vector, pointer, align=16)
            return context.get_dummy_value()

        number = array.dtype
        return types.void(array, types.intp, number, number, number, number), generate


def blocks_for(items: int, threads: int, most: int | None = None) -> int:
    """Number of blocks that have a thread for each item; no more than `most` per multiprocessor, if that is given."""
    blocks = -(-items // threads)
    return blocks if most is None else min(blocks, most * multiprocessors())
