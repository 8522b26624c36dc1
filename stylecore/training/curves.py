"""Learning curves: the epochs of a training as a table of comma-separated values, and as a plot."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import BytesIO, StringIO
from pathlib import Path

from stylecore.errors import ParameterError

Epoch = dict[str, float]
"""One epoch by the names of `columns`; the epoch's number counts from 1."""


def columns(score: str) -> list[str]:
    """Names of what is recorded of an epoch.

    Parameters
    ----------
    score : str
        Name of the score, such as "accuracy".

    Returns
    -------
    list of str
        The epoch's number; loss and score on the training set, while it was being learned; both on the test set, after
        the epoch; the learning rate at its end; and its duration in seconds.
    """
    return ["epoch", "loss", score, "test loss", f"test {score}", "rate", "seconds"]


def table(history: Sequence[Epoch], score: str) -> bytes:
    """The epochs as a table of comma-separated values with a header.

    Parameters
    ----------
    history : sequence of Epoch
    score : str

    Returns
    -------
    bytes
    """
    text = StringIO()
    writer = csv.DictWriter(text, columns(score), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue().encode()


def is_table(path: Path) -> bool:
    """Whether a file begins with the header that `table` writes, for any score."""
    with open(path, "rb") as file:
        header = file.readline(1000).decode(errors="replace").rstrip("\r\n").split(",")
    return len(header) > 2 and header == columns(header[2])


def check_plot(path: Path) -> None:
    """Check that plots can be drawn, as files of this format.

    Parameters
    ----------
    path : Path
        Its suffix determines the format.

    Raises
    ------
    ParameterError
        If Matplotlib is missing, or does not write this format.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ParameterError("a plot needs Matplotlib; run `pip install matplotlib`.") from error
    formats = sorted(Figure().canvas.get_supported_filetypes())
    if path.suffix.removeprefix(".") not in formats:
        raise ParameterError(f"{path} cannot be written as a plot; its name must end in one of {', '.join(formats)}.")


def plot(history: Sequence[Epoch], score: str, format: str) -> memoryview:
    """Draw loss and score on the training and the test set over the epochs.

    Parameters
    ----------
    history : sequence of Epoch
    score : str
    format : str
        A format of Matplotlib's, such as "png".

    Returns
    -------
    memoryview
        The content of the file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", score), strict=True):
        for key, label in ((name, "training set"), (f"test {name}", "test set")):
            axes.plot([epoch["epoch"] for epoch in history], [epoch[key] for epoch in history], label=label)
        axes.set(xlabel="epoch", ylabel=name)
        axes.grid(alpha=0.3)
        axes.legend()
    content = BytesIO()
    figure.savefig(content, format=format)
    return content.getbuffer()
