"""How the CPU kernels are compiled, their threads and their scratch memory.

The kernels divide their work among Numba's threads and call no BLAS. What calls it between them, such as SciPy's
optimiser, had better hold it to one thread: the order of its sums, and so their rounding, depends on how many it has,
and no result of the program is to depend on that.
"""

import os
import threading
from contextlib import contextmanager
from functools import cache
from math import prod

import numpy as np
from threadpoolctl import ThreadpoolController

from stylecore.kernels.code_cache import keeps_code

# Sums may be reordered and multiplied-and-added at once, which vectorises them.
FAST = {"fastmath": {"contract", "nsz", "reassoc"}, "cache": keeps_code(lambda: None)}

# A thread of GNU's OpenMP that waits for the others does so in a loop, for up to a millisecond, and keeps its core from
# them if other programs are at work; one that sleeps at once is woken late. An evaluation at 512 px was measured to
# take 0.37 s, and 1.41 s each with two programs side by side, as OpenMP has it (300000); 0.38 and 1.14 s with this;
# 0.39 to 0.46 and 0.81 s with 2000, which is better where more threads are at work than there are cores. It is read
# when the first kernel runs.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")

_CACHE_LINE = 64

_lock = threading.Lock()
_entered = 0
_limit = None
_local = threading.local()


@cache
def _blas_libraries():
    import scipy.linalg  # noqa: F401  (its BLAS must be loaded to be found)

    return ThreadpoolController().select(user_api="blas")


@contextmanager
def one_blas_thread():
    """Hold BLAS to one thread per caller inside the ``with`` block, and give back the former limits after it.

    Blocks may be nested and may be entered by several Python threads: the first in sets the limit, and the last
    out restores it.
    """
    global _entered, _limit
    with _lock:
        if _entered == 0:
            with _control():
                _limit = _blas_libraries().limit(limits=1)
        _entered += 1
    try:
        yield
    finally:
        with _lock:
            _entered -= 1
            if _entered == 0:
                with _control():
                    _limit.restore_original_limits()


@contextmanager
def _control():
    """Let this thread set limits: newer versions of threadpoolctl heed only the first that did, until it is cleared."""
    _clear_control()
    yield
    _clear_control()


def _clear_control():
    for library in _blas_libraries().lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


def scratch(size, dtype):
    """Memory that a kernel may write to until it returns.

    One block per Python thread, which grows when more is asked for and is used by all kernels in turn: fresh
    memory costs a page fault for every 4 KB at its first use, which was measured to take as long as the work.

    Parameters
    ----------
    size : int
        Numbers.
    dtype : dtype

    Returns
    -------
    ndarray, (size,)
        With arbitrary content.
    """
    wanted = size * np.dtype(dtype).itemsize
    if wanted > getattr(_local, "block", np.empty(0)).nbytes:
        _local.block = None
        _local.block = allocate(wanted)
    return _local.block[:wanted].view(dtype)


def allocate(size):
    """Memory that begins at a cache line, as vectors that straddle two are loaded in twice the time.

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
    start = -memory.ctypes.data % _CACHE_LINE
    return memory[start : start + size]


def empty(shape, dtype):
    """An array that begins at a cache line, with arbitrary content."""
    return allocate(prod(shape) * np.dtype(dtype).itemsize).view(dtype).reshape(shape)


def release_scratch():
    """Give this thread's scratch memory back to the system."""
    _local.block = np.empty(0)
