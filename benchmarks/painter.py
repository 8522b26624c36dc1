"""A painter beside the same network in PyTorch: its pictures, the memory that they take, and a step of its training.

Both sides have the same parameters. Their pictures and first losses are compared before they are timed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.machine import use_threads
from benchmarks.measuring import in_own_process, in_turn, progress, ratios, summary
from benchmarks.record import number, spread, table
from benchmarks.setting import Setting, square
from stylecore.errors import StylecoreError
from stylecore.kernels import cpu
from stylecore.network import load_network
from stylecore.painter.files import PainterWeights, shapes
from stylecore.painter.loss import PainterLoss
from stylecore.painter.model import PainterModel
from stylecore.painter.painting import Painter
from stylecore.painter.settings import PainterSettings

SIZES = (256, 512)
CROP, BATCH = 256, 4
SETTINGS = PainterSettings(crop=CROP, batch=BATCH)

# Largest relative differences of the two sides by rounding.
PICTURES, LOSSES = 1e-3, 1e-3


def random_painter() -> Painter:
    """A painter of four styles with random parameters, which take as long as others."""
    rng = np.random.default_rng(0)
    arrays = {
        (stage, name): (0.05 if name == "filters" else 1) * rng.standard_normal(shape, np.float32)
        for (stage, name), shape in shapes(SETTINGS.architecture, BATCH).items()
    }
    names = tuple(map(str, range(BATCH)))
    return Painter(PainterWeights(names, tuple(SETTINGS.architecture), arrays, "random"))


def measure(setting: Setting) -> dict[str, Any]:
    """Time pictures and a step of the training, and measure the memory of pictures (on Linux only).

    Returns
    -------
    dict
        "pictures": a row for each size; "training": one row.
    """
    threads = max(setting.threads)
    with use_threads(threads):
        rows = [_pictures(setting, size, threads) for size in SIZES]
        training = _training(setting)
    return {"pictures": rows, "training": training}


def _pictures(setting: Setting, size: int, threads: int) -> dict[str, Any]:
    progress(f"painter, {size} px")
    painter, x = random_painter(), square(setting.content, size)
    sides = {"ours": lambda: painter.paint_array(x, "0")}
    if setting.peers:
        peer = setting.peers.Painter(painter.weights, "channels last")
        sides["PyTorch"] = lambda: peer.paint(x)
        difference = np.abs(peer.paint(x) - painter.paint_array(x, "0")).max()
        if difference > PICTURES:
            raise StylecoreError(f"the two painters differ by {difference}; run the tests to see which is wrong.")
    seconds = in_turn(sides, setting.repetitions)
    row = {"size": size, "threads": threads, "seconds": summary(seconds["ours"])}
    given = {"content": setting.content, "size": size, "threads": threads}
    row["bytes"] = in_own_process("painter_memory", side="ours", **given)["above import"]
    if setting.peers:
        row["PyTorch seconds"] = summary(seconds["PyTorch"])
        row["ratio"] = ratios(seconds["PyTorch"], seconds["ours"])
        row["PyTorch bytes"] = in_own_process("painter_memory", side="PyTorch", **given)["above import"]
    return row


def _training(setting: Setting) -> dict[str, Any]:
    progress(f"painter, a step of training with {BATCH} squares of {CROP} px")
    network = load_network(SETTINGS.network, layers=[*SETTINGS.content_layers, *SETTINGS.style_layers])
    weights = SETTINGS.content_weight, SETTINGS.style_weight
    loss = PainterLoss(network, SETTINGS.content_layers, SETTINGS.style_layers, *weights, CROP)
    photograph, painting = square(setting.content, CROP), square(setting.style, SETTINGS.style_size)
    photographs = np.stack([np.roll(photograph, 17 * n, axis=1) for n in range(BATCH)])
    style, model = loss.style(painting), PainterModel(SETTINGS.architecture, BATCH, cpu)
    model.initialise(np.random.default_rng(0))
    model.set_styles(np.eye(BATCH))

    def step() -> float:
        painted = model.forward(photographs)
        evaluations = [loss(x, y, style) for x, y in zip(photographs, painted, strict=True)]
        model.backward(np.stack([each.gradient for each in evaluations]) / BATCH)
        return sum(each.content + each.style for each in evaluations) / BATCH

    sides = {"ours": step}
    if setting.peers:
        peer = setting.peers.PainterTraining(model, setting.weights, painting, SETTINGS, "channels last")
        sides["PyTorch"] = lambda: peer.step(photographs)
        first = {name: side() for name, side in sides.items()}
        if abs(first["PyTorch"] / first["ours"] - 1) > LOSSES:
            raise StylecoreError(f"the two sides have the losses {first}; run the tests to see which is wrong.")
    seconds = in_turn(sides, setting.repetitions)
    row = {"crop": CROP, "batch": BATCH, "seconds": summary(seconds["ours"])}
    if setting.peers:
        row["PyTorch seconds"] = summary(seconds["PyTorch"])
        row["ratio"] = ratios(seconds["PyTorch"], seconds["ours"])
    return row


def tables(section: dict[str, Any]) -> Iterator[str]:
    """Yield the tables of the section: pictures, and the step of training."""
    megabytes = 1 / 2**20
    yield table(
        "A picture by a painter",
        ["px", "threads", "s", "PyTorch s", "times as fast", "MB above import", "PyTorch MB"],
        [
            [
                row["size"],
                row["threads"],
                spread(row["seconds"], "{:.3f}"),
                spread(row.get("PyTorch seconds"), "{:.3f}"),
                spread(row.get("ratio"), "{:.2f}"),
                number(row["bytes"] * megabytes, "{:.0f}"),
                number(row["PyTorch bytes"] * megabytes, "{:.0f}") if "PyTorch bytes" in row else "-",
            ]
            for row in section["pictures"]
        ],
    )
    row = section["training"]
    yield table(
        "A step of a painter's training, without the update",
        ["px", "batch", "s", "PyTorch s", "times as fast"],
        [
            [
                row["crop"],
                row["batch"],
                spread(row["seconds"], "{:.2f}"),
                spread(row.get("PyTorch seconds"), "{:.2f}"),
                spread(row.get("ratio"), "{:.2f}"),
            ]
        ],
    )
