"""MatConvNet's files: MATLAB's, with a list of layers and the mean of the images.

The part of MATLAB's format (version 5, documented by its makers) that such files use is read here, since
SciPy's reader crashes the interpreter on one in a hundred files with a single wrong byte.
"""

import zlib

import numpy as np

from stylecore.errors import WeightsError
from stylecore.weights.readers.arrays import Convolution, Found
from stylecore.weights.store import Preprocessing

_NUMBERS = {
    1: "i1",
    2: "u1",
    3: "<i2",
    4: "<u2",
    5: "<i4",
    6: "<u4",
    7: "<f4",
    9: "<f8",
    12: "<i8",
    13: "<u8",
}
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHARACTERS = 1, 2, 4
_NUMERIC_CLASSES = range(6, 16)
_HEADER = 128
_LARGEST = 2**31
"""In bytes, of a variable once it is decompressed; that of VGG-19 with its classifier has 575 million."""


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
    content = memoryview(np.memmap(path, mode="r"))
    if content[126:_HEADER] != b"IM":
        raise WeightsError(f"{path} was written on a big-endian machine; save it on another.")
    variables = dict(_variable(kind, payload) for kind, payload in _elements(content[_HEADER:]))
    if "layers" not in variables:
        raise WeightsError(f"{path} holds no MatConvNet network, since it has no variable named layers.")
    convolutions = [_convolution(layer) for layer in variables["layers"] if layer["type"] == "conv"]
    if not convolutions:
        raise WeightsError(f"{path} holds no filters of convolutions; give a file of a network's weights.")
    return Found(convolutions, _preprocessing(variables, path))


def _convolution(layer):
    if "weights" in layer:
        filters, bias = layer["weights"][:2]
    else:  # before 2015
        filters, bias = layer["filters"], layer["biases"]
    # Filters are height x width x in x out. MatConvNet's manual, and many programs that follow it, say width
    # x height, and transpose; but the numbers of imagenet-vgg-verydeep-19.mat that people have printed are,
    # without a transposition, those of the Caffe network (checked against the normalised one, whose first
    # filter is a multiple of it: at [0, 1] it has 0.377, at [1, 0] 0.267).
    if not (isinstance(layer["name"], str) and isinstance(filters, np.ndarray)):
        raise ValueError("a layer is incomplete")
    return Convolution(layer["name"], filters, bias.reshape(-1))


def _preprocessing(variables, path):
    normalization = variables.get("meta", variables).get("normalization", {})
    if "averageImage" not in normalization:
        raise WeightsError(f"{path} has no normalization.averageImage, without which it cannot be used.")
    # One colour in newer files, an image of it in older ones.
    mean = normalization["averageImage"].reshape(-1, 3).mean(axis=0, dtype=float)
    if not np.isfinite(mean).all():
        raise ValueError("the mean is not finite")
    return Preprocessing("RGB", 255.0, tuple(mean.tolist()), (1.0, 1.0, 1.0))


def _elements(content):
    """Yield type and payload of the data elements that follow one another in MATLAB's format."""
    position = 0
    while position < len(content):
        kind = int.from_bytes(content[position : position + 4], "little")
        start = position + 8
        size = int.from_bytes(content[position + 4 : start], "little")
        if kind >> 16:  # A small element: type and size share four bytes, the payload is the other four.
            kind, size, start = kind & 0xFFFF, kind >> 16, position + 4
        if start + size > len(content):
            raise ValueError("an element is longer than what holds it")
        yield kind, content[start : start + size]
        end = start + size
        position = end if kind == _COMPRESSED else end + -end % 8


def _variable(kind, payload):
    """Name and value of a variable."""
    if kind == _COMPRESSED:
        inflater = zlib.decompressobj()
        ((kind, payload),) = _elements(memoryview(inflater.decompress(payload, _LARGEST)))
        if not inflater.eof:
            raise ValueError("a variable is incomplete or too large")
    if kind != _MATRIX:
        raise ValueError("a variable is no array")
    return _array(payload)


def _array(payload):
    """Name and value of an array.

    The value is a list for a cell, a dict (or list of dicts) for a struct, a string, or numbers; and None for
    what is of another class, such as a function.
    """
    if not payload:  # An empty array may be written without anything in it.
        return "", None
    (_, flags), (_, shape), (_, name), *parts = _elements(payload)
    name = bytes(name).decode("latin1")
    shape = np.frombuffer(shape, "<i4")
    if flags[0] == _CELL:
        return name, [_array(part)[1] for _, part in parts]
    if flags[0] == _STRUCT:
        (_, width), (_, fields), *values = parts
        width = int.from_bytes(width, "little")
        fields = np.frombuffer(fields, f"S{width}").astype(f"U{width}").tolist()
        values = [_array(part)[1] for _, part in values]
        structs = [
            dict(zip(fields, values[i : i + len(fields)], strict=True)) for i in range(0, len(values), len(fields))
        ]
        return name, structs[0] if len(structs) == 1 else structs
    if flags[0] == _CHARACTERS:
        kind, characters = parts[0]
        return name, bytes(characters).decode("utf-16-le" if kind in (4, 17) else "utf-8")
    if flags[0] in _NUMERIC_CLASSES:
        kind, numbers = parts[0]
        return name, np.frombuffer(numbers, _NUMBERS[kind]).reshape(shape, order="F")
    return name, None
