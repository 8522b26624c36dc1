"""A convolutional network run forward to its features, and backward from them to the image.

Only the image changes, never the weights, so the way back needs no activations: a mask or a route per layer, and
the features of those layers that carry a loss. `Plan` lays all of them out in one block of memory beforehand, each
where something else lies that is not needed at the same time; so the memory of a run is known before it starts.
"""

from math import prod

import numpy as np

from stylecore import weights as weights_package
from stylecore.errors import ParameterError
from stylecore.messages import near_matches
from stylecore.weights.architectures import Conv

POOLINGS = ("max", "average")


class Network:
    """A network with its weights, on a backend.

    Parameters
    ----------
    weights : str, path or Weights
        Name of a network in the catalogue, file in the project's HDF5 layout, or loaded weights.
    backend : module
        `stylecore.kernels.cpu` or another with the same functions.
    pooling : {"max", "average"}
        What the pools take of each window.
    dtype : {"float32", "float64"}

    Raises
    ------
    ParameterError
        If the network or the pooling is not known.
    WeightsError
        If the weights cannot be fetched or read.
    """

    def __init__(self, weights, backend, pooling="max", dtype="float32"):
        if pooling not in POOLINGS:
            raise ParameterError(f'pooling "{pooling}" is not known; choose "max" or "average".')
        weights = weights_package.load(weights)
        self.name = weights.network
        self.backend = backend
        self.pooling = pooling
        self.dtype = np.dtype(dtype)
        self.layers = weights.layers
        self.preprocessing = weights.preprocessing
        self._convolutions = {
            layer.name: backend.prepare(
                weights.filters[layer.name],
                weights.biases[layer.name],
                layer.stride,
                layer.padding,
                self.dtype,
            )
            for layer in weights.layers
            if isinstance(layer, Conv)
        }

    @property
    def layer_names(self):
        """Names of the layers that can carry a loss, in order: the ReLUs and the pools."""
        return [layer.relu if isinstance(layer, Conv) else layer.name for layer in self.layers]

    @property
    def mean(self):
        """The training mean of R, G and B in [0, 1], which the network's input is centred on."""
        return np.array(self.preprocessing.mean)[self._order] / self.preprocessing.scale

    def check_layers(self, layers):
        """Raise ParameterError unless there are layers and the network has all of them."""
        if not layers:
            raise ParameterError(f"there are no layers to compare by; name one at least, as {self.layer_names[0]}.")
        for layer in layers:
            if layer not in self.layer_names:
                raise ParameterError(f'{self.name} has no layer "{layer}"{near_matches(layer, self.layer_names)}.')

    def smallest_size(self, layers):
        """Shortest side, in pixels, of an image that still reaches the deepest of the layers.

        Raises as `check_layers` does.
        """
        side = 1
        for layer in reversed(self._until(layers)):
            padding = layer.padding if isinstance(layer, Conv) else 0
            side = max((side - 1) * layer.stride + layer.size - 2 * padding, 1)
        return side

    def _until(self, layers):
        """The rows of the architecture up to the deepest of these layers; raises as `check_layers` does."""
        self.check_layers(layers)
        return self.layers[: 1 + max(self.layer_names.index(layer) for layer in layers)]

    @property
    def _order(self):
        """Where in an RGB pixel each input channel of the network stands; its own inverse for RGB and BGR."""
        return ["RGB".index(channel) for channel in self.preprocessing.channel_order]

    def preprocess(self, image, out):
        """Network input (1, H, W, 3) of an image (H, W, 3): (scale x - mean) / std, in the network's order."""
        p = self.preprocessing
        np.multiply(image[..., self._order], np.divide(p.scale, p.std, dtype=self.dtype), out=out[0])
        out -= np.divide(p.mean, p.std, dtype=self.dtype)

    def preprocess_backward(self, gradient):
        """Gradient with respect to the image (H, W, 3), given that with respect to the input (1, H, W, 3)."""
        p = self.preprocessing
        return (gradient[0] * np.divide(p.scale, p.std, dtype=self.dtype))[..., self._order]

    def steps(self, height, width, layers):
        """What a pass through the network does, up to the deepest of the layers.

        Parameters
        ----------
        height, width : int
            Of the image.
        layers : collection of str
            The layers whose features are wanted.

        Returns
        -------
        list of ConvRelu, ConvReluPool, MaxPool and AveragePool

        Raises
        ------
        ParameterError
            If the network lacks a layer, or the image is too small for one.
        """
        smallest = self.smallest_size(layers)
        if min(height, width) < smallest:
            raise ParameterError(
                f"an image of {width} x {height} pixels is too small for {self._last(layers)} of {self.name}; "
                f"its shorter side must have at least {smallest}."
            )
        steps, shape = [], (1, height, width, 3)
        for layer in self._until(layers):
            step = self._step(layer, shape, steps, layers)
            steps.append(step)
            shape = step.shape
        return steps

    def features_bytes(self, height, width, layer):
        """Size of a layer's features, in bytes, for an image of this size."""
        return prod(self.steps(height, width, [layer])[-1].shape) * self.dtype.itemsize

    def _last(self, layers):
        return max(layers, key=self.layer_names.index)

    def _step(self, layer, shape, steps, wanted):
        if isinstance(layer, Conv):
            return ConvRelu(layer, self._convolutions[layer.name], self.backend, shape)
        if self.pooling == "average":
            return AveragePool(layer, self.backend, shape)
        before = steps[-1]
        fits = (layer.size, layer.stride) == (2, 2) and isinstance(before, ConvRelu) and before.conv.fuses_pool
        if fits and before.name not in wanted:
            return ConvReluPool(layer, steps.pop())
        return MaxPool(layer, self.backend, shape)


