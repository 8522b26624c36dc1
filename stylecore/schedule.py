"""The scales of a coarse-to-fine run, and the evaluations at each."""

from itertools import pairwise

import numpy as np

from stylecore.errors import ParameterError
from stylecore.pictures import geometry as images


def schedule(shape, iterations, pyramid, smallest):
    """Scales of a coarse-to-fine run and the evaluations at each.

    Large shapes are found at the small scales, where an evaluation costs little, and only detail is left for the
    large ones: each scale gets two thirds of the evaluations of the one before.

    Parameters
    ----------
    shape : tuple of int
        (height, width) of the result.
    iterations : int or sequence of int
        Evaluations over all scales, or at each.
    pyramid : int or sequence of int
        Scales, each twice the size of the one before; those too small for the network are left out, and the smallest
        if there are fewer evaluations than scales. Or the longer sides of all scales but the last.
    smallest : int
        Shortest side that reaches the network's deepest layer.

    Returns
    -------
    list of ((height, width), evaluations)
        From the smallest scale to `shape`.

    Raises
    ------
    ParameterError
        If the longer sides do not rise to that of the result, or there are not as many scales as evaluations of each.
    """
    if isinstance(pyramid, list | tuple):
        sizes = [shape, *(images.fit(shape, side) for side in reversed(pyramid))]
        if any(larger <= smaller for smaller, larger in pairwise([*pyramid, max(shape)])):
            sides = ", ".join(map(str, pyramid))
            raise ParameterError(
                f"the scales {sides} do not rise to the result's {max(shape)} px; leave out the larger."
            )
    else:
        # After as many halvings as the size has binary digits there is nothing left.
        longer, count = max(shape), min(pyramid, int(max(shape)).bit_length())
        sizes = [shape, *(images.fit(shape, round(longer / 2**i)) for i in range(1, count))]
        # A scale at which the deepest layer is only a few positions wide tells nothing of the style.
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
