"""Keras' HDF5 files: a group a layer, with a dataset of filters and one of biases somewhere in it."""

import re

from stylecore.errors import WeightsError
from stylecore.weights.readers.arrays import Found, pair
from stylecore.weights.store import FORMAT, PREPROCESSINGS


def read_keras(path):
    """Read Keras' weights, alone or in a whole model's file.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Found
        With Caffe's preprocessing if the layers are named like those of Keras' own VGG networks.

    Raises
    ------
    WeightsError
        If there are no filters, or they are in Theano's layout.
    """
    import h5py

    arrays = {}

    def collect(name, item):
        if isinstance(item, h5py.Dataset) and item.ndim in (1, 4):
            normalisation = re.search("gamma|beta|moving_mean|moving_variance", name)
            part = normalisation[0] if normalisation else "bias" if item.ndim == 1 else "kernel"
            arrays[f"{item.parent.name}.{part}"] = item[()]

    with h5py.File(path, "r") as file:
        if FORMAT.encode() == file.attrs.get("format"):
            raise WeightsError(f"{path} is in stylecore's own layout already; use it as it is.")
        file.get("model_weights", file).visititems(collect)
    if any(array.ndim == 4 and array.shape[0] != array.shape[1] for array in arrays.values()):
        raise WeightsError(
            f"{path} holds filters in Theano's layout, which are also turned by 180 degrees; get the file "
            f"whose name has tf_kernels in it."
        )
    convolutions, _ = pair(arrays, path)
    is_vgg = "block1_conv1" in convolutions[0].name
    return Found(convolutions, PREPROCESSINGS["caffe"] if is_vgg else None)