class ConvRelu:
    """A convolution and its ReLU."""

    def __init__(self, layer, conv, backend, shape):
        self.name, self.conv, self.backend = layer.relu, conv, backend
        n, *sides, _ = shape
        sides = [(side + 2 * layer.padding - layer.size) // layer.stride + 1 for side in sides]
        self.shape = (n, *sides, layer.out_channels)
        self.code_shape = (n, *sides, -(-layer.out_channels // 8))
        self.scratch_bytes = backend.scratch_bytes(conv, self.shape[:3])

    def forward(self, x, y, mask):
        """y = max(conv(x), 0)."""
        self.backend.conv_relu(x, self.conv, y, mask)

    def backward(self, dy, mask, dx):
        """Gradient with respect to x, zero where y was (the case distinction in the paper's gradients)."""
        self.backend.conv_relu_backward(dy, mask, self.conv, dx)


class ConvReluPool:
    """A convolution, its ReLU and a max pool in one, where nobody wants the features between them."""

    def __init__(self, pool, conv_relu):
        self.name, self.conv, self.backend = pool.name, conv_relu.conv, conv_relu.backend
        n, height, width, channels = conv_relu.shape
        self.shape = self.code_shape = (n, height // 2, width // 2, channels)
        self.scratch_bytes = conv_relu.scratch_bytes

    def forward(self, x, y, route):
        """y = pool(max(conv(x), 0))."""
        self.backend.conv_relu_pool(x, self.conv, y, route)

    def backward(self, dy, route, dx):
        """Gradient with respect to x."""
        self.backend.conv_relu_pool_backward(dy, route, self.conv, dx)


class MaxPool:
    """A max pool by itself."""

    scratch_bytes = 0

    def __init__(self, layer, backend, shape):
        self.name, self.layer, self.backend = layer.name, layer, backend
        self.shape = self.code_shape = _pooled(shape, layer)

    def forward(self, x, y, route):
        """Maximum of each window."""
        self.backend.max_pool(x, self.layer.size, self.layer.stride, y, route)

    def backward(self, dy, route, dx):
        """Gradient with respect to x."""
        self.backend.max_pool_backward(dy, route, self.layer.size, self.layer.stride, dx)


class AveragePool:
    """An average pool."""

    scratch_bytes = 0
    code_shape = (0,)

    def __init__(self, layer, backend, shape):
        self.name, self.layer, self.backend = layer.name, layer, backend
        self.shape = _pooled(shape, layer)

    def forward(self, x, y, code):
        """Mean of each window."""
        self.backend.average_pool(x, self.layer.size, self.layer.stride, y)

    def backward(self, dy, code, dx):
        """Gradient with respect to x."""
        self.backend.average_pool_backward(dy, self.layer.size, self.layer.stride, dx)


def _pooled(shape, layer):
    n, *sides, channels = shape
    return (n, *((side - layer.size) // layer.stride + 1 for side in sides), channels)


class Plan:
    """Passes through a network for one size of image, in memory that is laid out once.

    Parameters
    ----------
    network : Network
    height, width : int
        Of the image.
    layers : collection of str
        The layers whose features are wanted.
    gradient : bool
        Whether `backward` will be called; without it far less memory is taken.

    Attributes
    ----------
    bytes : int
        Memory of the features, gradients, masks and routes, and of the kernels' scratch; known before any of it is
        allocated, which the first pass does.

    Raises
    ------
    ParameterError
        As `Network.steps` does.
    """

    def __init__(self, network, height, width, layers, gradient=True):
        self.network = network
        self.layers = frozenset(layers)
        self.steps = network.steps(height, width, layers)
        self._arrays = None
        self._tensors = list(self._lifetimes((1, height, width, 3), gradient))
        self._offsets, self._size = _lay_out(self._tensors)
        self.bytes = self._size + max(step.scratch_bytes for step in self.steps)

    def _lifetimes(self, input_shape, gradient):
        """Yield (key, shape, dtype, first, last) of every array; times count the steps forward and then back."""
        dtype, count = self.network.dtype, len(self.steps)
        yield ("output", -1), input_shape, dtype, -1, 0
        if gradient:
            yield ("gradient", -1), input_shape, dtype, 2 * count - 1, 2 * count - 1
        for i, step in enumerate(self.steps):
            back = 2 * count - 1 - i
            kept = gradient and step.name in self.layers
            yield ("output", i), step.shape, dtype, i, back if kept else i + 1
            yield ("code", i), step.code_shape, np.dtype(np.uint8), i, back if gradient else i
            if gradient:
                yield ("gradient", i), step.shape, dtype, max(back - 1, count), back

    def _array(self, kind, i):
        if self._arrays is None:
            memory = self.network.backend.allocate(self._size)
            self._arrays = {
                key: memory[offset : offset + prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
                for (key, shape, dtype, _, _), offset in zip(self._tensors, self._offsets, strict=True)
            }
        return self._arrays[kind, i]

    def forward(self, image, visit):
        """Run the network on an image.

        Parameters
        ----------
        image : ndarray, (H, W, 3)
        visit : callable
            Called as ``visit(layer, features)`` when a wanted layer is reached, with its features as a matrix of
            M positions x C channels. They are gone after the call unless the plan is for a gradient.
        """
        self.network.preprocess(image, self._array("output", -1))
        for i, step in enumerate(self.steps):
            step.forward(self._array("output", i - 1), self._array("output", i), self._array("code", i))
            if step.name in self.layers:
                visit(step.name, self._array("output", i).reshape(-1, step.shape[3]))

    def backward(self, add_gradient):
        """Carry gradients back to the image of the last `forward`; once for each forward pass.

        Parameters
        ----------
        add_gradient : callable
            Called as ``add_gradient(layer, features, gradient)`` at each wanted layer, deepest first; adds the
            layer's own gradient to `gradient`, (M, C), which already holds what came from the layers behind.

        Returns
        -------
        ndarray, (H, W, 3)
            Gradient with respect to the image.
        """
        self._array("gradient", len(self.steps) - 1)[...] = 0
        for i, step in reversed(list(enumerate(self.steps))):
            gradient = self._array("gradient", i)
            if step.name in self.layers:
                matrix = (-1, step.shape[3])
                add_gradient(step.name, self._array("output", i).reshape(matrix), gradient.reshape(matrix))
            step.backward(gradient, self._array("code", i), self._array("gradient", i - 1))
        return self.network.preprocess_backward(self._array("gradient", -1))


def _lay_out(tensors):
    """Give each array an offset in one block so that no two that live at the same time overlap.

    The largest come first, each as low as it fits; with the few sizes of a network that comes close to the sum of
    what lives at any one time.
    """
    order = sorted(range(len(tensors)), key=lambda i: -prod(tensors[i][1]) * tensors[i][2].itemsize)
    offsets, placed, total = [0] * len(tensors), [], 0
    for i in order:
        _, shape, dtype, first, last = tensors[i]
        size = -(-prod(shape) * dtype.itemsize // 64) * 64
        offset = 0
        for begin, end, born, dead in sorted(placed):
            if first <= dead and born <= last and begin < offset + size and offset < end:
                offset = end
        offsets[i] = offset
        placed.append((offset, offset + size, first, last))
        total = max(total, offset + size)
    return offsets, total
