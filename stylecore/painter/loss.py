"""What a painter is trained to minimise: the loss of `transfer` for a photograph and one of several styles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stylecore.losses import GramDistance, StyleLoss
from stylecore.network import Network
from stylecore.tiles import Tiles, divide


class Evaluation(NamedTuple):
    """The weighted terms of a painted picture, and the gradient of their sum with respect to it, (side, side, 3)."""

    content: float
    style: float
    gradient: np.ndarray


class PainterLoss:
    """Content and style loss of square pictures, with `transfer`'s relative weights.

    A term is divided by its value for a blank picture (at a content layer that is 1/2 sum P^2), so that 1 is the loss
    of one that shows nothing, and averaged over its layers.

    Parameters
    ----------
    network : Network
    content_layers, style_layers : sequence of str
    content_weight, style_weight : float
    side : int
        Side length of the pictures in pixels.

    References
    ----------
    Gatys, Ecker and Bethge (2016), section 5 of the paper; Johnson, Alahi and Fei-Fei (2016), section 3.2.
    """

    def __init__(
        self,
        network: Network,
        content_layers: Sequence[str],
        style_layers: Sequence[str],
        content_weight: float,
        style_weight: float,
        side: int,
    ) -> None:
        self._network = network
        self._content_layers, self._style_layers = list(content_layers), list(style_layers)
        self._content_share, self._style_share = content_weight / len(content_layers), style_weight / len(style_layers)
        layers = list(dict.fromkeys([*content_layers, *style_layers]))
        self._tiles = self._for((side, side), layers)

    def _for(self, shape: tuple[int, int], layers: Sequence[str], gradient: bool = True) -> Tiles:
        masks = {(layer, ""): None for layer in self._style_layers}
        return Tiles(self._network, layers, GramDistance, divide(self._network, shape, layers, None), masks, gradient)

    def style(self, picture: np.ndarray) -> dict[str, StyleLoss]:
        """The style loss at each layer for a style image.

        Parameters
        ----------
        picture : ndarray, (H, W, 3)

        Returns
        -------
        dict of str to StyleLoss
        """
        backend = self._network.backend
        moments, _ = self._for(picture.shape[:2], self._style_layers, gradient=False).forward(picture)
        return {
            layer: StyleLoss(GramDistance(backend.download(mean), backend.download(second), backend), backend)
            for (layer, _), (mean, second) in moments.items()
        }

    def __call__(self, photograph: np.ndarray, painted: np.ndarray, style: dict[str, StyleLoss]) -> Evaluation:
        """Evaluate a painted picture.

        Parameters
        ----------
        photograph, painted : ndarray, (side, side, 3)
        style : dict of str to StyleLoss
            Of `style`.

        Returns
        -------
        Evaluation
        """
        blanks = self._tiles.set_content(photograph, self._content_layers)
        moments, contents = self._tiles.forward(painted)
        content_weights = {layer: self._content_share / (blank or 1) for layer, blank in blanks.items()}
        style_weights = {layer: self._style_share * loss.relative_weight for layer, loss in style.items()}
        content = sum(content_weights[layer] * value for layer, value in contents.items())
        style_value = sum(style_weights[layer] * loss.value(*moments[layer, ""]) for layer, loss in style.items())
        differences = {(layer, ""): (style_weights[layer], *loss.gradients) for layer, loss in style.items()}
        gradient = self._tiles.backward(painted, differences, content_weights)
        return Evaluation(content, style_value, self._network.backend.download(gradient))
