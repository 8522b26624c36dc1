"""How parameters are changed by their gradient, and by how much at each step."""

from math import cos, pi

import numpy as np


class Sgd:
    """Stochastic gradient descent with momentum; weight decay as a part of the gradient.

    Parameters
    ----------
    values : ndarray, (P,)
        The parameters, which are changed in place.
    decayed : ndarray, (P,) bool
        Those that weight decay applies to.
    weight_decay : float

    Attributes
    ----------
    state : dict of str to ndarray
        What a resumed run needs.
    """

    MOMENTUM = 0.9

    def __init__(self, values, decayed, weight_decay):
        self.values = values
        self._decay = (weight_decay * decayed).astype(values.dtype)
        self.state = {"velocity": np.zeros_like(values)}

    def step(self, gradient, rate):
        """Change the parameters; the gradient is overwritten."""
        velocity = self.state["velocity"]
        gradient += self._decay * self.values
        velocity *= self.MOMENTUM
        velocity += gradient
        np.multiply(velocity, rate, out=gradient)
        self.values -= gradient


class Adam:
    """Adam (Kingma and Ba 2015, algorithm 1), weight decay apart from it (Loshchilov and Hutter 2019, algorithm 2).

    Parameters and attributes as of `Sgd`.
    """

    BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8

    def __init__(self, values, decayed, weight_decay):
        self.values = values
        self._decay = (weight_decay * decayed).astype(values.dtype)
        self.state = {"first": np.zeros_like(values), "second": np.zeros_like(values), "steps": np.zeros((), int)}

    def step(self, gradient, rate):
        """Change the parameters; the gradient is overwritten."""
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


OPTIMIZERS = {"sgd": Sgd, "adam": Adam}


def learning_rate(step, steps, warm_up, peak):
    """Rate of one step: up to the peak in a straight line, then down to zero along a cosine.

    Parameters
    ----------
    step, steps : int
        Counted from 0; and how many there are in all.
    warm_up : int
        Steps of the way up.
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
