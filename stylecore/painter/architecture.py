"""The stages of a painter: each a convolution with reflection padding, and conditional instance normalisation."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from stylecore.errors import ParameterError


class Stage(NamedTuple):
    """A convolution, conditional instance normalisation and maybe a ReLU.

    Parameters
    ----------
    name : str
    inputs, outputs : int
        Channels.
    size : int
        Side length of the filters, an odd number. The input is padded by half of it, by reflection.
    stride : int
    factor : int
        Factor by which the input is upsampled to the nearest neighbour, before it is padded.
    relu : bool
    begins, ends : bool
        Whether the stage is the first or the last of a residual block: the input of the block is added to its output.
    """

    name: str
    inputs: int
    outputs: int
    size: int = 3
    stride: int = 1
    factor: int = 1
    relu: bool = True
    begins: bool = False
    ends: bool = False

    @property
    def padding(self) -> int:
        """Rows and columns that are added on each side."""
        return self.size // 2

    def length(self, side: int) -> int:
        """Side length of the output for an input of this one."""
        return (side * self.factor - 1) // self.stride + 1


def stages(widths: Sequence[int] = (32, 64, 128), blocks: int = 5) -> tuple[Stage, ...]:
    """The stages of a painter; its output is the logistic function of the last one's.

    Parameters
    ----------
    widths : sequence of three int
        Channels at the full, the half and the quarter size.
    blocks : int
        Number of residual blocks.

    Returns
    -------
    tuple of Stage

    References
    ----------
    Dumoulin, Shlens and Kudlur (2017), table 1.
    """
    full, half, quarter = widths
    down = [
        Stage("down1", 3, full, size=9),
        Stage("down2", full, half, stride=2),
        Stage("down3", half, quarter, stride=2),
    ]
    residual = [
        stage
        for k in range(1, blocks + 1)
        for stage in (
            Stage(f"block{k}_1", quarter, quarter, begins=True),
            Stage(f"block{k}_2", quarter, quarter, relu=False, ends=True),
        )
    ]
    up = [
        Stage("up1", quarter, half, factor=2),
        Stage("up2", half, full, factor=2),
        Stage("colours", full, 3, size=9, relu=False),
    ]
    return (*down, *residual, *up)


def to_json(table: Sequence[Stage]) -> str:
    """The stages as JSON."""
    return json.dumps([stage._asdict() for stage in table])


def from_json(text: str) -> tuple[Stage, ...]:
    """Read stages back.

    Raises
    ------
    ValueError
        If the text is not a list of stages that follow from one another.
    """
    try:
        table = tuple(Stage(**row) for row in json.loads(text))
    except TypeError as error:
        raise ValueError(f"it is not a list of stages ({error})") from error
    check(table)
    return table


def check(table: Sequence[Stage]) -> None:
    """Raise ValueError if stages do not follow from one another, from colours to colours of the same size.

    Residual blocks have to be where the maps are smallest, since only those are always stored.
    """
    if not table:
        raise ValueError("there are no stages")
    channels, scale = 3, Fraction(1)
    block: tuple[int, Fraction] | None = None
    for stage in table:
        numbers = stage.inputs, stage.outputs, stage.size, stage.stride, stage.factor
        if not all(isinstance(number, int) and 0 < number <= 1024 for number in numbers):
            raise ValueError(f"{stage.name} has a number that is not from 1 to 1024")
        if stage.inputs != channels or stage.size % 2 == 0 or (stage.begins and (block or stage is table[0])):
            raise ValueError(f"{stage.name} does not fit the stage before it")
        if stage.begins:
            block = channels, scale
        channels, scale = stage.outputs, scale * stage.factor / stage.stride
        if stage.ends and block != (channels, scale):
            raise ValueError(f"{stage.name} does not end a residual block with the shape of its input")
        if block is not None and scale > Fraction(1, reduction(table)):
            raise ValueError(f"{stage.name} is in a residual block whose maps are not the smallest ones")
        block = None if stage.ends else block
    if (channels, scale, block) != (3, 1, None):
        raise ValueError("the stages do not make a picture of the size of the photograph")


def reduction(table: Sequence[Stage]) -> int:
    """The number by which both sides of a picture must be divisible: that by which the smallest maps are reduced."""
    scale = least = Fraction(1)
    for stage in table:
        scale *= Fraction(stage.factor, stage.stride)
        least = min(least, scale)
    return math.ceil(1 / least)


def check_crop(table: Sequence[Stage], side: int) -> None:
    """Check that pictures of this side length can be painted without resizing them.

    Raises
    ------
    ParameterError
        If the stages cannot halve it, or the smallest maps are too small to be padded by reflection.
    """
    step = reduction(table)
    if side % step or side < 4 * step:
        raise ParameterError(f"crop is {side}; it must be a multiple of {step} of at least {4 * step} pixels.")
