import io
import json
from dataclasses import replace

import numpy as np
import pytest

from stylecore.errors import DataError, ParameterError
from stylecore.training import checkpoints
from stylecore.training.checkpoints import Identity
from stylecore.training.settings import AutoencoderSettings, ClassifierSettings
from stylecore.weights.architectures import Conv

IDENTITY = Identity("cnn", ClassifierSettings(classes=("a", "b")), "data")
HISTORY = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]
ARRAYS = {"values": np.arange(5, dtype=np.float32), "state": np.arange(3.0), "steps": np.array(7)}


def empty():
    return {name: np.zeros_like(array) for name, array in ARRAYS.items()}


def write(path, change):
    """A checkpoint whose JSON object is changed by a function."""
    with np.load(io.BytesIO(checkpoints.dump(IDENTITY, HISTORY, ARRAYS))) as file:
        arrays = {name: file[name] for name in file.files}
    training = change(json.loads(arrays.pop("training").tobytes()))
    np.savez(path, training=np.frombuffer(json.dumps(training).encode(), np.uint8), **arrays)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "cnn.checkpoint.npz"
    path.write_bytes(checkpoints.dump(IDENTITY, HISTORY, ARRAYS))
    return path


def test_arrays_and_history_are_restored(path):
    arrays = empty()
    checkpoints.check_format(path)
    assert checkpoints.load(path, IDENTITY, arrays) == HISTORY
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, ARRAYS[name])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (replace(IDENTITY, network="autoencoder", settings=AutoencoderSettings()), "another kind of network"),
        (
            replace(IDENTITY, settings=replace(IDENTITY.settings, batch=8)),
            "with batch 128 and not 8; resume it with that",
        ),
        (
            replace(IDENTITY, settings=replace(IDENTITY.settings, architecture=[Conv("a", 3, 8)])),
            "another architecture",
        ),
        (replace(IDENTITY, data="other"), "belongs to a training on other data; resume it with those, or delete it"),
        (
            replace(IDENTITY, environment={**IDENTITY.environment, "Numba": "0.0"}),
            r"was written with Numba .* instead of 0\.0, so the network could differ; resume it with that",
        ),
    ],
    ids=["network", "setting", "architecture", "data", "environment"],
)
def test_another_training_is_refused(path, other, message):
    arrays = empty()
    with pytest.raises(ParameterError, match=message):
        checkpoints.load(path, other, arrays)
    assert not any(array.any() for array in arrays.values())


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 no archive either"])
def test_files_of_another_kind_are_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(DataError, match="is damaged or not the checkpoint of a training; move or delete it"):
        checkpoints.check_format(path)


def test_arrays_of_another_program_are_refused(path):
    np.savez(path, weights=np.zeros(3))
    with pytest.raises(DataError, match="not the checkpoint of a training"):
        checkpoints.check_format(path)
    np.save(path.with_suffix(".npy"), np.zeros(3))
    path.write_bytes(path.with_suffix(".npy").read_bytes())
    with pytest.raises(DataError, match="not the checkpoint of a training"):
        checkpoints.check_format(path)


def test_a_truncated_file_is_refused(path):
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="is damaged"):
        checkpoints.load(path, IDENTITY, empty())


def test_other_versions_are_refused(path):
    write(path, lambda training: {**training, "format_version": 3})
    with pytest.raises(ParameterError, match=r"was written by another version of stylecore; delete it"):
        checkpoints.load(path, IDENTITY, empty())


@pytest.mark.parametrize(
    "change",
    [
        lambda training: [],
        lambda training: None,
        lambda training: {},
        lambda training: {**training, "format": "another"},
        lambda training: {**training, "history": {"epoch": 1}},
        lambda training: {**training, "history": [1, 2]},
        lambda training: {**training, "history": [{"epoch": 2}]},
        lambda training: {**training, "history": [{"epoch": 1, "loss": "low"}]},
        lambda training: {**training, "environment": 3},
        lambda training: {**training, "settings": None},
        lambda training: {**training, "settings": {**training["settings"], "architecture": [3]}},
        lambda training: {**training, "settings": {**training["settings"], "batch": "many"}},
        lambda training: {**training, "settings": {**training["settings"], "unknown": 1}},
    ],
)
def test_json_of_another_structure_is_refused(path, change):
    write(path, change)
    with pytest.raises(DataError, match="is damaged"):
        checkpoints.load(path, IDENTITY, empty())


def test_arrays_of_another_shape_are_refused(path):
    for name, array in (("values", np.zeros(6, np.float32)), ("values", np.zeros(5)), ("more", np.zeros(1))):
        with pytest.raises(DataError, match="its arrays do not fit the network"):
            checkpoints.load(path, IDENTITY, {**empty(), name: array})
