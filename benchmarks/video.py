"""Films: how much consecutive frames differ, what a later frame costs, and the time of a whole film by its parts."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.measuring import progress
from benchmarks.record import number, table
from benchmarks.setting import Setting
from stylecore import transfer, transfer_video
from stylecore._transfer import objective_at
from stylecore.inputs import read_inputs
from stylecore.network import load_network
from stylecore.pictures.geometry import fit, resize
from stylecore.pictures.reading import read_image
from stylecore.regions import read_styles
from stylecore.settings import Settings
from stylecore.video import film, painting
from stylecore.video.flow import read_flow, resize_flow, warp
from stylecore.video.frames import Frames, Shots
from stylecore.video.settings import FilmSettings

# Change of a pixel over a whole film below which it counts as still, in [0, 1].
STILL = 0.06

# Functions whose time is reported, by the part of the work that they belong to.
PARTS: dict[str, list[tuple[Any, str]]] = {
    "reading and cuts": [(film, "_read_frames")],
    "flow": [(painting, "optical_flow"), (painting, "consistency"), (painting, "warp")],
    "first frames": [(painting, "paint")],
    "filling": [(painting._ShotPainter, "_filling")],
    "later frames": [(painting._ShotPainter, "_follow")],
    "encoding": [(film, "_write")],
}


def measure(setting: Setting) -> dict[str, Any]:
    """Measure on the pairs of frames, and on the film, that the setting names.

    Without pairs, one is made from the content image: a camera that moves over it, whose flow is known.

    Returns
    -------
    dict
        "pairs": a row for each pair; "films": the figures of each film.
    """
    size = setting.transfer_size
    with tempfile.TemporaryDirectory() as folder:
        pairs = [_sintel(path, size) for path in setting.film_pairs] or [_panned(setting.content, size)]
        rows = [_pair(setting, pair, Path(folder) / str(i)) for i, pair in enumerate(pairs)]
        films = [_film(setting, path, Path(folder)) for path in setting.films]
    return {"size": size, "pairs": rows, "films": films}


class _Pair:
    """Two frames, the true flow from the first to the second, and where the first is visible in the second."""

    def __init__(self, name: str, frames: list[np.ndarray], flow: np.ndarray, visible: np.ndarray, size: int) -> None:
        shape = fit(frames[0].shape, size)
        self.name, self.full, self.shape = name, frames, shape
        self.frames = [resize(frame, shape) for frame in frames]
        self.flow = resize_flow(flow, shape)
        rows, columns = np.mgrid[: shape[0], : shape[1]]
        x, y = columns + self.flow[:, :, 0], rows + self.flow[:, :, 1]
        inside = (x >= 0) & (x <= shape[1] - 1) & (y >= 0) & (y <= shape[0] - 1)
        self.visible = inside & (resize(visible.astype(np.float32), shape) > 0.99)

    def difference(self, first: np.ndarray, second: np.ndarray) -> float:
        """E: mean squared difference between the first painted frame and the second, warped by the true flow."""
        return float(((first - warp(second, self.flow)) ** 2)[self.visible].mean())


def _sintel(folder: str, size: int) -> _Pair:
    """The second and third frame of a scene of MPI Sintel."""
    path = Path(folder)
    frames = [read_image(path / f"final_000{i}.png")[0] for i in (2, 3)]
    occluded = read_image(path / "occlusions_0002.png")[0][:, :, 0] > 0.5
    return _Pair(path.name, frames, read_flow(path / "flow_0002_to_0003.flo"), ~occluded, size)


def _panned(content: str, size: int) -> _Pair:
    """Two views of a picture, 4 and 2 pixels apart."""
    picture, _ = read_image(content)
    height, width = picture.shape[0] - 2, picture.shape[1] - 4
    flow = np.broadcast_to(np.float32([-4, -2]), (height, width, 2))
    frames = [np.ascontiguousarray(picture[y : y + height, x : x + width]) for x, y in ((0, 0), (4, 2))]
    return _Pair("panned photograph", frames, flow, np.ones((height, width), bool), size)


def _pair(setting: Setting, pair: _Pair, folder: Path) -> dict[str, Any]:
    progress(f"video, {pair.name}, each frame alone")
    given = {"size": max(pair.shape), "iterations": _iterations(setting)}
    alone = [transfer(frame, setting.style, **given) for frame in pair.frames]
    progress(f"video, {pair.name}, the second frame from the first")
    second, seconds = _follow(pair, alone[0].array, setting.style, folder)
    loss = _content_and_style(pair, setting.style)
    losses = [loss(picture) for picture in (alone[1].array, second)]
    return {
        "name": pair.name,
        "film": pair.difference(*pair.frames),
        "alone": pair.difference(*(each.array for each in alone)),
        "ours": pair.difference(alone[0].array, second),
        "loss alone": losses[0],
        "loss": losses[1],
        "seconds alone": alone[1].history[-1].seconds,
        "seconds alone to equal loss": _seconds_to(alone[1].history, losses[1]),
        "seconds": seconds,
    }


def _follow(pair: _Pair, first: np.ndarray, style: str, folder: Path) -> tuple[np.ndarray, float]:
    """The second frame, painted from the result for the first; and the time that took."""
    frames = Frames(folder, {})
    for i, frame in enumerate(pair.full):
        frames.add(i, frame)
    frames.save(0, 1, first)
    styles, opacities = read_styles(style)
    look = painting.Look(
        Settings(size=max(pair.shape)).with_layers(), FilmSettings(), styles, opacities, None, pair.shape
    )
    shots = Shots([Fraction(0), Fraction(1, 25)], [1, 2], [(0, 2)], pair.full[0].shape[:2])
    begin = time.perf_counter()
    painting.paint_shot(frames, shots, (0, 2), look)
    return frames.painted(1, 1), time.perf_counter() - begin


def _content_and_style(pair: _Pair, style: str) -> Callable[[np.ndarray], float]:
    """The content and style terms of a picture of the second frame, with their weights."""
    settings = Settings(size=max(pair.shape)).with_layers()
    network = load_network(settings.network, layers=settings.layers)
    inputs = read_inputs(pair.frames[1], style, settings)
    objective = objective_at(inputs.shape, inputs, settings, network)

    def loss(picture: np.ndarray) -> float:
        terms = objective.terms(picture)
        return sum(
            objective.term_weights[name] * terms[name] for name in terms if name.startswith(("content", "style"))
        )

    return loss


def _seconds_to(history: Any, loss: float) -> float | None:
    """Time until the content and style terms at the final size are at most `loss`; None if they never are."""
    for each in history:
        names = [name for name in each.terms if name.startswith(("content", "style"))]
        if each.size == history[-1].size and sum(each.weights[name] * each.terms[name] for name in names) <= loss:
            return each.seconds
    return None


def _film(setting: Setting, path: str, folder: Path) -> dict[str, Any]:
    progress(f"video, {Path(path).name}, the whole film")
    sources: list[np.ndarray] = []
    painted: list[np.ndarray] = []

    def callback(done: film.PaintedFrame, picture: np.ndarray) -> None:
        painted.append(picture)
        sources.append(resize(frames_of[0].source(done.frame), picture.shape[:2]))

    frames_of: list[Frames] = []

    class Kept(Frames):
        """Frames that can be read from outside."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            frames_of.append(self)

    totals: dict[str, float] = {}
    with ExitStack() as stack:
        stack.enter_context(patch.object(film, "Frames", Kept))
        for part, functions in PARTS.items():
            for owner, name in functions:
                stack.enter_context(_timed(owner, name, part, totals))
        given = {"size": _film_size(setting.transfer_size), "iterations": _iterations(setting)}
        result = transfer_video(path, setting.style, folder / "film.mp4", callback=callback, **given)
    begin, end = result.shots[0]
    still = np.ptp(np.stack(sources[begin:end]), axis=0).max(axis=2) < STILL
    brightness = [255 * float(picture[still].mean()) for picture in painted[begin:end]] if still.any() else []
    return {
        "name": Path(path).name,
        "frames": result.frames,
        "cuts": [first for first, _ in result.shots[1:]],
        "seconds per frame": result.seconds / result.frames,
        "parts": {part: totals.get(part, 0.0) / result.frames for part in PARTS},
        "still share": float(still.mean()),
        "brightness": [brightness[0], brightness[-1]] if brightness else None,
    }


