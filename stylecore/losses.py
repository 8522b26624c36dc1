"""The terms of the paper's loss (section 5), each with its gradient next to it.

A loss at a layer sees the layer's features F as a matrix of M positions x N channels, the transpose of the paper's.
The case distinction in the paper's gradients, zero where F is, belongs to the ReLU that made F: the network applies
it on the way back (`ConvRelu.backward`), to these gradients and to what comes from deeper layers alike.
"""

import numpy as np


class ContentLoss:
    """L_content = 1/2 sum (F - P)^2 (section 5.1).

    Parameters
    ----------
    target : ndarray, (M, N)
        P, the content image's features.
    backend : module
    """

    def __init__(self, target, backend):
        self._target = target.copy()
        self._backend = backend
        zero = np.zeros_like(self._target)
        energy = backend.half_squared_distance(self._target, zero)
        self.relative_weight = 1 / energy if energy else 1.0

    def value(self, features):
        """Value at F (M, N)."""
        return self._backend.half_squared_distance(features, self._target)

    def add_gradient(self, features, weight, gradient):
        """Add weight (F - P) to `gradient` (M, N)."""
        self._backend.half_squared_distance_backward(features, self._target, weight, gradient)


class StyleLoss:
    """E = 1 / (4 N^2 M^2) sum (G - A)^2 with the Gram matrix G = F^T F (section 5.2).

    Parameters
    ----------
    target : ndarray, (N, N)
        A per position: the style image's Gram matrix divided by its number of positions, since a Gram matrix sums
        over positions and the two images may differ in size.
    positions : int
        M, of the image that is generated.
    backend : module
    """

    def __init__(self, target, positions, backend):
        self._target = target.astype(np.float64) * positions
        self._backend = backend
        self._scale = 1 / (len(target) * positions) ** 2
        self._difference = None
        energy = 0.25 * self._scale * np.sum(self._target**2)
        self.relative_weight = 1 / energy if energy else 1.0

    def value(self, features):
        """Value at F (M, N); remembers G - A for `add_gradient`."""
        self._difference = self._backend.gram(features) - self._target
        return 0.25 * self._scale * float(np.vdot(self._difference, self._difference))

    def add_gradient(self, features, weight, gradient):
        """Add weight / (N^2 M^2) F (G - A) to `gradient` (M, N), at the F of the last `value`."""
        self._backend.gram_backward(features, self._difference, weight * self._scale, gradient)


def regularization(x, mean):
    """1/2 sum (x - mean)^2: the paper's distance to the zero image, which after mean subtraction is the mean (5.3).

    Parameters
    ----------
    x : ndarray, (H, W, 3)
    mean : ndarray, (3,)
        The network's training mean.

    Returns
    -------
    value : float
    gradient : ndarray, (H, W, 3)
    """
    difference = x - mean.astype(x.dtype)
    return 0.5 * float(np.sum(difference**2, dtype=np.float64)), difference


def total_variation(x):
    """1/2 sum of squared differences between horizontal and between vertical neighbours (section 5.4).

    Parameters
    ----------
    x : ndarray, (H, W, 3)

    Returns
    -------
    value : float
    gradient : ndarray, (H, W, 3)
    """
    value, gradient = 0.0, np.zeros_like(x)
    for axis in (0, 1):
        difference = np.diff(x, axis=axis)
        value += 0.5 * float(np.sum(difference**2, dtype=np.float64))
        former, latter = (slice(None),) * axis + (slice(None, -1),), (slice(None),) * axis + (slice(1, None),)
        gradient[former] -= difference
        gradient[latter] += difference
    return value, gradient
