"""The picture as a Laplacian pyramid, which is optimised in place of the pixels, so that colours of areas move fast."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from stylecore.kernels.cpu.pyramid import adam, enlarge, enlarge_backward
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
        for _ in self.shapes[1:]:
            smaller = _means(_means(picture, 0), 1)
            levels.append(picture - self._enlarged(smaller, np.zeros_like(picture)))
            picture = smaller
        return [*levels, picture]

    def join(self, levels: Sequence[np.ndarray]) -> np.ndarray:
        """The picture (H, W, 3) of some levels."""
        picture = levels[-1]
        for level in reversed(levels[:-1]):
            picture = self._enlarged(picture, level)
        return picture

    def join_backward(self, gradient: np.ndarray) -> list[np.ndarray]:
        """Gradient with respect to each level, given that with respect to the picture: the adjoint of `join`."""
        gradients = [gradient]
        for shape in self.shapes[1:]:
            smaller = np.empty((*shape, 3), gradient.dtype)
            enlarge_backward(gradients[-1], smaller)
            gradients.append(smaller)
        return gradients

    @staticmethod
    def _enlarged(smaller: np.ndarray, base: np.ndarray) -> np.ndarray:
        larger = np.empty_like(base)
        enlarge(smaller, base, larger)
        return larger


def _means(picture: np.ndarray, axis: int) -> np.ndarray:
    """Means of pairs of neighbours along an axis; the last may be alone."""
    starts = np.arange(0, picture.shape[axis], 2)
    counts = np.add.reduceat(np.ones(picture.shape[axis], picture.dtype), starts)
    return np.add.reduceat(picture, starts, axis) / np.expand_dims(counts, tuple({0, 1, 2} - {axis}))


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
            adam(gradient, RATE, step, values, mean, square)
            self._finish_iteration()

    @property
    def image(self) -> np.ndarray:
        """The image of lowest loss so far, clipped to [0, 1], (H, W, 3) float32."""
        return super().image.clip(0, 1)
