"""The layers of a network in training, each with its forward and its backward pass.

`forward` keeps what `backward` needs. `backward` is given the gradient with respect to the output, which it may
overwrite; it stores the gradients with respect to the layer's own parameters and returns the gradient with respect to
its input. `predict` is the layer in evaluation mode, as it works once the network is trained.

Layers declare the shapes of their parameters in `shapes`, and those of running statistics, which are measured and not
learned, in `state_shapes`. `Model` sets them as attributes: ``filters``, and ``d_filters`` for its gradient. Arrays
that the passes return are reused in the next pass.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from stylecore.kernels import EPSILON
from stylecore.weights.architectures import Conv, Pool

# Weight of a batch's mean and variance in the running ones.
MOMENTUM = 0.1

Shape = tuple[int, ...]


class Layer:
    """Base of all layers: parameters, running statistics, and arrays that are reused from batch to batch.

    Parameters
    ----------
    backend : module

    Attributes
    ----------
    shapes, state_shapes : dict of str to tuple of int
        Shapes of the parameters and of the running statistics.
    decayed : tuple of str
        Names of the parameters that weight decay applies to.
    """

    decayed: tuple[str, ...] = ()

    def __init__(self, backend: ModuleType) -> None:
        self.backend = backend
        self.shapes: dict[str, Shape] = {}
        self.state_shapes: dict[str, Shape] = {}
        self._memory: dict[str, np.ndarray] = {}

    def output_shape(self, shape: Shape) -> Shape:
        """Shape of the output for an input of this shape."""
        raise NotImplementedError

    def initialise(self, rng: np.random.Generator) -> None:
        """Set the parameters to their initial values."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Output in training."""
        raise NotImplementedError

    def backward(self, dy: np.ndarray) -> np.ndarray | None:
        """Gradient with respect to the input; None from the first layer, which needs none."""
        raise NotImplementedError

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Output in evaluation mode, by default that of `forward`."""
        return self.forward(x)

    def _array(self, name: str, shape: Shape, dtype: Any) -> np.ndarray:
        """The array of this name, with arbitrary content."""
        if name not in self._memory or self._memory[name].shape != tuple(shape):
            self._memory[name] = np.empty(shape, dtype)
        return self._memory[name]


def _he_normal(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Filters that preserve the variance of features after a ReLU (He et al. 2015, equation 10)."""
    return rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)


