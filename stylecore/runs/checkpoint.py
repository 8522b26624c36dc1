"""Checkpoints: the state of a run in a file, from which it can be resumed.

The file is a ZIP archive, not compressed, of `run.json` and of NumPy arrays, which `numpy.load` reads. (HDF5 was not
chosen because its library crashed on a full disk.) It holds the settings of the run, its inputs (of a file, the path
and the digest; of an array, the array), the history, and the state of the optimiser after an iteration. Nothing else
influences the rest of the run but the program, its libraries and the processor, which are recorded too; so a run that
was killed and resumed ends with the same picture, bit for bit, as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import UnionType
from typing import IO, NamedTuple
from zipfile import ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from PIL import Image

from stylecore.errors import ImageError, ParameterError, StylecoreError
from stylecore.files import InUseError, locked, replacing
from stylecore.optimizers import Optimizer
from stylecore.pictures.reading import read_image
from stylecore.regions import NOT, WORDS, Region
from stylecore.runs.environment import differences, environment
from stylecore.runs.history import Evaluation
from stylecore.settings import Settings
from stylecore.version import __version__
from stylecore.weights.catalogue import CATALOGUE
from stylecore.weights.conversion import sha256

FORMAT = "stylecore checkpoint"
FORMAT_VERSION = 3
"""Version 2 had no "environment" but only the version of stylecore; the rest is the same."""

INPUTS = ("content", "style", "regions", "labels", "init", "network")
"""The settings that may be files or arrays."""

# Words that these settings may have as values, even where a file has the same name.
_WORDS = ("content", "noise", "painter", *WORDS, *CATALOGUE)

# Largest fraction of the time that is spent on writing, however large the state and slow the disk.
_SHARE = 0.1

_RUN = "run.json"
_START_AGAIN = "delete it to start again, or name another file"


class Saved(NamedTuple):
    """How far a run had come when its checkpoint was written.

    Attributes
    ----------
    scale : int
        Index of the scale.
    history : list of Evaluation
    """

    scale: int
    history: list[Evaluation]


class Checkpoint:
    """A file to which the state of a run is saved at intervals, and from which it is resumed if it exists.

    Parameters
    ----------
    path : str or path
    every : float
        Seconds from one write to the next, 0 or more; it is longer where a write takes more than a tenth of it. 0
        writes after each iteration.
    output : str or path, optional
        Where the picture will be written, for the command ``stylecore resume``.

    Raises
    ------
    ParameterError
        If `every` is not a number of zero or more.
    """

    def __init__(
        self, path: str | os.PathLike[str], every: float = 10.0, output: str | os.PathLike[str] | None = None
    ) -> None:
        if not (isinstance(every, int | float | np.integer | np.floating) and every >= 0):
            raise ParameterError(f"checkpoint_every is {every!r}; it must be zero or a positive number of seconds.")
        self.path = path
        self.output = None if output is None else os.path.abspath(output)
        self._every = float(every)
        self._due = 0.0  # The first write comes soon, so that a full disk is noticed early.

    def begin(self, arguments: Mapping[str, object]) -> None:
        """Prepare to save a run; if the file exists, check that it is the checkpoint of the same run.

        Parameters
        ----------
        arguments : dict
            Settings and inputs of `stylecore.transfer`.

        Raises
        ------
        ParameterError
            If an argument cannot be stored, or differs from the one in the file.
        StylecoreError
            If the file cannot be read or written.
        """
        self._arrays: list[np.ndarray] = []
        self._environment = environment(str(arguments.get("device", "cpu")))
        stored = {name: self._stored(name, value) for name, value in arguments.items()}
        # JSON has lists only, so tuples must become lists before they can be compared.
        self._arguments = json.loads(json.dumps(stored))
        exists = os.path.exists(self.path)
        if exists:
            with _reading(self.path) as (run, _):
                self._check_same(run["arguments"])
        folder = os.path.dirname(os.path.abspath(self.path))
        if not os.access(folder, os.W_OK) or (exists and not os.access(self.path, os.W_OK)):
            raise StylecoreError(f"no checkpoint can be written to {self.path}; choose another folder or file.")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Refuse to run, inside the ``with`` block, while another run uses the file.

        Raises
        ------
        StylecoreError
            If another run uses it, or the folder is missing or write-protected.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path))
            except InUseError as error:
                raise StylecoreError(
                    f"the checkpoint {self.path} is in use by {error.strerror}; wait until that run has ended, or name "
                    "another file."
                ) from error
            except OSError as error:
                raise _not_written(self.path, error) from error
            yield

    def load(self, scales: int) -> Saved | None:
        """Read how far the run had come.

        Parameters
        ----------
        scales : int
            Number of scales of the run.

        Returns
        -------
        Saved or None
            None if there is no file yet.

        Raises
        ------
        ParameterError
            If the file is of another run.
        StylecoreError
            If the file cannot be read.

        Warns
        -----
        UserWarning
            If the file was written by another version of stylecore or of a library, or on another processor.
        """
        if not os.path.exists(self.path):
            return None
        with _reading(self.path) as (run, _):
            self._check_same(run["arguments"])
            if run["scale"] >= scales:
                raise _damaged(self.path)
            if different := differences(run["environment"], self._environment):
                warnings.warn(
                    f"{self.path} was written with {' and '.join(different)}; the run continues, but its picture may "
                    "not be the same bit for bit as without the interruption.",
                    stacklevel=2,
                )
            return Saved(run["scale"], run["history"])

    def restore(self, optimizer: Optimizer) -> None:
        """Restore an optimiser's state from the file.

        Parameters
        ----------
        optimizer : Optimizer
            A new one, with the start and settings of the run.

        Raises
        ------
        StylecoreError
            If the file cannot be read, or holds another kind of state.
        """
        with _reading(self.path) as (_, archive):
            state: dict[str, np.ndarray | Iterator[np.ndarray]] = {}
            rows: dict[str, list[str]] = {}
            for entry in archive.namelist():
                if found := re.fullmatch(r"state/(\w+)(/\d+)?\.npy", entry):
                    name, row = found.groups()
                    if row:
                        rows.setdefault(name, []).append(entry)
                    else:
                        state[name] = _read_array(archive, entry)
            # As generators, so that only one array at a time is in memory twice.
            state.update({name: (_read_array(archive, entry) for entry in entries) for name, entries in rows.items()})
            optimizer.restore(state)

    def write(self, optimizer: Optimizer, scale: int, history: Sequence[Evaluation], *, now: bool = False) -> None:
        """Save the state if it is time to.

        Parameters
        ----------
        optimizer : Optimizer
        scale : int
            Index of the scale.
        history : sequence of Evaluation
        now : bool
            Whether to save it in any case.

        Raises
        ------
        StylecoreError
            If the file cannot be written; an existing one remains as it was.
        """
        started = time.monotonic()
        if not now and started < self._due:
            return
        try:
            with replacing(self.path) as file:
                self._write(file, optimizer, scale, history)
        except OSError as error:
            raise _not_written(self.path, error) from error
        ended = time.monotonic()
        self._due = ended + max(self._every, (ended - started) * (1 / _SHARE - 1) if self._every else 0)

    def _write(self, file: IO[bytes], optimizer: Optimizer, scale: int, history: Sequence[Evaluation]) -> None:
        run = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "environment": self._environment,
            "arguments": self._arguments,
            "scale": scale,
            "history": history,
            "every": self._every,
            "output": self.output,
        }
        with ZipFile(file, "w") as archive:
            archive.writestr(_RUN, json.dumps(run))
            for i, array in enumerate(self._arrays):
                _write_array(archive, f"arrays/{i}", array)
            for name, value in optimizer.state.items():
                # A list is written row by row: as one array it would take its memory once more.
                rows = [(f"{name}/{i}", row) for i, row in enumerate(value)] if isinstance(value, list) else []
                for part, array in rows or [(name, value)]:
                    _write_array(archive, f"state/{part}", array)

    def _stored(self, name: str, value: object) -> object:
        """Convert an argument for JSON: arrays are collected in `_arrays`, images are converted to arrays."""
        if name in INPUTS:
            if isinstance(value, Image.Image):
                rgb, alpha = read_image(value, name=f"{name} image")
                value = rgb if alpha is None else np.dstack([rgb, alpha])
            if isinstance(value, np.ndarray):
                self._arrays.append(value)
                return {"array": len(self._arrays) - 1, "sha256": _array_digest(value)}
            if isinstance(value, str | os.PathLike) and value not in _WORDS:
                before = NOT if isinstance(value, str) and value.startswith(NOT) else ""
                path = os.fspath(value).removeprefix(before)
                if os.path.isfile(path):
                    return {"before": before, "path": os.path.abspath(path), "sha256": sha256(path)}
                if os.path.exists(path) and not os.path.isdir(path):
                    raise ParameterError(
                        f"{name} is {path}, which a resumed run could not read again; save it to a file first."
                    )
        if isinstance(value, Mapping):
            return {key: self._stored(name, item) for key, item in value.items()}
        if isinstance(value, list | tuple) and not isinstance(value, Region):
            return [self._stored(name, item) for item in value]
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if isinstance(value, np.generic):
            return value.item()
        if value is None or isinstance(value, str | int | float):
            return value
        raise ParameterError(
            f"{name} is a {type(value).__name__}, which a checkpoint cannot hold; give a name, a file or numbers."
        )

    def _check_same(self, arguments: Mapping[str, object]) -> None:
        """Raise ParameterError if the arguments in the file are not those of this run."""
        for name, value in self._arguments.items():
            there = arguments.get(name)
            if there == value:
                continue
            if path := _changed(value, there):
                raise ParameterError(f"{path} has changed since {self.path} was written; {_START_AGAIN}.")
            shown = f"{name} {there!r} instead of {value!r}"
            what = f"another {name}" if name in INPUTS else shown
            raise ParameterError(f"{self.path} is the checkpoint of a run with {what}; {_START_AGAIN}.")


def read(path: str | os.PathLike[str]) -> tuple[dict, Checkpoint]:
    """Read the arguments of the run that wrote a checkpoint.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    arguments : dict
        Settings and inputs of `stylecore.transfer`.
    checkpoint : Checkpoint
        With the same path, interval and output as in that run.

    Raises
    ------
    ImageError
        If an input file no longer exists.
    StylecoreError
        If the file is missing, damaged, of a later version, or not a checkpoint.
    """

    def given(value: object) -> object:
        if isinstance(value, list):
            return [given(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "sha256" not in value:
            return {key: given(item) for key, item in value.items()}
        if "array" in value:
            return _read_array(archive, f"arrays/{value['array']}.npy")
        if not os.path.isfile(value["path"]):
            raise ImageError(f"{value['path']}, an input of the run in {path}, no longer exists; put it back.")
        return value["before"] + value["path"]

    with _reading(path) as (run, archive):
        arguments = {name: given(value) for name, value in run["arguments"].items()}
        return arguments, Checkpoint(path, run["every"], run["output"])


def _changed(value: object, there: object) -> str | None:
    """Path of a file that both refer to, but with another digest; None if there is none."""
    match value, there:
        case list(), list():
            return next(filter(None, map(_changed, value, there)), None)
        case {"path": path, "sha256": digest}, {"path": same, "sha256": other} if path == same and digest != other:
            return path
    return None


def _not_written(path: str | os.PathLike[str], error: OSError) -> StylecoreError:
    return StylecoreError(f"the checkpoint {path} cannot be written: {error.strerror or error}.")


# Reading


@contextmanager
def _reading(path: str | os.PathLike[str]) -> Iterator[tuple[dict, ZipFile]]:
    """Open a checkpoint and check its `run.json`, which is given with the archive; anything unusual is an error."""
    if not os.path.isfile(path):
        raise StylecoreError(f"{path} is not a file; name the checkpoint of a run.")
    try:
        with ZipFile(path) as archive:
            _check_sizes(archive, os.path.getsize(path))
            yield _checked(json.loads(archive.read(_RUN)), path), archive
    except StylecoreError:
        raise
    except PermissionError as error:
        raise StylecoreError(f"{path} cannot be read for lack of permission; change its permissions.") from error
    except (BadZipFile, OSError, EOFError, KeyError, ValueError, OverflowError, RuntimeError) as error:
        raise _damaged(path) from error


def _damaged(path: str | os.PathLike[str]) -> StylecoreError:
    return StylecoreError(f"{path} is damaged, incomplete or not a checkpoint; start the run again.")


def _check_sizes(archive: ZipFile, size: int) -> None:
    """Raise ValueError if the entries would unpack to more than the file holds."""
    entries = archive.infolist()
    stored = all(e.compress_type == ZIP_STORED and e.compress_size == e.file_size for e in entries)
    if not stored or sum(entry.file_size for entry in entries) > size:
        raise ValueError("the archive is compressed, or its entries overlap.")


def _checked(run: object, path: str | os.PathLike[str]) -> dict:
    """The content of `run.json`, converted from older formats, with the settings that are missing at their defaults."""
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        raise StylecoreError(f"{path} is not a checkpoint of stylecore; name one that `--checkpoint` wrote.")
    if run["format_version"] == 2:
        run["environment"] = {"stylecore": run["stylecore"]}
    elif run["format_version"] != FORMAT_VERSION:
        raise StylecoreError(
            f"{path} has format {run['format_version']!r}, which stylecore {__version__} does not know; resume it with "
            "the version that wrote it, or start the run again."
        )
    match run:
        case {
            "environment": dict(there),
            "arguments": dict(arguments),
            "scale": int(scale),
            "history": list(history),
            "every": int(every) | float(every),
            "output": None | str(),
        } if (
            scale >= 0
            and every >= 0
            and _are(str, there.values())
            and all(_is_stored(value, inputs=name in INPUTS) for name, value in arguments.items())
        ):
            return {
                **run,
                "arguments": _completed(arguments, path),
                "history": [_evaluation(number, row) for number, row in enumerate(history, start=1)],
            }
    raise ValueError("run.json lacks an entry, or has one of the wrong type.")


def _completed(arguments: dict, path: str | os.PathLike[str]) -> dict:
    """The arguments of a run, with the default of each setting that has been added since."""
    known = {"content": None, "style": None, **Settings.defaults()}
    if unknown := arguments.keys() - known.keys():
        raise StylecoreError(
            f"{path} has the setting {min(unknown)}, which stylecore {__version__} does not know; resume it with the "
            "version that wrote it, or start the run again."
        )
    return {**known, **arguments}


def _is_stored(value: object, inputs: bool) -> bool:
    """Whether an argument has one of the forms that `Checkpoint._stored` returns, as an input or as another setting."""
    match value:
        case {"array": int(number), "sha256": str()}:
            return inputs and number >= 0
        case {"before": before, "path": str(), "sha256": str()}:
            return inputs and before in ("", NOT)
        case dict():
            return "sha256" not in value and all(_is_stored(item, inputs) for item in value.values())
        case list():
            return all(_is_stored(item, inputs) for item in value)
    return value is None or isinstance(value, str | int | float)


def _evaluation(number: int, row: object) -> Evaluation:
    """The evaluation of this number, from its row in `run.json`."""
    match row:
        case [
            int(found),
            [int(height), int(width)],
            int(loss) | float(loss),
            dict(terms),
            int(seconds) | float(seconds),
            dict(weights),
        ] if (
            found == number
            and min(height, width) > 0
            and _are(int | float, [*terms.values(), *weights.values()])
            and math.isfinite(loss)
            and math.isfinite(seconds)
        ):
            return Evaluation(number, (height, width), loss, terms, seconds, weights)
    raise ValueError(f"evaluation {number} in run.json lacks an entry, or has one of the wrong type.")


def _are(kind: type | UnionType, values: Iterable[object]) -> bool:
    return all(isinstance(value, kind) for value in values)


def _read_array(archive: ZipFile, entry: str) -> np.ndarray:
    """Read an array, whose header is checked before memory is allocated for it."""
    with archive.open(entry) as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{entry} has another format.")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        size = archive.getinfo(entry).file_size - file.tell()
    if dtype.kind not in "biuf" or math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"{entry} has another size than its header says.")
    with archive.open(entry) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        file.read()  # The archive checks an entry's checksum at its end.
        return array


def _write_array(archive: ZipFile, name: str, array: object) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)


def _array_digest(array: np.ndarray) -> str:
    return hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + array.tobytes()).hexdigest()
