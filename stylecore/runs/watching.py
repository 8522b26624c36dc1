"""Callbacks of `stylecore.transfer` that show its progress.

A file that cannot be written does not end the run: there is one warning, and no further attempt.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stylecore.errors import ImageError, ParameterError
from stylecore.pictures.arrays import to_pil
from stylecore.pictures.geometry import resize
from stylecore.pictures.sheets import contact_sheet
from stylecore.pictures.writing import write_image
from stylecore.runs.history import Callback, Evaluation

if TYPE_CHECKING:
    from stylecore import Result


def together(*callbacks: Callback | None) -> Callback:
    """Combine several callbacks into one, which ends the run if any of them does.

    Parameters
    ----------
    *callbacks : callable or None

    Returns
    -------
    callable
    """

    def callback(evaluation: Evaluation, image: np.ndarray) -> bool:
        answers = [each(evaluation, image) for each in callbacks if each is not None]
        return any(answers)

    return callback


class _Files:
    """Writes pictures until one cannot be written."""

    def __init__(self) -> None:
        self._failed = False

    def _write(self, path: str | os.PathLike[str], image: np.ndarray) -> None:
        if self._failed:
            return
        try:
            write_image(path, image)
        except ImageError as error:
            self._failed = True
            warnings.warn(f"{error} The transfer continues without it.", stacklevel=2)


class Snapshots(_Files):
    """Saves the picture every few evaluations, beside the result: out.png, out-0050.png, out-0100.png.

    Parameters
    ----------
    output : str or path
        The result's file.
    every : int
        Number of evaluations from one picture to the next, 1 or more.

    Raises
    ------
    ParameterError
        If `every` is not a positive integer.
    """

    def __init__(self, output: str | os.PathLike[str], every: int) -> None:
        super().__init__()
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ParameterError(f"save_every is {every!r}; it must be a positive integer.")
        self._output = Path(output)
        self._every = every

    def __call__(self, evaluation: Evaluation, image: np.ndarray) -> None:
        """Save the picture if it is time to.

        Parameters
        ----------
        evaluation : Evaluation
        image : ndarray, (H, W, 3)
            sRGB in [0, 1].
        """
        if evaluation.number % self._every == 0:
            self._write(self._output.with_stem(f"{self._output.stem}-{evaluation.number:04d}"), image)

    def may_write(self, path: str | os.PathLike[str]) -> bool:
        """Whether a file has the name of a snapshot, so that it could be overwritten.

        Parameters
        ----------
        path : str or path

        Returns
        -------
        bool
        """
        path, output = (Path(os.path.realpath(file)) for file in (path, self._output))
        name = re.escape(output.stem) + r"-\d{4,}" + re.escape(output.suffix)
        return path.parent == output.parent and bool(re.fullmatch(name, path.name))


class Preview(_Files):
    """Overwrites one file with the current picture, for an image viewer that reloads it.

    Parameters
    ----------
    path : str or path
    seconds : float
        Least time from one picture to the next.
    """

    def __init__(self, path: str | os.PathLike[str], seconds: float = 2.0) -> None:
        super().__init__()
        self._path = path
        self._seconds = seconds
        self._next = -float("inf")

    def __call__(self, evaluation: Evaluation, image: np.ndarray) -> None:
        """Overwrite the file if it is time to; the arguments are those of a callback."""
        self.show(image)

    def show(self, image: np.ndarray) -> None:
        """Overwrite the file if it is time to.

        Parameters
        ----------
        image : ndarray, (H, W, 3)
            sRGB in [0, 1].
        """
        if time.monotonic() >= self._next:
            self._write(self._path, image)
            self._next = time.monotonic() + self._seconds


class RunSheet:
    """Collects pictures at regular intervals of a run, and arranges them on a contact sheet.

    Parameters
    ----------
    iterations : int
        Evaluations of the run.
    pictures : int
        Largest number of pictures on the sheet, including the first and the result; 2 or more.
    height : int
        Height of each picture on the sheet, in pixels.
    """

    def __init__(self, iterations: int, pictures: int = 12, height: int = 256) -> None:
        steps = min(iterations, pictures - 1)
        self._numbers = {1 + i * iterations // steps for i in range(steps)}
        self._height = height
        self._pictures: list[np.ndarray] = []
        self._labels: list[str] = []

    def __call__(self, evaluation: Evaluation, image: np.ndarray) -> None:
        """Keep the picture, no larger than on the sheet, if it is one of those to be shown.

        Parameters
        ----------
        evaluation : Evaluation
        image : ndarray, (H, W, 3)
            sRGB in [0, 1].
        """
        if evaluation.number not in self._numbers:
            return
        height, width = evaluation.size
        small = (self._height, max(1, round(width * self._height / height)))
        self._pictures.append(resize(image, small) if height > self._height else image)
        self._labels.append(f"step {evaluation.number}, {width} x {height}")

    def sheet(self, result: Result) -> np.ndarray:
        """Arrange the pictures on a labelled sheet, the result last.

        Parameters
        ----------
        result : Result

        Returns
        -------
        ndarray, (H, W, 3)
            sRGB in [0, 1].
        """
        pictures, labels = [*self._pictures, result.array], [*self._labels, "result"]
        return contact_sheet(pictures, labels, self._height, columns=4)


class NotebookPicture:
    """Shows the current picture in a notebook's cell.

    Parameters
    ----------
    seconds : float
        Least time from one picture to the next.

    Raises
    ------
    ParameterError
        If IPython is not installed.
    """

    def __init__(self, seconds: float = 1.0) -> None:
        try:
            from IPython.display import display
        except ImportError as error:
            raise ParameterError('progress "notebook" needs IPython; install it with: pip install ipython.') from error
        self._display = display
        self._seconds = seconds
        self._handle = None
        self._next = -float("inf")

    def __call__(self, evaluation: Evaluation, image: np.ndarray) -> None:
        """Show the picture if it is time to.

        Parameters
        ----------
        evaluation : Evaluation
        image : ndarray, (H, W, 3)
            sRGB in [0, 1].
        """
        if time.monotonic() < self._next:
            return
        picture = to_pil(image)
        if self._handle is None:
            self._handle = self._display(picture, display_id=True)
        else:
            self._handle.update(picture)
        self._next = time.monotonic() + self._seconds
