import numpy as np
import pytest
from PIL import Image, ImageDraw


@pytest.fixture
def house():
    """A drawing of a house with a door, dark on white, (160, 160)."""
    sheet = Image.new("L", (160, 160), "white")
    draw = ImageDraw.Draw(sheet)
    draw.rectangle([40, 70, 120, 140], outline="black", width=3)
    draw.polygon([(30, 70), (80, 20), (130, 70)], outline="black", width=3)
    draw.rectangle([72, 100, 96, 140], outline="black", width=3)
    return np.asarray(sheet, np.float32) / 255


@pytest.fixture
def photo():
    """A photograph of a red disc with a yellow core on a green ground with noise, (96, 128, 3)."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:96, :128]
    distance = np.hypot(rows - 48, columns - 64)
    picture = np.full((96, 128, 3), (0.2, 0.45, 0.2))
    picture[distance < 30] = (0.8, 0.1, 0.1)
    picture[distance < 14] = (0.9, 0.8, 0.1)
    return (picture + rng.normal(0, 0.02, picture.shape)).clip(0, 1).astype(np.float32)
