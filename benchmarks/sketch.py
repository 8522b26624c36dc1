"""Sketches that colour themselves: retrieval, segmentation, and the colours, ink and time of the results.

The sketches and the photographs are in folders with a subfolder for each class. The foregrounds are compared with
those in tests/stylecore/sketch/outlines.json, drawn by hand before the segmentation was run on these pictures:
polygons in percent of width and height.
"""

from __future__ import annotations

import json
import statistics
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.measuring import ROOT, progress, summary
from benchmarks.record import number, spread, table
from benchmarks.setting import NETWORK, Setting
from stylecore.errors import ParameterError
from stylecore.network import load_network
from stylecore.pictures.reading import read_image
from stylecore.sketch import (
    ColouredSketch,
    PhotoIndex,
    colour_sketch,
    index,
    read_drawing,
    retrieve,
    segment_photo,
    segment_sketch,
)
from stylecore.sketch.colouring import region_pairs
from stylecore.sketch.descriptors import LAYERS

OUTLINES = ROOT / "tests" / "stylecore" / "sketch" / "outlines.json"

SIZE = 512

# A pixel of the sketch has ink, and one of the result is dark, if it is darker than this.
DARK = 1 / 3


def measure(setting: Setting) -> dict[str, Any]:
    """Measure retrieval over all sketches, the foregrounds of the outlined pictures, and the colouring of some.

    Returns
    -------
    dict
        "retrieval", "foregrounds" and "colouring".
    """
    assert setting.sketches is not None and setting.photographs is not None
    sketches = sorted(Path(setting.sketches).glob("*/*.png"))
    if not sketches:
        raise ParameterError(f"{setting.sketches} has no sketches; name a folder with a subfolder for each class.")
    network = load_network(setting.weights)
    photos = index(
        setting.photographs, file=setting.photo_index, network=NETWORK, callback=lambda *done: _report("index", *done)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of lines that enclose nothing.
        return {
            "retrieval": _retrieval(sketches, photos, load_network(setting.weights, layers=LAYERS)),
            "foregrounds": _foregrounds(Path(setting.sketches), Path(setting.photographs), network),
            "colouring": _colouring(_spaced(sketches, setting.coloured_sketches), photos, network),
        }


def _report(what: str, done: int, total: int) -> None:
    if done % 100 == 0 or done == total:
        progress(f"{what}, {done} of {total}")


def _spaced(sketches: list[Path], count: int) -> list[Path]:
    """A number of sketches, evenly spaced over the classes."""
    return [sketches[i] for i in np.linspace(0, len(sketches) - 1, min(count, len(sketches))).astype(int)]


def _retrieval(sketches: list[Path], photos: PhotoIndex, network: Any) -> dict[str, Any]:
    """Share of sketches whose best photograph is of their class, and mean average precision."""
    first, precision = [], []
    for done, path in enumerate(sketches, start=1):
        found = retrieve(read_drawing(path), photos, len(photos.names), network=network)
        relevant = np.array([match.path.parent.name == path.parent.name for match in found])
        first.append(float(relevant[0]))
        ranks = np.flatnonzero(relevant) + 1
        precision.append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)))
        _report("retrieval", done, len(sketches))
    return {
        "sketches": len(sketches),
        "photographs": len(photos.names),
        "top-1": statistics.mean(first),
        "mean average precision": statistics.mean(precision),
    }


def _foregrounds(sketches: Path, photographs: Path, network: Any) -> dict[str, Any]:
    """Mean intersection over union of the foregrounds with the outlines."""
    outlines = json.loads(OUTLINES.read_text())
    found: dict[str, Any] = {}
    for kind, folder in (("sketches", sketches), ("photographs", photographs)):
        overlaps = {}
        for name, polygons in outlines[kind].items():
            if kind == "sketches":
                foreground = segment_sketch(read_drawing(folder / name)).foreground
            else:
                foreground = segment_photo(read_image(folder / name)[0], network=network).foreground
            truth = outlined(polygons, foreground.shape)
            overlaps[name] = float((foreground & truth).sum() / (foreground | truth).sum())
        progress(f"foregrounds of {len(overlaps)} {kind}")
        found[kind] = {"count": len(overlaps), "mean": statistics.mean(overlaps.values()), "each": overlaps}
    return found


