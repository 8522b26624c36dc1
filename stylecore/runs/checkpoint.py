"""Setting a run aside in a file, and taking it up again.

The file is a ZIP archive of `run.json` and NumPy arrays, which `numpy.load` reads. (It is not HDF5, whose library was
seen to crash on a full disk.) It holds the settings of the run, its inputs (of a file, the path and the digest; of an
array, the array), the history and the state of the optimiser after an iteration. What comes after depends on these
alone, so that a run that was killed and resumed ends with the same picture, bit for bit, as one that was not.
"""

import hashlib
import json
import os
import time
import zlib
from contextlib import contextmanager
from zipfile import BadZipFile, ZipFile

import numpy as np
from PIL import Image

from stylecore.errors import ImageError, ParameterError, StylecoreError
from stylecore.files import replacing
from stylecore.pictures.reading import read_image
from stylecore.regions import NOT, WORDS, Region
from stylecore.version import __version__
from stylecore.weights.catalogue import CATALOGUE
from stylecore.weights.conversion import sha256

FORMAT = "stylecore checkpoint"
FORMAT_VERSION = 2
_RUN = "run.json"

INPUTS = ("content", "style", "regions", "labels", "init", "network")
"""The settings that may be given as files or arrays."""

# What these call something else, even where there is a file of that name.
_WORDS = ("content", "noise", *WORDS, *CATALOGUE)

# Writing takes at most this part of the time, however large the state and slow the disk.
SHARE = 0.1


class Checkpoint:
    """A file that the state of a run is written to, every so often, and taken up from if it is there.

    Parameters
    ----------
    path : str or path
    every : float
        Seconds between two writings, or more where writing takes a tenth of that; 0 writes after each iteration.
    output : str or path, optional
        Where the picture is to be written in the end, which the command line's `resume` wants to know.

    Raises
    ------
    ParameterError
        If `every` is not a number of zero or more.
    """

    def __init__(self, path, every=10.0, output=None):
        if not (np.isscalar(every) and np.isreal(every) and every >= 0):
            raise ParameterError(f"checkpoint_every is {every!r}; it must be a number of zero or more seconds.")
        self.path = path
        self.output = None if output is None else os.path.abspath(output)
        self._every = float(every)
        self._due = 0.0  # The first one soon tells whether the disk takes it, and a run can be resumed from then on.

    def begin(self, arguments):
        """Get ready for a run; if the file is there, check that it was written by the same one.

        Parameters
        ----------
        arguments : dict
            Those of `transfer`.

        Returns
        -------
        dict or None
            "scale", the number of the scale reached, and "history", as they were given to `write`; None if there is
            no file yet.

        Raises
        ------
        ParameterError
            If an argument cannot be stored, or those in the file are others.
        StylecoreError
            If the file cannot be read or is of another version, or no file can be written there.
        """
        self._arrays = []
        self._arguments = {name: self._stored(name, value) for name, value in arguments.items()}
        # Through JSON, so that tuples and lists compare as equal.
        self._arguments = json.loads(json.dumps(self._arguments))
        if not os.path.exists(self.path):
            if not os.access(os.path.dirname(os.path.abspath(self.path)), os.W_OK):
                raise StylecoreError(f"no checkpoint can be written to {self.path}; choose a folder that can be.")
            return None
        with _reading(self.path) as (run, _):
            self._check_same(run["arguments"])
            return {"scale": run["scale"], "history": run["history"]}

    def restore(self, optimizer):
        """Bring an optimiser into the state that the file holds."""
        with _reading(self.path) as (_, archive):
            state, rows = {}, {}
            for entry in archive.namelist():
                kind, _, name = entry.removesuffix(".npy").partition("/")
                if kind != "state":
                    continue
                name, _, row = name.partition("/")
                if row:
                    rows.setdefault(name, []).append(entry)
                else:
                    state[name] = _read_array(archive, entry)
            # One at a time.
            state.update({name: (_read_array(archive, entry) for entry in entries) for name, entries in rows.items()})
            optimizer.restore(state)

    def write(self, optimizer, scale, history, *, now=False):
        """Write the state if it is time.

        Parameters
        ----------
        optimizer : Optimizer
        scale : int
        history : list
            Of what JSON can hold.
        now : bool
            Whether to write in any case.

        Raises
        ------
        StylecoreError
            If it cannot be written; a former state stays.
        """
        began = time.monotonic()
        if not now and began < self._due:
            return
        try:
            with replacing(self.path) as file:
                self._write(file, optimizer, scale, history)
        except OSError as error:
            raise StylecoreError(f"the checkpoint {self.path} cannot be written: {error.strerror or error}.") from error
        ended = time.monotonic()
        self._due = ended + max(self._every, (ended - began) * (1 / SHARE - 1) if self._every else 0)

    def _write(self, file, optimizer, scale, history):
        run = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "stylecore": __version__,
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
                # A list stays one: as one array it would take the memory of all its rows again.
                rows = [(f"{name}/{i}", row) for i, row in enumerate(value)] if isinstance(value, list) else []
                for part, array in rows or [(name, value)]:
                    _write_array(archive, f"state/{part}", array)

    def _stored(self, name, value):
        """An argument in a form that JSON can hold; arrays are put aside, and pictures are made arrays."""
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
        if isinstance(value, dict):
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

    def _check_same(self, arguments):
        for name, value in self._arguments.items():
            there = arguments.get(name)
            if there == value:
                continue
            if path := _changed(value, there):
                raise ParameterError(f"{path} has changed since {self.path} was written; {_BEGIN_ANEW}.")
            shown = f"{name} {there!r} instead of {value!r}"
            what = f"another {name}" if name in INPUTS else shown
            raise ParameterError(f"{self.path} is the checkpoint of a run with {what}; {_BEGIN_ANEW}.")


