import os
from functools import partial

import h5py
import numpy as np
import pytest
from foreign_files import LAYERS, NAMES, assert_made_up, made_up, peak, write_keras, write_without_digest

from stylecore.errors import WeightsError
from stylecore.weights.conversion import convert, extract
from stylecore.weights.network import PREPROCESSINGS
from stylecore.weights.readers.keras import read_keras
from stylecore.weights.store import write


@pytest.mark.parametrize("whole", [False, True])
def test_weights_and_whole_models_are_read(tmp_path, whole):
    write_keras(tmp_path / "file.h5", whole=whole)
    weights = extract(tmp_path / "file.h5", "made-up", LAYERS)
    assert_made_up(weights)
    assert weights.preprocessing == PREPROCESSINGS["caffe"]


def test_a_network_that_is_not_keras_own_may_have_any_preprocessing(tmp_path):
    write_keras(tmp_path / "file.h5", layers=("conv2d_8", "conv2d_9", "conv2d_10", "conv2d_11"))
    with pytest.raises(WeightsError, match="does not say which preprocessing"):
        extract(tmp_path / "file.h5", "made-up", LAYERS)
    assert_made_up(extract(tmp_path / "file.h5", "made-up", LAYERS, preprocessing="caffe"))


def test_theanos_filters_are_refused(tmp_path):
    filters, biases = made_up()
    with h5py.File(tmp_path / "file.h5", "w") as file:
        for name in NAMES:
            file[f"block_{name}/W"] = filters[name].transpose(3, 2, 0, 1)
            file[f"block_{name}/b"] = biases[name]
    with pytest.raises(WeightsError, match=r"file\.h5 holds filters in Theano's layout"):
        read_keras(tmp_path / "file.h5")


def test_batch_normalisation_is_refused(tmp_path):
    write_keras(tmp_path / "file.h5")
    with h5py.File(tmp_path / "file.h5", "a") as file:
        file["bn/bn/moving_mean:0"] = np.zeros(4, np.float32)
    with pytest.raises(WeightsError, match="batch normalisation"):
        read_keras(tmp_path / "file.h5")


def test_an_hdf5_file_of_something_else_is_refused(tmp_path):
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file["temperature"] = np.zeros(365)
    with pytest.raises(WeightsError, match=r"file\.h5 holds no filters"):
        read_keras(tmp_path / "file.h5")


def test_a_file_that_is_stylecores_own_needs_no_conversion(tmp_path):
    write_keras(tmp_path / "file.h5")
    write(extract(tmp_path / "file.h5", "made-up", LAYERS), tmp_path / "new.h5")
    write_without_digest(tmp_path / "new.h5", tmp_path / "old.h5")
    for name in ("new.h5", "old.h5"):
        with pytest.raises(WeightsError, match=rf"{name} is in stylecore's own layout already"):
            extract(tmp_path / name, "made-up", LAYERS)


def _shaped(file, **options):
    file.create_dataset("a/kernel:0", (3, 3, 512, 1_000_000), "f4", chunks=(3, 3, 16, 16), **options)


def _large_chunk(file):
    """One chunk of 4 GB for an array of 432 bytes."""
    file.create_dataset("a/kernel:0", (3, 3, 3, 4), "f4", chunks=(3, 3, 3, 10_000_000), maxshape=(3, 3, 3, None))


def _external(file):
    open("numbers", "wb").close()
    file.create_dataset("a/kernel:0", (3, 3, 3, 4), "f4", external=[("numbers", 0, h5py.h5f.UNLIMITED)])


def _virtual(file):
    layout = h5py.VirtualLayout((3, 3, 3, 4), "f4")
    layout[...] = h5py.VirtualSource("other.h5", "numbers", (3, 3, 3, 4))
    file.create_virtual_dataset("a/kernel:0", layout)


def _linked(file):
    file["model_weights"] = h5py.ExternalLink("other.h5", "/")


def _many(file):
    for i in range(10_001):
        file.create_group(str(i))


@pytest.mark.parametrize(
    "fill, message",
    [
        (_shaped, "shape of conv1_1's filters is"),
        (partial(_shaped, compression="gzip"), "shape of conv1_1's filters is"),
        (_large_chunk, "is damaged"),
        (_external, "is damaged"),
        (_virtual, "is damaged"),
        (_linked, "is damaged"),
        (_many, "holds more than 10000 datasets"),
    ],
)
def test_no_more_is_read_than_a_network_has(tmp_path, monkeypatch, fill, message):
    monkeypatch.chdir(tmp_path)
    write_keras(tmp_path / "other.h5")
    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        fill(file)
    assert (tmp_path / "bomb.h5").stat().st_size < 10e6
    text, allocated = peak(partial(extract, preprocessing="caffe"), tmp_path / "bomb.h5", "made-up", LAYERS[:1])
    assert f"bomb.h5 {message}" in text or message in text
    assert allocated < 10e6


def test_conversion_happens_in_a_child_process(tmp_path, monkeypatch):
    write_keras(tmp_path / "file.h5")
    monkeypatch.setattr(h5py, "File", partial(_open_in_memory, h5py.File))
    assert_made_up(convert(tmp_path / "file.h5", "made-up", layers=LAYERS))


def _open_in_memory(opened, file, *arguments, **options):
    assert not isinstance(file, str | os.PathLike)
    return opened(file, *arguments, **options)
