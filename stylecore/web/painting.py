"""The process that paints: it runs `stylecore.transfer`, or the function for films or sketches, for one job at a time.

The result is that of the function with the same settings, bit for bit, however often the process was paused or killed.
"""

from __future__ import annotations

import os
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stylecore import weights
from stylecore._transfer import Result, transfer
from stylecore.errors import StylecoreError
from stylecore.kernels import devices
from stylecore.kernels.compilation import on_compile
from stylecore.optimizers import Optimizer
from stylecore.pictures.geometry import crop, resize
from stylecore.pictures.reading import read_image
from stylecore.pictures.writing import write_image
from stylecore.runs.checkpoint import Checkpoint
from stylecore.runs.history import Evaluation
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.settings import Settings
from stylecore.web import dials
from stylecore.web.reading import predict, write_copy
from stylecore.web.store import FILM, FORMATS, STAGES

if TYPE_CHECKING:
    from stylecore.video.film import PaintedFrame

LARGEST_COPY = 2048
"""Longer side in pixels of the picture that the page shows during a run."""

# Seconds from one shown picture to the next, and the largest share of the time that is spent on encoding them.
_INTERVAL, _SHARE = 0.5, 0.01

_WARM_UP: dict[str, Any] = {"size": 256, "pyramid": 1, "iterations": 4, "optimizer": "lbfgs"}


class Paused(Exception):
    """Raised to leave a run whose state has just been saved."""


class Order:
    """What the server has asked of the current job: nothing, "pause", "stop" or "change".

    Parameters
    ----------
    connection : Connection
    ending : str or None
        What was asked of it before it began.
    """

    def __init__(self, connection: Connection, ending: str | None) -> None:
        self._connection = connection
        self._asked = ending

    @property
    def asked(self) -> str | None:
        """The latest order; reads the messages that have arrived."""
        while self._connection.poll():
            message = self._connection.recv()
            self._asked = "pause" if message["do"] == "quit" else message["do"]
            if message["do"] == "quit":
                self.quits = True
        return self._asked

    quits = False
    """Whether the server has asked the process to end."""


class _PausableCheckpoint(Checkpoint):
    """A checkpoint that is written, and ends the run, at the iteration after a pause was asked for."""

    def __init__(self, path: Path, order: Order) -> None:
        super().__init__(path, every=5.0)
        self._order = order

    def write(self, optimizer: Optimizer, scale: int, history: Sequence[Evaluation], *, now: bool = False) -> None:
        pausing = self._order.asked == "pause"
        super().write(optimizer, scale, history, now=now or pausing)
        if pausing:
            raise Paused


class Watcher:
    """The callback of a run: writes its losses and, at intervals, its picture, and reports both.

    Parameters
    ----------
    folder : Path
        Of the job.
    part : int
        How often a dial was changed.
    report : callable
        Called with each message.

    Attributes
    ----------
    has_begun : bool
        Whether there has been an evaluation or a frame.
    seconds : float
        Time of the last one.
    """

    def __init__(self, folder: Path, part: int, report: Any) -> None:
        self._folder = folder
        self._part = part
        self._report = report
        self._next = 0.0
        self.has_begun = False
        self.seconds = 0.0
        self._losses = open(folder / "losses.csv", "a", encoding="utf-8")  # noqa: SIM115

    def close(self) -> None:
        """Close the file of losses."""
        self._losses.close()

    def __call__(self, evaluation: Evaluation, image: np.ndarray) -> None:
        """Report an evaluation."""
        self._report_row(row_of(evaluation, self._part), evaluation.seconds, image)

    def show(self, number: int, seconds: float, picture: np.ndarray) -> None:
        """Report a frame of a film, which has no losses of its own."""
        height, width = picture.shape[:2]
        if not self.has_begun:
            write_copy(self._folder / "small.jpg", picture, None, 256)
        self._report_row([self._part, number, width, height, 0, 0, 0, 0], seconds, picture)

    def _report_row(self, row: list[float], seconds: float, image: np.ndarray) -> None:
        self.has_begun, self.seconds = True, seconds
        self._losses.write(",".join(f"{value:.6g}" for value in row) + "\n")
        self._losses.flush()
        began = time.perf_counter()
        shows = began >= self._next
        if shows:
            write_copy(self._folder / "now.jpg", image, None, LARGEST_COPY)
            ended = time.perf_counter()
            self._next = ended + max(_INTERVAL, (ended - began) / _SHARE)
        self._report({"is": "step", "row": row, "seconds": seconds, "shows": shows})


