"""The files that a training writes: checked before it begins, and written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from stylecore.errors import ParameterError, TrainingError
from stylecore.files import InUseError, locked, replacing
from stylecore.training import checkpoints, curves


class Outputs:
    """Paths of the files that a training writes.

    Parameters
    ----------
    network : str or path
        The HDF5 file of the trained network.
    plot : str or path, optional
        The picture of the learning curves.
    has_samples : bool
        Whether the training also writes samples of what the network makes.

    Attributes
    ----------
    network, curves, checkpoint, samples : Path
        All but the first lie beside the network: ``cnn.csv``, ``cnn.checkpoint.npz`` and ``cnn.samples.png`` for
        ``cnn.h5``.
    plot : Path or None
    """

    def __init__(
        self,
        network: str | os.PathLike[str],
        plot: str | os.PathLike[str] | None = None,
        has_samples: bool = False,
    ) -> None:
        self.network = Path(network)
        self.curves = self.network.with_suffix(".csv")
        self.checkpoint = self.network.with_suffix(".checkpoint.npz")
        self.samples = self.network.with_suffix(".samples.png")
        self.plot = None if plot is None else Path(plot)
        self._has_samples = has_samples

    @contextmanager
    def reserved(self, inputs: Iterable[Path], resume: bool) -> Iterator[None]:
        """Check the files, and inside the ``with`` block keep other trainings away from them.

        Parameters
        ----------
        inputs, resume
            As those of `check`.

        Raises
        ------
        ParameterError
            As `check` does, and if another training writes these files.
        """
        _check_writable(self.network)
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.checkpoint))
            except InUseError as error:
                raise ParameterError(
                    f"{self.network} is being trained by {error.strerror}; wait until that has ended, or choose "
                    "another name."
                ) from error
            except OSError as error:
                raise ParameterError(f"{self.network} cannot be written ({error}); choose another name.") from error
            self.check(inputs, resume)
            yield

    def check(self, inputs: Iterable[Path], resume: bool) -> None:
        """Check that all files can be written without loss.

        The network and the plot, which the user names, are replaced if they exist, unless they belong to the data. The
        learning curves are replaced if they are those of an earlier training, the checkpoint only to resume from it.

        Parameters
        ----------
        inputs : iterable of path
            Files that the training reads.
        resume : bool

        Raises
        ------
        ParameterError
            If a file cannot be written, belongs to the data, or was not written by a training.
        """
        if self.network.suffix not in (".h5", ".hdf5"):
            raise ParameterError(f"{self.network} cannot be the name of a network; it must end in .h5.")
        if self.plot is not None:
            curves.check_plot(self.plot)
        paths = [self.network, self.curves, self.checkpoint]
        paths += [self.samples] * self._has_samples + ([] if self.plot is None else [self.plot])
        inputs = list(inputs)
        for i, path in enumerate(paths):
            _check_writable(path)
            if path.exists() and any(file.exists() and path.samefile(file) for file in inputs):
                raise ParameterError(f"{path} belongs to the data and would be overwritten; choose another name.")
            if path.resolve() in [other.resolve() for other in paths[:i]]:
                raise ParameterError(f"{path} would be written twice; choose another name.")
        if self.curves.exists() and not curves.is_table(self.curves):
            raise ParameterError(
                f"{self.curves} would be replaced by the learning curves, but holds something else; move it, or choose "
                f"another name than {self.network}."
            )
        if self.checkpoint.exists() and not resume:
            checkpoints.check_format(self.checkpoint)
            raise ParameterError(
                f"{self.checkpoint} is the checkpoint of an unfinished training; resume it with --resume "
                f"(resume=True), or delete it to start over."
            )


def _check_writable(path: Path) -> None:
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ParameterError(f"{path} cannot be written: there is no folder {path.parent}; create it.")
    if path.is_dir():
        raise ParameterError(f"{path} cannot be written: it is a folder; choose another name.")
    try:
        TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ParameterError(f"{path} cannot be written ({error.strerror}); choose another folder.") from error


def write(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all.

    Parameters
    ----------
    path : Path
    content : bytes or memoryview

    Raises
    ------
    TrainingError
        If it cannot be written.
    """
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be written ({error.strerror or error}); correct that, then resume from the last checkpoint "
            f"if there is one."
        ) from error
