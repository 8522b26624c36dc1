"""From the convolutions found in another program's file to `Weights` that fit an architecture."""

import hashlib
import re
from pathlib import Path

import numpy as np

from stylecore.errors import ParameterError, WeightsError
from stylecore.messages import near_matches
from stylecore.weights.architectures import ARCHITECTURES, Conv
from stylecore.weights.readers import read_foreign
from stylecore.weights.store import PREPROCESSINGS, Preprocessing, Weights, write


def convert(path, network, output=None, *, preprocessing=None, layers=None, source=None):
    """Read another program's file of weights, and write it in the project's layout.

    Convolutions are taken by their names if the file has all of the architecture's (``conv1_1``), else in
    their order. Classifier layers behind them are left out. A leading 1 x 1 convolution that only prepares
    the colours becomes the preprocessing.

    Parameters
    ----------
    path : str or path
        PyTorch (old and new format), Keras (HDF5), MatConvNet, Flax or NumPy pickle, ``.npz`` or safetensors.
    network : str
        The architecture: a name in `ARCHITECTURES`, such as "vgg19".
    output : str or path, optional
        The HDF5 file to write; without, nothing is written.
    preprocessing : str, optional
        A name in `PREPROCESSINGS`: what the network was trained with, where the kind of file does not tell or
        misleads. Without, it is torchvision's for PyTorch and Flax, and their own for Keras and MatConvNet.
    layers : sequence of Conv and Pool, optional
        Another table than the architecture's own.
    source : str, optional
        Where the file came from, in words; without, its name.

    Returns
    -------
    Weights

    Raises
    ------
    ParameterError
        If there is no such architecture or preprocessing.
    WeightsError
        If the file cannot be read, does not fit the architecture, or the output cannot be written.
    """
    if layers is None and network not in ARCHITECTURES:
        raise ParameterError(f'architecture "{network}" is not known{near_matches(network, ARCHITECTURES)}.')
    if preprocessing is not None and preprocessing not in PREPROCESSINGS:
        near = near_matches(preprocessing, PREPROCESSINGS)
        raise ParameterError(f'preprocessing "{preprocessing}" is not known{near}.')
    layers = tuple(ARCHITECTURES[network] if layers is None else layers)
    found = read_foreign(path)
    convolutions, head = _split_head(found.convolutions, path)
    chosen = PREPROCESSINGS.get(preprocessing) or head or found.preprocessing
    if chosen is None:
        raise WeightsError(
            f"{path} does not tell which preprocessing its network was trained with; "
            f"add --preprocessing with one of {', '.join(PREPROCESSINGS)}."
        )
    matched = _match(convolutions, [layer for layer in layers if isinstance(layer, Conv)], network, path)
    weights = Weights(
        network=network,
        layers=layers,
        filters={name: _float32(conv.filters) for name, conv in matched.items()},
        biases={name: _float32(conv.bias) for name, conv in matched.items() if conv.bias is not None},
        preprocessing=chosen,
        source=source or Path(path).name,
        sha256=sha256(path),
    )
    if output is not None:
        write(weights, output)
    return weights


def _float32(array):
    with np.errstate(over="ignore"):  # Infinity is reported with the layer's name, as is that in the file.
        return np.array(array, dtype=np.float32, order="C")


def _match(convolutions, layers, network, path):
    """Assign the convolutions of a file to those of an architecture, by name if possible, else by order."""
    by_name = {re.split("[./]", conv.name)[-1]: conv for conv in convolutions}
    if all(layer.name in by_name for layer in layers):
        return {layer.name: by_name[layer.name] for layer in layers}
    if len(convolutions) < len(layers):
        raise WeightsError(
            f"{path} holds {len(convolutions)} convolutions, but {network} needs {len(layers)}, "
            f"so {layers[len(convolutions)].name} is missing; get a file of the whole network."
        )
    return {layer.name: conv for layer, conv in zip(layers, convolutions, strict=False)}


def _split_head(convolutions, path):
    """Take off a leading 1 x 1 convolution of the three colours, as the preprocessing that it stands for."""
    name, filters, bias = convolutions[0]
    if filters.shape != (1, 1, 3, 3):
        return convolutions, None
    matrix = filters[0, 0].astype(float)  # From the image's channels (rows) to the network's (columns).
    scale = matrix.max()
    if bias is not None and bias.shape == (3,) and scale > 0 and np.isfinite([scale, *bias]).all():
        for order, permutation in {"RGB": np.eye(3), "BGR": np.eye(3)[::-1]}.items():
            if np.array_equal(matrix, scale * permutation):
                # The file holds 123.68 rounded to float32; its shortest decimal is the number that was meant.
                mean = tuple(float(str(-value)) for value in bias)
                return convolutions[1:], Preprocessing(order, float(scale), mean, (1.0, 1.0, 1.0))
    raise WeightsError(
        f"{path} begins with a 1 x 1 convolution, {name}, that does more than order, scale and shift the "
        f"colours; such a network cannot be used."
    )


def sha256(path):
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
