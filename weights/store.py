"""The HDF5 layout in which networks are stored.

A file begins with an HDF5 user block of 512 bytes: ``stylecore-weights``, a line feed, the SHA-256 of all that follows
the block in hexadecimal digits, a line feed, and zeros. The digest is checked before the HDF5 library opens the file,
since the library crashes on some damaged files. Files that older versions wrote have no such block; they are read in a
child process.

The attributes of the file are ``format``, ``format_version``, ``network``, ``architecture`` (the layers as JSON),
``channel_order``, ``scale``, ``mean``, ``std``, ``source`` and ``sha256``. Each convolution has a group of its name
with the datasets ``filters`` (kh, kw, C_in, C_out) and ``bias`` (C_out,), both float32, or float16 where a small file
matters more than the last digits.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import numpy as np

from stylecore.errors import WeightsError
from stylecore.files import replacing
from stylecore.weights.architectures import MOST_PARAMETERS, Conv, Pool, from_json, to_json, until
from stylecore.weights.isolation import isolated
from stylecore.weights.network import Preprocessing, Weights, check_shapes
from stylecore.weights.readers.arrays import Stored
from stylecore.weights.readers.hdf5 import FORMAT, member, stored

FORMAT_VERSION = 1

LARGEST_FILE = 10 * MOST_PARAMETERS
"""Bytes; twice as many as the parameters have."""
_LARGEST_ATTRIBUTE = 2**16
"""Bytes; HDF5's own limit for attributes that are stored the usual way."""
BLOCK = 512
"""Bytes of the user block."""
_MAGIC = FORMAT.encode() + b"\n"
_HDF5 = b"\x89HDF\r\n\x1a\n"


def write(weights: Weights, path: str | os.PathLike[str], dtype: str = "float32") -> None:
    """Write weights to a file in the project's layout, whole or not at all; an existing file is replaced.

    Parameters
    ----------
    weights : Weights
    path : str or path
    dtype : {"float32", "float16"}
        Type in which filters and biases are stored.

    Raises
    ------
    WeightsError
        If the file cannot be written.
    """
    try:
        with replacing(path) as file:
            file.write(encode(weights, dtype))
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be written ({error.strerror}); choose a folder that exists, is writable and has room."
        ) from error


def encode(weights: Weights, dtype: str = "float32") -> memoryview:
    """Write weights in the project's layout to memory.

    Parameters
    ----------
    weights : Weights
    dtype : {"float32", "float16"}

    Returns
    -------
    memoryview
        The content of a file. It is not written by HDF5 itself, which crashes on a full disk instead of raising an
        error.
    """
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=BLOCK) as file:
        file.attrs["format"] = text_attribute(FORMAT)
        file.attrs["format_version"] = FORMAT_VERSION
        file.attrs["network"] = text_attribute(weights.network)
        file.attrs["architecture"] = text_attribute(to_json(weights.layers))
        file.attrs["channel_order"] = text_attribute(weights.preprocessing.channel_order)
        for name in ("scale", "mean", "std"):
            file.attrs[name] = getattr(weights.preprocessing, name)
        file.attrs["source"] = text_attribute(weights.source)
        file.attrs["sha256"] = text_attribute(weights.sha256)
        for conv in weights.convolutions:
            group = file.create_group(conv.name)
            group.create_dataset("filters", data=weights.filters[conv.name], dtype=dtype)
            group.create_dataset("bias", data=weights.biases[conv.name], dtype=dtype)
    return sealed(buffer)


def sealed(buffer: io.BytesIO) -> memoryview:
    """The content of a finished HDF5 file in memory, with its digest in the user block of `BLOCK` bytes."""
    content = buffer.getbuffer()
    block = _MAGIC + hashlib.sha256(content[BLOCK:]).hexdigest().encode() + b"\n"
    content[: len(block)] = block
    return content


def text_attribute(text: str) -> np.bytes_:
    """Text of fixed length: in a damaged file, the HDF5 library may never return from one of variable length."""
    return np.bytes_(text.encode(errors="backslashreplace"))


def decode(content: bytes | memoryview) -> Weights:
    """Read weights from the content of a file that `encode` made.

    Parameters
    ----------
    content : bytes or memoryview

    Returns
    -------
    Weights
    """
    import h5py

    with h5py.File(io.BytesIO(content), "r") as file:
        return _weights(file, None)


def read(path: str | os.PathLike[str], layers: Collection[str] | None = None) -> Weights:
    """Read weights from a file in the project's layout.

    Parameters
    ----------
    path : str or path
    layers : collection of str, optional
        Names of the layers that will be used; the layers after the deepest of them are not read.

    Returns
    -------
    Weights

    Raises
    ------
    WeightsError
        If the file is missing, damaged, of another format or of a newer version, or its parts do not fit together.
    """
    if has_digest(path):
        check_digest(path)
        return _open(path, layers)
    return decode(isolated(_recode, path, layers=None if layers is None else list(layers)))


def check(path: str | os.PathLike[str]) -> None:
    """Check that a file in the project's layout is not damaged, as cheaply as possible.

    Parameters
    ----------
    path : str or path

    Raises
    ------
    WeightsError
        If it cannot be read.
    """
    if has_digest(path):
        check_digest(path)
    else:
        read(path)


def add_digest(path: str | os.PathLike[str]) -> None:
    """Rewrite a file of an older version with a digest, which makes it faster to read, if the folder is writable.

    Parameters
    ----------
    path : str or path

    Raises
    ------
    WeightsError
        If the file cannot be read.
    """
    if not has_digest(path):
        weights = read(path)
        with suppress(WeightsError):
            write(weights, path)


