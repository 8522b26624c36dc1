"""The terms of the paper's loss (section 5), each with its gradient next to it.

A loss at a layer sees the layer's features F as a matrix of M positions x N channels, the transpose of the paper's.
The case distinction in the paper's gradients, zero where F is, belongs to the ReLU that made F: the network applies
it on the way back (`ConvRelu.backward`), to these gradients and to what comes from deeper layers alike.
"""

import numpy as np
from scipy.linalg import eigh

from stylecore.kernels.cpu.runtime import one_blas_thread


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

    def pull(self):
        """Length of the gradient times that of P, for a blank image: sum P^2."""
        return 2 * self._backend.half_squared_distance(self._target)

    def add_gradient(self, features, weight, gradient, start=0):
        """Add weight (F - P) to `gradient` (M, N), or to some of its rows, from `start` on."""
        target = self._target[start : start + len(features)]
        self._backend.half_squared_distance_backward(features, target, weight, gradient)


class Moments:
    """Mean and second moment of features over a layer's positions, or over a region of them.

    The second moment is the Gram matrix divided by the number of positions, so that images of different sizes, and
    regions of them, compare.

    Parameters
    ----------
    backend : module
    guide : ndarray, (M,), optional
        How far each position belongs to the region, in [0, 1]; without, all belong. This is the square of the guide
        of Gatys et al. (2017), which they multiply the features with: so masks that add up to one in the image leave
        Gram matrices that add up to that of the whole.
    with_mean : bool
        Whether the mean is wanted.

    References
    ----------
    Gatys, Ecker, Bethge, Hertzmann and Shechtman (2017), "Controlling Perceptual Factors in Neural Style Transfer",
    CVPR, section 4.
    """

    def __init__(self, backend, guide=None, with_mean=False):
        self._backend = backend
        self._guide = guide
        self._with_mean = with_mean
        self.reset()

    def reset(self):
        """Begin a new image."""
        self._gram, self._sums, self._positions = 0, 0, 0

    def take(self, features, start=0):
        """Take in F (M, N), or some of its rows, from `start` on."""
        guide = self._part(features, start)
        self._gram = self._gram + self._backend.gram(features, guide)
        if self._with_mean:
            self._sums = self._sums + self._backend.channel_sums(features, guide)
        self._positions += len(features) if guide is None else float(guide.sum(dtype=np.float64))

    @property
    def mean(self):
        """Mean of each channel, (N,), float64; zero if it is not wanted."""
        return self._sums / self._positions

    @property
    def second(self):
        """Second moment, (N, N)."""
        return self._gram / self._positions

    def add_gradient(self, features, by_mean, by_second, weight, gradient, start=0):
        """Add weight times the gradient with respect to F, given those with respect to the moments, to `gradient`.

        With g for the guide and M for its sum, that is g / M (2 F dE/dS + dE/dm) at each position.
        """
        guide, scale = self._part(features, start), weight / self._positions
        self._backend.gram_backward(features, by_second, 2 * scale, gradient, guide)
        if self._with_mean:
            self._backend.channel_sums_backward(scale * by_mean, gradient, guide)

    def _part(self, features, start):
        return None if self._guide is None else self._guide[start : start + len(features)]


class StyleLoss:
    """Distance between the moments of the image's features, in a region or the whole layer, and a style's.

    Parameters
    ----------
    distance : GramDistance, MeanCovarianceDistance or WassersteinDistance
        From the style.
    backend : module
    guide : ndarray, (M,), optional
        The region, as `Moments` takes it.
    """

    def __init__(self, distance, backend, guide=None):
        self._distance = distance
        self._moments = Moments(backend, guide, distance.with_mean)
        self.relative_weight = distance.strength / distance.blank if distance.blank else 1.0
        self.reset()

    def reset(self):
        """Begin a new image."""
        self._moments.reset()
        self._gradients = None

    def take(self, features, start=0):
        """Take in F (M, N), or some of its rows, from `start` on."""
        self._moments.take(features, start)

    def value(self):
        """Value at the F that was taken in."""
        value, *self._gradients = self._distance(self._moments.mean, self._moments.second)
        return value

    def add_gradient(self, features, weight, gradient, start=0):
        """Add weight times the gradient to `gradient` (M, N), or to some of its rows, once there is a value."""
        self._moments.add_gradient(features, *self._gradients, weight, gradient, start)

    def pull(self):
        """Euclidean length of the gradient times that of the F taken in: what a relative change of F can do.

        With m, S for the moments and v, D for the gradients with respect to them, it is the root of
        (v v + 4 v D m + 4 tr(D S D)) tr S, whatever the number of positions. (If the guide is soft, its root stands
        with both lengths.)
        """
        mean, second = self._moments.mean, self._moments.second
        _, by_mean, by_second = self._distance(mean, second)
        with one_blas_thread():
            square = 4 * np.sum((by_second @ second) * by_second, dtype=np.float64)
            if self._distance.with_mean:
                square += by_mean @ by_mean + 4 * by_mean @ by_second @ mean
        return float(np.sqrt(max(square, 0) * np.trace(second)))


