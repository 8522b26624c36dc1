"""The index of a folder: what is read again, skipped, refused and kept."""

import os

import numpy as np
import pytest
from PIL import Image

from stylecore import DataError, ImageError, ParameterError
from stylecore.sketch import index
from stylecore.sketch import indexing as module
from stylecore.sketch.indexing import SUFFIX, index_path


def refused(words, error):
    """Expect an error of one sentence with these words in it."""
    return pytest.raises(error, match=rf"^(?!.*\.\s)(?!.*\n).*{words}.*\.$")


class Describer:
    """A describer that records what it is given, and returns the mean colour."""

    described = 0

    def __init__(self, network):
        pass

    def photo(self, rgb):
        Describer.described += 1
        return {"content": rgb.mean(axis=(0, 1)).astype(np.float16)}


@pytest.fixture(autouse=True)
def describer(monkeypatch):
    monkeypatch.setattr(module, "Describer", Describer)
    Describer.described = 0
    return Describer


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name, tone in (("a.png", 0), ("more/b.jpg", 128), ("c.PNG", 255)):
        Image.new("RGB", (8, 8), (tone,) * 3).save(folder / name)
    (folder / "notes.txt").write_text("not a picture")
    return folder


def test_it_is_kept_beside_the_folder_and_not_computed_again(folder, describer):
    first = index(folder)
    assert first.names == ["a.png", "c.PNG", "more/b.jpg"]
    assert index_path(folder) == folder.parent / ("photos" + SUFFIX)
    second = index(folder)
    assert describer.described == 3
    np.testing.assert_array_equal(first.descriptors["content"], second.descriptors["content"])
    assert second.path(2) == folder / "more" / "b.jpg"


def test_only_what_has_changed_is_described_again(folder, describer):
    index(folder)
    Image.new("RGB", (9, 9), "red").save(folder / "a.png")
    Image.new("RGB", (9, 9), "blue").save(folder / "new.png")
    (folder / "c.PNG").unlink()
    changed = index(folder)
    assert describer.described == 5
    assert changed.names == ["a.png", "more/b.jpg", "new.png"]
    np.testing.assert_array_equal(changed.descriptors["content"][[0, 2]], [[1, 0, 0], [0, 0, 1]])
    assert index(folder).names == changed.names
    assert describer.described == 5


def test_another_network_describes_all_again(folder, describer):
    index(folder)
    index(folder, network="vgg16")
    assert describer.described == 6


def test_progress_is_reported(folder):
    calls = []
    index(folder, callback=lambda *call: calls.append(call))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_an_interrupted_index_is_continued(folder, describer, monkeypatch):
    def interrupt(done, total):
        if done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "SAVED_EVERY", 1)
    with pytest.raises(KeyboardInterrupt):
        index(folder, callback=interrupt)
    assert len(index(folder).names) == 3
    assert describer.described == 3


def test_unreadable_pictures_are_named_and_skipped(folder):
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    found = index(folder)
    assert found.names == ["a.png", "c.PNG", "more/b.jpg"]
    assert list(found.unreadable) == ["broken.jpg"]


def test_folders_without_photographs_are_refused(folder, tmp_path):
    with refused("is not a folder", ImageError):
        index(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with refused("has no pictures", ImageError):
        index(tmp_path / "empty")
    (tmp_path / "empty" / "broken.png").write_bytes(b"broken")
    with refused("none of the 1 pictures in .* can be read; the first is broken.png", ImageError):
        index(tmp_path / "empty")
    assert not index_path(tmp_path / "empty").exists()


def test_an_index_of_another_version_is_refused_and_kept(folder, monkeypatch):
    index(folder)
    content = index_path(folder).read_bytes()
    monkeypatch.setattr(module, "VERSION", 2)
    with refused("index of version 1, and this program uses version 2; delete it", DataError):
        index(folder)
    assert index_path(folder).read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"])
def test_a_damaged_index_is_refused(folder, content):
    index_path(folder).write_bytes(content)
    with refused("is damaged", DataError):
        index(folder)


def test_another_archive_is_not_an_index(folder, tmp_path):
    np.savez(tmp_path / "other.npz", numbers=np.ones(3))
    with refused("is not an index", DataError):
        index(folder, file=tmp_path / "other.npz")


def test_an_index_that_cannot_be_written_is_refused_first(folder, describer, tmp_path):
    with refused("cannot be written .* --index", ParameterError):
        index(folder, file=tmp_path / "no folder" / "index.npz")
    assert describer.described == 0
    assert not any(name.startswith(".") for name in os.listdir(tmp_path))