class Convolution(Layer):
    """A convolution, without bias or ReLU.

    Parameters
    ----------
    row : Conv
    backend : module
    is_first : bool
        Whether it is the network's first layer, so that no gradient with respect to its input is needed.
    """

    decayed = ("filters",)
    filters: np.ndarray
    d_filters: np.ndarray

    def __init__(self, row: Conv, backend: ModuleType, is_first: bool = False) -> None:
        super().__init__(backend)
        self.row, self.is_first = row, is_first
        self.shapes = {"filters": (row.size, row.size, row.in_channels, row.out_channels)}

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw the filters."""
        self.filters[...] = _he_normal(rng, self.filters.shape)

    def _prepared(self, filters: np.ndarray, bias: np.ndarray) -> Any:
        """The backend's form of a convolution with these filters and this bias."""
        return self.backend.prepare(filters, bias, self.row.stride, self.row.padding, filters.dtype)

    def output_shape(self, shape: Shape) -> Shape:
        """(N, H', W', K) for an input of (N, H, W, C)."""
        n, *sides, _ = shape
        sides = [(side + 2 * self.row.padding - self.row.size) // self.row.stride + 1 for side in sides]
        return (n, *sides, self.row.out_channels)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The convolution of the input."""
        self._x = x
        self._conv = self._prepared(self.filters, np.zeros(self.row.out_channels, self.filters.dtype))
        y = self._array("sums", self.output_shape(x.shape), x.dtype)
        self.backend.convolve(x, self._conv, y)
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray | None:
        """Gradients with respect to filters and input."""
        self.backend.convolve_backward_filters(self._x, dy, self._conv, self.d_filters)
        if self.is_first:
            return None
        dx = self._array("gradient", self._x.shape, dy.dtype)
        self.backend.convolve_backward(dy, self._conv, dx)
        return dx


class ConvolutionRelu(Convolution):
    """A convolution, batch normalisation and a ReLU; `folded` folds the normalisation into the filters.

    Parameters as of `Convolution`.
    """

    scale: np.ndarray
    shift: np.ndarray
    d_scale: np.ndarray
    d_shift: np.ndarray
    mean: np.ndarray
    variance: np.ndarray

    def __init__(self, row: Conv, backend: ModuleType, is_first: bool = False) -> None:
        super().__init__(row, backend, is_first)
        channels = (row.out_channels,)
        self.shapes = {**self.shapes, "scale": channels, "shift": channels}
        self.state_shapes = {"mean": channels, "variance": channels}

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw the filters; the normalisation begins with mean zero and standard deviation one."""
        super().initialise(rng)
        self.scale[...], self.shift[...], self.mean[...], self.variance[...] = 1, 0, 0, 1

    def forward(self, x: np.ndarray) -> np.ndarray:
        """max(normalised convolution, 0); updates the running mean and variance."""
        self._sums = super().forward(x)
        y = self._array("output", self._sums.shape, x.dtype)
        self._measured = np.empty((2, self.row.out_channels))
        self.backend.batch_norm_relu(self._sums, self.scale, self.shift, y, *self._measured)
        for state, measured in zip((self.mean, self.variance), self._measured, strict=True):
            state += MOMENTUM * (measured - state)
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray | None:
        """Gradients with respect to filters, scale, shift and input."""
        self.backend.batch_norm_relu_backward(
            dy, self._sums, self.scale, self.shift, *self._measured, dy, self.d_scale, self.d_shift
        )
        return super().backward(dy)

    def folded(self) -> tuple[np.ndarray, np.ndarray]:
        """Fold the normalisation by the running mean and variance into the convolution.

        Returns
        -------
        filters : ndarray, (k, k, C, K)
        bias : ndarray, (K,)
        """
        factor = self.scale / np.sqrt(self.variance + EPSILON)
        bias = self.shift - self.mean * factor
        return (self.filters * factor).astype(self.filters.dtype), bias.astype(self.filters.dtype)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """max(convolution by the folded filters + bias, 0)."""
        shape = self.output_shape(x.shape)
        y = self._array("output", shape, x.dtype)
        mask = self._array("mask", (*shape[:3], -(-shape[3] // 8)), np.uint8)
        self.backend.conv_relu(x, self._prepared(*self.folded()), y, mask)
        return y


class ConvolutionBias(Convolution):
    """A convolution with a bias, the last layer of an autoencoder; parameters as of `Convolution`."""

    bias: np.ndarray
    d_bias: np.ndarray

    def __init__(self, row: Conv, backend: ModuleType, is_first: bool = False) -> None:
        super().__init__(row, backend, is_first)
        self.shapes = {**self.shapes, "bias": (row.out_channels,)}

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw the filters."""
        super().initialise(rng)
        self.bias[...] = 0

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The convolution plus the bias."""
        y = super().forward(x)
        y += self.bias
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray | None:
        """Gradients with respect to filters, bias and input."""
        self.d_bias[...] = dy.sum((0, 1, 2))
        return super().backward(dy)


class MaxPool(Layer):
    """Max pooling.

    Parameters
    ----------
    row : Pool
    backend : module
    """

    def __init__(self, row: Pool, backend: ModuleType) -> None:
        super().__init__(backend)
        self.row = row

    def output_shape(self, shape: Shape) -> Shape:
        """(N, H', W', C) for an input of (N, H, W, C)."""
        n, *sides, channels = shape
        return (n, *((side - self.row.size) // self.row.stride + 1 for side in sides), channels)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The maxima."""
        self._shape, shape = x.shape, self.output_shape(x.shape)
        y, self._route = self._array("output", shape, x.dtype), self._array("route", shape, np.uint8)
        self.backend.max_pool(x, self.row.size, self.row.stride, y, self._route)
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Each value of the gradient goes to the position of the maximum."""
        dx = self._array("gradient", self._shape, dy.dtype)
        self.backend.max_pool_backward(dy, self._route, self.row.size, self.row.stride, dx)
        return dx


class Upsample(Layer):
    """Nearest-neighbour upsampling.

    Parameters
    ----------
    factor : int
    backend : module
    """

    def __init__(self, factor: int, backend: ModuleType) -> None:
        super().__init__(backend)
        self.factor = factor

    def output_shape(self, shape: Shape) -> Shape:
        """(N, factor H, factor W, C) for an input of (N, H, W, C)."""
        n, height, width, channels = shape
        return (n, self.factor * height, self.factor * width, channels)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Each position repeated."""
        self._shape = x.shape
        y = self._array("output", self.output_shape(x.shape), x.dtype)
        self.backend.upsample(x, self.factor, y)
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """The sum over the repetitions of each position."""
        dx = self._array("gradient", self._shape, dy.dtype)
        self.backend.upsample_backward(dy, self.factor, dx)
        return dx


class Mean(Layer):
    """Global average pooling: (N, H, W, C) -> (N, C)."""

    def output_shape(self, shape: Shape) -> Shape:
        """(N, C)."""
        return shape[0], shape[3]

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The means."""
        self._shape = x.shape
        y = self._array("output", self.output_shape(x.shape), x.dtype)
        self.backend.average_pool(x, x.shape[1], x.shape[1], y[:, None, None])
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """The gradient divided evenly among all positions."""
        dx = self._array("gradient", self._shape, dy.dtype)
        self.backend.average_pool_backward(dy[:, None, None], self._shape[1], self._shape[1], dx)
        return dx


class Dropout(Layer):
    """Dropout: in training, values are set to zero at random.

    Parameters
    ----------
    rate : float
        Probability that a value is dropped.
    backend : module

    Attributes
    ----------
    rng : numpy.random.Generator
        To be set before the first pass; see `Model.draw_from`.
    """

    rng: np.random.Generator

    def __init__(self, rate: float, backend: ModuleType) -> None:
        super().__init__(backend)
        self.rate = rate

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of the input."""
        return shape

    def forward(self, x: np.ndarray) -> np.ndarray:
        """The values that are kept, scaled by 1 / (1 - rate)."""
        self._kept = self.rng.random(x.shape, np.float32) >= self.rate
        y = self._array("output", x.shape, x.dtype)
        self.backend.dropout(x, self._kept, self.rate, y)
        return y

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The input."""
        return x

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """The gradient where values were kept, scaled likewise."""
        self.backend.dropout_backward(dy, self._kept, self.rate, dy)
        return dy


class Dense(Layer):
    """A dense layer: (N, C) -> (N, K).

    Parameters
    ----------
    inputs, outputs : int
        C and K.
    backend : module
    """

    decayed = ("weights",)
    weights: np.ndarray
    bias: np.ndarray
    d_weights: np.ndarray
    d_bias: np.ndarray

    def __init__(self, inputs: int, outputs: int, backend: ModuleType) -> None:
        super().__init__(backend)
        self.shapes = {"weights": (inputs, outputs), "bias": (outputs,)}

    def output_shape(self, shape: Shape) -> Shape:
        """(N, K)."""
        return shape[0], self.shapes["bias"][0]

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw weights that preserve the variance; the bias begins at zero."""
        self.weights[...] = rng.normal(0, np.sqrt(1 / len(self.weights)), self.weights.shape)
        self.bias[...] = 0

    def forward(self, x: np.ndarray) -> np.ndarray:
        """x weights + bias."""
        self._x = x
        y = self._array("output", self.output_shape(x.shape), x.dtype)
        self.backend.dense(x, self.weights, self.bias, y)
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Gradients with respect to weights, bias and input."""
        dx = self._array("gradient", self._x.shape, dy.dtype)
        self.backend.dense_backward(dy, self._x, self.weights, dx, self.d_weights, self.d_bias)
        return dx
