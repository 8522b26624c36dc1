"""The layers of a network in training, each with its way back.

A layer keeps what it needs from `forward` for `backward`, which is given the gradient with respect to the output,
may overwrite it, notes the gradients with respect to its own parameters, and returns that with respect to its input.
`predict` is what the layer does once it is trained.

Parameters, and state that is not learned but measured, are declared by their shapes in `shapes` and `state_shapes`, and
become attributes that `Model` gives it: ``filters`` and, for its gradient, ``d_filters``.
"""

import numpy as np

from stylecore.kernels import EPSILON

# How far the measured mean and variance move towards those of each batch.
MOMENTUM = 0.1


class Layer:
    """What all layers have: parameters, state and memory that is used again from batch to batch."""

    shapes = {}  # noqa: RUF012
    state_shapes = {}  # noqa: RUF012
    decayed = ()
    """Parameters that weight decay applies to."""

    def __init__(self, backend):
        self.backend = backend
        self._memory = {}

    def initialise(self, rng):
        """Give the parameters the values that training starts from."""

    def _array(self, name, shape, dtype):
        """An array of that name, with arbitrary content."""
        if name not in self._memory or self._memory[name].shape != tuple(shape):
            self._memory[name] = np.empty(shape, dtype)
        return self._memory[name]


def _he_normal(rng, shape):
    """Filters whose outputs have the variance of their inputs behind a ReLU (He et al. 2015, equation 10)."""
    return rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)


