"""MatConvNet's files: MATLAB files with a list of layers and the mean of the training images.

Such files use only part of MATLAB's format (version 5, documented by its makers), which is parsed here because SciPy's
reader crashes the interpreter on about one percent of the files with a single wrong byte.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from stylecore.errors import WeightsError
from stylecore.weights.network import Preprocessing
from stylecore.weights.readers.arrays import Convolution, Found, Stored, no_filters

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
_BLOCK = 2**13
"""Bytes to decompress at once, which may become a thousand times as many."""
_LARGEST_VARIABLE = 640_000_000
"""Bytes, decompressed; the layers of VGG-19 with its classifier have 575 million."""
_LARGEST_TEXT = 2**16
"""Bytes of a string, or of the field names of a struct."""
_LARGEST_IMAGE = 3 * 1024**2
"""Elements of the mean image; VGG-19's has 3 x 224 x 224."""
_MOST_ELEMENTS = 100_000
"""Data elements in a file; VGG-19 has about 10 thousand, most of them for the names of the classes."""


def read_matconvnet(path: str | os.PathLike[str]) -> Found:
    """Find the convolutions in a MatConvNet network (of the "SimpleNN" kind, such as the published VGG networks).

    Parameters
    ----------
    path : str or path

    Returns
    -------
    Found
        With the preprocessing that the file states: RGB in [0, 255] minus the mean.

    Raises
    ------
    WeightsError
        If the file holds something else.
    """
    content = memoryview(np.memmap(path, mode="r").data)
    if content[126:_HEADER] != b"IM":
        raise WeightsError(f"{path} was written on a big-endian machine, which is not supported; save it on another.")
    variables = _Parser().variables(content[_HEADER:])
    if "layers" not in variables:
        raise WeightsError(f"{path} holds no MatConvNet network, since it has no variable named layers.")
    convolutions = [_convolution(layer) for layer in variables["layers"] if layer["type"] == "conv"]
    if not convolutions:
        raise no_filters(path)
    return Found(convolutions, _preprocessing(variables, path))


def _convolution(layer: dict[str, Any]) -> Convolution:
    if "weights" in layer:
        filters, bias = layer["weights"][:2]
    else:  # before 2015
        filters, bias = layer["filters"], layer["biases"]
    # Filters are height x width x in x out. MatConvNet's manual, and many programs that follow it, say width x height,
    # and transpose; but the published numbers of imagenet-vgg-verydeep-19.mat are, without a transposition, those of
    # the Caffe network (checked against the normalised one, whose first filter is a multiple of it: it has 0.377 at
    # [0, 1] and 0.267 at [1, 0]).
    if not (isinstance(layer["name"], str) and isinstance(filters, np.ndarray)):
        raise ValueError("a layer is incomplete")
    return Convolution(layer["name"], Stored.of(filters), Stored.of(bias.reshape(-1)))


def _preprocessing(variables: dict[str, Any], path: str | os.PathLike[str]) -> Preprocessing:
    normalization = variables.get("meta", variables).get("normalization", {})
    if "averageImage" not in normalization:
        raise WeightsError(f"{path} has no normalization.averageImage, without which it cannot be used.")
    # One colour in newer files, an image in older ones.
    image = normalization["averageImage"]
    if image.size > _LARGEST_IMAGE:
        raise ValueError("the mean image is too large")
    mean = image.reshape(-1, 3).mean(axis=0, dtype=float)
    if not np.isfinite(mean).all():
        raise ValueError("the mean is not finite")
    return Preprocessing("RGB", 255.0, tuple(mean.tolist()), (1.0, 1.0, 1.0))


def _element(content: memoryview, position: int) -> tuple[int, int, int]:
    """Type, start and size of the payload of the data element at a position."""
    kind = int.from_bytes(content[position : position + 4], "little")
    if kind >> 16:  # A small element: type and size share four bytes, the payload is the other four.
        return kind & 0xFFFF, position + 4, kind >> 16
    return kind, position + 8, int.from_bytes(content[position + 4 : position + 8], "little")


