"""Network architectures as tables of layers, one row per layer, in the order of the forward pass.

Each convolution is followed by a ReLU that carries the convolution's number: ``conv4_2`` is followed by ``relu4_2``.
Convolutions are padded with zeros; a pooling layer drops an odd last row or column.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple


class Conv(NamedTuple):
    """A convolution with bias, and the ReLU that follows it."""

    name: str
    in_channels: int
    out_channels: int
    size: int = 3
    stride: int = 1
    padding: int = 1

    @property
    def relu(self) -> str:
        """Name of the ReLU that follows the convolution: ``relu4_2`` for ``conv4_2``."""
        return "relu" + self.name.removeprefix("conv")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters: ``filters`` (kh, kw, C_in, C_out) and ``bias`` (C_out,)."""
        return {
            "filters": (self.size, self.size, self.in_channels, self.out_channels),
            "bias": (self.out_channels,),
        }


class Pool(NamedTuple):
    """A pooling layer over windows of size x size positions; the user chooses between maximum and average."""

    name: str
    size: int = 2
    stride: int = 2


Layers = Sequence[Conv | Pool]
"""An architecture."""

MOST_PARAMETERS = 100_000_000
"""Parameters that an architecture may have: five times those of VGG-19, the largest one here."""


def _vgg(*convolutions_per_block: int) -> tuple[Conv | Pool, ...]:
    """Blocks of 3 x 3 convolutions, each followed by a pooling layer (Simonyan and Zisserman 2014, table 1)."""
    layers: list[Conv | Pool] = []
    channels = 3
    for block, count in enumerate(convolutions_per_block, start=1):
        width = min(64 * 2 ** (block - 1), 512)
        for i in range(1, count + 1):
            layers.append(Conv(f"conv{block}_{i}", channels, width))
            channels = width
        layers.append(Pool(f"pool{block}"))
    return tuple(layers)


ARCHITECTURES: dict[str, tuple[Conv | Pool, ...]] = {
    "vgg19": _vgg(2, 2, 4, 4, 4),
    "vgg16": _vgg(2, 2, 3, 3, 3),
    # torchvision's AlexNet (Krizhevsky 2014, "One weird trick", with a single column).
    "alexnet": (
        Conv("conv1", 3, 64, size=11, stride=4, padding=2),
        Pool("pool1", size=3),
        Conv("conv2", 64, 192, size=5, padding=2),
        Pool("pool2", size=3),
        Conv("conv3", 192, 384),
        Conv("conv4", 384, 256),
        Conv("conv5", 256, 256),
        Pool("pool5", size=3),
    ),
}


def features_names(layers: Layers) -> list[str]:
    """Names of the layers that a loss can be attached to.

    Parameters
    ----------
    layers : sequence of Conv and Pool

    Returns
    -------
    list of str
        The ReLUs and the pooling layers, in the order of the forward pass.
    """
    return [layer.relu if isinstance(layer, Conv) else layer.name for layer in layers]


def until(layers: Layers, names: Collection[str]) -> Layers:
    """Truncate an architecture after the deepest of some layers.

    Parameters
    ----------
    layers : sequence of Conv and Pool
    names : collection of str
        Some of `features_names`.

    Returns
    -------
    sequence of Conv and Pool
        All the layers if `names` is empty or holds an unknown name.
    """
    known = features_names(layers)
    if not set(names) <= set(known):
        return layers
    return layers[: 1 + max((known.index(name) for name in names), default=len(known))]


_FIRST_OF_BLOCKS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

LayerWeights = Mapping[str, float]
"""Layers by name, with the weight of each."""


def _equally(*layers: str) -> LayerWeights:
    return dict.fromkeys(layers, 1.0)


DEFAULT_LAYERS: dict[str, tuple[LayerWeights, LayerWeights]] = {
    # Early content layers keep the photograph's edges. Deep style layers with full weight paint whole suns onto houses.
    "vgg19": (
        _equally("relu2_1", "relu3_1", "relu4_2"),
        {"relu1_1": 4.0, "relu2_1": 3.0, "relu3_1": 2.0, "relu4_1": 1.0, "relu5_1": 0.5},
    ),
    # With relu4_2 the painting hides the photograph; the deep layers of AlexNet add nothing but grain.
    "vgg16": (_equally("relu4_1"), _equally(*_FIRST_OF_BLOCKS)),
    "alexnet": (_equally("relu2"), _equally("relu1", "relu2", "relu3")),
    # The built-in classifier of `stylecore.training`; without relu1_1 the painting's colours are lost.
    "cnn": (_equally("relu2_2"), _equally("relu1_1", "relu2_1", "relu3_1", "relu4_1")),
}
"""Content layers and style layers that gave the best picture by eye."""

