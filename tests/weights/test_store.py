import dataclasses
import hashlib
import os
import resource
import stat

import h5py
import numpy as np
import pytest
from foreign_files import LAYERS, NAMES, assert_made_up, made_up, peak, write_without_digest

from stylecore.errors import WeightsError
from stylecore.weights.architectures import to_json
from stylecore.weights.network import PREPROCESSINGS, Preprocessing, Weights
from stylecore.weights.store import add_digest, check, read, summary, write


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


@pytest.fixture
def without_digest(stored):
    """A file as older versions of the program wrote it."""
    path = stored.with_name("old.h5")
    write_without_digest(stored, path)
    return path


def test_weights_survive_the_file(stored):
    weights = read(stored)
    assert_made_up(weights)
    assert weights.layers == LAYERS
    assert weights.preprocessing == PREPROCESSINGS["caffe"]
    assert (weights.network, weights.source, weights.sha256) == ("made-up", "a test", "0" * 64)
    assert weights.filters["conv2_1"].flags.c_contiguous
    assert isinstance(weights.preprocessing.mean[0], float)


def test_half_precision_takes_half_the_space(tmp_path, stored):
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
    "path, message", [("missing.h5", r"missing\.h5 is not a file"), (".", "is not a file; give a file of weights")]
)
def test_what_is_no_file_is_refused(tmp_path, path, message):
    with pytest.raises(WeightsError, match=message):
        read(tmp_path / path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89HDF\r\n\x1a\n" + b"\xff" * 100])
def test_a_file_that_is_no_hdf5_is_sent_to_convert(tmp_path, content):
    path = tmp_path / "net.h5"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"net\.h5 is (not in stylecore's format.*convert|damaged)"):
        read(path)


def test_an_hdf5_file_of_another_kind_is_sent_to_convert(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = [1, 2, 3]
    with pytest.raises(WeightsError, match="not in stylecore's format; run `stylecore weights convert"):
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
        (_set("format_version", 2), "has version 2 of the format, which is newer.*upgrade stylecore"),
        (_set("format_version", "new"), "damaged"),
        (_set("format", "other"), "is not in stylecore's format"),
        (_set("architecture", "[]]"), "damaged"),
        (_set("architecture", "[3]"), "damaged"),
        (_set("channel_order", "GBR"), "cannot be used: the preprocessing .*RGB or BGR"),
        (_set("std", [1.0, 0.0, 1.0]), "cannot be used"),
        (_set("mean", [1.0, np.nan, 1.0]), "cannot be used"),
        (_set("mean", [1.0, 1.0]), "cannot be used"),
        (lambda file: file.attrs.__delitem__("sha256"), "damaged"),
        (lambda file: file.__delitem__("conv2_2"), "damaged"),
        (_replace("conv2_2/bias", np.zeros(5, np.float32)), r"shape of conv2_2's bias is \(5,\).*needs \(6,\)"),
        (_replace("conv2_2/bias", np.zeros(6)), "type of conv2_2's bias is float64"),
        (_replace("conv2_2/bias", np.full(6, np.inf, np.float32)), "NaN or infinity in conv2_2's bias"),
    ],
)
def test_what_does_not_fit_in_a_file_is_named(without_digest, change, message):
    with h5py.File(without_digest, "a") as file:
        change(file)
    with pytest.raises(WeightsError, match=message) as caught:
        read(without_digest)
    assert str(without_digest) in str(caught.value)


def test_weights_that_do_not_fit_cannot_be_made():
    filters, biases = made_up()
    with pytest.raises(WeightsError, match=r"it has no filters for conv2_1, which made-up needs"):
        made_up_weights(filters={name: filters[name] for name in NAMES if name != "conv2_1"})
    with pytest.raises(WeightsError, match=r"shape of conv1_1's filters is \(3, 3, 4, 3\).*needs \(3, 3, 3, 4\)"):
        made_up_weights(filters={**filters, "conv1_1": filters["conv1_1"].transpose(0, 1, 3, 2)})
    biases["conv1_2"][3] = np.nan
    with pytest.raises(WeightsError, match="NaN or infinity in conv1_2's bias"):
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
    with pytest.raises(WeightsError, match="is invalid"):
        Preprocessing(**{**parts, **changes})


def test_the_summary_has_what_a_person_wants_to_know(stored):
    text = summary(stored)
    for part in (str(stored), "made-up", "a test", "0" * 64, "255 x BGR - (103.939, 116.779, 123.68)"):
        assert part in text
    filters, biases = made_up()
    count = sum(array.size for array in (*filters.values(), *biases.values()))
    assert f"{count:,}" in text
    assert "conv2_1  5 x 5, stride 1, 5 -> 6 channels" in text
    assert len(text.splitlines()) == 7 + len(LAYERS)


@pytest.mark.parametrize("beginning", [b"stylecore-weights\n", b"\x89HDF\r\n\x1a\n"])
def test_a_file_larger_than_any_network_is_refused(tmp_path, beginning):
    with open(tmp_path / "net.h5", "wb") as file:
        file.write(beginning)
        file.truncate(10**12)
    with pytest.raises(WeightsError, match=r"net\.h5 has 1000\.0 GB, more than any network here"):
        read(tmp_path / "net.h5")


