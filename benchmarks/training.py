"""An epoch of training the built-in classifier on random pictures of the size and number of CIFAR-10.

Both sides start from the same parameters and get the same batches, augmented by the same background thread; the peer
has its faster memory format. The evaluation after the epoch is left out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.machine import use_threads
from benchmarks.measuring import progress, ratios, summary
from benchmarks.record import number, spread, table
from benchmarks.setting import Setting
from stylecore.errors import StylecoreError
from stylecore.kernels import cpu
from stylecore.training.architectures import CNN
from stylecore.training.data import ImageSet
from stylecore.training.loading import batches, preprocessing
from stylecore.training.model import classifier
from stylecore.training.optimizers import Sgd
from stylecore.training.tasks import Classification
from stylecore.training.train import train_step

SIDE, CLASSES, BATCH, RATE, WEIGHT_DECAY = 32, 10, 128, 0.01, 5e-4

# Number of steps of the warm-up, and for the choice of the memory format.
WARM_UP = 3

# Largest relative difference of the first losses of the two sides, by rounding.
AGREEMENT = 1e-4

Step = Callable[[np.ndarray, np.ndarray], float]


def measure(setting: Setting) -> dict[str, Any]:
    """Time an epoch, once for each side.

    Returns
    -------
    dict
        "training": one row.
    """
    threads = max(setting.threads)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (setting.training_pictures, SIDE, SIDE, 3), np.uint8)
    data = ImageSet(images, rng.integers(0, CLASSES, len(images)), tuple(map(str, range(CLASSES))))
    row: dict[str, Any] = {"threads": threads, "pictures": len(images), "batch": BATCH}
    with use_threads(threads):
        ours = _Ours()
        sides: dict[str, Step] = {"stylecore": ours.step}
        if setting.peers:
            sides["PyTorch"], row["memory format"] = _faster_peer(setting.peers, ours, data)
        first = {name: _epoch(step, data, WARM_UP)[0] for name, step in sides.items()}
        if setting.peers and abs(first["PyTorch"] / first["stylecore"] - 1) > AGREEMENT:
            raise StylecoreError(
                f"the two sides do not train the same network: their first losses are {first}; run the tests to see "
                "which is wrong."
            )
        for name, step in sides.items():
            progress(f"training, an epoch of {len(images)} pictures: {name}")
            began = time.perf_counter()
            _epoch(step, data)
            row[name] = summary([time.perf_counter() - began])
    if setting.peers:
        row["ratio"] = ratios([row["PyTorch"]["median"]], [row["stylecore"]["median"]])
    return {"training": [row]}


def _epoch(step: Step, data: ImageSet, steps: int | None = None) -> list[float]:
    """Run an epoch, or its first steps; returns their losses."""
    losses: list[float] = []
    for x, labels in batches(data, BATCH, preprocessing(data.images[:BATCH]), np.random.default_rng(1)):
        losses.append(step(x, labels))
        if len(losses) == steps:
            break
    return losses


class _Ours:
    """The training by stylecore, from whose initial parameters both sides start."""

    def __init__(self) -> None:
        self.model, self.task = classifier(CNN, SIDE, CLASSES, 0, cpu), Classification(cpu)
        rng = np.random.default_rng(2)
        self.model.initialise(rng)
        self.model.draw_from(rng)
        self.optimizer = Sgd(self.model.values, self.model.decayed, WEIGHT_DECAY)

    def step(self, x: np.ndarray, labels: np.ndarray) -> float:
        return train_step(self.model, self.task, self.optimizer, x, labels, RATE)[0]


def _faster_peer(peers: ModuleType, ours: _Ours, data: ImageSet) -> tuple[Step, str]:
    """A step of the peer in its faster memory format, and the name of the format."""
    steps: dict[str, Step] = {}
    seconds: dict[str, float] = {}
    for name in peers.MEMORY_FORMATS:
        peer = peers.Classifier(ours.model, ours.task.smoothing, name, Sgd.MOMENTUM, WEIGHT_DECAY, RATE)
        _epoch(peer.step, data, 1)
        began = time.perf_counter()
        _epoch(peer.step, data, WARM_UP)
        seconds[name] = time.perf_counter() - began
        steps[name] = peers.Classifier(ours.model, ours.task.smoothing, name, Sgd.MOMENTUM, WEIGHT_DECAY, RATE).step
    faster = min(seconds, key=lambda name: seconds[name])
    measured = ", ".join(f"{name} {1e3 * time / WARM_UP:.0f} ms a step" for name, time in seconds.items())
    progress(f"PyTorch's training: {measured}; {faster} is used")
    return steps[faster], faster


def tables(section: dict[str, Any]) -> Iterator[str]:
    """Yield the table of the section."""
    yield table(
        "An epoch of training, one run",
        ["pictures", "batch", "threads", "stylecore s", "PyTorch s", "times as fast"],
        [
            [
                row["pictures"],
                row["batch"],
                row["threads"],
                number(row["stylecore"]["median"], "{:.1f}"),
                number(row["PyTorch"]["median"], "{:.1f}") if "PyTorch" in row else "-",
                spread(row.get("ratio"), "{:.2f}"),
            ]
            for row in section["training"]
        ],
    )
