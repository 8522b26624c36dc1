"""Convolutional networks: their layers as forward and backward steps on a backend.

Only the image is optimised, never the weights. The backward pass therefore needs no activations: a mask or a route per
step (see `stylecore.kernels.backend`) suffices, together with the features of the layers that carry a loss.
`stylecore.plan.Plan` runs the steps and lays out their memory.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Sequence
from math import prod

import numpy as np
from numpy.typing import DTypeLike

from stylecore import weights as weights_package
from stylecore.errors import ParameterError
from stylecore.kernels.backend import Backend, Convolution, DeviceArray
from stylecore.kernels.devices import load_backend
from stylecore.messages import near_matches
from stylecore.weights import Weights, architectures
from stylecore.weights.architectures import Conv, LayerWeights, Pool, features_names, until

POOLINGS = ("max", "average")
DTYPES = ("float32", "float64", "bfloat16")

CONTENT_LAYERS, STYLE_LAYERS = architectures.DEFAULT_LAYERS["vgg19"]
"""Default layers of the default network, with their weights."""


class Network:
    """A network whose weights are loaded into the memory of a backend.

    Parameters
    ----------
    weights : str, path or Weights
        Name of a network in the catalogue, a file in the project's HDF5 layout, or loaded weights.
    backend : Backend
        A module such as `stylecore.kernels.cpu`.
    pooling : {"max", "average"}
        What the pooling layers compute from each window.
    dtype : {"float32", "float64", "bfloat16"}
        Of the features; with "bfloat16", for the CPU backend only, they are float32, and the products of 3 x 3
        convolutions are in bfloat16.
    layers : collection of str, optional
        The layers that will be used; the filters after the deepest of them are not kept.

    Raises
    ------
    ParameterError
        If the network, a layer or the pooling is not known.
    WeightsError
        If the weights cannot be fetched or read.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | Weights,
        backend: Backend,
        pooling: str = "max",
        dtype: DTypeLike = "float32",
        layers: Collection[str] | None = None,
    ) -> None:
        if pooling not in POOLINGS:
            raise ParameterError(f'pooling "{pooling}" is not known; choose "max" or "average".')
        # In messages it has the name that the user knows it by.
        self.name = weights.network if isinstance(weights, Weights) else os.fspath(weights)
        weights = weights_package.load(weights, layers=layers)
        self.architecture = weights.network
        self.backend = backend
        self.pooling = pooling
        self.dtype: np.dtype = np.dtype("float32" if str(dtype) == "bfloat16" else dtype)
        self.layers: Sequence[Conv | Pool] = weights.layers
        self.preprocessing = weights.preprocessing
        if layers is not None:
            self.layers = self._until(layers)
        # To keep the peak of memory low, filters are freed as soon as they are prepared. The deepest come first, since
        # the next filters may be as large and then fit into the memory that was freed.
        filters = {layer.name: weights.filters[layer.name] for layer in self.layers if isinstance(layer, Conv)}
        biases = weights.biases
        del weights
        self._convolutions = {
            layer.name: backend.prepare(filters.pop(layer.name), biases[layer.name], layer.stride, layer.padding, dtype)
            for layer in reversed(self.layers)
            if isinstance(layer, Conv)
        }

    @property
    def layer_names(self) -> list[str]:
        """Names of the layers that can carry a loss, in the order of the forward pass: the ReLUs and the pools."""
        return features_names(self.layers)

    @property
    def mean(self) -> np.ndarray:
        """Mean of R, G and B over the network's training images, (3,), on the scale [0, 1]."""
        return np.array(self.preprocessing.mean)[self._order] / self.preprocessing.scale

    def check_layers(self, layers: Collection[str]) -> None:
        """Raise ParameterError if `layers` is empty or names a layer that the network does not have."""
        if not layers:
            raise ParameterError(f"no layers are given; name at least one, such as {self.layer_names[0]}.")
        for layer in layers:
            if layer not in self.layer_names:
                raise ParameterError(f'{self.name} has no layer "{layer}"{near_matches(layer, self.layer_names)}.')

    def smallest_size(self, layers: Collection[str]) -> int:
        """Length in pixels of the shorter side of the smallest image that reaches the deepest of some layers.

        Raises ParameterError as `check_layers` does.
        """
        side = 1
        for layer in reversed(self._until(layers)):
            padding = layer.padding if isinstance(layer, Conv) else 0
            side = max((side - 1) * layer.stride + layer.size - 2 * padding, 1)
        return side

    def check_size(self, height: int, width: int, layers: Collection[str], name: str = "picture") -> None:
        """Raise ParameterError if an image of this size is too small to reach the deepest of some layers."""
        smallest = self.smallest_size(layers)
        if min(height, width) < smallest:
            deepest = max(layers, key=self.layer_names.index)
            raise ParameterError(
                f"the {name} of {width} x {height} pixels is too small for {deepest} of {self.name}; "
                f"its shorter side must be at least {smallest} pixels long."
            )

    def _until(self, layers: Collection[str]) -> Sequence[Conv | Pool]:
        """Rows of the architecture up to the deepest of some layers; raises as `check_layers` does."""
        self.check_layers(layers)
        return until(self.layers, layers)

    @property
    def _order(self) -> list[int]:
        """Index in RGB of each input channel of the network; for RGB and BGR, this permutation is its own inverse."""
        return ["RGB".index(channel) for channel in self.preprocessing.channel_order]

    def preprocess(self, image: np.ndarray | DeviceArray, out: DeviceArray) -> None:
        """Compute the network's input, (scale x - mean) / std with the channels in the network's order.

        Parameters
        ----------
        image : ndarray or array of the backend, (H, W, 3)
            x, sRGB in [0, 1].
        out : array of the backend, (1, H, W, 3)
            Result.
        """
        p = self.preprocessing
        scale, shift = (np.divide(value, p.std, dtype=self.dtype) for value in (p.scale, p.mean))
        self.backend.preprocess(self.backend.upload(image), self._order, scale, shift, out)

    def preprocess_backward(self, gradient: DeviceArray) -> DeviceArray:
        """Gradient with respect to the image (H, W, 3), given that with respect to the input (1, H, W, 3)."""
        p = self.preprocessing
        return self.backend.preprocess_backward(gradient, self._order, np.divide(p.scale, p.std, dtype=self.dtype))

    def empty(self, shape: tuple[int, ...]) -> DeviceArray:
        """An array in the backend's memory, with arbitrary content."""
        return self.backend.empty(shape, self.dtype)

    def steps(self, height: int, width: int, layers: Collection[str]) -> list[Step]:
        """The steps of a forward pass, up to the deepest of some layers.

        Parameters
        ----------
        height, width : int
            Of the image.
        layers : collection of str
            The layers whose features are needed.

        Returns
        -------
        list of ConvRelu, ConvReluPool, MaxPool and AveragePool

        Raises
        ------
        ParameterError
            If the network lacks a layer, or the image is too small for one.
        """
        self.check_size(height, width, layers)
        steps: list[Step] = []
        shape: tuple[int, ...] = (1, height, width, 3)
        for layer in self._until(layers):
            step = self._step(layer, shape, steps, layers)
            steps.append(step)
            shape = step.shape
        return steps

    def map_shape(self, height: int, width: int, layer: str) -> tuple[int, ...]:
        """Shape (1, H, W, C) of a layer's features for an image of this size."""
        return self.steps(height, width, [layer])[-1].shape

    def features_shape(self, height: int, width: int, layer: str) -> tuple[int, int]:
        """Shape (M, C) of a layer's features as a matrix of positions x channels, for an image of this size."""
        *positions, channels = self.map_shape(height, width, layer)
        return prod(positions), channels

    def _step(self, layer: Conv | Pool, shape: tuple[int, ...], before: list[Step], needed: Collection[str]) -> Step:
        """The step of a layer; a max pool replaces the convolution before it where both are fused."""
        if isinstance(layer, Conv):
            return ConvRelu(layer, self._convolutions[layer.name], self.backend, shape)
        if self.pooling == "average":
            return AveragePool(layer, self.backend, shape)
        last, is_2x2 = before[-1], (layer.size, layer.stride) == (2, 2)
        if isinstance(last, ConvRelu) and last.conv.fuses_pool and is_2x2 and last.name not in needed:
            before.pop()
            return ConvReluPool(layer, last)
        return MaxPool(layer, self.backend, shape)


