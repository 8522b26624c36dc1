import dataclasses
import os
import resource
import stat

import h5py
import numpy as np
import pytest
from foreign_files import LAYERS, NAMES, assert_made_up, made_up

from stylecore.errors import WeightsError
from stylecore.weights.store import PREPROCESSINGS, Preprocessing, Weights, describe, read, write


def made_up_weights(**changes):
    filters, biases = made_up()
    parts = {
        "network": "made-up",
        "layers": LAYERS,
        "filters": filters,
        "biases": biases,
        "preprocessing": PREPROCESSINGS["caffe"],
        "source": "a test",
        "sha256": "0" * 64,
    }
    return Weights(**{**parts, **changes})


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "net.h5"
    write(made_up_weights(), path)
    return path


def test_weights_survive_the_file(stored):
    weights = read(stored)
    assert_made_up(weights)
    assert weights.layers == LAYERS
    assert weights.preprocessing == PREPROCESSINGS["caffe"]
    assert (weights.network, weights.source, weights.sha256) == ("made-up", "a test", "0" * 64)
    assert weights.filters["conv2_1"].flags.c_contiguous
    assert isinstance(weights.preprocessing.mean[0], float)


def test_half_precision_takes_half_the_room(tmp_path, stored):
    path = tmp_path / "half.h5"
    weights = made_up_weights()
    write(weights, path, "float16")
    with h5py.File(path) as file:
        assert file["conv1_1/filters"].dtype == np.float16
    half = read(path)
    for name, filters in weights.filters.items():
        assert half.filters[name].dtype == np.float32
        np.testing.assert_allclose(half.filters[name], filters, rtol=1e-3, atol=1e-7)


def test_the_layout_is_as_documented(stored):
    filters, _ = made_up()
    with h5py.File(stored) as file:
        assert set(file.attrs) == {
            *("format", "format_version", "network", "architecture", "source", "sha256"),
            *("channel_order", "scale", "mean", "std"),
        }
        assert file.attrs["format"] == b"stylecore-weights"
        assert file.attrs["format_version"] == 1
        assert set(file) == set(NAMES)
        assert file["conv1_1/filters"].dtype == np.float32
        assert file["conv1_1/bias"].shape == (4,)
        np.testing.assert_array_equal(file["conv1_1/filters"], filters["conv1_1"])


def test_a_file_gets_the_usual_permissions_and_leaves_nothing_beside_it(stored):
    beside = stored.with_name("ordinary")
    beside.touch()
    assert stat.S_IMODE(stored.stat().st_mode) == stat.S_IMODE(beside.stat().st_mode)
    beside.unlink()
    assert list(stored.parent.iterdir()) == [stored]


def test_on_a_full_disk_the_old_file_stays(stored):
    before = stored.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        with pytest.raises(WeightsError, match=r"net\.h5 cannot be written \(File too large\)"):
            write(made_up_weights(network="other"), stored)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert stored.read_bytes() == before
    assert list(stored.parent.iterdir()) == [stored]


def test_when_writing_is_interrupted_the_old_file_stays(stored, monkeypatch):
    before = stored.read_bytes()

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(made_up_weights(network="other"), stored)
    assert stored.read_bytes() == before
    assert list(stored.parent.iterdir()) == [stored]


