import hashlib
import os
from collections import OrderedDict

import numpy as np
import pytest
from foreign_files import LAYERS, assert_made_up, peak, state_dict, write_torch_old, write_torch_zip

from stylecore.errors import ParameterError, WeightsError
from stylecore.weights.architectures import Conv
from stylecore.weights.conversion import convert, extract
from stylecore.weights.network import PREPROCESSINGS, Preprocessing
from stylecore.weights.store import read


@pytest.fixture
def converted(tmp_path):
    """Return a function that converts a state dict by way of a file."""

    def convert_state(state, layers=LAYERS, output=None, **options):
        write_torch_old(tmp_path / "net.pth", state)
        return convert(tmp_path / "net.pth", "made-up", output, layers=layers, **options)

    return convert_state


def _with_head(matrix, bias):
    head = {
        "0.weight": np.asarray(matrix, np.float32).reshape(3, 3, 1, 1),
        "0.bias": np.asarray(bias, np.float32),
    }
    return OrderedDict(head | state_dict(("2", "5", "9", "12")))


def test_the_result_says_where_it_came_from(converted, tmp_path):
    weights = converted(state_dict())
    assert (weights.network, weights.layers, weights.source) == ("made-up", LAYERS, "net.pth")
    assert weights.sha256 == hashlib.sha256((tmp_path / "net.pth").read_bytes()).hexdigest()
    assert converted(state_dict(), source="a friend").source == "a friend"


def test_the_output_is_what_is_returned(converted, tmp_path):
    weights = converted(state_dict(), output=tmp_path / "net.h5")
    stored = read(tmp_path / "net.h5")
    assert_made_up(stored)
    assert (stored.preprocessing, stored.sha256) == (weights.preprocessing, weights.sha256)


def test_an_output_that_cannot_be_written_is_named(converted, tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere/net\.h5 cannot be written"):
        converted(state_dict(), output=tmp_path / "nowhere" / "net.h5")


def test_a_first_layer_that_prepares_the_colours_becomes_the_preprocessing(converted):
    # PyTorch's matrix has the network's channels as rows; blue comes first.
    matrix = 255 * np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]])
    weights = converted(_with_head(matrix, [-103.939, -116.779, -123.68]))
    assert_made_up(weights)
    assert weights.preprocessing == PREPROCESSINGS["caffe"]
    weights = converted(_with_head(np.eye(3), [0.5, 0, -0.25]))
    assert weights.preprocessing == Preprocessing("RGB", 1.0, (-0.5, 0.0, 0.25), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    "matrix, bias",
    [
        (np.diag([1.0, 1.0, 1.001]), [0, 0, 0]),
        (np.eye(3) + 1e-6, [0, 0, 0]),
        (-np.eye(3), [0, 0, 0]),
        (np.zeros((3, 3)), [0, 0, 0]),
        (np.roll(np.eye(3), 1, axis=0), [0, 0, 0]),
        (np.eye(3) * np.nan, [0, 0, 0]),
        (np.eye(3), [0, np.inf, 0]),
    ],
)
def test_a_first_layer_that_does_more_is_refused(converted, matrix, bias):
    with pytest.raises(WeightsError, match=r"net\.pth cannot be used: its first convolution, 0, is of size 1"):
        converted(_with_head(matrix, bias))


def test_the_preprocessing_can_be_given(converted):
    assert converted(state_dict()).preprocessing == PREPROCESSINGS["torchvision"]
    assert converted(state_dict(), preprocessing="caffe").preprocessing == PREPROCESSINGS["caffe"]
    with pytest.raises(ParameterError, match=r'preprocessing "cafe" is not known.*caffe'):
        converted(state_dict(), preprocessing="cafe")


def test_names_of_the_architecture_take_precedence_over_the_order(converted):
    state = state_dict(("net.conv1_1", "net.conv1_2", "net.conv2_1", "net.conv2_2"))
    assert_made_up(converted(OrderedDict(reversed(state.items()))))


