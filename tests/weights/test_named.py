import numpy as np
import pytest
from foreign_files import LAYERS, assert_made_up, state_dict, write_npz, write_safetensors

from stylecore.errors import WeightsError
from stylecore.weights.conversion import convert
from stylecore.weights.readers.named import read_npz, read_safetensors
from stylecore.weights.store import PREPROCESSINGS


@pytest.mark.parametrize(
    "pattern, words",
    [("{}_{}", ("W", "b")), ("net/{}/{}", ("filters", "bias")), ("{}.{}", ("weights", "biases"))],
)
def test_npz_with_a_preprocessing_that_must_be_told(tmp_path, pattern, words):
    write_npz(tmp_path / "file.npz", pattern, words)
    with pytest.raises(WeightsError, match=r"file\.npz does not tell .*--preprocessing .*torchvision"):
        convert(tmp_path / "file.npz", "made-up", layers=LAYERS)
    weights = convert(tmp_path / "file.npz", "made-up", layers=LAYERS, preprocessing="caffe-rgb")
    assert_made_up(weights)
    assert weights.preprocessing == PREPROCESSINGS["caffe-rgb"]


def test_npz_of_a_state_dict(tmp_path):
    np.savez_compressed(tmp_path / "file.npz", **state_dict())
    weights = convert(tmp_path / "file.npz", "made-up", layers=LAYERS)
    assert_made_up(weights)
    assert weights.preprocessing == PREPROCESSINGS["torchvision"]


def test_npz_is_matched_by_names_whatever_the_order(tmp_path):
    state = state_dict(("conv1_1", "conv1_2", "conv2_1", "conv2_2"))
    np.savez(tmp_path / "file.npz", **dict(reversed(state.items())))
    assert_made_up(convert(tmp_path / "file.npz", "made-up", layers=LAYERS))


def test_npz_with_objects_is_refused(tmp_path):
    np.savez(tmp_path / "file.npz", a=np.array([{}]))
    with pytest.raises(WeightsError, match=r"file\.npz has a, which is damaged or no array of numbers"):
        read_npz(tmp_path / "file.npz")


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_safetensors_sorted_by_name_come_in_the_order_of_their_numbers(tmp_path, dtype):
    state = {name: array.astype(dtype) for name, array in state_dict().items()}
    write_safetensors(tmp_path / "file.safetensors", state | {"step": np.array([3])})
    weights = convert(tmp_path / "file.safetensors", "made-up", layers=LAYERS)
    assert weights.preprocessing == PREPROCESSINGS["torchvision"]
    if dtype == "f2":
        expected = state["features.10.weight"].transpose(2, 3, 1, 0).astype(np.float32)
        np.testing.assert_array_equal(weights.filters["conv2_2"], expected)
    else:
        assert_made_up(weights)


def _moved(name, begin, end):
    def change(entries):
        old = entries[name]["data_offsets"]
        entries[name]["data_offsets"] = [old[0] + begin, old[1] + end]
        return entries

    return change


@pytest.mark.parametrize(
    "header, message",
    [
        (_moved("features.2.weight", -4, -4), "has features.2.weight where other tensors are"),
        (_moved("features.5.weight", 4, 4), "has features.5.weight where other tensors are"),
        (_moved("features.0.weight", 4, 0), "has features.0.weight of another length"),
        (_moved("features.0.bias", -8, 0), "where other tensors are"),
        (_moved("features.0.weight", 10, -(10**6)), "where other tensors are"),
        (lambda entries: {**entries, "x": 3}, "is damaged"),
        (lambda entries: {**entries, "x": {"dtype": "F32", "shape": [1]}}, "is damaged"),
        (lambda entries: {}, "is damaged|holds no filters"),
    ],
)
def test_safetensors_with_an_unsound_header_are_refused(tmp_path, header, message):
    write_safetensors(tmp_path / "file.safetensors", state_dict(), header)
    with pytest.raises(WeightsError, match=rf"file\.safetensors .*({message})"):
        convert(tmp_path / "file.safetensors", "made-up", layers=LAYERS)


def test_a_header_that_claims_to_be_huge_is_not_read(tmp_path):
    (tmp_path / "file.safetensors").write_bytes((2**32 - 1).to_bytes(8, "little") + b"{}")
    with pytest.raises(WeightsError, match=r"header of 4294967295 bytes, which is too large"):
        read_safetensors(tmp_path / "file.safetensors")
