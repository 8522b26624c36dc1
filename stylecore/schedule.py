"""The scales of a coarse-to-fine run: their sizes, the evaluations at each, and the size of the style image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from stylecore.errors import ParameterError
from stylecore.pictures.geometry import fit

Scale = tuple[tuple[int, int], int]
"""(height, width), and the number of evaluations."""


def schedule(
    shape: tuple[int, int], iterations: int | Sequence[int], pyramid: int | Sequence[int], smallest: int
) -> list[Scale]:
    """Scales of a coarse-to-fine run and the evaluations at each.

    Large shapes are found at the small scales, where an evaluation costs little, so that only detail remains for the
    large ones: each scale gets two thirds of the evaluations of the one before.

    Parameters
    ----------
    shape : tuple of int
        (height, width) of the result.
    iterations : int or sequence of int
        Evaluations over all scales, or at each.
    pyramid : int or sequence of int
        Number of scales, each twice the size of the one before; those too small for the network are left out, as are
        the smallest if there are fewer evaluations than scales. Or the longer sides of all scales but the last.
    smallest : int
        Shortest side that reaches the network's deepest layer.

    Returns
    -------
    list of ((height, width), evaluations)
        From the smallest scale to `shape`.

    Raises
    ------
    ParameterError
        If the longer sides do not increase up to that of the result, or the numbers of scales and evaluations differ.
    """
    if isinstance(pyramid, list | tuple):
        sizes = [shape, *(fit(shape, side) for side in reversed(pyramid))]
        if any(larger <= smaller for smaller, larger in pairwise([*pyramid, max(shape)])):
            sides = ", ".join(map(str, pyramid))
            raise ParameterError(
                f"the scales {sides} do not increase up to the result's {max(shape)} px; leave out the larger ones."
            )
    else:
        # After as many halvings as the size has binary digits no pixel is left.
        longer, count = max(shape), min(pyramid, int(max(shape)).bit_length())
        sizes = [shape, *(fit(shape, round(longer / 2**i)) for i in range(1, count))]
        # Where the deepest layer is only a few positions wide, its statistics say nothing of the style.
        sizes = [shape, *(size for size in sizes[1:] if min(size) >= 4 * smallest)]
    if isinstance(iterations, list | tuple):
        if len(iterations) != len(sizes):
            sides = ", ".join(str(max(size)) for size in reversed(sizes))
            raise ParameterError(
                f"iterations are given for {len(iterations)} scales and there are {len(sizes)}, of {sides} px; give "
                "one number for each, or one for all together."
            )
        return list(zip(reversed(sizes), map(int, iterations), strict=True))
    sizes = sizes[:iterations]
    shares = np.array([1.5**i for i in range(len(sizes))])
    counts = 1 + np.floor((iterations - len(sizes)) * shares / shares.sum()).astype(int)
    counts[-1] += iterations - counts.sum()
    return [(size, int(count)) for size, count in zip(sizes, counts, strict=True)][::-1]


def style_shape(shape: tuple[int, ...], longer_side: float, smallest: int) -> tuple[int, int]:
    """Size of a style image at a scale.

    Parameters
    ----------
    shape : tuple of int
        (height, width, ...) of the style image.
    longer_side : float
        Desired longer side in pixels.
    smallest : int
        Shortest side that reaches the network's deepest style layer.

    Returns
    -------
    tuple of int
        (height, width) in the same aspect ratio: never larger than the image is, and, if the image suffices at all,
        never too small for the network, as a panorama would soon be.
    """
    longest, shortest = max(shape[:2]), min(shape[:2])
    enough = -(-smallest * longest // shortest)
    return fit(shape, min(max(1, round(longer_side), enough), longest))
