import h5py
import numpy as np
import pytest
from foreign_files import LAYERS, NAMES, assert_made_up, made_up, write_keras

from stylecore.errors import WeightsError
from stylecore.weights.conversion import convert
from stylecore.weights.readers.keras import read_keras
from stylecore.weights.store import PREPROCESSINGS


@pytest.mark.parametrize("whole", [False, True])
def test_weights_and_whole_models_are_read(tmp_path, whole):
    write_keras(tmp_path / "file.h5", whole=whole)
    weights = convert(tmp_path / "file.h5", "made-up", layers=LAYERS)
    assert_made_up(weights)
    assert weights.preprocessing == PREPROCESSINGS["caffe"]


def test_a_network_that_is_not_keras_own_may_have_any_preprocessing(tmp_path):
    write_keras(tmp_path / "file.h5", layers=("conv2d_8", "conv2d_9", "conv2d_10", "conv2d_11"))
    with pytest.raises(WeightsError, match="does not tell which preprocessing"):
        convert(tmp_path / "file.h5", "made-up", layers=LAYERS)
    assert_made_up(convert(tmp_path / "file.h5", "made-up", layers=LAYERS, preprocessing="caffe"))


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
    convert(tmp_path / "file.h5", "made-up", tmp_path / "ours.h5", layers=LAYERS)
    with pytest.raises(WeightsError, match=r"ours\.h5 is in stylecore's own layout already"):
        convert(tmp_path / "ours.h5", "made-up", layers=LAYERS)
