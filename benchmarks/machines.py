"""One picture on several processes, and what many machines would give.

The processes of this machine have one thread each. For more machines than there are, the times of the tasks and the
sizes of their messages are measured here and put through a simulation, in which every worker has one core like this
machine's, and the client a network link of limited rate that carries one message at a time in each direction.
"""

from __future__ import annotations

import pickle
import statistics
import time
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from benchmarks.machine import use_threads
from benchmarks.measuring import in_turn, progress, ratios, summary
from benchmarks.record import number, spread, table
from benchmarks.setting import CONTENT_LAYERS, NETWORK, STYLE_LAYERS, Setting, square
from stylecore import Objective, cluster
from stylecore.losses import GramDistance
from stylecore.network import load_network
from stylecore.settings import ObjectiveSettings
from stylecore.tiles import SIDE, Passes, Tiles, divide

SIZE = 2048
PIXELS = 100e6
WORKERS, GIGABITS = (1, 4, 8, 16, 32, 64), (1, 10)


def measure(setting: Setting) -> dict[str, Any]:
    """Time one picture on one and on two processes, and simulate more.

    Returns
    -------
    dict
        "processes", "tasks" and "simulation".
    """
    tasks = _tasks(setting)
    rows = [
        {"workers": count, "gigabits": rate, **_simulated(count, rate * 1e9 / 8, tasks)}
        for rate, count in product(GIGABITS, WORKERS)
    ]
    return {"processes": _processes(setting), "tasks": tasks._asdict(), "simulation": rows}


def _processes(setting: Setting) -> dict[str, Any]:
    progress(f"machines, {SIZE} px on one and two processes")
    x, style = square(setting.content, SIZE), square(setting.style, 512)
    settings = ObjectiveSettings(network=NETWORK, tile=SIDE).with_layers()
    network = load_network(NETWORK, layers=settings.layers)

    def objective(client: Any) -> Objective:
        regions = Objective(style, style, network=network)._regions
        make = cluster.Cluster(client, NETWORK).tiles
        return Objective.of_arrays(x, [style], regions, network, settings, make_tiles=make)

    with cluster.workers(1) as one, cluster.workers(2) as two:
        alone, together = objective(one), objective(two)
        losses = alone(x)[0], together(x)[0]
        assert losses[0] == losses[1]
        seconds = in_turn({"one": lambda: alone(x), "two": lambda: together(x)}, setting.repetitions)
    return {
        "size": SIZE,
        "one": summary(seconds["one"]),
        "two": summary(seconds["two"]),
        "ratio": ratios(seconds["one"], seconds["two"]),
    }


class _Tasks(NamedTuple):
    """Seconds of a tile's passes on one core, "at once" right after its forward pass; and bytes of its messages."""

    forward: float
    backward: float
    backward_at_once: float
    image: int
    moments: int
    gradient: int


def _tasks(setting: Setting) -> _Tasks:
    """Measure the tile in the middle of a picture."""
    progress("machines, the tasks of a tile")
    network = load_network(NETWORK, layers=[*CONTENT_LAYERS, *STYLE_LAYERS])
    layers = [*CONTENT_LAYERS, *STYLE_LAYERS]
    tile = divide(network, (3 * SIDE, 3 * SIDE), layers, SIDE)[4]
    image = square(setting.content, max(tile.outer.shape))
    tiles = Tiles(network, layers, GramDistance, [tile], {(layer, ""): None for layer in STYLE_LAYERS})
    passes, parts = Passes(network, layers, GramDistance, [tile]), tiles.part(0)
    seconds: dict[str, list[float]] = {"forward": [], "backward": [], "backward_at_once": []}
    with use_threads(1):
        targets = passes.features(tile, image, CONTENT_LAYERS)
        for _ in range(setting.repetitions):
            began = time.perf_counter()
            moments, _ = passes.forward(tile, image, parts, targets)
            seconds["forward"].append(time.perf_counter() - began)
            differences = {key: (1.0, mean, second) for key, (mean, second) in moments.items()}
            weights = dict.fromkeys(CONTENT_LAYERS, 1.0)
            for name in ("backward_at_once", "backward"):
                began = time.perf_counter()
                gradient = passes.backward(tile, image, parts, differences, targets, weights)
                seconds[name].append(time.perf_counter() - began)
    sizes = [len(pickle.dumps(message, 5)) for message in (image, moments, np.asarray(gradient))]
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return _Tasks(**medians, image=sizes[0], moments=sizes[1], gradient=sizes[2])


def _simulated(workers: int, rate: float, tasks: _Tasks) -> dict[str, float]:
    """Seconds of an evaluation, and the efficiency against one core without a network.

    Parameters
    ----------
    workers : int
    rate : float
        Of the client's link, in bytes per second.
    tasks : _Tasks
    """
    count = round(PIXELS / SIDE**2)
    shares = [count // workers + (k < count % workers) for k in range(workers)]
    backward = [[tasks.backward_at_once, *[tasks.backward] * (share - 1)] if share else [] for share in shares]
    forward = _phase([[tasks.forward] * share for share in shares], tasks.image / rate, tasks.moments / rate)
    seconds = forward + _phase(backward, tasks.moments / rate, tasks.gradient / rate)
    alone = count * tasks.forward + tasks.backward_at_once + (count - 1) * tasks.backward
    return {"seconds": seconds, "efficiency": alone / (workers * seconds)}


def _phase(work: Sequence[Sequence[float]], sending: float, returning: float) -> float:
    """Time until all results of a pass are back.

    The client sends each worker its next task in turn; the results return in the order in which they are finished.
    """
    sent, free, finished = 0.0, [0.0] * len(work), []
    for turn in range(max(map(len, work))):
        for worker, seconds in enumerate(work):
            if turn < len(seconds):
                sent += sending
                free[worker] = max(free[worker], sent) + seconds[turn]
                finished.append(free[worker])
    back = 0.0
    for end in sorted(finished):
        back = max(back, end) + returning
    return back


def tables(section: dict[str, Any]) -> Iterator[str]:
    """Yield the tables of the section."""
    row = section["processes"]
    yield table(
        f"One picture of {row['size']} px on processes of one thread",
        ["one process s", "two processes s", "times as fast"],
        [[spread(row["one"], "{:.1f}"), spread(row["two"], "{:.1f}"), spread(row["ratio"], "{:.2f}")]],
    )
    tasks = section["tasks"]
    yield table(
        f"A tile of {SIDE} px with its halo, one core",
        ["forward s", "backward s", "at once s", "image MB", "moments MB", "gradient MB"],
        [
            [
                *(number(tasks[name], "{:.2f}") for name in ("forward", "backward", "backward_at_once")),
                *(number(tasks[name] / 1e6, "{:.1f}") for name in ("image", "moments", "gradient")),
            ]
        ],
    )
    yield table(
        f"An evaluation of {PIXELS / 1e6:.0f} megapixels, simulated",
        ["Gbit/s", "workers", "s", "efficiency"],
        [
            [each["gigabits"], each["workers"], number(each["seconds"], "{:.0f}"), number(each["efficiency"], "{:.2f}")]
            for each in section["simulation"]
        ],
    )
