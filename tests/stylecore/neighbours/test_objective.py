"""Joined features and the cosine loss, against their formulas and finite differences."""

import numpy as np
import pytest

from stylecore import ParameterError
from stylecore.kernels import cpu
from stylecore.neighbours.hypercolumns import LAYERS, Features, Hypercolumns, check_network
from stylecore.neighbours.objective import CosineLoss, Objective
from stylecore.network import Network
from stylecore.plan import Plan

pytestmark = pytest.mark.slow

SHAPE = (24, 40)


@pytest.fixture(scope="module")
def network(weights_at_random):
    return Network(weights_at_random("vgg16"), cpu, dtype="float64", layers=LAYERS)


def pictures(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.random((*shape, 3)) for shape in shapes]


def matrix(features):
    """Hypercolumns in the order of the rows."""
    return features.rows(np.arange(len(features.fine)))


def as_map(features, height, width):
    """Hypercolumns in the order of the picture."""
    return matrix(features).reshape(height // 2, width // 2, 2, 2, -1).swapaxes(1, 2).reshape(height, width, -1)


def test_features_are_those_of_the_layers(network):
    (picture,) = pictures(SHAPE)
    columns = Hypercolumns(network, SHAPE, gradient=False)
    features = columns.forward(picture)
    assert features.shape == columns.shape == (6 * 10, 2688)
    assert features.fine.shape[1] == 1152
    maps = {}
    plan = Plan(network, *SHAPE, LAYERS, gradient=False)
    plan.forward(picture, lambda layer, f, start: maps.__setitem__(layer, f.copy()))
    for layer, sides in (("relu1_1", (24, 40)), ("relu2_2", (12, 20)), ("relu3_3", (6, 10)), ("relu4_3", (3, 5))):
        own, channels = maps[layer].reshape(*sides, -1), maps[layer].shape[1]
        side = sides[0] // 6
        expected = (
            own.reshape(6, side, 10, side, channels).mean(axis=(1, 3)) if side else np.kron(own, np.ones((2, 2, 1)))
        )
        actual = as_map(features.part(columns.columns[layer]), 6, 10)
        np.testing.assert_allclose(actual, expected / channels, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("split", [False, True], ids=["joined", "by layer"])
def test_gradient(split, network):
    picture, other = pictures(SHAPE, SHAPE, seed=1)
    columns = Hypercolumns(network, SHAPE)
    parts = list(columns.columns.values()) if split else [slice(0, columns.shape[1])]
    objective = Objective(columns, CosineLoss(matrix(columns.forward(other)), parts))
    loss, gradient, terms = objective.evaluate(picture)
    assert 0 < loss < 2 and terms == {"neighbours": loss}
    for direction in np.random.default_rng(2).standard_normal((3, *picture.shape)):
        direction /= np.linalg.norm(direction)
        values = [objective.evaluate(picture + step * direction)[0] for step in (1e-6, -1e-6)]
        assert np.vdot(gradient, direction) == pytest.approx(
            (values[0] - values[1]) / 2e-6, abs=1e-6 * np.linalg.norm(gradient)
        )


def test_cosine_loss():
    rng = np.random.default_rng(3)
    features, targets = Features(rng.standard_normal((8, 3)), rng.standard_normal((2, 3))), rng.standard_normal((8, 6))
    parts = [slice(0, 2), slice(2, 6)]
    expected = np.mean(
        [
            1 - f[part] @ t[part] / np.linalg.norm(f[part]) / np.linalg.norm(t[part])
            for f, t in zip(matrix(features), targets, strict=True)
            for part in parts
        ]
    )
    loss = CosineLoss(targets.copy(), parts)
    before, others = features.fine.copy(), features.coarse.copy()
    assert loss(features) == pytest.approx(expected, rel=1e-12)
    # The loss is that of directions: it does not change along the features.
    assert np.vdot(features.fine, before) + np.vdot(features.coarse, others) == pytest.approx(0, abs=1e-12)
    ahead = Features(before - 1e-3 * features.fine, others - 1e-3 * features.coarse)
    assert loss(ahead) < expected
    cells = Features(targets[:, :3].copy(), np.zeros((2, 3)))
    assert CosineLoss(matrix(cells), [slice(0, 3)])(cells) == pytest.approx(0, abs=1e-12)


def test_networks_without_the_layers_are_refused(network, weights_at_random):
    check_network(network)
    with pytest.raises(ParameterError, match='alexnet has no relu1_1; choose network "vgg16" or "vgg19"'):
        check_network(Network(weights_at_random("alexnet"), cpu))
