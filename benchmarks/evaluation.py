"""One evaluation of the objective, value and gradient: its time beside PyTorch's, and its parts."""

from __future__ import annotations

import importlib.util
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.machine import use_threads
from benchmarks.measuring import in_turn, progress, ratios, summary
from benchmarks.record import number, spread, table
from benchmarks.setting import Setting
from stylecore.errors import StylecoreError
from stylecore.kernels.cpu.vectors import BFLOAT16
from stylecore.network import Network, load_network

# Largest relative difference between the losses and between the gradients of the two sides.
AGREEMENT = {"loss": 1e-3, "gradient": 1e-2}

Evaluate = Callable[[np.ndarray], tuple[float, np.ndarray]]

# Functions of a backend that do not compute.
_NOT_TIMED = ("prepare", "allocate", "empty", "scratch_bytes", "gram_scratch_bytes", "release_scratch")


def measure(setting: Setting) -> dict[str, Any]:
    """Time the evaluation at each size and number of threads.

    Returns
    -------
    dict
        "evaluation": a row for each size and number of threads.
    """
    rows = []
    for threads in setting.threads:
        for size in setting.sizes:
            theirs = setting.theirs(size, threads) if setting.peers else None
            progress(f"evaluation, {size} px, threads: {threads}")
            with use_threads(threads):
                row: dict[str, Any] = {"size": size, "threads": threads}
                if theirs:
                    row["memory format"] = setting.memory_format(size, threads)
                rows.append({**row, **_row(setting, size, theirs)})
    return {"evaluation": rows}


def _row(setting: Setting, size: int, theirs: Evaluate | None) -> dict[str, Any]:
    ours, x = setting.ours(size), _near(setting.pictures(size)[0])
    sides: dict[str, Callable[[], object]] = {"ours": lambda: ours(x)}
    row: dict[str, Any] = {}
    if theirs:
        row["differences"] = check_agreement(ours, theirs, x)
        sides["pytorch"] = lambda: theirs(x)
    variants, gradient = _variants(setting, size), ours(x)[1]
    cosines = {name: _cosine(variant(x)[1], gradient) for name, variant in variants.items()}
    sides.update({name: lambda variant=variant: variant(x) for name, variant in variants.items()})
    seconds = in_turn(sides, setting.repetitions)
    row["seconds"] = summary(seconds["ours"])
    if theirs:
        row["pytorch seconds"] = summary(seconds["pytorch"])
        row["ratio"] = ratios(seconds["pytorch"], seconds["ours"])
    row["variants"] = {
        name: {"seconds": summary(seconds[name]), "ratio": ratios(seconds[name], seconds["ours"]), "cosine": cosine}
        for name, cosine in cosines.items()
    }
    return {**row, **_breakdown(setting, size, x)}


def _variants(setting: Setting, size: int) -> dict[str, Evaluate]:
    """Other ways to compute the objective, by name; those that do not work here are left out."""
    found: dict[str, Evaluate] = {}
    if BFLOAT16:
        found["stylecore in bfloat16"] = setting.ours(size, load_network(setting.weights, dtype="bfloat16"))
    if not setting.peers:
        return found
    given = *setting.pictures(size), setting.weights, "channels last"
    ways: dict[str, dict[str, Any]] = {
        "bfloat16": {"dtype": "bfloat16"},
        "torch.compile": {"compiled": True},
        "bfloat16, torch.compile": {"dtype": "bfloat16", "compiled": True},
    }
    makers = {name: partial(setting.peers.Objective, *given, **way) for name, way in ways.items()}
    if importlib.util.find_spec("jax"):
        from benchmarks import jax_peer

        for name, dtype in (("JAX", "float32"), ("JAX in bfloat16", "bfloat16")):
            makers[name] = partial(jax_peer.Objective, *setting.pictures(size), setting.weights, dtype)
    for name, make in makers.items():
        progress(f"evaluation, {size} px: {name}")
        try:
            variant = make()
            variant(setting.pictures(size)[0])
        except Exception as error:  # Compilers raise all kinds of errors.
            progress(f"without {name}: {type(error).__name__}")
        else:
            found[name] = variant
    return found


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


def _near(content: np.ndarray) -> np.ndarray:
    """An image such as occurs during a transfer: the content with noise."""
    noise = np.random.default_rng(0).standard_normal(content.shape, np.float32)
    return np.clip(content + 0.1 * noise, 0, 1)


