import numpy as np
import pytest
from foreign_files import LAYERS, assert_made_up, made_up, write_matconvnet
from scipy.io import loadmat, savemat

from stylecore.errors import WeightsError
from stylecore.weights.conversion import convert
from stylecore.weights.readers.matconvnet import read_matconvnet
from stylecore.weights.store import Preprocessing


@pytest.mark.parametrize("old", [False, True])
def test_old_and_new_files_are_read(tmp_path, old):
    write_matconvnet(tmp_path / "file.mat", old=old, mean=(124.0, 117.0, 104.0))
    weights = convert(tmp_path / "file.mat", "made-up", layers=LAYERS)
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
    assert_made_up(convert(tmp_path / "file.mat", "made-up", layers=LAYERS))


def test_other_variables_do_not_matter(tmp_path):
    write_matconvnet(tmp_path / "file.mat")

    def add(content):
        names = np.array(["tench", "goldfish"], dtype=object)
        content.update(classes={"name": names, "empty": np.zeros((0, 0))}, z=np.array([[1j]]), flag=True, n=3)

    _rewrite(tmp_path / "file.mat", add)
    assert_made_up(convert(tmp_path / "file.mat", "made-up", layers=LAYERS))


def test_numbers_that_matlab_stored_as_smaller_integers_are_read(tmp_path):
    """MATLAB stores doubles that are whole numbers as bytes; SciPy does not, so they are put in here."""
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
def test_files_of_something_else_are_refused(tmp_path, content, message):
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
            convert(tmp_path / "file.mat", "made-up", layers=LAYERS)
