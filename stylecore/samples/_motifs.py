"""The motifs of the sample photograph: houses, a church, trees and boats. Lengths are in metres."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from stylecore.samples._scene import SKYLIGHT, SUN, SUNLIGHT, Scene, noise

WALLS = [(0.80, 0.64, 0.38), (0.80, 0.76, 0.68), (0.74, 0.42, 0.24), (0.55, 0.60, 0.58), (0.76, 0.54, 0.40)]
SHUTTERS = [(0.10, 0.22, 0.16), (0.12, 0.18, 0.30), (0.30, 0.07, 0.05), (0.25, 0.14, 0.07)]
TILES = [(0.52, 0.16, 0.07), (0.42, 0.14, 0.08), (0.33, 0.16, 0.11), (0.22, 0.19, 0.19)]


def masonry(
    colour: ArrayLike, u: np.ndarray, v: np.ndarray, seed: float, stone: tuple[float, float] = (0.9, 0.45)
) -> np.ndarray:
    """Colour of stained plaster or, with small stones, of brick and ashlar.

    Parameters
    ----------
    colour : array_like, (3,)
        Mean colour in linear light.
    u, v : ndarray
        Positions on the wall; v is the height.
    seed : float
        Offset in the noise, so that walls differ.
    stone : tuple of float
        Width and height of a stone.

    Returns
    -------
    ndarray, (..., 3)
    """
    row = np.floor(v / stone[1])
    each = noise(np.floor(u / stone[0] + row % 2 / 2) * 1.7 + seed, row * 1.9)
    stains = 1 + 0.13 * noise.fractal(u / 2 + seed, v / 3, 4) + 0.12 * each
    return np.array(colour) * (np.clip(stains, 0.4, 1.4) * (1 - 0.35 * np.exp(-v / 0.7)))[..., None]


def house(
    scene: Scene,
    rng: np.random.Generator,
    x: float,
    y: float,
    z: float,
    w: float,
    d: float,
    storeys: int,
    yaw: float,
    timbered: bool,
) -> None:
    """Paint a gabled house.

    Parameters
    ----------
    scene : Scene
    rng : numpy.random.Generator
    x, y, z : float
        Centre of the front at ground level.
    w, d : float
        Width, along which the ridge runs, and depth.
    storeys : int
    yaw : float
        Angle of the width against the x axis, in radians.
    timbered : bool
        Whether its front is half-timbered.
    """
    eaves, rise, seed = 2.9 * storeys + 1.5, d * rng.uniform(0.42, 0.55), rng.uniform(0, 99)
    wall, shutter, tile = (np.array(c[rng.integers(len(c))]) for c in (WALLS, SHUTTERS, TILES))
    across, back, up = np.array([[np.cos(yaw), 0, np.sin(yaw)], [-np.sin(yaw), 0, np.cos(yaw)], [0, 1, 0]])
    base = np.array([x, y - 1.5, z + d / 2])  # the lowest part is in the slope
    curtains = rng.random((20, 20))

    def facade(u, v, w, h):
        gable = np.clip((v - eaves) / rise, 0, 1)
        n, storey = max(1, round(w / 2.5)), np.floor((v - 1.5) / 2.9)
        column, level = np.floor(u / w * n), (v - 1.5) % 2.9
        side = np.abs((u / w * n) % 1 - 0.5) * w / n
        colour = masonry(wall, u, v, seed, (9, 9))
        beams = (level < 0.22) | (side > w / n / 2 - 0.12) | (np.abs(side - level * 0.42) < 0.1)
        colour[timbered & beams & (v > 4.4)] = (0.12, 0.065, 0.04)
        live = (v < eaves) | (gable < 0.5) & (column == n // 2) & (n % 2 == 1)
        live &= storey >= 0
        colour[live & (side < 1.08) & (np.abs(level - 1.63) < 0.83) & (not timbered)] = shutter
        colour[live & (side < 0.64) & (np.abs(level - 1.63) < 0.87)] = 0.78
        pane = live & (np.abs(side - 0.27) < 0.22)
        pane &= (np.abs(level - 1.63) < 0.74) & (np.abs(level - 1.8) > 0.05)
        glass = curtains[storey.astype(int) % 20, column.astype(int) % 20] * np.clip(level - 0.7, 0, 2)
        colour[pane] = (np.array([0.04, 0.055, 0.08]) * (0.4 + 1.8 * glass[..., None]))[pane]
        colour[(storey <= 0) & (column == int(seed) % n) & (side < 0.6) & (v < 3.8)] = 0.7 * shutter
        reach = eaves - v if h < eaves + 1e-6 else w / 2 * (1 - gable) - np.abs(u - w / 2)
        return colour, 0.45 + 0.55 * np.clip(reach / 0.5, 0, 1), reach >= 0

    def tiles(u, v, w, h):
        row = np.floor(v / 0.36)
        tone = 0.16 * noise(np.floor(u / 0.3 + row % 2 / 2) * 1.7 + seed, row * 1.3)
        tone += 0.2 * noise.fractal(u / 2.5 + seed, v / 1.5, 4)
        return tile * np.clip(1 + tone, 0.2, 2)[..., None], 0.7 + 0.4 * (v / 0.36 % 1), u >= 0

    def brick(u, v, w, h):
        return masonry((0.36, 0.2, 0.15), u, v, seed, (0.4, 0.2)), np.where(v > h - 0.3, 1.3, 1), u >= 0

    def roof(slope):
        reach = 1 + 1.1 / d  # the eaves project by 0.55 m
        start = base + slope + up * eaves - reach * slope
        length = across if slope @ back > 0 else -across
        scene.panel(start - length * (w / 2 + 0.55), length * (w + 1.1), slope * reach, tiles)

    corner = base - across * w / 2 - back * d / 2
    scene.panel(corner + back * d, -back * d, up * (eaves + rise), facade)
    scene.panel(corner + across * w, back * d, up * (eaves + rise), facade)
    scene.panel(corner, across * w, up * eaves, facade)
    roof(-back * d / 2 + up * rise)
    flue = base + across * w * rng.uniform(-0.3, 0.3) + up * (eaves + rise - 1)
    scene.panel(flue + back, -back, up * 2.4, brick)
    scene.panel(flue, across * 0.9, up * 2.4, brick)
    roof(back * d / 2 + up * rise)


def church(scene: Scene, _: np.random.Generator, x: float, y: float, z: float) -> None:
    """Paint a square tower with a spire and a clock at (x, y, z)."""
    base, stone = np.array([x, y - 1, z]), (0.62, 0.55, 0.44)

    def tower(u, v, w, h):
        colour = masonry(stone, u, v, 5)
        middle = np.abs(u - w / 2)
        arch = np.abs(middle - 0.9)
        bell = (arch < 0.5) & (np.abs(v - h + 3) < 1.5 - 1.2 * arch)
        colour[bell | (middle < 0.35) & (np.abs(v - h * 0.45) < 1.1)] = 0.03
        dial = np.hypot(u - w / 2, v - h + 7)
        colour[dial < 1.5] = 0.1
        colour[dial < 1.25] = 0.85
        colour[(dial < 1.1) & (middle < 0.14) & (v > h - 7)] = 0.05
        ledge = (v > h - 0.6) | (np.abs(v - h + 9.3) < 0.25)
        return colour, np.where(ledge, 1.25, 1), u >= 0

    def slate(u, v, w, h):
        tone = 0.9 + 0.25 * noise.fractal(u * 2, v, 3) + 0.15 * (v * 2 % 1)
        triangle = np.abs(u - w / 2) <= w / 2 * (1 - v / h)
        return np.array([0.13, 0.17, 0.19]) * tone[..., None], np.ones(u.shape), triangle

    up, w = np.array([0, 1.0, 0]), 6.5
    for turn in (0.3 + np.pi / 2, 0.3 - np.pi / 2, 0.3):
        along, out = np.array([np.cos(turn), 0, np.sin(turn)]), np.array([np.sin(turn), 0, -np.cos(turn)])
        scene.panel(base + (out - along) * w / 2, along * w, up * 25, tower)
        tip = up * 17 - out * w / 2 * 1.1
        scene.panel(base + up * 25 + (out - along) * w / 2 * 1.1, along * w * 1.1, tip, slate)


def tree(scene: Scene, rng: np.random.Generator, x: float, y: float, z: float, tall: float, slim: float) -> None:
    """Paint a tree: a crown of a few boughs, each a ball of clumps of leaves that are lit by the sun.

    Parameters
    ----------
    scene : Scene
    rng : numpy.random.Generator
    x, y, z : float
        Foot of the trunk.
    tall : float
        Height.
    slim : float
        Factor of the crown's width.
    """

    def bark(u, v, w, h):
        return masonry((0.10, 0.07, 0.05), u, v, x, (0.1, 0.5)), np.ones(u.shape), u >= 0

    hue = np.array([0.085, 0.12, 0.03]) * rng.uniform(0.75, 1.25, 3) * rng.uniform(0.8, 1.3)
    sun = scene.sunshine(np.array([x - 0.4 * tall]), y + 0.8 * tall, np.array([z]))
    right, up = np.array([[0.4, 0, 0], [0, 0.4 * tall, 0]])
    scene.panel(np.array([x - 0.2, y, z]), right, up, bark)
    scale, ways = scene.focal / z * tall, rng.normal(size=(260, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    clumps = 0.42 * ways + 0.75 * (ways[:9] * rng.random((9, 1)) ** 0.4)[rng.integers(9, size=260)]
    for i in np.argsort(-clumps[:, 2]):
        px, py = scene.project(x, y + tall * (0.56 + 0.34 * clumps[i, 1]), z)
        px, size = px + 0.33 * slim * scale * clumps[i, 0], scale * rng.uniform(0.03, 0.06)
        place, (rows, columns) = scene.window(px + size * np.array([-2, 2]), py + size * np.array([-2, 2]))
        dx, dy = (columns - px) / size, (rows - py) / size
        leaves = noise(dx * 2 + 7 * i, dy * 2)
        alpha = np.clip((1 - np.hypot(dx, dy) + 0.5 * leaves) * 3, 0, 1)
        face = 0.15 + 0.45 * ways[i] @ SUN + 0.3 * clumps[i] @ SUN + 0.3 * (dx * SUN[0] - dy * SUN[1])
        bright = np.clip(face + 0.25 * leaves, 0.02, 1.1)[..., None] * sun * SUNLIGHT
        scene.paint(place, hue * (bright + (0.5 + 0.3 * clumps[i, 1]) * SKYLIGHT), alpha, z)


def boat(scene: Scene, x: float, z: float, half: float) -> None:
    """Paint a rowing boat of length 2 * half on the water at (x, z), seen a little from above, and its reflection."""
    px, py = scene.project(x, 0, z)
    size = scene.focal / z
    corners = px + half * size * np.array([-1.1, 1.1]), py + size * np.array([-1.5, 1.2])
    place, (rows, columns) = scene.window(*corners)
    s, b = (columns - px) / size / half, (py - rows) / size
    ripple = 0.06 * noise.fractal(s * 2, b * 9, 3) * (b < 0)
    s, b = s + ripple, np.abs(b + ripple)
    sheer, beam = 0.55 + 0.35 * s**2, 0.24 * np.sqrt(np.clip(1 - np.abs(s) ** 2.6, 0, 1))
    near, keel = sheer - beam, 0.9 * np.abs(s) ** 7
    planks = 0.8 + 0.25 * ((b - keel) / (near - keel + 1e-3) * 4 % 1) + 0.1 * noise.fractal(s * 9, b * 30, 3)
    planks *= 1.15 - 0.5 * (s + 1)  # the bow turns away from the sun
    hull = np.array([0.62, 0.60, 0.52]) * (SUNLIGHT * 0.35 + SKYLIGHT) * planks[..., None]
    hull[np.abs(b - near + 0.1) < 0.07] *= (0.75, 0.10, 0.06)
    grain = 0.5 + 0.25 * noise.fractal(s * 4, b * 40, 3)
    floor = np.array([0.30, 0.17, 0.08]) * (SUNLIGHT * 0.4 + SKYLIGHT) * grain[..., None]
    floor[(np.abs(np.abs(s) - 0.32) < 0.06) | (np.abs(s) > 0.82)] *= 2.3
    rim = np.minimum(np.abs(b - near), np.abs(b - sheer - beam)) < 0.05
    colour = np.where(((b > near) & ~rim)[..., None], floor, hull)
    colour[rim] = np.array([0.32, 0.17, 0.07]) * (SUNLIGHT * 0.6 + SKYLIGHT)
    inside = (np.abs(s) < 1) & (b > keel) & (b < sheer + beam)
    scene.paint(place, colour, inside * np.where(rows > py, 0.5, 1), 0)
