"""Timing: repeated measurements in turn, summarised by their median and range."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from stylecore.errors import StylecoreError

ROOT = Path(__file__).parent.parent

# Least duration of a timing in seconds: shorter work is repeated within it.
LEAST = 0.02

# Pause before each timing in seconds, in which idle threads of the other side stop spinning.
REST = 0.05

_began = time.perf_counter()

Name = TypeVar("Name")


def progress(what: str) -> None:
    """Report on standard error what is being measured, with the seconds since the start."""
    print(f"[{time.perf_counter() - _began:6.0f} s] {what}", file=sys.stderr, flush=True)


def in_turn(sides: Mapping[Name, Callable[[], object]], repetitions: int) -> dict[Name, list[float]]:
    """Time functions in turn, A B A B and so on, so that disturbances of the machine affect all of them.

    Parameters
    ----------
    sides : dict of callable
        By the name of each side.
        Each is called without timing first, as a warm-up.
    repetitions : int

    Returns
    -------
    dict of list of float
        Seconds of a call, by repetition.
    """
    calls = {name: _calls(function) for name, function in sides.items()}
    seconds: dict[Name, list[float]] = {name: [] for name in sides}
    for _ in range(repetitions):
        for name, function in sides.items():
            time.sleep(REST)
            began = time.perf_counter()
            for _ in range(calls[name]):
                function()
            seconds[name].append((time.perf_counter() - began) / calls[name])
    return seconds


def _calls(function: Callable[[], object]) -> int:
    """Number of calls in a timing of LEAST seconds."""
    function()
    began = time.perf_counter()
    function()
    return max(1, math.ceil(LEAST / (time.perf_counter() - began)))


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median and range of repeated measurements, as stored in the record."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "repetitions": len(values),
    }


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> dict[str, float]:
    """Summary of the ratios, pair by pair, of measurements that were made in turn."""
    return summary([n / d for n, d in zip(numerators, denominators, strict=True)])


def in_own_process(task: str, environment: Mapping[str, str] | None = None, **arguments: Any) -> dict[str, Any]:
    """Run a function of `benchmarks.child` in a new interpreter.

    Parameters
    ----------
    task : str
        The function's name.
    environment : mapping, optional
        Environment variables of the process; by default those of this one.
    **arguments
        Arguments of the function, which JSON can hold.

    Returns
    -------
    dict
        The result of the function, and in "process" the seconds from the start of the interpreter to its end.

    Raises
    ------
    StylecoreError
        If it failed; its standard error has been shown.
    """
    command = [sys.executable, "-m", "benchmarks.child", task, json.dumps(arguments)]
    began = time.perf_counter()
    process = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if process.returncode:
        raise StylecoreError(
            f"{task} failed in its own process with status {process.returncode}; see its output above."
        )
    return {**json.loads(process.stdout), "process": time.perf_counter() - began}


class Trace:
    """Records the time and value of each evaluation of a loss, and the image of the lowest.

    Parameters
    ----------
    evaluations : int or None
        Number of evaluations after which `note` raises `Ended`; None for no limit.

    Attributes
    ----------
    points : list of (float, float)
        Seconds since the trace was created, and loss.
    image : ndarray or None
    """

    class Ended(Exception):
        """Raised to leave an optimiser when the evaluations are used up."""

    def __init__(self, evaluations: int | None) -> None:
        self._evaluations = evaluations
        self._began = time.perf_counter()
        self._lowest = math.inf
        self.points: list[tuple[float, float]] = []
        self.image: np.ndarray | None = None

    def note(self, loss: float, image: np.ndarray) -> None:
        """Record an evaluation."""
        self.points.append((time.perf_counter() - self._began, loss))
        if loss < self._lowest:
            self._lowest, self.image = loss, image.copy()
        if len(self.points) % 50 == 0:
            progress(f"  after {len(self.points)} evaluations the loss is {loss:.4g}")
        if len(self.points) == self._evaluations:
            raise self.Ended
