"""A small renderer by the painter's algorithm: panels in perspective, with haze and shadows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import map_coordinates

from stylecore.samples._noise import Noise

SUN = np.array([-0.76, 0.50, -0.42])  # unit vector towards the sun: left, above, a little behind the camera
SUNLIGHT, SKYLIGHT = np.array([3.3, 2.45, 1.5]), np.array([0.30, 0.40, 0.60])
HAZE, VISIBILITY = np.array([0.80, 0.84, 0.92]), 1900  # colour, and distance at which 1 / e of the light is left
EYE = 8.0  # height of the camera
noise = Noise(1)

Numbers = float | np.ndarray
Place = tuple[slice, slice] | slice
Shader = Callable[[np.ndarray, np.ndarray, float, float], tuple[np.ndarray, np.ndarray, np.ndarray]]


class Scene:
    """A picture in linear light, seen by a camera EYE metres above the water that looks along z.

    Lengths are in metres; x points to the right and y up.

    Parameters
    ----------
    width, height : int
        Of the picture, in pixels.

    Attributes
    ----------
    light : ndarray of float32, (height, width, 3)
        The picture.
    tops : ndarray, (400, 400)
        Heights of what casts shadows, on a grid of one metre with z from 0 and x from -200.
    """

    def __init__(self, width: int, height: int) -> None:
        self.light = np.zeros((height, width, 3), np.float32)
        self.focal, self.middle, self.horizon = 1.3 * width, width / 2, 0.55 * height
        self.tops = np.zeros((400, 400))

    def project(self, x: Numbers, y: Numbers, z: Numbers) -> tuple[Numbers, Numbers]:
        """Pixel coordinates (column, row) of points."""
        return self.middle + self.focal * x / z, self.horizon - self.focal * (y - EYE) / z

    def sunshine(self, x: np.ndarray, y: Numbers, z: np.ndarray) -> np.ndarray:
        """Fraction of the sunlight that reaches points, found by steps towards the sun."""
        seen = np.ones(x.shape)
        for t in np.arange(1.5, 30, 1.5):
            top = map_coordinates(self.tops, [z + t * SUN[2], x + t * SUN[0] + 200], order=1)
            seen = np.minimum(seen, np.clip(0.5 + (y + t * SUN[1] - top) / (0.2 + 0.06 * t), 0, 1))
        return seen

    def window(self, px: Numbers, py: Numbers) -> tuple[tuple[slice, slice], np.ndarray]:
        """Bounding box of points in pixels.

        Parameters
        ----------
        px, py : float or ndarray
            Columns and rows.

        Returns
        -------
        place : tuple of slice
            The box, clipped to the picture.
        centres : ndarray, (2, h, w)
            Rows and columns of its pixels' centres.
        """
        height, width = self.light.shape[:2]
        left, right = np.clip([np.min(px) - 1, np.max(px) + 2], 0, width).astype(int)
        top, bottom = np.clip([np.min(py) - 1, np.max(py) + 2], 0, height).astype(int)
        return (slice(top, bottom), slice(left, right)), np.mgrid[top:bottom, left:right] + 0.5

    def paint(self, place: Place, light: np.ndarray, alpha: np.ndarray, z: float) -> None:
        """Blend light over a part of the picture, behind the haze of z metres of air.

        Parameters
        ----------
        place : tuple of slice, or slice
            An index of rows and columns.
        light : ndarray, (h, w, 3)
        alpha : ndarray, (h, w)
            Opacity.
        z : float
            Distance.
        """
        clear = np.exp(-z / VISIBILITY)
        self.light[place] += alpha[..., None] * (clear * light + (1 - clear) * HAZE - self.light[place])

    def panel(self, origin: np.ndarray, along: np.ndarray, up: np.ndarray, shader: Shader) -> None:
        """Paint a rectangle if it faces the camera.

        Parameters
        ----------
        origin, along, up : ndarray, (3,)
            A corner and two edges.
        shader : callable
            From positions (u, v) along the edges and the lengths (w, h) of the edges, in metres, to colour, shade and
            opacity.
        """
        w, h = float(np.linalg.norm(along)), float(np.linalg.norm(up))
        normal, eye = np.cross(up, along) / (w * h), np.array([0, EYE, 0])
        corners = np.array([origin, origin + along, origin + up, origin + along + up]).T
        place, (rows, columns) = self.window(*self.project(*corners))
        if not rows.size or normal @ (eye - origin) <= 0:
            return
        ray = np.stack([columns - self.middle, self.horizon - rows, np.full(rows.shape, self.focal)], -1)
        spot = eye + ray * (normal @ (origin - eye) / (ray @ normal))[..., None]
        u, v = (spot - origin) @ along / w, (spot - origin) @ up / h
        colour, shade, alpha = shader(u, v, w, h)
        sun = max(normal @ SUN, 0) * self.sunshine(*np.moveaxis(spot + 0.3 * normal, -1, 0)) * shade
        light = sun[..., None] * SUNLIGHT + shade[..., None] * (0.6 + 0.4 * normal[1]) * SKYLIGHT
        self.paint(place, colour * light, (u >= 0) & (u <= w) & (v >= 0) & (v <= h) & alpha, origin[2])
