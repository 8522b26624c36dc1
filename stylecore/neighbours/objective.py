"""Agreement of a picture's features with fixed targets, one for each position, and its gradient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stylecore.kernels.cpu.columns import cosine_loss
from stylecore.neighbours.hypercolumns import Features, Hypercolumns


class CosineLoss:
    """Mean of 1 - cos(f, t) over positions and parts, for features f and targets t.

    Parameters
    ----------
    targets : ndarray, (M, D)
        Overwritten by their directions.
    parts : sequence of slice
        Columns whose angle is measured, each by itself.

    References
    ----------
    Kolkin et al. (2022), equation 2.
    """

    def __init__(self, targets: np.ndarray, parts: Sequence[slice]) -> None:
        self._directions, self._parts = targets, parts
        for part in parts:
            lengths = np.sqrt(np.einsum("ij,ij->i", targets[:, part], targets[:, part]))[:, None]
            targets[:, part] /= np.where(lengths > 0, lengths, 1)

    def __call__(self, features: Features) -> float:
        """Value for some features, which are overwritten by its gradient with respect to them."""
        return cosine_loss(features.fine, features.coarse, self._directions, self._parts)


class Objective:
    """The `CosineLoss` of pictures of one size, and its gradient with respect to the picture.

    Parameters
    ----------
    columns : Hypercolumns
    loss : CosineLoss
    """

    def __init__(self, columns: Hypercolumns, loss: CosineLoss) -> None:
        self._columns, self._loss = columns, loss
        self._features = columns.empty()

    @property
    def term_weights(self) -> dict[str, float]:
        """Factor of each term in the loss: there is one."""
        return {"neighbours": 1.0}

    def evaluate(self, x: np.ndarray) -> tuple[float, np.ndarray, dict[str, float]]:
        """Loss of a picture (H, W, 3), its gradient and the terms."""
        features = self._columns.forward(x, self._features)
        loss = self._loss(features)
        return loss, self._columns.backward(features), {"neighbours": loss}
