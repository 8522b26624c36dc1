"""A small painter's camera: panels in perspective, behind haze, with the shadows of a sun."""

import numpy as np
from scipy.ndimage import map_coordinates

from stylecore.samples._noise import Noise

SUN = np.array([-0.76, 0.50, -0.42])  # unit vector towards it: left, above, a little behind the camera
SUNLIGHT, SKYLIGHT = np.array([3.3, 2.45, 1.5]), np.array([0.30, 0.40, 0.60])
HAZE, CLEARNESS = np.array([0.80, 0.84, 0.92]), 1900
EYE = 8.0
noise = Noise(1)


class Scene:
    """A picture in linear light, seen by a camera EYE metres above the water that looks along z.

    x points to the right, y up; `tops` is a map of heights that cast shadows, metre by metre, with x from
    -200 and z from 0.
    """

    def __init__(self, width, height):
        self.light = np.zeros((height, width, 3), np.float32)
        self.focal, self.middle, self.horizon = 1.3 * width, width / 2, 0.55 * height
        self.tops = np.zeros((400, 400))

    def project(self, x, y, z):
        """Find the pixel coordinates of a point."""
        return self.middle + self.focal * x / z, self.horizon - self.focal * (y - EYE) / z

    def sunshine(self, x, y, z):
        """Tell how much of the sun a point sees, 0 to 1, by walking towards it."""
        seen = np.ones(x.shape)
        for t in np.arange(1.5, 30, 1.5):
            top = map_coordinates(self.tops, [z + t * SUN[2], x + t * SUN[0] + 200], order=1)
            seen = np.minimum(seen, np.clip(0.5 + (y + t * SUN[1] - top) / (0.2 + 0.06 * t), 0, 1))
        return seen

    def window(self, px, py):
        """Cut out the pixels around some points: their place in the picture, rows and columns."""
        height, width = self.light.shape[:2]
        left, right = np.clip([np.min(px) - 1, np.max(px) + 2], 0, width).astype(int)
        top, bottom = np.clip([np.min(py) - 1, np.max(py) + 2], 0, height).astype(int)
        return (slice(top, bottom), slice(left, right)), np.mgrid[top:bottom, left:right] + 0.5

    def paint(self, place, light, alpha, z):
        """Blend light over a part of the picture, behind the haze of z metres of air."""
        clear = np.exp(-z / CLEARNESS)
        self.light[place] += alpha[..., None] * (clear * light + (1 - clear) * HAZE - self.light[place])

    def panel(self, origin, along, up, shader):
        """Paint the rectangle with a corner and two edges, if it faces the camera.

        `shader` maps positions in it and its size, in metres, to colour, shade and opacity.
        """
        w, h = np.linalg.norm(along), np.linalg.norm(up)
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
