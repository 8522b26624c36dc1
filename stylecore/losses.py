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
    shape : tuple of int
        (M, N): positions and channels of the layer.
    dtype : dtype
        Of the features.
    guide : ndarray, (M,), optional
        How far each position belongs to the region, in [0, 1]; without, all belong. This is the square of the guide
        of Gatys et al. (2017), which they multiply the features with: so masks that add up to one in the image leave
        Gram matrices that add up to that of the whole.
    with_mean : bool
        Whether the mean is wanted.

    Attributes
    ----------
    mean : array of the backend, (N,), float64
        Mean of each channel; zero if it is not wanted.
    second : array of the backend, (N, N)
        Second moment.

    References
    ----------
    Gatys, Ecker, Bethge, Hertzmann and Shechtman (2017), "Controlling Perceptual Factors in Neural Style Transfer",
    CVPR, section 4.
    """

    def __init__(self, backend, shape, dtype, guide=None, with_mean=False):
        positions, channels = shape
        self._backend = backend
        self._guide = None if guide is None else backend.upload(guide)
        self._share = 1 / (positions if guide is None else float(guide.sum(dtype=np.float64)))
        self._with_mean = with_mean
        self.mean, self.second = backend.empty((channels,), np.float64), backend.empty((channels, channels), dtype)
        self.reset()

    def reset(self):
        """Begin a new image."""
        self.mean[...] = 0
        self.second[...] = 0

    def take(self, features, start=0):
        """Take in F (M, N), or some of its rows, from `start` on."""
        guide = self._part(features, start)
        self._backend.gram(features, self._share, self.second, guide)
        if self._with_mean:
            self._backend.channel_sums(features, self._share, self.mean, guide)

    def add_gradient(self, features, by_mean, by_second, weight, gradient, start=0):
        """Add weight times the gradient with respect to F, given those with respect to the moments, to `gradient`.

        With g for the guide and M for its sum, that is g / M (2 F dE/dS + dE/dm) at each position.
        """
        guide, scale = self._part(features, start), weight * self._share
        self._backend.gram_backward(features, by_second, 2 * scale, gradient, guide)
        if self._with_mean:
            self._backend.channel_sums_backward(by_mean, scale, gradient, guide)

    def _part(self, features, start):
        return None if self._guide is None else self._guide[start : start + len(features)]


class StyleLoss:
    """Distance between the moments of the image's features, in a region or the whole layer, and a style's.

    Parameters
    ----------
    distance : GramDistance, MeanCovarianceDistance or WassersteinDistance
        From the style.
    moments : Moments
        Those of the image, with the mean if the distance compares it.
    backend : module
    """

    def __init__(self, distance, moments, backend):
        self._distance = distance
        self._moments = moments
        self._backend = backend
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
        moments, download = (self._moments.mean, self._moments.second), self._backend.download
        _, *gradients = self._distance(*moments)
        mean, second = map(download, moments)
        by_mean, by_second = map(download, gradients)
        with one_blas_thread():
            square = 4 * np.sum((by_second @ second) * by_second, dtype=np.float64)
            square += by_mean @ by_mean + 4 * by_mean @ by_second @ mean
        return float(np.sqrt(max(square, 0) * np.trace(second)))


class GramDistance:
    """1 / (4 N^2) sum (S - A)^2, which is 1 / (4 N^2 M^2) sum (G - A M)^2 with G = F^T F: the paper's (section 5.2).

    It is computed by the backend, in whose memory all matrices stay.

    Parameters
    ----------
    mean : ndarray, (N,)
        Not needed.
    second : ndarray, (N, N)
        A, second moment of the style: its Gram matrix per position.
    backend : module

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

    def __init__(self, mean, second, backend):
        self._backend = backend
        self._second = backend.upload(second)
        self._by_mean, self._by_second = _room_for_gradients(second, backend)
        self._by_mean[...] = 0
        self.blank = 0.25 * float(np.sum(second**2, dtype=np.float64)) / len(second) ** 2

    def __call__(self, mean, second):
        """Value, and its gradients with respect to the mean and the second moment, which the next call overwrites.

        Parameters
        ----------
        mean : array of the backend, (N,)
        second : array of the backend, (N, N)

        Returns
        -------
        value : float
        by_mean : array of the backend, (N,)
            Zero: the mean has no part in it.
        by_second : array of the backend, (N, N)
        """
        scale = 1 / (2 * len(second) ** 2)
        self._by_second[...] = 0
        self._backend.half_squared_distance_backward(second, self._second, scale, self._by_second)
        return scale * self._backend.half_squared_distance(second, self._second), self._by_mean, self._by_second


