"""A painter in training: its stages with their forward and backward passes, and all parameters in one array."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import numpy as np

from stylecore.painter.architecture import Stage
from stylecore.training.layers import Convolution, Layer
from stylecore.training.model import Model
from stylecore.weights.architectures import Conv


class PaddedConvolution(Convolution):
    """The convolution of a stage, after upsampling and reflection padding.

    Parameters
    ----------
    stage : Stage
    backend : module
    is_first : bool
        Whether no gradient with respect to its input is needed.
    """

    def __init__(self, stage: Stage, backend: ModuleType, is_first: bool = False) -> None:
        row = Conv(stage.name, stage.inputs, stage.outputs, stage.size, stage.stride, 0)
        super().__init__(row, backend, is_first)
        self.stage = stage

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The convolution of the padded input."""
        self._shape, (n, height, width, channels) = x.shape, x.shape
        factor, padding = self.stage.factor, self.stage.padding
        shape = (n, factor * height + 2 * padding, factor * width + 2 * padding, channels)
        padded = self._array("padded", shape, x.dtype)
        self.backend.pad_reflected(x, padding, factor, padded)
        return super().forward(padded)

    def backward(self, dy: np.ndarray) -> np.ndarray | None:
        """Gradients with respect to filters and input."""
        padded = super().backward(dy)
        if padded is None:
            return None
        dx = self._array("unpadded", self._shape, dy.dtype)
        self.backend.pad_reflected_backward(padded, self.stage.padding, self.stage.factor, dx)
        return dx


class ConditionalNorm(Layer):
    """Instance normalisation whose scale and shift are those of a style, or a mixture of several; maybe with the ReLU.

    Parameters
    ----------
    stage : Stage
    styles : int
        Number of styles.
    backend : module

    Attributes
    ----------
    mixture : ndarray, (N, styles)
        Weight of each style in each image, to be set before the first pass.

    References
    ----------
    Dumoulin, Shlens and Kudlur (2017), equations 5 and 6.
    """

    mixture: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    d_scale: np.ndarray
    d_shift: np.ndarray

    def __init__(self, stage: Stage, styles: int, backend: ModuleType) -> None:
        super().__init__(backend)
        self.relu = stage.relu
        self.shapes = dict.fromkeys(("scale", "shift"), (styles, stage.outputs))

    def initialise(self, rng: np.random.Generator) -> None:
        """Begin with mean zero and standard deviation one for all styles."""
        self.scale[...], self.shift[...] = 1, 0

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The normalised input."""
        self._x = x
        self._affine = self.mixture @ self.scale, self.mixture @ self.shift
        self._measured = np.empty((2, len(x), x.shape[3]))
        y = self._array("output", x.shape, x.dtype)
        self.backend.instance_norm(x, *self._affine, self.relu, y, *self._measured)
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Gradients with respect to the styles' scales and shifts, and to the input."""
        by_affine = np.empty((2, *self._affine[0].shape), dy.dtype)
        self.backend.instance_norm_backward(dy, self._x, *self._affine, self.relu, *self._measured, dy, *by_affine)
        self.d_scale[...], self.d_shift[...] = (self.mixture.T @ gradient for gradient in by_affine)
        return dy


class PainterModel(Model):
    """A painter in training.

    Parameters
    ----------
    table : sequence of Stage
    styles : int
        Number of styles.
    backend : module
    dtype : {"float32", "float64"}
    """

    def __init__(self, table: Sequence[Stage], styles: int, backend: ModuleType, dtype: str = "float32") -> None:
        self.table, self.backend = tuple(table), backend
        self.convolutions = [PaddedConvolution(stage, backend, stage is self.table[0]) for stage in self.table]
        self.norms = [ConditionalNorm(stage, styles, backend) for stage in self.table]
        pairs = zip(self.convolutions, self.norms, strict=True)
        super().__init__([layer for pair in pairs for layer in pair], dtype)

    def bytes(self, batch: int, side: int) -> int:
        """As `Model.bytes`: parameters, and the features of a batch with their gradients."""
        values = 0
        for stage in self.table:
            values += side**2 * stage.inputs  # The gradient with respect to the input.
            values += 2 * (stage.factor * side + 2 * stage.padding) ** 2 * stage.inputs  # The padded one, with its own.
            side = stage.length(side)
            values += 2 * side**2 * stage.outputs  # Before the normalisation and after it.
        # The parameters with their gradient and the state of the optimiser.
        return self.values.itemsize * (batch * values + 4 * self.values.size)

    def set_styles(self, mixture: np.ndarray) -> None:
        """Set the weights of the styles in each image of the next batch, (n, styles)."""
        for norm in self.norms:
            norm.mixture = mixture.astype(self.values.dtype)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Paint a batch of photographs.

        Parameters
        ----------
        x : ndarray, (n, H, W, 3)
            sRGB in [0, 1].

        Returns
        -------
        ndarray, (n, H, W, 3)
            sRGB in [0, 1]; reused in the next pass.
        """
        for stage, convolution, norm in zip(self.table, self.convolutions, self.norms, strict=True):
            if stage.begins:
                before = x
            x = norm.forward(convolution.forward(x))
            if stage.ends:
                self.backend.add(before, x)
        self.backend.sigmoid(x, x)
        self._painted = x
        return x

    def backward(self, dy: np.ndarray) -> None:
        """Fill `gradient`, given the gradient with respect to the result of `forward`, which is overwritten."""
        self.backend.sigmoid_backward(dy, self._painted, dy)
        gradient = dy
        for stage, convolution, norm in reversed(list(zip(self.table, self.convolutions, self.norms, strict=True))):
            if stage.ends:
                around = gradient.copy()
            below = convolution.backward(norm.backward(gradient))
            if below is None:  # The first stage.
                return
            gradient = below
            if stage.begins:
                self.backend.add(around, gradient)
