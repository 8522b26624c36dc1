"""The tasks that a network is trained for: the loss with its gradient, and the score that is reported."""

from __future__ import annotations

from math import log10
from types import ModuleType
from typing import Protocol

import numpy as np


class Task(Protocol):
    """What the tasks have in common.

    Attributes
    ----------
    score : str
        Name of the score.
    """

    score: str

    def loss(
        self, output: np.ndarray, x: np.ndarray, labels: np.ndarray, gradient: np.ndarray, training: bool = True
    ) -> float:
        """Mean loss of a batch; its gradient with respect to the output is written into `gradient`."""
        ...

    def quality(self, output: np.ndarray, x: np.ndarray, labels: np.ndarray, loss: float) -> float:
        """A quantity whose mean over batches is that over all pictures."""
        ...

    def summary(self, quality: float) -> float:
        """The score for a mean quality."""
        ...


class Classification:
    """Classify pictures.

    Parameters
    ----------
    backend : module
    smoothing : float
        Label smoothing in training: this much of the probability is spread evenly over all classes.
    """

    score = "accuracy"

    def __init__(self, backend: ModuleType, smoothing: float = 0.1) -> None:
        self._backend, self.smoothing = backend, smoothing

    def loss(
        self, output: np.ndarray, x: np.ndarray, labels: np.ndarray, gradient: np.ndarray, training: bool = True
    ) -> float:
        """Mean cross-entropy of a batch; its gradient with respect to the output is written into `gradient`.

        Parameters
        ----------
        output, gradient : ndarray, (n, classes)
        x : ndarray, (n, side, side, 3)
        labels : ndarray of int, (n,)
        training : bool
            Whether labels are smoothed.

        Returns
        -------
        float
        """
        smoothing = self.smoothing if training else 0
        return self._backend.softmax_cross_entropy(output, labels, smoothing, gradient)

    def quality(self, output: np.ndarray, x: np.ndarray, labels: np.ndarray, loss: float) -> float:
        """Fraction of the batch that is classified correctly; its mean over batches is that over all pictures."""
        return float((output.argmax(axis=1) == labels).mean())

    def summary(self, quality: float) -> float:
        """Accuracy, which is the mean quality itself."""
        return quality


class Reconstruction:
    """Reconstruct pictures from their code.

    Parameters
    ----------
    backend : module
    std : float
        Standard deviation that the network's input was divided by.
    """

    score = "PSNR"

    def __init__(self, backend: ModuleType, std: float) -> None:
        self._backend, self._std = backend, std

    def loss(
        self, output: np.ndarray, x: np.ndarray, labels: np.ndarray, gradient: np.ndarray, training: bool = True
    ) -> float:
        """Mean squared error of a batch; its gradient with respect to the output is written into `gradient`.

        Parameters
        ----------
        output, x, gradient : ndarray, (n, side, side, 3)
        labels : ndarray of int, (n,)
            Not used.
        training : bool
            Not used.

        Returns
        -------
        float
        """
        return self._backend.mean_squared_error(output, x, gradient)

    def quality(self, output: np.ndarray, x: np.ndarray, labels: np.ndarray, loss: float) -> float:
        """Mean squared error of images in [0, 1]; its mean over batches is that over all pictures."""
        return loss * self._std**2

    def summary(self, quality: float) -> float:
        """Peak signal-to-noise ratio in dB, for images in [0, 1]."""
        return -10 * log10(max(quality, 1e-12))