def _room_for_gradients(second, backend):
    """Room for the gradients with respect to the mean and the second moment, for every evaluation."""
    return backend.empty(second.shape[:1], second.dtype), backend.empty(second.shape, second.dtype)


class _CovarianceDistance:
    """A distance between means and covariances (N, N), with what the two below share.

    It is computed on the host, in float64, as it takes dense linear algebra: the moments come from the backend's memory
    and their gradients go back there, once in every evaluation.
    """

    with_mean = True

    def __init__(self, second, backend):
        self._backend = backend
        self._gradients = _room_for_gradients(second, backend)

    def __call__(self, mean, second):
        """Value, and its gradients with respect to the mean and the second moment, as `GramDistance` gives them."""
        mean = self._backend.download(mean)
        value, by_mean, by_covariance = self._compare(mean, _covariance(mean, self._backend.download(second)))
        with one_blas_thread():
            by_mean = by_mean - 2 * by_covariance @ mean
        for gradient, own in zip(self._gradients, (by_mean, by_covariance), strict=True):
            gradient[...] = own
        return value, *self._gradients


class MeanCovarianceDistance(_CovarianceDistance):
    """|m - n|^2 / |n|^2 + |C - T|^2 / |T|^2 between means m, n and covariances C, T, in Frobenius' norm.

    The statistics of Huang and Belongie (2017), who take the variances of single channels only. The two parts have
    different units, squares and fourth powers of features; so each is divided by what it is for a blank image.

    Parameters
    ----------
    mean : ndarray, (N,)
        n, of the style.
    second : ndarray, (N, N)
        Second moment of the style.
    backend : module

    Attributes
    ----------
    with_mean, blank, strength
        As those of `GramDistance`.

    References
    ----------
    Huang and Belongie (2017), "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization", ICCV.
    """

    strength = 0.65
    blank = 2.0

    def __init__(self, mean, second, backend):
        super().__init__(second, backend)
        self._mean, self._covariance = mean, _covariance(mean, second)
        self._scales = [1 / np.sum(part**2) if part.any() else 1.0 for part in (self._mean, self._covariance)]

    def _compare(self, mean, covariance):
        """Value, and its gradients with respect to mean and covariance."""
        shift, spread = mean - self._mean, covariance - self._covariance
        scale, covariance_scale = self._scales
        value = scale * float(shift @ shift) + covariance_scale * float(np.sum(spread**2))
        return value, 2 * scale * shift, 2 * covariance_scale * spread


class WassersteinDistance(_CovarianceDistance):
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
    backend : module

    Attributes
    ----------
    with_mean, blank, strength
        As those of `GramDistance`.

    References
    ----------
    Olkin and Pukelsheim (1982), "The distance between two random vectors with given dispersion matrices", Linear
    Algebra and its Applications 48.
    """

    strength = 0.65

    def __init__(self, mean, second, backend):
        super().__init__(second, backend)
        covariance = _covariance(mean, second)
        with one_blas_thread():
            values, vectors = eigh(covariance, driver="evd")
        values = values.clip(0)
        kept = values >= 1e-6 * values[-1]
        self._mean, self._trace = mean, float(values[kept].sum())
        self._root = vectors[:, kept] * np.sqrt(values[kept])
        self._smoothing = (1e-4 * values[kept].mean()) ** 2 or 1.0
        self.blank = float(mean @ mean) + self._trace

    def _compare(self, mean, covariance):
        """Value, and its gradients with respect to mean and covariance."""
        shift, root = mean - self._mean, self._root
        with one_blas_thread():
            values, vectors = eigh(root.T @ covariance @ root, driver="evd")
            roots = np.sqrt(values.clip(0) + self._smoothing)
            half = root @ (vectors / np.sqrt(roots))
            by_covariance = np.eye(len(mean)) - half @ half.T
        overlap = np.sum(roots - np.sqrt(self._smoothing))
        value = float(shift @ shift + np.trace(covariance) + self._trace - 2 * overlap)
        return value, 2 * shift, by_covariance


STYLE_LOSSES = {
    "gram": GramDistance,
    "mean_covariance": MeanCovarianceDistance,
    "wasserstein": WassersteinDistance,
}


def _covariance(mean, second):
    """Covariance (N, N) in float64, given the mean and the second moment."""
    return second - np.outer(mean, mean)


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