class GramDistance:
    """1 / (4 N^2) sum (S - A)^2, which is 1 / (4 N^2 M^2) sum (G - A M)^2 with G = F^T F: the paper's (section 5.2).

    Parameters
    ----------
    mean : ndarray, (N,)
        Not needed.
    second : ndarray, (N, N)
        A, second moment of the style: its Gram matrix per position.

    Attributes
    ----------
    with_mean : bool
        Whether the mean is compared.
    blank : float
        Value for a blank image, all of whose features are zero.
    strength : float
        What the relative weight is multiplied with beside 1 / `blank`, so that at the same style weight the pictures
        depart as far from the content as with this distance: chosen on three pairs of pictures at 256 pixels by their
        content terms.
    """

    with_mean = False
    strength = 1.0

    def __init__(self, mean, second):
        self._second = second
        self.blank = 0.25 * float(np.sum(second**2, dtype=np.float64)) / len(second) ** 2

    def __call__(self, mean, second):
        """Value, and its gradient with respect to the mean (None: it has no part in it) and the second moment."""
        difference, count = second - self._second, len(second)
        value = 0.25 * float(np.sum(difference**2, dtype=np.float64)) / count**2
        return value, None, difference / (2 * count**2)


class MeanCovarianceDistance:
    """|m - n|^2 / |n|^2 + |C - T|^2 / |T|^2 between means m, n and covariances C, T, in Frobenius' norm.

    The statistics of Huang and Belongie (2017), who take the variances of single channels only. The two parts have
    different units, squares and fourth powers of features; so each is divided by what it is for a blank image.

    Parameters
    ----------
    mean : ndarray, (N,)
        n, of the style.
    second : ndarray, (N, N)
        Second moment of the style.

    Attributes
    ----------
    with_mean, blank, strength
        As those of `GramDistance`.

    References
    ----------
    Huang and Belongie (2017), "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization", ICCV.
    """

    with_mean = True
    strength = 0.65
    blank = 2.0

    def __init__(self, mean, second):
        self._mean, self._covariance = mean, _covariance(mean, second)
        self._scales = [1 / np.sum(part**2) if part.any() else 1.0 for part in (self._mean, self._covariance)]

    def __call__(self, mean, second):
        """Value, and its gradients with respect to the mean and the second moment."""
        shift, spread = mean - self._mean, _covariance(mean, second) - self._covariance
        scale, covariance_scale = self._scales
        value = scale * float(shift @ shift) + covariance_scale * float(np.sum(spread**2))
        return value, *_through_covariance(2 * scale * shift, 2 * covariance_scale * spread, mean)


class WassersteinDistance:
    """Squared 2-Wasserstein distance between Gaussians: |m - n|^2 + tr C + tr T - 2 tr (R^T C R)^(1/2), T = R R^T.

    R = V D^(1/2) from the eigenvectors V of T whose eigenvalues D stand out from rounding. So the matrix whose root
    is taken is only as large as the rank of T, which at small sizes is below the number of positions; it is decomposed
    once for each value, which is what this distance costs more than others. With its eigenvalues l and eigenvectors U,
    the gradient with respect to C is 1 - R U l^(-1/2) U^T R^T.

    Where the image has no spread along a direction that the style has some in, l is zero and the root has a kink. So
    (l + e)^(1/2) - e^(1/2) stands for l^(1/2), with e^(1/2) a ten-thousandth of the mean of D: smooth, never below the
    distance, and above it by a five-thousandth of tr T at most.

    Parameters
    ----------
    mean : ndarray, (N,)
        n, of the style.
    second : ndarray, (N, N)
        Second moment of the style.

    Attributes
    ----------
    with_mean, blank, strength
        As those of `GramDistance`.

    References
    ----------
    Olkin and Pukelsheim (1982), "The distance between two random vectors with given dispersion matrices", Linear
    Algebra and its Applications 48.
    """

    with_mean = True
    strength = 0.65

    def __init__(self, mean, second):
        covariance = _covariance(mean, second)
        with one_blas_thread():
            values, vectors = eigh(covariance, driver="evd")
        values = values.clip(0)
        kept = values >= 1e-6 * values[-1]
        self._mean, self._trace = mean, float(values[kept].sum())
        self._root = vectors[:, kept] * np.sqrt(values[kept])
        self._smoothing = (1e-4 * values[kept].mean()) ** 2 or 1.0
        self.blank = float(mean @ mean) + self._trace

    def __call__(self, mean, second):
        """Value, and its gradients with respect to the mean and the second moment."""
        shift, covariance, root = mean - self._mean, _covariance(mean, second), self._root
        with one_blas_thread():
            values, vectors = eigh(root.T @ covariance @ root, driver="evd")
            roots = np.sqrt(values.clip(0) + self._smoothing)
            half = root @ (vectors / np.sqrt(roots))
            by_covariance = np.eye(len(mean)) - half @ half.T
        overlap = np.sum(roots - np.sqrt(self._smoothing))
        value = float(shift @ shift + np.trace(covariance) + self._trace - 2 * overlap)
        return value, *_through_covariance(2 * shift, by_covariance, mean)


STYLE_LOSSES = {
    "gram": GramDistance,
    "mean_covariance": MeanCovarianceDistance,
    "wasserstein": WassersteinDistance,
}


def _covariance(mean, second):
    """Covariance (N, N) in float64, given the mean and the second moment."""
    return second - np.outer(mean, mean)


def _through_covariance(by_mean, by_covariance, mean):
    """Gradients with respect to mean and second moment, given those with respect to mean and covariance."""
    with one_blas_thread():
        return by_mean - 2 * by_covariance @ mean, by_covariance


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
