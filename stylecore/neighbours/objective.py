"""Agreement of a picture's features with fixed targets, one for each position, and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from stylecore.neighbours.hypercolumns import Hypercolumns

BLOCK = 1024
"""Positions that are compared at a time, so that no matrix is needed for what is computed between."""


class CosineLoss:
    """Mean of 1 - cos(f, t) over positions and parts, for features f and targets t.

    With the directions g = f / |f| and s = t / |t|, the gradient with respect to f is -(s - (g s) g) / |f|, divided by
    the number of positions and parts.

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
            targets[:, part] /= _norms(targets[:, part])

    def __call__(self, features: np.ndarray) -> tuple[float, np.ndarray]:
        """Value, and its gradient with respect to the features.

        Parameters
        ----------
        features : ndarray, (M, D)

        Returns
        -------
        value : float
        gradient : ndarray, (M, D)
        """
        gradient = np.empty_like(features)
        total, count = 0.0, len(features) * len(self._parts)
        rows = (slice(begin, begin + BLOCK) for begin in range(0, len(features), BLOCK))
        for index in product(rows, self._parts):
            own, targets = features[index], self._directions[index]
            norms = _norms(own)
            cosines = np.einsum("ij,ij->i", own, targets)[:, None] / norms
            total += len(own) - float(cosines.sum(dtype=np.float64))
            change = own * (cosines / norms)
            change -= targets
            change /= norms * count
            gradient[index] = change
        return total / count, gradient


def _norms(features: np.ndarray) -> np.ndarray:
    """Length of each row (M, 1); 1 where it is zero."""
    norms = np.sqrt(np.einsum("ij,ij->i", features, features))[:, None]
    return np.where(norms > 0, norms, 1)


class Objective:
    """The `CosineLoss` of pictures of one size, and its gradient with respect to the picture.

    Parameters
    ----------
    columns : Hypercolumns
    loss : CosineLoss
    """

    def __init__(self, columns: Hypercolumns, loss: CosineLoss) -> None:
        self._columns, self._loss = columns, loss

    @property
    def term_weights(self) -> dict[str, float]:
        """Factor of each term in the loss: there is one."""
        return {"neighbours": 1.0}

    def evaluate(self, x: np.ndarray) -> tuple[float, np.ndarray, dict[str, float]]:
        """Loss of a picture (H, W, 3), its gradient and the terms."""
        loss, by_features = self._loss(self._columns.forward(x))
        return loss, self._columns.backward(by_features), {"neighbours": loss}
