"""Reading of data sets, made here in the forms in which they are distributed."""

import io
import json
import os
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from stylecore.errors import DataError, TooLargeError, WeightsError
from stylecore.training import data

PER_BATCH = 4
IMAGES = np.random.default_rng(0).integers(0, 256, (6 * PER_BATCH, 32, 32, 3), np.uint8)
LABELS = np.random.default_rng(1).integers(0, 10, 6 * PER_BATCH)
NAMES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


def planes(images):
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def python_batch(images, labels):
    # As Python 2 wrote it, with text as keys and lists of numbers.
    return pickle.dumps({"data": planes(images), "labels": labels.tolist(), "batch_label": "a batch"}, protocol=2)


def binary_batch(images, labels):
    return np.hstack([labels[:, None].astype(np.uint8), planes(images)]).tobytes()


def sheet(images, labels):
    buffer = io.BytesIO()
    Image.fromarray(images.reshape(len(images), 1024, 3)).save(buffer, "PNG")
    return buffer.getvalue()


FORMS = {"": python_batch, ".bin": binary_batch, ".png": sheet}


def cifar10_files(suffix):
    files = {}
    for i, name in enumerate(NAMES):
        rows = slice(i * PER_BATCH, (i + 1) * PER_BATCH)
        files[name + suffix] = FORMS[suffix](IMAGES[rows], LABELS[rows])
    if suffix == ".png":
        files["train_lables.json"] = json.dumps(LABELS[:-PER_BATCH].tolist()).encode()
        files["test_lables.json"] = json.dumps(LABELS[-PER_BATCH:].tolist()).encode()
    return files


def write_folder(folder, files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_archive(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def assert_is_cifar10(sets):
    train, test = sets
    np.testing.assert_array_equal(train.images, IMAGES[:-PER_BATCH])
    np.testing.assert_array_equal(test.images, IMAGES[-PER_BATCH:])
    np.testing.assert_array_equal(train.labels, LABELS[:-PER_BATCH])
    np.testing.assert_array_equal(test.labels, LABELS[-PER_BATCH:])
    assert train.classes == test.classes == data.CIFAR10_CLASSES
    assert train.side == 32


@pytest.mark.parametrize("suffix", FORMS)
def test_cifar10_is_read_in_every_form(tmp_path, monkeypatch, suffix):
    files = cifar10_files(suffix)
    assert_is_cifar10(data.read(write_folder(tmp_path / "unpacked", files)))
    path = write_archive(tmp_path / "cifar.tar.gz", files)
    batch = f"data_batch_1{suffix}"
    monkeypatch.setitem(data.ARCHIVES, batch, (data.ARCHIVES[batch][0], data.sha256(path)))
    assert_is_cifar10(data.read(path))


@pytest.mark.parametrize("suffix", FORMS)
def test_an_archive_with_another_digest_is_refused(tmp_path, suffix):
    path = write_archive(tmp_path / "cifar.tar.gz", cifar10_files(suffix))
    with pytest.raises(DataError, match=r"cifar\.tar\.gz is not the original .* \(its SHA-256 differs\)"):
        data.read(path)


class Harmful:
    def __reduce__(self):
        return open, ("harmed", "w")


def test_nothing_in_a_pickle_is_called(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = {**cifar10_files(""), "data_batch_2": pickle.dumps({"data": Harmful()})}
    with pytest.raises((DataError, WeightsError)):
        data.read(write_folder(tmp_path / "unpacked", files))
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("suffix", FORMS)
def test_damaged_and_incomplete_batches_are_refused(tmp_path, suffix):
    files = cifar10_files(suffix)
    name = f"data_batch_3{suffix}"
    write_folder(tmp_path / "cut", {**files, name: files[name][:1000]})
    with pytest.raises(DataError, match=r"cut is damaged: data_batch_1.* cannot be read"):
        data.read(tmp_path / "cut")
    del files[name]
    with pytest.raises(DataError, match=f"part has no {name}, which is a part of CIFAR-10"):
        data.read(write_folder(tmp_path / "part", files))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, 3], "has 3 labels for 4 images"),
        ([1, 2, 3, 10], "labels outside the ten classes"),
        ([0.5] * 4, "has 4 labels"),
    ],
)
def test_labels_that_do_not_match_are_refused(tmp_path, labels, message):
    files = {**cifar10_files(".png"), "test_lables.json": json.dumps(labels).encode()}
    with pytest.raises(DataError, match=message):
        data.read(write_folder(tmp_path / "sheets", files))


