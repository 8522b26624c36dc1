"""A network in training: its layers, and all its parameters in one array."""

from math import prod

import numpy as np

from stylecore.errors import ParameterError
from stylecore.training.layers import (
    ConvolutionBias,
    ConvolutionRelu,
    Dense,
    Dropout,
    MaxPool,
    Mean,
    Upsample,
)
from stylecore.weights import Weights
from stylecore.weights.architectures import Conv


class Model:
    """Layers one after the other.

    Parameters
    ----------
    layers : list of Layer
    dtype : {"float32", "float64"}

    Attributes
    ----------
    values, gradient : ndarray, (P,)
        All parameters, and the gradient of the loss with respect to them; the layers work on views of these.
    state : ndarray, (S,) float64
        What is measured and not learned: mean and variance of normalised channels.
    decayed : ndarray, (P,) bool
        The parameters that weight decay applies to.
    """

    def __init__(self, layers, dtype="float32"):
        self.layers = layers
        count = sum(prod(shape) for layer in layers for shape in layer.shapes.values())
        self.values, self.gradient = np.zeros(count, dtype), np.zeros(count, dtype)
        self.state = np.zeros(sum(prod(shape) for layer in layers for shape in layer.state_shapes.values()))
        self.decayed = np.zeros(count, bool)
        self._give_views()

    def _give_views(self):
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

    def initialise(self, rng):
        """Give the parameters the values that training starts from."""
        for layer in self.layers:
            layer.initialise(rng)

    def draw_from(self, rng):
        """Let the layers that leave something to chance draw from this source."""
        for layer in self.layers:
            if isinstance(layer, Dropout):
                layer.rng = rng

    def forward(self, x):
        """Output for a batch, ready for `backward`."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dy):
        """Note in `gradient` the gradient with respect to all parameters, given that with respect to the output."""
        for layer in reversed(self.layers):
            dy = layer.backward(dy)

    def predict(self, x):
        """Output of the trained network for a batch."""
        for layer in self.layers:
            x = layer.predict(x)
        return x

    def weights(self, table, network, preprocessing, source, digest):
        """What is saved of the network: the convolutions of its table, with the normalisation folded into them.

        Parameters
        ----------
        table : sequence of Conv and Pool
        network : str
        preprocessing : Preprocessing
        source : str
            In words.
        digest : str
            SHA-256 of the parameters.

        Returns
        -------
        Weights
        """
        trained = zip(table, self.layers, strict=False)
        folded = {row.name: layer.folded() for row, layer in trained if isinstance(row, Conv)}
        filters, biases = ({name: arrays[i].astype(np.float32) for name, arrays in folded.items()} for i in (0, 1))
        return Weights(network, tuple(table), filters, biases, preprocessing, source, digest)


def _encoder(table, side, backend):
    """The layers of a table, and the shape of an image's features behind them."""
    layers, shape = [], (1, side, side, 3)
    for row in table:
        is_conv = isinstance(row, Conv)
        layers.append(ConvolutionRelu(row, backend, is_first=not layers) if is_conv else MaxPool(row, backend))
        shape = layers[-1].output_shape(shape)
        if min(shape) < 1:
            raise ParameterError(
                f"pictures of {side} x {side} pixels are too small for {row.name}; choose a larger side."
            )
    return layers, shape


def classifier(table, side, classes, dropout, backend, dtype="float32"):
    """A classifier: the table's layers, the mean over all positions, dropout and a dense layer.

    Parameters
    ----------
    table : sequence of Conv and Pool
    side, classes : int
    dropout : float
        Share of the means that is dropped.
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
    head = [Mean(backend), Dropout(dropout, backend), Dense(channels, classes, backend)]
    return Model(layers + head, dtype)


def autoencoder(table, side, backend, dtype="float32"):
    """An auto-encoder: the table's layers, and their mirror image, in which pools and strides become upsampling.

    Parameters
    ----------
    table : sequence of Conv and Pool
    side : int
    backend : module
    dtype : {"float32", "float64"}

    Returns
    -------
    Model
        Its last convolution has no ReLU.

    Raises
    ------
    ParameterError
        If the images are too small for the table, or the mirror image does not lead back to their size.
    """
    layers, shape = _encoder(table, side, backend)
    first = next(row for row in table if isinstance(row, Conv))
    for row in reversed(table):
        if row.stride > 1:
            layers.append(Upsample(row.stride, backend))
            shape = layers[-1].output_shape(shape)
        if isinstance(row, Conv):
            mirrored = Conv(row.name, row.out_channels, row.in_channels, row.size, 1, (row.size - 1) // 2)
            layers.append((ConvolutionBias if row is first else ConvolutionRelu)(mirrored, backend))
            shape = layers[-1].output_shape(shape)
    if shape != (1, side, side, 3):
        raise ParameterError(
            f"the mirror image of the table makes {shape[2]} x {shape[1]} pixels of {side} x {side}; choose a side "
            f"that every stride divides, and odd sizes padded by half."
        )
    return Model(layers, dtype)