class Convolution(Layer):
    """A convolution, without bias or ReLU.

    Parameters
    ----------
    row : Conv
    backend : module
    is_first : bool
        Whether there is nothing in front that wants a gradient.
    """

    decayed = ("filters",)

    def __init__(self, row, backend, is_first=False):
        super().__init__(backend)
        self.row, self.is_first = row, is_first
        self.shapes = {"filters": (row.size, row.size, row.in_channels, row.out_channels)}

    def initialise(self, rng):
        """Draw the filters."""
        self.filters[...] = _he_normal(rng, self.filters.shape)

    def _prepared(self, filters, bias):
        return self.backend.prepare(filters, bias, self.row.stride, self.row.padding, filters.dtype)

    def output_shape(self, shape):
        """(N, H', W', K) for an input of (N, H, W, C)."""
        n, *sides, _ = shape
        sides = [(side + 2 * self.row.padding - self.row.size) // self.row.stride + 1 for side in sides]
        return (n, *sides, self.row.out_channels)

    def forward(self, x):
        """The sums, without bias."""
        self._x = x
        self._conv = self._prepared(self.filters, np.zeros(self.row.out_channels, self.filters.dtype))
        y = self._array("sums", self.output_shape(x.shape), x.dtype)
        self.backend.convolve(x, self._conv, y)
        return y

    def backward(self, dy):
        """Gradients with respect to filters and input."""
        self.backend.convolve_backward_filters(self._x, dy, self._conv, self.d_filters)
        if self.is_first:
            return None
        dx = self._array("gradient", self._x.shape, dy.dtype)
        self.backend.convolve_backward(dy, self._conv, dx)
        return dx


class ConvolutionRelu(Convolution):
    """A convolution with batch normalisation and its ReLU; trained, the normalisation is folded into the filters."""

    def __init__(self, row, backend, is_first=False):
        super().__init__(row, backend, is_first)
        channels = (row.out_channels,)
        self.shapes = {**self.shapes, "scale": channels, "shift": channels}
        self.state_shapes = {"mean": channels, "variance": channels}

    def initialise(self, rng):
        """Draw the filters; every channel begins with mean zero and deviation one."""
        super().initialise(rng)
        self.scale[...], self.shift[...], self.mean[...], self.variance[...] = 1, 0, 0, 1

    def forward(self, x):
        """max(normalised sums, 0)."""
        self._sums = super().forward(x)
        y = self._array("output", self._sums.shape, x.dtype)
        self._measured = np.empty((2, self.row.out_channels))
        self.backend.batch_norm_relu(self._sums, self.scale, self.shift, y, *self._measured)
        for state, measured in zip((self.mean, self.variance), self._measured, strict=True):
            state += MOMENTUM * (measured - state)
        return y

    def backward(self, dy):
        """Gradients with respect to filters, scale, shift and input."""
        self.backend.batch_norm_relu_backward(
            dy, self._sums, self.scale, self.shift, *self._measured, dy, self.d_scale, self.d_shift
        )
        return super().backward(dy)

    def folded(self):
        """Filters (k, k, C, K) and bias (K,) of the convolution that does the same with the measured mean and variance.

        Returns
        -------
        filters, bias : ndarray
        """
        factor = self.scale / np.sqrt(self.variance + EPSILON)
        bias = self.shift - self.mean * factor
        return (self.filters * factor).astype(self.filters.dtype), bias.astype(self.filters.dtype)

    def predict(self, x):
        """max(sums of the folded filters + bias, 0)."""
        shape = self.output_shape(x.shape)
        y = self._array("output", shape, x.dtype)
        mask = self._array("mask", (*shape[:3], -(-shape[3] // 8)), np.uint8)
        self.backend.conv_relu(x, self._prepared(*self.folded()), y, mask)
        return y


class ConvolutionBias(Convolution):
    """A convolution and its bias, which ends an auto-encoder."""

    def __init__(self, row, backend, is_first=False):
        super().__init__(row, backend, is_first)
        self.shapes = {**self.shapes, "bias": (row.out_channels,)}

    def initialise(self, rng):
        """Draw the filters."""
        super().initialise(rng)
        self.bias[...] = 0

    def forward(self, x):
        """Sums and bias."""
        y = super().forward(x)
        y += self.bias
        return y

    predict = forward

    def backward(self, dy):
        """Gradients with respect to filters, bias and input."""
        self.d_bias[...] = dy.sum((0, 1, 2))
        return super().backward(dy)


class MaxPool(Layer):
    """The maximum of each window."""

    def __init__(self, row, backend):
        super().__init__(backend)
        self.row = row

    def output_shape(self, shape):
        """(N, H', W', C) for an input of (N, H, W, C)."""
        n, *sides, channels = shape
        return (n, *((side - self.row.size) // self.row.stride + 1 for side in sides), channels)

    def forward(self, x):
        """The maxima."""
        self._shape, shape = x.shape, self.output_shape(x.shape)
        y, self._route = self._array("output", shape, x.dtype), self._array("route", shape, np.uint8)
        self.backend.max_pool(x, self.row.size, self.row.stride, y, self._route)
        return y

    predict = forward

    def backward(self, dy):
        """Each gradient goes where the maximum stood."""
        dx = self._array("gradient", self._shape, dy.dtype)
        self.backend.max_pool_backward(dy, self._route, self.row.size, self.row.stride, dx)
        return dx


class Upsample(Layer):
    """Each position repeated, as its nearest neighbours."""

    def __init__(self, factor, backend):
        super().__init__(backend)
        self.factor = factor

    def output_shape(self, shape):
        """(N, factor H, factor W, C) for an input of (N, H, W, C)."""
        n, height, width, channels = shape
        return (n, self.factor * height, self.factor * width, channels)

    def forward(self, x):
        """The copies."""
        self._shape = x.shape
        y = self._array("output", self.output_shape(x.shape), x.dtype)
        self.backend.upsample(x, self.factor, y)
        return y

    predict = forward

    def backward(self, dy):
        """The sum over the copies."""
        dx = self._array("gradient", self._shape, dy.dtype)
        self.backend.upsample_backward(dy, self.factor, dx)
        return dx


class Mean(Layer):
    """The mean of each channel over all positions: (N, H, W, C) -> (N, C)."""

    def output_shape(self, shape):
        """(N, C)."""
        return shape[0], shape[3]

    def forward(self, x):
        """The means."""
        self._shape = x.shape
        y = self._array("output", self.output_shape(x.shape), x.dtype)
        self.backend.average_pool(x, x.shape[1], x.shape[1], y[:, None, None])
        return y

    predict = forward

    def backward(self, dy):
        """Every position gets an equal share."""
        dx = self._array("gradient", self._shape, dy.dtype)
        self.backend.average_pool_backward(dy[:, None, None], self._shape[1], self._shape[1], dx)
        return dx


class Dropout(Layer):
    """Some of the numbers set to zero by chance, while in training."""

    def __init__(self, rate, backend):
        super().__init__(backend)
        self.rate, self.rng = rate, None

    def output_shape(self, shape):
        """The input's."""
        return shape

    def forward(self, x):
        """Those that are kept, scaled up."""
        self._kept = self.rng.random(x.shape, np.float32) >= self.rate
        y = self._array("output", x.shape, x.dtype)
        self.backend.dropout(x, self._kept, self.rate, y)
        return y

    def predict(self, x):
        """All of them."""
        return x

    def backward(self, dy):
        """The same numbers kept."""
        self.backend.dropout_backward(dy, self._kept, self.rate, dy)
        return dy


class Dense(Layer):
    """A dense layer: (N, C) -> (N, K)."""

    decayed = ("weights",)

    def __init__(self, inputs, outputs, backend):
        super().__init__(backend)
        self.shapes = {"weights": (inputs, outputs), "bias": (outputs,)}

    def output_shape(self, shape):
        """(N, K)."""
        return shape[0], self.shapes["bias"][0]

    def initialise(self, rng):
        """Draw weights that keep the variance."""
        self.weights[...] = rng.normal(0, np.sqrt(1 / len(self.weights)), self.weights.shape)
        self.bias[...] = 0

    def forward(self, x):
        """x weights + bias."""
        self._x = x
        y = self._array("output", self.output_shape(x.shape), x.dtype)
        self.backend.dense(x, self.weights, self.bias, y)
        return y

    predict = forward

    def backward(self, dy):
        """Gradients with respect to weights, bias and input."""
        dx = self._array("gradient", self._x.shape, dy.dtype)
        self.backend.dense_backward(dy, self._x, self.weights, dx, self.d_weights, self.d_bias)
        return dx