def test_layers_after_the_network_are_left_out(converted):
    state = state_dict()
    state["classifier.0.weight"] = np.zeros((7, 6, 5, 5), np.float32)
    state["classifier.0.bias"] = np.zeros(7, np.float32)
    state["classifier.3.weight"] = np.zeros((10, 7), np.float32)
    assert_made_up(converted(state))


def test_a_missing_layer_is_named(converted):
    state = state_dict()
    del state["features.10.weight"], state["features.10.bias"]
    with pytest.raises(WeightsError, match=r"net\.pth cannot be used: it holds 3 convolutions, .* 4, so conv2_2 is"):
        converted(state)


def test_a_missing_bias_is_named(converted):
    state = state_dict()
    del state["features.5.bias"]
    with pytest.raises(WeightsError, match=r"net\.pth cannot be used: it has no bias for conv2_1, which made-up needs"):
        converted(state)


def test_a_wrong_shape_is_named(converted):
    state = state_dict()
    state["features.5.weight"] = state["features.5.weight"][:, :, 1:4, 1:4].copy()
    with pytest.raises(
        WeightsError,
        match=r"net\.pth .* the shape of conv2_1's filters is \(3, 3, 5, 6\), but made-up needs \(5, 5, 5, 6\)",
    ):
        converted(state)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_found(converted, value):
    state = state_dict()
    state["features.2.weight"][4, 0, 2, 1] = value
    with pytest.raises(WeightsError, match=r"net\.pth cannot be used: there is NaN or infinity in conv1_2's filters"):
        converted(state)


def test_numbers_that_are_too_large_for_float32_are_found(converted):
    state = OrderedDict((name, array.astype(np.float64)) for name, array in state_dict().items())
    state["features.2.bias"][0] = 1e300
    with pytest.raises(WeightsError, match=r"there is NaN or infinity in conv1_2's bias"):
        converted(state)


def test_a_network_that_is_too_shallow_is_refused(converted, tmp_path):
    converted(state_dict())
    with pytest.raises(WeightsError, match=r"net\.pth .* it holds 4 convolutions, but vgg16 needs 13, so conv3_1"):
        convert(tmp_path / "net.pth", "vgg16")


def test_an_unknown_architecture_is_refused(tmp_path):
    with pytest.raises(ParameterError, match=r'architecture "vgg18" is not known.*vgg1'):
        convert(tmp_path / "net.pth", "vgg18")


@pytest.mark.parametrize(
    "layers, message",
    [
        ((Conv("conv1_1", 4, 8),), "conv1_1 does not take the 3 channels"),
        ((Conv("conv1_1", 3, 10**9),), "at most 100,000,000 are supported"),
    ],
)
def test_an_invalid_architecture_is_refused(tmp_path, layers, message):
    with pytest.raises(ParameterError, match=f'the architecture of "made-up" is invalid: .*{message}'):
        convert(tmp_path / "net.pth", "made-up", layers=layers)


def test_a_relative_path_and_any_file_name_will_do(converted, tmp_path, monkeypatch):
    converted(state_dict())
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"n\xc3\xa9t \xff.pth")
    os.rename("net.pth", name)
    assert_made_up(convert(name, "made-up", layers=LAYERS))
    os.truncate(name, 1000)
    with pytest.raises(WeightsError) as caught:
        convert(name, "made-up", layers=LAYERS)
    assert str(caught.value).startswith(name)


def test_arrays_are_read_only_if_they_fit(tmp_path):
    state = state_dict()
    state["features.0.weight"] = np.zeros((500, 500, 5, 5), np.float32)
    write_torch_zip(tmp_path / "net.pth", state)
    message, allocated = peak(extract, tmp_path / "net.pth", "made-up", LAYERS)
    assert "the shape of conv1_1's filters is (5, 5, 500, 500)" in message
    assert allocated < 1e6
