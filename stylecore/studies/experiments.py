"""The experiments of the paper's section 6, as labelled sheets of pictures and their losses."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stylecore._transfer import transfer
from stylecore.errors import ParameterError
from stylecore.files import replacing
from stylecore.network import STYLE_LAYERS, load_network
from stylecore.objective import Objective
from stylecore.pictures.geometry import crop, fit, resize, shape_for
from stylecore.pictures.reading import read_image
from stylecore.pictures.sheets import contact_sheet
from stylecore.pictures.tones import STYLE_WEIGHT
from stylecore.pictures.writing import check_output, write_image


def balance(share):
    """Weights of content and style from one number between them.

    Parameters
    ----------
    share : float
        From 0, content alone, to 1, style alone: alpha = 2 (1 - share) and beta = 40 share, so that 0.5 stands for the
        defaults, alpha = 1 and beta = 20.

    Returns
    -------
    dict
        ``content_weight``, which is alpha, and ``style_weight``, which is beta.
    """
    return {"content_weight": 2 * (1 - share), "style_weight": 2 * STYLE_WEIGHT * share}


class Experiment(NamedTuple):
    """A comparison of some pictures.

    Attributes
    ----------
    name : str
        Of its files.
    title : str
    runs : dict of str to dict
        Settings of each picture that differ from the defaults, by its label.
    style : {"style", "dark style"} or None
        The style image that it is made with.
    """

    name: str
    title: str
    runs: dict
    style: str | None = "style"


EXPERIMENTS = (
    Experiment(
        "content-only",
        "Content only, from white noise (6.1)",
        {layer: {"style_weight": 0.0, "init": "noise", "content_layers": (layer,)} for layer in ("relu2_2", "relu4_2")},
        style=None,
    ),
    Experiment(
        "style-layers",
        "Layers that the style is taken from (6.3)",
        {
            "relu1_1, 2_1, 3_1, 4_1": {"style_layers": ("relu1_1", "relu2_1", "relu3_1", "relu4_1")},
            "relu2_1, 3_1, 4_1": {"style_layers": ("relu2_1", "relu3_1", "relu4_1")},
            "relu1_1": {"style_layers": ("relu1_1",)},
        },
    ),
    Experiment(
        "style-weights",
        "Style weight w: alpha = 2 (1 - w), beta = 40 w (6.3)",
        {f"style weight {share}": balance(share) for share in (0.3, 0.5, 0.6)},
    ),
    Experiment(
        "dark-style",
        "A style image that is mostly black (6.4)",
        {"weight 20, the default": {}, "weight auto": {"style_weight": "auto"}},
        style="dark style",
    ),
)


def experiments(folder, content, style, dark_style=None, *, size=256, iterations=200, watch=None):
    """Do the paper's experiments; each gives a sheet and the losses of its runs.

    They are ``content-only``, ``style-layers``, ``style-weights`` and ``dark-style``, each with .png and .json. A JSON
    file holds, for every run, its settings; the paper's terms, unweighted, at all style layers, of the content image
    and of the result; and the history of the loss as columns.

    Parameters
    ----------
    folder : str or path
        Where to write them; created if it does not exist.
    content, style : path, PIL image or array
    dark_style : path, PIL image or array, optional
        A style image that is mostly black; without, one is made by `mostly_black`.
    size : int, (int, int) or str
        As `transfer` takes it.
    iterations : int
        Evaluations of each run.
    watch : callable, optional
        Called as ``watch(name)`` before each run; gives more arguments for `transfer`, such as its callback.

    Yields
    ------
    Path
        Each sheet when it is written, with its JSON beside it. There are no more once a callback ends a run.

    Raises
    ------
    StylecoreError
        As `transfer` does; or if the folder cannot be written to, which is found before the work starts.
    """
    content, style = read_image(content, name="content image")[0], read_image(style, name="style image")[0]
    dark = mostly_black(style) if dark_style is None else read_image(dark_style, name="dark style image")[0]
    shape = shape_for(size, content.shape)
    folder = _prepared(folder)
    network = load_network("vgg19")
    for experiment in EXPERIMENTS:
        painting = dark if experiment.style == "dark style" else style
        results = {}
        for label, settings in experiment.runs.items():
            more = watch(f"{experiment.name}, {label}") if watch else {}
            given = {"size": shape[::-1], "iterations": iterations, "network": network, **settings}
            result = transfer(content, painting, **given, **more)
            if result.stopped:
                return
            results[label] = result
        seen = resize(crop(content, shape), shape)
        painting = resize(painting, fit(painting.shape, min(max(shape), max(painting.shape))))
        records = [{"label": label, **_record(result, seen, painting, network)} for label, result in results.items()]
        with replacing(folder / f"{experiment.name}.json") as file:
            file.write(json.dumps({"experiment": experiment.title, "runs": records}, indent=1).encode())
        pictures = {"content": seen, experiment.style: painting} if experiment.style else {"content": seen}
        pictures |= {label: result.array for label, result in results.items()}
        sheet = contact_sheet(list(pictures.values()), list(pictures), shape[0], title=experiment.title)
        write_image(folder / f"{experiment.name}.png", sheet)
        yield folder / f"{experiment.name}.png"


def _prepared(folder):
    """The folder, made if there is none, once it is clear that all can be written there."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(f"{folder} cannot be made a folder ({error.strerror}); choose another.") from error
    for experiment in EXPERIMENTS:
        check_output(folder / f"{experiment.name}.png")
    return folder


def _record(result, content, style, network):
    """What is told of a run: its settings, the terms before and after, and the loss on the way."""
    layers = result.settings["content_layers"]
    objective = Objective(content, style, network=network, content_layers=layers, style_layers=STYLE_LAYERS)
    return {
        "settings": result.settings,
        "terms_of_content": objective.terms(content),
        "terms_of_result": objective.terms(result.array),
        "losses": {name: _numbers(column) for name, column in result.history.columns().items()},
    }


def _numbers(column):
    """A column for JSON, which knows no NaN."""
    return [None if np.isnan(value) else value.item() for value in column]


def mostly_black(style, lit=0.15):
    """A style image of which only the middle is lit.

    Parameters
    ----------
    style : ndarray, (H, W, 3)
    lit : float
        Share of it that is left, an ellipse with a soft edge; the rest is black.

    Returns
    -------
    ndarray of float32, (H, W, 3)
    """
    height, width = style.shape[:2]
    y, x = np.mgrid[:height, :width]
    distance = np.hypot((y + 0.5) / height - 0.5, (x + 0.5) / width - 0.5)
    radius = np.sqrt(lit / np.pi)
    light = np.clip((radius - distance) / (0.1 * radius) + 0.5, 0, 1)
    return (style * light[:, :, None]).astype(np.float32)