class _Parser:
    """A parser of MATLAB's format that counts what it has parsed: a cell array of 100 MB has 12 million elements."""

    def __init__(self) -> None:
        self._parsed = 0

    def variables(self, content: memoryview) -> dict[str, Any]:
        """Parse the variables of a file, by name."""
        return dict(self._variable(kind, payload) for kind, payload in self._elements(content))

    def _elements(self, content: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Yield type and payload of consecutive data elements."""
        position = 0
        while position < len(content):
            self._parsed += 1
            kind, start, size = _element(content, position)
            end = start + size
            if end > len(content):
                raise ValueError("an element is longer than what holds it")
            if self._parsed > _MOST_ELEMENTS:
                raise ValueError("there are too many elements")
            yield kind, content[start:end]
            position = end if kind == _COMPRESSED else end + -end % 8

    def _variable(self, kind: int, payload: memoryview) -> tuple[str, Any]:
        """Name and value of a variable."""
        if kind == _COMPRESSED:
            ((kind, payload),) = self._elements(_decompress(payload))
        if kind != _MATRIX:
            raise ValueError("a variable is not an array")
        return self._array(payload)

    def _array(self, payload: memoryview) -> tuple[str, Any]:
        """Name and value of an array.

        The value is a list for a cell, a dict (or list of dicts) for a struct, a string, or an ndarray; and None for
        any other class, such as a function.
        """
        if not payload:  # An empty array may be written without anything in it.
            return "", None
        (_, flags), (_, extent), (_, letters), *parts = self._elements(payload)
        name = _text(letters, "latin1")
        shape = np.frombuffer(extent, "<i4")
        if flags[0] == _CELL:
            return name, [self._array(part)[1] for _, part in parts]
        if flags[0] == _STRUCT:
            (_, width), (_, names), *values = parts
            fields = _fields(names, int.from_bytes(width, "little"))
            if not fields:
                return name, {}
            items = [self._array(part)[1] for _, part in values]
            structs = [
                dict(zip(fields, items[i : i + len(fields)], strict=True)) for i in range(0, len(items), len(fields))
            ]
            return name, structs[0] if len(structs) == 1 else structs
        kind, numbers = parts[0] if parts else (0, memoryview(b""))
        if flags[0] == _CHARACTERS:
            return name, _text(numbers, "utf-16-le" if kind in (4, 17) else "utf-8")
        if flags[0] in _NUMERIC_CLASSES:
            return name, np.frombuffer(numbers, _NUMBERS[kind]).reshape(shape, order="F")
        return name, None


def _text(letters: memoryview, encoding: str) -> str:
    if len(letters) > _LARGEST_TEXT:
        raise ValueError("a text is too long")
    return bytes(letters).decode(encoding)


def _fields(names: memoryview, width: int) -> list[str]:
    """Field names of a struct, each padded with zeros to the same width."""
    text = _text(names, "latin1")
    return [text[i : i + width].partition("\0")[0] for i in range(0, len(text), width)] if text else []


def _decompress(payload: memoryview) -> memoryview:
    """Decompress a data element into as much memory as it says that it has."""
    inflater = zlib.decompressobj()
    head = inflater.decompress(payload[:_BLOCK], 8)
    _, start, size = _element(memoryview(head), 0)
    if start + size > _LARGEST_VARIABLE:
        raise ValueError("a variable is too large")
    content = bytearray(start + size)
    inflater, end = zlib.decompressobj(), 0
    for position in range(0, len(payload), _BLOCK):
        block = inflater.decompress(payload[position : position + _BLOCK])
        if end + len(block) > len(content):
            raise ValueError("a variable is longer than it says")
        content[end : end + len(block)] = block
        end += len(block)
    if not inflater.eof or end < len(content):
        raise ValueError("a variable is incomplete")
    return memoryview(content)
