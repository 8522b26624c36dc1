"""MatConvNet's files: MATLAB's, with a cell array of structs, ``layers``, and the mean of the images."""

from stylecore.weights.readers.arrays import Convolution, Found
from stylecore.weights.store import Preprocessing

from stylecore.errors import WeightsError


def read_matconvnet(path):
    """Read a MatConvNet network (the "SimpleNN" kind, as published for VGG).

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Found
        With the preprocessing that the file itself tells: RGB bytes less their mean.

    Raises
    ------
    WeightsError
        If the file holds something else.
    """
    from scipy.io import loadmat

    content = loadmat(path, variable_names=("layers", "meta", "normalization"))
    if "layers" not in content:
        raise WeightsError(f"{path} holds no MatConvNet network, since it has no variable named layers.")
    layers = [layer for layer in content["layers"].ravel() if _get(layer, "type").item() == "conv"]
    if not layers:
        raise WeightsError(f"{path} holds no filters of convolutions; give a file of a network's weights.")
    return Found([_convolution(layer) for layer in layers], _preprocessing(content, path))


def _get(struct, field):
    return struct[field][0, 0]


def _convolution(layer):
    if "weights" in layer.dtype.names:
        filters, bias = _get(layer, "weights").ravel()[:2]
    else:  # before 2015
        filters, bias = _get(layer, "filters"), _get(layer, "biases")
    # Filters are height x width x in x out. MatConvNet's manual, and many programs that follow it, say width
    # x height, and transpose; but the numbers of imagenet-vgg-verydeep-19.mat that people have printed are,
    # without a transposition, those of the Caffe network (checked against the normalised one, whose first
    # filter is a multiple of it: at [0, 1] it has 0.377, at [1, 0] 0.267).
    return Convolution(_get(layer, "name").item(), filters, bias.reshape(-1))


def _preprocessing(content, path):
    # Newer files have it inside of meta; then it is the mean colour, in older ones an image of it.
    holder = _get(content["meta"], "normalization") if "meta" in content else content.get("normalization")
    if holder is None or "averageImage" not in holder.dtype.names:
        raise WeightsError(f"{path} has no normalization.averageImage, without which it cannot be used.")
    mean = _get(holder, "averageImage").reshape(-1, 3).mean(axis=0, dtype=float)
    return Preprocessing("RGB", 255.0, tuple(mean.tolist()), (1.0, 1.0, 1.0))
