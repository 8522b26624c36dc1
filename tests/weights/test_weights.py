"""`stylecore.weights.load`, and the default network after it has been fetched."""

import importlib
import os
from pathlib import Path

import numpy as np
import pytest
from foreign_files import LAYERS, assert_made_up, state_dict, write_torch_old, write_without_digest

from stylecore import weights
from stylecore.errors import ParameterError, WeightsError


@pytest.fixture
def stored(tmp_path):
    write_torch_old(tmp_path / "net.pth", state_dict())
    weights.convert(tmp_path / "net.pth", "made-up", tmp_path / "net.h5", layers=LAYERS)
    return tmp_path / "net.h5"


def test_a_file_is_loaded_by_path_or_text(stored, monkeypatch):
    assert_made_up(weights.load(stored))
    assert_made_up(weights.load(str(stored)))
    monkeypatch.chdir(stored.parent)
    assert_made_up(weights.load("net.h5"))
    stored.rename(stored.with_name("net"))
    assert_made_up(weights.load("net"))


def test_weights_are_returned_unchanged(stored):
    loaded = weights.load(stored)
    assert weights.load(loaded) is loaded


def test_another_programs_file_must_be_converted(stored):
    with pytest.raises(WeightsError, match=r"net\.pth is not in stylecore's format; run `stylecore"):
        weights.load(stored.with_name("net.pth"))


@pytest.mark.parametrize("name", ["missing.h5", "missing.hdf5", "./missing", "folder/missing"])
def test_a_missing_file_is_not_an_unknown_network(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=rf"{name} is not a file"):
        weights.load(name)


@pytest.mark.parametrize(
    "name, message",
    [
        ("vgg91", 'network "vgg91" is not known.*vgg1'),
        ("densenet", 'network "densenet" is not known.*vgg19, vgg16, alexnet'),
        ("", "vgg19, vgg16, alexnet"),
        (19, "is not known"),
        (["vgg19"], "is not known"),
    ],
)
def test_an_unknown_network_is_refused_with_the_known_ones(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError, match=message):
        weights.load(name)


def test_no_module_has_the_name_of_a_function():
    folder = Path(weights.__file__).parent
    modules = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert not modules & set(weights.__all__)
    assert callable(weights.fetch) and callable(weights.convert)
    for name in ("fetch", "convert"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"stylecore.weights.{name}")


def test_the_cached_file_of_an_older_version_is_given_a_digest(stored, monkeypatch):
    folder = stored.parent
    write_without_digest(stored, folder / "vgg19.h5")
    monkeypatch.setenv("STYLECORE_CACHE", str(folder))
    assert_made_up(weights.load("vgg19"))
    assert (folder / "vgg19.h5").read_bytes().startswith(b"stylecore-weights\n")
    assert_made_up(weights.load("vgg19"))


def test_a_cache_folder_that_is_read_only_is_used_as_it_is(stored, monkeypatch):
    folder = stored.parent
    write_without_digest(stored, folder / "vgg19.h5")
    monkeypatch.setenv("STYLECORE_CACHE", str(folder))

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    assert_made_up(weights.load("vgg19"))
    assert (folder / "vgg19.h5").read_bytes().startswith(b"\x89HDF")


def test_the_shipped_network_has_a_digest():
    assert weights.SHIPPED["small"].read_bytes().startswith(b"stylecore-weights\n")
    assert weights.load("small").network == "cnn"


@pytest.mark.vgg19
def test_the_default_network_is_gatys_normalised_vgg19():
    vgg19 = weights.load("vgg19")
    assert vgg19.layers == weights.ARCHITECTURES["vgg19"]
    assert vgg19.preprocessing == weights.PREPROCESSINGS["caffe"]
    assert vgg19.sha256 == "804ca2835ecf7539f0cd2a7ac3c18ce81e6f8468969ae7117ac0c148d286bb4a"
    assert vgg19.filters["conv1_1"].shape == (3, 3, 3, 64)
    assert vgg19.filters["conv5_4"].shape == (3, 3, 512, 512)
    # The first filter on red is a multiple of that in the published network, whose first numbers are printed
    # in many places; so the rows are rows, the columns columns, and blue comes first.
    published = np.array([[0.39416704, 0.37740308, -0.04594866], [0.2671299, np.nan, np.nan]])
    first = vgg19.filters["conv1_1"][:2, :, 2, 0]
    known = np.isfinite(published)
    np.testing.assert_allclose(first[known] / first[0, 0], published[known] / published[0, 0], rtol=1e-5)
