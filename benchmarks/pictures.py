"""Pictures side by side: how near presets come to the style, what they keep of the photograph, and in what time.

The preset `classic` is painted at several style weights, too: a picture is compared with the one on the curve through
these that is as near to the style.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import ROOT, progress
from benchmarks.record import number, table
from benchmarks.setting import STYLE_LAYERS, Setting
from stylecore import Objective, transfer
from stylecore.errors import ParameterError
from stylecore.files import replacing
from stylecore.network import Network
from stylecore.pictures.geometry import fit, resize
from stylecore.pictures.reading import read_image
from stylecore.pictures.sheets import contact_sheet
from stylecore.pictures.writing import write_image
from stylecore.settings import Settings
from stylecore.studies.presets import load_presets

PRESETS = ROOT / "benchmarks" / "presets.toml"
"""Objectives of known programs."""

CLASSIC = "classic"
CURVE = (40,)
"""Style weights at which `classic` is painted, besides its own, 20."""

LAYERS = {"content_layers": ["relu4_2"], "style_layers": list(STYLE_LAYERS)}
"""Layers by which all pictures are measured, with equal weights: the paper's."""

RIM = 16
"""Width of the rim in pixels."""

CUTS = (32, 48, 64)
"""Pixels that are cut off on each side."""


def measure(setting: Setting) -> dict[str, Any]:
    """Paint each pair of pictures with each preset; pictures and figures in the folder are used again.

    Returns
    -------
    dict
        "pictures": a row for each.
    """
    assert setting.pictures_folder is not None
    folder = Path(setting.pictures_folder)
    folder.mkdir(parents=True, exist_ok=True)
    ways = _ways(setting.presets)
    rows = []
    for pair in setting.picture_pairs:
        content, style = _split(pair)
        rows += [_row(content, style, way, settings, setting, folder) for way, settings in ways.items()]
        _write_sheet(content, style, [row["picture"] for row in rows[-len(ways) :]], folder)
    return {"size": setting.picture_size, "pictures": rows}


def _split(pair: str) -> tuple[str, str]:
    content, separator, style = pair.rpartition(os.pathsep)
    if not separator:
        raise ParameterError(f'the pair "{pair}" is not of the form PHOTOGRAPH{os.pathsep}PAINTING; name both.')
    return content, style