def default_layers(network: str | os.PathLike[str] | Weights | Network) -> tuple[LayerWeights, LayerWeights]:
    """Content layers and style layers to use when the user names none.

    Parameters
    ----------
    network : str, path, Weights or Network

    Returns
    -------
    content, style : mapping of str to float
        With the weight of each layer.

    Raises
    ------
    ParameterError, WeightsError
        If the network is not known or cannot be read.
    """
    if isinstance(network, Network):
        return architectures.default_layers(network.architecture, network.layers)
    if isinstance(network, str) and network in weights_package.CATALOGUE:  # Without fetching it.
        return architectures.DEFAULT_LAYERS[network]
    return weights_package.load(network).default_layers


class ConvRelu:
    """A convolution and its ReLU.

    Parameters
    ----------
    layer : Conv
    conv : Convolution
        Filters and bias, as the backend prepared them.
    backend : Backend
    shape : tuple of int, (N, H, W, C)
        Of the input.

    Attributes
    ----------
    name : str
        Of the layer whose features the step computes; all steps have this and the next three attributes.
    shape : tuple of int, (N, H', W', C')
        Of the features.
    code_shape : tuple of int
        Of the mask or route that connects the forward pass to the backward pass.
    scratch_bytes : int
        Scratch memory that the step takes.
    widens : bool
        Whether there are more output channels than input channels.
    is_3x3 : bool
        Whether the filters are 3 x 3, with stride 1 and padding 1: a position depends on its nearest neighbours only.
    """

    def __init__(self, layer: Conv, conv: Convolution, backend: Backend, shape: tuple[int, ...]) -> None:
        self.name, self.conv, self.backend = layer.relu, conv, backend
        n, *sides, _ = shape
        sides = [(side + 2 * layer.padding - layer.size) // layer.stride + 1 for side in sides]
        self.shape = (n, *sides, layer.out_channels)
        self.code_shape = (n, *sides, -(-layer.out_channels // 8))
        self.scratch_bytes = backend.scratch_bytes(conv, self.shape[:3])
        self.widens = layer.in_channels < layer.out_channels
        self.is_3x3 = (layer.size, layer.stride, layer.padding) == (3, 1, 1)

    def forward(self, x: DeviceArray, y: DeviceArray, mask: DeviceArray, above: int = 0) -> None:
        """y = max(conv(x), 0); if y is a strip, `above` is the number of halo rows above it in x."""
        self.backend.conv_relu(x, self.conv, y, mask, above)

    def backward(self, dy: DeviceArray, mask: DeviceArray, dx: DeviceArray, above: int = 0) -> None:
        """Gradient with respect to x; dy counts as zero where y was zero, as in the paper's gradients."""
        self.backend.conv_relu_backward(dy, mask, self.conv, dx, above)


class ConvReluPool:
    """A convolution, its ReLU and a 2 x 2 max pool, fused where the features between them are not needed.

    Parameters
    ----------
    pool : Pool
    conv_relu : ConvRelu

    Attributes
    ----------
    name, shape, code_shape, scratch_bytes, is_3x3
        As those of `ConvRelu`; the name is that of the pool.
    """

    def __init__(self, pool: Pool, conv_relu: ConvRelu) -> None:
        self.name, self.conv, self.backend = pool.name, conv_relu.conv, conv_relu.backend
        n, height, width, channels = conv_relu.shape
        self.shape = self.code_shape = (n, height // 2, width // 2, channels)
        self.scratch_bytes = conv_relu.scratch_bytes
        self.is_3x3 = conv_relu.is_3x3

    def forward(self, x: DeviceArray, y: DeviceArray, route: DeviceArray, above: int = 0) -> None:
        """y = pool(max(conv(x), 0)); if y is a strip, `above` is the number of halo rows above it in x."""
        self.backend.conv_relu_pool(x, self.conv, y, route, above)

    def backward(self, dy: DeviceArray, route: DeviceArray, dx: DeviceArray, above: int = 0) -> None:
        """Gradient with respect to x."""
        self.backend.conv_relu_pool_backward(dy, route, self.conv, dx, above)


class MaxPool:
    """A max pool.

    Parameters
    ----------
    layer : Pool
    backend : Backend
    shape : tuple of int, (N, H, W, C)
        Of the input.
    """

    scratch_bytes = 0
    is_3x3 = False

    def __init__(self, layer: Pool, backend: Backend, shape: tuple[int, ...]) -> None:
        self.name, self.layer, self.backend = layer.name, layer, backend
        self.shape = self.code_shape = _pooled(shape, layer)

    def forward(self, x: DeviceArray, y: DeviceArray, route: DeviceArray) -> None:
        """Maximum of each window."""
        self.backend.max_pool(x, self.layer.size, self.layer.stride, y, route)

    def backward(self, dy: DeviceArray, route: DeviceArray, dx: DeviceArray) -> None:
        """Gradient with respect to x."""
        self.backend.max_pool_backward(dy, route, self.layer.size, self.layer.stride, dx)


class AveragePool:
    """An average pool, which needs no mask or route.

    Parameters
    ----------
    layer : Pool
    backend : Backend
    shape : tuple of int, (N, H, W, C)
        Of the input.
    """

    scratch_bytes = 0
    is_3x3 = False
    code_shape: tuple[int, ...] = (0,)

    def __init__(self, layer: Pool, backend: Backend, shape: tuple[int, ...]) -> None:
        self.name, self.layer, self.backend = layer.name, layer, backend
        self.shape = _pooled(shape, layer)

    def forward(self, x: DeviceArray, y: DeviceArray, code: DeviceArray) -> None:
        """Mean of each window; `code` is not used."""
        self.backend.average_pool(x, self.layer.size, self.layer.stride, y)

    def backward(self, dy: DeviceArray, code: DeviceArray, dx: DeviceArray) -> None:
        """Gradient with respect to x; `code` is not used."""
        self.backend.average_pool_backward(dy, self.layer.size, self.layer.stride, dx)


Step = ConvRelu | ConvReluPool | MaxPool | AveragePool
"""A step of the forward pass."""


def _pooled(shape: tuple[int, ...], layer: Pool) -> tuple[int, ...]:
    n, *sides, channels = shape
    return (n, *((side - layer.size) // layer.stride + 1 for side in sides), channels)


def load_network(
    network: str | os.PathLike[str] | Weights | Network,
    device: str = "cpu",
    pooling: str = "max",
    dtype: str = "float32",
    layers: Collection[str] | None = None,
) -> Network:
    """Load a network onto a device; a `Network` is returned unchanged.

    Parameters
    ----------
    network : str, path, Weights or Network
    device : {"cpu", "auto", "cuda", "cuda:1", "reference"}
    pooling : {"max", "average"}
    dtype : {"float32", "float64", "bfloat16"}
        "reference" always computes in float64, and a GPU in float32 only.
    layers : collection of str, optional
        The layers that will be used, as in `Network`.

    Returns
    -------
    Network

    Raises
    ------
    ParameterError
        If a setting is not known, or the device does not support the dtype.
    WeightsError
        If the weights cannot be fetched or read.

    Warns
    -----
    UserWarning
        If the dtype is "bfloat16", and the processor has no instructions for it.
    """
    if isinstance(network, Network):
        return network
    if dtype not in DTYPES:
        raise ParameterError(f'dtype "{dtype}" is not known; choose "float32", "float64" or "bfloat16".')
    if str(device).startswith("cuda") and dtype != "float32":
        raise ParameterError(f'device "{device}" computes in float32 only; choose dtype "float32" or device "cpu".')
    # The kernels for GPUs have no float64.
    device = "cpu" if device == "auto" and dtype != "float32" else device
    if device == "cpu" and dtype == "bfloat16":
        from stylecore.kernels.cpu.vectors import BFLOAT16

        if not BFLOAT16:
            warnings.warn(
                'this processor has no instructions for bfloat16; dtype "bfloat16" takes longer than "float32" on it.',
                stacklevel=2,
            )
    return Network(network, load_backend(device), pooling, "float64" if device == "reference" else dtype, layers)