def outlined(polygons: list[list[list[float]]], shape: tuple[int, ...]) -> np.ndarray:
    """Mask (H, W) of the inside of polygons, whose points (x, y) are in percent of width and height."""
    height, width = shape
    mask = Image.new("1", (width, height))
    for polygon in polygons:
        ImageDraw.Draw(mask).polygon([(x * width / 100, y * height / 100) for x, y in polygon], fill=1)
    return np.asarray(mask)


def _colouring(sketches: list[Path], photos: PhotoIndex, network: Any) -> dict[str, Any]:
    distances: list[float] = []
    inks, seconds, processor_seconds = [], [], []
    for path in sketches:
        began, used = time.perf_counter(), time.process_time()
        result = colour_sketch(path, photos=photos, size=SIZE, network=network)
        seconds.append(time.perf_counter() - began)
        processor_seconds.append(time.process_time() - used)
        distances += colour_distances(result)
        inks.append(ink_kept(result))
        progress(f"coloured {path.parent.name}/{path.name} in {seconds[-1]:.0f} s")
    return {
        "sketches": len(sketches),
        "size": SIZE,
        "Lab distance": summary(distances) | {"mean": statistics.mean(distances)},
        "ink kept": {"mean": statistics.mean(inks), "min": min(inks)},
        "seconds": summary(seconds),
        "processor seconds": summary(processor_seconds),
    }


def colour_distances(result: ColouredSketch) -> list[float]:
    """Lab distance (CIE 1976) of the mean colour of each region, and of the background, to that of its match."""
    from skimage.color import rgb2lab

    ours, theirs = rgb2lab(result.colours), rgb2lab(result.photo)
    pairs = region_pairs(result.sketch_regions, result.photo_regions, result.matches)
    return [float(np.linalg.norm(ours[mine].mean(axis=0) - theirs[match].mean(axis=0))) for mine, match in pairs]


def ink_kept(result: ColouredSketch) -> float:
    """Share of the pixels with ink that are dark in the result."""
    return float(np.mean(result.array[1 - result.drawing.ink < DARK].mean(axis=1) < DARK))


def tables(section: dict[str, Any]) -> Iterator[str]:
    """Yield the table of the section."""
    retrieval, foregrounds, colouring = (section[name] for name in ("retrieval", "foregrounds", "colouring"))
    yield table(
        f"Sketches that colour themselves, {retrieval['sketches']} sketches and {retrieval['photographs']} photographs",
        ["what", "measured", "goal"],
        [
            ["class of the best photograph is right", number(retrieval["top-1"], "{:.1%}"), "62%"],
            ["mean average precision", number(retrieval["mean average precision"], "{:.3f}"), "0.34"],
            *(
                [
                    f"foreground of {foregrounds[kind]['count']} {kind}, mean IoU",
                    number(foregrounds[kind]["mean"], "{:.2f}"),
                    goal,
                ]
                for kind, goal in (("sketches", "0.80"), ("photographs", "0.70"))
            ),
            [
                f"Lab distance of a region to its match, mean over {colouring['sketches']} sketches",
                number(colouring["Lab distance"]["mean"], "{:.1f}"),
                "12",
            ],
            ["ink kept", number(colouring["ink kept"]["mean"], "{:.1%}"), "98%"],
            [f"seconds at {colouring['size']} px", spread(colouring["seconds"], "{:.0f}"), "60"],
            ["processor seconds, all threads", spread(colouring["processor seconds"], "{:.0f}"), ""],
        ],
    )
