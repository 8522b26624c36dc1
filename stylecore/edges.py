"""What the network sees beyond the edges of a picture.

Zeros, with which convolutions pad by default, are a frame that no painting has: near the edges the statistics of the
features differ, and the optimisation paints what makes up for that. Otherwise the picture is continued, and only the
positions within it count: its reflection continues it as most pictures would go on, by as much as makes a difference
(`stylecore.tiles.continued_by`); and wrapped around, by the width of the network's halo, the result is a tile that
repeats without seams.
"""

from __future__ import annotations

import numpy as np

EDGES = ("zeros", "reflect", "wrap")
"""Ways to continue a picture."""


def positions(length: int, margin: int, edges: str) -> np.ndarray:
    """Which pixel of a picture stands at each place of the continued one, along an axis.

    Parameters
    ----------
    length : int
        Of the picture along the axis, in pixels.
    margin : int
        Width by which it is continued on both sides.
    edges : {"reflect", "wrap"}

    Returns
    -------
    ndarray of int, (length + 2 margin,)
    """
    return np.pad(np.arange(length), margin, edges)  # type: ignore[call-overload]


def fold(gradient: np.ndarray, margin: int, edges: str) -> np.ndarray:
    """Gradient with respect to a picture, given that with respect to the continued one.

    Every pixel gets the sum over all places where it stands: the adjoint of indexing with `positions`.

    Parameters
    ----------
    gradient : ndarray, (H + 2 margin, W + 2 margin, C)
    margin : int
    edges : {"reflect", "wrap"}

    Returns
    -------
    ndarray, (H, W, C)
        A view of `gradient`, to which the rest has been added.
    """
    for _ in range(2):
        length = len(gradient) - 2 * margin
        inner, places = gradient[margin : margin + length], positions(length, margin, edges)
        for place in (*range(margin), *range(margin + length, len(gradient))):
            inner[places[place]] += gradient[place]
        gradient = inner.swapaxes(0, 1)
    return gradient


def seam_variation(x: np.ndarray) -> float:
    """What the total variation of a picture that wraps around has in addition: between opposite edges.

    Half the sum of squared differences, as in `stylecore.losses.TotalVariation`.

    Parameters
    ----------
    x : ndarray, (H, W, 3)

    Returns
    -------
    float
    """
    down, across = x[0] - x[-1], x[:, 0] - x[:, -1]
    return 0.5 * float((down**2).sum(dtype=np.float64) + (across**2).sum(dtype=np.float64))


def seam_variation_backward(x: np.ndarray, weight: float, gradient: np.ndarray) -> None:
    """Add weight times the gradient of `seam_variation` to `gradient` in place.

    Parameters
    ----------
    x, gradient : ndarray, (H, W, 3)
    weight : float
    """
    down, across = weight * (x[0] - x[-1]), weight * (x[:, 0] - x[:, -1])
    gradient[0] += down
    gradient[-1] -= down
    gradient[:, 0] += across
    gradient[:, -1] -= across
