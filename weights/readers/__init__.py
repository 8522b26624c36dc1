"""Readers of other programs' files of weights, told apart by their content, never by their names."""

import os
import zipfile

from stylecore.errors import WeightsError
from stylecore.weights.readers.keras import read_keras
from stylecore.weights.readers.matconvnet import read_matconvnet
from stylecore.weights.readers.named import read_npz, read_safetensors
from stylecore.weights.readers.pickles import read_pickle, read_torch_zip

__all__ = ["read_foreign"]


def read_foreign(path):
    """Read the convolutions in another program's file.

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
        If the file is missing, of none of these kinds, damaged, or tries to do more than hold numbers.
    """
    if not os.path.isfile(path):
        raise WeightsError(f"{path} is not a file; name a file of weights.")
    try:
        return _reader(path)(path)
    except WeightsError:
        raise
    except PermissionError as error:
        raise WeightsError(f"{path} may not be read; change its permissions.") from error
    except Exception as error:
        # What damaged files make the parsers raise has no common base.
        raise WeightsError(f"{path} is damaged or incomplete; get it anew.") from error


def _reader(path):
    with open(path, "rb") as file:
        head = file.read(16)
    if head.startswith(b"PK"):
        with zipfile.ZipFile(path) as archive:
            is_torch = any(name.endswith("/data.pkl") for name in archive.namelist())
        return read_torch_zip if is_torch else read_npz
    if head.startswith(b"\x89HDF"):
        return read_keras
    if head.startswith(b"MATLAB 5"):
        return read_matconvnet
    # Before pickles: the first byte is that of a length, and may be any.
    if head[4:9] == b"\0\0\0\0{":
        return read_safetensors
    if head.startswith(b"\x80"):
        return read_pickle
    if head.startswith(b"MATLAB"):
        raise WeightsError(f"{path} is of a MATLAB version that is not read; save it with -v7.")
    raise WeightsError(
        f"{path} is of no kind that is read; give PyTorch's, Keras' HDF5, MatConvNet's, a pickle, .npz or safetensors."
    )
