"""The experiments of section 6 of the paper, as labelled sheets of pictures and JSON files of their losses."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stylecore._transfer import Result, transfer
from stylecore.errors import ParameterError
from stylecore.files import replacing
from stylecore.network import STYLE_LAYERS, Network, load_network
from stylecore.objective import Objective
from stylecore.pictures.geometry import crop, fit, resize, shape_for
from stylecore.pictures.reading import read_image
from stylecore.pictures.sheets import contact_sheet
from stylecore.pictures.tones import STYLE_WEIGHT
from stylecore.pictures.writing import check_output, write_image

PAPER_LAYERS = {"content_layers": ("relu4_2",), "style_layers": tuple(STYLE_LAYERS)}
"""The layers of the paper, all style layers with the same weight; those that an experiment names replace them."""


def balance(share: float) -> dict[str, float]:
    """Content weight and style weight for a position between content and style.

    Parameters
    ----------
    share : float
        From 0 (content only) to 1 (style only): alpha = 2 (1 - share) and beta = 40 share, so that 0.5 gives the
        defaults, alpha = 1 and beta = 20.

    Returns
    -------
    dict of str to float
        ``content_weight`` (alpha) and ``style_weight`` (beta).
    """
    return {"content_weight": 2 * (1 - share), "style_weight": 2 * STYLE_WEIGHT * share}


class Experiment(NamedTuple):
    """A comparison of pictures with different settings.

    Attributes
    ----------
    name : str
        Stem of the file names.
    title : str
        Title of the sheet.
    runs : dict of str to dict
        For each picture, by its label, the settings that differ from the defaults.
    style : {"style", "dark style"} or None
        The style image; None if it has no effect.
    """

    name: str
    title: str
    runs: dict[str, dict[str, Any]]
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
        "Style layers (6.3)",
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


def experiments(
    folder: str | os.PathLike[str],
    content: Any,
    style: Any,
    dark_style: Any = None,
    *,
    size: int | tuple[int, int] | str = 256,
    iterations: int = 200,
    watch: Callable[[str], dict[str, Any]] | None = None,
) -> Iterator[Path]:
    """Run the experiments of the paper, and write a sheet of pictures and a JSON file for each.

    The files are named ``content-only``, ``style-layers``, ``style-weights`` and ``dark-style``, with the suffixes .png
    and .json. A JSON file has, for each run: its settings; the unweighted terms of the paper's loss at the content
    layers and all style layers of the paper, for the content image and for the result; and the history of the loss, as
    columns.

    Parameters
    ----------
    folder : str or path
        Folder for the files; created if it does not exist.
    content, style : path, PIL image or array
    dark_style : path, PIL image or array, optional
        A style image that is mostly black; by default, `mostly_black` makes one from `style`.
    size : int, (int, int) or str
        As `transfer` takes it.
    iterations : int
        Number of evaluations of each run.
    watch : callable, optional
        Called as ``watch(name)`` before each run; returns further arguments for `transfer`, such as its callback.

    Yields
    ------
    Path
        Each sheet, after it and its JSON file have been written. If a callback ends a run early, the iteration ends.

    Raises
    ------
    StylecoreError
        As from `transfer`; or if the folder cannot be written to, which is checked before the first run.
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
            given = {"size": shape[::-1], "iterations": iterations, "network": network, **PAPER_LAYERS, **settings}
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


def _prepared(path: str | os.PathLike[str]) -> Path:
    """Create the folder if it does not exist, and check that all sheets can be written there."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParameterError(f"the folder {folder} cannot be created ({error.strerror}); choose another.") from error
    for experiment in EXPERIMENTS:
        check_output(folder / f"{experiment.name}.png")
    return folder


def _record(result: Result, content: np.ndarray, style: np.ndarray, network: Network) -> dict[str, Any]:
    """The record of a run: its settings, the terms of the content image and of the result, and the losses."""
    layers = result.settings["content_layers"]
    objective = Objective(content, style, network=network, content_layers=layers, style_layers=tuple(STYLE_LAYERS))
    return {
        "settings": result.settings,
        "terms_of_content": objective.terms(content),
        "terms_of_result": objective.terms(result.array),
        "losses": {name: _numbers(column) for name, column in result.history.columns().items()},
    }


def _numbers(column: Iterable[Any]) -> list[Any]:
    """A column of NumPy numbers for JSON, which does not support NaN."""
    return [None if np.isnan(value) else value.item() for value in column]


def mostly_black(style: np.ndarray, lit: float = 0.15) -> np.ndarray:
    """Blacken a style image except for an ellipse with a soft edge at its centre.

    Parameters
    ----------
    style : ndarray, (H, W, 3)
        sRGB in [0, 1].
    lit : float
        Share of the area that the ellipse covers, in [0, 1].

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
