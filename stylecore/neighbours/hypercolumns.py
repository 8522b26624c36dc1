"""Features of many layers joined, at a quarter of the picture's size, and their gradient."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from stylecore.errors import ParameterError
from stylecore.kernels.backend import DeviceArray
from stylecore.kernels.cpu.columns import square_means, square_means_backward
from stylecore.network import Network
from stylecore.plan import Plan

LAYERS = (
    *("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1"),
    *("relu3_2", "relu3_3", "relu4_1", "relu4_2", "relu4_3"),
)
"""The ReLU layers of VGG-16 up to conv4_3."""

SIDE = 4
"""Pixels along the side of the square that a hypercolumn describes."""

MULTIPLE = 8
"""Sides of the pictures are multiples of this, so that the maps of all layers divide each other."""


def check_network(network: Network) -> None:
    """Raise ParameterError unless a network has all `LAYERS`, and its values lie in the memory of the host."""
    missing = [layer for layer in LAYERS if layer not in network.layer_names]
    if missing:
        raise ParameterError(
            f'method "neighbours" compares the layers relu1_1 to relu4_3 and {network.name} has no {missing[0]}; '
            'choose network "vgg16" or "vgg19".'
        )
    if network.backend.available_bytes() is not None:
        raise ParameterError('method "neighbours" runs on the processor only; choose device "cpu".')


class Features(NamedTuple):
    """Hypercolumns of a picture: row p of `fine`, and after it row p // 4 of `coarse`.

    Attributes
    ----------
    fine : ndarray, (M, D)
        Features of squares of 4 x 4 pixels. Each four of them that make up a larger square follow each other.
    coarse : ndarray, (M / 4, D')
        Features of these squares of 8 x 8 pixels, of layers whose maps are no larger.
    """

    fine: np.ndarray
    coarse: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the matrix of hypercolumns."""
        return len(self.fine), self.fine.shape[1] + self.coarse.shape[1]

    def part(self, columns: slice) -> Features:
        """Some neighbouring columns."""
        split = self.fine.shape[1]
        return Features(
            self.fine[:, columns], self.coarse[:, max(columns.start - split, 0) : max(columns.stop - split, 0)]
        )

    def rows(self, which: np.ndarray) -> np.ndarray:
        """Some hypercolumns as a matrix."""
        return np.concatenate([self.fine[which], self.coarse[which // 4]], axis=1)

    def mean(self) -> Features:
        """The mean of the hypercolumns, in a row."""
        return Features(*(each.mean(axis=0, keepdims=True) for each in self))


class Hypercolumns:
    """The features of pictures of one size: one for each square of 4 x 4 pixels, with the channels of all layers.

    Each layer is divided by its number of channels. Maps larger than a quarter of the picture are averaged over
    squares, and four squares share a position of smaller ones.

    Parameters
    ----------
    network : Network
    size : tuple of int
        (height, width) of the pictures, multiples of `MULTIPLE`.
    gradient : bool
        Whether `backward` will be called.

    Attributes
    ----------
    shape : tuple of int
        (rows, columns) of the hypercolumns as a matrix, h w x 2688 for VGG-16.
    columns : dict of str to slice
        Of each layer.
    bytes : int
        Memory of the passes through the network, besides the features.

    References
    ----------
    Kolkin et al. (2022), section 3.1.
    """

    def __init__(self, network: Network, size: tuple[int, int], gradient: bool = True) -> None:
        height, width = size
        self._plan = Plan(network, height, width, LAYERS, gradient, features=False)
        self.bytes = self._plan.bytes + self._plan.scratch_bytes
        self._maps = {layer: network.map_shape(height, width, layer)[1:] for layer in LAYERS}
        self._width = width // SIDE
        self._dtype = network.dtype
        self.columns, end = {}, 0
        for layer, (_, _, channels) in self._maps.items():
            self.columns[layer] = slice(end, end + channels)
            end += channels
        self.shape = height // SIDE * self._width, end

    def empty(self) -> Features:
        """Memory for the features of a picture."""
        return Features(*(np.empty(shape, self._dtype) for shape in self._shapes))

    @property
    def features_bytes(self) -> int:
        """Memory of the features of a picture."""
        return sum(prod(shape) for shape in self._shapes) * self._dtype.itemsize

    @property
    def _shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        split = next(self.columns[layer].start for layer in LAYERS if self._is_coarse(layer))
        rows, columns = self.shape
        return (rows, split), (rows // 4, columns - split)

    def _is_coarse(self, layer: str) -> bool:
        return self._maps[layer][1] < self._width

    def _place(self, layer: str, features: Features) -> tuple[np.ndarray, int, int, int]:
        """The matrix and the first column of a layer, the side of a square in its map, and the squares of a cell."""
        begin = self.columns[layer].start
        if self._is_coarse(layer):
            return features.coarse, begin - features.fine.shape[1], 1, 1
        return features.fine, begin, self._maps[layer][1] // self._width, 2

    def forward(self, image: np.ndarray, out: Features | None = None) -> Features:
        """Features of a picture.

        Parameters
        ----------
        image : ndarray, (H, W, 3)
            sRGB in [0, 1].
        out : Features, optional
            Memory for the result.

        Returns
        -------
        Features
        """
        result = self.empty() if out is None else out

        def visit(layer: str, features: DeviceArray, start: int) -> None:
            shape = self._maps[layer]
            matrix, begin, side, block = self._place(layer, result)
            square_means(np.asarray(features).reshape(shape), side, block, 1 / shape[2], matrix, begin)

        self._plan.forward(np.asarray(image, self._dtype), visit)
        return result

    def backward(self, by_features: Features) -> np.ndarray:
        """Gradient with respect to the picture of the last `forward`, given that with respect to its features.

        Parameters
        ----------
        by_features : Features

        Returns
        -------
        ndarray, (H, W, 3)
        """

        def add_gradient(layer: str, features: DeviceArray, gradient: DeviceArray, start: int) -> None:
            shape = self._maps[layer]
            matrix, begin, side, block = self._place(layer, by_features)
            square_means_backward(matrix, begin, side, block, 1 / shape[2], np.asarray(gradient).reshape(shape))

        return np.array(self._plan.backward(add_gradient))
