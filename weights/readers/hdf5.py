"""Access to HDF5 files that stays inside the file, and knows the size of an array before it is read."""

from __future__ import annotations

import math
import os
from typing import Any

from stylecore.errors import WeightsError
from stylecore.weights.readers.arrays import Stored

FORMAT = "stylecore-weights"
"""The attribute ``format`` of the files in the project's own layout, and the beginning of those with a digest."""

_LARGEST_CHUNK = 64_000_000
"""Bytes; the largest filters of VGG-19 have 9.4 million."""


def own_layout(path: str | os.PathLike[str]) -> WeightsError:
    """Error for a file to convert that is in the project's own layout.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    WeightsError
    """
    return WeightsError(f"{path} is in stylecore's own layout already; use it as it is.")


def member(group: Any, name: str) -> Any:
    """Open a group or dataset that is part of the same file.

    Parameters
    ----------
    group : h5py.Group
    name : str
        Without slashes.

    Returns
    -------
    h5py.Group or h5py.Dataset

    Raises
    ------
    ValueError
        If it is missing, or a link that leads elsewhere.
    """
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{name} is not in the file itself")
    return group[name]


def stored(dataset: Any) -> Stored:
    """Wrap a dataset, whose numbers are read when asked for.

    Parameters
    ----------
    dataset : h5py.Dataset

    Returns
    -------
    Stored

    Raises
    ------
    ValueError
        If the numbers are in other files, or in chunks that are too large to be part of a network.
    """
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"the numbers of {dataset.name} are not in the file itself")
    if math.prod(dataset.chunks or ()) * dataset.dtype.itemsize > _LARGEST_CHUNK:
        raise ValueError(f"the chunks of {dataset.name} are too large")
    return Stored(dataset.shape, dataset.dtype, lambda: dataset[()])
