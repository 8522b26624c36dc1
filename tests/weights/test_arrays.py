import numpy as np
import pytest

from stylecore.errors import WeightsError
from stylecore.weights.network import PREPROCESSINGS
from stylecore.weights.readers.arrays import Stored, pair


def _filters(inputs, outputs, torch=False):
    return np.zeros((outputs, inputs, 3, 3) if torch else (3, 3, inputs, outputs), np.float32)


def _pair(arrays):
    return pair({name: Stored.of(array) for name, array in arrays.items()}, "file")


def _names(arrays):
    return [convolution.name for convolution in _pair(arrays).convolutions]


@pytest.mark.parametrize(
    "filters, bias",
    [
        ("features.0.weight", "features.0.bias"),
        ("0.weight", "0.bias"),
        ("params/Conv_0/kernel", "params/Conv_0/bias"),
        ("conv1_1_W", "conv1_1_b"),
        ("conv1_1/weights", "conv1_1/biases"),
        ("conv1_1/filters", "conv1_1/bias"),
        ("block1_conv1/kernel:0", "block1_conv1/bias:0"),
    ],
)
def test_filters_and_biases_find_each_other(filters, bias):
    arrays = {bias: np.arange(4, dtype=np.float32), filters: _filters(3, 4)}
    (convolution,) = _pair(arrays).convolutions
    assert convolution.name == filters[: len(convolution.name)]
    np.testing.assert_array_equal(convolution.bias.read(), [0, 1, 2, 3])


def test_a_missing_bias_is_none():
    (convolution,) = _pair({"a.weight": _filters(3, 4), "b.bias": np.zeros(4, np.float32)}).convolutions
    assert convolution.bias is None


def test_the_order_of_the_file_counts():
    arrays = {f"{name}.weight": _filters(3, 4) for name in ("stem", "body", "head")}
    assert _names(arrays) == ["stem", "body", "head"]


def test_an_alphabetical_order_is_replaced_by_that_of_the_numbers():
    names = [f"features.{i}" for i in (0, 2, 5, 10, 12)]
    assert _names({f"{name}.weight": _filters(3, 4) for name in sorted(names)}) == names


def test_arrays_of_other_layers_are_ignored():
    arrays = {
        "conv.weight": _filters(3, 4),
        "classifier.weight": np.zeros((10, 4), np.float32),
        "classifier.bias": np.zeros(10, np.float32),
        "steps.weight": np.zeros((3, 3, 3, 4), np.int64),
        "epoch": np.array(3.0),
    }
    assert _names(arrays) == ["conv"]


def test_the_layout_is_the_one_with_square_filters():
    torch = np.arange(4 * 3 * 3 * 3, dtype=np.float32).reshape(4, 3, 3, 3)
    ours = torch.transpose(2, 3, 1, 0)
    for array in (torch, ours):
        (convolution,) = _pair({"conv.weight": array}).convolutions
        np.testing.assert_array_equal(convolution.filters.read(), ours)
    torch = np.arange(6 * 4 * 2 * 2, dtype=np.float32).reshape(6, 4, 2, 2)
    arrays = {"a.weight": _filters(4, 4, torch=True), "b.weight": torch}
    np.testing.assert_array_equal(_pair(arrays).convolutions[1].filters.read(), torch.transpose(2, 3, 1, 0))


@pytest.mark.parametrize("shape", [(3, 3, 3, 3), (3, 5, 4, 6)])
def test_an_ambiguous_layout_is_refused(shape):
    with pytest.raises(WeightsError, match="file holds filters whose height and width cannot be told"):
        _pair({"conv.weight": np.zeros(shape, np.float32)})


@pytest.mark.parametrize("name", ["bn1.running_mean", "bn/moving_mean", "batch_stats.bn.mean"])
def test_batch_normalisation_is_refused(name):
    with pytest.raises(WeightsError, match="file holds a network with batch normalisation"):
        _pair({"conv.weight": _filters(3, 4), name: np.zeros(4, np.float32)})


def test_no_filters_are_refused():
    with pytest.raises(WeightsError, match="file holds no filters of convolutions"):
        _pair({"dense.weight": np.zeros((3, 4), np.float32)})


def test_the_preprocessing_follows_from_the_names_where_possible():
    assert _pair({"a.weight": _filters(3, 4)}).preprocessing == PREPROCESSINGS["torchvision"]
    assert _pair({"a/kernel": _filters(3, 4)}).preprocessing == PREPROCESSINGS["torchvision"]
    assert _pair({"a_W": _filters(3, 4)}).preprocessing is None


def test_only_the_arrays_asked_for_are_read():
    def never():
        raise AssertionError("it was read")

    arrays = {
        "a.weight": Stored((3, 3, 3, 4), np.dtype("f4"), lambda: np.ones((3, 3, 3, 4), np.float32)),
        "b.weight": Stored((3, 3, 4, 10**9), np.dtype("f4"), never),
    }
    first, second = pair(arrays, "file").convolutions
    assert first.filters.read().shape == (3, 3, 3, 4)
    assert second.filters.shape == (3, 3, 4, 10**9)
