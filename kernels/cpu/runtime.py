"""How the CPU kernels are compiled and called, their threads and their scratch memory.

The kernels divide their work among Numba's threads and call no BLAS. Code that calls BLAS between them, such as SciPy's
optimizer, should hold it to one thread with `one_blas_thread`: the order of its sums, and so their rounding, depends on
the number of threads, and no result of the program may depend on that.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache, wraps
from math import prod
from typing import Any, ParamSpec, TypeVar

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.caching import FunctionCache
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic
from numpy.typing import DTypeLike
from threadpoolctl import ThreadpoolController

from stylecore.errors import BackendError
from stylecore.kernels import environment
from stylecore.kernels.code_cache import keep

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")

# Sums may be reordered and multiplied-and-added at once, which vectorises them.
_FAST = {"contract", "nsz", "reassoc"}

# A thread of GNU OpenMP that waits for the others spins for up to a millisecond, which keeps its core from other
# programs; one that sleeps at once is woken late. An evaluation at 512 px took 0.37 s alone, and 1.41 s each for two
# programs side by side, with OpenMP's default (300000); 0.38 and 1.14 s with this value; 0.39 to 0.46 and 0.81 s with
# 2000, which is better where more threads are at work than there are cores. It is read when the first kernel runs.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")

_CACHE_LINE = 64

# Held while a kernel runs, if the threading layer requires that, and while Numba holds locks.
_turn = threading.RLock()
_forked = False

_blas_lock = threading.Lock()
_entered = 0
_limit: Any = None
_local = threading.local()


def _compile(function: Callable, **options: Any) -> Callable:
    compiled = numba.njit(error_model="numpy", **{"fastmath": _FAST, **options})(function)
    if compiled is not function:  # They are the same with NUMBA_DISABLE_JIT.
        keep(compiled, FunctionCache)
    return compiled


def subroutine(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Decorate a function that kernels call, and which runs on the thread that calls it; Python cannot call it."""
    return _compile(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def exact_subroutine(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Decorate a subroutine whose sums are not reordered, so that it rounds the same each time that it is compiled."""
    return _compile(function, fastmath=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def kernel(function: Callable[_Parameters, None]) -> Callable[_Parameters, None]:
    """Decorate a kernel: a function that is called from Python and divides its work among all threads by `for_each`.

    A call raises a `BackendError` where kernels cannot run, see `start`.
    """
    compiled = _compile(function, no_cfunc_wrapper=True)

    @wraps(function)
    def run(*arguments: _Parameters.args, **keywords: _Parameters.kwargs) -> None:
        with start():
            compiled(*arguments, **keywords)

    return run


# Numba compiles a function that has a parallel loop four times, with all that it calls: as the body of the loop, in two
# wrappers, and as the function itself. So there is only one such loop, which calls its body by address. That takes two
# integers: the number of an item, and the address of the other arguments.


def _body_type(context):
    return context.call_conv.get_function_type(types.none, (types.intp, types.intp))


@intrinsic
def _call(typingctx, body, item, arguments):
    def generate(context, builder, signature, values):
        function = builder.inttoptr(values[0], _body_type(context).as_pointer())
        context.call_conv.call_function(builder, function, types.none, signature.args[1:], values[1:])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


def _over_items(body, arguments, count):
    for item in numba.prange(count):
        _call(body, np.intp(item), arguments)


_loop = _compile(_over_items, parallel=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)


@intrinsic
def for_each(typingctx, count, function, arguments):
    """Call a function with each number from 0 to `count` - 1, on all threads; for use in kernels.

    Parameters
    ----------
    count : int
    function : callable
        A subroutine. Gets the number, and after it the arguments.
    arguments : tuple
    """
    loop = types.Dispatcher(_loop)
    function_signature = function.get_call_type(typingctx, (types.intp, *arguments.types), {})
    loop_signature = loop.get_call_type(typingctx, (types.intp,) * 3, {})

    def generate(context, builder, signature, values):
        count, _, packed = values
        name = f"{builder.function.name}.body{len(builder.module.functions)}"
        body = ir.Function(builder.module, _body_type(context), name)
        inside = ir.IRBuilder(body.append_basic_block())
        item, address = context.call_conv.get_arguments(body)
        unpacked = cgutils.unpack_tuple(inside, inside.load(inside.inttoptr(address, packed.type.as_pointer())))
        context.get_function(function, function_signature)(inside, [item, *unpacked])
        # Inlined, so that a process that compiles runs the same code as one that loads the kernel: the former has the
        # function twice, and would call the other, which LLVM has optimised once less, and may round otherwise.
        for block in body.blocks:
            for instruction in block.instructions:
                if isinstance(instruction, ir.CallInstr):
                    instruction.attributes.add("alwaysinline")
        context.call_conv.return_value(inside, context.get_dummy_value())

        place = cgutils.alloca_once_value(builder, packed)
        addresses = [builder.ptrtoint(pointer, context.get_value_type(types.intp)) for pointer in (body, place)]
        context.get_function(loop, loop_signature)(builder, [*addresses, count])
        return context.get_dummy_value()

    return types.void(types.intp, function, arguments), generate


def start() -> AbstractContextManager:
    """Start the threads that kernels run on, unless they have been started.

    Returns
    -------
    context manager
        To be entered while a kernel runs. It is a lock unless Numba's threading layer is "omp": "workqueue" aborts the
        program when two threads of Python call kernels at the same time, and "tbb" hangs when one forks meanwhile.

    Raises
    ------
    BackendError
        If Numba's environment variables do not allow kernels to run, or the process was forked while GNU OpenMP was
        running, whose threads the fork did not copy.
    """
    if _forked:
        raise BackendError(
            "kernels cannot run in a process that was forked after GNU OpenMP had been started; start processes with "
            'multiprocessing.get_context("spawn").'
        )
    return nullcontext() if _threading_layer() == "omp" else _turn


@cache
def _threading_layer() -> str:
    """Start Numba's threads, and return the name of the layer that runs them."""
    environment.check()
    try:
        with _turn:
            numba.get_num_threads()
    except ValueError as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise BackendError(
            f'Numba cannot start its threads with the threading layer "{numba.config.THREADING_LAYER}" ({reason}); '
            "correct or unset the environment variables NUMBA_THREADING_LAYER and NUMBA_THREADING_LAYER_PRIORITY."
        ) from error
    return numba.threading_layer()


def threads() -> int:
    """Number of threads that kernels called from this thread of Python divide their work among."""
    start()
    with _turn:
        return numba.get_num_threads()


def _note_fork() -> None:
    global _forked
    with suppress(ValueError):  # It is raised if no threads have been started.
        _forked = _forked or (numba.threading_layer() == "omp" and sys.platform == "linux")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)
    # A lock that another thread held during a fork would stay locked in the child for ever; the last is acquired first.
    for lock in (global_compiler_lock, _turn):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


@cache
def _blas_libraries() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401  (its BLAS must be loaded to be found)

    return ThreadpoolController().select(user_api="blas")


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread inside the ``with`` block, and restore the former limits after it.

    Blocks may be nested, and several Python threads may enter them: the first to enter sets the limit, and the last to
    leave restores it.
    """
    global _entered, _limit
    with _blas_lock:
        if _entered == 0:
            with _control():
                _limit = _blas_libraries().limit(limits=1)
        _entered += 1
    try:
        yield
    finally:
        with _blas_lock:
            _entered -= 1
            if _entered == 0:
                with _control():
                    _limit.restore_original_limits()


@contextmanager
def _control() -> Iterator[None]:
    """Let this thread set limits: newer versions of threadpoolctl obey only the first that did, until it is cleared."""
    _clear_control()
    yield
    _clear_control()


def _clear_control() -> None:
    for library in _blas_libraries().lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


def scratch(size: int, dtype: DTypeLike) -> np.ndarray:
    """Memory that a kernel may write to until it returns.

    There is one block for each Python thread, which all kernels use in turn and which grows when a larger one is
    needed: fresh memory costs a page fault for every 4 KB at its first use, which was measured to take as long as the
    work.

    Parameters
    ----------
    size : int
        Number of elements.
    dtype : dtype

    Returns
    -------
    ndarray, (size,)
        With arbitrary content.
    """
    needed = size * np.dtype(dtype).itemsize
    if needed > getattr(_local, "block", np.empty(0)).nbytes:
        _local.block = None
        _local.block = allocate(needed)
    return _local.block[:needed].view(dtype)


def allocate(size: int) -> np.ndarray:
    """Memory that begins at a cache line, since loading a vector that crosses two lines takes twice as long.

    Parameters
    ----------
    size : int
        Bytes.

    Returns
    -------
    ndarray, (size,) uint8
        With arbitrary content.
    """
    memory = np.empty(size + _CACHE_LINE, np.uint8)
    offset = -memory.ctypes.data % _CACHE_LINE
    return memory[offset : offset + size]


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """An array that begins at a cache line, with arbitrary content."""
    return allocate(prod(shape) * np.dtype(dtype).itemsize).view(dtype).reshape(shape)


def release_scratch() -> None:
    """Free the scratch memory of the calling thread."""
    _local.block = np.empty(0)