def row_of(evaluation: Evaluation, part: int) -> list[float]:
    """The losses of an evaluation, as `Session.losses` returns them."""
    sums = {"content": 0.0, "style": 0.0, "": 0.0}
    for name, value in evaluation.terms.items():
        kind = next((kind for kind in sums if kind and name.startswith(kind)), "")
        sums[kind] += value * evaluation.weights[name]
    height, width = evaluation.size
    return [part, evaluation.number, width, height, evaluation.loss, *sums.values()]


def main(connection: Connection) -> None:
    """Paint jobs until the pipe is closed.

    Parameters
    ----------
    connection : Connection
        A request to "paint" has the job, its folder and the paths of its pictures.
    """
    with on_compile(lambda text: connection.send({"is": "note", "text": text})):
        _warm_up(connection)
        connection.send({"is": "ready"})
        while (request := connection.recv())["do"] != "quit":
            # An order for a job that has just ended is too late.
            if request["do"] == "paint" and _paint(connection, request["job"]):
                return


def _warm_up(connection: Connection) -> None:
    """Load and compile everything, and measure how long a step takes; a job that arrives meanwhile comes first."""
    default = Settings().network
    network = default if os.path.isfile(weights.cached_file(default)) else "small"
    stamps: list[float] = []

    def callback(evaluation: Evaluation, image: np.ndarray) -> bool:
        stamps.append(evaluation.seconds)
        return connection.poll()

    try:
        result = transfer(PHOTOGRAPH, PAINTING, network=network, **_WARM_UP, callback=callback)
    except StylecoreError as error:
        connection.send({"is": "note", "text": str(error)})
        return
    if len(stamps) > 2:
        pixels = result.array.shape[0] * result.array.shape[1]
        rate = (stamps[-1] - stamps[1]) / (len(stamps) - 2) / pixels * 1e6
        connection.send({"is": "rate", "key": rate_key({"network": network}), "rate": rate, "is_first": True})


def rate_key(named: Mapping[str, Any]) -> str:
    """The key of a measured rate: what it depends on most."""
    return f"{named.get('network', Settings().network)} {named.get('device', Settings().device)}"


def _paint(connection: Connection, job: dict[str, Any]) -> bool:
    """Paint one job and report its end; returns whether the process should end, too."""
    order = Order(connection, job["ending"])

    def report(message: dict[str, Any]) -> None:
        connection.send({**message, "job": job["id"]})

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = lambda message, *place: report({"is": "note", "text": str(message)})
            report({"is": "ended", **_run(job, order, report)})
    except Paused:
        report({"is": "ended", "how": "paused"})
    except StylecoreError as error:
        report({"is": "ended", "how": "failed", "message": str(error)})
    except MemoryError:
        report({"is": "ended", "how": "failed", "message": "out of memory; choose a smaller size."})
    except OSError as error:
        message = f"a file cannot be written ({error.strerror or error}); free some space on the disk, and go on."
        report({"is": "ended", "how": "failed", "message": message})
    except Exception as error:
        if isinstance(error, BrokenPipeError):
            raise
        reason = devices.fault(error) or f"{type(error).__name__}: {error}"
        report({"is": "ended", "how": "failed", "message": reason})
    return order.quits


def _run(job: dict[str, Any], order: Order, report: Any) -> dict[str, Any]:
    _fetch_once(job["settings"].get("network", Settings().network), report)
    return {"picture": _paint_picture, "film": _paint_film, "sketch": _colour_sketch}[job["kind"]](job, order, report)


def _paint_picture(job: dict[str, Any], order: Order, report: Any) -> dict[str, Any]:
    folder, named = Path(job["folder"]), job["settings"]
    content = read_image(job["content"])[0]
    regions = len(named.get("regions") or [1])
    prediction = predict(_without_files(named), content.shape[:2], job["style_shapes"], regions)
    _write_photograph(folder / "before.jpg", content, prediction["size"])
    report({"is": "started", "scales": prediction["scales"], "size": prediction["size"]})
    checkpoint = folder / f"run-{job['part']}.ckpt"
    watcher = Watcher(folder, job["part"], report)

    def callback(evaluation: Evaluation, image: np.ndarray) -> bool:
        watcher(evaluation, image)
        return order.asked in ("stop", "change")

    try:
        result = transfer(
            job["content"],
            job["styles"],
            **named,
            callback=callback,
            checkpoint=_PausableCheckpoint(checkpoint, order),
        )
    finally:
        watcher.close()
    if order.asked == "change":
        start = f"start-{job['part'] + 1}.png"
        result.save(folder / start, metadata="none")
        return {"how": "changed", "start": start}
    save(result, folder, job["names"])
    checkpoint.unlink(missing_ok=True)
    return {"how": "stopped" if result.stopped else "done", "seconds": result.history[-1].seconds}


