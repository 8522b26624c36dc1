"""The terms of the paper against finite differences and against their formulas."""

import numpy as np
import pytest
from stylecore.kernels import cpu, reference

from stylecore.losses import ContentLoss, Regularization, StyleLoss, TotalVariation

BACKENDS = pytest.mark.parametrize("backend", [reference, cpu], ids=["reference", "cpu"])


def check_gradient(function, gradient, x, rng):
    for direction in rng.standard_normal((4, *x.shape)):
        direction /= np.linalg.norm(direction)
        numeric = (function(x + 1e-6 * direction) - function(x - 1e-6 * direction)) / 2e-6
        assert abs(np.vdot(gradient, direction) - numeric) <= 1e-6 * np.linalg.norm(gradient)


def value(loss, features):
    """Value at features that are taken in by two parts."""
    loss.reset()
    loss.take(features[:5])
    loss.take(features[5:], 5)
    return loss.value()


@BACKENDS
def test_content(backend):
    rng = np.random.default_rng(0)
    features, target = rng.standard_normal((2, 9, 6))
    loss = ContentLoss(target, backend)
    assert value(loss, features) == pytest.approx(0.5 * np.sum((features - target) ** 2), rel=1e-12)
    gradient = np.zeros_like(features)
    for part in (slice(5), slice(5, None)):
        loss.add_gradient(features[part], 2.0, gradient[part], part.start or 0)
    check_gradient(lambda f: 2.0 * value(loss, f), gradient, features, rng)
    assert loss.relative_weight * value(loss, np.zeros_like(target)) == pytest.approx(1)


@BACKENDS
def test_style(backend):
    rng = np.random.default_rng(1)
    features, style = rng.standard_normal((9, 6)), rng.standard_normal((14, 6))
    loss = StyleLoss(style.T @ style / 14, 9, backend)
    difference = features.T @ features - style.T @ style * 9 / 14
    assert value(loss, features) == pytest.approx(np.sum(difference**2) / (4 * 6**2 * 9**2), rel=1e-12)
    gradient = np.zeros_like(features)
    for part in (slice(5), slice(5, None)):
        loss.add_gradient(features[part], 2.0, gradient[part], part.start or 0)
    check_gradient(lambda f: 2.0 * value(loss, f), gradient, features, rng)
    assert loss.relative_weight * value(loss, np.zeros_like(features)) == pytest.approx(1)


def gradient_at(loss, x):
    """Gradient of twice a loss of the image, which is added to what was there."""
    gradient = np.ones_like(x)
    loss.add_gradient(x, 2.0, gradient)
    return gradient - 1


@BACKENDS
def test_regularization(backend):
    rng = np.random.default_rng(2)
    x, mean = rng.random((2, 4, 5, 3))
    loss = Regularization(mean, backend)
    assert loss.value(x) == pytest.approx(0.5 * np.sum((x - mean) ** 2))
    check_gradient(lambda x: 2 * loss.value(x), gradient_at(loss, x), x, rng)


@BACKENDS
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 6, 3), (5, 1, 3), (4, 7, 3)])
def test_total_variation(shape, backend):
    rng = np.random.default_rng(3)
    x = rng.random(shape)
    loss = TotalVariation(backend)
    expected = sum(
        (x[i + 1, j] - x[i, j]) @ (x[i + 1, j] - x[i, j]) for i in range(shape[0] - 1) for j in range(shape[1])
    )
    expected += sum(
        (x[i, j + 1] - x[i, j]) @ (x[i, j + 1] - x[i, j]) for i in range(shape[0]) for j in range(shape[1] - 1)
    )
    assert loss.value(x) == pytest.approx(0.5 * expected)
    check_gradient(lambda x: 2 * loss.value(x), gradient_at(loss, x), x, rng)
