"""Where a training is written down after every epoch, whole or not at all, so that it can go on from there."""

import json
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np

from stylecore.errors import DataError, ParameterError
from stylecore.files import replacing


def checkpoint_path(output):
    """The checkpoint's file, beside the network's: ``cnn.checkpoint.npz`` for ``cnn.h5``."""
    return Path(output).with_suffix(".checkpoint.npz")


def save(path, settings, history, arrays):
    """Write a checkpoint.

    Parameters
    ----------
    path : path
    settings : dict
        Of the run; plain data.
    history : list of dict
        A dict an epoch; plain data.
    arrays : dict of str to ndarray
    """
    buffer = BytesIO()
    told = np.frombuffer(json.dumps({"settings": settings, "history": history}).encode(), np.uint8)
    np.savez(buffer, told=told, **arrays)
    with replacing(path) as file:
        file.write(buffer.getbuffer())


def load(path, settings, arrays):
    """Read a checkpoint back into the arrays that it was made of.

    Parameters
    ----------
    path : path
    settings : dict
        Of the run that is to go on.
    arrays : dict of str to ndarray
        Their contents are replaced.

    Returns
    -------
    list of dict
        The history.

    Raises
    ------
    DataError
        If the file is damaged.
    ParameterError
        If it belongs to a run with other settings.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            told = json.loads(file["told"].tobytes())
            found, history = told["settings"], told["history"]
            stored = {name: file[name] for name in file.files if name != "told"}
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"the checkpoint {path} is damaged; delete it and begin anew.") from error
    for name, value in settings.items():
        if found.get(name) != value:
            raise ParameterError(
                f"{path} belongs to a training with {name} {found.get(name)!r} and not {value!r}; go on with that, or "
                f"delete it and begin anew."
            )
    if {name: array.shape for name, array in stored.items()} != {name: array.shape for name, array in arrays.items()}:
        raise DataError(f"the checkpoint {path} does not fit the network; delete it and begin anew.")
    for name, array in arrays.items():
        array[...] = stored[name]
    return history
