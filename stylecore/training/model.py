"""A network in training: its layers, with all their parameters in one array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from types import ModuleType

import numpy as np

from stylecore.errors import ParameterError
from stylecore.training.layers import (
    Convolution,
    ConvolutionBias,
    ConvolutionRelu,
    Dense,
    Dropout,
    Layer,
    MaxPool,
    Mean,
    Upsample,
)
from stylecore.weights import Preprocessing, Weights
from stylecore.weights.architectures import Conv, Pool

# Batches of images that are held at a time: that in training and those that are being prepared, which take twice as
# much while they are normalised.
PREPARED = 5


class Model:
    """A sequence of layers.

    Parameters
    ----------
    layers : list of Layer
    dtype : {"float32", "float64"}

    Attributes
    ----------
    values, gradient : ndarray, (P,)
        All parameters, and the gradient of the loss with respect to them; the layers hold views of these arrays.
    state : ndarray, (S,) float64
        Running mean and variance of the layers with batch normalisation.
    decayed : ndarray, (P,) bool
        The parameters that weight decay applies to.
    """

    def __init__(self, layers: list[Layer], dtype: str = "float32") -> None:
        self.layers = layers
        count = sum(prod(shape) for layer in layers for shape in layer.shapes.values())
        self.values, self.gradient = np.zeros(count, dtype), np.zeros(count, dtype)
        self.state = np.zeros(sum(prod(shape) for layer in layers for shape in layer.state_shapes.values()))
        self.decayed = np.zeros(count, bool)
        self._assign_views()

    def _assign_views(self) -> None:
        """Make each layer's parameters and state views of the arrays of the model."""
        start = state_start = 0
        for layer in self.layers:
            for name, shape in layer.shapes.items():
                end = start + prod(shape)
                setattr(layer, name, self.values[start:end].reshape(shape))
                setattr(layer, f"d_{name}", self.gradient[start:end].reshape(shape))
                self.decayed[start:end] = name in layer.decayed
                start = end
            for name, shape in layer.state_shapes.items():
                end = state_start + prod(shape)
                setattr(layer, name, self.state[state_start:end].reshape(shape))
                state_start = end

    def initialise(self, rng: np.random.Generator) -> None:
        """Set all parameters to their initial values."""
        for layer in self.layers:
            layer.initialise(rng)

    def draw_from(self, rng: np.random.Generator) -> None:
        """Set the random generator of the dropout layers."""
        for layer in self.layers:
            if isinstance(layer, Dropout):
                layer.rng = rng

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Forward pass in training, which must come before `backward`.

        Parameters
        ----------
        x : ndarray, (n, side, side, 3)

        Returns
        -------
        ndarray, (n, classes) or (n, side, side, 3)
            The layers reuse it in the next pass.
        """
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dy: np.ndarray) -> None:
        """Backward pass: fill `gradient`.

        Parameters
        ----------
        dy : ndarray
            Gradient with respect to the output, of its shape; it may be overwritten.
        """
        gradient: np.ndarray | None = dy
        for layer in reversed(self.layers):
            assert gradient is not None  # Only the first layer returns none.
            gradient = layer.backward(gradient)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Output of the trained network; parameters as of `forward`."""
        for layer in self.layers:
            x = layer.predict(x)
        return x

    def bytes(self, batch: int, side: int) -> int:
        """Memory that training takes beside the data, in bytes: parameters, and the features of a batch.

        Parameters
        ----------
        batch : int
            Number of images in a batch.
        side : int
            Side length of the images in pixels.

        Returns
        -------
        int
        """
        shape: tuple[int, ...] = (batch, side, side, 3)
        features = PREPARED * prod(shape)
        for layer in self.layers:
            features += prod(shape)  # The gradient with respect to the input.
            shape = layer.output_shape(shape)
            features += 2 * prod(shape)  # The output; of a convolution also before normalisation and ReLU.
        # The parameters with their gradient and the state of the optimiser.
        return self.values.itemsize * (features + 4 * self.values.size)

    def weights(
        self, table: Sequence[Conv | Pool], network: str, preprocessing: Preprocessing, source: str, digest: str
    ) -> Weights:
        """Weights to save: the convolutions of a table, with batch normalisation folded into them.

        Parameters
        ----------
        table : sequence of Conv and Pool
            The table that the model was built from.
        network : str
            Name of the network.
        preprocessing : Preprocessing
        source : str
            Description of the training.
        digest : str
            SHA-256 of the parameters.

        Returns
        -------
        Weights
        """
        folded = {row.name: layer.folded() for row, layer in _encoder_layers(table, self.layers)}
        filters = {name: array.astype(np.float32) for name, (array, _) in folded.items()}
        biases = {name: array.astype(np.float32) for name, (_, array) in folded.items()}
        return Weights(network, tuple(table), filters, biases, preprocessing, source, digest)