def test_what_is_not_a_data_set_is_refused(tmp_path):
    with pytest.raises(DataError, match="is CIFAR-10, which is always read with all its classes"):
        data.read(write_folder(tmp_path / "unpacked", cifar10_files("")), classes=["cat", "dog"])
    with pytest.raises(DataError, match="missing does not exist; give an archive"):
        data.read(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe is not a regular file; give an archive"):
        data.read(tmp_path / "pipe")
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(DataError, match="text is damaged or not an archive"):
        data.read(tmp_path / "text")
    with pytest.raises(DataError, match=r"other\.tar holds no batches of CIFAR-10"):
        data.read(write_archive(tmp_path / "other.tar", {"a": b"b"}))
    with pytest.raises(DataError, match="has no class; at least two are needed"):
        data.read(write_folder(tmp_path / "empty", {}))


def write_pictures(folder, counts, size=(40, 30)):
    """A folder a class, whose pictures have that class's colour."""
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", size, (80 * label, 10 * number, 0)).save(folder / name / f"{number:03}.png")
    return folder


def test_a_folder_of_pictures_is_split_by_class(tmp_path):
    write_pictures(tmp_path, {"dots": 10, "lines": 5, "waves": 3})
    (tmp_path / "README.txt").write_text("not a class")
    (tmp_path / "dots" / ".hidden").write_text("not a picture")
    train, test = data.read(tmp_path, side=16, held_out=0.2, seed=3)
    assert train.classes == test.classes == ("dots", "lines", "waves")
    assert (np.bincount(train.labels) == [8, 4, 2]).all() and (np.bincount(test.labels) == [2, 1, 1]).all()
    again, _ = data.read(tmp_path, side=16, held_out=0.2, seed=3)
    other, _ = data.read(tmp_path, side=16, held_out=0.2, seed=4)
    everything = np.arange(len(train.labels))
    np.testing.assert_array_equal(train.batch(everything), again.batch(everything))
    assert (train.batch(everything) != other.batch(everything)).any()
    some, _ = data.read(tmp_path, side=16, classes=["waves", "dots"])
    assert some.classes == ("waves", "dots")
    np.testing.assert_array_equal(some.batch(np.flatnonzero(some.labels == 0))[:, 0, 0, 0], 160)


def test_folders_that_cannot_be_used_are_refused(tmp_path):
    write_pictures(tmp_path, {"dots": 3, "lines": 1, "empty": 0})
    with pytest.raises(DataError, match=r'has no class "dot".* dots'):
        data.read(tmp_path, classes=["dot", "lines"])
    with pytest.raises(DataError, match="empty holds no picture"):
        data.read(tmp_path)
    with pytest.raises(DataError, match="the class lines has too few pictures"):
        data.read(tmp_path, classes=["dots", "lines"])


def test_pictures_that_cannot_be_read_are_left_out(tmp_path):
    write_pictures(tmp_path, {"dots": 30, "lines": 30})
    broken = tmp_path / "dots" / "cut.png"
    broken.write_bytes((tmp_path / "dots" / "001.png").read_bytes()[:60])
    with pytest.warns(UserWarning, match=r"1 of the 61 pictures in .* cannot be read \(dots/cut\.png\); they are left"):
        train, test = data.read(tmp_path, side=16)
    assert len(train.labels) + len(test.labels) == 60
    for number in range(5):
        (tmp_path / "lines" / f"bad{number}.jpg").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"6 of the 66 pictures .* \(dots/cut\.png, .*, \.\.\.\), more than 5%; repair"):
        data.read(tmp_path, side=16)


