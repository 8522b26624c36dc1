"""Draw the sample painting: evening light over a bay, in thick strokes of a bristle brush.

``python -m stylecore.samples.painting painting.jpg``

Lengths are in units of the picture's width; x points to the right and y down.
"""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from stylecore.samples._noise import Noise

PAINT = {
    "night": (14, 20, 48),
    "ultramarine": (27, 42, 128),
    "cobalt": (38, 92, 186),
    "sky": (116, 168, 214),
    "teal": (18, 122, 130),
    "foam": (232, 228, 206),
    "yellow": (247, 200, 62),
    "ochre": (204, 138, 42),
    "umber": (92, 56, 30),
    "vermilion": (214, 66, 36),
}
NAMES = list(PAINT)
# Lights in the sky, around which the paint swirls: x, y, radius, direction of the swirl.
LIGHTS = [
    (0.70, 0.19, 0.115, 1),
    (0.26, 0.14, 0.085, -1),
    (0.47, 0.31, 0.06, 1),
    (0.93, 0.36, 0.05, -1),
    (0.07, 0.33, 0.05, 1),
]
# The layers of paint: number of strokes, and their length and width.
LAYERS = [(1500, 0.120, 0.0220), (5000, 0.080, 0.0120), (8000, 0.050, 0.0080), (8000, 0.030, 0.0052)]
noise = Noise(3)


def horizon(x: np.ndarray) -> np.ndarray:
    """The y at which the hills of the far shore end against the sky, at each x."""
    return 0.455 - 0.045 * np.clip(noise.fractal(3 * x + 5, 0 * x, 4), -0.8, 1.5)


def shore(x: np.ndarray) -> np.ndarray:
    """The y at which the near shore begins, at each x."""
    return 0.70 - 0.16 * np.exp(-(((x - 0.02) / 0.34) ** 2)) + 0.012 * noise.fractal(8 * x, 0 * x + 9, 3)


