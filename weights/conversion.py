"""Conversion of the convolutions in another program's file to `Weights` that fit an architecture."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stylecore.errors import ParameterError, WeightsError
from stylecore.messages import near_matches
from stylecore.weights.architectures import ARCHITECTURES, Conv, Pool, check_table, from_json, to_json
from stylecore.weights.isolation import isolated
from stylecore.weights.network import PREPROCESSINGS, Preprocessing, Weights, check_shapes
from stylecore.weights.readers import read_foreign
from stylecore.weights.readers.arrays import Convolution, Found, Stored
from stylecore.weights.store import decode, encode, write


def convert(
    path: str | os.PathLike[str],
    network: str,
    output: str | os.PathLike[str] | None = None,
    *,
    preprocessing: str | None = None,
    layers: Sequence[Conv | Pool] | None = None,
    source: str | None = None,
) -> Weights:
    """Convert another program's file of weights to the project's layout.

    Convolutions are matched by name if the file has all the names of the architecture (``conv1_1``), otherwise by
    order. The layers of the classifier are left out. A leading 1 x 1 convolution that only preprocesses the colours
    becomes the preprocessing.

    The file is read in a child process with limited memory and time, so that no file can crash or exhaust this one.

    Parameters
    ----------
    path : str or path
        PyTorch (old and new format), Keras (HDF5), MatConvNet, Flax or NumPy pickle, ``.npz`` or safetensors.
    network : str
        The architecture: a name in `ARCHITECTURES`, such as "vgg19".
    output : str or path, optional
        The HDF5 file to write. By default, none is written.
    preprocessing : str, optional
        A name in `PREPROCESSINGS`: what the network was trained with, where the file does not say or is misleading. By
        default, torchvision's for PyTorch and Flax, and their own for Keras and MatConvNet.
    layers : sequence of Conv and Pool, optional
        An architecture to use instead of the one named `network`.
    source : str, optional
        Where the file came from, for people to read. By default, its name.

    Returns
    -------
    Weights

    Raises
    ------
    ParameterError
        If the architecture or the preprocessing is unknown or invalid.
    WeightsError
        If the file cannot be read, does not fit the architecture, or the output cannot be written.
    """
    if layers is None and network not in ARCHITECTURES:
        raise ParameterError(f'architecture "{network}" is not known{near_matches(network, ARCHITECTURES)}.')
    if preprocessing is not None and preprocessing not in PREPROCESSINGS:
        near = near_matches(preprocessing, PREPROCESSINGS)
        raise ParameterError(f'preprocessing "{preprocessing}" is not known{near}.')
    layers = ARCHITECTURES[network] if layers is None else layers
    try:
        check_table(layers)
    except ValueError as error:
        raise ParameterError(f'the architecture of "{network}" is invalid: {error}.') from error
    if not os.path.isfile(path):
        raise WeightsError(f"{path} is not a file; give a file of weights.")
    options = {"preprocessing": preprocessing, "source": source or Path(path).name}
    weights = decode(isolated(_convert, path, network=network, architecture=to_json(layers), **options))
    if output is not None:
        write(weights, output)
    return weights


def _convert(path: str, *, network: str, architecture: str, **options: str) -> memoryview:
    """Convert a file to the bytes of one in the project's layout; called in a child process."""
    return encode(extract(path, network, from_json(architecture), **options))


def extract(
    path: str | os.PathLike[str],
    network: str,
    layers: Sequence[Conv | Pool],
    preprocessing: str | None = None,
    source: str = "",
) -> Weights:
    """Extract a network's weights from another program's file, in this process.

    Parameters
    ----------
    path : str or path
    network : str
    layers : sequence of Conv and Pool
    preprocessing : str, optional
        A name in `PREPROCESSINGS`.
    source : str

    Returns
    -------
    Weights

    Raises
    ------
    WeightsError
        If the file cannot be read, or does not fit the architecture.
    """
    found = read_foreign(path)
    try:
        filters, biases, chosen = _fit(found, network, layers, PREPROCESSINGS[preprocessing] if preprocessing else None)
        return Weights(network, tuple(layers), filters, biases, chosen, source, sha256(path))
    except WeightsError as error:
        raise WeightsError(f"{path} cannot be used: {error}") from error


