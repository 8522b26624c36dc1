"""What every reader returns: the convolutions in another program's file, in order and in one layout."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from stylecore.errors import WeightsError
from stylecore.weights.network import PREPROCESSINGS, Preprocessing

MOST_ARRAYS = 10_000
"""Arrays that a file may hold; VGG-19 has 38."""

_PARTS = re.compile(r"(?P<layer>.+)[./_](?P<part>weights?|kernel|filters|W|bias|biases|b)(:0)?")
_BIAS = ("bias", "biases", "b")
_BATCH_NORMALISATION = ("running_mean", "moving_mean", "batch_stats")


class Stored(NamedTuple):
    """An array in a file; its numbers are read once its shape is known to be right."""

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]

    @classmethod
    def of(cls, array: np.ndarray) -> Stored:
        """Wrap an array that takes no memory of its own, such as a view of a file.

        Parameters
        ----------
        array : ndarray

        Returns
        -------
        Stored
        """
        return cls(array.shape, array.dtype, lambda: array)

    def transpose(self, axes: tuple[int, ...]) -> Stored:
        """Permute the axes.

        Parameters
        ----------
        axes : tuple of int

        Returns
        -------
        Stored
        """
        return Stored(tuple(self.shape[axis] for axis in axes), self.dtype, lambda: self.read().transpose(axes))


class Convolution(NamedTuple):
    """A convolution in a file; the name is the file's own."""

    name: str
    filters: Stored
    """Shape (kh, kw, C_in, C_out)."""
    bias: Stored | None


class Found(NamedTuple):
    """What a file holds of a network."""

    convolutions: list[Convolution]
    """In the order of the forward pass; at least one."""
    preprocessing: Preprocessing | None
    """None if the file does not say what the network was trained with."""


def pair(arrays: dict[str, Stored], path: str | os.PathLike[str]) -> Found:
    """Match filters and biases by their names, and put the convolutions in order.

    The names may be PyTorch's (``features.0.weight``, ``features.0.bias``), Flax' (``Conv_0/kernel``), or like
    ``conv1_1_W`` and ``conv1_1_b``. Arrays that are not filters of a convolution, such as those of dense layers, are
    ignored. Of the layouts (C_out, C_in, kh, kw) and (kh, kw, C_in, C_out), the one in which all filters are square is
    chosen.

    The order is that of the file. An alphabetical order says nothing ("10" comes before "2"), so the convolutions are
    then sorted by the numbers in their names.

    Parameters
    ----------
    arrays : dict of str to Stored
    path : str or path
        The file, for messages.

    Returns
    -------
    Found
        With torchvision's preprocessing if the names are PyTorch's or Flax', with none otherwise.

    Raises
    ------
    WeightsError
        If there are no convolutions, the layout is ambiguous, or there is batch normalisation.
    """
    if any(part in name for name in arrays for part in _BATCH_NORMALISATION):
        raise WeightsError(
            f"{path} holds a network with batch normalisation, which is not supported; use the variant without it."
        )
    filters, biases, words = {}, {}, set()
    for name, array in arrays.items():
        match = _PARTS.fullmatch(name)
        if match and array.dtype.kind == "f":
            if len(array.shape) == 4 and match["part"] not in _BIAS:
                filters[match["layer"]] = array
                words.add(match["part"])
            elif len(array.shape) == 1 and match["part"] in _BIAS:
                biases[match["layer"]] = array
    names = list(filters)
    if names == sorted(names):
        names.sort(key=_natural)
    axes = _axes([array.shape for array in filters.values()], path)
    convolutions = [Convolution(name, filters[name].transpose(axes), biases.get(name)) for name in names]
    return Found(convolutions, PREPROCESSINGS["torchvision"] if words <= {"weight", "kernel"} else None)


def no_filters(path: str | os.PathLike[str]) -> WeightsError:
    """Error for a file without convolutions.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    WeightsError
    """
    return WeightsError(f"{path} holds no filters of convolutions; give a file of a network's weights.")


def _natural(name: str) -> list[int | str]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]


def _axes(shapes: list[tuple[int, ...]], path: str | os.PathLike[str]) -> tuple[int, ...]:
    """Order of axes that turns the filters' layout into (kh, kw, C_in, C_out)."""
    if not shapes:
        raise no_filters(path)
    first = all(shape[0] == shape[1] for shape in shapes)
    last = all(shape[2] == shape[3] for shape in shapes)
    if first == last:
        raise WeightsError(f"{path} holds filters whose height and width cannot be told from their channels.")
    return (0, 1, 2, 3) if first else (2, 3, 1, 0)