def _paint_film(job: dict[str, Any], order: Order, report: Any) -> dict[str, Any]:
    from stylecore.video import transfer_video

    folder = Path(job["folder"])
    watcher = Watcher(folder, job["part"], report)

    def callback(painted: PaintedFrame, picture: np.ndarray) -> bool:
        if not watcher.has_begun:
            height, width = picture.shape[:2]
            report({"is": "started", "scales": [[(height, width), painted.count]], "size": [width, height]})
        watcher.show(painted.number, painted.seconds, picture)
        return order.asked == "pause"

    try:
        result = transfer_video(job["content"], job["styles"], folder / FILM, callback=callback, **job["settings"])
    finally:
        watcher.close()
    if result.stopped:
        raise Paused
    return {"how": "done", "seconds": result.seconds}


def _colour_sketch(job: dict[str, Any], order: Order, report: Any) -> dict[str, Any]:
    from stylecore.sketch import colour_sketch, index

    folder, named = Path(job["folder"]), job["settings"]
    drawing = read_image(job["content"])[0]
    prediction = predict(picture_settings(named, "sketch"), drawing.shape[:2], job["style_shapes"], 1)
    _write_photograph(folder / "before.jpg", drawing, prediction["size"])
    report({"is": "started", "scales": prediction["scales"], "size": prediction["size"]})
    source: dict[str, Any] = {"photo": job["styles"][0]}
    if len(job["styles"]) > 1:
        source = {"photos": index(_linked(job["styles"], job["names"]["style"], folder / dials.PHOTOGRAPHS))}
    watcher = Watcher(folder, job["part"], report)
    checkpoint = folder / f"run-{job['part']}.ckpt"

    def callback(evaluation: Evaluation, image: np.ndarray) -> bool:
        watcher(evaluation, image)
        return order.asked == "stop"

    try:
        result = colour_sketch(
            job["content"],
            **source,
            **named,
            optimizer="lbfgs",
            callback=callback,
            checkpoint=_PausableCheckpoint(checkpoint, order),
        )
    finally:
        watcher.close()
    for suffix in FORMATS:
        result.save(folder / f"picture.{suffix}")
    write_image(folder / STAGES, result.sheet())
    _write_copies(folder, result.array, None)
    checkpoint.unlink(missing_ok=True)
    return {"how": "stopped" if result.stopped else "done", "seconds": watcher.seconds}


def _linked(files: Sequence[str], names: Sequence[str], folder: Path) -> Path:
    """A folder with the same files under the names that the user knows; made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for file, name in zip(files, names, strict=True):
        shutil.copyfile(file, folder / Path(name).with_suffix(Path(file).suffix))
    return folder


def picture_settings(named: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The settings of `stylecore.transfer` among those of a kind of job, by which its pictures are predicted.

    Parameters
    ----------
    named : mapping
        As from `dials.settings`.
    kind : str
        One of `dials.KINDS`.

    Returns
    -------
    dict
    """
    defaults = {"iterations": 90} if kind == "sketch" else {}
    return {**defaults, **{name: value for name, value in named.items() if name in Settings.defaults()}}


def _without_files(named: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with which `predict` does not look for files."""
    return {name: value for name, value in named.items() if name not in ("regions", "init")}


def _fetch_once(network: str, report: Any) -> None:
    """Download the network if it is in the catalogue and not yet in the cache."""
    if network in weights.CATALOGUE and not os.path.isfile(weights.cached_file(network)):
        megabytes = weights.CATALOGUE[network].megabytes
        report({"is": "note", "text": f"Downloading the network {network} ({megabytes} MB), once."})
        weights.fetch(network, progress=False)


def _write_photograph(path: Path, content: np.ndarray, size: Sequence[int]) -> None:
    """The photograph as the picture shows it, to compare both."""
    width, height = size
    write_copy(path, resize(crop(content, (height, width)), (height, width)), None, LARGEST_COPY)


def save(result: Result, folder: Path, names: Mapping[str, Any]) -> None:
    """Write a picture in all formats of a download, and its copies for the page.

    Parameters
    ----------
    result : Result
    folder : Path
        Of the job.
    names : mapping
        "content" and "style": names of the user's files, for the metadata.
    """
    result.settings.update(names)
    for suffix in FORMATS:
        result.save(folder / f"picture.{suffix}")
    _write_copies(folder, result.array, result.alpha)


def _write_copies(folder: Path, rgb: np.ndarray, alpha: np.ndarray | None) -> None:
    write_copy(folder / "now.jpg", rgb, alpha, LARGEST_COPY)
    write_copy(folder / "small.jpg", rgb, alpha, 256)
