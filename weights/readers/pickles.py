"""Pickles: PyTorch's old and new files, and nested dicts of NumPy arrays (Flax).

A pickle is a program for a small machine, and may call whatever it can name. Here it can name only the methods of
`_Unpickler` below, which build stand-ins that hold plain data. The arrays are made later, by code that checks every
size.
"""

from __future__ import annotations

import io
import math
import mmap
import os
import pickle
import pickletools
import re
import zipfile
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np

from stylecore.errors import WeightsError
from stylecore.weights.readers.arrays import Found, Stored, pair

_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_TORCH_PROTOCOL = 1001
_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "u1",
}
_GLOBALS = {
    ("collections", "OrderedDict"): "make_dict",
    ("_codecs", "encode"): "make_bytes",
    ("numpy", "dtype"): "make_dtype",
    ("numpy", "ndarray"): "make_array",
    ("torch._utils", "_rebuild_tensor"): "make_tensor",
    ("torch._utils", "_rebuild_tensor_v2"): "make_tensor",
    ("torch._utils", "_rebuild_parameter"): "make_parameter",
}
for _core in ("numpy.core", "numpy._core"):
    _GLOBALS[f"{_core}.multiarray", "_reconstruct"] = "make_array"
    _GLOBALS[f"{_core}.numeric", "_frombuffer"] = "make_array_from_buffer"

_MOST_OPCODES = 1_000_000
_LARGEST_INTEGER = 2**128
_LARGEST_PICKLE = 64 * 2**20
"""Bytes of the pickle inside a zip file, where it holds only names and sizes."""
_LARGEST_STORAGE = 640_000_000
"""Bytes; VGG-19 with its classifier has 575 million altogether."""
_DEEPEST = 20
_MOST_VALUES = 100_000

_Storage = Callable[[str], np.ndarray]
"""A function from a storage's key to its numbers."""
_File = BinaryIO | mmap.mmap


def read_pickle(path: str | os.PathLike[str]) -> Found:
    """Find the convolutions in a pickle: PyTorch's format before version 1.6, or nested dicts of NumPy arrays.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Found

    Raises
    ------
    WeightsError
        If the pickle names anything but arrays and plain data, asks for too much memory, or holds no convolutions.
    """
    with open(path, "rb") as file:
        # Unlike a file, it allocates no more than there is when it is asked for a huge number of bytes.
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    tree, dtypes = _load(content, path)
    storages: dict[str, np.ndarray] = {}
    if tree == _TORCH_MAGIC:
        version, _ = _load(content, path)
        system, _ = _load(content, path)
        if version != _TORCH_PROTOCOL or not system["little_endian"]:
            raise WeightsError(f"{path} is of an unknown kind of PyTorch file; save it with a newer PyTorch.")
        tree, dtypes = _load(content, path)
        keys, _ = _load(content, path)
        storages = _storages_after(content, keys, dtypes, path)
    return pair(_arrays(tree, storages.__getitem__, dtypes, path), path)


def read_plain(file: BinaryIO, name: str) -> dict[Any, Any]:
    """Read a pickle of a dict of NumPy arrays and plain data, such as CIFAR-10's.

    Parameters
    ----------
    file : file
        Open for reading bytes.
    name : str
        The file's name, for messages.

    Returns
    -------
    dict

    Raises
    ------
    WeightsError
        If the pickle names anything else, or asks for too much memory.
    """
    content, _ = _load(file, name)
    return {key: value.value if isinstance(value, _Array) else value for key, value in content.items()}


def _load(file: _File, path: str | os.PathLike[str]) -> tuple[Any, dict[str, str]]:
    """Unpickle at the current position: the value, and the types of the storages that it refers to."""
    start = file.tell()
    _check_opcodes(file, path)
    file.seek(start)
    unpickler = _Unpickler(file, path)
    return unpickler.load(), unpickler.dtypes


def _check_opcodes(file: _File, path: str | os.PathLike[str]) -> None:
    """Reject a pickle that is far longer than weights need, or whose few bytes would take gigabytes.

    The unpickler allocates as many places for memorised values as the largest index says, and integers of any length.
    """
    argument: Any
    for count, (opcode, argument, _) in enumerate(pickletools.genops(cast(BinaryIO, file))):
        if (
            count > _MOST_OPCODES
            or (opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > count)
            or (opcode.name in ("INT", "LONG", "LONG1", "LONG4") and abs(argument) > _LARGEST_INTEGER)
        ):
            raise WeightsError(f"{path} asks for more memory than weights need; save the weights alone.")


