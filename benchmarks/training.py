"""An epoch of training the built-in classifier on pictures of CIFAR-10's size and number, which are made up.

Both sides start from the same parameters and see the same batches, cropped and mirrored beside the training by the same
thread; the peer's memory format is the one in which it takes less time. Testing after the epoch is left out.
"""

import time

import numpy as np

from benchmarks.machine import use_threads
from benchmarks.measuring import progress, ratios, summary
from benchmarks.record import number, spread, table
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

# Steps that warm up, and tell which memory format is faster for the peer.
SOME = 3

# Of the first losses of the two sides, which rounding alone may tell apart.
AGREEMENT = 1e-4


def measure(setting):
    """Time an epoch, once for each side.

    Returns
    -------
    dict
        "training", a row.
    """
    threads = max(setting.threads)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (setting.training_pictures, SIDE, SIDE, 3), np.uint8)
    data = ImageSet(images, rng.integers(0, CLASSES, len(images)), tuple(map(str, range(CLASSES))))
    row = {"threads": threads, "pictures": len(images), "batch": BATCH}
    with use_threads(threads):
        ours = _Ours()
        sides = {"stylecore": ours.step}
        if setting.peers:
            sides["PyTorch"], row["memory format"] = _faster_peer(setting.peers, ours, data)
        first = {name: _epoch(step, data, SOME)[0] for name, step in sides.items()}
        if setting.peers and abs(first["PyTorch"] / first["stylecore"] - 1) > AGREEMENT:
            raise StylecoreError(f"the two sides do not train the same network: their first losses are {first}.")
        for name, step in sides.items():
            progress(f"training, an epoch of {len(images)} pictures: {name}")
            began = time.perf_counter()
            _epoch(step, data)
            row[name] = summary([time.perf_counter() - began])
    if setting.peers:
        row["ratio"] = ratios([row["PyTorch"]["median"]], [row["stylecore"]["median"]])
    return {"training": [row]}


def _epoch(step, data, steps=None):
    """Take the steps of an epoch, or the first few; returns their losses."""
    losses = []
    for x, labels in batches(data, BATCH, preprocessing(data.images[:BATCH]), np.random.default_rng(1)):
        losses.append(step(x, labels))
        if len(losses) == steps:
            break
    return losses


class _Ours:
    """Our side; `values` are the parameters that both start from."""

    def __init__(self):
        self.model, self.task = classifier(CNN, SIDE, CLASSES, 0, cpu), Classification(cpu)
        rng = np.random.default_rng(2)
        self.model.initialise(rng)
        self.model.draw_from(rng)
        self.optimizer = Sgd(self.model.values, self.model.decayed, WEIGHT_DECAY)

    def step(self, x, labels):
        return train_step(self.model, self.task, self.optimizer, x, labels, RATE)[0]


def _faster_peer(peers, ours, data):
    """The peer's step in the memory format that takes less time, and the format's name."""
    steps, seconds = {}, {}
    for name in peers.MEMORY_FORMATS:
        peer = peers.Classifier(ours.model, ours.task.smoothing, name, Sgd.MOMENTUM, WEIGHT_DECAY, RATE)
        _epoch(peer.step, data, 1)
        began = time.perf_counter()
        _epoch(peer.step, data, SOME)
        seconds[name] = time.perf_counter() - began
        steps[name] = peers.Classifier(ours.model, ours.task.smoothing, name, Sgd.MOMENTUM, WEIGHT_DECAY, RATE).step
    faster = min(seconds, key=seconds.get)
    told = ", ".join(f"{name} {1e3 * time / SOME:.0f} ms a step" for name, time in seconds.items())
    progress(f"PyTorch's training: {told}; {faster} is used")
    return steps[faster], faster


def tables(section):
    """Yield the section's table."""
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