def _fit(
    found: Found, network: str, layers: Sequence[Conv | Pool], preprocessing: Preprocessing | None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], Preprocessing]:
    """Read the filters and biases that an architecture needs, and choose the preprocessing."""
    convolutions, head = _split_head(found.convolutions)
    preprocessing = preprocessing or head or found.preprocessing
    if preprocessing is None:
        raise WeightsError(
            "it does not say which preprocessing its network was trained with; add --preprocessing with one of "
            f"{', '.join(PREPROCESSINGS)}."
        )
    needed = [layer for layer in layers if isinstance(layer, Conv)]
    matched = _match(convolutions, needed, network)
    filters = {name: conv.filters for name, conv in matched.items()}
    biases = {name: conv.bias for name, conv in matched.items() if conv.bias is not None}
    # Before anything is read, so that no more is allocated than the architecture has.
    check_shapes(network, needed, filters, biases)
    return _read_all(filters), _read_all(biases), preprocessing


def _read_all(arrays: dict[str, Stored]) -> dict[str, np.ndarray]:
    return {name: _read(stored) for name, stored in arrays.items()}


def _read(stored: Stored) -> np.ndarray:
    try:
        array = stored.read()
    except (WeightsError, MemoryError):
        raise
    except Exception as error:
        # The exceptions that parsers raise on damaged files have no common base.
        raise WeightsError("it is damaged or incomplete; download it again.") from error
    with np.errstate(over="ignore"):  # Infinity is reported with the name of its layer, as is that in the file.
        return np.array(array, dtype=np.float32, order="C")


def _match(convolutions: list[Convolution], layers: list[Conv], network: str) -> dict[str, Convolution]:
    """Assign the convolutions of a file to those of an architecture, by name if possible, otherwise by order."""
    by_name = {re.split("[./]", conv.name)[-1]: conv for conv in convolutions}
    if all(layer.name in by_name for layer in layers):
        return {layer.name: by_name[layer.name] for layer in layers}
    if len(convolutions) < len(layers):
        raise WeightsError(
            f"it holds {len(convolutions)} convolutions, but {network} needs {len(layers)}, so "
            f"{layers[len(convolutions)].name} is missing; give a file of the whole network."
        )
    return {layer.name: conv for layer, conv in zip(layers, convolutions, strict=False)}


def _split_head(convolutions: list[Convolution]) -> tuple[list[Convolution], Preprocessing | None]:
    """Split off a leading 1 x 1 convolution of the three colours, as the preprocessing that it computes."""
    name, filters, bias = convolutions[0]
    if filters.shape != (1, 1, 3, 3):
        return convolutions, None
    if bias is not None and bias.shape == (3,):
        # From the image's channels (rows) to the network's (columns).
        matrix = _read(filters)[0, 0].astype(float)
        offsets = _read(bias)
        scale = matrix.max()
        if scale > 0 and np.isfinite([scale, *offsets]).all():
            for order, permutation in {"RGB": np.eye(3), "BGR": np.eye(3)[::-1]}.items():
                if np.array_equal(matrix, scale * permutation):
                    # The file holds 123.68 rounded to float32; its shortest decimal is the number that was meant.
                    mean = tuple(float(str(-value)) for value in offsets)
                    return convolutions[1:], Preprocessing(order, float(scale), mean, (1.0, 1.0, 1.0))
    raise WeightsError(
        f"its first convolution, {name}, is of size 1 x 1 and does more than order, scale and shift the colours."
    )


def sha256(path: str | os.PathLike[str]) -> str:
    """Digest of a file.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
