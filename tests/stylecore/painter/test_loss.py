"""The loss of a painter is that of a transfer."""

import numpy as np
import pytest

from stylecore import Objective
from stylecore.network import load_network
from stylecore.painter.loss import PainterLoss
from stylecore.weights.architectures import features_names

pytestmark = pytest.mark.slow  # Most of it is compiled for these tests only.


def test_loss_and_gradient_are_those_of_the_objective():
    network = load_network("small", dtype="float64")
    names = [name for name in features_names(network.layers) if name.startswith("relu")]
    rng = np.random.default_rng(0)
    photograph, other, painted, style = rng.random((4, 32, 32, 3))
    loss = PainterLoss(network, names[1:2], names[:2], 1.0, 7.0, 32)
    target = loss.style(style)
    loss(other, painted, target)
    evaluation = loss(photograph, painted, target)
    objective = Objective(
        photograph,
        style,
        network=network,
        content_layers=names[1:2],
        style_layers=names[:2],
        style_weight=7.0,
        tv_weight=0.0,
    )
    expected, gradient = objective(painted)
    assert evaluation.content + evaluation.style == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(evaluation.gradient, gradient, rtol=1e-9, atol=1e-12 * np.abs(gradient).max())
