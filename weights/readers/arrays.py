"""What every reader hands over: the convolutions that a foreign file holds, in order, in one layout."""

import re
from typing import NamedTuple

import numpy as np

from stylecore.errors import WeightsError
from stylecore.weights.store import PREPROCESSINGS, Preprocessing

_PARTS = re.compile(r"(?P<layer>.+)[./_](?P<part>weights?|kernel|filters|W|bias|biases|b)(:0)?")
_BIAS = ("bias", "biases", "b")
_BATCH_NORMALISATION = ("running_mean", "moving_mean", "batch_stats")


class Convolution(NamedTuple):
    """A convolution as a file holds it; the name is the file's own."""

    name: str
    filters: np.ndarray
    """Shape (kh, kw, C_in, C_out)."""
    bias: np.ndarray | None


class Found(NamedTuple):
    """What a file holds of a network."""

    convolutions: list[Convolution]
    """In the order in which an image passes through them."""
    preprocessing: Preprocessing | None
    """None if nothing in the file tells what the network was trained with."""


def pair(arrays, path):
    """Put filters and biases together by their names, and the convolutions in order.

    The names may be PyTorch's (``features.0.weight``, ``features.0.bias``), Flax' (``Conv_0/kernel``), or
    like ``conv1_1_W`` and ``conv1_1_b``. What is no filter of a convolution, such as dense layers, is passed
    over. The layout, (C_out, C_in, kh, kw) or (kh, kw, C_in, C_out), is that in which all filters are square.

    The order is that of the file. If that is alphabetical it tells nothing ("10" comes before "2"); then it
    is that of the numbers in the names.

    Parameters
    ----------
    arrays : dict of str to ndarray
    path : str or path
        The file, for messages.

    Returns
    -------
    Found
        With torchvision's preprocessing if the names are PyTorch's or Flax', with none otherwise.

    Raises
    ------
    WeightsError
        If there are no convolutions, the layout is unclear, or there is batch normalisation.
    """
    if any(part in name for name in arrays for part in _BATCH_NORMALISATION):
        raise WeightsError(
            f"{path} is of a network with batch normalisation, which the networks here do not have; "
            f"get the one without."
        )
    filters, biases, words = {}, {}, set()
    for name, array in arrays.items():
        match = _PARTS.fullmatch(name)
        if match and array.dtype.kind == "f":
            if array.ndim == 4 and match["part"] not in _BIAS:
                filters[match["layer"]] = array
                words.add(match["part"])
            elif array.ndim == 1 and match["part"] in _BIAS:
                biases[match["layer"]] = array
    names = list(filters)
    if names == sorted(names):
        names.sort(key=_natural)
    axes = _axes(filters.values(), path)
    convolutions = [Convolution(name, filters[name].transpose(axes), biases.get(name)) for name in names]
    return Found(convolutions, PREPROCESSINGS["torchvision"] if words <= {"weight", "kernel"} else None)


def _natural(name):
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _axes(filters, path):
    """Order of axes that brings the filters to (kh, kw, C_in, C_out)."""
    if not filters:
        raise WeightsError(f"{path} holds no filters of convolutions; give a file of a network's weights.")
    first = all(array.shape[0] == array.shape[1] for array in filters)
    last = all(array.shape[2] == array.shape[3] for array in filters)
    if first == last:
        raise WeightsError(f"{path} holds filters in which height and width cannot be told from channels.")
    return (0, 1, 2, 3) if first else (2, 3, 1, 0)
