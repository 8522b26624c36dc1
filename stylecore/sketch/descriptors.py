"""Descriptors by which sketches and photographs are compared, and photographs with each other.

Of a sketch and of the edges of a photograph, the line map is described: by histograms of oriented gradients (HOG) and
by features of VGG-19. Photographs are also described as they are, which tells what they show far better than edges do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy

from stylecore.kernels.backend import DeviceArray
from stylecore.network import Network, load_network
from stylecore.pictures.colour import grey
from stylecore.pictures.geometry import fit, resize
from stylecore.plan import Plan
from stylecore.regions import area_average
from stylecore.sketch.drawing import Drawing
from stylecore.sketch.libraries import skimage

SIDE = 224
"""Side length, in pixels, of the pictures that the network sees; VGG-19 was trained at this size."""

MARGIN = 10
"""Margin around the lines in a line map, in pixels."""

EDGE_SIGMA = 1.5
"""Standard deviation of the blur before the edges of a photograph are found, in pixels at SIDE."""

HOG_CELLS = (4, 6, 8)
"""Cells along a side of the histograms of gradients, one descriptor for each."""

LAYERS = ("relu5_1", "relu5_4")
GRID = 3
"""Side length of the grid over which features are averaged."""

Descriptors = Mapping[str, np.ndarray]
"""Vectors by name: "hog4" and so on, and "relu5_1" and so on for the line map; "appearance" and "content" for a
photograph's colours."""


class Describer:
    """Computes descriptors.

    Parameters
    ----------
    network : str, path, Weights or Network
        A network with the layers of VGG-19.

    Raises
    ------
    ParameterError, WeightsError
        If the network lacks a layer, or cannot be read.
    """

    def __init__(self, network: Any = "vgg19") -> None:
        self._network: Network = load_network(network, layers=LAYERS)
        self._plan = Plan(self._network, SIDE, SIDE, LAYERS, gradient=False)

    def photo(self, rgb: np.ndarray) -> dict[str, np.ndarray]:
        """Describe a photograph.

        Parameters
        ----------
        rgb : ndarray, (H, W, 3)
            sRGB in [0, 1].

        Returns
        -------
        dict of str to ndarray of float16
        """
        small = resize(rgb, fit(rgb.shape, SIDE))
        described = self.lines(_edges(grey(small)[..., 0]))
        features = self._features(resize(rgb, (SIDE, SIDE)))
        described["appearance"] = features["relu5_1"].ravel().astype(np.float16)
        described["content"] = (features["relu5_4"].mean(axis=(0, 1))).astype(np.float16)
        return described

    def sketch(self, drawing: Drawing) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Describe a drawing, and the same mirrored."""
        lines = drawing.lines
        return self.lines(lines), self.lines(lines[:, ::-1])

    def lines(self, mask: np.ndarray) -> dict[str, np.ndarray]:
        """Describe lines, given as a mask (H, W) that is not empty."""
        thin = fitted(mask)
        described = {f"hog{cells}": _hog(thin, cells) for cells in HOG_CELLS}
        thick = scipy.ndimage.binary_dilation(thin, np.ones((3, 3)))
        drawn = scipy.ndimage.gaussian_filter(thick.astype(np.float32), 0.7)
        features = self._features(np.repeat(1 - drawn[..., None], 3, axis=2))
        described.update({layer: features[layer].ravel() for layer in LAYERS})
        return {name: vector.astype(np.float16) for name, vector in described.items()}

    def _features(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Square roots of the features of the layers, averaged over a grid: (GRID, GRID, C) each."""
        averages: dict[str, np.ndarray] = {}

        def visit(layer: str, features: DeviceArray, start: int) -> None:
            side = round(len(features) ** 0.5)
            maps = np.asarray(features).reshape(side, side, -1)
            averages[layer] = np.sqrt(_grid_means(maps))

        self._plan.forward(np.ascontiguousarray(image, np.float32), visit)
        return averages


def fitted(mask: np.ndarray) -> np.ndarray:
    """Crop lines to their bounding box, fit them into a square of SIDE pixels, and thin them to one pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = fit(box.shape, SIDE - 2 * MARGIN)
    enlarged = max(height, width) >= max(box.shape)
    if enlarged:
        scaled = scipy.ndimage.zoom(box.astype(np.float32), (height / box.shape[0], width / box.shape[1]), order=1)
        scaled = scaled[:height, :width]
    else:
        scaled = area_average(box.astype(np.float32), (height, width))
    thin = skimage("morphology").skeletonize(np.ascontiguousarray(scaled > (0.5 if enlarged else 0.25)))
    square = np.zeros((SIDE, SIDE), bool)
    top, left = (SIDE - thin.shape[0]) // 2, (SIDE - thin.shape[1]) // 2
    square[top : top + thin.shape[0], left : left + thin.shape[1]] = thin
    return square


def _edges(tone: np.ndarray) -> np.ndarray:
    """Edges of a photograph; of one that is nearly uniform, its faint edges, or else its frame."""
    canny = skimage("feature").canny
    edges = canny(tone, sigma=EDGE_SIGMA)
    if edges.sum() < SIDE / 8:
        edges = canny(tone, sigma=1.0, low_threshold=0.02, high_threshold=0.05)
    if not edges.any():
        edges[[0, -1]] = edges[:, [0, -1]] = True
    return edges


def _hog(thin: np.ndarray, cells: int) -> np.ndarray:
    side = 16 * cells
    soft = resize(scipy.ndimage.gaussian_filter(thin.astype(np.float32), 3.0), (side, side))
    return skimage("feature").hog(soft, orientations=9, pixels_per_cell=(16, 16), cells_per_block=(2, 2))


def _grid_means(maps: np.ndarray) -> np.ndarray:
    """Means over the cells of a grid, which overlap where the side is no multiple of GRID: (GRID, GRID, C)."""
    side = len(maps)
    cells = [slice(i * side // GRID, -(-(i + 1) * side // GRID)) for i in range(GRID)]
    return np.array([[maps[rows, columns].mean(axis=(0, 1)) for columns in cells] for rows in cells])