def _is_input(value):
    return isinstance(value, dict) and "sha256" in value


def _changed(value, there):
    """The path of a file that is named in both and was another then; None if there is none."""
    if isinstance(value, list) and isinstance(there, list):
        return next(filter(None, map(_changed, value, there)), None)
    if _is_input(value) and _is_input(there) and "path" in value and value["path"] == there.get("path"):
        return value["path"] if value["sha256"] != there["sha256"] else None
    return None


_BEGIN_ANEW = "delete it to begin anew, or name another file"


def read(path):
    """What a checkpoint tells of the run that wrote it.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    arguments : dict
        Those of `transfer`.
    checkpoint : Checkpoint
        As that run had it.

    Raises
    ------
    ImageError
        If an input is no longer where it was.
    StylecoreError
        If the file is missing, damaged, of another version or none of stylecore's.
    """

    def given(value):
        if isinstance(value, list):
            return [given(item) for item in value]
        if not isinstance(value, dict):
            return value
        if not _is_input(value):
            return {key: given(item) for key, item in value.items()}
        if "array" in value:
            return _read_array(archive, f"arrays/{value['array']}.npy")
        if not os.path.isfile(value["path"]):
            raise ImageError(f"{value['path']}, which {path} goes on from, is no longer there; put it back.")
        return value["before"] + value["path"]

    with _reading(path) as (run, archive):
        arguments = {name: given(value) for name, value in run["arguments"].items()}
        return arguments, Checkpoint(path, run["every"], run["output"])


@contextmanager
def _reading(path):
    """What the file tells of the run, and the archive with the arrays."""
    if not os.path.isfile(path):
        raise StylecoreError(f"{path} is not a file; name the checkpoint of a run.")
    try:
        with ZipFile(path) as archive:
            run = json.loads(archive.read(_RUN))
            _check_version(run, path)
            yield run, archive
    except StylecoreError:
        raise
    except PermissionError as error:
        raise StylecoreError(f"{path} may not be read; change its permissions.") from error
    except (BadZipFile, OSError, EOFError, KeyError, ValueError, NotImplementedError, zlib.error) as error:
        raise StylecoreError(f"{path} is damaged, incomplete or no checkpoint; begin the run anew.") from error


def _check_version(run, path):
    if run["format"] != FORMAT:
        raise StylecoreError(f"{path} is not a checkpoint of stylecore's; name one that `--checkpoint` wrote.")
    version = run["stylecore"]
    if run["format_version"] != FORMAT_VERSION or version != __version__:
        raise StylecoreError(
            f"{path} was written by stylecore {version} and this is {__version__}, which would not end with the same "
            "picture; go on with that version, or begin the run anew."
        )


def _write_array(archive, name, array):
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)


def _read_array(archive, entry):
    # The archive checks each entry's checksum, at its end.
    with archive.open(entry) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        file.read()
        return array


def _array_digest(array):
    return hashlib.sha256(f"{array.dtype} {array.shape} ".encode() + array.tobytes()).hexdigest()
