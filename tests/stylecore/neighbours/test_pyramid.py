"""The Laplacian pyramid, its adjoint, and Adam on it."""

import numpy as np
import pytest

from stylecore.neighbours.pyramid import LaplacianPyramid, PyramidAdam
from stylecore.optimizers import Stopped

SHAPES = pytest.mark.parametrize("shape", [(16, 24), (13, 7), (1, 9), (1, 1)])


@SHAPES
def test_levels_make_up_the_picture(shape):
    picture = np.random.default_rng(0).random((*shape, 3))
    pyramid = LaplacianPyramid(*shape, levels=4)
    levels = pyramid.split(picture)
    assert [level.shape[:2] for level in levels] == pyramid.shapes
    assert len(levels) == (1 if shape == (1, 1) else 4)
    np.testing.assert_allclose(pyramid.join(levels), picture, rtol=1e-12)


def test_a_flat_picture_is_its_coarsest_level():
    *details, coarsest = LaplacianPyramid(20, 12, levels=8).split(np.full((20, 12, 3), 0.25))
    assert len(details) == 5 and coarsest.shape == (1, 1, 3)
    assert max(np.abs(level).max() for level in details) < 1e-12
    np.testing.assert_allclose(coarsest, 0.25)


@SHAPES
def test_the_gradient_is_the_adjoint(shape):
    rng = np.random.default_rng(1)
    pyramid = LaplacianPyramid(*shape, levels=4)
    levels = [rng.standard_normal((*each, 3)) for each in pyramid.shapes]
    gradient = rng.standard_normal((*shape, 3))
    by_levels = pyramid.join_backward(gradient)
    products = [np.vdot(level, by_level) for level, by_level in zip(levels, by_levels, strict=True)]
    assert sum(products) == pytest.approx(np.vdot(pyramid.join(levels), gradient), rel=1e-10)


def test_adam_moves_areas():
    """Every level takes a step of 2e-3, so that an area moves by several of them, and the loss falls."""
    target, pictures = np.full((16, 24, 3), 0.6, np.float32), []

    def function(x):
        pictures.append(x)
        return float(np.sum((x - target) ** 2)), 2 * (x - target)

    optimizer = PyramidAdam(np.full((16, 24, 3), 0.5, np.float32), 30)
    optimizer.run(function)
    assert len(pictures) == 30
    np.testing.assert_allclose(pictures[1] - pictures[0], 6 * 2e-3, rtol=1e-3)
    assert np.abs(optimizer.image - target).max() < 0.01
    assert optimizer.image.dtype == np.float32


def test_adam_returns_what_it_has_if_stopped_and_stays_in_range():
    def function(x):
        if len(calls) == 3:
            raise Stopped
        calls.append(x)
        return -float(x.sum()), -np.ones_like(x)

    calls = []
    optimizer = PyramidAdam(np.full((8, 8, 3), 0.999, np.float32), 30)
    optimizer.run(function)
    assert len(calls) == 3 and calls[-1].max() > 1 and optimizer.image.max() == 1
