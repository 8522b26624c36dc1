"""A convolutional network run forward to its features, and backward from them to the image.

Only the image changes, never the weights, so the way back needs no activations: a mask or a route per layer, and
the features of those layers that carry a loss. The largest features, those of the first layers, are not even held as a
whole: they are computed in strips, where they are needed. `Plan` lays all of it out in one block of memory beforehand,
each where something else lies that is not needed at the same time; so the memory of a run is known before it starts.
"""

from functools import partial
from math import prod

import numpy as np

from stylecore import weights as weights_package
from stylecore.errors import ParameterError
from stylecore.messages import near_matches
from stylecore.weights import architectures
from stylecore.weights.architectures import Conv, features_names, until

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


class Strips:
    """A convolution and the step behind it, in horizontal strips, so that the features between are never held.

    The first layers make many channels out of few, at the full size of the image: their features and gradients would
    take more memory than all that comes later, while it takes a small part of the time to compute them again.

    Parameters
    ----------
    first, second : ConvRelu, ConvRelu or ConvReluPool
        Both see the nearest neighbours of each position only.
    """

    sees_neighbours = False  # Strips of strips would need a wider halo.

    def __init__(self, first, second):
        self.first, self.second = first, second
        self.name, self.shape, self.code_shape = second.name, second.shape, second.code_shape
        self.scratch_bytes = max(first.scratch_bytes, second.scratch_bytes)
        _, self._height, width, channels = first.shape
        self._scale = self._height // second.shape[1]
        # Multiples of a tile of Winograd's algorithm.
        self._rows = max(12, first.backend.STRIP_VALUES // (width * channels) // 6 * 6)
        height = min(self._rows + 2 * HALO, self._height)
        self.strip_shapes = {
            "features": (1, height, width, channels),
            "mask": (1, height, width, first.code_shape[3]),
            "gradient": (1, height, width, channels),
        }

    def _strips(self):
        """Begin and end of each strip of rows, and the same with a halo on both sides."""
        for begin in range(0, self._height, self._rows):
            end = min(begin + self._rows, self._height)
            yield begin, end, max(begin - HALO, 0), min(end + HALO, self._height)

    def _features(self, x, begin, end, strip):
        """Compute rows begin to end of the first layer's features and mask."""
        top, bottom = max(begin - HALO, 0), end + HALO
        features, mask = (strip[name][:, : end - begin] for name in ("features", "mask"))
        self.first.backend.conv_relu(x[:, top:bottom], self.first.conv, features, mask, begin - top)
        return features, mask

    def forward(self, x, y, code, strip, visit):
        """Features of the second step, by strips of those of the first, whose rows are shown to `visit`."""
        scale, width = self._scale, self.first.shape[2]
        for begin, end, top, bottom in self._strips():
            features, _ = self._features(x, top, bottom, strip)
            visit(_matrix(features[:, begin - top : end - top]), begin * width)
            rows = slice(begin // scale, end // scale)
            if rows.start < rows.stop:  # A pool drops an odd last row.
                self.second.forward(features, y[:, rows], code[:, rows], begin - top)

    def backward(self, dy, code, dx, x, strip, add_gradient):
        """Gradient with respect to x, given that with respect to y; `add_gradient` adds to the first layer's own."""
        scale, width = self._scale, self.first.shape[2]
        for begin, end, top, bottom in self._strips():
            features, mask = self._features(x, top, bottom, strip)
            gradient = strip["gradient"][:, : bottom - top]
            above = max(top - HALO, 0)
            rows = slice(above // scale, (bottom + HALO) // scale)
            self.second.backward(dy[:, rows], code[:, rows], gradient, top - above)
            add_gradient(_matrix(features), _matrix(gradient), top * width)
            self.first.backward(gradient, mask, dx[:, begin:end], begin - top)


def _with_strips(steps, height):
    """Work the first convolution of a block in strips, with the step behind it, where its map is large."""
    if len(steps) < 2:
        return steps
    first, second, *rest = steps
    # A pool drops an odd last row.
    large = 2 * first.shape[1] + 1 >= height and prod(first.shape) > first.backend.STRIP_VALUES
    if isinstance(first, ConvRelu) and first.widens and large and first.sees_neighbours and second.sees_neighbours:
        return [Strips(first, second), *_with_strips(rest, height)]
    return [first, *_with_strips([second, *rest], height)]


# Neighbouring rows that a strip is given on each side: as many as a 3 x 3 filter sees, and even because of the pools.
HALO = 2


def _matrix(features):
    """Features (1, H, W, C) as a matrix of positions x channels."""
    return features.reshape(-1, features.shape[3])


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
        Memory of the features, gradients, masks and routes; known before any of it is allocated, which the first pass
        does.
    scratch_bytes : int
        Memory that the convolutions take beside it.

    Raises
    ------
    ParameterError
        As `Network.steps` does.
    """

    def __init__(self, network, height, width, layers, gradient=True):
        self.network = network
        self.layers = frozenset(layers)
        self.steps = _with_strips(network.steps(height, width, layers), height)
        self._arrays = None
        self._tensors = list(self._lifetimes((1, height, width, 3), gradient))
        self._offsets, self.bytes = _lay_out(self._tensors)
        self.scratch_bytes = max(step.scratch_bytes for step in self.steps)

    def _lifetimes(self, input_shape, gradient):
        """Yield (key, shape, dtype, first, last) of every array; times count the steps forward and then back."""
        dtype, count = self.network.dtype, len(self.steps)
        last = 2 * count - 1
        for i, step in enumerate([None, *self.steps], start=-1):
            shape, back = step.shape if step else input_shape, last - i
            behind = self.steps[i + 1] if i + 1 < count else None
            until = i + 1
            if gradient and step and step.name in self.layers:
                until = back
            elif gradient and isinstance(behind, Strips):
                until = back - 1
            yield ("output", i), shape, dtype, i, until
            if gradient:
                yield ("gradient", i), shape, dtype, min(max(back - 1, count), last), min(back, last)
            if step:
                yield ("code", i), step.code_shape, np.dtype(np.uint8), i, back if gradient else i
            if isinstance(step, Strips):
                for name, shape in step.strip_shapes.items():
                    for time in (i, back) if gradient else (i,):
                        yield (name, i, time), shape, np.dtype(np.uint8) if name == "mask" else dtype, time, time

    def _array(self, *key):
        if self._arrays is None:
            memory = self.network.backend.allocate(self.bytes)
            self._arrays = {
                key: memory[offset : offset + prod(shape) * dtype.itemsize].view(dtype).reshape(shape)
                for (key, shape, dtype, _, _), offset in zip(self._tensors, self._offsets, strict=True)
            }
        return self._arrays[key]

    def _strip(self, i, time):
        return {name: self._array(name, i, time) for name in self.steps[i].strip_shapes}

    def forward(self, image, visit):
        """Run the network on an image.

        Parameters
        ----------
        image : ndarray or array of the backend, (H, W, 3)
        visit : callable
            Called as ``visit(layer, features, start)`` when a wanted layer is reached, with its features as a matrix
            of M positions x C channels, or some rows of that matrix, from `start` on, at a time. They are gone after
            the call unless the plan is for a gradient.
        """
        self.network.preprocess(image, self._array("output", -1))
        for i, step in enumerate(self.steps):
            arrays = self._array("output", i - 1), self._array("output", i), self._array("code", i)
            if isinstance(step, Strips):
                step.forward(*arrays, self._strip(i, i), partial(self._visit_if_wanted, visit, step.first.name))
            else:
                step.forward(*arrays)
            self._visit_if_wanted(visit, step.name, _matrix(self._array("output", i)), 0)

    def _visit_if_wanted(self, visit, layer, *arguments):
        if layer in self.layers:
            visit(layer, *arguments)

    def backward(self, add_gradient):
        """Carry gradients back to the image of the last `forward`; once for each forward pass.

        Parameters
        ----------
        add_gradient : callable
            Called as ``add_gradient(layer, features, gradient, start)`` at each wanted layer, deepest first; adds the
            layer's own gradient to `gradient`, (M, C), which already holds what came from the layers behind. Both
            matrices may be some of the layer's rows, from `start` on, and rows may come twice.

        Returns
        -------
        array of the backend, (H, W, 3)
            Gradient with respect to the image; to be used before the next pass.
        """
        self._array("gradient", len(self.steps) - 1)[...] = 0
        for i, step in reversed(list(enumerate(self.steps))):
            gradient = self._array("gradient", i)
            self._visit_if_wanted(add_gradient, step.name, _matrix(self._array("output", i)), _matrix(gradient), 0)
            arrays = gradient, self._array("code", i), self._array("gradient", i - 1)
            if isinstance(step, Strips):
                strip = self._strip(i, 2 * len(self.steps) - 1 - i)
                add = partial(self._visit_if_wanted, add_gradient, step.first.name)
                step.backward(*arrays, self._array("output", i - 1), strip, add)
            else:
                step.backward(*arrays)
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
