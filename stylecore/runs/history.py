"""The history of a run: every evaluation of the loss, as a list, as columns and as a plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stylecore.errors import ParameterError
from stylecore.pictures.reading import read_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A term below this fraction of the lowest loss is left out of the plot.
LEAST_SHOWN = 1e-5


class Evaluation(NamedTuple):
    """One evaluation of the loss, as recorded in the history and passed to the callback.

    Attributes
    ----------
    number : int
        Counted from 1 over all scales.
    size : tuple of int
        (height, width) of the scale, in pixels.
    loss : float
    terms : dict of str to float
        Value of each term that has a weight, before it is multiplied by it.
    seconds : float
        Since the start of the transfer.
    weights : dict of str to float
        Weight of each term; the loss is the sum of the weighted terms.
    """

    number: int
    size: tuple[int, int]
    loss: float
    terms: dict[str, float]
    seconds: float
    weights: dict[str, float]


Callback = Callable[[Evaluation, np.ndarray], object]
"""Called with each evaluation and its picture (H, W, 3), sRGB in [0, 1], read-only; a true result ends the run."""


class History(list[Evaluation]):
    """List of `Evaluation` that can be converted to columns.

    Examples
    --------
    >>> from stylecore import Evaluation, History
    >>> history = History([Evaluation(1, (24, 32), 2.0, {"tv": 0.5}, 0.1, {"tv": 4.0})])
    >>> history[-1].loss
    2.0
    >>> history.columns()["tv"]
    array([0.5])
    """

    def columns(self) -> dict[str, np.ndarray]:
        """Convert the history to columns, for a table: ``pandas.DataFrame(result.history.columns())``.

        Returns
        -------
        dict of str to ndarray, (evaluations,)
            ``number``, ``height``, ``width``, ``loss``, ``seconds``, and each term by its name, which is NaN where
            it was not evaluated.
        """
        columns = {
            "number": np.array([evaluation.number for evaluation in self], int),
            "height": np.array([evaluation.size[0] for evaluation in self], int),
            "width": np.array([evaluation.size[1] for evaluation in self], int),
            "loss": np.array([evaluation.loss for evaluation in self], float),
            "seconds": np.array([evaluation.seconds for evaluation in self], float),
        }
        for name in dict.fromkeys(name for evaluation in self for name in evaluation.terms):
            columns[name] = np.array([evaluation.terms.get(name, np.nan) for evaluation in self], float)
        return columns


def check_plot() -> None:
    """Check before the work that a plot can be drawn.

    Raises
    ------
    ParameterError
        If Matplotlib is not installed.
    """
    _matplotlib()


def plot(history: Sequence[Evaluation]) -> np.ndarray:
    """Plot the loss and each weighted term over the evaluations, on a logarithmic scale.

    Parameters
    ----------
    history : sequence of Evaluation
        At least one.

    Returns
    -------
    ndarray of float32, (H, W, 3)
        sRGB in [0, 1].

    Raises
    ------
    ParameterError
        If Matplotlib is not installed.
    """
    colormaps, Figure, Canvas = _matplotlib()
    figure = Figure(figsize=(10, 6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    numbers = [evaluation.number for evaluation in history]
    axes.plot(numbers, [evaluation.loss for evaluation in history], color="black", linewidth=2, label="loss")
    # The content term starts at almost zero, for which a logarithmic scale would show ten empty decades.
    least = LEAST_SHOWN * min(evaluation.loss for evaluation in history)
    names = sorted({name for evaluation in history for name in evaluation.terms})
    for name, colour in zip(names, colormaps["turbo"](np.linspace(0.05, 0.95, len(names))), strict=True):
        parts = np.array([evaluation.weights.get(name, 0) * evaluation.terms.get(name, 0) for evaluation in history])
        parts[parts <= least] = np.nan
        axes.plot(numbers, parts, color=colour, linewidth=1.2, label=name)
    _mark_scales(axes, history)
    axes.set(xlabel="evaluation", ylabel="weighted term", yscale="log", xlim=(1, max(2, len(history))))
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    canvas = Canvas(figure)
    canvas.draw()
    return read_image(np.asarray(canvas.buffer_rgba())[:, :, :3])[0]


def _mark_scales(axes: Axes, history: Sequence[Evaluation]) -> None:
    """Mark the first evaluation of each scale with its size."""
    for i, evaluation in enumerate(history):
        if i == 0 or evaluation.size != history[i - 1].size:
            height, width = evaluation.size
            axes.axvline(evaluation.number, color="grey", linewidth=0.8, linestyle=":")
            axes.annotate(
                f" {width} x {height}",
                (evaluation.number, 1),
                xycoords=("data", "axes fraction"),
                va="bottom",
                color="grey",
            )


def _matplotlib():
    """Matplotlib's colour maps, figure and canvas, without a window."""
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ParameterError("a plot needs Matplotlib; install it with: pip install matplotlib.") from error
    return matplotlib.colormaps, Figure, FigureCanvasAgg