def _ways(presets: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Settings to paint with, by name: the defaults, the presets, and the curve of `classic`."""
    known = load_presets(PRESETS)
    for name in presets:
        if name not in known and name != "default":
            raise ParameterError(f'there is no preset "{name}"; see `stylecore presets` and {PRESETS.name}.')
    ways = {name: {} if name == "default" else known[name].settings for name in presets}
    if CLASSIC in presets:
        ways.update({f"{CLASSIC}, {weight}": {**ways[CLASSIC], "style_weight": weight} for weight in CURVE})
    return ways


def _row(
    content: str, style: str, way: str, settings: Mapping[str, Any], setting: Setting, folder: Path
) -> dict[str, Any]:
    """Paint a picture, or take the one in the folder if it was painted with these settings, and measure it."""
    name = f"{Path(content).stem}-{Path(style).stem}-{way.replace(', ', '-')}"
    chosen = Settings.of({"size": setting.picture_size, **settings})
    file, given = folder / f"{name}.json", chosen.to_json()
    if file.is_file() and (row := json.loads(file.read_text()))["settings"] == given:
        return row
    progress(f"pictures, {name}")
    began = time.perf_counter()
    result = transfer(content, style, **chosen.as_given())
    seconds = time.perf_counter() - began
    result.save(folder / f"{name}.png")
    row = {
        "content": Path(content).stem,
        "style": Path(style).stem,
        "preset": way,
        "picture": name,
        "seconds": seconds,
        "settings": given,
        **_figures(read_image(folder / f"{name}.png")[0], content, style, setting.network),
    }
    with replacing(file) as stream:
        stream.write(json.dumps(row).encode())
    return row


def _figures(picture: np.ndarray, content: str, style: str, network: Network) -> dict[str, Any]:
    """Terms of the paper's loss with relative weights, structure kept, and the style terms at the rim."""
    shape = picture.shape[:2]
    photograph, painting = resize(read_image(content)[0], shape), read_image(style)[0]
    painting = resize(painting, fit(painting.shape, min(max(shape), max(painting.shape[:2]))))
    whole = Objective(photograph, painting, network=network, style_weight=1.0, **LAYERS)
    terms, weights = whole.evaluate(picture)[2], whole.term_weights
    return {
        "style terms": {name: weights[name] * value for name, value in terms.items() if name.startswith("style:")},
        "content term": sum(weights[name] * value for name, value in terms.items() if name.startswith("content:")),
        "ssim": structural_similarity(photograph, picture),
        "rim": _rim(picture, photograph, painting, network),
    }


def structural_similarity(photograph: np.ndarray, picture: np.ndarray) -> float:
    """SSIM of the luminance of two pictures of the same shape, with Gaussian windows (Wang et al. 2004)."""
    from skimage.metrics import structural_similarity as ssim

    luminances = (image @ np.array([0.2126, 0.7152, 0.0722], image.dtype) for image in (photograph, picture))
    windows = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return float(ssim(*luminances, data_range=1.0, **windows))


def _rim(picture: np.ndarray, photograph: np.ndarray, painting: np.ndarray, network: Network) -> dict[str, float]:
    """Sum of the style terms in the rim, in the middle, in a frame further in, and in rims of the picture cut smaller.

    A narrow rim is never as near to the style as the whole, and at an edge the features see a reflection. Both are so
    where the picture is cut, too, but there it was not painted as an edge.
    """
    depth = _depth(picture)
    parts = {"rim": depth < RIM, "middle": depth >= RIM, "frame": (depth >= 4 * RIM) & (depth < 5 * RIM)}
    terms = _style_terms(parts, picture, photograph, painting, network)
    rims = []
    for width in CUTS:
        smaller, seen = (np.ascontiguousarray(image[width:-width, width:-width]) for image in (picture, photograph))
        rims += _style_terms({"rim": _depth(smaller) < RIM}, smaller, seen, painting, network).values()
    return {**terms, "rims of cut pictures": float(np.mean(rims))}


def _depth(picture: np.ndarray) -> np.ndarray:
    """Distance of each pixel from the nearest edge."""
    return np.minimum.outer(*(np.minimum(np.arange(n), np.arange(n)[::-1]) for n in picture.shape[:2]))


def _style_terms(
    parts: Mapping[str, np.ndarray], picture: np.ndarray, photograph: np.ndarray, painting: np.ndarray, network: Network
) -> dict[str, float]:
    """Sum of the style terms in each part of a picture, in relation to its area."""
    regions = [(mask, "all") for mask in parts.values()]
    objective = Objective(
        photograph, painting, network=network, style_weight=1.0, regions=regions, edges="reflect", **LAYERS
    )
    terms, weights = objective.evaluate(picture)[2], objective.term_weights
    return {
        name: sum(weights[key] * value for key, value in terms.items() if key.endswith(f":{i}")) / mask.mean()
        for i, (name, mask) in enumerate(parts.items(), 1)
    }


def _write_sheet(content: str, style: str, names: Sequence[str], folder: Path) -> None:
    """All pictures of a pair, with the photograph and the painting."""
    pictures = [read_image(path)[0] for path in (content, style, *(folder / f"{name}.png" for name in names))]
    prefix = f"{Path(content).stem}-{Path(style).stem}"
    labels = ["content", "style", *(name.removeprefix(f"{prefix}-") for name in names)]
    sheet = contact_sheet(pictures, labels, columns=4)
    write_image(folder / f"{prefix}-sheet.jpg", sheet)


def style_loss(row: Mapping[str, Any]) -> float:
    """Sum of the style terms of a picture."""
    return sum(row["style terms"].values())


def ssim_of_classic(row: Mapping[str, Any], curve: Sequence[Mapping[str, Any]]) -> float:
    """SSIM of the picture on the curve of `classic` that has the style loss of a picture.

    The SSIM is interpolated linearly in the logarithm of the style loss, and continued beyond the ends.
    """
    points = sorted((np.log(style_loss(one)), one["ssim"]) for one in curve)
    x, (losses, values) = np.log(style_loss(row)), np.array(points).T
    i = int(np.clip(np.searchsorted(losses, x), 1, len(losses) - 1))
    slope = (values[i] - values[i - 1]) / (losses[i] - losses[i - 1])
    return float(values[i - 1] + slope * (x - losses[i - 1]))


def tables(section: dict[str, Any]) -> Iterator[str]:
    """Yield a table of all pictures, and one of the means of each preset."""
    rows = section["pictures"]
    pairs = {(row["content"], row["style"]): [] for row in rows}
    for row in rows:
        if row["preset"].startswith(CLASSIC):
            pairs[row["content"], row["style"]].append(row)
    figures = [_cells(row, pairs[row["content"], row["style"]]) for row in rows]
    head = [
        "style loss",
        "content loss",
        "SSIM",
        "above classic at equal style loss",
        "rim / middle",
        "rim / frame",
        "rim / rims of cut pictures",
        "s",
    ]
    formats = ["{:.4f}", "{:.2f}", "{:.3f}", "{:+.3f}", "{:.2f}", "{:.2f}", "{:.2f}", "{:.0f}"]
    yield table(
        f"Pictures side by side, {section['size']} px",
        ["content", "style", "preset", *head],
        [
            [row["content"], row["style"], row["preset"], *map(number, cells, formats)]
            for row, cells in zip(rows, figures, strict=True)
        ],
    )
    means = []
    for preset in dict.fromkeys(row["preset"] for row in rows):
        own = [cells for row, cells in zip(rows, figures, strict=True) if row["preset"] == preset]
        columns = [None if None in column else float(np.mean(column)) for column in zip(*own, strict=True)]
        gains = [cells[3] for cells in own if cells[3] is not None]
        above = f"{sum(gain > 0 for gain in gains)} of {len(gains)}" if gains else "-"
        means.append([preset, *map(number, columns, formats), above])
    yield table("Means over the pairs", ["preset", *head, "pairs above classic"], means)


def _cells(row: Mapping[str, Any], curve: Sequence[Mapping[str, Any]]) -> list[float | None]:
    gain = row["ssim"] - ssim_of_classic(row, curve) if len(curve) > 1 else None
    rim = row["rim"]
    borders = [rim["rim"] / rim[part] if part in rim else None for part in ("middle", "frame", "rims of cut pictures")]
    return [style_loss(row), row["content term"], row["ssim"], gain, *borders, row["seconds"]]
