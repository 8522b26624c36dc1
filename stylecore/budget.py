"""Predict the memory of a transfer before it starts, and refuse one that does not fit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import prod
from typing import TYPE_CHECKING

from stylecore import memory
from stylecore.errors import ParameterError, TooLargeError
from stylecore.network import Network
from stylecore.optimizers import bytes_needed
from stylecore.pictures.geometry import fit
from stylecore.plan import Plan

if TYPE_CHECKING:
    from stylecore.settings import Settings

GPU_MEMORY = "the GPU's memory"


def evaluation_bytes(
    network: Network,
    content_layers: Collection[str],
    style_layers: Collection[str],
    height: int,
    width: int,
    style_loss: str = "gram",
    regions: int = 1,
) -> int:
    """Predict the memory that an evaluation of an objective needs besides the network.

    Parameters
    ----------
    network : Network
    content_layers, style_layers : collection of str
    height, width : int
        Of the image, in pixels.
    style_loss : {"gram", "mean_covariance", "wasserstein"}
    regions : int
        Number of regions.

    Returns
    -------
    int
        In bytes.

    Raises
    ------
    ParameterError
        If the network lacks a layer, or the image is too small for one.
    """
    plan = Plan(network, height, width, {*content_layers, *style_layers})
    matrices = [network.features_shape(height, width, layer) for layer in style_layers]
    scratch = max(plan.scratch_bytes, *(network.backend.gram_scratch_bytes(*m, network.dtype) for m in matrices), 0)
    # The content targets; the image, the mean and the gradient.
    values = sum(prod(network.features_shape(height, width, layer)) for layer in content_layers)
    values += 3 * 3 * height * width
    # The style's second moment, the image's, and the gradient with respect to the latter; the guides.
    moments = 3 * regions * sum(channels**2 for _, channels in matrices)
    values += moments if style_loss == "gram" else 2 * moments  # In float64.
    values += regions * sum(positions for positions, _ in matrices) if regions > 1 else 0
    return plan.bytes + scratch + values * network.dtype.itemsize


def predicted_bytes(
    network: Network,
    content_layers: Collection[str],
    style_layers: Collection[str],
    shape: tuple[int, int],
    style_shape: tuple[int, int],
    optimizer: str,
    style_loss: str = "gram",
    regions: int = 1,
) -> dict[str, int]:
    """Predict the memory that a transfer needs at its largest scale, besides the images and the network.

    Parameters
    ----------
    network : Network
    content_layers, style_layers : collection of str
    shape, style_shape : tuple of int
        (height, width) of the result and of the style image.
    optimizer : {"lbfgsb", "lbfgs", "adam"}
    style_loss : {"gram", "mean_covariance", "wasserstein"}
    regions : int
        Number of regions.

    Returns
    -------
    dict of str to int
        Bytes of "memory" and, if the network is on a GPU, of `GPU_MEMORY`.

    Raises
    ------
    ParameterError
        If the network lacks a layer, or an image is too small for one.
    """
    evaluation = evaluation_bytes(network, content_layers, style_layers, *shape, style_loss, regions)
    analysis = 0
    if style_layers:
        network.check_size(*style_shape, style_layers, "style image")
        plan = Plan(network, *style_shape, style_layers, gradient=False)
        analysis = plan.bytes + plan.scratch_bytes
    optimiser = bytes_needed(optimizer, network.dtype, 3 * shape[0] * shape[1])
    if network.backend.available_bytes() is None:
        return {"memory": max(evaluation + optimiser, analysis)}
    return {"memory": optimiser, GPU_MEMORY: max(evaluation, analysis)}


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
        self._free = {"memory": memory.available(), GPU_MEMORY: network.backend.available_bytes()}

    def optimizer(self, shape: tuple[int, int], candidates: Sequence[str]) -> str:
        """Choose the first of some optimizers with which a picture of this shape fits into memory.

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
        for optimizer in candidates:
            if not self._short(shape, optimizer):
                return optimizer
        optimizer = candidates[-1]
        kind = self._short(shape, optimizer)[0]
        needed, free = self._needed(shape, optimizer)[kind] / 2**30, (self._free[kind] or 0) / 2**30
        fitting = self._fitting_size(shape, candidates)
        raise TooLargeError(
            f"a picture of {shape[1]} x {shape[0]} pixels needs {needed:.1f} GB of {kind} and {free:.1f} GB are free; "
            + (f"a size of {fitting} would fit." if fitting else "no smaller size would fit, so close other programs.")
        )

    def _needed(self, shape: tuple[int, int], optimizer: str) -> dict[str, int]:
        layers = self._settings.content_layers or (), self._settings.style_layers or ()
        style_loss, regions = self._settings.style_loss, self._regions
        needs = [
            predicted_bytes(self._network, *layers, shape, style_shape, optimizer, style_loss, regions)
            for style_shape in self._style_shapes(max(shape))
        ]
        return {kind: max(need[kind] for need in needs) for kind in needs[0]}

    def _short(self, shape: tuple[int, int], optimizer: str) -> list[str]:
        """The kinds of memory that are known not to suffice."""
        needed = self._needed(shape, optimizer).items()
        return [kind for kind, bytes in needed if (free := self._free[kind]) is not None and bytes > free]

    def _fitting_size(self, shape: tuple[int, int], candidates: Sequence[str]) -> int | None:
        """Largest longer side below that of `shape` at which a picture of its aspect ratio fits; None if none does."""
        fitting, small, large = None, 0, max(shape)
        while large - small > 1:
            middle = (small + large) // 2
            try:
                fits = not all(self._short(fit(shape, middle), optimizer) for optimizer in candidates)
            except ParameterError:  # Too small for the network.
                small = middle
                continue
            if fits:
                fitting = small = middle
            else:
                large = middle
        return fitting
