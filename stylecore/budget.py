"""The memory of a transfer: predicted before the work begins, and refused where there is too little."""

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
    """Memory of an evaluation of an objective without the network, in bytes.

    Parameters
    ----------
    network : Network
    content_layers, style_layers : collection of str
    height, width : int
        Of the image.
    style_loss : {"gram", "mean_covariance", "wasserstein"}
    regions : int

    Returns
    -------
    int
    """
    plan = Plan(network, height, width, {*content_layers, *style_layers})
    matrices = [network.features_shape(height, width, layer) for layer in style_layers]
    scratch = max(plan.scratch_bytes, *(network.backend.gram_scratch_bytes(*m, network.dtype) for m in matrices), 0)
    # Targets; and the image, the mean and the gradient.
    values = sum(prod(network.features_shape(height, width, layer)) for layer in content_layers)
    values += 3 * 3 * height * width
    # A moment of the style, one of the image, and the gradient with respect to it; and the guides.
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
    """Memory of a transfer at its largest scale, without the images and the network themselves.

    Parameters
    ----------
    network : Network
    content_layers, style_layers : collection of str
    shape, style_shape : tuple of int
        (height, width) of the result and of the style image.
    optimizer : {"lbfgsb", "lbfgs", "adam"}
    style_loss : {"gram", "mean_covariance", "wasserstein"}
    regions : int

    Returns
    -------
    dict of str to int
        Bytes of "memory", and of `GPU_MEMORY` where a GPU computes.
    """
    evaluation = evaluation_bytes(network, content_layers, style_layers, *shape, style_loss, regions)
    if style_layers:
        network.check_size(*style_shape, style_layers, "style image")
    analysis = Plan(network, *style_shape, style_layers, gradient=False) if style_layers else None
    optimiser = bytes_needed(optimizer, network.dtype, 3 * shape[0] * shape[1])
    analysis = analysis.bytes + analysis.scratch_bytes if analysis else 0
    if network.backend.available_bytes() is None:
        return {"memory": max(evaluation + optimiser, analysis)}
    return {"memory": optimiser, GPU_MEMORY: max(evaluation, analysis)}


class Budget:
    """The memory that a transfer needs at its largest scale, compared with what is free.

    Parameters
    ----------
    network : Network
    settings : Settings
        With its layers.
    style_shapes : callable
        From the longer side of the result to the (height, width) of each style image.
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
        """The first of some optimizers with which a picture of this shape fits.

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
            If it fits with none of them; names a size that does.
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
        more = optimizer, self._settings.style_loss, self._regions
        needs = [predicted_bytes(self._network, *layers, shape, s, *more) for s in self._style_shapes(max(shape))]
        return {kind: max(need[kind] for need in needs) for kind in needs[0]}

    def _short(self, shape: tuple[int, int], optimizer: str) -> list[str]:
        """The kinds of memory of which there is too little, as far as that is known."""
        needed = self._needed(shape, optimizer).items()
        return [kind for kind, bytes in needed if (free := self._free[kind]) is not None and bytes > free]

    def _fitting_size(self, shape: tuple[int, int], candidates: Sequence[str]) -> int | None:
        """Largest size at which a picture of this shape fits, given that `shape` does not; None if none does."""
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
