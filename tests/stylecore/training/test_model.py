"""Whole networks in training: their gradient, what is saved of them, and that they repeat."""

import numpy as np
import pytest

from stylecore.errors import ParameterError
from stylecore.kernels import cpu, reference
from stylecore.network import Network
from stylecore.plan import Plan
from stylecore.training.loading import preprocessing
from stylecore.training.model import autoencoder, classifier
from stylecore.training.tasks import Classification, Reconstruction
from stylecore.weights.architectures import Conv, Pool

pytestmark = pytest.mark.slow

TABLE = (Conv("conv1", 3, 16), Pool("pool1"), Conv("conv2", 16, 32, size=5, stride=2, padding=2), Conv("conv3", 32, 6))
LABELS = np.array([0, 2, 1, 1, 0])


def make(kind, backend, dtype="float64"):
    if kind == "classifier":
        model, task = classifier(TABLE, 8, 3, 0.2, backend, dtype), Classification(backend)
    else:
        model, task = autoencoder(TABLE, 8, backend, dtype), Reconstruction(backend, 0.25)
    model.initialise(np.random.default_rng(0))
    return model, task


def loss_and_gradient(model, task, x):
    model.draw_from(np.random.default_rng(7))
    output = model.forward(x)
    gradient = np.empty_like(output)
    loss = task.loss(output, x, LABELS, gradient)
    model.backward(gradient)
    return loss, model.gradient.copy()


@pytest.mark.parametrize("kind", ["classifier", "autoencoder"])
def test_gradient(kind):
    model, task = make(kind, reference)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((5, 8, 8, 3))
    _, gradient = loss_and_gradient(model, task, x)
    assert np.linalg.norm(gradient) > 0.1
    start, step = model.values.copy(), 1e-8  # So short that hardly any ReLU or maximum switches.
    for _ in range(3):
        direction = rng.standard_normal(start.shape)
        losses = []
        for sign in (1, -1):
            model.values[...] = start + sign * step * direction
            losses.append(loss_and_gradient(model, task, x)[0])
        assert gradient @ direction == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-4)


@pytest.mark.parametrize("kind", ["classifier", "autoencoder"])
def test_backends_agree(kind):
    x = np.random.default_rng(2).standard_normal((5, 8, 8, 3))
    (loss, gradient), (expected, expected_gradient) = (loss_and_gradient(*make(kind, b), x) for b in (cpu, reference))
    assert loss == pytest.approx(expected, rel=1e-10)
    np.testing.assert_allclose(gradient, expected_gradient, atol=1e-9 * np.abs(expected_gradient).max())


def test_the_saved_network_is_the_trained_one():
    """The engine's features with the folded weights are those of the trained layers."""
    model, _ = make("classifier", cpu, "float32")
    rng = np.random.default_rng(3)
    model.draw_from(rng)
    images = rng.integers(0, 256, (5, 8, 8, 3), np.uint8)
    scaling = preprocessing(images)
    for _ in range(20):
        model.forward(rng.standard_normal((5, 8, 8, 3)).astype(np.float32) + 1)
    weights = model.weights(TABLE, "cnn", scaling, "a test", "0" * 64)
    network, image = Network(weights, cpu), images[0] / np.float32(255)
    features = {}
    Plan(network, 8, 8, ["relu3"], gradient=False).forward(
        image, lambda name, f, start: features.update({name: f.copy()})
    )
    x = np.empty((1, 8, 8, 3), np.float32)
    network.preprocess(image, x)
    for layer in model.layers[: len(TABLE)]:
        x = layer.predict(x)
    np.testing.assert_allclose(features["relu3"], x.reshape(-1, 6), rtol=1e-4, atol=1e-5)
    # Once the running mean and variance have converged, forward and predict agree.
    settled = rng.standard_normal((5, 8, 8, 3)).astype(np.float32)
    for _ in range(200):
        trained = settled
        for layer in model.layers[: len(TABLE)]:
            trained = layer.forward(trained)
    for layer in model.layers[: len(TABLE)]:
        settled = layer.predict(settled)
    np.testing.assert_allclose(settled, trained, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["classifier", "autoencoder"])
def test_the_predicted_memory_covers_what_the_layers_hold(kind):
    model, task = make(kind, cpu, "float32")
    x = np.random.default_rng(4).standard_normal((5, 8, 8, 3)).astype(np.float32)
    loss_and_gradient(model, task, x)
    held = {id(array): array.nbytes for layer in model.layers for array in layer._memory.values()}
    parameters, images = 4 * model.values.nbytes, 5 * x.nbytes
    assert 1 <= (model.bytes(5, 8) - parameters - images) / sum(held.values()) < 1.8
    assert model.bytes(10, 8) - parameters == 2 * (model.bytes(5, 8) - parameters)


def test_only_filters_and_weights_decay():
    model, _ = make("classifier", cpu)
    filters = sum(row.size**2 * row.in_channels * row.out_channels for row in TABLE if isinstance(row, Conv))
    assert model.decayed.sum() == filters + 6 * 3


def test_tables_that_do_not_fit_are_refused():
    with pytest.raises(ParameterError, match="pictures of 1 x 1 pixels are too small for pool1"):
        classifier(TABLE, 1, 3, 0, cpu)
    with pytest.raises(ParameterError, match="the decoder makes 16 x 16 pixels of 14 x 14"):
        autoencoder(TABLE, 14, cpu)
