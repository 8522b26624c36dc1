"""The working folder of a film: its frames, those painted so far, and what identifies the run.

Frames are painted into this folder until the film is complete, so that a run that was killed goes on where it was. Each
file is written whole or not at all; a frame is painted if its file is there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from stylecore.errors import DataError, ImageError
from stylecore.files import replacing
from stylecore.pictures.reading import read_image
from stylecore.pictures.writing import write_image

_RECORD = "film.json"


@dataclass(frozen=True)
class Shots:
    """What is known of a film once its frames have been read.

    Attributes
    ----------
    times : list of Fraction
        When each frame is shown, in seconds from the first.
    numbers : list of int
        Number of each frame in the film.
    shots : list of (int, int)
        Index of the first frame of each shot, and the index after its last.
    shape : tuple of int
        (height, width) of the film's own frames, before they are cropped and reduced.
    """

    times: list[Fraction]
    numbers: list[int]
    shots: list[tuple[int, int]]
    shape: tuple[int, int]


class Frames:
    """The working folder of a film.

    Parameters
    ----------
    folder : str or path
        Created if it does not exist.
    record : mapping of str to object
        What determines the frames; anything that JSON can hold.

    Raises
    ------
    DataError
        If the folder holds the frames of another run, or cannot be written.
    """

    def __init__(self, folder: str | os.PathLike, record: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self._record = json.loads(json.dumps(record))
        stored = self._stored()
        if stored is not None and (changed := _changed(stored["record"], self._record)):
            raise DataError(
                f"{self.folder} holds the frames of another run ({changed}); continue that run with its own settings, "
                "or delete the folder."
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.folder} cannot be created ({error.strerror}).") from error

    def _stored(self) -> dict[str, Any] | None:
        path = self.folder / _RECORD
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            return {**stored, "record": dict(stored["record"])}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path} cannot be read; delete the folder {self.folder} to begin anew.") from error

    @property
    def shots(self) -> Shots | None:
        """Times and shots of the frames; None before all of them have been read."""
        stored = self._stored()
        if stored is None:
            return None
        try:
            height, width = stored["shape"]
            shots = [(int(first), int(end)) for first, end in stored["shots"]]
            times, numbers = map(Fraction, stored["times"]), map(int, stored["numbers"])
            return Shots(list(times), list(numbers), shots, (int(height), int(width)))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{self.folder / _RECORD} is damaged; delete the folder {self.folder}.") from error

    def finish_reading(self, shots: Shots) -> None:
        """Store the times and shots, after all frames have been added.

        Parameters
        ----------
        shots : Shots
        """
        stored = {
            "record": self._record,
            "times": [str(time) for time in shots.times],
            "numbers": shots.numbers,
            "shots": shots.shots,
            "shape": shots.shape,
        }
        with self.keeping(), replacing(self.folder / _RECORD) as file:
            file.write(json.dumps(stored, indent=1).encode())

    def add(self, i: int, picture: np.ndarray, mask: int | None = None) -> None:
        """Add a frame of the film, or of one of its mask films.

        Parameters
        ----------
        i : int
            Index of the frame, from 0.
        picture : ndarray, (H, W, 3)
            sRGB in [0, 1].
        mask : int, optional
            Number of the mask film.
        """
        path = self._source_path(i) if mask is None else self.mask_path(i, mask)
        with self.keeping():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, picture)

    def source(self, i: int) -> np.ndarray:
        """A frame of the film, (H, W, 3) sRGB in [0, 1]."""
        return read_image(self._source_path(i))[0]

    def mask_path(self, i: int, mask: int) -> Path:
        """File of a frame of a mask film."""
        return self.folder / f"mask{mask}" / f"{i + 1:06d}.png"

    def is_painted(self, i: int, run: int) -> bool:
        """Whether a frame was painted in a run over the film, numbered from 1."""
        return self._painted_path(i, run).is_file()

    @property
    def are_begun(self) -> bool:
        """Whether any frame has been painted."""
        return any(self.folder.glob("painted*/*.tif"))

    def painted(self, i: int, run: int) -> np.ndarray:
        """A painted frame, (H, W, 3), before the colours of the film are restored."""
        return read_image(self._painted_path(i, run))[0]

    def save(self, i: int, run: int, picture: np.ndarray) -> None:
        """Store a painted frame, at 16 bits per channel."""
        path = self._painted_path(i, run)
        with self.keeping():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, picture)

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _source_path(self, i: int) -> Path:
        return self.folder / "source" / f"{i + 1:06d}.png"

    def _painted_path(self, i: int, run: int) -> Path:
        return self.folder / f"painted{run}" / f"{i + 1:06d}.tif"

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Errors of writing, inside the ``with`` block, say that the frames so far are kept."""
        try:
            yield
        except (OSError, ImageError, DataError) as error:
            raise DataError(
                f"{_sentence(error)} The frames in {self.folder} are kept, and the same command continues with them."
            ) from error


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename} cannot be written ({error.strerror})."
    return str(error)


def _changed(stored: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """The first difference between two records, in words; empty if they are equal."""
    for name in (*record, *stored):
        if stored.get(name) != record.get(name):
            return f"{name} was {json.dumps(stored.get(name))}, and is {json.dumps(record.get(name))}"
    return ""


def numbers(count: int, pictures: int) -> Iterator[int]:
    """Evenly spaced indices among `count`, the first and the last included; at most `pictures`."""
    yield from map(round, np.linspace(0, count - 1, min(count, pictures)).tolist())
