"""Readers of other programs' files of weights; the format is recognised by a file's content, never by its name."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable

from stylecore.errors import WeightsError
from stylecore.weights.readers.arrays import Found
from stylecore.weights.readers.hdf5 import FORMAT, own_layout
from stylecore.weights.readers.keras import read_keras
from stylecore.weights.readers.matconvnet import read_matconvnet
from stylecore.weights.readers.named import read_npz, read_safetensors
from stylecore.weights.readers.pickles import read_pickle, read_torch_zip

__all__ = ["read_foreign"]

_LARGEST_FILE = 4_000_000_000
"""Bytes; VGG-19 with its classifier has 0.6 billion, and three times that with the state of an optimizer."""


def read_foreign(path: str | os.PathLike[str]) -> Found:
    """Find the convolutions in another program's file.

    The arrays are read from the file when their `Stored.read` is called.

    Parameters
    ----------
    path : str or path
        PyTorch (old and new format), Keras (HDF5), MatConvNet, Flax or NumPy pickle, ``.npz`` or safetensors.

    Returns
    -------
    stylecore.weights.readers.arrays.Found

    Raises
    ------
    WeightsError
        If the format is none of these, or the file is missing, too large, damaged, or does more than hold numbers.
    """
    if not os.path.isfile(path):
        raise WeightsError(f"{path} is not a file; give a file of weights.")
    size = os.path.getsize(path)
    if size > _LARGEST_FILE:
        raise WeightsError(
            f"{path} has {size / 1e9:.1f} GB, more than any network here; give a file of a network's weights."
        )
    try:
        return _reader(path)(path)
    except (WeightsError, MemoryError):
        raise
    except PermissionError as error:
        raise WeightsError(f"{path} cannot be read; change its permissions.") from error
    except Exception as error:
        # The exceptions that parsers raise on damaged files have no common base.
        raise WeightsError(f"{path} is damaged or incomplete; download it again.") from error


def _reader(path: str | os.PathLike[str]) -> Callable[[str | os.PathLike[str]], Found]:
    with open(path, "rb") as file:
        head = file.read(32)
    if head.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            is_torch = any(name.endswith("/data.pkl") for name in archive.namelist())
        return read_torch_zip if is_torch else read_npz
    if head.startswith(FORMAT.encode()):
        raise own_layout(path)
    if head.startswith(b"\x89HDF"):
        return read_keras
    if head.startswith(b"MATLAB 5"):
        return read_matconvnet
    # Before pickles: the first byte is part of a length, and can have any value.
    if head[4:9] == b"\0\0\0\0{":
        return read_safetensors
    if head.startswith(b"\x80"):
        return read_pickle
    if head.startswith(b"MATLAB"):
        raise WeightsError(f"{path} is of a MATLAB version that is not supported; save it with -v7.")
    raise WeightsError(
        f"{path} has an unknown format; supported are PyTorch, Keras' HDF5, MatConvNet, pickles, .npz and safetensors."
    )
