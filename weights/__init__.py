"""Where networks come from: fetched once, or converted from other programs' files, and kept as HDF5."""

import os

from stylecore.errors import ParameterError, WeightsError
from stylecore.messages import near_matches
from stylecore.weights.architectures import ARCHITECTURES
from stylecore.weights.catalogue import CATALOGUE, SHIPPED, cache_folder, cached_file, catalogue_rows
from stylecore.weights.conversion import convert
from stylecore.weights.download import fetch
from stylecore.weights.store import PREPROCESSINGS, Preprocessing, Weights, describe, read, write

__all__ = [
    "ARCHITECTURES",
    "CATALOGUE",
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


def load(network, progress=True, layers=None):
    """Load a network's weights; one of the catalogue is fetched into the cache folder at first use.

    Parameters
    ----------
    network : str, path or Weights
        A name in `CATALOGUE` or `SHIPPED`, such as "vgg19"; or an HDF5 file that `convert` or a training wrote; or
        weights, which are returned as they are.
    progress : bool
        Show a progress bar while fetching.
    layers : collection of str, optional
        As `read` takes them.

    Returns
    -------
    Weights

    Raises
    ------
    ParameterError
        If there is no network of that name.
    WeightsError
        If the weights cannot be fetched or read.
    """
    if isinstance(network, Weights):
        return network
    if isinstance(network, str) and network in SHIPPED:
        return read(SHIPPED[network], layers)
    if isinstance(network, str) and network in CATALOGUE:
        path = fetch(network, progress=progress)
        try:
            return read(path, layers)
        except WeightsError as error:
            raise WeightsError(
                f"the cached network {path} cannot be used; delete it, or run "
                f"`stylecore weights fetch {network}`, which fetches it anew."
            ) from error
    if isinstance(network, os.PathLike) or _looks_like_path(str(network)):
        return read(network, layers)
    near = near_matches(network, NAMES)
    raise ParameterError(f'network "{network}" is not known{near}; a file of weights ends in .h5.')


def _looks_like_path(text):
    separators = os.sep + (os.altsep or "")
    return text.endswith((".h5", ".hdf5")) or any(c in text for c in separators) or os.path.exists(text)
