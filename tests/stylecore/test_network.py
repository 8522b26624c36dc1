"""Passes through small made-up networks and the layout of their memory."""

from math import prod

import numpy as np
import pytest

from stylecore.errors import ParameterError
from stylecore.kernels import cpu, reference
from stylecore.network import Network
from stylecore.plan import Plan
from stylecore.weights import Preprocessing, Weights
from stylecore.weights.architectures import Conv, Pool

LAYERS = (
    Conv("conv1_1", 3, 16),
    Conv("conv1_2", 16, 16),
    Pool("pool1"),
    Conv("conv2_1", 16, 24),
    Pool("pool2", size=3, stride=2),
    Conv("conv3_1", 24, 40, size=5, padding=2),
)


PREPROCESSING = Preprocessing("BGR", 255.0, (103.9, 116.8, 123.7), (1.0, 2.0, 3.0))


def make_weights(preprocessing=PREPROCESSING):
    rng = np.random.default_rng(0)
    convolutions = [layer for layer in LAYERS if isinstance(layer, Conv)]
    filters = {
        c.name: rng.standard_normal((c.size, c.size, c.in_channels, c.out_channels)).astype(np.float32) / 10
        for c in convolutions
    }
    biases = {c.name: rng.standard_normal(c.out_channels).astype(np.float32) for c in convolutions}
    return Weights("small", LAYERS, filters, biases, preprocessing, "made up", "0" * 64)


def run(network, image, layers, gradients):
    """Features of the layers, and the gradient of their sum weighted with `gradients`."""
    features = {}
    plan = Plan(network, *image.shape[:2], layers)

    def visit(layer, f, start):
        before = features.get(layer, np.empty((0, f.shape[1]), f.dtype))
        assert len(before) == start
        features[layer] = np.concatenate([before, f])

    def add_gradient(layer, f, gradient, start):
        np.testing.assert_array_equal(f, features[layer][start : start + len(f)])
        gradient += gradients(layer, features[layer].shape)[start : start + len(f)].astype(gradient.dtype)

    plan.forward(image, visit)
    return features, plan.backward(add_gradient)


def fixed(layer, shape):
    return np.random.default_rng(len(layer)).standard_normal(shape)


@pytest.mark.parametrize("strip_values", [1, cpu.STRIP_VALUES], ids=["strips", "whole"])
@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("layers", [("relu1_1",), ("relu1_2", "relu3_1"), ("pool1", "relu2_1"), ("relu1_1", "pool2")])
@pytest.mark.parametrize("size", [(21, 18), (8, 8), (33, 13)])
def test_cpu_agrees_with_the_reference(size, layers, pooling, strip_values, monkeypatch):
    image = np.random.default_rng(1).random((*size, 3))
    expected, expected_gradient = run(Network(make_weights(), reference, pooling, "float64"), image, layers, fixed)
    monkeypatch.setattr(cpu, "STRIP_VALUES", strip_values)
    features, gradient = run(Network(make_weights(), cpu, pooling), image.astype(np.float32), layers, fixed)
    assert features.keys() == set(layers)
    for layer in layers:
        assert np.linalg.norm(features[layer] - expected[layer]) < 1e-5 * np.linalg.norm(expected[layer])
    assert np.linalg.norm(gradient - expected_gradient) < 1e-4 * np.linalg.norm(expected_gradient)


