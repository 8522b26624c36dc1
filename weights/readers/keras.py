"""Keras' HDF5 files: one group per layer, with a dataset of filters and one of biases somewhere in it."""

from __future__ import annotations

import os
import re
from typing import Any

from stylecore.errors import WeightsError
from stylecore.weights.network import PREPROCESSINGS
from stylecore.weights.readers.arrays import MOST_ARRAYS, Found, Stored, pair
from stylecore.weights.readers.hdf5 import FORMAT, member, own_layout, stored


def read_keras(path: str | os.PathLike[str]) -> Found:
    """Find the convolutions in Keras' weights, alone or in the file of a whole model.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Found
        With Caffe's preprocessing if the layers are named as in Keras' own VGG networks.

    Raises
    ------
    WeightsError
        If there are no filters, there are too many datasets, or the filters are in Theano's layout.
    """
    import h5py

    arrays: dict[str, Stored] = {}
    visited = 0

    def collect(name: str, item: Any) -> None:
        nonlocal visited
        visited += 1
        if visited > MOST_ARRAYS:
            raise WeightsError(f"{path} holds more than {MOST_ARRAYS} datasets; give a file of a network's weights.")
        if isinstance(item, h5py.Dataset) and item.ndim in (1, 4):
            normalisation = re.search("gamma|beta|moving_mean|moving_variance", name)
            part = normalisation[0] if normalisation else "bias" if item.ndim == 1 else "kernel"
            arrays[f"{item.parent.name}.{part}"] = stored(item)

    # It stays open, as the arrays are read later.
    file = h5py.File(path, "r")
    if file.attrs.get("format") == FORMAT.encode():
        raise own_layout(path)
    (member(file, "model_weights") if "model_weights" in file else file).visititems(collect)
    if any(len(array.shape) == 4 and array.shape[0] != array.shape[1] for array in arrays.values()):
        raise WeightsError(
            f"{path} holds filters in Theano's layout, which are also rotated by 180 degrees; use the file that has "
            "tf_kernels in its name."
        )
    convolutions, _ = pair(arrays, path)
    is_vgg = "block1_conv1" in convolutions[0].name
    return Found(convolutions, PREPROCESSINGS["caffe"] if is_vgg else None)
