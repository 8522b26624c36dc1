"""The networks as tables: a row a layer, in the order in which an image passes through them.

A convolution is always followed by its ReLU, which carries the convolution's number: ``conv4_2`` is
followed by ``relu4_2``. Convolutions pad with zeros; pools drop an odd last row or column.
"""

import json
from typing import NamedTuple


class Conv(NamedTuple):
    """A convolution with bias, and the ReLU behind it."""

    name: str
    in_channels: int
    out_channels: int
    size: int = 3
    stride: int = 1
    padding: int = 1

    @property
    def relu(self):
        """Name of the ReLU behind the convolution: ``relu4_2`` for ``conv4_2``."""
        return "relu" + self.name.removeprefix("conv")


class Pool(NamedTuple):
    """A pool over windows of size x size positions; whether it takes maxima or means is the user's choice."""

    name: str
    size: int = 2
    stride: int = 2


def _vgg(*convolutions_per_block):
    """Blocks of 3 x 3 convolutions, each followed by a pool (Simonyan and Zisserman 2014, table 1)."""
    layers, channels = [], 3
    for block, count in enumerate(convolutions_per_block, start=1):
        width = min(64 * 2 ** (block - 1), 512)
        for i in range(1, count + 1):
            layers.append(Conv(f"conv{block}_{i}", channels, width))
            channels = width
        layers.append(Pool(f"pool{block}"))
    return tuple(layers)


ARCHITECTURES = {
    "vgg19": _vgg(2, 2, 4, 4, 4),
    "vgg16": _vgg(2, 2, 3, 3, 3),
    # AlexNet as torchvision has it (Krizhevsky 2014, "One weird trick", one column).
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


def features_names(layers):
    """Names of the layers of a table that can carry a loss, in order: the ReLUs and the pools."""
    return [layer.relu if isinstance(layer, Conv) else layer.name for layer in layers]


def until(layers, wanted):
    """The rows of a table up to the deepest of the layers that are wanted; all, if one of them is not there.

    Parameters
    ----------
    layers : list of Conv and Pool
    wanted : collection of str
        Of `features_names`.
    """
    names = features_names(layers)
    if not set(wanted) <= set(names):
        return layers
    return layers[: 1 + max((names.index(name) for name in wanted), default=len(names))]


_FIRST_OF_BLOCKS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

DEFAULT_LAYERS = {
    "vgg19": (("relu4_2",), _FIRST_OF_BLOCKS),
    # At relu4_2 the painting buries the photograph; the deep layers of AlexNet add nothing but grain.
    "vgg16": (("relu4_1",), _FIRST_OF_BLOCKS),
    "alexnet": (("relu2",), ("relu1", "relu2", "relu3")),
    # The built-in classifier of `stylecore.training`; without relu1_1 the painting's colours do not come over.
    "cnn": (("relu2_2",), ("relu1_1", "relu2_1", "relu3_1", "relu4_1")),
}
"""Layers for content and for style that give a network's best picture, found by looking."""


def default_layers(network, layers):
    """Layers to compare content and style by, where nobody names any.

    Parameters
    ----------
    network : str
        Name of the architecture.
    layers : sequence of Conv and Pool

    Returns
    -------
    content, style : tuple of str
        Those of `DEFAULT_LAYERS`; for another network the first ReLU of each block, which ends with a pool, and for the
        content the last one of the last block but one.
    """
    relus = [layer.relu for layer in layers if isinstance(layer, Conv)]
    known = DEFAULT_LAYERS.get(network, ((), ()))
    if known[0] and {*known[0], *known[1]} <= {*relus}:
        return known
    blocks = [[]]
    for layer in layers:
        if isinstance(layer, Conv):
            blocks[-1].append(layer.relu)
        elif blocks[-1]:
            blocks.append([])
    blocks = [block for block in blocks if block]
    return (blocks[max(len(blocks) - 2, 0)][-1],), tuple(block[0] for block in blocks)


def to_json(layers):
    """Write a table of layers as JSON.

    Parameters
    ----------
    layers : sequence of Conv and Pool

    Returns
    -------
    str
        A list with an object a layer, whose ``kind`` is "conv" or "pool".
    """
    return json.dumps([{"kind": type(layer).__name__.lower(), **layer._asdict()} for layer in layers])


def from_json(text):
    """Read a table of layers that `to_json` wrote.

    Parameters
    ----------
    text : str

    Returns
    -------
    tuple of Conv and Pool

    Raises
    ------
    ValueError
        If the text is no such table, or its layers cannot follow one another.
    """
    kinds = {"conv": Conv, "pool": Pool}
    try:
        layers = tuple(kinds[row.pop("kind")](**row) for row in json.loads(text))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"not a table of layers: {error}") from error
    check_table(layers)
    return layers


def check_table(layers):
    """Refuse layers with impossible sizes, names that occur twice, or channels that do not follow.

    Parameters
    ----------
    layers : sequence of Conv and Pool

    Raises
    ------
    ValueError
        If they cannot follow one another.
    """
    if len({layer.name for layer in layers}) < len(layers):
        raise ValueError("two layers have the same name")
    channels = 3
    for name, *sizes in layers:
        if not isinstance(name, str) or not name or "/" in name or name.startswith("."):
            raise ValueError(f"{name!r} is no name for a layer")
        if any(type(size) is not int or size < 0 for size in sizes):
            raise ValueError(f"{name} has a size that is no whole number")
    for layer in layers:
        if layer.size < 1 or layer.stride < 1:
            raise ValueError(f"{layer.name} has no extent")
        if isinstance(layer, Conv):
            if layer.in_channels != channels or layer.out_channels < 1:
                raise ValueError(f"{layer.name} does not take the {channels} channels that it is given")
            channels = layer.out_channels
