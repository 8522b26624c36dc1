"""Pictures that a painter makes: the same in strips as in one piece."""

import numpy as np
import pytest

from stylecore import memory
from stylecore.errors import TooLargeError
from stylecore.kernels import reference
from stylecore.painter import painting
from stylecore.painter.model import PainterModel
from stylecore.painter.painting import Painter
from stylecore.painter.training import named_arrays

from .conftest import TABLE

pytestmark = pytest.mark.slow  # Most of it is compiled for these tests only.


@pytest.fixture
def painter(weights):
    return Painter(weights)


def reference_painting(weights, photograph, mixture):
    model = PainterModel(TABLE, len(weights.styles), reference, "float64")
    for key, array in named_arrays(model).items():
        array[...] = weights.arrays[key]
    model.set_styles(mixture[None])
    return model.forward(photograph[None].astype(np.float64))[0]


@pytest.mark.parametrize("shape", [(16, 16), (24, 44), (100, 36)])
def test_a_picture_is_that_of_the_reference(painter, weights, shape):
    photograph = np.random.default_rng(0).random((*shape, 3)).astype(np.float32)
    style = {"waves": 1, "night": 2}
    expected = reference_painting(weights, photograph, weights.mixture(style))
    np.testing.assert_allclose(painter.paint_array(photograph, style), expected, atol=2e-4)


@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (17, 18), (101, 39)])
def test_any_size_is_painted(painter, shape):
    photograph = np.random.default_rng(0).random((*shape, 3)).astype(np.float32)
    painted = painter.paint_array(photograph)
    assert painted.shape == photograph.shape and painted.dtype == np.float32
    assert np.isfinite(painted).all() and painted.min() >= 0 and painted.max() <= 1


@pytest.mark.parametrize("on_disk", [False, True])
def test_strips_make_the_same_picture(painter, on_disk, monkeypatch):
    photograph = np.random.default_rng(0).random((148, 60, 3)).astype(np.float32)
    whole = painter.paint_array(photograph, "dots")
    monkeypatch.setattr(painting, "STORED_VALUES", 0)
    monkeypatch.setattr(painting, "STRIP_VALUES", 1)
    if on_disk:
        monkeypatch.setattr(painting, "SMALL", 0)
        monkeypatch.setattr(Painter, "bytes", lambda *given: 0)
        monkeypatch.setattr(memory, "available", lambda: 1)
    np.testing.assert_allclose(painter.paint_array(photograph, "dots"), whole, atol=1e-4)


def test_a_picture_that_does_not_fit_into_memory_is_refused(painter, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 10**6)
    with pytest.raises(TooLargeError, match=r"32 x 16 pixels needs 0\.1 GB of memory and 0\.0 GB are free; choose"):
        painter.paint_array(np.zeros((16, 32, 3), np.float32))


def test_a_full_disk_ends_in_a_sentence(painter, monkeypatch):
    monkeypatch.setattr(Painter, "bytes", lambda *given: 0)
    monkeypatch.setattr(painting, "SMALL", 0)
    monkeypatch.setattr(memory, "available", lambda: 1)

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(painting.os, "posix_fallocate", fail, raising=False)
    with pytest.raises(TooLargeError, match="neither memory nor disk"):
        painter.paint_array(np.zeros((16, 16, 3), np.float32))


def test_a_photograph_is_resized(painter):
    assert painter.paint(np.zeros((30, 60, 3)), size=40).size == (40, 20)
    assert painter.paint(np.zeros((30, 60, 3)), {"dots": 2.0}).size == (60, 30)