def test_images_are_shifted_and_mirrored_at_random():
    image = np.arange(16 * 16, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    images = data.ImageSet(image, np.zeros(1, int), ("only",))
    np.testing.assert_array_equal(images.batch(np.array([0])), image)
    many = images.batch(np.zeros(300, int), np.random.default_rng(0))
    whole = np.pad(image[0], ((2, 2), (2, 2), (0, 0)), "reflect")
    possible = {
        whole[i : i + 16, j : j + 16][:, ::step].tobytes() for i in range(5) for j in range(5) for step in (1, -1)
    }
    assert {one.tobytes() for one in many} == possible


def test_pictures_are_cropped_and_mirrored_at_random():
    ramp = np.linspace(0, 255, 60).astype(np.uint8)
    picture = Image.fromarray(
        np.stack([np.tile(ramp, (48, 1)), np.tile(ramp[:48, None], (1, 60)), np.zeros((48, 60))], 2).astype(np.uint8)
    )
    pictures = data.PictureSet([picture], np.zeros(1, int), ("only",), 24)
    middle = pictures.batch(np.array([0]))
    assert middle.shape == (1, 24, 24, 3)
    assert middle[0, :, :, 0].mean() == pytest.approx(127.5, abs=1)
    many = pictures.batch(np.zeros(200, int), np.random.default_rng(0)).astype(int)
    slopes = many[:, 12, -1, 0] - many[:, 12, 0, 0]
    assert 0.4 < np.mean(slopes < 0) < 0.6
    assert (many[:, -1, 12, 1] > many[:, 0, 12, 1]).all()
    # At least 40% of the picture, and all of it at most.
    assert np.abs(slopes).min() > 0.4 * 255 * 0.8 and len(np.unique(many.reshape(200, -1), axis=0)) > 190


def test_a_single_class_is_refused(tmp_path):
    write_pictures(tmp_path, {"dots": 3})
    with pytest.raises(DataError, match="has only one class; at least two are needed, each a subfolder"):
        data.read(tmp_path)


def test_16_bit_pictures_are_scaled_to_8_bits(tmp_path):
    write_pictures(tmp_path, {"dots": 3, "lines": 3})
    for file in (tmp_path / "dots").iterdir():
        Image.fromarray(np.full((30, 40), 25700, np.uint16)).save(file)  # 100 / 255
    train, _ = data.read(tmp_path, side=16)
    np.testing.assert_array_equal(train.batch(np.flatnonzero(train.labels == 0)), 100)


def test_pictures_that_do_not_fit_into_memory_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    write_pictures(tmp_path, {"dots": 30, "lines": 30}, size=(600, 400))
    # They are kept at 36 x 24 pixels, and some are decoded at the same time.
    needed = 60 * 36 * 24 * 4 + min(60, data.DECODERS) * 600 * 400 * 12
    monkeypatch.setattr(data.memory, "available", lambda: needed)
    data.read(tmp_path, side=16)
    monkeypatch.setattr(data.memory, "available", lambda: needed - 1)
    monkeypatch.setattr(data, "_load", None)
    with pytest.raises(TooLargeError, match=r"the 60 pictures in .* GB of memory and .* are free; reduce side"):
        data.read(tmp_path, side=16)


def test_files_are_those_that_are_read(tmp_path):
    folder = write_pictures(tmp_path / "pictures", {"dots": 3, "lines": 2, "waves": 1})
    (folder / "model.h5").write_text("beside the classes")
    assert len(data.files(folder)) == 6
    assert {file.parent.name for file in data.files(folder, ["dots", "waves"])} == {"dots", "waves"}
    unpacked = write_folder(tmp_path / "unpacked", {**cifar10_files(".png"), "model.h5": b"beside the batches"})
    assert {file.name for file in data.files(unpacked)} == set(cifar10_files(".png"))
    assert data.files(tmp_path / "cifar.tar.gz") == [tmp_path / "cifar.tar.gz"]


def test_the_digest_depends_on_pixels_labels_and_classes(tmp_path):
    write_pictures(tmp_path / "one", {"dots": 4, "lines": 4})
    write_pictures(tmp_path / "same", {"dots": 4, "lines": 4})
    write_pictures(tmp_path / "named", {"dots": 4, "waves": 4})
    write_pictures(tmp_path / "sized", {"dots": 4, "lines": 4}, size=(30, 40))
    write_pictures(tmp_path / "changed", {"dots": 4, "lines": 4})
    Image.new("RGB", (40, 30), (81, 30, 1)).save(tmp_path / "changed" / "lines" / "003.png")
    digests = {folder.name: data.digest(*data.read(folder, side=16)) for folder in tmp_path.iterdir()}
    assert digests["one"] == digests["same"] and len(set(digests.values())) == 4
    images = data.ImageSet(IMAGES, LABELS, data.CIFAR10_CLASSES)
    other = data.ImageSet(IMAGES, LABELS[::-1], data.CIFAR10_CLASSES)
    assert data.digest(images) == data.digest(images) != data.digest(other)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_refused(tmp_path):
    write_pictures(tmp_path / "closed", {"dots": 3, "lines": 3})
    (tmp_path / "closed").chmod(0o000)
    with pytest.raises(DataError, match=r"the folder .*closed cannot be read \(Permission denied\)"):
        data.read(tmp_path / "closed")
    (tmp_path / "closed").chmod(0o700)


def test_photographs_are_found_in_all_folders_but_not_around_in_circles(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("1.png", "a/2.PNG", "a/b/3.jpg", "a/.hidden.png", "a/notes.txt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
    found = data.list_photographs(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in found] == ["1.png", "a/2.PNG", "a/b/3.jpg"]
