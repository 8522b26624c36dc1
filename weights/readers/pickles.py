"""Pickles: PyTorch's old and new files, and nested dicts of NumPy arrays (Flax).

A pickle is a program for a small machine, and may call whatever it can name. Here it can name nothing but the
methods of `_Unpickler` below, and what these build is stand-ins that hold plain data. The arrays are made
afterwards, by code that checks every size.
"""

import math
import pickle
import re
import zipfile
from typing import NamedTuple

import numpy as np

from stylecore.errors import WeightsError
from stylecore.weights.readers.arrays import pair

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

_LARGEST_PICKLE = 64 * 2**20
"""In bytes, of the pickle inside a zip file, where it holds names and sizes only."""
_DEEPEST = 20
_MOST_VALUES = 100_000


def read_pickle(path):
    """Read a pickle: PyTorch's format before version 1.6, or nested dicts of NumPy arrays.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Found

    Raises
    ------
    WeightsError
        If the pickle names anything else than arrays and plain data, or holds no convolutions.
    """
    with open(path, "rb") as file:
        content = _Unpickler(file, path).load()
        if content != _TORCH_MAGIC:
            return pair(_arrays(content, {}, path), path)
        version = _Unpickler(file, path).load()
        system = _Unpickler(file, path).load()
        if version != _TORCH_PROTOCOL or not system["little_endian"]:
            raise WeightsError(f"{path} is of an unknown kind of PyTorch's; save it with a newer one.")
        unpickler = _Unpickler(file, path)
        content = unpickler.load()
        keys = _Unpickler(file, path).load()
        storages = _storages_behind(file.tell(), keys, unpickler.dtypes, path)
    return pair(_arrays(content, storages, path), path)


def read_plain(file, name):
    """Read a pickle of a dict of NumPy arrays and plain data, as CIFAR-10 has them.

    Parameters
    ----------
    file : file
        Open for reading bytes.
    name : str
        What to call it in messages.

    Returns
    -------
    dict

    Raises
    ------
    WeightsError
        If the pickle names anything else.
    """
    content = _Unpickler(file, name).load()
    return {key: value.value if isinstance(value, _Array) else value for key, value in content.items()}


def _storages_behind(position, keys, dtypes, path):
    """Find the storages of an old PyTorch file: each is its length in 8 bytes, and the numbers."""
    content = np.memmap(path, mode="r")
    storages = {}
    for key in keys:
        dtype = np.dtype("<" + dtypes[key])
        start = position + 8
        length = int.from_bytes(content[position:start], "little")
        position = start + length * dtype.itemsize
        if position > content.size:
            raise WeightsError(f"{path} ends too early; get it anew.")
        storages[key] = content[start:position].view(dtype)
    return storages


