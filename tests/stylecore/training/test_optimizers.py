import numpy as np
import pytest

from stylecore.training.optimizers import OPTIMIZERS, learning_rate


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_quadratic_is_minimised(name):
    values, target = np.ones(5), np.arange(5.0)
    optimizer = OPTIMIZERS[name](values, np.zeros(5, bool), 0)
    for step in range(400):
        optimizer.step(2 * (values - target), learning_rate(step, 400, 20, 0.1))
    np.testing.assert_allclose(values, target, atol=1e-3)


def test_sgd_is_its_formula():
    rng = np.random.default_rng(0)
    values, decayed = rng.standard_normal(6), np.arange(6) % 2 == 0
    optimizer, expected, velocity = OPTIMIZERS["sgd"](values, decayed, 0.1), values.copy(), 0
    for rate in (0.5, 0.2, 0.1):
        gradient = rng.standard_normal(6)
        velocity = 0.9 * velocity + gradient + 0.1 * decayed * expected
        expected = expected - rate * velocity
        optimizer.step(gradient, rate)
        np.testing.assert_allclose(values, expected)


def test_adam_is_its_formula():
    rng = np.random.default_rng(1)
    values, decayed = rng.standard_normal(6), np.arange(6) % 2 == 0
    optimizer, expected = OPTIMIZERS["adam"](values, decayed, 0.1), values.copy()
    first, second = np.zeros(6), np.zeros(6)
    for step, rate in enumerate((0.5, 0.2, 0.1), start=1):
        gradient = rng.standard_normal(6)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        change = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        expected = expected - rate * 0.1 * decayed * expected - rate * change
        optimizer.step(gradient, rate)
        np.testing.assert_allclose(values, expected)


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine():
    rates = [learning_rate(step, 110, 10, 0.4) for step in range(110)]
    np.testing.assert_allclose(rates[:11], [*np.arange(0.04, 0.41, 0.04), 0.4])
    assert rates[60] == pytest.approx(0.2)
    assert (np.diff(rates[10:]) < 0).all() and 0 < rates[-1] < 0.001
    assert learning_rate(0, 10, 0, 1.0) == 1