def test_files_of_older_versions_are_read(without_digest):
    assert without_digest.read_bytes().startswith(b"\x89HDF")
    weights = read(without_digest)
    assert_made_up(weights)
    assert (weights.network, weights.source, weights.sha256) == ("made-up", "a test", "0" * 64)
    assert read(without_digest, ["relu1_2"]).layers == LAYERS[:2]
    check(without_digest)


def test_files_of_older_versions_are_read_in_a_child_process(without_digest, monkeypatch):
    opened = h5py.File

    def in_memory(file, *arguments, **options):
        assert not isinstance(file, str | os.PathLike)
        return opened(file, *arguments, **options)

    monkeypatch.setattr(h5py, "File", in_memory)
    assert_made_up(read(without_digest))


def test_a_file_of_an_older_version_can_be_given_a_digest(without_digest):
    add_digest(without_digest)
    content = without_digest.read_bytes()
    assert content.startswith(b"stylecore-weights\n")
    assert_made_up(read(without_digest))
    add_digest(without_digest)
    assert without_digest.read_bytes() == content


def test_the_digest_is_checked_before_hdf5_opens_the_file(stored, monkeypatch):
    """Whatever byte is wrong, but for the zeros that fill the user block."""
    monkeypatch.setattr(h5py, "File", None)
    whole = stored.read_bytes()
    assert whole[18:82].decode() == hashlib.sha256(whole[512:]).hexdigest()
    assert set(whole[83:512]) == {0}
    rng = np.random.default_rng(0)
    for position in [*range(0, 82, 5), *rng.integers(512, len(whole), 200)]:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.integers(8)
        stored.write_bytes(damaged)
        for function in (read, check, summary):
            with pytest.raises(WeightsError, match=r"net\.h5 is (damaged|not in stylecore's format)"):
                function(stored)
    stored.write_bytes(whole)
    check(stored)


def test_damage_of_a_file_without_a_digest_is_a_sentence(without_digest):
    """The HDF5 library crashes on some damaged files; which ones depends on its version."""
    whole = without_digest.read_bytes()
    rng = np.random.default_rng(1)
    places = np.flatnonzero(np.frombuffer(whole[:4000], np.uint8))
    for _ in range(8):
        damaged = bytearray(whole)
        for position in rng.choice(places, 4):
            damaged[position] = rng.integers(256)
        without_digest.write_bytes(damaged)
        try:
            read(without_digest)
        except WeightsError as error:
            assert str(error).startswith(str(without_digest))
            assert "\n" not in str(error)


def _large_filters(file):
    del file["conv1_1/filters"]
    file.create_dataset("conv1_1/filters", (3, 3, 3, 10**9), "f4", chunks=(3, 3, 3, 100))


def _large_chunk(file):
    del file["conv1_1/filters"]
    file.create_dataset("conv1_1/filters", (3, 3, 3, 4), "f4", chunks=(3, 3, 3, 10**7), maxshape=(3, 3, 3, None))


def _large_text(file):
    del file["conv1_1/bias"]
    file.create_dataset("conv1_1/bias", (4,), "S100000000", chunks=(1,))


def _large_architecture(file):
    layers = (LAYERS[0], LAYERS[1]._replace(out_channels=10**9))
    file.attrs["architecture"] = np.bytes_(to_json(layers))
    del file["conv1_2"]
    file.create_dataset("conv1_2/filters", (3, 3, 4, 10**9), "f4", chunks=(3, 3, 4, 100))
    file.create_dataset("conv1_2/bias", (10**9,), "f4", chunks=(100,))


def _external_link(file):
    del file["conv1_1"]
    file["conv1_1"] = h5py.ExternalLink("net.h5", "/conv1_1")


def _soft_link(file):
    del file["conv1_1/bias"]
    file["conv1_1/bias"] = h5py.SoftLink("/conv1_2/bias")


def _no_layers(file):
    file.attrs["architecture"] = np.bytes_(b"[]")


@pytest.mark.parametrize(
    "change, message",
    [
        (_large_filters, "shape of conv1_1's filters is"),
        (_large_chunk, "is damaged"),
        (_large_text, "is damaged"),
        (_large_architecture, "is damaged"),
        (_external_link, "is damaged"),
        (_soft_link, "is damaged"),
        (_no_layers, "is damaged"),
    ],
)
@pytest.mark.parametrize("has_digest", [False, True])
def test_no_more_is_read_than_a_network_has(stored, without_digest, change, message, has_digest):
    path = stored if has_digest else without_digest
    with h5py.File(path, "a") as file:
        change(file)
    if has_digest:
        content = path.read_bytes()[512:]
        digest = hashlib.sha256(content).hexdigest().encode()
        path.write_bytes((b"stylecore-weights\n" + digest + b"\n").ljust(512, b"\0") + content)
    assert path.stat().st_size < 10e6
    text, allocated = peak(read, path)
    assert message in text
    assert allocated < 10e6


def test_a_file_that_cannot_be_read_is_named(stored, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(WeightsError, match=r"net\.h5 cannot be read \(Permission denied\); change its permissions"):
        read(stored)
