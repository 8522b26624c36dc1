"""The index of a folder of photographs: their descriptors, in a file beside the folder."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stylecore.errors import DataError, ImageError, ParameterError, TooLargeError
from stylecore.files import replacing
from stylecore.pictures.reading import SUFFIXES, read_image
from stylecore.sketch.descriptors import Describer

VERSION = 1
"""Version of the index; another one has other descriptors."""

SUFFIX = ".sketch-index.npz"
"""What the name of a folder is followed by in the name of its index."""

SAVED_EVERY = 200
"""Number of photographs after which the index is written, so that little is lost if the program is interrupted."""

_FIELDS = {"version", "network", "names", "stamps"}


@dataclass(frozen=True)
class PhotoIndex:
    """Descriptors of the photographs in a folder.

    Attributes
    ----------
    folder : Path
    names : list of str
        Paths of the photographs, relative to the folder, in alphabetical order.
    descriptors : dict of str to ndarray of float16, (N, D)
        A row for each photograph, by the names of `stylecore.sketch.descriptors`.
    unreadable : dict of str to str
        Files that could not be read, with the reason.
    """

    folder: Path
    names: list[str]
    descriptors: dict[str, np.ndarray]
    unreadable: dict[str, str] = field(default_factory=dict)

    def path(self, i: int) -> Path:
        """Path of a photograph, given its row."""
        return self.folder / self.names[i]


def index(
    folder: str | os.PathLike[str],
    *,
    file: str | os.PathLike[str] | None = None,
    network: Any = "vgg19",
    callback: Callable[[int, int], object] | None = None,
) -> PhotoIndex:
    """Index a folder of photographs, or bring its index up to date with the files that have changed.

    Parameters
    ----------
    folder : str or path
        It is searched with its subfolders.
    file : str or path, optional
        File of the index; by default the name of the folder with `SUFFIX`, beside the folder.
    network : str, path, Weights or Network
        As in `Describer`.
    callback : callable, optional
        Called as ``callback(done, total)`` after each photograph that is described.

    Returns
    -------
    PhotoIndex

    Raises
    ------
    DataError
        If the file of the index is damaged, of another version, or not an index.
    ImageError
        If the folder does not exist, or has no picture that can be read.
    ParameterError
        If the file of the index cannot be written.
    """
    folder = Path(folder)
    path = Path(file) if file is not None else index_path(folder)
    stamps = _stamps(folder)
    label = str(network) if isinstance(network, str | os.PathLike) else type(network).__name__
    known = _read(path, label) if path.exists() else {}
    fresh = [name for name in stamps if known.get(name, (None,))[0] != stamps[name]]
    rows: dict[str, dict[str, np.ndarray]] = {
        name: row for name, (stamp, row) in known.items() if stamps.get(name) == stamp
    }
    unreadable: dict[str, str] = {}
    if fresh:
        _check_writable(path)
        describer = Describer(network)
        for done, name in enumerate(fresh, start=1):
            try:
                rows[name] = describer.photo(read_image(folder / name)[0])
            except (ImageError, TooLargeError) as error:
                unreadable[name] = str(error)
            if done % SAVED_EVERY == 0:
                _write(path, label, rows, stamps)
            if callback is not None:
                callback(done, len(fresh))
    if not rows:
        raise ImageError(_none_readable(folder, unreadable))
    if set(rows) != set(known) or len(fresh) > len(unreadable):
        _write(path, label, rows, stamps)
    return PhotoIndex(folder, sorted(rows), _stacked(rows), unreadable)


def index_path(folder: str | os.PathLike[str]) -> Path:
    """Default path of the index of a folder."""
    folder = Path(os.path.abspath(folder))
    return folder.with_name(folder.name + SUFFIX)


def _stamps(folder: Path) -> dict[str, str]:
    """Size and modification time of each picture in a folder, by its relative path."""
    if not folder.is_dir():
        raise ImageError(f"{folder} is not a folder; name a folder of photographs, or one photograph with --photo.")
    files = sorted(each for each in folder.rglob("*") if each.suffix.lower() in SUFFIXES and each.is_file())
    if not files:
        raise ImageError(f"{folder} has no pictures; name a folder with photographs ({', '.join(SUFFIXES)}).")
    return {each.relative_to(folder).as_posix(): f"{each.stat().st_size} {each.stat().st_mtime_ns}" for each in files}


def _read(path: Path, network: str) -> dict[str, tuple[str, dict[str, np.ndarray]]]:
    """Stamp and descriptors of each photograph in an index; nothing from an index by another network."""
    advice = "delete it, and it is built again, or name another file with --index"
    try:
        with np.load(path, allow_pickle=False) as stored:
            if not set(stored.files) >= _FIELDS:
                raise DataError(f"{path} is not an index of photographs; name another file with --index.")
            if int(stored["version"]) != VERSION:
                raise DataError(
                    f"{path} is an index of version {int(stored['version'])}, and this program uses version {VERSION}; "
                    f"{advice}."
                )
            if str(stored["network"]) != network:
                return {}
            arrays = {key: stored[key] for key in stored.files if key not in _FIELDS}
            names, stamps = stored["names"].tolist(), stored["stamps"].tolist()
        return {name: (stamps[i], {key: rows[i] for key, rows in arrays.items()}) for i, name in enumerate(names)}
    except (OSError, ValueError, KeyError, IndexError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged, or is not an index of photographs; {advice}.") from error


def _stacked(rows: dict[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Descriptors of all photographs, in the order of their names."""
    names = sorted(rows)
    return {key: np.array([rows[name][key] for name in names]) for key in rows[names[0]]} if names else {}


def _write(path: Path, network: str, rows: dict[str, dict[str, np.ndarray]], stamps: dict[str, str]) -> None:
    names = sorted(rows)
    arrays = {"names": np.array(names, str), "stamps": np.array([stamps[name] for name in names], str)}
    try:
        with replacing(path) as file:
            np.savez(file, version=VERSION, network=network, **arrays, **_stacked(rows))  # type: ignore[arg-type]
    except OSError as error:
        raise _not_writable(path, error) from error


def _check_writable(path: Path) -> None:
    """Raise ParameterError if an index cannot be written, before it is computed."""
    probe = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _not_writable(path, error) from error


def _not_writable(path: Path, error: OSError) -> ParameterError:
    return ParameterError(
        f"the index {path} cannot be written ({error.strerror}); name a file in another folder with --index."
    )


def _none_readable(folder: Path, unreadable: dict[str, str]) -> str:
    name, reason = next(iter(unreadable.items()))
    return f"none of the {len(unreadable)} pictures in {folder} can be read; the first is {name}: {reason}"
