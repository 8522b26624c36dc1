"""Draw the sample photograph: a village by a river, seen from the other bank on a late afternoon.

``python -m stylecore.samples.photograph photograph.jpg``

Everything is painted from far to near, in linear light and metres, then reflected in the water and tone-mapped like a
photograph.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, map_coordinates

from stylecore.samples._motifs import boat, church, house, masonry, tree
from stylecore.samples._scene import EYE, SKYLIGHT, SUN, SUNLIGHT, Numbers, Scene, noise

BANK, FAR = 90.0, 3800.0  # distances of the far bank and of the last mountains


def ground(x: Numbers, z: Numbers) -> np.ndarray:
    """Height of the land: quay, village slope, wooded hills, mountains."""
    slope = 2.2 + 0.24 * np.clip(z - BANK - 14, 0, 120)
    hills = 170 * np.clip((z - 230) / 1200, 0, 1)
    hills *= 0.75 + 0.42 * noise.fractal(x / 420 + 3.3, z / 500 + 9, 5, 0.42)
    peaks = 330 * np.clip((z - 1500) / 2000, 0, 1)
    peaks *= 0.9 + 0.5 * noise.fractal(x / 900 + 41, z / 1500, 6, 0.45)
    return slope + np.maximum(hills, 0) + np.maximum(peaks, 0) + canopy(x, z)


def canopy(x: Numbers, z: Numbers) -> np.ndarray:
    """Height of the treetops of the woods."""
    return 3.2 * np.clip((z - 205) / 40, 0, 1) * (1 + noise.fractal(x / 5, z / 5, 3, 0.7))


def sky(scene: Scene) -> None:
    """Paint the blue sky, and a level layer of clouds that shade each other."""
    rows, columns = np.mgrid[0 : scene.light.shape[0], 0 : scene.light.shape[1]]
    rise = np.maximum((scene.horizon - rows) / scene.focal, 0)
    pale = np.exp(-rise / 0.16)[..., None]
    scene.light[:] = pale * (1.0, 0.95, 0.88) + (1 - pale) * (0.10, 0.25, 0.62)
    far = 1 / (rise + 0.12)
    u, v = (columns - scene.middle) / scene.focal * far * 1.5 + 40, far * 1.3 + 3

    def cover(u, v):
        bend = 0.15 * noise.fractal(2 * u + 9, 2 * v, 3)
        scales = 2.0 ** np.arange(5)
        folds = (np.abs(noise(2.2 * u * s + 5 * i + bend, 2.2 * v * s + bend)) / s for i, s in enumerate(scales))
        return 0.9 + 0.75 * noise.fractal(0.8 * u, 0.8 * v, 3) - 0.65 * sum(folds)

    density = cover(u, v)
    alpha = np.clip((density - 0.12) * 1.6, 0, 1) ** 0.8 * np.clip(rise / 0.08, 0, 1)
    bright = np.clip(0.64 + 0.7 * (density - cover(u - 0.10, v - 0.16)) - 0.2 * density, 0, 1)[..., None]
    cloud = bright * (1.9, 1.7, 1.45) + (1 - bright) * (0.36, 0.42, 0.54)
    scene.light += alpha[..., None] * (cloud - scene.light)


def land(scene: Scene, z: float, step: float) -> None:
    """Paint the slice of ground at distance z; the next slice, at z * step, will hide its lower part."""
    x = (np.arange(scene.light.shape[1]) + 0.5 - scene.middle) / scene.focal * z
    y, nearer = ground(x, z), ground(x * step, z * step)
    tilt_x = np.gradient(y, x)
    tilt_z = (nearer - y - tilt_x * x * (step - 1)) / (z * (step - 1))
    normal = np.stack([-tilt_x, np.ones(x.shape), -tilt_z], -1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    grass = np.array([0.15, 0.18, 0.05]) * (1 + 0.3 * noise.fractal(x / 2, z / 2, 4))[:, None]
    hollow = np.clip(0.45 + 0.1 * canopy(x, z), 0, 1.3)  # dark between the treetops
    hollow *= np.clip(1 + 0.4 * noise.fractal(x / 4, z / 4, 3), 0.3, 2)
    leaves = np.array([0.075, 0.115, 0.035]) * hollow[:, None]
    wood = np.clip((z - 200) / 40 + 0.3 * noise(x / 9, z / 9), 0, 1)[:, None]
    field = np.clip(2 * noise(x / 120 + 5, z / 160) - 1.4, 0, 1)[:, None] * (z > 320)
    colour = grass + wood * (leaves - grass)
    colour += field * (np.array([0.30, 0.26, 0.09]) - colour)
    sun = np.clip(normal @ SUN, 0, None) * (scene.sunshine(x, y + 0.1, np.full(x.shape, z)) if z < 260 else 1)
    light = sun[:, None] * SUNLIGHT + (0.4 + 0.6 * normal[:, 1:2] ** 2) * SKYLIGHT
    top, below = scene.project(x, y, z)[1], scene.project(x * step, nearer, z * step)[1]
    rows = slice(int(max(np.min(top), 0)), int(min(np.max(below) + 3, len(scene.light))))
    scene.paint(rows, colour * light, np.clip(np.arange(rows.start, rows.stop)[:, None] + 1 - top, 0, 1), z)


def village(scene: Scene, rng: np.random.Generator) -> None:
    """Paint land, houses, church and trees from far to near."""
    # Arguments of the motifs, with x and z first and without scene, rng and y.
    houses: list[tuple] = []
    trees: list[tuple] = []
    for row, z in enumerate((95, 112, 129, 147, 166, 187)):
        x = -0.4 * z - 8.0
        while x < 0.4 * z + 8:
            w, d, storeys = rng.uniform(8, 12.5), rng.uniform(8, 10), rng.integers(2, 4) if row < 3 else 2
            yaw = rng.uniform(-0.3, 0.3) + (np.pi / 2 if rng.random() < 0.45 else 0)
            if rng.random() < (0.92 if row < 2 else 0.7):
                houses.append((x + w / 2, z + rng.uniform(0, 4), w, d, storeys, yaw, rng.random() < 0.3))
            else:
                trees.append((x + w / 2, z + 5, rng.uniform(7, 11), 1))
            x += w + rng.uniform(0.5, 3) + (row > 1) * rng.uniform(0, 8)
    for z in rng.uniform(108, 204, 80):
        trees.append((rng.uniform(-0.4, 0.4) * z, z, rng.uniform(6, 11), rng.choice([1, 0.4])))
    trees += [(x, 92, tall, 1) for x, tall in ((-33, 6), (-14, 5), (-9, 6), (17, 5), (29, 6), (33, 5))]
    cast_shadows(scene, houses, trees)

    step = (BANK / FAR) ** (1 / 700)
    scenery: list[tuple[float, Callable[..., None], tuple]] = []
    scenery += [(z, land, (z, step)) for z in FAR * step ** np.arange(701)]
    motifs: list[tuple[Callable[..., None], list[tuple]]] = [(house, houses), (tree, trees), (church, [(15, 140)])]
    for motif, places in motifs:
        for x, z, *rest in places:
            y = ground(x, z + (rest[1] / 2 if motif is house else 0))
            scenery.append((z, motif, (rng, x, y, z, *rest)))
    for _, paint, arguments in sorted(scenery, key=lambda item: -item[0]):
        paint(scene, *arguments)

    def quay(u, v, w, h):
        wet = np.clip(1.3 * v + 0.3, 0, 1)[..., None]
        return masonry((0.42, 0.38, 0.32), u, v, 3, (1.1, 0.45)) * wet, np.where(v > h - 0.3, 1.4, 1), u >= 0

    scene.panel(np.array([-60, 0, BANK]), np.array([120.0, 0, 0]), np.array([0, 2.4, 0]), quay)


def cast_shadows(scene: Scene, houses: list[tuple], trees: list[tuple]) -> None:
    """Draw land, houses and trees into the map of heights."""
    grid_z, grid_x = np.mgrid[0:400, -200:200]
    scene.tops = ground(grid_x, grid_z)
    for x, z, w, d, storeys, yaw, _ in houses:
        dx, dz = grid_x - x, grid_z - z - d / 2
        along, off = dx * np.cos(yaw) + dz * np.sin(yaw), np.abs(dz * np.cos(yaw) - dx * np.sin(yaw))
        inside = (np.abs(along) < w / 2) & (off < d / 2)
        scene.tops[inside] = (ground(x, z + d / 2) + 2.9 * storeys + 0.48 * (d - 2 * off))[inside]
    for x, z, tall, slim in trees:
        inside = np.hypot(grid_x - x, grid_z - z) < 0.3 * tall * slim
        scene.tops[inside] = ground(x, z) + 0.8 * tall


def water(scene: Scene) -> None:
    """Reflect the land in the river, distorted by ripples that perspective flattens far away."""
    shore = scene.horizon + scene.focal * EYE / BANK
    rows, columns = np.mgrid[int(shore) : len(scene.light), 0 : scene.light.shape[1]] + 0.5
    z = EYE * scene.focal / (rows - scene.horizon)
    x = (columns - scene.middle) / scene.focal * z
    wave = noise.fractal(x / 2.2, z / 1.3, 5, 0.55)
    swell = noise(x / 9, z / 14) + 0.5
    tilt = (noise.fractal(x / 2.2, (z + 0.15) / 1.3, 5, 0.55) - wave) * np.clip(0.4 + 0.6 * swell, 0.15, 1.5)
    lift = 0.16 * len(scene.light) * tilt * np.clip((rows - shore) / (0.1 * len(scene.light)), 0.08, 1)
    mirror = [np.clip(2 * shore - rows - np.abs(lift) * 0.4 - lift, 0, shore - 1), columns + 0.25 * lift]
    soft = gaussian_filter(scene.light, (0.002 * len(scene.light), 0.001 * len(scene.light), 0))
    seen = np.stack([map_coordinates(soft[..., c], mirror, order=1, mode="nearest") for c in range(3)], -1)
    steep = np.clip((rows - shore) / (len(scene.light) - shore), 0, 1)[..., None]
    clear = np.clip(0.88 - 0.42 * steep + 0.8 * tilt[..., None], 0.25, 0.95)
    scene.light[int(shore) :] = seen * clear + (1 - clear) * np.array([0.045, 0.085, 0.075])


def develop(light: np.ndarray) -> np.ndarray:
    """Tone mapping: glow, vignette and film curve.

    Parameters
    ----------
    light : ndarray, (H, W, 3)
        Linear, zero or more.

    Returns
    -------
    ndarray, (H, W, 3)
        sRGB, mostly in [0, 1].
    """
    height, width = light.shape[:2]
    glow = gaussian_filter(np.clip(light - 0.9, 0, None), (0.012 * width, 0.012 * width, 0))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    exposed = (light + 0.4 * glow) * (1 - 0.16 * (x**2 + y**2))[..., None]
    film = (1 - np.exp(-1.35 * np.clip(exposed, 0, None))) ** (1 / 2.2)
    return film + 0.25 * (film - 0.55) * (1 - (2 * film - 1) ** 2)


def draw(width: int = 768) -> Image.Image:
    """Draw the photograph.

    Parameters
    ----------
    width : int
        In pixels; the height is three quarters of it.

    Returns
    -------
    PIL.Image.Image
    """
    rng = np.random.default_rng(7)
    scene = Scene(2 * width, 2 * (width * 3 // 4))
    sky(scene)
    village(scene, rng)
    water(scene)
    boat(scene, -7.5, 33, 2.4)
    boat(scene, 11, 62, 2.4)
    photo = develop(scene.light)
    photo = photo.reshape(-1, 2, width, 2, 3).mean(axis=(1, 3))
    photo += 0.012 * gaussian_filter(rng.normal(size=photo.shape[:2]), 0.6)[..., None]
    return Image.fromarray(np.uint8(np.clip(photo, 0, 1) * 255 + 0.5))


if __name__ == "__main__":
    draw().save(sys.argv[1] if len(sys.argv) > 1 else "photograph.jpg", quality=88)
