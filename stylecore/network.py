"""A convolutional network run forward to its features, and backward from them to the image.

Only the image changes, never the weights, so the way back needs no activations: a mask or a route per layer, and
the features of those layers that carry a loss. The largest features, those of the first layers, are not even held as a
whole: they are computed in strips, where they are needed. `Plan` lays all of it out in one block of memory beforehand,
each where something else lies that is not needed at the same time; so the memory of a run is known before it starts.
"""

from math import prod

import numpy as np

from stylecore import weights as weights_package
from stylecore.errors import ParameterError
from stylecore.kernels.devices import load_backend
from stylecore.messages import near_matches
from stylecore.weights import architectures
from stylecore.weights.architectures import Conv, features_names, until

POOLINGS = ("max", "average")
DTYPES = ("float32", "float64")

CONTENT_LAYERS, STYLE_LAYERS = architectures.DEFAULT_LAYERS["vgg19"]
"""Default layers of the default network."""


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
    layers : collection of str, optional
        The layers that will be asked for; filters behind the deepest of them are not kept.

    Raises
    ------
    ParameterError
        If the network, a layer or the pooling is not known.
    WeightsError
        If the weights cannot be fetched or read.
    """

    def __init__(self, weights, backend, pooling="max", dtype="float32", layers=None):
        if pooling not in POOLINGS:
            raise ParameterError(f'pooling "{pooling}" is not known; choose "max" or "average".')
        weights = weights_package.load(weights, layers=layers)
        self.name = weights.network
        self.backend = backend
        self.pooling = pooling
        self.dtype = np.dtype(dtype)
        self.layers = weights.layers
        self.preprocessing = weights.preprocessing
        if layers is not None:
            self.layers = self._until(layers)
        # Those that are not asked for need not be kept, nor each once it is prepared: the deepest first, for into the
        # gap that one of them leaves the next fits, which may be as large.
        filters = {layer.name: weights.filters[layer.name] for layer in self.layers if isinstance(layer, Conv)}
        biases = weights.biases
        del weights
        self._convolutions = {
            layer.name: backend.prepare(
                filters.pop(layer.name), biases[layer.name], layer.stride, layer.padding, self.dtype
            )
            for layer in reversed(self.layers)
            if isinstance(layer, Conv)
        }

    @property
    def layer_names(self):
        """Names of the layers that can carry a loss, in order: the ReLUs and the pools."""
        return features_names(self.layers)

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

    def check_size(self, height, width, layers, name="picture"):
        """Raise ParameterError if an image of this size does not reach the deepest of the layers."""
        smallest = self.smallest_size(layers)
        if min(height, width) < smallest:
            raise ParameterError(
                f"the {name} of {width} x {height} pixels is too small for {self._last(layers)} of {self.name}; "
                f"its shorter side must have at least {smallest}."
            )

    def _until(self, layers):
        """The rows of the architecture up to the deepest of these layers; raises as `check_layers` does."""
        self.check_layers(layers)
        return until(self.layers, layers)

    @property
    def _order(self):
        """Where in an RGB pixel each input channel of the network stands; its own inverse for RGB and BGR."""
        return ["RGB".index(channel) for channel in self.preprocessing.channel_order]

    def preprocess(self, image, out):
        """Network input (1, H, W, 3) of an image (H, W, 3): (scale x - mean) / std, in the network's order."""
        p = self.preprocessing
        scale, shift = (np.divide(value, p.std, dtype=self.dtype) for value in (p.scale, p.mean))
        self.backend.preprocess(self.backend.upload(image), self._order, scale, shift, out)

    def preprocess_backward(self, gradient):
        """Gradient with respect to the image (H, W, 3), given that with respect to the input (1, H, W, 3)."""
        p = self.preprocessing
        return self.backend.preprocess_backward(gradient, self._order, np.divide(p.scale, p.std, dtype=self.dtype))

    def empty(self, shape):
        """An array in the backend's memory, with arbitrary content."""
        return self.backend.empty(shape, self.dtype)

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
        self.check_size(height, width, layers)
        steps, shape = [], (1, height, width, 3)
        for layer in self._until(layers):
            step = self._step(layer, shape, steps, layers)
            steps.append(step)
            shape = step.shape
        return steps

    def map_shape(self, height, width, layer):
        """Shape (1, H, W, C) of a layer's features for an image of this size."""
        return self.steps(height, width, [layer])[-1].shape

    def features_shape(self, height, width, layer):
        """The same as a matrix, (M, C)."""
        *positions, channels = self.map_shape(height, width, layer)
        return prod(positions), channels

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


