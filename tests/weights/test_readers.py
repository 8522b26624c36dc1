import numpy as np
import pytest
from foreign_files import (
    LAYERS,
    assert_made_up,
    state_dict,
    write_flax,
    write_keras,
    write_matconvnet,
    write_npz,
    write_safetensors,
    write_torch_old,
    write_torch_zip,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stylecore.errors import WeightsError
from stylecore.weights.conversion import convert, extract
from stylecore.weights.readers import read_foreign

WRITERS = {
    "torch-zip": lambda path: write_torch_zip(path, state_dict()),
    "torch-old": lambda path: write_torch_old(path, state_dict()),
    "flax": write_flax,
    "keras": write_keras,
    "matconvnet": write_matconvnet,
    "npz": write_npz,
    "safetensors": lambda path: write_safetensors(path, state_dict()),
}


@pytest.fixture(scope="module", params=WRITERS)
def foreign(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("foreign") / "file.npz"
    WRITERS[request.param](path)
    return path


def _convert(path):
    return convert(path, "made-up", layers=LAYERS, preprocessing="caffe")


def _extract(path):
    return extract(path, "made-up", LAYERS, preprocessing="caffe")


def test_the_format_is_recognised_by_the_content(foreign):
    assert_made_up(_extract(foreign))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "has an unknown format"),
        (b"<!DOCTYPE html>", "has an unknown format"),
        (b"PK\x03\x04" + bytes(100), "is damaged"),
        (b"\x89HDF\r\n\x1a\n", "is damaged"),
        (b"\x80\x02", "is damaged"),
        (b"MATLAB 5.0 MAT-file", "is damaged|big-endian"),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64", "MATLAB version that is not supported; save it with -v7"),
        (b"\x10" + bytes(7) + b"{]", "is damaged"),
    ],
)
def test_other_content_is_refused(tmp_path, content, message):
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=rf"file\.pth .*({message})"):
        read_foreign(tmp_path / "file.pth")


def test_every_format_is_converted(foreign):
    assert_made_up(_convert(foreign))


def test_a_file_larger_than_any_network_is_refused(tmp_path):
    with open(tmp_path / "file.pth", "wb") as file:
        file.write(b"\x80\x02")
        file.truncate(10**12)
    with pytest.raises(WeightsError, match=r"file\.pth has 1000\.0 GB, more than any network here"):
        convert(tmp_path / "file.pth", "vgg19")


@pytest.mark.parametrize("name", ["missing.pth", "."])
def test_other_things_than_files_are_refused(tmp_path, name):
    with pytest.raises(WeightsError, match="is not a file; give a file of weights"):
        read_foreign(tmp_path / name)


def _check_damage(content, path, data, read):
    # Most of a file is numbers; most of what can go wrong is in its first and last bytes.
    places = st.one_of(
        st.integers(0, min(600, len(content) - 1)),
        st.integers(max(0, len(content) - 1500), len(content) - 1),
        st.integers(0, len(content) - 1),
    )
    for position in data.draw(st.lists(places, max_size=3)):
        content[position] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.one_of(st.just(len(content)), places))]
    path.write_bytes(content)
    try:
        weights = read(path)
    except WeightsError as error:
        assert "damaged" in str(error)
    else:
        assert all(np.isfinite(array).all() for array in weights.filters.values())


# The original file is not changed; the damaged copy is written for each example.
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damage_is_found_or_does_no_harm(foreign, tmp_path, data):
    """Whatever bytes are wrong, the outcome is weights or a WeightsError."""
    content = bytearray(foreign.read_bytes())
    if not content.startswith(b"\x89HDF"):
        _check_damage(content, tmp_path / "damaged", data, _extract)


@settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damage_of_hdf5_is_found_or_does_no_harm(tmp_path, data):
    """The HDF5 library crashes on some damaged files, so each is read in its own process."""
    write_keras(tmp_path / "file.h5")
    content = bytearray((tmp_path / "file.h5").read_bytes())
    _check_damage(content, tmp_path / "damaged", data, _convert)
