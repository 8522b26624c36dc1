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
    target : array of the backend, (M, N)
        P, the content image's features.
    backend : module
    """

    def __init__(self, target, backend):
        self._target = target
        self._backend = backend
        self._sum = 0.0
        energy = backend.half_squared_distance(target)
        self.relative_weight = 1 / energy if energy else 1.0

    def reset(self):
        """Begin a new image."""
        self._sum = 0.0

    def take(self, features, start=0):
        """Take in F (M, N), or some of its rows, from `start` on."""
        self._sum += self._backend.half_squared_distance(features, self._target[start : start + len(features)])

    def value(self):
        """Value at the F that was taken in."""
        return self._sum

    def add_gradient(self, features, weight, gradient, start=0):
        """Add weight (F - P) to `gradient` (M, N), or to some of its rows, from `start` on."""
        target = self._target[start : start + len(features)]
        self._backend.half_squared_distance_backward(features, target, weight, gradient)


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
        self._target = target * positions
        self._backend = backend
        self._scale = 1 / (len(target) * positions) ** 2
        self._difference = -self._target
        energy = 0.25 * self._scale * np.sum(self._target**2, dtype=np.float64)
        self.relative_weight = 1 / energy if energy else 1.0

    def reset(self):
        """Begin a new image."""
        self._difference = -self._target

    def take(self, features, start=0):
        """Take in F (M, N), or some of its rows."""
        self._difference += self._backend.gram(features)

    def value(self):
        """Value at the F that was taken in."""
        return 0.25 * self._scale * float(np.sum(self._difference**2, dtype=np.float64))

    def add_gradient(self, features, weight, gradient, start=0):
        """Add weight / (N^2 M^2) F (G - A) to `gradient` (M, N), or to some of its rows, once all of F is taken in."""
        self._backend.gram_backward(features, self._difference, weight * self._scale, gradient)


class Regularization:
    """1/2 sum (x - mean)^2: the paper's distance to the zero image, which after mean subtraction is the mean (5.3).

    Parameters
    ----------
    mean : array of the backend, (H, W, 3)
        The network's training mean at every pixel.
    backend : module
    """

    def __init__(self, mean, backend):
        self._mean = mean
        self._backend = backend

    def value(self, x):
        """Value at an image (H, W, 3)."""
        return self._backend.half_squared_distance(x, self._mean)

    def add_gradient(self, x, weight, gradient):
        """Add weight (x - mean) to `gradient` (H, W, 3)."""
        self._backend.half_squared_distance_backward(x, self._mean, weight, gradient)


class TotalVariation:
    """1/2 sum of squared differences between horizontal and between vertical neighbours (section 5.4).

    Parameters
    ----------
    backend : module
    """

    def __init__(self, backend):
        self._backend = backend

    def value(self, x):
        """Value at an image (H, W, 3)."""
        return self._backend.total_variation(x)

    def add_gradient(self, x, weight, gradient):
        """Add weight times the differences between neighbours to `gradient` (H, W, 3)."""
        self._backend.total_variation_backward(x, weight, gradient)