CONTENT_DETAILS = ("objects", "shapes", "edges")
"""What the content layers preserve of the photograph, from little to much; `DEFAULT_LAYERS` preserve its shapes."""


def default_layers(network: str, layers: Layers) -> tuple[LayerWeights, LayerWeights]:
    """Content layers and style layers to use when the user names none.

    Parameters
    ----------
    network : str
        Name of the architecture.
    layers : sequence of Conv and Pool

    Returns
    -------
    content, style : mapping of str to float
        With the weight of each layer: those in `DEFAULT_LAYERS`. For other networks, the style layers are the first
        ReLU of each block, where a block ends with a pooling layer, the content layer is the last ReLU of the last
        block but one, and all weights are 1.
    """
    known = DEFAULT_LAYERS.get(network, ({}, {}))
    blocks: list[list[str]] = [[]]
    for layer in layers:
        if isinstance(layer, Conv):
            blocks[-1].append(layer.relu)
        elif blocks[-1]:
            blocks.append([])
    blocks = [block for block in blocks if block]
    if known[0] and {*known[0], *known[1]} <= {name for block in blocks for name in block}:
        return known
    return _equally(blocks[max(len(blocks) - 2, 0)][-1]), _equally(*(block[0] for block in blocks))


def with_detail(content: LayerWeights, style: LayerWeights, detail: str) -> LayerWeights:
    """Content layers that preserve more or less of the photograph than the default ones.

    Parameters
    ----------
    content, style : mapping of str to float
        As `default_layers` returns them.
    detail : str
        One of `CONTENT_DETAILS`: "objects" takes the deepest of the content layers alone; "edges" the earliest or, of a
        network with a single content layer, the last style layer before that.

    Returns
    -------
    mapping of str to float
    """
    if detail == "shapes":
        return content
    if detail == "objects":
        return _equally(max(content))
    return _equally(
        min(content) if len(content) > 1 else max((name for name in style if name < min(content)), default=min(content))
    )


def to_json(layers: Layers) -> str:
    """Write an architecture as JSON.

    Parameters
    ----------
    layers : sequence of Conv and Pool

    Returns
    -------
    str
        A list with one object per layer, whose ``kind`` is "conv" or "pool".

    Examples
    --------
    >>> to_json([Pool("pool1")])
    '[{"kind": "pool", "name": "pool1", "size": 2, "stride": 2}]'
    """
    return json.dumps([{"kind": type(layer).__name__.lower(), **layer._asdict()} for layer in layers])


def from_json(text: str) -> tuple[Conv | Pool, ...]:
    """Read an architecture that `to_json` wrote.

    Parameters
    ----------
    text : str

    Returns
    -------
    tuple of Conv and Pool

    Raises
    ------
    ValueError
        If the text is not such a table, or `check_table` rejects it.
    """
    kinds = {"conv": Conv, "pool": Pool}
    try:
        layers = tuple(kinds[row.pop("kind")](**row) for row in json.loads(text))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not a table of layers: {error}") from error
    check_table(layers)
    return layers


def check_table(layers: Layers) -> None:
    """Reject an architecture with impossible sizes, repeated names, or channels that do not match.

    Parameters
    ----------
    layers : sequence of Conv and Pool

    Raises
    ------
    ValueError
        If the layers cannot follow one another, there is no convolution, or there are more than `MOST_PARAMETERS`
        parameters.
    """
    if len({layer.name for layer in layers}) < len(layers):
        raise ValueError("two layers have the same name")
    for name, *sizes in layers:
        if not isinstance(name, str) or not name or "/" in name or name.startswith("."):
            raise ValueError(f"{name!r} is not a valid name for a layer")
        if any(type(size) is not int or size < 0 for size in sizes):
            raise ValueError(f"{name} has a size that is not a non-negative integer")
    channels, parameters = 3, 0
    for layer in layers:
        if layer.size < 1 or layer.stride < 1:
            raise ValueError(f"{layer.name} has a size or a stride of 0")
        if isinstance(layer, Conv):
            if layer.in_channels != channels or layer.out_channels < 1:
                raise ValueError(f"{layer.name} does not take the {channels} channels of the layer before it")
            channels = layer.out_channels
            parameters += sum(math.prod(shape) for shape in layer.shapes.values())
    if not parameters:
        raise ValueError("there is no convolution in it")
    if parameters > MOST_PARAMETERS:
        raise ValueError(f"it has {parameters:,} parameters, and at most {MOST_PARAMETERS:,} are supported")
