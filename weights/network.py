"""The weights of a network, and the preprocessing of the images that it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from stylecore.errors import WeightsError
from stylecore.weights.architectures import Conv, LayerWeights, Pool, default_layers


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network's input: ``(scale * image[..., order] - mean) / std``.

    Parameters
    ----------
    channel_order : {"RGB", "BGR"}
        The order in which the network takes the channels of an sRGB image in [0, 1].
    scale : float
        255 for a network that was trained on values in [0, 255], 1 for one that was trained on values in [0, 1].
    mean, std : tuple of 3 floats
        In the network's channel order, in units of the scaled image.

    Raises
    ------
    WeightsError
        If a value is not one of the above or not finite, or if `scale` or `std` is not positive.
    """

    channel_order: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = np.array([self.scale, *self.mean, *self.std], dtype=float)
        if (
            self.channel_order not in ("RGB", "BGR")
            or len(self.mean) != 3
            or len(self.std) != 3
            or not np.isfinite(numbers).all()
            or min(self.scale, *self.std) <= 0
        ):
            raise WeightsError(
                f"the preprocessing {self} is invalid; the channel order must be RGB or BGR, mean and std three finite "
                "numbers each, and scale and std positive."
            )

    def __str__(self) -> str:
        numbers = [", ".join(f"{value:g}" for value in values) for values in (self.mean, self.std)]
        return f"({self.scale:g} x {self.channel_order} - ({numbers[0]})) / ({numbers[1]})"


PREPROCESSINGS = {
    # torchvision's networks, and the many that were trained the same way.
    "torchvision": Preprocessing("RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # The VGG networks that their authors published for Caffe, and Keras' copies of them.
    "caffe": Preprocessing("BGR", 255.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    # Copies of those whose first layer was changed to take RGB.
    "caffe-rgb": Preprocessing("RGB", 255.0, (123.68, 116.779, 103.939), (1.0, 1.0, 1.0)),
}
"""The preprocessing of well-known networks, by name."""


class Shaped(Protocol):
    """An array, or an array in a file whose shape is known before it is read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""


def check_shapes(network: str, layers: list[Conv], filters: Mapping[str, Shaped], biases: Mapping[str, Shaped]) -> None:
    """Reject parameters that are missing or do not have the shape that the architecture needs.

    Parameters
    ----------
    network : str
        Name of the network, for messages.
    layers : list of Conv
    filters, biases : mapping of str to array or `Shaped`
        By the name of the convolution. Only their shapes are looked at.

    Raises
    ------
    WeightsError
        If one of them does not fit.
    """
    for conv in layers:
        for part, arrays in (("filters", filters), ("bias", biases)):
            if conv.name not in arrays:
                raise WeightsError(f"it has no {part} for {conv.name}, which {network} needs.")
            shape, needed = tuple(arrays[conv.name].shape), conv.shapes[part]
            if shape != needed:
                raise WeightsError(f"the shape of {conv.name}'s {part} is {shape}, but {network} needs {needed}.")


@dataclass(frozen=True, eq=False)
class Weights:
    """A network: its layers, their parameters and its preprocessing; they are checked to fit together.

    Parameters
    ----------
    network : str
        Name of the architecture, such as "vgg19".
    layers : tuple of Conv and Pool
        In the order of the forward pass.
    filters : dict of str to ndarray of float32, shape (kh, kw, C_in, C_out)
        By the name of the convolution.
    biases : dict of str to ndarray of float32, shape (C_out,)
        By the name of the convolution.
    preprocessing : Preprocessing
        From an sRGB image in [0, 1] to the network's input.
    source : str
        Where the weights came from, for people to read.
    sha256 : str
        Digest, in 64 hexadecimal digits, of the file that they were converted from, or of the trained parameters.

    Raises
    ------
    WeightsError
        If an array is missing, has the wrong shape or type, or holds NaN or infinity.
    """

    network: str
    layers: tuple[Conv | Pool, ...]
    filters: dict[str, np.ndarray]
    biases: dict[str, np.ndarray]
    preprocessing: Preprocessing
    source: str
    sha256: str

    def __post_init__(self) -> None:
        check_shapes(self.network, self.convolutions, self.filters, self.biases)
        for conv in self.convolutions:
            for part, array in (("filters", self.filters[conv.name]), ("bias", self.biases[conv.name])):
                if array.dtype != np.float32:
                    raise WeightsError(f"the type of {conv.name}'s {part} is {array.dtype}, but float32 is needed.")
                if not np.isfinite(array).all():
                    raise WeightsError(f"there is NaN or infinity in {conv.name}'s {part}, so it is damaged.")

    @property
    def default_layers(self) -> tuple[LayerWeights, LayerWeights]:
        """Content layers and style layers to use when the user names none, with their weights."""
        return default_layers(self.network, self.layers)

    @property
    def convolutions(self) -> list[Conv]:
        """The convolutions among the layers."""
        return [layer for layer in self.layers if isinstance(layer, Conv)]