def flow(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Direction of the brush: the curl of a noisy potential, which swirls around the lights and is calm on the water.

    Parameters
    ----------
    x, y : ndarray, (n,)

    Returns
    -------
    ndarray, (n, 2)
        Unit vectors.
    """

    def wind(x, y):
        return 0.06 * y + 0.017 * noise.fractal(4.5 * x, 4.5 * y, 2)

    def potential(x, y):
        whirl, sky = 0, wind(x, y)
        for cx, cy, radius, turn in LIGHTS:
            near = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (1.7 * radius) ** 2)
            whirl, sky = whirl + 0.30 * turn * radius * near, sky + (wind(cx, cy) - sky) * near
        waves = 0.35 * y + 0.006 * noise.fractal(7 * x, 22 * y, 2)
        meadow = 0.12 * (0.55 * x + y) + 0.016 * noise.fractal(7 * x, 7 * y, 2)
        return np.where(y < 0.5, whirl + sky, np.where(y < shore(x), waves, meadow))

    e = 1e-3
    dx = potential(x, y + e) - potential(x, y - e)
    dy = potential(x - e, y) - potential(x + e, y)
    return np.stack([dx, dy], -1) / (np.hypot(dx, dy) + 1e-9)[:, None]


def colours(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, layer: int) -> np.ndarray:
    """Colours of strokes: two for each, as a brush also picks up the paint beside it.

    Parameters
    ----------
    rng : numpy.random.Generator
    x, y : ndarray, (n,)
        Starting points of the strokes.
    layer : int

    Returns
    -------
    ndarray, (2, n, 3)
        sRGB, mostly in [0, 1].
    """
    choice = np.empty((2, len(x)), int)
    bands = noise.fractal(4 * x + 20, 8 * y, 3) + 0.5 * rng.normal(size=(2, len(x)))

    def fill(where, steps, *names):
        """Choose one of the paints by the bands of noise, with the steps as thresholds."""
        pick = np.array([NAMES.index(name) for name in names])[np.digitize(bands, steps)]
        choice[:, where] = pick[:, where]

    fill(y < 9, (-0.8, 0.2, 0.9, 1.6), "night", "ultramarine", "cobalt", "sky", "foam")
    for cx, cy, radius, _ in LIGHTS:
        ring = np.hypot(x - cx, y - cy) / radius + 0.06 * rng.normal(size=len(x))
        fill((ring < 1.75) & (ring > 1.2), (-0.5, 0.6), "teal", "sky", "foam")
        fill((ring < 1.2) & (ring > 0.85), (-0.3, 0.5), "teal", "ochre", "yellow")
        fill((ring < 0.85) & (ring > 0.42), (-0.6, 0.9), "ochre", "yellow", "foam")
        fill(ring < 0.42, (-0.9, 0.2), "yellow", "foam", "foam")
    fill(y > horizon(x), (-0.4, 0.5, 1.2), "night", "ultramarine", "teal", "cobalt")
    fill(y > 0.505, (-0.8, 0.0, 0.8, 1.6), "ultramarine", "teal", "cobalt", "sky", "foam")
    middle = LIGHTS[0][0] + 0.05 * noise(9 * y, 0 * y)
    glitter = np.abs(x - middle) / (0.03 + 0.35 * (y - 0.5)) + 0.4 * rng.normal(size=len(x))
    fill((y > 0.505) & (glitter < 0.55), (-0.6, 0.7), "ochre", "yellow", "foam")
    ground = y > shore(x)
    fill(ground, (-0.9, -0.3, 0.5, 2.1), "umber", "teal", "ochre", "yellow", "foam")
    poppies = ground & (noise(14 * x, 14 * y) > 0.5) & (rng.random(len(x)) < 0.25) & (layer > 1)
    choice[:, poppies] = NAMES.index("vermilion")
    paint = np.array(list(PAINT.values()))[choice] / 255
    return paint * (1 + 0.08 * rng.normal(size=(1, len(x), 1)))


def stroke(
    canvas: np.ndarray, relief: np.ndarray, rng: np.random.Generator, path: np.ndarray, width: float, paint: np.ndarray
) -> None:
    """Draw the stroke of a brush, whose bristles leave streaks and run dry at the end.

    Parameters
    ----------
    canvas : ndarray, (H, W, 3)
    relief : ndarray, (H, W)
        Thickness of the paint.
    rng : numpy.random.Generator
    path : ndarray, (n, 2)
        In pixels.
    width : float
        In pixels.
    paint : ndarray, (2, 3)
        Two colours.
    """
    along = np.arange(0, len(path) - 1, 0.5 / max(np.hypot(*(path[1] - path[0])), 0.5))
    across = np.linspace(-1, 1, max(4, int(width * 1.6)))
    point = np.stack([np.interp(along, np.arange(len(path)), path[:, i]) for i in (0, 1)], -1)
    tangent = np.gradient(point, axis=0)
    tangent /= np.hypot(*tangent.T)[:, None] + 1e-9
    t = along / along[-1]
    body = np.sqrt(np.clip(1 - (2 * t - 1) ** 6, 0, 1)) * width / 2
    columns = point[:, :1] - tangent[:, 1:] * across * body[:, None]
    rows = point[:, 1:] + tangent[:, :1] * across * body[:, None]
    bristle = gaussian_filter(rng.normal(size=across.size), 0.7)
    bristle /= bristle.std() + 1e-9
    streak = 0.75 * bristle + 0.5 * rng.normal(size=(len(t) // 12 + 2, across.size))[np.arange(len(t)) // 12]
    wet = streak > 4.5 * (t[:, None] - 0.75) - 1.1
    wet &= (rows >= 0) & (rows < canvas.shape[0]) & (columns >= 0) & (columns < canvas.shape[1])
    place = rows[wet].astype(int), columns[wet].astype(int)
    mix = np.clip(0.5 + 0.5 * bristle + 0.5 * across, 0, 1)[:, None]
    colour = (paint[0] * mix + paint[1] * (1 - mix)) * (1 + 0.09 * bristle[:, None])
    canvas[place] = np.broadcast_to(colour, (*rows.shape, 3))[wet]
    ridge = 0.55 + 0.25 * streak + 0.9 * across**4  # the brush pushes paint to its edges
    relief[place] = 0.45 * relief[place] + ridge[wet] * width**0.5


def draw(width: int = 768) -> Image.Image:
    """Draw the painting.

    Parameters
    ----------
    width : int
        In pixels; the height is three quarters of it.

    Returns
    -------
    PIL.Image.Image
    """
    rng, bristles = np.random.default_rng(5), np.random.default_rng(6)
    wide, high = 2 * width, 2 * (width * 3 // 4)
    canvas = np.full((high, wide, 3), PAINT["night"], np.float32) / 255
    relief = np.zeros((high, wide), np.float32)
    for layer, (count, length, thickness) in enumerate(LAYERS):
        spot = rng.random((count, 2)) * (1.04, 0.79) - 0.02
        paint = colours(rng, spot[:, 0], spot[:, 1], layer)
        steps = 14
        points = [spot]
        for _ in range(steps):
            points.append(points[-1] + flow(*points[-1].T) * length / steps)
        paths = np.stack(points, 1) * wide
        shrink = rng.uniform(0.55, 1.15, count)
        for i in range(count):
            n = max(4, int((steps + 1) * min(1, shrink[i])))
            stroke(canvas, relief, bristles, paths[i, :n], thickness * wide * shrink[i], paint[:, i])
    relief = gaussian_filter(relief, 0.8) / (wide / 1536) ** 0.5
    dy, dx = np.gradient(relief)
    light = np.clip(1 + 0.16 * (dx + dy), 0.55, 1.6)[..., None]  # from the upper left
    shine = np.clip(0.5 * (dx + dy) - 0.75, 0, 0.5)[..., None]
    picture = canvas * light + 0.35 * shine
    picture = picture.reshape(high // 2, 2, width, 2, 3).mean(axis=(1, 3))
    return Image.fromarray(np.uint8(np.clip(picture, 0, 1) * 255 + 0.5))


if __name__ == "__main__":
    draw().save(sys.argv[1] if len(sys.argv) > 1 else "painting.jpg", quality=80)
