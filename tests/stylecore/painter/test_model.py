"""The painter in training: its gradients against finite differences."""

import numpy as np
import pytest

from stylecore.kernels import cpu, reference
from stylecore.painter.model import PainterModel

from .conftest import TABLE

pytestmark = pytest.mark.slow  # Most of it is compiled for these tests only.


@pytest.mark.parametrize("backend", [reference, cpu], ids=["reference", "cpu"])
def test_the_gradient_agrees_with_finite_differences(backend):
    model, rng = PainterModel(TABLE, 3, backend, "float64"), np.random.default_rng(0)
    model.initialise(rng)
    model.values += 0.1 * rng.standard_normal(model.values.shape)
    x, dy = rng.random((2, 16, 20, 3)), rng.standard_normal((2, 16, 20, 3))
    model.set_styles(np.array([[0.3, 0.7, 0.0], [0.0, 0.0, 1.0]]))
    start = model.values.copy()

    def loss(values):
        model.values[...] = values
        return np.vdot(dy, model.forward(x))

    loss(start)
    model.backward(dy.copy())
    gradient = model.gradient.copy()
    for _ in range(4):
        direction = rng.standard_normal(len(start))
        numeric = (loss(start + 1e-7 * direction) - loss(start - 1e-7 * direction)) / 2e-7
        assert np.vdot(gradient, direction) == pytest.approx(numeric, rel=1e-5)


def test_a_batch_is_painted_like_its_pictures_one_by_one():
    model, rng = PainterModel(TABLE, 2, cpu), np.random.default_rng(1)
    model.initialise(rng)
    model.values += 0.1 * rng.standard_normal(model.values.shape).astype(np.float32)
    x, mixture = rng.random((2, 24, 16, 3)).astype(np.float32), np.array([[1.0, 0.0], [0.5, 0.5]])
    model.set_styles(mixture)
    together = model.forward(x).copy()
    for n in range(2):
        model.set_styles(mixture[n : n + 1])
        np.testing.assert_allclose(model.forward(x[n : n + 1])[0], together[n], atol=1e-5)
    assert together.min() > 0 and together.max() < 1
    assert np.abs(together[0] - together[1]).max() > 0.01