def read_torch_zip(path):
    """Read PyTorch's format since version 1.6: a zip file with a pickle, and a member for each storage.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Found

    Raises
    ------
    WeightsError
        If the pickle names anything else than arrays and plain data, or holds no convolutions.
    """
    with zipfile.ZipFile(path) as archive:
        (main,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        # PyTorch compresses nothing. Whoever did, may have packed terabytes of zeros.
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise WeightsError(f"{path} is compressed, which PyTorch's files never are; get it anew.")
        if archive.getinfo(main).file_size > _LARGEST_PICKLE:
            raise WeightsError(f"{path} holds a pickle too large for weights; save its state_dict() alone.")
        with archive.open(main) as file:
            unpickler = _Unpickler(file, path)
            content = unpickler.load()
        return pair(_arrays(content, _Members(archive, main, unpickler.dtypes), path), path)


class _Members:
    """The storages in a PyTorch zip file by their keys; read when asked for, to leave the dense layers."""

    def __init__(self, archive, main, dtypes):
        self.archive = archive
        self.folder = main.removesuffix("data.pkl")
        self.dtypes = dtypes
        told = f"{self.folder}byteorder" in archive.namelist()
        self.order = ">" if told and archive.read(f"{self.folder}byteorder").strip() == b"big" else "<"

    def __getitem__(self, key):
        return np.frombuffer(self.archive.read(f"{self.folder}data/{key}"), self.order + self.dtypes[key])


class _Unpickler(pickle.Unpickler):
    """An unpickler that can name nothing but its own methods.

    They are bound methods and not functions, because a pickle can set attributes of those. The one class has
    a ``__setstate__``, which keeps a pickle from setting the class's own.
    """

    def __init__(self, file, path):
        # What Python 2 wrote as str may be text or bytes; Latin-1 keeps both.
        super().__init__(file, encoding="latin1")
        self.path = path
        self.dtypes = {}

    def find_class(self, module, name):
        if module == "torch" and name.endswith("Storage"):
            if name not in _STORAGES:
                raise WeightsError(f"{self.path} has numbers of a type not read, {name}; save it as float32.")
            return _STORAGES[name]
        if (module, name) == ("torch.nn.parameter", "Parameter"):
            return _Parameter
        if (module, name) not in _GLOBALS:
            raise WeightsError(
                f"{self.path} asks to call {module}.{name}, which weights have no use for, and was not read "
                f"further; if it holds a whole model, save that model's state_dict() instead."
            )
        return getattr(self, _GLOBALS[module, name])

    def persistent_load(self, persistent_id):
        kind, dtype, key, _device, _length, *view = persistent_id
        if kind != "storage" or dtype not in _STORAGES.values() or any(view):
            raise WeightsError(f"{self.path} is of an unknown kind of PyTorch's; save it with a newer one.")
        self.dtypes[key] = dtype
        return key

    def make_dict(self, *items):
        return _Dict(*items)

    def make_bytes(self, text, _encoding):
        return text.encode("latin1")

    def make_dtype(self, code, *_flags):
        if not re.fullmatch(r"[<>=|]?[fiub][1248]", code):
            raise WeightsError(f"{self.path} has an array of type {code!r}; only arrays of numbers are read.")
        return _Dtype(code)

    def make_array(self, *_):
        return _Array()

    def make_array_from_buffer(self, buffer, dtype, shape, order):
        array = _Array()
        array.__setstate__((shape, dtype, order == "F", buffer))
        return array

    def make_tensor(self, key, offset, shape, strides, *_):
        return _Tensor(key, offset, shape, strides)

    def make_parameter(self, tensor, *_):
        return tensor


class _Dict(dict):
    """An OrderedDict, whose further attributes (PyTorch gives it some) do not matter."""

    def __setstate__(self, state):
        pass


class _Dtype:
    """A NumPy dtype of numbers."""

    def __init__(self, code):
        self.dtype = np.dtype(code)

    def __setstate__(self, state):
        _version, order, *_ = state
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """A NumPy array; NumPy checks that the bytes suffice for the shape."""

    value = None

    def __setstate__(self, state):
        shape, dtype, is_fortran, content = state[-4:]
        if not isinstance(dtype, _Dtype):
            raise pickle.UnpicklingError("an array has something else for a dtype")
        if isinstance(content, str):
            content = content.encode("latin1")
        self.value = np.ndarray(shape, dtype.dtype, content, order="F" if is_fortran else "C")


class _Tensor(NamedTuple):
    """A PyTorch tensor: a view of a storage; all counts are of numbers, not bytes."""

    key: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def array(self, storages, path):
        """Look at the numbers in the storage, once it is sure that they all lie inside."""
        storage = storages[self.key]
        sizes = (self.offset, *self.shape, *self.strides)
        last = self.offset + sum(stride * (n - 1) for stride, n in zip(self.strides, self.shape, strict=True))
        if (
            any(type(size) is not int or size < 0 for size in sizes)
            or last >= storage.size
            or math.prod(self.shape) > storage.size
        ):
            raise WeightsError(f"{path} holds a tensor that reaches beyond its numbers; get it anew.")
        strides = [stride * storage.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(storage[self.offset :], self.shape, strides, writeable=False)


class _Parameter:
    """A tensor as PyTorch wrapped it before version 0.4; torchvision's VGG files are that old."""

    tensor = None

    def __setstate__(self, state):
        self.tensor = state[0]


def _arrays(content, storages, path):
    """Collect the arrays in nested dicts by their names, joined by points: ``features.0.weight``."""
    if isinstance(content, dict) and "state_dict" in content:
        content = content["state_dict"]
    found = {}
    pending = [((), content)]
    visited = 0
    while pending:
        names, value = pending.pop()
        visited += 1
        if isinstance(value, _Parameter):
            value = value.tensor
        # A pickle of a few bytes can hold lists that hold each other, or themselves.
        if len(names) > _DEEPEST or visited > _MOST_VALUES:
            raise WeightsError(f"{path} nests too deep or holds too much; save its weights alone.")
        if isinstance(value, dict):
            pending += [((*names, str(key)), child) for key, child in reversed(value.items())]
        elif isinstance(value, _Array):
            found[".".join(names)] = value.value
        # Dense layers (2-D) are not wanted, and are most of a file: their storages are never touched.
        elif isinstance(value, _Tensor) and len(value.shape) in (1, 4):
            found[".".join(names)] = value.array(storages, path)
    return found
