"""Predict the memory of a transfer before it starts, and refuse one that does not fit."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING

from stylecore import memory
from stylecore.errors import ParameterError, TooLargeError
from stylecore.losses import STYLE_LOSSES
from stylecore.network import Network
from stylecore.optimizers import bytes_needed
from stylecore.pictures.geometry import fit
from stylecore.plan import Plan
from stylecore.tiles import SIDE, divide

if TYPE_CHECKING:
    from stylecore.settings import Settings

GPU_MEMORY = "the GPU's memory"
DISK = "disk space for temporary files"


def evaluation_bytes(
    network: Network,
    content_layers: Collection[str],
    style_layers: Collection[str],
    height: int,
    width: int,
    style_loss: str = "gram",
    regions: int = 1,
    tile: int | None = None,
    edges: str = "zeros",
) -> int:
    """Predict the memory that an evaluation of an objective needs besides the network.

    Parameters
    ----------
    network : Network
    content_layers, style_layers : collection of str
    height, width : int
        Of the image, in pixels.
    style_loss : {"gram", "mean_std", "mean_covariance", "wasserstein", "sliced_wasserstein"}
    regions : int
        Number of regions.
    tile : int, optional
        Longest side of the tiles in pixels; None for one piece.
    edges : {"zeros", "reflect", "wrap"}
        As in `stylecore.tiles.divide`.

    Returns
    -------
    int
        In bytes.

    Raises
    ------
    ParameterError
        If the network lacks a layer, the image is too small for one, or a tile is smaller than its halo.
    """
    layers = {*content_layers, *style_layers}
    tiles = divide(network, (height, width), layers, tile, edges)
    largest = max((each.outer.shape for each in tiles), key=prod)
    plans = [Plan(network, *shape, layers) for shape in {each.outer.shape for each in tiles}]
    matrices = [network.features_shape(*largest, layer) for layer in style_layers]
    scratch = [network.backend.gram_scratch_bytes(*m, network.dtype) for m in matrices]
    # The content targets; the image, the mean or the band of the image, and the gradient.
    values = sum(prod(network.features_shape(*largest, layer)) for layer in content_layers)
    values += 3 * 3 * prod(largest)
    # The style's second moment, the image's, and the gradient with respect to the latter; the guides.
    moments = 3 * regions * sum(channels**2 for _, channels in matrices)
    if STYLE_LOSSES[style_loss].of_positions:
        # The style's projections, the image's, and their gradient.
        moments = 3 * sum(prod(m) for m in matrices)
    values += moments if style_loss in ("gram", "sliced_wasserstein") else 2 * moments  # In float64.
    values += regions * sum(positions for positions, _ in matrices) if regions > 1 else 0
    if len(tiles) > 1 or edges != "zeros":
        # The gradient of the picture, a tile's share of the moments, and the guides that mark its own positions.
        values += 3 * height * width + moments + sum(positions for positions, _ in matrices)
    return (
        max(plan.bytes for plan in plans) + max(plans[0].scratch_bytes, *scratch, 0) + values * network.dtype.itemsize
    )


def disk_bytes(
    network: Network,
    content_layers: Collection[str],
    style_layers: Collection[str],
    shape: tuple[int, int],
    regions: int,
) -> int:
    """Predict the size of the temporary file of a picture in tiles: the content targets and the guides of regions.

    Parameters
    ----------
    network : Network
    content_layers, style_layers : collection of str
    shape : tuple of int
        (height, width) of the picture.
    regions : int
        Number of regions.

    Returns
    -------
    int
        In bytes.
    """
    values = sum(prod(network.features_shape(*shape, layer)) for layer in content_layers)
    if regions > 1:
        values += regions * sum(network.features_shape(*shape, layer)[0] for layer in style_layers)
    return values * network.dtype.itemsize


def predicted_bytes(
    network: Network,
    content_layers: Collection[str],
    style_layers: Collection[str],
    shape: tuple[int, int],
    style_shape: tuple[int, int],
    optimizer: str,
    style_loss: str = "gram",
    regions: int = 1,
    tile: int | None = None,
    edges: str = "zeros",
) -> dict[str, int]:
    """Predict the memory that a transfer needs at its largest scale, besides the images and the network.

    Parameters
    ----------
    network : Network
    content_layers, style_layers : collection of str
    shape, style_shape : tuple of int
        (height, width) of the result and of the style image.
    optimizer : {"lbfgsb", "lbfgs", "adam"}
    style_loss : {"gram", "mean_std", "mean_covariance", "wasserstein", "sliced_wasserstein"}
    regions : int
        Number of regions.
    tile, edges
        As in `evaluation_bytes`.

    Returns
    -------
    dict of str to int
        Bytes of "memory"; of `GPU_MEMORY`, if the network is on a GPU; and of `DISK`, if the picture is in tiles.

    Raises
    ------
    ParameterError
        As from `evaluation_bytes`, also for the style image.
    """
    layers = content_layers, style_layers
    evaluation = evaluation_bytes(network, *layers, *shape, style_loss, regions, tile, edges)
    analysis = 0
    if style_layers:
        network.check_size(*style_shape, style_layers, "style image")
        outer = {each.outer.shape for each in divide(network, style_shape, style_layers, tile, edges)}
        plans = [Plan(network, *each, style_layers, gradient=False) for each in outer]
        analysis = max(plan.bytes + plan.scratch_bytes for plan in plans)
        if STYLE_LOSSES[style_loss].of_positions:
            projections = sum(prod(network.features_shape(*style_shape, layer)) for layer in style_layers)
            analysis += 2 * projections * network.dtype.itemsize  # Unsorted and sorted.
    optimiser = bytes_needed(optimizer, network.dtype, 3 * shape[0] * shape[1])
    in_tiles = len(divide(network, shape, {*content_layers, *style_layers}, tile)) > 1
    needed = {DISK: disk_bytes(network, *layers, shape, regions)} if in_tiles else {}
    if network.backend.available_bytes() is None:
        return {"memory": max(evaluation + optimiser, analysis), **needed}
    return {"memory": optimiser, GPU_MEMORY: max(evaluation, analysis), **needed}


class Budget:
    """The memory that a transfer needs at its largest scale, compared with the memory that is free.

    Parameters
    ----------
    network : Network
    settings : Settings
        With layers.
    style_shapes : callable
        Returns the (height, width) of each style image, given the longer side of the result.
    regions : int
        Number of regions.
    """

    def __init__(
        self,
        network: Network,
        settings: Settings,
        style_shapes: Callable[[float], list[tuple[int, int]]],
        regions: int,
    ) -> None:
        self._network = network
        self._settings = settings
        self._style_shapes = style_shapes
        self._regions = regions
        self._tiles: list[int | None] = [None, SIDE] if isinstance(settings.tile, str) else [settings.tile]
        self._free = {
            "memory": memory.available(),
            GPU_MEMORY: network.backend.available_bytes(),
            DISK: shutil.disk_usage(tempfile.gettempdir()).free,
        }

    def optimizer(self, shape: tuple[int, int], candidates: Sequence[str]) -> str:
        """Choose the first of some optimizers with which a picture of this shape fits into memory.

        In one piece, if it fits with any of them so, since tiles take longer.

        Parameters
        ----------
        shape : tuple of int
            (height, width)
        candidates : sequence of str
            In order of preference.

        Returns
        -------
        str

        Raises
        ------
        TooLargeError
            If it fits with none of them; the message names a size that fits, if there is one.
        """
        for tile, optimizer in product(self._tiles, candidates):
            if not self._short(shape, optimizer, tile):
                return optimizer
        optimizer, tile = candidates[-1], self._tiles[-1]
        kind = self._short(shape, optimizer, tile)[0]
        needed, free = self._needed(shape, optimizer, tile)[kind] / 2**30, (self._free[kind] or 0) / 2**30
        fitting = self._fitting_size(shape, candidates)
        raise TooLargeError(
            f"a picture of {shape[1]} x {shape[0]} pixels needs {needed:.1f} GB of {kind} and {free:.1f} GB are free; "
            + (f"a size of {fitting} would fit." if fitting else "no smaller size would fit, so close other programs.")
        )

    def tile(self, shape: tuple[int, int], optimizer: str) -> int | None:
        """Choose the side of the tiles for a picture of this shape; None for one piece."""
        return next((tile for tile in self._tiles if not self._short(shape, optimizer, tile)), self._tiles[-1])

    def _needed(self, shape: tuple[int, int], optimizer: str, tile: int | None) -> dict[str, int]:
        layers = self._settings.content_layers or (), self._settings.style_layers or ()
        needs = [
            predicted_bytes(
                self._network,
                *layers,
                shape,
                style_shape,
                optimizer,
                self._settings.style_loss,
                self._regions,
                tile,
                self._settings.edges,
            )
            for style_shape in self._style_shapes(max(shape))
        ]
        return {kind: max(need[kind] for need in needs) for kind in needs[0]}

    def _short(self, shape: tuple[int, int], optimizer: str, tile: int | None) -> list[str]:
        """The kinds of memory that are known not to suffice."""
        needed = self._needed(shape, optimizer, tile).items()
        return [kind for kind, bytes in needed if (free := self._free[kind]) is not None and bytes > free]

    def _fitting_size(self, shape: tuple[int, int], candidates: Sequence[str]) -> int | None:
        """Largest longer side below that of `shape` at which a picture of its aspect ratio fits; None if none does."""
        fitting, small, large = None, 0, max(shape)
        while large - small > 1:
            middle = (small + large) // 2
            try:
                choices = product(candidates, self._tiles)
                fits = not all(self._short(fit(shape, middle), *choice) for choice in choices)
            except ParameterError:  # Too small for the network.
                small = middle
                continue
            if fits:
                fitting = small = middle
            else:
                large = middle
        return fitting
