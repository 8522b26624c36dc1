import zlib

import numpy as np
import pytest
from foreign_files import LAYERS, assert_made_up, made_up, peak, write_matconvnet
from scipy.io import loadmat, savemat

from stylecore.errors import WeightsError
from stylecore.weights.conversion import extract
from stylecore.weights.network import Preprocessing
from stylecore.weights.readers import matconvnet
from stylecore.weights.readers.matconvnet import read_matconvnet


@pytest.mark.parametrize("old", [False, True])
def test_old_and_new_files_are_read(tmp_path, old):
    write_matconvnet(tmp_path / "file.mat", old=old, mean=(124.0, 117.0, 104.0))
    weights = extract(tmp_path / "file.mat", "made-up", LAYERS)
    assert_made_up(weights)
    assert weights.preprocessing == Preprocessing("RGB", 255.0, (124.0, 117.0, 104.0), (1.0, 1.0, 1.0))


def _rewrite(path, change=lambda content: None, **options):
    content = {name: value for name, value in loadmat(path).items() if not name.startswith("_")}
    change(content)
    savemat(path, content, **options)


def test_compressed_files_are_read(tmp_path):
    write_matconvnet(tmp_path / "file.mat")
    before = (tmp_path / "file.mat").stat().st_size
    _rewrite(tmp_path / "file.mat", do_compression=True)
    assert (tmp_path / "file.mat").stat().st_size < before
    assert_made_up(extract(tmp_path / "file.mat", "made-up", LAYERS))


def test_other_variables_do_not_matter(tmp_path):
    write_matconvnet(tmp_path / "file.mat")

    def add(content):
        names = np.array(["tench", "goldfish"], dtype=object)
        content.update(classes={"name": names, "empty": np.zeros((0, 0))}, z=np.array([[1j]]), flag=True, n=3)

    _rewrite(tmp_path / "file.mat", add)
    assert_made_up(extract(tmp_path / "file.mat", "made-up", LAYERS))


def test_numbers_that_matlab_stored_as_smaller_integers_are_read(tmp_path):
    """MATLAB stores doubles that are whole numbers as bytes; SciPy does not, so they are inserted here."""
    write_matconvnet(tmp_path / "file.mat", mean=(124.0, 117.0, 104.0))
    content = (tmp_path / "file.mat").read_bytes()
    doubles = b"\x09\0\0\0\x18\0\0\0" + np.array([124.0, 117.0, 104.0]).tobytes()
    assert content.count(doubles) == 1
    # A small element of 3 bytes, and three empty elements to keep the length.
    content = content.replace(doubles, b"\x02\0\x03\0\x7c\x75\x68\0" + 3 * b"\x02\0\0\0\0\0\0\0")
    (tmp_path / "file.mat").write_bytes(content)
    assert read_matconvnet(tmp_path / "file.mat").preprocessing.mean == (124.0, 117.0, 104.0)


@pytest.mark.parametrize(
    "content, message",
    [
        ({"x": 1.0}, "no variable named layers"),
        ({"layers": np.array([[{"type": "relu", "name": "relu1"}]], dtype=object)}, "holds no filters"),
    ],
)
def test_files_without_a_network_are_refused(tmp_path, content, message):
    savemat(tmp_path / "file.mat", content)
    with pytest.raises(WeightsError, match=rf"file\.mat .*{message}"):
        read_matconvnet(tmp_path / "file.mat")


def test_a_file_without_the_mean_is_refused(tmp_path):
    write_matconvnet(tmp_path / "file.mat")
    _rewrite(tmp_path / "file.mat", lambda content: content.pop("meta"))
    with pytest.raises(WeightsError, match=r"file\.mat has no normalization\.averageImage"):
        read_matconvnet(tmp_path / "file.mat")


def test_a_big_endian_file_is_refused(tmp_path):
    write_matconvnet(tmp_path / "file.mat")
    content = bytearray((tmp_path / "file.mat").read_bytes())
    content[126:128] = b"MI"
    (tmp_path / "file.mat").write_bytes(content)
    with pytest.raises(WeightsError, match=r"file\.mat was written on a big-endian machine"):
        read_matconvnet(tmp_path / "file.mat")


def test_the_byte_that_crashes_scipy_is_an_error(tmp_path):
    """A data element whose type does not exist; SciPy looks it up beyond the end of a table."""
    write_matconvnet(tmp_path / "file.mat")
    content = bytearray((tmp_path / "file.mat").read_bytes())
    position = content.index(b"\x07\0\0\0" + made_up()[0]["conv1_1"].nbytes.to_bytes(4, "little"))
    for kind in (0, 8, 60, 255):
        content[position] = kind
        (tmp_path / "file.mat").write_bytes(content)
        with pytest.raises(WeightsError, match=r"file\.mat is damaged"):
            extract(tmp_path / "file.mat", "made-up", LAYERS)


def _element(kind, content, size=None):
    return kind.to_bytes(4, "little") + (len(content) if size is None else size).to_bytes(4, "little") + content


def _compressed(content):
    return b"MATLAB 5.0".ljust(124) + b"\0\x01IM" + _element(15, zlib.compress(content, 1))


def _cell(content):
    """A variable named "layers", a cell array with this content."""
    head = _element(6, b"\x01" + bytes(7)) + _element(5, b"\x01\0\0\0" * 2) + _element(1, b"layers\0\0", 6)
    return _element(14, head + content)


def _nested(depth):
    content = b""
    for _ in range(depth):
        content = _element(14, _element(6, b"\x01" + bytes(7)) + _element(5, bytes(8)) + _element(1, b"") + content)
    return content


def _long_text():
    return _element(14, _element(6, b"\x04" + bytes(7)) + _element(5, bytes(8)) + _element(1, bytes(50_000_000)))


@pytest.mark.parametrize(
    "content, most",
    [
        (_cell(_element(14, b"") * 8_000_000), 150e6),
        (_element(14, b"", 2**32 - 100), 1e6),
        (_element(14, bytes(100_000_000), 1000), 80e6),
        (_nested(2000), 20e6),
        (_long_text(), 60e6),
        (b"", 1e6),
    ],
    ids=["cells", "huge", "longer", "nested", "text", "empty"],
)
def test_a_file_that_expands_is_refused(tmp_path, content, most):
    """A compressed variable may take as much memory as it says, up to that of the largest network."""
    (tmp_path / "bomb.mat").write_bytes(_compressed(content))
    message, allocated = peak(extract, tmp_path / "bomb.mat", "made-up", LAYERS)
    assert "bomb.mat is damaged" in message
    assert allocated < most


def test_a_mean_image_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(matconvnet, "_LARGEST_IMAGE", 11)
    write_matconvnet(tmp_path / "file.mat", old=True)
    with pytest.raises(WeightsError, match=r"file\.mat is damaged"):
        extract(tmp_path / "file.mat", "made-up", LAYERS)