def test_gradient_against_finite_differences():
    # The inputs are continuous and the step is small against the spread of the features, so that hardly any of the
    # few thousand kinks lies within a step; that the quotients agree to 1e-6 shows that none did.
    network = Network(make_weights(), reference, dtype="float64")
    image = np.random.default_rng(2).random((16, 20, 3))
    layers = ("relu1_1", "relu2_1", "relu3_1")
    _, gradient = run(network, image, layers, fixed)

    def value(x):
        return sum(float(np.vdot(fixed(layer, f.shape), f)) for layer, f in run(network, x, layers, fixed)[0].items())

    for direction in np.random.default_rng(3).standard_normal((4, *image.shape)):
        direction /= np.linalg.norm(direction)
        numeric = (value(image + 1e-7 * direction) - value(image - 1e-7 * direction)) / 2e-7
        assert abs(np.vdot(gradient, direction) - numeric) < 1e-6 * np.linalg.norm(gradient)


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_preprocessing_and_its_gradient(order):
    network = Network(
        make_weights(Preprocessing(order, 2.0, (0.1, 0.2, 0.3), (1.0, 2.0, 4.0))), reference, dtype="float64"
    )
    image = np.random.default_rng(4).random((5, 4, 3))
    out = np.empty((1, 5, 4, 3))
    network.preprocess(image, out)
    ordered = image if order == "RGB" else image[..., ::-1]
    np.testing.assert_allclose(out[0], (2 * ordered - [0.1, 0.2, 0.3]) / [1, 2, 4])
    dy = np.random.default_rng(5).random(out.shape)
    np.testing.assert_allclose(
        np.vdot(network.preprocess_backward(dy), image), np.vdot(dy, out - network_zero(network))
    )


def network_zero(network):
    """What the network is given for a black image: preprocessing is linear but for this."""
    out = np.empty((1, 5, 4, 3))
    network.preprocess(np.zeros((5, 4, 3)), out)
    return out


def test_no_two_arrays_that_live_at_once_overlap():
    network = Network(make_weights(), cpu)
    for gradient in (True, False):
        plan = Plan(network, 40, 36, ["relu1_1", "relu3_1"], gradient)
        spans = [
            (offset, offset + prod(shape) * dtype.itemsize, first, last)
            for (_, shape, dtype, first, last), offset in zip(plan._tensors, plan._offsets, strict=True)
        ]
        for i, (begin, end, first, last) in enumerate(spans):
            for other_begin, other_end, other_first, other_last in spans[:i]:
                together = first <= other_last and other_first <= last
                assert not together or end <= other_begin or other_end <= begin


def test_plan_without_gradient_takes_less():
    network = Network(make_weights(), cpu)
    assert Plan(network, 64, 64, ["relu3_1"], False).bytes < Plan(network, 64, 64, ["relu3_1"]).bytes


@pytest.mark.parametrize("strip_values", [1, 2**30])
def test_plan_whose_gradient_needs_no_features(strip_values, monkeypatch):
    monkeypatch.setattr(cpu, "STRIP_VALUES", strip_values)
    network = Network(make_weights(), cpu)
    layers = ["relu1_1", "relu2_1", "relu3_1"]
    plans = [Plan(network, 64, 64, layers, features=features) for features in (True, False)]
    assert strip_values == 1 or plans[1].bytes < plans[0].bytes
    picture, gradients = np.random.default_rng(0).random((64, 64, 3)), []
    for plan in plans:
        plan.forward(picture, lambda *_: None)
        gradients.append(plan.backward(lambda layer, features, gradient, start: np.add(gradient, 1, out=gradient)))
    error = np.abs(gradients[1] - gradients[0]).max()
    assert error < 1e-5 * np.abs(gradients[0]).max()


def test_unknown_layer_names_near_ones():
    with pytest.raises(ParameterError, match=r"relu2_2.*relu1_2"):
        Plan(Network(make_weights(), cpu), 32, 32, ["relu2_2"])


def test_smallest_size_is_exact():
    network = Network(make_weights(), cpu)
    for layers in (["relu1_1"], ["pool1"], ["relu3_1"]):
        side = network.smallest_size(layers)
        Plan(network, side, side, layers)
        if side > 1:
            with pytest.raises(ParameterError, match=f"at least {side}"):
                Plan(network, side, side - 1, layers)


def test_only_what_is_asked_for_is_kept():
    network = Network(make_weights(), cpu, layers=["relu1_1", "relu2_1"])
    assert network.layer_names == ["relu1_1", "relu1_2", "pool1", "relu2_1"]
    with pytest.raises(ParameterError, match="relu2_2"):
        Network(make_weights(), cpu, layers=["relu2_2"])


def test_unknown_pooling():
    with pytest.raises(ParameterError, match="pooling"):
        Network(make_weights(), cpu, pooling="sum")