def is_hdf5(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is an HDF5 file, in the project's layout or any other, by its first bytes.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    bool

    Raises
    ------
    WeightsError
        If it is not a file, or cannot be read.
    """
    return _head(path).startswith((_MAGIC, _HDF5))


def has_digest(path: str | os.PathLike[str]) -> bool:
    """Tell files with a digest from those of older versions, and reject what is neither."""
    head = _head(path)
    if not head.startswith((_MAGIC, _HDF5)):
        raise _foreign(path)
    size = os.path.getsize(path)
    if size > LARGEST_FILE:
        raise WeightsError(f"{path} has {size / 1e9:.1f} GB, more than any network here; give a file of weights.")
    return head == _MAGIC


def _head(path: str | os.PathLike[str]) -> bytes:
    if not os.path.isfile(path):
        raise WeightsError(f"{path} is not a file; give a file of weights, or the name of a network.")
    try:
        with open(path, "rb") as file:
            return file.read(len(_MAGIC))
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}); change its permissions.") from error


def check_digest(path: str | os.PathLike[str]) -> None:
    """Raise WeightsError if the content of a file with a digest is not what was written."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        expected = file.read(BLOCK)[len(_MAGIC) :].partition(b"\n")[0]
        while block := file.read(2**20):
            digest.update(block)
    if digest.hexdigest().encode() != expected:
        raise _damaged(path)


def _recode(path: str, *, layers: list[str] | None) -> memoryview:
    """Read a file of an older version, and write it as one with a digest; called in a child process."""
    return encode(_open(path, layers))


def _open(path: str | os.PathLike[str], layers: Collection[str] | None) -> Weights:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if "format" not in file.attrs or _attribute(file, "format") != text_attribute(FORMAT):
                raise _foreign(path)
            version = int(_attribute(file, "format_version"))
            if version > FORMAT_VERSION:
                raise WeightsError(
                    f"{path} has version {version} of the format, which is newer than this program; upgrade stylecore."
                )
            try:
                return _weights(file, layers)
            except WeightsError as error:
                raise WeightsError(f"{path} cannot be used: {error}") from error
    except (WeightsError, MemoryError):
        raise
    except Exception as error:
        # On damaged files h5py raises OSError, KeyError, RuntimeError and others, which have no common base.
        raise _damaged(path) from error


def _foreign(path: str | os.PathLike[str]) -> WeightsError:
    return WeightsError(
        f"{path} is not in stylecore's format; run `stylecore weights convert {path} --network NAME -o OUT.h5` and use "
        "OUT.h5."
    )


def _damaged(path: str | os.PathLike[str]) -> WeightsError:
    return WeightsError(f"{path} is damaged or incomplete; download or convert it again.")


def _weights(file: Any, names: Collection[str] | None) -> Weights:
    network = read_text(file, "network")
    layers = tuple(until(from_json(read_text(file, "architecture")), names or ()))
    convolutions = [layer for layer in layers if isinstance(layer, Conv)]
    groups = {conv.name: member(file, conv.name) for conv in convolutions}
    filters = {name: stored(member(group, "filters")) for name, group in groups.items()}
    biases = {name: stored(member(group, "bias")) for name, group in groups.items()}
    # Before anything is read, so that no more is allocated than the architecture has.
    check_shapes(network, convolutions, filters, biases)
    return Weights(
        network=network,
        layers=layers,
        filters={name: read_floats(array) for name, array in filters.items()},
        biases={name: read_floats(array) for name, array in biases.items()},
        preprocessing=Preprocessing(
            channel_order=read_text(file, "channel_order"),
            scale=_numbers(file, "scale")[0],
            mean=_numbers(file, "mean"),
            std=_numbers(file, "std"),
        ),
        source=read_text(file, "source"),
        sha256=read_text(file, "sha256"),
    )


def _attribute(file: Any, name: str) -> Any:
    if file.attrs.get_id(name).get_storage_size() > _LARGEST_ATTRIBUTE:
        raise ValueError(f"the attribute {name} is too large")
    return file.attrs[name]


def read_text(file: Any, name: str) -> str:
    """An attribute of a file that `text_attribute` made."""
    return _attribute(file, name).decode()


def _numbers(file: Any, name: str) -> tuple[float, ...]:
    return tuple(np.ravel(_attribute(file, name)).astype(float).tolist())


def read_floats(array: Stored) -> np.ndarray:
    """The numbers of an array, in single precision if they are stored in half; ValueError if they are no floats."""
    if array.dtype.kind != "f":
        raise ValueError("an array does not hold floating-point numbers")
    numbers = array.read()
    return numbers.astype(np.float32) if numbers.dtype == np.float16 else numbers


def summary(path: str | os.PathLike[str]) -> str:
    """Describe a file in the project's layout.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    str
        Several lines: file, network, source, digest, preprocessing, number of parameters, and one line per layer.

    Raises
    ------
    WeightsError
        As for `read`.
    """
    weights = read(path)
    count = sum(array.size for arrays in (weights.filters, weights.biases) for array in arrays.values())
    lines = [
        f"file           {path} ({os.path.getsize(path) / 1e6:.1f} MB)",
        f"network        {weights.network}",
        f"source         {weights.source}",
        f"sha256         {weights.sha256}",
        f"preprocessing  {weights.preprocessing}",
        f"parameters     {count:,}",
        "layers",
    ]
    return "\n".join(lines + [f"  {_row(layer)}" for layer in weights.layers])


def _row(layer: Conv | Pool) -> str:
    kind = f"{layer.in_channels} -> {layer.out_channels} channels" if isinstance(layer, Conv) else "pooling"
    return f"{layer.name:<8} {layer.size} x {layer.size}, stride {layer.stride}, {kind}"
