"""Fractal noise, for the clouds, leaves, plaster and flow of paint in the sample pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import map_coordinates, spline_filter


class Noise:
    """A smooth random function of the plane with period 256, mean 0 and a standard deviation near 1.

    Parameters
    ----------
    seed : int
        Random seed.
    """

    def __init__(self, seed: int) -> None:
        lattice = np.random.default_rng(seed).standard_normal((256, 256))
        self.spline = spline_filter(lattice, order=2, mode="grid-wrap").astype(np.float32)

    def __call__(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Value at (x, y), with details of size 1.

        Parameters
        ----------
        x, y : float or ndarray
            Broadcast against each other.

        Returns
        -------
        ndarray
            Of their common shape.
        """
        places = np.array(np.broadcast_arrays(y, x), np.float64)
        values = map_coordinates(self.spline, places.reshape(2, -1), None, 2, "grid-wrap", prefilter=False)
        return 1.3 * values.reshape(places.shape[1:])

    def fractal(self, x: ArrayLike, y: ArrayLike, octaves: int = 5, gain: float = 0.5) -> np.ndarray:
        """Sum of octaves, each with details of half the size and `gain` times the amplitude of the one before.

        Parameters
        ----------
        x, y : float or ndarray
            Broadcast against each other.
        octaves : int
        gain : float

        Returns
        -------
        ndarray
            Of their common shape, with a standard deviation near 1.
        """
        x, y = np.asarray(x), np.asarray(y)
        total = sum(gain**i * self(x * 2**i + 37.7 * i, y * 2**i + 17.3 * i) for i in range(octaves))
        return total / np.sqrt(sum(gain ** (2 * i) for i in range(octaves)))