def _encoder_layers(table: Sequence[Conv | Pool], layers: list[Layer]) -> Iterator[tuple[Conv, ConvolutionRelu]]:
    """The convolutions of a table, each with its layer."""
    for row, layer in zip(table, layers, strict=False):
        if isinstance(row, Conv) and isinstance(layer, ConvolutionRelu):
            yield row, layer


def _encoder(table: Sequence[Conv | Pool], side: int, backend: ModuleType) -> tuple[list[Layer], tuple[int, ...]]:
    """The layers of a table, and the shape of an image's features behind them."""
    layers: list[Layer] = []
    shape: tuple[int, ...] = (1, side, side, 3)
    for row in table:
        if isinstance(row, Conv):
            layers.append(ConvolutionRelu(row, backend, is_first=not layers))
        else:
            layers.append(MaxPool(row, backend))
        shape = layers[-1].output_shape(shape)
        if min(shape) < 1:
            raise ParameterError(f"pictures of {side} x {side} pixels are too small for {row.name}; increase side.")
    return layers, shape


def classifier(
    table: Sequence[Conv | Pool],
    side: int,
    classes: int,
    dropout: float,
    backend: ModuleType,
    dtype: str = "float32",
) -> Model:
    """A classifier: the layers of a table, global average pooling, dropout and a dense layer.

    Parameters
    ----------
    table : sequence of Conv and Pool
    side : int
        Side length of the images in pixels.
    classes : int
    dropout : float
        Probability that an averaged feature is dropped.
    backend : module
    dtype : {"float32", "float64"}

    Returns
    -------
    Model

    Raises
    ------
    ParameterError
        If the images are too small for the table.
    """
    layers, (_, _, _, channels) = _encoder(table, side, backend)
    return Model([*layers, Mean(backend), Dropout(dropout, backend), Dense(channels, classes, backend)], dtype)


def autoencoder(table: Sequence[Conv | Pool], side: int, backend: ModuleType, dtype: str = "float32") -> Model:
    """An autoencoder: the layers of a table, and their mirror image with upsampling for pools and strides.

    Parameters
    ----------
    table : sequence of Conv and Pool
    side : int
        Side length of the images in pixels.
    backend : module
    dtype : {"float32", "float64"}

    Returns
    -------
    Model
        Its last convolution has a bias and no ReLU.

    Raises
    ------
    ParameterError
        If the images are too small for the table, or the mirror image does not restore their size.
    """
    layers, shape = _encoder(table, side, backend)
    first = next(row for row in table if isinstance(row, Conv))
    for row in reversed(table):
        if row.stride > 1:
            layers.append(Upsample(row.stride, backend))
            shape = layers[-1].output_shape(shape)
        if isinstance(row, Conv):
            mirrored = Conv(row.name, row.out_channels, row.in_channels, row.size, 1, (row.size - 1) // 2)
            kind: type[Convolution] = ConvolutionBias if row is first else ConvolutionRelu
            layers.append(kind(mirrored, backend))
            shape = layers[-1].output_shape(shape)
    if shape != (1, side, side, 3):
        raise ParameterError(
            f"the decoder makes {shape[2]} x {shape[1]} pixels of {side} x {side}; choose a side that every stride "
            f"divides, and convolutions of odd size with a padding of half of it."
        )
    return Model(layers, dtype)
