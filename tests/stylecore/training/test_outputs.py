"""What a training may overwrite, and what not."""

import errno
import os

import pytest

from stylecore.errors import DataError, ParameterError, TrainingError
from stylecore.training import checkpoints, curves, outputs
from stylecore.training.outputs import Outputs, write
from stylecore.training.settings import ClassifierSettings

CHECKPOINT = checkpoints.dump(checkpoints.Identity("cnn", ClassifierSettings(), "0" * 64), [], {})


@pytest.fixture
def network(tmp_path):
    return tmp_path / "cnn.h5"


def test_files_lie_beside_the_network(network):
    files = Outputs(network, "curves.png")
    assert (files.curves.name, files.checkpoint.name) == ("cnn.csv", "cnn.checkpoint.npz")
    assert files.curves.parent == files.checkpoint.parent == network.parent


def test_what_the_user_names_and_an_earlier_training_wrote_may_be_replaced(network):
    network.write_text("anything")
    network.with_name("curves.png").write_text("anything")
    for score in ("accuracy", "PSNR"):
        network.with_suffix(".csv").write_bytes(curves.table([], score))
        Outputs(network, network.with_name("curves.png")).check([], resume=False)
    network.with_suffix(".checkpoint.npz").write_bytes(CHECKPOINT)
    Outputs(network).check([], resume=True)


def test_two_trainings_do_not_write_the_same_files(network):
    with Outputs(network).reserved([], resume=False):
        for resume in (False, True):
            with (
                pytest.raises(
                    ParameterError, match=rf"cnn\.h5 is being trained by stylecore, process {os.getpid()} on"
                ),
                Outputs(network).reserved([], resume=resume),
            ):
                pass
        with Outputs(network.with_name("other.h5")).reserved([], resume=False):
            pass
    with Outputs(network).reserved([], resume=False):
        assert os.listdir(network.parent) == ["cnn.checkpoint.npz.lock"]
    assert os.listdir(network.parent) == []


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("content", ["name,grade\nAda,1\n", "", "epoch,loss,accuracy\n"])
def test_a_table_of_something_else_is_not_replaced(network, content, resume):
    network.with_suffix(".csv").write_text(content)
    with pytest.raises(ParameterError, match=r"cnn\.csv would be replaced by the learning curves, but holds something"):
        Outputs(network).check([], resume)
    assert network.with_suffix(".csv").read_text() == content


def test_a_checkpoint_is_only_replaced_to_resume(network):
    path = network.with_suffix(".checkpoint.npz")
    path.write_bytes(CHECKPOINT)
    with pytest.raises(ParameterError, match=r"is the checkpoint of an unfinished training; resume it with --resume"):
        Outputs(network).check([], resume=False)
    path.write_text("something else")
    with pytest.raises(DataError, match=r"cnn\.checkpoint\.npz is damaged or not the checkpoint of a training; move"):
        Outputs(network).check([], resume=False)


@pytest.mark.parametrize("suffix", [".h5", ".csv", ".checkpoint.npz", ".png"])
def test_no_input_is_overwritten(network, suffix):
    path = network.with_suffix(suffix)
    path.write_bytes(curves.table([], "accuracy"))
    link = network.with_name("link")
    link.symlink_to(path)
    pytest.importorskip("matplotlib")
    for data in (path, link):
        with pytest.raises(ParameterError, match=rf"cnn{suffix} belongs to the data and would be overwritten"):
            Outputs(network, network.with_suffix(".png")).check([network.with_name("missing"), data], resume=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cnn.csv", r"cnn\.csv cannot be the name of a network; it must end in \.h5"),
        ("nowhere/cnn.h5", r"cannot be written: there is no folder .*nowhere; create it"),
        ("folder.h5", r"folder\.h5 cannot be written: it is a folder"),
        ("curves.h5", r"curves\.csv cannot be written: it is a folder"),
    ],
)
def test_names_that_cannot_be_written_are_refused(tmp_path, name, message):
    for folder in ("folder.h5", "curves.csv"):
        (tmp_path / folder).mkdir()
    with pytest.raises(ParameterError, match=message):
        Outputs(tmp_path / name).check([], resume=False)


def test_two_outputs_in_one_file_are_refused(network):
    pytest.importorskip("matplotlib")
    network.with_name("link.png").symlink_to(network)
    with pytest.raises(ParameterError, match=r"link\.png would be written twice"):
        Outputs(network, network.with_name("link.png")).check([], resume=False)


def test_a_folder_that_is_read_only_is_refused(network, monkeypatch):
    def refuse(dir):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), dir)

    monkeypatch.setattr(outputs, "TemporaryFile", refuse)
    with pytest.raises(ParameterError, match=r"cnn\.h5 cannot be written \(Read-only file system\); choose another"):
        Outputs(network).check([], resume=False)


def test_a_full_disk_ends_in_a_sentence(network, monkeypatch):
    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere/.temporary")

    monkeypatch.setattr(outputs, "replacing", full)
    with pytest.raises(TrainingError, match=r"cnn\.h5 cannot be written \(No space left on device\); correct that"):
        write(network, b"content")
