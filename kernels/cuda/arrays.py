"""Arrays in device memory, and copies to and from it.

The network and the losses use an `Array` like one of NumPy: it has a shape and a dtype, can be sliced into rows,
reshaped, copied and filled. The kernels take it as a flat array of Numba (`Array.flat`).
"""

from __future__ import annotations

import threading
from math import prod
from types import EllipsisType
from typing import Any

import numpy as np
from numba import cuda
from numpy.typing import ArrayLike, DTypeLike

from stylecore.kernels.cuda import runtime
from stylecore.kernels.cuda.runtime import SIMULATED, STRIDED, blocks_for, kernel

THREADS = 256

OUT_OF_MEMORY = 2

# For each thread of Python: scratch memory, and pinned memory through which arrays are copied, one block for each
# direction, which grow as needed.
_local = threading.local()


class _Memory:
    """A block of device memory, and the views of it that kernels got: making a view takes as long as a launch."""

    def __init__(self, size: int) -> None:
        runtime.enter()
        self._block = cuda.device_array(max(size, 1), np.uint8)
        self._views: dict[tuple[int, int, np.dtype], object] = {}

    def view(self, offset: int, size: int, dtype: np.dtype) -> Any:
        key = (offset, size, dtype)
        if key not in self._views:
            self._views[key] = self._block[offset : offset + size * dtype.itemsize].view(dtype)
        return self._views[key]


class Array:
    """A contiguous array in device memory.

    Parameters
    ----------
    memory : _Memory
    offset : int
        Bytes from the beginning of the memory.
    shape : tuple of int
    dtype : dtype
    """

    def __init__(self, memory: _Memory, offset: int, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._memory, self._offset = memory, offset
        self.shape = tuple(shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the elements take."""
        return self.size * self.dtype.itemsize

    @property
    def flat(self):
        """The elements as a flat array of Numba, for kernels; it also selects the GPU for the calling thread."""
        runtime.enter()
        return self._memory.view(self._offset, self.size, self.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: slice | tuple[slice, ...]) -> Array:
        """Some rows: a slice of the first axis that is longer than one; axes before it are written as ``:``."""
        *whole, rows = key if isinstance(key, tuple) else (key,)
        axis = len(whole)
        if prod(self.shape[:axis]) != 1 or any(part != slice(None) for part in whole):
            raise IndexError(f"{key} of an array of shape {self.shape} is not contiguous.")
        begin, end, step = rows.indices(self.shape[axis])
        if step != 1:
            raise IndexError(f"{key} has a step; device arrays are sliced into neighbouring rows only.")
        row = prod(self.shape[axis + 1 :])
        shape = (*self.shape[:axis], max(end - begin, 0), *self.shape[axis + 1 :])
        return Array(self._memory, self._offset + begin * row * self.dtype.itemsize, shape, self.dtype)

    def __setitem__(self, key: EllipsisType | slice | tuple[slice, ...], value: Array | ArrayLike) -> None:
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

    def view(self, dtype: DTypeLike) -> Array:
        """The same memory as another dtype; of an array with one axis."""
        dtype = np.dtype(dtype)
        return Array(self._memory, self._offset, (self.nbytes // dtype.itemsize,), dtype)

    def reshape(self, *shape: Any) -> Array:
        """The same elements in another shape, given as its sides or as a tuple of them; one side may be -1."""
        shape = shape[0] if isinstance(shape[0], tuple) else shape
        if -1 in shape:
            shape = tuple(self.size // -prod(shape) if side == -1 else side for side in shape)
        return Array(self._memory, self._offset, shape, self.dtype)

    def copy(self) -> Array:
        """A copy in other memory."""
        other = empty(self.shape, self.dtype)
        other[...] = self
        return other

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        """A copy as an array of the host."""
        staging = _staging("up", self.size, self.dtype)
        self.flat.copy_to_host(staging)
        return staging.reshape(self.shape).astype(dtype or self.dtype)


def _staging(direction, size, dtype):
    """Pinned memory, which the device reads and writes at the full speed of the bus."""
    needed = size * dtype.itemsize
    held = getattr(_local, direction, None)
    if held is None or held.nbytes < needed:
        runtime.enter()
        held = cuda.pinned_array(needed, np.uint8)
        setattr(_local, direction, held)
    return held[:needed].view(dtype)


@kernel(THREADS)
def _fill(target, value):
    for i in range(cuda.grid(1), target.size, cuda.gridsize(1)):
        target[i] = value


def select(number: int) -> None:
    """Use a GPU in this process, after a test that it works; a process uses only one.

    Parameters
    ----------
    number : int
        As the driver counts them.

    Raises
    ------
    ValueError
        If the process already uses another one.
    RuntimeError
        If the GPU computes a wrong result.
    """
    if runtime.chosen() is not None:
        if runtime.chosen() != number:
            raise ValueError(f"this process already uses GPU {runtime.chosen()}")
        return
    runtime.choose(number)
    try:
        trial = empty((3,))
        trial[...] = 7
        if download(trial).tolist() != [7, 7, 7]:
            raise RuntimeError(f"GPU {number} computes a wrong result")
    except BaseException:
        runtime.choose(None)
        release_scratch()
        raise


def allocate(size: int) -> Array:
    """Device memory with arbitrary content.

    Parameters
    ----------
    size : int
        Bytes.

    Returns
    -------
    Array, (size,) uint8

    Raises
    ------
    MemoryError
        If there is not enough.
    """
    try:
        return Array(_Memory(size), 0, (size,), np.uint8)
    except cuda.cudadrv.driver.CudaAPIError as error:
        if error.code != OUT_OF_MEMORY:
            raise
        raise MemoryError(f"the GPU is out of memory: {size / 2**30:.1f} GB are needed, and not free.") from error


def available_bytes() -> int:
    """Bytes of device memory that are free; memory that is no longer used, but not yet freed, counts as free."""
    runtime.enter()
    if not SIMULATED:
        cuda.current_context().memory_manager.deallocations.clear()
    return cuda.current_context().get_memory_info().free


def empty(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> Array:
    """A device array with arbitrary content."""
    dtype = np.dtype(dtype)
    return allocate(prod(shape) * dtype.itemsize).view(dtype).reshape(*shape)


def upload(array: ArrayLike | Array) -> Array:
    """A device array of float32 with the content of one of the host; a device array is returned as it is."""
    if isinstance(array, Array):
        return array
    target = empty(np.shape(array))
    target[...] = array
    return target


def download(array: Array) -> np.ndarray:
    """A copy of a device array as an array of the host."""
    return np.asarray(array)


def scratch(*shape: int, dtype: DTypeLike = np.float32) -> Array:
    """Memory that kernels may write to until the calling function returns.

    There is one block for each thread of Python, which all functions use in turn, as kernels run one after the other;
    it grows when a larger one is needed.
    """
    needed = prod(shape) * np.dtype(dtype).itemsize
    if len(getattr(_local, "scratch", ())) < needed:
        _local.scratch = ()
        _local.scratch = allocate(needed)
    return _local.scratch[:needed].view(dtype).reshape(*shape)


def scratch_parts(*shapes: tuple[int, ...]) -> list[Array]:
    """Scratch memory for several arrays of float32 at once, each of which is aligned to 256 bytes.

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


def mask_or_bytes(mask: Array | None, other: Array) -> Array:
    """The mask, or the memory of another array for kernels that are told that there is none, and do not touch it."""
    return other.reshape(-1).view(np.uint8) if mask is None else mask


def release_scratch() -> None:
    """Free the scratch memory and the pinned memory of the calling thread."""
    vars(_local).clear()