def test_writing_through_a_link_replaces_what_it_points_to(stored):
    link = stored.with_name("link.h5")
    link.symlink_to(stored)
    write(made_up_weights(network="other"), link)
    assert link.is_symlink()
    assert read(stored).network == "other"


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere/net\.h5 cannot be written \(No such file"):
        write(made_up_weights(), tmp_path / "nowhere" / "net.h5")


@pytest.mark.parametrize(
    "path, message", [("missing.h5", r"missing\.h5 is not a file"), (".", "is not a file; name an HDF5 file")]
)
def test_what_is_no_file_is_refused(tmp_path, path, message):
    with pytest.raises(WeightsError, match=message):
        read(tmp_path / path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89HDF\r\n\x1a\n" + b"\xff" * 100])
def test_a_file_that_is_no_hdf5_is_sent_to_convert(tmp_path, content):
    path = tmp_path / "net.h5"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"net\.h5 is (not a file of stylecore's.*convert|damaged)"):
        read(path)


def test_an_hdf5_file_of_another_kind_is_sent_to_convert(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = [1, 2, 3]
    with pytest.raises(WeightsError, match="not a file of stylecore's weights; run `stylecore weights convert"):
        read(tmp_path / "other.h5")


def test_every_truncation_is_found(stored):
    whole = stored.read_bytes()
    for length in range(0, len(whole) - 1, 997):
        stored.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"net\.h5"):
            read(stored)


def test_a_flipped_bit_in_the_numbers_is_found(stored):
    filters, _ = made_up()
    content = bytearray(stored.read_bytes())
    start = bytes(content).index(filters["conv2_1"].tobytes())
    content[start + 100] ^= 1
    stored.write_bytes(content)
    with pytest.raises(WeightsError, match=r"net\.h5 is damaged"):
        read(stored)


def _set(name, value):
    def change(file):
        file.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else value

    return change


def _replace(name, value):
    def change(file):
        del file[name]
        file[name] = value

    return change


@pytest.mark.parametrize(
    "change, message",
    [
        (_set("format_version", 2), "of version 2 of the layout, which is newer.*upgrade stylecore"),
        (_set("format_version", "new"), "damaged"),
        (_set("format", "other"), "not a file of stylecore's weights"),
        (_set("architecture", "[]]"), "damaged"),
        (_set("architecture", "[3]"), "damaged"),
        (_set("channel_order", "GBR"), "does not fit together: the preprocessing .*RGB or BGR"),
        (_set("std", [1.0, 0.0, 1.0]), "does not fit together"),
        (_set("mean", [1.0, np.nan, 1.0]), "does not fit together"),
        (_set("mean", [1.0, 1.0]), "does not fit together"),
        (lambda file: file.attrs.__delitem__("sha256"), "damaged"),
        (lambda file: file.__delitem__("conv2_2"), "damaged"),
        (_replace("conv2_2/bias", np.zeros(5, np.float32)), r"bias of conv2_2 of shape \(5,\).*needs \(6,\)"),
        (_replace("conv2_2/bias", np.zeros(6)), "bias of conv2_2 of type float64"),
        (_replace("conv2_2/bias", np.full(6, np.inf, np.float32)), "bias of conv2_2 with NaN or infinite"),
    ],
)
def test_what_does_not_fit_in_a_file_is_named(stored, change, message):
    with h5py.File(stored, "a") as file:
        change(file)
    with pytest.raises(WeightsError, match=message) as caught:
        read(stored)
    assert str(stored) in str(caught.value)


def test_weights_that_do_not_fit_cannot_be_made():
    filters, biases = made_up()
    with pytest.raises(WeightsError, match=r"a test has no filters of conv2_1, which made-up needs"):
        made_up_weights(filters={name: filters[name] for name in NAMES if name != "conv2_1"})
    with pytest.raises(WeightsError, match=r"filters of conv1_1 of shape \(3, 3, 4, 3\).*needs \(3, 3, 3, 4\)"):
        made_up_weights(filters={**filters, "conv1_1": filters["conv1_1"].transpose(0, 1, 3, 2)})
    biases["conv1_2"][3] = np.nan
    with pytest.raises(WeightsError, match="bias of conv1_2 with NaN"):
        made_up_weights(biases=biases)


def test_weights_cannot_be_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        made_up_weights().network = "other"


@pytest.mark.parametrize(
    "changes",
    [
        {"channel_order": "rgb"},
        {"scale": 0.0},
        {"scale": np.inf},
        {"mean": (1.0, 2.0)},
        {"std": (1.0, -1.0, 1.0)},
    ],
)
def test_impossible_preprocessing_is_refused(changes):
    parts = {"channel_order": "RGB", "scale": 1.0, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    with pytest.raises(WeightsError, match="cannot be used"):
        Preprocessing(**{**parts, **changes})


def test_describe_tells_what_a_person_wants_to_know(stored):
    text = describe(stored)
    for part in (str(stored), "made-up", "a test", "0" * 64, "255 x BGR - (103.939, 116.779, 123.68)"):
        assert part in text
    filters, biases = made_up()
    count = sum(array.size for array in (*filters.values(), *biases.values()))
    assert f"{count:,}" in text
    assert "conv2_1  5 x 5, stride 1, 5 -> 6 channels" in text
    assert len(text.splitlines()) == 7 + len(LAYERS)
