"""The optimisers of a training, and the schedule of the learning rate."""

from __future__ import annotations

from math import cos, pi
from typing import Protocol

import numpy as np


class Optimizer(Protocol):
    """What the optimisers have in common.

    Attributes
    ----------
    values : ndarray, (P,)
        The parameters, updated in place.
    state : dict of str to ndarray
        All that a resumed training needs.
    """

    values: np.ndarray
    state: dict[str, np.ndarray]

    def __init__(self, values: np.ndarray, decayed: np.ndarray, weight_decay: float) -> None: ...

    def step(self, gradient: np.ndarray, rate: float) -> None:
        """Update the parameters by a gradient (P,), which is overwritten."""
        ...


class Sgd:
    """Stochastic gradient descent with momentum; weight decay is added to the gradient.

    Parameters
    ----------
    values : ndarray, (P,)
        The parameters, updated in place.
    decayed : ndarray, (P,) bool
        The parameters that weight decay applies to.
    weight_decay : float

    Attributes
    ----------
    state : dict of str to ndarray
        All that a resumed training needs.
    """

    MOMENTUM = 0.9

    def __init__(self, values: np.ndarray, decayed: np.ndarray, weight_decay: float) -> None:
        self.values = values
        self._decay = (weight_decay * decayed).astype(values.dtype)
        self.state: dict[str, np.ndarray] = {"velocity": np.zeros_like(values)}

    def step(self, gradient: np.ndarray, rate: float) -> None:
        """Update the parameters by a gradient (P,), which is overwritten."""
        velocity = self.state["velocity"]
        gradient += self._decay * self.values
        velocity *= self.MOMENTUM
        velocity += gradient
        np.multiply(velocity, rate, out=gradient)
        self.values -= gradient


class Adam:
    """Adam with decoupled weight decay (AdamW).

    Parameters and attributes as of `Sgd`.

    References
    ----------
    Kingma and Ba (2015), "Adam: A Method for Stochastic Optimization", algorithm 1.
    Loshchilov and Hutter (2019), "Decoupled Weight Decay Regularization", algorithm 2.
    """

    BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8

    def __init__(self, values: np.ndarray, decayed: np.ndarray, weight_decay: float) -> None:
        self.values = values
        self._decay = (weight_decay * decayed).astype(values.dtype)
        self.state: dict[str, np.ndarray] = {
            "first": np.zeros_like(values),
            "second": np.zeros_like(values),
            "steps": np.zeros((), int),
        }

    def step(self, gradient: np.ndarray, rate: float) -> None:
        """Update the parameters by a gradient (P,), which is overwritten."""
        first, second, steps = self.state.values()
        steps += 1
        first += (1 - self.BETA_1) * (gradient - first)
        np.square(gradient, out=gradient)
        second += (1 - self.BETA_2) * (gradient - second)
        self.values -= rate * self._decay * self.values
        deviation = np.sqrt(second / (1 - self.BETA_2**steps), out=gradient)
        deviation += self.EPSILON
        np.divide(first, deviation, out=gradient)
        gradient *= rate / (1 - self.BETA_1**steps)
        self.values -= gradient


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": Sgd, "adam": Adam}


def learning_rate(step: int, steps: int, warm_up: int, peak: float) -> float:
    """Learning rate of a step: linear warm-up to the peak, then cosine decay to zero.

    Parameters
    ----------
    step : int
        Number of the step, counted from 0.
    steps : int
        Number of steps in total.
    warm_up : int
        Number of steps of the warm-up.
    peak : float

    Returns
    -------
    float

    References
    ----------
    Loshchilov and Hutter (2017), "SGDR: Stochastic Gradient Descent with Warm Restarts", equation 5.
    """
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * (1 + cos(pi * (step - warm_up) / (steps - warm_up))) / 2
