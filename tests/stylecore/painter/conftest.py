"""A small painter with random parameters, and pictures to train on."""

import numpy as np
import pytest
from PIL import Image

from stylecore.painter.architecture import stages
from stylecore.painter.files import PainterWeights, shapes

TABLE = stages((16, 16, 16), 1)
NAMES = ("waves", "dots", "night")


@pytest.fixture(scope="session")
def weights():
    rng = np.random.default_rng(3)
    arrays = {
        (stage, name): (0.2 if name == "filters" else 1) * rng.standard_normal(shape).astype(np.float32)
        for (stage, name), shape in shapes(TABLE, len(NAMES)).items()
    }
    return PainterWeights(NAMES, TABLE, arrays, "a test")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder with ten photographs in two subfolders, and two style images."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    down, right = np.mgrid[:40, :48] / 10
    for number in range(10):
        place = folder / "photographs" / ("even", "odd")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        a, b, c = rng.uniform(0, 3, 3)
        waves = 0.5 + 0.5 * np.sin(np.stack([a * down + b, b * right + c, c * (down + right)], axis=2))
        Image.fromarray((255 * waves).astype(np.uint8)).save(place / f"{number}.png")
    for name in ("stripes", "noise"):
        values = (
            rng.random((40, 40, 3)) if name == "noise" else (np.arange(40) % 4 < 2)[:, None, None] * np.ones((1, 40, 3))
        )
        Image.fromarray((255 * values).astype(np.uint8)).save(folder / f"{name}.png")
    return folder
