"""Arrays in the memory of the GPU, and the ways into and out of it.

An `Array` is seen by the network and the losses as they see one of NumPy: it has a shape and a type, can be cut into
rows and reshaped, copied and filled. The kernels see its numbers in a row (`Array.flat`).
"""

import threading
from math import prod

import numpy as np
from numba import cuda

from stylecore.kernels.cuda import runtime
from stylecore.kernels.cuda.runtime import SIMULATED, STRIDED, blocks_for, kernel

THREADS = 256

OUT_OF_MEMORY = 2

# Of each thread of Python: pinned memory that images pass through on their way, by direction, which grows with the
# images, and scratch memory.
_local = threading.local()


class _Memory:
    """A block of device memory, and the views of it that kernels were given: to make one takes as long as a launch."""

    def __init__(self, size):
        runtime.enter()
        self._block = cuda.device_array(max(size, 1), np.uint8)
        self._views = {}

    def view(self, offset, size, dtype):
        key = (offset, size, dtype)
        if key not in self._views:
            self._views[key] = self._block[offset : offset + size * dtype.itemsize].view(dtype)
        return self._views[key]


class Array:
    """An array in device memory, of contiguous numbers.

    Parameters
    ----------
    memory : _Memory
    offset : int
        Bytes from its beginning.
    shape : tuple of int
    dtype : dtype
    """

    def __init__(self, memory, offset, shape, dtype):
        self._memory, self._offset = memory, offset
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)

    @property
    def size(self):
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self):
        """Bytes that the elements take."""
        return self.size * self.dtype.itemsize

    @property
    def flat(self):
        """The numbers in a row, as kernels take them, in a thread that has its place on the GPU by that."""
        runtime.enter()
        return self._memory.view(self._offset, self.size, self.dtype)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, key):
        """Some rows: a slice of the first axis that is longer than one; the axes before it are given as ``:``."""
        *whole, rows = key if isinstance(key, tuple) else (key,)
        axis = len(whole)
        if prod(self.shape[:axis]) != 1 or any(part != slice(None) for part in whole):
            raise IndexError(f"{key} of an array of shape {self.shape} is not contiguous.")
        begin, end, step = rows.indices(self.shape[axis])
        if step != 1:
            raise IndexError(f"{key} takes steps; device arrays are cut into neighbouring rows only.")
        row = prod(self.shape[axis + 1 :])
        shape = (*self.shape[:axis], max(end - begin, 0), *self.shape[axis + 1 :])
        return Array(self._memory, self._offset + begin * row * self.dtype.itemsize, shape, self.dtype)

    def __setitem__(self, key, value):
        """Write a number, another device array or an array of the host, of the same shape, into all or some rows."""
        target = self if key is Ellipsis else self[key]
        if isinstance(value, Array):
            target.flat.copy_to_device(value.flat)
        elif np.ndim(value) == 0:
            _fill[blocks_for(target.size, THREADS, STRIDED), THREADS](target.flat, target.dtype.type(value))
        else:
            staging = _staging("down", target.size, target.dtype)
            staging.reshape(target.shape)[...] = value
            target.flat.copy_to_device(staging)

    def view(self, dtype):
        """The same memory as numbers of another type; of an array with one axis."""
        dtype = np.dtype(dtype)
        return Array(self._memory, self._offset, (self.nbytes // dtype.itemsize,), dtype)

    def reshape(self, *shape):
        """The same numbers in another shape; one side may be -1."""
        shape = shape[0] if isinstance(shape[0], tuple) else shape
        if -1 in shape:
            shape = tuple(self.size // -prod(shape) if side == -1 else side for side in shape)
        return Array(self._memory, self._offset, shape, self.dtype)

    def copy(self):
        """A copy in memory of its own."""
        other = empty(self.shape, self.dtype)
        other[...] = self
        return other

    def __array__(self, dtype=None, copy=None):
        """The numbers as an array of the host."""
        staging = _staging("up", self.size, self.dtype)
        self.flat.copy_to_host(staging)
        return staging.reshape(self.shape).astype(dtype or self.dtype)


def _staging(direction, size, dtype):
    """Pinned memory, which the device reads and writes at the full rate of the bus."""
    wanted = size * dtype.itemsize
    held = getattr(_local, direction, None)
    if held is None or held.nbytes < wanted:
        runtime.enter()
        held = cuda.pinned_array(wanted, np.uint8)
        setattr(_local, direction, held)
    return held[:wanted].view(dtype)


@kernel(THREADS)
def _fill(target, value):
    for i in range(cuda.grid(1), target.size, cuda.gridsize(1)):
        target[i] = value


def select(number):
    """Work on a GPU from now on, after a trial that shows that it works; one process works on one.

    Parameters
    ----------
    number : int

    Raises
    ------
    ValueError
        If the process works on another already.
    """
    if runtime.chosen() is not None:
        if runtime.chosen() != number:
            raise ValueError(f"this process works on GPU {runtime.chosen()} already")
        return
    runtime.choose(number)
    try:
        trial = empty((3,))
        trial[...] = 7
        if download(trial).tolist() != [7, 7, 7]:
            raise RuntimeError(f"GPU {number} does not compute what it was told to")
    except BaseException:
        runtime.choose(None)
        release_scratch()
        raise


def allocate(size):
    """Device memory of so many bytes, with arbitrary content.

    Parameters
    ----------
    size : int

    Returns
    -------
    Array, (size,) uint8

    Raises
    ------
    MemoryError
        If there is not so much.
    """
    try:
        return Array(_Memory(size), 0, (size,), np.uint8)
    except cuda.cudadrv.driver.CudaAPIError as error:
        if error.code != OUT_OF_MEMORY:
            raise
        raise MemoryError(f"the GPU's memory has no {size / 2**30:.1f} GB left.") from error


def available_bytes():
    """Device memory that can still be taken, in bytes; what was given back but is not yet free counts."""
    runtime.enter()
    if not SIMULATED:
        cuda.current_context().memory_manager.deallocations.clear()
    return cuda.current_context().get_memory_info().free


def empty(shape, dtype=np.float32):
    """A device array with arbitrary content."""
    dtype = np.dtype(dtype)
    return allocate(prod(shape) * dtype.itemsize).view(dtype).reshape(*shape)


def upload(array):
    """A device array of float32 with the content of one of the host; a device array is returned as it is."""
    if isinstance(array, Array):
        return array
    target = empty(np.shape(array))
    target[...] = array
    return target


def download(array):
    """The content of a device array, as an array of the host of its own."""
    return np.asarray(array)


def scratch(*shape, dtype=np.float32):
    """Memory that kernels may write to until the function that asked for it is done.

    It is one block for each thread of Python, which all use in turn, since they run one after the other; it grows when
    more is asked for.
    """
    wanted = prod(shape) * np.dtype(dtype).itemsize
    if len(getattr(_local, "scratch", ())) < wanted:
        _local.scratch = ()
        _local.scratch = allocate(wanted)
    return _local.scratch[:wanted].view(dtype).reshape(*shape)


def scratch_parts(*shapes):
    """Scratch memory for several arrays of float32 at once, each of which begins where 256 bytes do.

    Parameters
    ----------
    *shapes : tuple of int

    Returns
    -------
    list of Array
    """
    sizes = [-(-prod(shape) // 64) * 64 for shape in shapes]
    memory, parts, begin = scratch(sum(sizes)), [], 0
    for shape, size in zip(shapes, sizes, strict=True):
        parts.append(memory[begin : begin + prod(shape)].reshape(*shape))
        begin += size
    return parts


def release_scratch():
    """Give this thread's scratch memory and pinned memory back."""
    vars(_local).clear()
