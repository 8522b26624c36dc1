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
from stylecore.weights.conversion import convert
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


def test_the_content_tells_the_kind_and_the_name_does_not(foreign):
    assert_made_up(_convert(foreign))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is of no kind that is read"),
        (b"<!DOCTYPE html>", "is of no kind that is read"),
        (b"PK\x03\x04" + bytes(100), "is damaged"),
        (b"\x89HDF\r\n\x1a\n", "is damaged"),
        (b"\x80\x02", "is damaged"),
        (b"MATLAB 5.0 MAT-file", "is damaged|big-endian"),
        (b"MATLAB 7.3 MAT-file, Platform: GLNXA64", "MATLAB version that is not read; save it with -v7"),
        (b"\x10" + bytes(7) + b"{]", "is damaged"),
    ],
)
def test_other_content_is_refused(tmp_path, content, message):
    (tmp_path / "file.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=rf"file\.pth .*({message})"):
        read_foreign(tmp_path / "file.pth")


@pytest.mark.parametrize("name", ["missing.pth", "."])
def test_what_is_no_file_is_refused(tmp_path, name):
    with pytest.raises(WeightsError, match="is not a file; name a file of weights"):
        read_foreign(tmp_path / name)


# The fixture's file stays as it is; the damaged copy is written anew for each example.
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damage_is_found_or_does_no_harm(foreign, tmp_path, data):
    """Whatever bytes are wrong, the end is weights or an error of ours; never another, and never a crash."""
    content = bytearray(foreign.read_bytes())
    # The numbers are most of a file; what can go wrong is mostly in its first bytes and last.
    places = st.one_of(
        st.integers(0, min(600, len(content) - 1)),
        st.integers(max(0, len(content) - 1500), len(content) - 1),
        st.integers(0, len(content) - 1),
    )
    for position in data.draw(st.lists(places, max_size=3)):
        content[position] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.one_of(st.just(len(content)), places))]
    path = tmp_path / "damaged"
    path.write_bytes(content)
    try:
        weights = _convert(path)
    except WeightsError as error:
        assert "damaged" in str(error)
    else:
        assert all(np.isfinite(array).all() for array in weights.filters.values())
