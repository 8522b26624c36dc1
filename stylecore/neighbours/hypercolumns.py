"""Features of many layers joined into one matrix, at a quarter of the picture's size, and their gradient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stylecore.errors import ParameterError
from stylecore.kernels.backend import DeviceArray
from stylecore.network import Network
from stylecore.plan import Plan

LAYERS = (
    *("relu1_1", "relu1_2", "relu2_1", "relu2_2", "relu3_1"),
    *("relu3_2", "relu3_3", "relu4_1", "relu4_2", "relu4_3"),
)
"""The ReLU layers of VGG-16 up to conv4_3."""

SIDE = 4
"""Pixels along the side of the square that a row of the matrix describes."""

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


class Hypercolumns:
    """The features of pictures of one size: a row for each square of 4 x 4 pixels, with the channels of all layers.

    Each layer is divided by its number of channels. Maps larger than a quarter of the picture are averaged over
    squares, and smaller ones are repeated.

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
        (rows, columns) of the result's matrix, h w x 2688 for VGG-16.
    columns : dict of str to slice
        Of each layer.
    bytes : int
        Memory of the passes through the network, besides the matrices.

    References
    ----------
    Kolkin et al. (2022), section 3.1.
    """

    def __init__(self, network: Network, size: tuple[int, int], gradient: bool = True) -> None:
        height, width = size
        self._plan = Plan(network, height, width, LAYERS, gradient)
        self.bytes = self._plan.bytes + self._plan.scratch_bytes
        self._sides = {layer: network.map_shape(height, width, layer)[1:] for layer in LAYERS}
        self._map = height // SIDE, width // SIDE
        self._dtype = network.dtype
        self.columns, end = {}, 0
        for layer, (_, _, channels) in self._sides.items():
            self.columns[layer] = slice(end, end + channels)
            end += channels
        self.shape = self._map[0] * self._map[1], end

    def forward(self, image: np.ndarray) -> np.ndarray:
        """Features of a picture.

        Parameters
        ----------
        image : ndarray, (H, W, 3)
            sRGB in [0, 1].

        Returns
        -------
        ndarray, (h w, D)
            With h and w a quarter of H and W, row by row.
        """
        result = np.zeros(self.shape, self._dtype)

        def visit(layer: str, features: DeviceArray, start: int) -> None:
            _, width, channels = self._sides[layer]
            rows = np.asarray(features).reshape(-1, width, channels)
            columns = result.reshape(*self._map, -1)[:, :, self.columns[layer]]
            if width < self._map[1]:
                columns[...] = rows.repeat(2, axis=0).repeat(2, axis=1)
                columns /= channels
                return
            side = width // self._map[1]
            means = rows.reshape(len(rows), self._map[1], side, channels).mean(axis=2)
            for each, row in self._rows(start // width, len(rows), side):
                columns[row] += means[each] / (side * channels)

        self._plan.forward(np.asarray(image, self._dtype), visit)
        return result

    def backward(self, by_features: np.ndarray) -> np.ndarray:
        """Gradient with respect to the picture of the last `forward`, given that with respect to its features.

        Parameters
        ----------
        by_features : ndarray, (h w, D)

        Returns
        -------
        ndarray, (H, W, 3)
        """

        def add_gradient(layer: str, features: DeviceArray, gradient: DeviceArray, start: int) -> None:
            _, width, channels = self._sides[layer]
            rows = np.asarray(gradient).reshape(-1, width, channels)
            given = by_features.reshape(*self._map, -1)[:, :, self.columns[layer]]
            if width < self._map[1]:
                rows += (given[::2, ::2] + given[::2, 1::2] + given[1::2, ::2] + given[1::2, 1::2]) / channels
                return
            side = width // self._map[1]
            scaled = given / (side**2 * channels)
            for each, row in self._rows(start // width, len(rows), side):
                rows[each] += scaled[row].repeat(side, axis=1).reshape(rows[each].shape)

        return np.array(self._plan.backward(add_gradient))

    def _rows(self, first: int, count: int, side: int) -> Iterator[tuple[slice, slice]]:
        """For rows of a map, the first of which is `first`: some of them, and the row of the result that each is in."""
        for phase in range(side):
            begin = (phase - first) % side
            each = slice(begin, count, side)
            row = (first + begin) // side
            yield each, slice(row, row + len(range(*each.indices(count))))
