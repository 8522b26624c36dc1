"""Files of painters."""

import h5py
import numpy as np
import pytest

import stylecore
from stylecore.errors import ParameterError, WeightsError
from stylecore.painter import files
from stylecore.weights import store


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_painter_is_read_as_it_was_written(weights, dtype, tmp_path):
    files.write(weights, tmp_path / "painter.h5", dtype)
    read = files.read(tmp_path / "painter.h5")
    assert (read.styles, read.table, read.source) == (weights.styles, weights.table, weights.source)
    for key, array in weights.arrays.items():
        assert read.arrays[key].dtype == np.float32
        np.testing.assert_array_equal(read.arrays[key], array.astype(dtype))


def test_other_files_are_refused_with_a_sentence(weights, tmp_path):
    path = tmp_path / "painter.h5"
    with pytest.raises(WeightsError, match="is not a file"):
        files.read(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match="not in stylecore's format"):
        files.read(path)
    with h5py.File(path, "w") as file:
        file["a"] = 1
    with pytest.raises(WeightsError, match="not a painter"):
        files.read(path)
    network = stylecore.weights.load("small")
    store.write(network, path)
    with pytest.raises(WeightsError, match="a network that `transfer` takes"):
        files.read(path)
    content = bytearray(files.encode(weights))
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        files.read(path)
    files.write(weights, path)
    with pytest.raises(WeightsError, match=r"damaged|format"):
        store.read(path)


@pytest.mark.parametrize(("version", "advice"), [(0, "train the painter again"), (2, "upgrade stylecore")])
def test_other_versions_are_refused(weights, version, advice, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "FORMAT_VERSION", version)
    files.write(weights, tmp_path / "painter.h5")
    monkeypatch.undo()
    with pytest.raises(WeightsError, match=f"has version {version} of the format.*{advice}"):
        files.read(tmp_path / "painter.h5")


def test_arrays_that_do_not_fit_the_table_are_refused(weights, tmp_path):
    path = tmp_path / "painter.h5"
    for key, array in (("scale", np.ones((2, 16))), ("filters", np.full((9, 9, 3, 16), np.nan))):
        arrays = {**weights.arrays, ("down1", key): array}
        files.write(files.PainterWeights(weights.styles, weights.table, arrays, ""), path)
        with pytest.raises(WeightsError, match="damaged, or not a painter"):
            files.read(path)


def test_a_mixture_adds_up_to_one(weights):
    np.testing.assert_array_equal(weights.mixture("dots"), [0, 1, 0])
    np.testing.assert_allclose(weights.mixture({"waves": 3, "night": 1}), [0.75, 0, 0.25])


@pytest.mark.parametrize(
    ("style", "message"),
    [
        ("dot", 'no style "dot".*dots'),
        ({"waves": -1.0}, "weight of waves is -1.0"),
        ({"waves": float("nan")}, "weight of waves"),
        ({"waves": True}, "weight of waves"),
        ({"waves": 0, "dots": 0}, "all weights of the styles are zero"),
        ({}, "all weights"),
    ],
)
def test_mixtures_that_make_no_sense_are_refused(weights, style, message):
    with pytest.raises(ParameterError, match=message):
        weights.mixture(style)
