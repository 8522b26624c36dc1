import zipfile

import numpy as np
import pytest
from foreign_files import LAYERS, assert_made_up, peak, state_dict, write_npz, write_safetensors

from stylecore.errors import WeightsError
from stylecore.weights.conversion import extract
from stylecore.weights.network import PREPROCESSINGS
from stylecore.weights.readers.named import read_npz, read_safetensors


@pytest.mark.parametrize(
    "pattern, words",
    [("{}_{}", ("W", "b")), ("net/{}/{}", ("filters", "bias")), ("{}.{}", ("weights", "biases"))],
)
def test_npz_with_a_preprocessing_that_must_be_given(tmp_path, pattern, words):
    write_npz(tmp_path / "file.npz", pattern, words)
    with pytest.raises(WeightsError, match=r"file\.npz .* does not say which .*--preprocessing .*torchvision"):
        extract(tmp_path / "file.npz", "made-up", LAYERS)
    weights = extract(tmp_path / "file.npz", "made-up", LAYERS, preprocessing="caffe-rgb")
    assert_made_up(weights)
    assert weights.preprocessing == PREPROCESSINGS["caffe-rgb"]


def test_npz_of_a_state_dict(tmp_path):
    np.savez_compressed(tmp_path / "file.npz", **state_dict())
    weights = extract(tmp_path / "file.npz", "made-up", LAYERS)
    assert_made_up(weights)
    assert weights.preprocessing == PREPROCESSINGS["torchvision"]


def test_npz_is_matched_by_names_whatever_the_order(tmp_path):
    state = state_dict(("conv1_1", "conv1_2", "conv2_1", "conv2_2"))
    np.savez(tmp_path / "file.npz", **dict(reversed(state.items())))
    assert_made_up(extract(tmp_path / "file.npz", "made-up", LAYERS))


def test_npz_with_objects_is_refused(tmp_path):
    np.savez(tmp_path / "file.npz", a=np.array([{}]))
    with pytest.raises(WeightsError, match=r"file\.npz has a\.npy, which is not an array of numbers"):
        read_npz(tmp_path / "file.npz")


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_safetensors_are_ordered_by_the_numbers_in_their_names(tmp_path, dtype):
    state = {name: array.astype(dtype) for name, array in state_dict().items()}
    write_safetensors(tmp_path / "file.safetensors", state | {"step": np.array([3])})
    weights = extract(tmp_path / "file.safetensors", "made-up", LAYERS)
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


def _shaped(shape):
    def change(entries):
        entries["features.0.bias"]["shape"] = shape
        return entries

    return change


@pytest.mark.parametrize(
    "header, message",
    [
        (_moved("features.2.weight", -4, -4), "has features.2.weight where other tensors are"),
        (_moved("features.5.weight", 4, 4), "has features.5.weight where other tensors are"),
        (_moved("features.0.weight", 4, 0), "has features.0.weight whose length does not match"),
        (_moved("features.0.bias", -8, 0), "where other tensors are"),
        (_moved("features.0.weight", 10, -(10**6)), "where other tensors are"),
        (lambda entries: {**entries, "x": 3}, "is damaged"),
        (lambda entries: {**entries, "x": {"dtype": "F32", "shape": [1]}}, "is damaged"),
        (lambda entries: {}, "is damaged|holds no filters"),
        (_shaped([10**4000] * 900), "has features.0.bias whose length does not match"),
        (_shaped([1] * 100_000), "has features.0.bias whose length does not match"),
        (_shaped([-4, -1]), "has features.0.bias whose length does not match"),
    ],
)
def test_safetensors_with_an_invalid_header_are_refused(tmp_path, header, message):
    write_safetensors(tmp_path / "file.safetensors", state_dict(), header)
    with pytest.raises(WeightsError, match=rf"file\.safetensors .*({message})"):
        extract(tmp_path / "file.safetensors", "made-up", LAYERS)


def test_a_header_that_claims_to_be_huge_is_not_read(tmp_path):
    (tmp_path / "file.safetensors").write_bytes((2**32 - 1).to_bytes(8, "little") + b"{}")
    with pytest.raises(WeightsError, match=r"header of 4294967295 bytes, which is too large"):
        read_safetensors(tmp_path / "file.safetensors")


def _npy(shape, content=b"", version=(1, 0), padding=0):
    """The bytes of an array that says it has a shape, whatever content follows."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode() + b" " * padding + b"\n"
    length = len(header).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + length + header + content


@pytest.mark.parametrize(
    "content, message",
    [
        (_npy((3, 3, 3, 100_000_000)), "shape of conv1_1's filters"),
        (_npy((3, 3, 3, 4), bytes(200_000_000)), r"no bias for conv1_1"),
        (_npy((3, 3, 3, 4), version=(2, 0), padding=100_000_000), "in a newer format"),
    ],
    ids=["shape", "content", "header"],
)
def test_npz_that_expands_is_not_expanded(tmp_path, content, message):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("conv1_1.weight.npy", content)
    message_, allocated = peak(extract, tmp_path / "bomb.npz", "made-up", LAYERS[:1])
    assert message in message_
    assert allocated < 5e6


def test_npz_with_many_members_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "many.npz", "w") as archive:
        for i in range(10_001):
            archive.writestr(f"{i}.npy", b"")
    with pytest.raises(WeightsError, match=r"many\.npz holds more than 10000 arrays"):
        read_npz(tmp_path / "many.npz")


def test_other_members_of_an_npz_are_ignored(tmp_path):
    np.savez(tmp_path / "file.npz", **state_dict())
    with zipfile.ZipFile(tmp_path / "file.npz", "a") as archive:
        archive.writestr("README.txt", "some text")
    assert_made_up(extract(tmp_path / "file.npz", "made-up", LAYERS))
