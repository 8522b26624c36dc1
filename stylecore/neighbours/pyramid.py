"""The picture as a Laplacian pyramid, which is optimised in place of the pixels, so that colours of areas move fast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import ClassVar

import numpy as np
from scipy.sparse import csr_array

from stylecore.optimizers import Optimizer

LEVELS = 8
RATE = 2e-3


class LaplacianPyramid:
    """Levels whose sum, each enlarged to the size of the picture, is the picture.

    A level is half the size of the one before it, rounded up. To enlarge is to interpolate linearly; to reduce, to
    average over squares of 2 x 2.

    Parameters
    ----------
    height, width : int
        Of the picture, in pixels.
    levels : int
        At most; there are no more once a level is a single pixel.

    References
    ----------
    Burt and Adelson (1983), "The Laplacian Pyramid as a Compact Image Code".
    """

    def __init__(self, height: int, width: int, levels: int = LEVELS) -> None:
        self.shapes = [(height, width)]
        while len(self.shapes) < levels and max(self.shapes[-1]) > 1:
            self.shapes.append((-(-self.shapes[-1][0] // 2), -(-self.shapes[-1][1] // 2)))

    def split(self, picture: np.ndarray) -> list[np.ndarray]:
        """The levels (h, w, 3) of a picture (H, W, 3), from fine to coarse."""
        levels = []
        for shape in self.shapes[1:]:
            smaller = _along_both(_means, picture, shape)
            levels.append(picture - _along_both(_enlargement, smaller, picture.shape))
            picture = smaller
        return [*levels, picture]

    def join(self, levels: Sequence[np.ndarray]) -> np.ndarray:
        """The picture (H, W, 3) of some levels."""
        picture = levels[-1]
        for level in reversed(levels[:-1]):
            picture = level + _along_both(_enlargement, picture, level.shape)
        return picture

    def join_backward(self, gradient: np.ndarray) -> list[np.ndarray]:
        """Gradient with respect to each level, given that with respect to the picture: the adjoint of `join`."""
        gradients = [gradient]
        for shape in self.shapes[1:]:
            gradients.append(_along_both(_enlargement_backward, gradients[-1], shape))
        return gradients


def _along_both(matrix: Callable[[int, int], csr_array], picture: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Resize a picture (h, w, 3) by one matrix along its columns and one along its rows."""
    height, width = shape[:2]
    down = matrix(height, picture.shape[0]) @ picture.reshape(len(picture), -1)
    across = down.reshape(height, -1, 3).transpose(1, 0, 2).reshape(picture.shape[1], -1)
    resized = matrix(width, picture.shape[1]) @ across
    return np.ascontiguousarray(resized.reshape(width, height, 3).transpose(1, 0, 2)).astype(picture.dtype)


@cache
def _means(size: int, larger: int) -> csr_array:
    """Average pairs of neighbours; the last may be alone."""
    matrix = csr_array((np.ones(larger), (np.arange(larger) // 2, np.arange(larger))), (size, larger))
    return csr_array(matrix / matrix.sum(axis=1)[:, None])


@cache
def _enlargement(size: int, smaller: int) -> csr_array:
    """Interpolate linearly between the centres of pairs of neighbours."""
    at = ((np.arange(size) + 0.5) / 2 - 0.5).clip(0, smaller - 1)
    below = at.astype(int)
    share, rows = at - below, np.arange(size)
    values, columns = np.concatenate([1 - share, share]), np.concatenate([below, (below + 1).clip(0, smaller - 1)])
    return csr_array((values, (np.concatenate([rows, rows]), columns)), (size, smaller))


@cache
def _enlargement_backward(size: int, larger: int) -> csr_array:
    return csr_array(_enlargement(larger, size).T)


class PyramidAdam(Optimizer):
    """Adam with a constant step size on the levels of a Laplacian pyramid, whose coarse levels change whole areas.

    References
    ----------
    Kolkin et al. (2022), section 3.3: 200 steps of 2e-3.
    """

    resumable: ClassVar = False

    def __init__(self, start: np.ndarray, evaluations: int) -> None:
        super().__init__(start, evaluations)
        self._pyramid = LaplacianPyramid(*start.shape[:2])
        self._start = start

    def _minimize(self) -> None:
        levels = self._pyramid.split(self._start)
        shapes, ends = [level.shape for level in levels], np.cumsum([level.size for level in levels])[:-1]
        values = np.concatenate([level.ravel() for level in levels])
        mean, square, step = np.zeros_like(values), np.zeros_like(values), 0
        while True:
            parts = np.split(values, ends)
            picture = self._pyramid.join([part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)])
            # The picture itself is not clipped: its levels would no longer add up to it.
            _, by_picture = self._evaluate(picture.reshape(-1))
            by_levels = self._pyramid.join_backward(by_picture.reshape(self._shape))
            gradient = np.concatenate([part.ravel() for part in by_levels])
            step += 1
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            change = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
            values -= RATE * change
            self._finish_iteration()

    @property
    def image(self) -> np.ndarray:
        """The image of lowest loss so far, clipped to [0, 1], (H, W, 3) float32."""
        return super().image.clip(0, 1)