def _iterations(setting: Setting) -> int:
    """Evaluations of a picture: the default, or fewer if the benchmark is to be quick."""
    return min(Settings.defaults()["iterations"], setting.transfer_evaluations)


def _film_size(size: int) -> int:
    """Longer side of a film, 320 px where that of a picture is 512."""
    return size * 5 // 8


@contextmanager
def _timed(owner: Any, name: str, part: str, totals: dict[str, float]) -> Iterator[None]:
    """Add the time of a function's calls to the total of a part."""
    function = getattr(owner, name)

    @wraps(function)
    def timed(*arguments: Any, **named: Any) -> Any:
        begin = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            totals[part] = totals.get(part, 0.0) + time.perf_counter() - begin

    with patch.object(owner, name, timed):
        yield


def tables(section: dict[str, Any]) -> Iterator[str]:
    """Yield the tables of the section: pairs of frames, and whole films."""
    title = (
        f"Two frames at {section['size']} px, the second alone or from the first; E, their difference along the flow"
    )
    yield table(
        title,
        ["frames", "E film", "E alone", "E", "E / alone", "loss / alone", "s alone", "s", "s / alone to equal loss"],
        [
            [
                row["name"],
                number(row["film"], "{:.5f}"),
                number(row["alone"], "{:.5f}"),
                number(row["ours"], "{:.5f}"),
                number(row["ours"] / row["alone"], "{:.3f}"),
                number(row["loss"] / row["loss alone"], "{:.2f}"),
                number(row["seconds alone"], "{:.1f}"),
                number(row["seconds"], "{:.1f}"),
                _ratio(row["seconds"], row["seconds alone to equal loss"]),
            ]
            for row in section["pairs"]
        ],
    )
    for row in section["films"]:
        brightness = row["brightness"]
        yield table(
            f"{row['name']}, {row['frames']} frames at {_film_size(section['size'])} px, seconds per frame",
            ["all", *PARTS, "cuts before frames", "brightness of still pixels, first and last frame"],
            [
                [
                    number(row["seconds per frame"], "{:.2f}"),
                    *(number(row["parts"][part], "{:.2f}") for part in PARTS),
                    ", ".join(str(cut + 1) for cut in row["cuts"]) or "none",
                    "-" if brightness is None else "{:.2f}, {:.2f}".format(*brightness),
                ]
            ],
        )


def _ratio(seconds: float, other: float | None) -> str:
    return "-" if other is None else f"{seconds / other:.2f}"
