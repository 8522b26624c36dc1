"""What can be seen of a transfer while it goes on; all are callbacks of `transfer`.

A file that cannot be written is no reason to lose the work: it is warned of once, and left.
"""

import os
import re
import time
import warnings
from pathlib import Path

from stylecore.errors import ImageError, ParameterError
from stylecore.pictures.arrays import to_pil
from stylecore.pictures.geometry import resize
from stylecore.pictures.sheets import contact_sheet
from stylecore.pictures.writing import write_image


def together(*callbacks):
    """Several callbacks as one, which ends the run when any of them does.

    Parameters
    ----------
    *callbacks : callable or None

    Returns
    -------
    callable
    """

    def callback(evaluation, image):
        answers = [each(evaluation, image) for each in callbacks if each is not None]
        return any(answers)

    return callback


class _Files:
    """Writes pictures until one cannot be written."""

    def __init__(self):
        self._failed = False

    def _write(self, path, image):
        if self._failed:
            return
        try:
            write_image(path, image)
        except ImageError as error:
            self._failed = True
            warnings.warn(f"{error} The transfer goes on without.", stacklevel=2)


class Snapshots(_Files):
    """Saves the picture at every so many evaluations, beside the result: out.png, out-0050.png, out-0100.png.

    Parameters
    ----------
    output : str or path
        The result's file.
    every : int
        Evaluations from one picture to the next.

    Raises
    ------
    ParameterError
        If `every` is not a whole number of one or more.
    """

    def __init__(self, output, every):
        super().__init__()
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ParameterError(f"save_every is {every!r}; it must be a whole number of one or more.")
        self._output = Path(output)
        self._every = every

    def __call__(self, evaluation, image):
        """Save the picture if it is time."""
        if evaluation.number % self._every == 0:
            self._write(self._output.with_stem(f"{self._output.stem}-{evaluation.number:04d}"), image)

    def may_write(self, path):
        """Whether a file is one of those that are written, so that it would be replaced.

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
    """Rewrites one file with the picture as it grows, whole each time, for a viewer that follows it.

    Parameters
    ----------
    path : str or path
    seconds : float
        From one picture to the next, at least.
    """

    def __init__(self, path, seconds=2.0):
        super().__init__()
        self._path = path
        self._seconds = seconds
        self._next = -float("inf")

    def __call__(self, evaluation, image):
        """Rewrite the file if it is time."""
        if time.monotonic() >= self._next:
            self._write(self._path, image)
            self._next = time.monotonic() + self._seconds


class RunSheet:
    """Keeps a few pictures of the run, evenly over its evaluations, and puts them on a sheet.

    Parameters
    ----------
    iterations : int
        Evaluations of the run.
    pictures : int
        Most pictures on the sheet, the result included; the first is the start.
    height : int
        Of each on the sheet, in pixels.
    """

    def __init__(self, iterations, pictures=12, height=256):
        steps = min(iterations, pictures - 1)
        self._numbers = {1 + i * iterations // steps for i in range(steps)}
        self._height = height
        self._pictures, self._labels = [], []

    def __call__(self, evaluation, image):
        """Keep the picture, no larger than the sheet will show it, if it is one of them."""
        if evaluation.number not in self._numbers:
            return
        height, width = evaluation.size
        small = (self._height, max(1, round(width * self._height / height)))
        self._pictures.append(resize(image, small) if height > self._height else image.copy())
        self._labels.append(f"step {evaluation.number}, {width} x {height}")

    def sheet(self, result):
        """The labelled sheet, with the result at its end.

        Parameters
        ----------
        result : Result

        Returns
        -------
        ndarray, (H, W, 3)
        """
        pictures, labels = [*self._pictures, result.array], [*self._labels, "result"]
        return contact_sheet(pictures, labels, self._height, columns=4)


class NotebookPicture:
    """Shows the picture as it grows, in a notebook's cell.

    Parameters
    ----------
    seconds : float
        From one picture to the next, at least.

    Raises
    ------
    ParameterError
        If IPython is missing.
    """

    def __init__(self, seconds=1.0):
        try:
            from IPython.display import display
        except ImportError as error:
            raise ParameterError('progress "notebook" needs IPython; install it with: pip install ipython.') from error
        self._display = display
        self._seconds = seconds
        self._handle = None
        self._next = -float("inf")

    def __call__(self, evaluation, image):
        """Show the picture if it is time."""
        if time.monotonic() < self._next:
            return
        picture = to_pil(image)
        if self._handle is None:
            self._handle = self._display(picture, display_id=True)
        else:
            self._handle.update(picture)
        self._next = time.monotonic() + self._seconds