def check_agreement(ours: Evaluate, theirs: Evaluate, x: np.ndarray) -> dict[str, float]:
    """Relative differences between the losses and between the gradients of two objectives at an image.

    Parameters
    ----------
    ours, theirs : callable
        From an image to loss and gradient.
    x : ndarray, (H, W, 3)

    Returns
    -------
    dict of str to float
        "loss" and "gradient".

    Raises
    ------
    StylecoreError
        If a difference is too large for the same objective.
    """
    (loss, gradient), (peer_loss, peer_gradient) = ours(x), theirs(x)
    differences = {
        "loss": abs(loss - peer_loss) / abs(peer_loss),
        "gradient": float(np.linalg.norm(gradient - peer_gradient) / np.linalg.norm(peer_gradient)),
    }
    for what, difference in differences.items():
        if not difference <= AGREEMENT[what]:
            raise StylecoreError(
                f"the {what} of stylecore and that of PyTorch differ by {difference:.1e}, so their times cannot be "
                f"compared; run the tests to see which is wrong."
            )
    return differences


class TimedBackend:
    """A backend that records the time of each of its functions.

    Parameters
    ----------
    backend : module

    Attributes
    ----------
    seconds : dict of str to float
        By function; to be cleared by the caller.
    """

    def __init__(self, backend: ModuleType) -> None:
        self._backend = backend
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._backend, name)
        if name in _NOT_TIMED or not callable(function):
            return function

        def timed(*arguments):
            began = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.seconds[name] += time.perf_counter() - began

        return timed


def _breakdown(setting: Setting, size: int, x: np.ndarray) -> dict[str, Any]:
    """Seconds of one evaluation by function of the backend, and the fraction outside of convolutions."""
    backend = TimedBackend(setting.network.backend)
    objective = setting.ours(size, Network(setting.weights, backend))
    objective(x)
    parts: defaultdict[str, list[float]] = defaultdict(list)
    outside: list[float] = []
    for _ in range(setting.repetitions):
        backend.seconds.clear()
        began = time.perf_counter()
        objective(x)
        total = time.perf_counter() - began
        backend.seconds["all else"] = total - sum(backend.seconds.values())
        for name, seconds in backend.seconds.items():
            parts[name].append(seconds)
        outside.append(1 - sum(s for name, s in backend.seconds.items() if name.startswith("conv")) / total)
    return {
        "parts seconds": {name: summary(seconds) for name, seconds in parts.items()},
        "outside convolutions": summary(outside),
    }


def tables(section: dict[str, Any]) -> Iterator[str]:
    """Yield the tables of the section: the comparison, and the parts of an evaluation."""
    rows = section["evaluation"]
    yield table(
        "One evaluation (value and gradient)",
        [
            "px",
            "threads",
            "ms",
            "PyTorch ms",
            "times as fast",
            "outside convolutions",
            "loss differs",
            "gradient differs",
        ],
        [_cells(row) for row in rows],
    )
    variants = [(row, name, variant) for row in rows for name, variant in row.get("variants", {}).items()]
    if variants:
        yield table(
            "Other ways, of PyTorch unless they name another",
            ["px", "threads", "way", "ms", "stylecore times as fast", "gradient's cosine to stylecore's"],
            [
                [
                    row["size"],
                    row["threads"],
                    name,
                    spread(variant["seconds"], "{:.0f}", 1e3),
                    spread(variant["ratio"], "{:.2f}"),
                    number(variant["cosine"], "{:.4f}"),
                ]
                for row, name, variant in variants
            ],
        )
    names = list(dict.fromkeys(name for row in rows for name in row["parts seconds"]))
    yield table(
        "Parts of one evaluation",
        ["ms in", *(f"{row['size']} px, {row['threads']} thr." for row in rows)],
        [[name, *(spread(row["parts seconds"].get(name), "{:.1f}", 1e3) for row in rows)] for name in names],
    )


def _cells(row: dict[str, Any]) -> list[object]:
    differences = row.get("differences", {})
    return [
        row["size"],
        row["threads"],
        spread(row["seconds"], "{:.0f}", 1e3),
        spread(row.get("pytorch seconds"), "{:.0f}", 1e3),
        spread(row.get("ratio"), "{:.2f}"),
        spread(row["outside convolutions"], "{:.0%}"),
        number(differences.get("loss"), "{:.0e}"),
        number(differences.get("gradient"), "{:.0e}"),
    ]
