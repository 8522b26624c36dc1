"""The checkpoint of a training: its state after an epoch, from which it can be resumed to the same network.

The file is an archive of NumPy arrays (``.npz``). ``training`` is a JSON object, encoded as bytes: what the training
depends on, and its history. The other arrays are parameters, running statistics and the state of the optimiser.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from stylecore.errors import DataError, ParameterError
from stylecore.runs.environment import differences, environment
from stylecore.training.curves import Epoch
from stylecore.training.settings import KeywordSettings

FORMAT = "stylecore training checkpoint"
FORMAT_VERSION = 2


@dataclass(frozen=True)
class Identity:
    """What a training depends on: a checkpoint can only be resumed with the same.

    Parameters
    ----------
    network : str
        Kind of network: "cnn", "autoencoder" or "painter".
    settings : KeywordSettings
        Those of the training.
    data : str
        Digest of the data; see `stylecore.training.data.digest`.
    environment : dict of str to str
        See `stylecore.runs.environment`.
    """

    network: str
    settings: KeywordSettings
    data: str
    environment: dict[str, str] = field(default_factory=environment)


def dump(identity: Identity, history: Sequence[Epoch], arrays: Mapping[str, np.ndarray]) -> memoryview:
    """Encode a checkpoint.

    Parameters
    ----------
    identity : Identity
    history : sequence of Epoch
    arrays : mapping of str to ndarray

    Returns
    -------
    memoryview
        The content of the file.
    """
    training = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "network": identity.network,
        "settings": identity.settings.to_json(),
        "data": identity.data,
        "environment": identity.environment,
        "history": list(history),
    }
    contents: dict[str, Any] = {"training": np.frombuffer(json.dumps(training).encode(), np.uint8), **arrays}
    buffer = BytesIO()
    np.savez(buffer, **contents)
    return buffer.getbuffer()


def check_format(path: Path) -> None:
    """Check that a file is a checkpoint of a training.

    Raises
    ------
    DataError
        If it is damaged or something else.
    ParameterError
        If it was written by another version.
    """
    _read(path, {})


def load(path: Path, identity: Identity, arrays: Mapping[str, np.ndarray]) -> list[Epoch]:
    """Read a checkpoint back into the arrays that it was written from.

    Parameters
    ----------
    path : path
    identity : Identity
        Of the training to resume.
    arrays : mapping of str to ndarray
        They are overwritten.

    Returns
    -------
    list of Epoch
        The history.

    Raises
    ------
    DataError
        If the file is damaged or something else.
    ParameterError
        If it belongs to a training of another identity.
    """
    training, stored = _read(path, arrays)
    _check_identity(path, training, identity)
    if _layout(stored) != _layout(arrays):
        raise DataError(f"{path} is damaged: its arrays do not fit the network; {_START_OVER}.")
    for name, array in arrays.items():
        array[...] = stored[name]
    return training["history"]


_START_OVER = "delete it to start over"


def _read(path: Path, names: Iterable[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The JSON object of a file, and those of its arrays that are named."""
    try:
        with np.load(path, allow_pickle=False) as file:
            training = json.loads(file["training"].tobytes())
            stored = {name: file[name] for name in names if name in file.files}
        if training["format"] != FORMAT:
            raise ValueError("another format")
        version = training["format_version"]
        if version == FORMAT_VERSION and not (
            _is_history(training["history"]) and "stylecore" in training["environment"]
        ):
            raise ValueError("no history or environment")
    except _UNREADABLE as error:
        raise DataError(f"{path} is damaged or not the checkpoint of a training; move or delete it.") from error
    if version != FORMAT_VERSION:
        raise ParameterError(f"{path} was written by another version of stylecore; {_START_OVER}.")
    return training, stored


# What NumPy, the ZIP archive and a JSON object of another structure raise.
_UNREADABLE = (
    OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def _is_history(history: object) -> bool:
    return isinstance(history, list) and all(
        isinstance(epoch, dict)
        and epoch.get("epoch") == number
        and all(isinstance(value, int | float) for value in epoch.values())
        for number, epoch in enumerate(history, 1)
    )


def _layout(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    return {name: (array.shape, array.dtype) for name, array in arrays.items()}


def _check_identity(path: Path, training: Mapping[str, Any], identity: Identity) -> None:
    if training.get("network") != identity.network:
        raise ParameterError(f"{path} belongs to the training of another kind of network; {_START_OVER}.")
    try:
        settings = type(identity.settings).from_json(training["settings"])
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged; {_START_OVER}.") from error
    for name in vars(settings):
        found, given = getattr(settings, name), getattr(identity.settings, name)
        if found == given:
            continue
        if name == "architecture":
            raise ParameterError(f"{path} belongs to a training of another architecture; {_START_OVER}.")
        raise ParameterError(
            f"{path} belongs to a training with {name} {found!r} and not {given!r}; resume it with that, or "
            f"{_START_OVER}."
        )
    if training.get("data") != identity.data:
        raise ParameterError(f"{path} belongs to a training on other data; resume it with those, or {_START_OVER}.")
    if changes := differences(training["environment"], identity.environment):
        raise ParameterError(
            f"{path} was written with {', '.join(changes)}, so the network could differ; resume it with that, or "
            f"{_START_OVER}."
        )