def default_layers(network):
    """Layers to compare content and style by, where nobody names any.

    Parameters
    ----------
    network : str, path, Weights or Network

    Returns
    -------
    content, style : tuple of str

    Raises
    ------
    ParameterError, WeightsError
        If the network is not known or cannot be read.
    """
    if isinstance(network, Network):
        return architectures.default_layers(network.name, network.layers)
    if isinstance(network, str) and network in weights_package.CATALOGUE:  # Need not be fetched for that.
        return architectures.DEFAULT_LAYERS[network]
    return weights_package.load(network).default_layers


class ConvRelu:
    """A convolution and its ReLU.

    Like the other steps, it knows the shapes of its features and of its mask, its scratch memory, and whether it is a
    convolution that keeps the map's size and sees no further than the nearest neighbours of each position.
    """

    def __init__(self, layer, conv, backend, shape):
        self.name, self.conv, self.backend = layer.relu, conv, backend
        n, *sides, _ = shape
        sides = [(side + 2 * layer.padding - layer.size) // layer.stride + 1 for side in sides]
        self.shape = (n, *sides, layer.out_channels)
        self.code_shape = (n, *sides, -(-layer.out_channels // 8))
        self.scratch_bytes = backend.scratch_bytes(conv, self.shape[:3])
        self.widens = layer.in_channels < layer.out_channels
        self.sees_neighbours = (layer.size, layer.stride, layer.padding) == (3, 1, 1)

    def forward(self, x, y, mask, above=0):
        """y = max(conv(x), 0); for a strip, x has so many rows above."""
        self.backend.conv_relu(x, self.conv, y, mask, above)

    def backward(self, dy, mask, dx, above=0):
        """Gradient with respect to x, zero where y was (the case distinction in the paper's gradients)."""
        self.backend.conv_relu_backward(dy, mask, self.conv, dx, above)


class ConvReluPool:
    """A convolution, its ReLU and a max pool in one, where nobody wants the features between them."""

    def __init__(self, pool, conv_relu):
        self.name, self.conv, self.backend = pool.name, conv_relu.conv, conv_relu.backend
        n, height, width, channels = conv_relu.shape
        self.shape = self.code_shape = (n, height // 2, width // 2, channels)
        self.scratch_bytes = conv_relu.scratch_bytes
        self.sees_neighbours = conv_relu.sees_neighbours

    def forward(self, x, y, route, above=0):
        """y = pool(max(conv(x), 0)); for a strip, x has so many rows above."""
        self.backend.conv_relu_pool(x, self.conv, y, route, above)

    def backward(self, dy, route, dx, above=0):
        """Gradient with respect to x."""
        self.backend.conv_relu_pool_backward(dy, route, self.conv, dx, above)


class MaxPool:
    """A max pool by itself."""

    scratch_bytes = 0
    sees_neighbours = False

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
    sees_neighbours = False
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


def load_network(network, device="cpu", pooling="max", dtype="float32", layers=None):
    """Load a network onto a device, unless it is one already.

    Parameters
    ----------
    network : str, path, Weights or Network
    device : {"cpu", "auto", "cuda", "cuda:1", "reference"}
    pooling : {"max", "average"}
    dtype : {"float32", "float64"}
        The reference computes in float64 only, a GPU in float32.
    layers : collection of str, optional
        As `Network` takes them.

    Returns
    -------
    Network

    Raises
    ------
    ParameterError
        If one of the settings is not known.
    WeightsError
        If the weights cannot be fetched or read.
    """
    if isinstance(network, Network):
        return network
    if dtype not in DTYPES:
        raise ParameterError(f'dtype "{dtype}" is not known; choose "float32" or "float64".')
    if str(device).startswith("cuda") and dtype != "float32":
        raise ParameterError(f'device "{device}" computes in float32 only; choose it as dtype, or the device "cpu".')
    # There is no float64 on a GPU.
    device = "cpu" if device == "auto" and dtype != "float32" else device
    return Network(network, load_backend(device), pooling, "float64" if device == "reference" else dtype, layers)
