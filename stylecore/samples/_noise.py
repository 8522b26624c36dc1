"""Fractal noise, from which the sample pictures draw clouds, leaves, plaster and the flow of paint."""

import numpy as np
from scipy.ndimage import map_coordinates, spline_filter


class Noise:
    """Smooth random functions of the plane with period 256, around 0 with a standard deviation near 1."""

    def __init__(self, seed):
        lattice = np.random.default_rng(seed).standard_normal((256, 256))
        self.spline = spline_filter(lattice, order=2, mode="grid-wrap").astype(np.float32)

    def __call__(self, x, y):
        """Value at (x, y), with details of size 1."""
        places = np.array(np.broadcast_arrays(y, x), np.float64)
        values = map_coordinates(self.spline, places.reshape(2, -1), None, 2, "grid-wrap", prefilter=False)
        return 1.3 * values.reshape(places.shape[1:])

    def fractal(self, x, y, octaves=5, gain=0.5):
        """Sum of octaves, each of half the size and `gain` times the strength of the one before."""
        total = sum(gain**i * self(x * 2**i + 37.7 * i, y * 2**i + 17.3 * i) for i in range(octaves))
        return total / np.sqrt(sum(gain ** (2 * i) for i in range(octaves)))
