"""The scales of a coarse-to-fine run: size, number of evaluations and size of the style image at each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import numpy as np

from stylecore.errors import ParameterError
from stylecore.pictures.geometry import fit

PRINT = 1536
"""Longer side in pixels above which a picture is for print: there, the work is done at smaller scales."""

COARSEST = 128
"""Longer side in pixels below which "auto" makes no scale: there, a head is a single position of the deeper layers."""

Scale = tuple[tuple[int, int], int]
"""(height, width) and number of evaluations."""


def schedule(
    shape: tuple[int, int], iterations: int | Sequence[int], pyramid: int | str | Sequence[int], smallest: int
) -> list[Scale]:
    """Choose the scales of a coarse-to-fine run, and the number of evaluations at each.

    Large shapes emerge at the small scales, where an evaluation is fast, so that the large scales only add detail: each
    scale gets half of the evaluations of the scale before it.

    Parameters
    ----------
    shape : tuple of int
        (height, width) of the result.
    iterations : int or sequence of int
        Number of evaluations in total, or at each scale.
    pyramid : int, "auto" or sequence of int
        Number of scales, each twice the size of the one before it; scales that are too small for the network are left
        out, and so are the smallest ones if there are fewer evaluations than scales. "auto" is three scales up to
        `PRINT`, and as many more as it takes to halve a larger picture down to it. For a result of less than four times
        `COARSEST` pixels, their sizes lie closer together, so that the first has `COARSEST` pixels; and there are only
        as many as are a factor of the root of two apart. Or the longer sides, in pixels, of all scales but the last.
    smallest : int
        Shorter side, in pixels, of the smallest image that reaches the network's deepest layer.

    Returns
    -------
    list of ((height, width), evaluations)
        From the smallest scale up to `shape`.

    Raises
    ------
    ParameterError
        If the longer sides do not increase up to that of the result, or `iterations` does not have a number for each
        scale.
    """
    sizes = _sizes(shape, pyramid, smallest)
    if isinstance(iterations, Sequence):
        if len(iterations) != len(sizes):
            sides = ", ".join(str(max(size)) for size in reversed(sizes))
            raise ParameterError(
                f"iterations is {list(iterations)} and the scales are {sides} px; give one number for each scale, or "
                "one in total."
            )
        return list(zip(reversed(sizes), map(int, iterations), strict=True))
    sizes = sizes[:iterations]
    shares = 2.0 ** np.arange(len(sizes))
    counts = 1 + np.floor((iterations - len(sizes)) * shares / shares.sum()).astype(int)
    counts[-1] += iterations - counts.sum()
    return [(size, int(count)) for size, count in zip(sizes, counts, strict=True)][::-1]


def _sizes(shape: tuple[int, int], pyramid: int | str | Sequence[int], smallest: int) -> list[tuple[int, int]]:
    """Sizes of the scales, from the largest to the smallest."""
    longer = max(shape)
    if isinstance(pyramid, str):
        count, ratio = _spacing(longer)
    elif isinstance(pyramid, Sequence):
        if any(larger <= smaller for smaller, larger in pairwise([*pyramid, longer])):
            sides = ", ".join(map(str, pyramid))
            raise ParameterError(
                f"the scales {sides} do not increase up to the result's {longer} px; leave out the larger ones."
            )
        return [shape, *(fit(shape, cast(int, side)) for side in reversed(pyramid))]
    else:
        # More halvings than the size has binary digits would leave no pixel.
        count, ratio = min(pyramid, int(longer).bit_length()), 2.0
    sizes = (fit(shape, round(longer / ratio**i)) for i in range(1, count))
    # If the deepest layer is only a few positions wide, its statistics do not describe the style.
    return [shape, *(size for size in sizes if min(size) >= 4 * smallest)]


def _spacing(longer: int) -> tuple[int, float]:
    """Number of scales of "auto" for this longer side in pixels, and the ratio of their sizes."""
    halvings = 2 + max(0, math.ceil(math.log2(longer / PRINT)))
    octaves = math.log2(max(1.0, longer / COARSEST))
    steps = min(halvings, math.floor(2 * octaves))
    return steps + 1, 2 ** min(1.0, octaves / max(1, steps))


def style_shape(
    shape: tuple[int, ...], longer_side: float, smallest: int, *, enlarges: bool = False
) -> tuple[int, int]:
    """Choose the size of a style image at a scale.

    Parameters
    ----------
    shape : tuple of int
        (height, width, ...) of the style image.
    longer_side : float
        Desired longer side in pixels.
    smallest : int
        Shorter side, in pixels, of the smallest image that reaches the network's deepest style layer.
    enlarges : bool
        Whether the style image may become larger than it is.

    Returns
    -------
    tuple of int
        (height, width) of the same aspect ratio: unless it `enlarges`, at most the size of the image; and, unless the
        image itself is too small, large enough for the network, for which a panorama would soon be too small.
    """
    longest, shortest = max(shape[:2]), min(shape[:2])
    enough = -(-smallest * longest // shortest)
    side = max(1, round(longer_side), enough)
    return fit(shape, side if enlarges else min(side, longest))