def _storages_after(
    content: mmap.mmap, keys: list[str], dtypes: dict[str, str], path: str | os.PathLike[str]
) -> dict[str, np.ndarray]:
    """Find the storages behind the pickles in an old PyTorch file: each is its length in 8 bytes, and the numbers."""
    position, storages = content.tell(), {}
    for key in keys:
        dtype = np.dtype("<" + dtypes[key])
        start = position + 8
        length = int.from_bytes(content[position:start], "little")
        position = start + length * dtype.itemsize
        if position > len(content):
            raise WeightsError(f"{path} ends too early; download it again.")
        storages[key] = np.frombuffer(content, dtype, length, start) if length else np.zeros(0, dtype)
    return storages


def read_torch_zip(path: str | os.PathLike[str]) -> Found:
    """Find the convolutions in PyTorch's format since version 1.6: a zip file with a pickle and a member per storage.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Found

    Raises
    ------
    WeightsError
        If the pickle names anything but arrays and plain data, asks for too much memory, or holds no convolutions.
    """
    archive = zipfile.ZipFile(path)  # It stays open, as the storages are read later.
    (main,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
    # PyTorch compresses nothing; a compressed file may have been made to expand to terabytes of zeros.
    if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
        raise WeightsError(f"{path} is compressed, which PyTorch's files never are; download it again.")
    tree, dtypes = _load(io.BytesIO(_member(archive, main, _LARGEST_PICKLE)), path)
    storage = _zip_storages(archive, main.removesuffix("data.pkl"), dtypes)
    return pair(_arrays(tree, storage, dtypes, path), path)


def _member(archive: zipfile.ZipFile, name: str, largest: int) -> bytes:
    """Read a member of a zip file, unless it is too large."""
    info = archive.getinfo(name)
    if max(info.file_size, info.compress_size) > largest:
        raise ValueError(f"{name} is too large")
    return archive.read(info)


def _zip_storages(archive: zipfile.ZipFile, folder: str, dtypes: dict[str, str]) -> _Storage:
    """Read storages in a PyTorch zip file when asked for."""
    has_order = f"{folder}byteorder" in archive.namelist()
    order = ">" if has_order and _member(archive, f"{folder}byteorder", 16).strip() == b"big" else "<"

    @lru_cache(maxsize=1)  # Tensors may share a storage.
    def storage(key: str) -> np.ndarray:
        return np.frombuffer(_member(archive, f"{folder}data/{key}", _LARGEST_STORAGE), order + dtypes[key])

    return storage


class _Unpickler(pickle.Unpickler):
    """An unpickler that can name nothing but its own methods.

    They are bound methods rather than functions, because a pickle can set attributes of those. The one class has a
    ``__setstate__``, which keeps a pickle from setting the class's own.
    """

    def __init__(self, file: _File, path: str | os.PathLike[str]) -> None:
        # What Python 2 wrote as str may be text or bytes; Latin-1 preserves both.
        super().__init__(file, encoding="latin1")
        self.path = path
        self.dtypes: dict[str, str] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name.endswith("Storage"):
            if name not in _STORAGES:
                raise WeightsError(f"{self.path} has numbers of an unsupported type, {name}; save it as float32.")
            return _STORAGES[name]
        if (module, name) == ("torch.nn.parameter", "Parameter"):
            return _Parameter
        if (module, name) not in _GLOBALS:
            raise WeightsError(
                f"{self.path} asks to call {module}.{name}, which weights do not need, so it was not read any further; "
                "if it holds a whole model, save that model's state_dict() instead."
            )
        return getattr(self, _GLOBALS[module, name])

    def persistent_load(self, persistent_id: Any) -> str:
        kind, dtype, key, _device, _length, *view = persistent_id
        if kind != "storage" or dtype not in _STORAGES.values() or any(view) or not isinstance(key, str):
            raise WeightsError(f"{self.path} is of an unknown kind of PyTorch file; save it with a newer PyTorch.")
        self.dtypes[key] = dtype
        return key

    def make_dict(self, *items: Any) -> _Dict:
        return _Dict(*items)

    def make_bytes(self, text: str, _encoding: str) -> bytes:
        return text.encode("latin1")

    def make_dtype(self, code: str, *_flags: Any) -> _Dtype:
        if not re.fullmatch(r"[<>=|]?[fiub][1248]", code):
            raise WeightsError(f"{self.path} has an array of type {code!r}; only arrays of numbers are supported.")
        return _Dtype(code)

    def make_array(self, *_: Any) -> _Array:
        return _Array()

    def make_array_from_buffer(self, buffer: Any, dtype: Any, shape: Any, order: Any) -> _Array:
        array = _Array()
        array.__setstate__((shape, dtype, order == "F", buffer))
        return array

    def make_tensor(self, key: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
        return _Tensor(key, offset, shape, strides)

    def make_parameter(self, tensor: Any, *_: Any) -> Any:
        return tensor


class _Dict(dict[Any, Any]):
    """An OrderedDict, whose further attributes (PyTorch sets some) do not matter."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Dtype:
    """A NumPy dtype of numbers."""

    def __init__(self, code: str) -> None:
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        _version, order, *_ = state
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """A NumPy array, as a view of bytes that the pickle holds."""

    value: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        shape, dtype, is_fortran, content = state[-4:]
        if isinstance(content, str):
            content = content.encode("latin1")
        # Without bytes, NumPy would allocate the array; if there are too few, it raises an error.
        if not isinstance(dtype, _Dtype) or not isinstance(content, bytes | bytearray):
            raise pickle.UnpicklingError("an array is incomplete")
        self.value = np.ndarray(shape, dtype.dtype, content, order="F" if is_fortran else "C")


class _Tensor(NamedTuple):
    """A PyTorch tensor: a view of a storage; offset and strides are in elements, not bytes."""

    key: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, storage: np.ndarray) -> np.ndarray:
        """Return the tensor as a view, once it is certain that all of it lies inside the storage."""
        sizes = (self.offset, *self.shape, *self.strides)
        last = self.offset + sum(stride * (n - 1) for stride, n in zip(self.strides, self.shape, strict=True))
        if (
            any(type(size) is not int or size < 0 for size in sizes)
            or last >= storage.size
            or math.prod(self.shape) > storage.size
        ):
            raise WeightsError("it holds a tensor that exceeds its storage; download it again.")
        strides = [stride * storage.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(storage[self.offset :], self.shape, strides, writeable=False)


class _Parameter:
    """A tensor as PyTorch wrapped it before version 0.4, as in torchvision's VGG files."""

    tensor: Any = None

    def __setstate__(self, state: Any) -> None:
        self.tensor = state[0]


def _arrays(content: Any, storage: _Storage, dtypes: dict[str, str], path: str | os.PathLike[str]) -> dict[str, Stored]:
    """Collect the arrays in nested dicts by their names, joined by dots: ``features.0.weight``."""
    if isinstance(content, dict) and "state_dict" in content:
        content = content["state_dict"]
    found: dict[str, Stored] = {}
    pending: list[tuple[tuple[str, ...], Any]] = [((), content)]
    visited = 0
    while pending:
        names, value = pending.pop()
        visited += 1
        if isinstance(value, _Parameter):
            value = value.tensor
        # A pickle of a few bytes can hold dicts that hold each other, or themselves.
        if len(names) > _DEEPEST or visited > _MOST_VALUES:
            raise WeightsError(f"{path} is nested too deeply or holds too much; save its weights alone.")
        if isinstance(value, dict):
            pending += [((*names, str(key)), child) for key, child in reversed(value.items())]
        elif isinstance(value, _Array) and value.value is not None:
            found[".".join(names)] = Stored.of(value.value)
        # The storages of dense layers (2-D), which are most of a file, are never read.
        elif isinstance(value, _Tensor) and len(value.shape) in (1, 4):
            read = partial(lambda tensor: tensor.view(storage(tensor.key)), value)
            found[".".join(names)] = Stored(value.shape, np.dtype(dtypes[value.key]), read)
    return found
