"""Flat files of named arrays: NumPy's ``.npz`` and safetensors."""

import json
import math
import os

import numpy as np

from stylecore.errors import WeightsError
from stylecore.weights.readers.arrays import pair

_LARGEST_HEADER = 4 * 2**20
_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2"}


def read_npz(path):
    """Read a zip file of NumPy arrays.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Found

    Raises
    ------
    WeightsError
        If a member is no array of numbers, or there are no convolutions.
    """
    arrays = {}
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            try:
                arrays[name] = archive[name]
            except ValueError as error:
                raise WeightsError(f"{path} has {name}, which is damaged or no array of numbers.") from error
    return pair(arrays, path)


def read_safetensors(path):
    """Read a safetensors file: the header's length in 8 bytes, the header (JSON), the numbers.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Found

    Raises
    ------
    WeightsError
        If the header is not sound, or there are no convolutions.
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
            arrays[name] = content[begin:end].view(_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return pair(arrays, path)


def _check_offsets(header, size, path):
    """Refuse tensors that overlap, reach beyond the file, or are not as long as their shapes say."""
    position = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = entry["data_offsets"]
        if not position <= begin <= end <= size:
            raise WeightsError(f"{path} has {name} where other tensors are, or beyond its end; get it anew.")
        if entry["dtype"] in _DTYPES:
            itemsize = np.dtype(_DTYPES[entry["dtype"]]).itemsize
            if end - begin != math.prod(entry["shape"]) * itemsize:
                raise WeightsError(f"{path} has {name} of another length than its shape says; get it anew.")
        position = end
