"""Flat files of named arrays: NumPy's ``.npz`` and safetensors."""

from __future__ import annotations

import json
import math
import os
import zipfile
from typing import Any

import numpy as np

from stylecore.errors import WeightsError
from stylecore.weights.readers.arrays import MOST_ARRAYS, Found, Stored, pair

_LARGEST_HEADER = 4 * 2**20
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


def read_npz(path: str | os.PathLike[str]) -> Found:
    """Find the convolutions in a zip file of NumPy arrays.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Found

    Raises
    ------
    WeightsError
        If a member is not an array of numbers, there are too many, or there are no convolutions.
    """
    archive = zipfile.ZipFile(path)  # It stays open, as the arrays are read later.
    members = [name for name in archive.namelist() if name.endswith(".npy")]
    if len(members) > MOST_ARRAYS:
        raise WeightsError(f"{path} holds more than {MOST_ARRAYS} arrays; give a file of a network's weights.")
    return pair({name.removesuffix(".npy"): _npy(archive, name, path) for name in members}, path)


def _npy(archive: zipfile.ZipFile, name: str, path: str | os.PathLike[str]) -> Stored:
    def read() -> np.ndarray:
        with archive.open(name) as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    with archive.open(name) as file:
        # In later versions of the format, which plain numbers never need, a header may have 4 GB.
        if np.lib.format.read_magic(file) != (1, 0):
            raise WeightsError(f"{path} has {name} in a newer format than arrays of numbers need; save it again.")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise WeightsError(f"{path} has {name}, which is not an array of numbers; save the weights alone.")
    return Stored(shape, dtype, read)


def read_safetensors(path: str | os.PathLike[str]) -> Found:
    """Find the convolutions in a safetensors file: the header's length in 8 bytes, the header (JSON), the numbers.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Found

    Raises
    ------
    WeightsError
        If the header is invalid, or there are no convolutions.
    """
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _LARGEST_HEADER:
            raise WeightsError(f"{path} has a header of {length} bytes, which is too large for weights.")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    _check_offsets(header, os.path.getsize(path) - 8 - length, path)
    content = np.memmap(path, mode="r", offset=8 + length)
    arrays = {}
    for name, entry in header.items():
        if entry["dtype"] in _DTYPES:
            begin, end = entry["data_offsets"]
            arrays[name] = Stored.of(content[begin:end].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"]))
    return pair(arrays, path)


def _check_offsets(header: dict[str, Any], size: int, path: str | os.PathLike[str]) -> None:
    """Reject tensors that overlap, exceed the file, or do not have the length of their shape."""
    position = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        if not position <= begin <= end <= size:
            raise WeightsError(f"{path} has {name} where other tensors are, or beyond its end; download it again.")
        if entry["dtype"] in _DTYPES:
            shape, itemsize = entry["shape"], np.dtype(_DTYPES[entry["dtype"]]).itemsize
            # The product of a list of huge numbers takes hours.
            if len(shape) > 8 or any(not 0 <= n <= size for n in shape) or end - begin != math.prod(shape) * itemsize:
                raise WeightsError(f"{path} has {name} whose length does not match its shape; download it again.")
        position = end
