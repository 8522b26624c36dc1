"""Learning curves: the epochs of a training as a table, and as a plot."""

import csv
from io import BytesIO, StringIO

from stylecore.errors import ParameterError
from stylecore.files import replacing


def write_csv(history, path):
    """Write the epochs as a table of comma-separated values.

    Parameters
    ----------
    history : list of dict
        A dict an epoch, all with the same keys.
    path : str or path
    """
    text = StringIO()
    table = csv.DictWriter(text, history[0], lineterminator="\n")
    table.writeheader()
    table.writerows(history)
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def check_plot(path):
    """Raise ParameterError unless plots can be drawn, as files of this kind."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ParameterError("a plot needs matplotlib; run `pip install 'stylecore[plot]'`.") from error
    known = sorted(Figure().canvas.get_supported_filetypes())
    if path.suffix.removeprefix(".") not in known:
        raise ParameterError(f"{path} cannot be written as a plot; its ending must be one of {', '.join(known)}.")


def plot(history, score, path):
    """Draw loss and score over the epochs, in training and on what was held out.

    Parameters
    ----------
    history : list of dict
        With "epoch", and with "loss" and the score's name, each once with "test " before it too.
    score : str
        Name of the score, such as "accuracy".
    path : path
        Its ending tells the format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", score), strict=True):
        for key, label in ((name, "training"), (f"test {name}", "held out")):
            axes.plot([epoch["epoch"] for epoch in history], [epoch[key] for epoch in history], label=label)
        axes.set(xlabel="epoch", ylabel=name)
        axes.grid(alpha=0.3)
        axes.legend()
    content = BytesIO()
    figure.savefig(content, format=path.suffix.removeprefix("."))
    with replacing(path) as file:
        file.write(content.getbuffer())
