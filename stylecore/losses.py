"""The terms of the paper's loss (section 5), each next to its gradient.

A loss at a layer takes the layer's features F as a matrix of M positions x N channels, the transpose of the paper's.
The features may come in strips of consecutive rows: `accumulate` each strip, then compute the `value`, then call
`add_gradient` for each strip. The paper's gradients are zero where F is zero; the backward pass of the ReLU that
computed F (`ConvRelu.backward`) applies this to the gradients of the layer's losses and of the deeper layers alike.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np
import scipy
from numpy.typing import DTypeLike

from stylecore.kernels.backend import Backend, DeviceArray
from stylecore.kernels.cpu.runtime import one_blas_thread


class ContentLoss:
    """L_content = 1/2 sum (F - P)^2 (section 5.1).

    Parameters
    ----------
    target : array of the backend, (M, N)
        P, the content image's features.
    backend : Backend
    """

    def __init__(self, target: DeviceArray, backend: Backend) -> None:
        self._target = target
        self._backend = backend
        self._sum = 0.0

    def reset(self) -> None:
        """Start on the features of another image."""
        self._sum = 0.0

    def accumulate(self, features: DeviceArray, start: int = 0) -> None:
        """Add F (M, N), or the strip of its rows that begins at row `start`."""
        self._sum += self._backend.half_squared_distance(features, self._target[start : start + len(features)])

    def value(self) -> float:
        """Value for the accumulated F."""
        return self._sum

    def blank(self) -> float:
        """Value for a blank image, 1/2 sum P^2."""
        return self._backend.half_squared_distance(self._target)

    def add_gradient(self, features: DeviceArray, weight: float, gradient: DeviceArray, start: int = 0) -> None:
        """Add weight (F - P) to `gradient`; both (M, N), or the strip of rows that begins at row `start`."""
        target = self._target[start : start + len(features)]
        self._backend.half_squared_distance_backward(features, target, weight, gradient)


class Moments:
    """Mean and second moment of features over the positions of a layer, or over a region of it.

    The second moment is the Gram matrix divided by the number of positions. Images of different sizes, and their
    regions, can thus be compared.

    Parameters
    ----------
    backend : Backend
    shape : tuple of int
        (M, N): positions and channels of the layer.
    dtype : dtype
        Of the features.
    guide : ndarray, (M,), optional
        Membership of each position in the region, in [0, 1]; by default all positions belong to it. This is the square
        of the guide of Gatys et al. (2017), with which they multiply the features: masks that add up to one everywhere
        have Gram matrices that add up to that of the whole image.
    with_mean : bool
        Whether to compute the mean.
    total : float, optional
        Number of positions, or sum of the guide, to divide by: that of the whole picture, if the features are a part of
        the picture's. The moments of all parts then add up to the picture's.

    Attributes
    ----------
    mean : array of the backend, (N,), float64
        Mean of each channel; zero without `with_mean`.
    second : array of the backend, (N, N)
        Second moment.

    References
    ----------
    Gatys, Ecker, Bethge, Hertzmann and Shechtman (2017), "Controlling Perceptual Factors in Neural Style Transfer",
    CVPR, section 4.
    """

    def __init__(
        self,
        backend: Backend,
        shape: tuple[int, int],
        dtype: DTypeLike,
        guide: np.ndarray | None = None,
        with_mean: bool = False,
        total: float | None = None,
    ) -> None:
        positions, channels = shape
        self._backend = backend
        self._guide = None if guide is None else backend.upload(guide)
        if total is None:
            total = positions if guide is None else float(guide.sum(dtype=np.float64))
        self._share = 1 / total
        self._with_mean = with_mean
        self.mean, self.second = backend.empty((channels,), np.float64), backend.empty((channels, channels), dtype)
        self.reset()

    def reset(self) -> None:
        """Start on the features of another image."""
        self.mean[...] = 0
        self.second[...] = 0

    def accumulate(self, features: DeviceArray, start: int = 0) -> None:
        """Add F (M, N), or the strip of its rows that begins at row `start`."""
        guide = self._part(features, start)
        self._backend.gram(features, self._share, self.second, guide)
        if self._with_mean:
            self._backend.channel_sums(features, self._share, self.mean, guide)

    def add_gradient(
        self,
        features: DeviceArray,
        by_mean: DeviceArray,
        by_second: DeviceArray,
        weight: float,
        gradient: DeviceArray,
        start: int = 0,
    ) -> None:
        """Add weight times the gradient with respect to F to `gradient`, given those with respect to the moments.

        With the guide g, its sum s, the mean m and the second moment S, it is g / s (2 F dE/dS + dE/dm) at each
        position.

        Parameters
        ----------
        features, gradient : array of the backend, (M, N)
            Or the strip of rows that begins at row `start`.
        by_mean : array of the backend, (N,)
            dE/dm
        by_second : array of the backend, (N, N)
            dE/dS
        weight : float
        start : int
        """
        guide, scale = self._part(features, start), weight * self._share
        self._backend.gram_backward(features, by_second, 2 * scale, gradient, guide)
        if self._with_mean:
            self._backend.channel_sums_backward(by_mean, scale, gradient, guide)

    def _part(self, features: DeviceArray, start: int) -> DeviceArray | None:
        return None if self._guide is None else self._guide[start : start + len(features)]


def directions(channels: int, dtype: DTypeLike) -> np.ndarray:
    """Directions that features are projected onto: orthogonal, of length one, and the same in every run.

    They are the rows of Q diag(+-1) Q^T, with Q uniformly distributed and as many signs of either kind. That is a
    symmetric matrix which is its own inverse, so that one product, `Backend.gram_backward`, projects features and takes
    gradients back.

    Parameters
    ----------
    channels : int
    dtype : dtype

    Returns
    -------
    ndarray, (channels, channels)
    """
    basis, upper = np.linalg.qr(np.random.default_rng(channels).standard_normal((channels, channels)))
    basis *= np.sign(np.diag(upper))
    signs = np.where(np.arange(channels) % 2, 1.0, -1.0)
    return ((basis * signs) @ basis.T).astype(dtype)


class Projections:
    """Projections of all positions' features onto fixed `directions`; it takes the place of `Moments`.

    Parameters
    ----------
    backend : Backend
    shape : tuple of int
        (M, N): positions and channels of the layer.
    dtype : dtype
        Of the features.

    Attributes
    ----------
    mean : array of the backend, (1,)
        Not used.
    second : array of the backend, (M, N)
        The projections.
    """

    def __init__(self, backend: Backend, shape: tuple[int, int], dtype: DTypeLike) -> None:
        self._backend = backend
        self._directions = backend.upload(directions(shape[1], dtype))
        self.mean, self.second = backend.empty((1,), np.float64), backend.empty(shape, dtype)

    def accumulate(self, features: DeviceArray, start: int = 0) -> None:
        """Project F (M, N), or the strip of its rows that begins at row `start`."""
        part = self.second[start : start + len(features)]
        part[...] = 0
        self._backend.gram_backward(features, self._directions, 1.0, part)

    def add_gradient(
        self,
        features: DeviceArray,
        by_mean: DeviceArray,
        by_second: DeviceArray,
        weight: float,
        gradient: DeviceArray,
        start: int = 0,
    ) -> None:
        """Add weight times the gradient with respect to F to `gradient`, given that with respect to the projections.

        Parameters
        ----------
        features, gradient : array of the backend, (M, N)
            Or the strip of rows that begins at row `start`.
        by_mean : array of the backend
            Not used.
        by_second : array of the backend, (M, N)
            Of all positions.
        weight : float
        start : int
        """
        part = by_second[start : start + len(gradient)]
        self._backend.gram_backward(part, self._directions, weight, gradient)


class Distance(Protocol):
    """A distance between the moments of an image and those of a style, such as `GramDistance`.

    If `of_positions`, it compares `Projections` instead, which take the place of the second moments.
    """

    of_positions: ClassVar[bool]
    with_mean: ClassVar[bool]
    strength: ClassVar[float]

    @property
    def blank(self) -> float:
        """Value for a blank image, all of whose features are zero."""
        ...

    def __init__(self, mean: np.ndarray, second: np.ndarray, backend: Backend) -> None: ...

    def __call__(self, mean: DeviceArray, second: DeviceArray) -> tuple[float, DeviceArray, DeviceArray]:
        """Value, and its gradients with respect to the mean and the second moment of the image."""
        ...


class StyleLoss:
    """Distance of the moments of the image's features, in a region or the whole layer, from those of a style.

    Parameters
    ----------
    distance : Distance
        From the style.
    backend : Backend

    Attributes
    ----------
    relative_weight : float
        The factor that makes the loss ``distance.strength`` for a blank image; 1 if the style is blank, too.
    gradients : tuple of two arrays of the backend, (N,) and (N, N)
        Gradients with respect to the mean and the second moment for which the last `value` was computed, for
        `Moments.add_gradient`; the next call overwrites them.
    """

    def __init__(self, distance: Distance, backend: Backend) -> None:
        self._distance = distance
        self._backend = backend
        self.relative_weight = distance.strength / distance.blank if distance.blank else 1.0
        self.gradients: tuple[DeviceArray, DeviceArray]

    def value(self, mean: DeviceArray, second: DeviceArray) -> float:
        """Value for an image with this mean (N,) and second moment (N, N)."""
        value, *gradients = self._distance(mean, second)
        self.gradients = gradients[0], gradients[1]
        return value

    def gradient_strength(self, mean: DeviceArray, second: DeviceArray) -> float:
        """Norm of the gradient times the norm of the features F: the change of the loss per relative change of F.

        With the moments m and S, and the gradients v and D with respect to them, it is the square root of
        (v v + 4 v D m + 4 tr(D S D)) tr S, whatever the number of positions. (With a soft guide, both norms are
        weighted by its square root.)
        """
        download = self._backend.download
        self.value(mean, second)
        host_mean, host_second = download(mean), download(second)
        by_mean, by_second = map(download, self.gradients)
        if self._distance.of_positions:  # The directions are orthogonal: projections have the norm of the features.
            return float(np.linalg.norm(by_second) * np.linalg.norm(host_second))
        with one_blas_thread():
            square = 4 * np.sum((by_second @ host_second) * by_second, dtype=np.float64)
            square += by_mean @ by_mean + 4 * by_mean @ by_second @ host_mean
        return float(np.sqrt(max(square, 0) * np.trace(host_second)))


class GramDistance:
    """1 / (4 N^2) sum (S - A)^2, which is 1 / (4 N^2 M^2) sum (G - A M)^2 with G = F^T F: the paper's (section 5.2).

    The backend computes it, and all matrices stay in its memory.

    Parameters
    ----------
    mean : ndarray, (N,)
        Not used.
    second : ndarray, (N, N)
        A, the second moment of the style: its Gram matrix per position.
    backend : Backend

    Attributes
    ----------
    of_positions : bool
        Whether the distance compares `Projections` of all positions, not moments. It then needs the picture in one
        piece, a single style, and no regions.
    with_mean : bool
        Whether the distance depends on the mean.
    blank : float
        Value for a blank image, all of whose features are zero.
    strength : float
        Factor of the relative weight. That of the other distances is chosen such that, at the same style weight,
        pictures depart as far from the content as with this distance, by the content terms of three pairs of pictures
        at 256 pixels.
    """

    of_positions: ClassVar = False
    with_mean: ClassVar = False
    strength: ClassVar = 1.0

    def __init__(self, mean: np.ndarray, second: np.ndarray, backend: Backend) -> None:
        self._backend = backend
        self._second = backend.upload(second)
        self._by_mean, self._by_second = _room_for_gradients(second, backend)
        self._by_mean[...] = 0
        self.blank = 0.25 * float(np.sum(second**2, dtype=np.float64)) / len(second) ** 2

    def __call__(self, mean: DeviceArray, second: DeviceArray) -> tuple[float, DeviceArray, DeviceArray]:
        """Value, and its gradients with respect to the mean and the second moment, which the next call overwrites.

        Parameters
        ----------
        mean : array of the backend, (N,)
        second : array of the backend, (N, N)

        Returns
        -------
        value : float
        by_mean : array of the backend, (N,)
            Zero.
        by_second : array of the backend, (N, N)
        """
        scale = 1 / (2 * len(second) ** 2)
        self._by_second[...] = 0
        self._backend.half_squared_distance_backward(second, self._second, scale, self._by_second)
        return scale * self._backend.half_squared_distance(second, self._second), self._by_mean, self._by_second


def _room_for_gradients(second: np.ndarray, backend: Backend) -> tuple[DeviceArray, DeviceArray]:
    """Arrays for the gradients with respect to the mean and the second moment, used again in every evaluation."""
    return backend.empty(second.shape[:1], second.dtype), backend.empty(second.shape, second.dtype)


class _CovarianceDistance:
    """What the distances between means and covariances share.

    They need dense linear algebra and are computed on the host, in float64. In each evaluation, the moments are
    downloaded from the backend once, and their gradients are uploaded.
    """

    of_positions: ClassVar = False
    with_mean: ClassVar = True

    def __init__(self, second: np.ndarray, backend: Backend) -> None:
        self._backend = backend
        self._gradients = _room_for_gradients(second, backend)

    def __call__(self, mean: DeviceArray, second: DeviceArray) -> tuple[float, DeviceArray, DeviceArray]:
        """Value, and its gradients with respect to the mean and the second moment, as in `GramDistance`."""
        host_mean = self._backend.download(mean)
        covariance = _covariance(host_mean, self._backend.download(second))
        value, by_mean, by_covariance = self._compare(host_mean, covariance)
        with one_blas_thread():
            by_mean = by_mean - 2 * by_covariance @ host_mean
        for gradient, computed in zip(self._gradients, (by_mean, by_covariance), strict=True):
            gradient[...] = computed
        return value, *self._gradients

    def _compare(self, mean: np.ndarray, covariance: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Value, and its gradients with respect to the mean and the covariance."""
        raise NotImplementedError


