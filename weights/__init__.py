"""Where networks come from: fetched once, or converted from other programs' files, and stored as HDF5."""

from __future__ import annotations

import os
from collections.abc import Collection

from stylecore.errors import ParameterError, WeightsError
from stylecore.messages import near_matches
from stylecore.weights.architectures import ARCHITECTURES
from stylecore.weights.catalogue import CATALOGUE, SHIPPED, cache_folder, cached_file, catalogue_rows, describe
from stylecore.weights.conversion import convert
from stylecore.weights.download import MIRROR, fetch
from stylecore.weights.network import PREPROCESSINGS, Preprocessing, Weights
from stylecore.weights.store import add_digest, read, write

__all__ = [
    "ARCHITECTURES",
    "CATALOGUE",
    "MIRROR",
    "NAMES",
    "PREPROCESSINGS",
    "SHIPPED",
    "Preprocessing",
    "Weights",
    "cache_folder",
    "cached_file",
    "catalogue_rows",
    "convert",
    "describe",
    "fetch",
    "load",
    "read",
    "write",
]

NAMES = (*CATALOGUE, *SHIPPED)
"""The networks that have a name."""


def load(
    network: str | os.PathLike[str] | Weights, progress: bool = True, layers: Collection[str] | None = None
) -> Weights:
    """Load a network; one of the catalogue is fetched into the cache folder when it is first used.

    Parameters
    ----------
    network : str, path or Weights
        A name in `CATALOGUE` or `SHIPPED`, such as "vgg19"; or an HDF5 file that `convert` or a training wrote; or
        weights, which are returned unchanged.
    progress : bool
        Whether to show a progress bar while fetching.
    layers : collection of str, optional
        Names of the layers that will be used; the layers after the deepest of them are not read.

    Returns
    -------
    Weights

    Raises
    ------
    ParameterError
        If there is no network of that name.
    WeightsError
        If the network cannot be fetched or read.

    Examples
    --------
    >>> small = load("small")
    >>> small.filters["conv1_1"].shape
    (3, 3, 3, 32)
    """
    if isinstance(network, Weights):
        return network
    if isinstance(network, str) and network in SHIPPED:
        return read(SHIPPED[network], layers)
    if isinstance(network, str) and network in CATALOGUE:
        path = cached_file(network)
        if not os.path.isfile(path):
            fetch(network, progress=progress)
        try:
            add_digest(path)
            return read(path, layers)
        except WeightsError as error:
            raise WeightsError(
                f"the cached network {path} cannot be used; run `stylecore weights fetch {network} --force`."
            ) from error
    if isinstance(network, os.PathLike) or _looks_like_path(str(network)):
        return read(network, layers)
    near = near_matches(network, NAMES)
    raise ParameterError(f'network "{network}" is not known{near}; files of weights end in .h5.')


def _looks_like_path(text: str) -> bool:
    separators = os.sep + (os.altsep or "")
    return text.endswith((".h5", ".hdf5")) or any(c in text for c in separators) or os.path.exists(text)
