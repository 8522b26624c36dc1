"""The optimisers: each minimises a function of the image, and tells of every evaluation."""

import numpy as np
from scipy.optimize import Bounds, minimize

from stylecore.kernels.cpu.runtime import one_blas_thread

# Pairs of steps and gradient changes that L-BFGS keeps to model the curvature.
CORRECTIONS = 10


class Stopped(Exception):
    """Raised by the function that is minimised, to end the run early."""


def lbfgs(function, start, iterations):
    """Minimise within [0, 1] by SciPy's L-BFGS-B, whose line search never lets the loss rise.

    Parameters
    ----------
    function : callable
        From an image (H, W, 3) to (loss, gradient); may raise `Stopped`.
    start : ndarray, (H, W, 3)
    iterations : int
        Most evaluations of the function.

    Returns
    -------
    ndarray, (H, W, 3)
        The image of the lowest loss.

    References
    ----------
    Byrd, Lu, Nocedal and Zhu (1995), "A Limited Memory Algorithm for Bound Constrained Optimization".
    """
    best = _Best(function, iterations)

    def flat(x):
        loss, gradient = best(x.reshape(start.shape))
        return loss, gradient.astype(np.float64).reshape(-1)

    try:
        # SciPy's own sums run in BLAS, whose order, and so whose rounding, depends on its number of threads.
        with one_blas_thread():
            minimize(
                flat,
                start.astype(np.float64).reshape(-1),
                jac=True,
                method="L-BFGS-B",
                bounds=Bounds(0.0, 1.0),
                options={"maxiter": iterations, "maxfun": iterations, "maxcor": CORRECTIONS, "ftol": 0, "gtol": 0},
            )
    except Stopped:
        pass
    return best.image


def adam(function, start, iterations, step=0.02):
    """Minimise by Adam, kept within [0, 1] by cutting off; takes any noise in its stride, needs more evaluations.

    Parameters
    ----------
    function : callable
        From an image (H, W, 3) to (loss, gradient); may raise `Stopped`.
    start : ndarray, (H, W, 3)
    iterations : int
        Evaluations of the function.
    step : float
        Length of the first steps, in units of the image's range; it falls to a tenth along a cosine.

    Returns
    -------
    ndarray, (H, W, 3)
        The image of the lowest loss.

    References
    ----------
    Kingma and Ba (2015), "Adam: A Method for Stochastic Optimization", algorithm 1.
    """
    best = _Best(function, iterations)
    x = start.copy()
    mean, square = np.zeros_like(x), np.zeros_like(x)
    try:
        for t in range(1, iterations + 1):
            _, gradient = best(x)
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            rate = step * (0.55 + 0.45 * np.cos(np.pi * t / iterations))
            x = x - rate * (mean / (1 - 0.9**t)) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
            x = np.clip(x, 0, 1)
    except Stopped:
        pass
    return best.image


class _Best:
    """Evaluates a function and keeps the image of the lowest loss."""

    def __init__(self, function, evaluations):
        self._function = function
        self._left = evaluations
        self._loss = np.inf
        self.image = None

    def __call__(self, x):
        # L-BFGS-B looks at its limit between iterations only, and a line search may go past it.
        if self._left == 0:
            raise Stopped
        self._left -= 1
        if self.image is None:
            self.image = x.astype(np.float32)
        loss, gradient = self._function(x)
        if loss < self._loss:
            self._loss, self.image = loss, x.astype(np.float32)
        return loss, gradient


OPTIMIZERS = {"lbfgs": lbfgs, "adam": adam}

BYTES_PER_VALUE = {"lbfgs": 8 * (2 * CORRECTIONS + 25) + 120, "adam": 56}
"""Memory that each takes per value of the image, measured: L-BFGS-B's pairs and some vectors more, in float64, and the
lists that SciPy makes of the bounds."""