class MeanCovarianceDistance(_CovarianceDistance):
    """|m - n|^2 / |n|^2 + |C - T|^2 / |T|^2 for means m, n and covariances C, T, in the Frobenius norm.

    These are the statistics of Huang and Belongie (2017), who compare only the variances of single channels. The two
    summands have different units, squares and fourth powers of features; so each is divided by its value for a blank
    image.

    Parameters
    ----------
    mean : ndarray, (N,)
        n, the mean of the style.
    second : ndarray, (N, N)
        Second moment of the style.
    backend : Backend

    Attributes
    ----------
    of_positions, with_mean, blank, strength
        As those of `GramDistance`.

    References
    ----------
    Huang and Belongie (2017), "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization", ICCV.
    """

    strength: ClassVar = 0.65
    blank = 2.0

    def __init__(self, mean: np.ndarray, second: np.ndarray, backend: Backend) -> None:
        super().__init__(second, backend)
        self._mean, self._covariance = mean, _covariance(mean, second)
        self._scales = [1 / np.sum(part**2) if part.any() else 1.0 for part in (self._mean, self._covariance)]

    def _compare(self, mean: np.ndarray, covariance: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        shift, spread = mean - self._mean, covariance - self._covariance
        scale, covariance_scale = self._scales
        value = scale * float(shift @ shift) + covariance_scale * float(np.sum(spread**2))
        return value, 2 * scale * shift, 2 * covariance_scale * spread


class MeanStdDistance(_CovarianceDistance):
    """1 / (4 N^2) (|S - A|^2 + 100 |m - n|^2 + 100 |s - t|^2) for second moments S, A, means m, n and deviations s, t.

    It is `GramDistance` plus the means and standard deviations of single channels, which the Gram matrix mixes: with it
    the contrast of the picture is steadier, above all over large pictures. The factor of 100 is that of Galerne et al.
    With C = S - m m^T and c = 1 / (4 N^2), the gradient is 2 c (S - A) + diag(100 c (s - t) / s) with respect to C, and
    4 c (S - A) m + 200 c (m - n) with respect to m.

    A deviation v^(1/2) is not differentiable where the variance v is zero. It is therefore replaced by (v + e)^(1/2),
    also that of the style, where e is 1e-6 times the style's mean variance.

    Parameters
    ----------
    mean : ndarray, (N,)
        n, the mean of the style.
    second : ndarray, (N, N)
        A, the second moment of the style.
    backend : Backend

    Attributes
    ----------
    of_positions, with_mean, blank, strength
        As those of `GramDistance`.

    References
    ----------
    Galerne, Raad, Lezama and Morel (2023), "Scaling Painting Style Transfer", arXiv 2212.13459.
    """

    strength: ClassVar = 1.0
    FACTOR: ClassVar = 100.0

    def __init__(self, mean: np.ndarray, second: np.ndarray, backend: Backend) -> None:
        super().__init__(second, backend)
        self._mean, self._second = np.asarray(mean, np.float64), np.asarray(second, np.float64)
        variances = np.diag(_covariance(self._mean, self._second)).clip(0)
        self._smoothing = 1e-6 * variances.mean() or 1.0
        self._deviations = np.sqrt(variances + self._smoothing)
        self.blank = self._compare(np.zeros_like(self._mean), np.zeros_like(self._second))[0]

    def _compare(self, mean: np.ndarray, covariance: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        scale = 1 / (4 * len(mean) ** 2)
        spread = covariance + np.outer(mean, mean) - self._second
        shift = mean - self._mean
        deviations = np.sqrt(np.diag(covariance).clip(0) + self._smoothing)
        change = deviations - self._deviations
        value = scale * float(np.sum(spread**2) + self.FACTOR * (shift @ shift + change @ change))
        by_covariance = 2 * scale * spread + np.diag(self.FACTOR * scale * change / deviations)
        with one_blas_thread():
            by_mean = 4 * scale * spread @ mean + 2 * self.FACTOR * scale * shift
        return value, by_mean, by_covariance


class WassersteinDistance(_CovarianceDistance):
    """Squared 2-Wasserstein distance between Gaussians: |m - n|^2 + tr C + tr T - 2 tr (R^T C R)^(1/2), T = R R^T.

    R = V D^(1/2), with the eigenvectors V of T whose eigenvalues D are above the rounding error. The matrix whose
    square root is computed is therefore only as large as the rank of T, which for small images is less than the number
    of positions. Its decomposition, once in each evaluation, is what makes this distance slower than the others. With
    its eigenvalues l and eigenvectors U, the gradient with respect to C is 1 - R U l^(-1/2) U^T R^T.

    Along a direction in which the style varies and the image does not, l is zero and l^(1/2) is not differentiable. It
    is therefore replaced by (l + e)^(1/2) - e^(1/2), where e^(1/2) is 1e-4 times the mean of D. The result is smooth,
    and exceeds the distance by at most 2e-4 tr T.

    Parameters
    ----------
    mean : ndarray, (N,)
        n, the mean of the style.
    second : ndarray, (N, N)
        Second moment of the style.
    backend : Backend

    Attributes
    ----------
    of_positions, with_mean, blank, strength
        As those of `GramDistance`.

    References
    ----------
    Olkin and Pukelsheim (1982), "The distance between two random vectors with given dispersion matrices", Linear
    Algebra and its Applications 48.
    """

    strength: ClassVar = 0.65

    def __init__(self, mean: np.ndarray, second: np.ndarray, backend: Backend) -> None:
        super().__init__(second, backend)
        covariance = _covariance(mean, second)
        with one_blas_thread():
            values, vectors = scipy.linalg.eigh(covariance, driver="evd")
        values = values.clip(0)
        kept = values >= 1e-6 * values[-1]
        self._mean, self._trace = mean, float(values[kept].sum())
        self._root = vectors[:, kept] * np.sqrt(values[kept])
        self._smoothing = (1e-4 * values[kept].mean()) ** 2 or 1.0
        self.blank = float(mean @ mean) + self._trace

    def _compare(self, mean: np.ndarray, covariance: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        shift, root = mean - self._mean, self._root
        with one_blas_thread():
            values, vectors = scipy.linalg.eigh(root.T @ covariance @ root, driver="evd")
            roots = np.sqrt(values.clip(0) + self._smoothing)
            half = root @ (vectors / np.sqrt(roots))
            by_covariance = np.eye(len(mean)) - half @ half.T
        overlap = np.sum(roots - np.sqrt(self._smoothing))
        value = float(shift @ shift + np.trace(covariance) + self._trace - 2 * overlap)
        return value, 2 * shift, by_covariance


class SlicedWassersteinDistance:
    """Mean over directions and positions of (p_i - q_i)^2, for sorted projections p of the image and q of the style.

    Sorting matches the projections such that the sum is least: it is the squared 2-Wasserstein distance of the two sets
    along a direction, and is zero in all directions only if the distributions of features agree, not just their
    moments. Where the sizes differ, the style's sorted projections are interpolated linearly to the image's positions.

    The gradient with respect to a projection is 2 / (M N) (p_i - q_i), since the order does not change with p; where
    projections are equal, it is one of the subgradients. The `directions` are fixed, so that the loss is one function
    which a line search can follow; Heitz et al. draw new ones at every step.

    It is computed on the host.

    Parameters
    ----------
    mean : ndarray
        Not used.
    second : ndarray, (M, N)
        Projections of the style's positions, in any order.
    backend : Backend

    Attributes
    ----------
    of_positions, with_mean, blank, strength
        As those of `GramDistance`.

    References
    ----------
    Heitz, Vanhoey, Chambon and Belcour (2021), "A Sliced Wasserstein Loss for Neural Texture Synthesis", CVPR.
    """

    of_positions: ClassVar = True
    with_mean: ClassVar = False
    strength: ClassVar = 4.0
    COLUMNS = 16
    """Directions that are transposed at a time."""

    def __init__(self, mean: np.ndarray, second: np.ndarray, backend: Backend) -> None:
        self._backend = backend
        self._style = np.sort(second.T, axis=1)
        self.blank = float(np.mean(second**2, dtype=np.float64))
        self._by_mean = backend.empty((1,), second.dtype)
        self._gradient = np.empty((0, 0), second.dtype)

    def __call__(self, mean: DeviceArray, second: DeviceArray) -> tuple[float, DeviceArray, DeviceArray]:
        """Value, and its gradient with respect to the projections, which the next call overwrites.

        Parameters
        ----------
        mean : array of the backend
            Not used.
        second : array of the backend, (M, N)
            The projections.

        Returns
        -------
        value : float
        by_mean : array of the backend, (1,)
        by_second : array of the backend, (M, N)
        """
        projections = self._backend.download(second)
        if self._gradient.shape != projections.shape:
            self._gradient = np.empty_like(projections)
        total = 0.0
        for begin in range(0, projections.shape[1], self.COLUMNS):
            columns = slice(begin, begin + self.COLUMNS)
            part = np.ascontiguousarray(projections[:, columns].T)
            order = np.argsort(part, axis=1)
            change = np.take_along_axis(part, order, axis=1) - _quantiles(self._style[columns], part.shape[1])
            total += float(np.sum(change**2, dtype=np.float64))
            np.put_along_axis(part, order, change, axis=1)
            np.multiply(part.T, 2 / projections.size, out=self._gradient[:, columns])
        return total / projections.size, self._by_mean, self._backend.upload(self._gradient)


def _quantiles(ordered: np.ndarray, count: int) -> np.ndarray:
    """Sorted values (K, M) at `count` positions that divide the range of ranks as evenly as they do; (K, count)."""
    size = ordered.shape[1]
    if size == count:
        return ordered
    at = ((np.arange(count) + 0.5) * size / count - 0.5).clip(0, size - 1)
    below = at.astype(int).clip(0, max(size - 2, 0))
    share = (at - below).astype(ordered.dtype)
    return (1 - share) * ordered[:, below] + share * ordered[:, (below + 1).clip(0, size - 1)]


STYLE_LOSSES: dict[str, type[Distance]] = {
    "gram": GramDistance,
    "mean_std": MeanStdDistance,
    "mean_covariance": MeanCovarianceDistance,
    "wasserstein": WassersteinDistance,
    "sliced_wasserstein": SlicedWassersteinDistance,
}
"""The distances by the names that the setting ``style_loss`` takes."""


def _covariance(mean: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Covariance (N, N) in float64, given the mean and the second moment."""
    return second - np.outer(mean, mean)


class Regularization:
    """1/2 sum (x - mean)^2: the paper's distance from the zero image of mean-subtracted values, the mean (section 5.3).

    Parameters
    ----------
    mean : array of the backend, (H, W, 3)
        The network's training mean, at every pixel.
    backend : Backend
    """

    def __init__(self, mean: DeviceArray, backend: Backend) -> None:
        self._mean = mean
        self._backend = backend

    def value(self, x: DeviceArray) -> float:
        """Value for an image (H, W, 3)."""
        return self._backend.half_squared_distance(x, self._mean)

    def add_gradient(self, x: DeviceArray, weight: float, gradient: DeviceArray) -> None:
        """Add weight (x - mean) to `gradient` (H, W, 3)."""
        self._backend.half_squared_distance_backward(x, self._mean, weight, gradient)


class TotalVariation:
    """1/2 sum of squared differences between neighbouring pixels, horizontally and vertically (section 5.4).

    Parameters
    ----------
    backend : Backend
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def value(self, x: DeviceArray) -> float:
        """Value for an image (H, W, 3)."""
        return self._backend.total_variation(x)

    def add_gradient(self, x: DeviceArray, weight: float, gradient: DeviceArray) -> None:
        """Add weight times the gradient to `gradient` (H, W, 3)."""
        self._backend.total_variation_backward(x, weight, gradient)


class TemporalLoss:
    """1/D sum c (x - w)^2 over the D values of the image: agreement with earlier frames of a film (paper, section 7.1).

    It is evaluated on the host, unlike the others, since its target changes with every frame.

    Parameters
    ----------
    target : ndarray, (H, W, 3)
        w, the results for earlier frames, warped to this one.
    weights : ndarray, (H, W)
        c in [0, 1]: how reliably each pixel is seen in the earlier frames.

    References
    ----------
    Ruder, Dosovitskiy and Brox (2016), "Artistic style transfer for videos", equation 7.
    """

    def __init__(self, target: np.ndarray, weights: np.ndarray) -> None:
        self.target, self.weights = target, weights

    def value(self, x: np.ndarray) -> float:
        """Value for an image (H, W, 3), summed in float64."""
        difference = x - self.target
        return float(np.einsum("ijc,ijc,ij->", difference, difference, self.weights, dtype=np.float64) / x.size)

    def add_gradient(self, x: np.ndarray, weight: float, gradient: np.ndarray) -> None:
        """Add weight times 2/D c (x - w) to `gradient` (H, W, 3)."""
        gradient += (2 * weight / x.size) * self.weights[:, :, None] * (x - self.target)
