import numpy as np
import pytest

from stylecore.errors import WeightsError
from stylecore.weights.readers.arrays import pair
from stylecore.weights.store import PREPROCESSINGS


def _filters(inputs, outputs, torch=False):
    return np.zeros((outputs, inputs, 3, 3) if torch else (3, 3, inputs, outputs), np.float32)


def _names(arrays):
    return [convolution.name for convolution in pair(arrays, "file").convolutions]


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
    (convolution,) = pair(arrays, "file").convolutions
    assert convolution.name == filters[: len(convolution.name)]
    np.testing.assert_array_equal(convolution.bias, [0, 1, 2, 3])


def test_a_missing_bias_is_none():
    (convolution,) = pair({"a.weight": _filters(3, 4), "b.bias": np.zeros(4, np.float32)}, "file").convolutions
    assert convolution.bias is None


def test_the_order_of_the_file_counts():
    arrays = {f"{name}.weight": _filters(3, 4) for name in ("stem", "body", "head")}
    assert _names(arrays) == ["stem", "body", "head"]


def test_but_an_alphabetical_order_gives_way_to_that_of_the_numbers():
    names = [f"features.{i}" for i in (0, 2, 5, 10, 12)]
    assert _names({f"{name}.weight": _filters(3, 4) for name in sorted(names)}) == names


def test_what_is_no_convolution_is_passed_over():
    arrays = {
        "conv.weight": _filters(3, 4),
        "classifier.weight": np.zeros((10, 4), np.float32),
        "classifier.bias": np.zeros(10, np.float32),
        "steps.weight": np.zeros((3, 3, 3, 4), np.int64),
        "epoch": np.array(3.0),
    }
    assert _names(arrays) == ["conv"]


def test_the_layout_is_told_by_the_square_filters():
    torch = np.arange(4 * 3 * 3 * 3, dtype=np.float32).reshape(4, 3, 3, 3)
    ours = torch.transpose(2, 3, 1, 0)
    for array in (torch, ours):
        (convolution,) = pair({"conv.weight": array}, "file").convolutions
        np.testing.assert_array_equal(convolution.filters, ours)
    torch = np.arange(6 * 4 * 2 * 2, dtype=np.float32).reshape(6, 4, 2, 2)
    arrays = {"a.weight": _filters(4, 4, torch=True), "b.weight": torch}
    np.testing.assert_array_equal(pair(arrays, "file").convolutions[1].filters, torch.transpose(2, 3, 1, 0))


@pytest.mark.parametrize("shape", [(3, 3, 3, 3), (3, 5, 4, 6)])
def test_a_layout_that_cannot_be_told_is_refused(shape):
    with pytest.raises(WeightsError, match="file holds filters in which height and width cannot be told"):
        pair({"conv.weight": np.zeros(shape, np.float32)}, "file")


@pytest.mark.parametrize("name", ["bn1.running_mean", "bn/moving_mean", "batch_stats.bn.mean"])
def test_batch_normalisation_is_refused(name):
    with pytest.raises(WeightsError, match="file is of a network with batch normalisation"):
        pair({"conv.weight": _filters(3, 4), name: np.zeros(4, np.float32)}, "file")


def test_no_filters_are_refused():
    with pytest.raises(WeightsError, match="file holds no filters of convolutions"):
        pair({"dense.weight": np.zeros((3, 4), np.float32)}, "file")


def test_the_words_tell_the_preprocessing_where_they_can():
    assert pair({"a.weight": _filters(3, 4)}, "file").preprocessing == PREPROCESSINGS["torchvision"]
    assert pair({"a/kernel": _filters(3, 4)}, "file").preprocessing == PREPROCESSINGS["torchvision"]
    assert pair({"a_W": _filters(3, 4)}, "file").preprocessing is None
