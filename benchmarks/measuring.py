"""Taking times: repeated, in turn, and summed up by their median and spread."""

import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

from stylecore.errors import StylecoreError

ROOT = Path(__file__).parent.parent

# Seconds that a timing lasts at least: shorter work is called several times over.
LEAST = 0.02

# Seconds without work before each timing, in which the other side's idle threads stop waiting in a loop for more.
REST = 0.05

_began = time.perf_counter()


def progress(what):
    """Tell on standard error what is being measured, with the seconds since the start."""
    print(f"[{time.perf_counter() - _began:6.0f} s] {what}", file=sys.stderr, flush=True)


def in_turn(sides, repetitions):
    """Time functions in turn, A B A B and so on, so that what disturbs the machine disturbs all of them.

    Parameters
    ----------
    sides : dict of str to callable
        Each is called untimed first, to warm up.
    repetitions : int

    Returns
    -------
    dict of str to list of float
        Seconds a call, by repetition.
    """
    calls = {name: _calls(function) for name, function in sides.items()}
    seconds = {name: [] for name in sides}
    for _ in range(repetitions):
        for name, function in sides.items():
            time.sleep(REST)
            began = time.perf_counter()
            for _ in range(calls[name]):
                function()
            seconds[name].append((time.perf_counter() - began) / calls[name])
    return seconds


def _calls(function):
    """How many calls make a timing of LEAST seconds."""
    function()
    began = time.perf_counter()
    function()
    return max(1, math.ceil(LEAST / (time.perf_counter() - began)))


def summary(values):
    """Median and spread of repeated measurements, as the record keeps them."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "repetitions": len(values),
    }


def ratios(numerators, denominators):
    """Summary of the ratios of measurements that were taken in turn, pair by pair."""
    return summary([n / d for n, d in zip(numerators, denominators, strict=True)])


def in_own_process(task, environment=None, **arguments):
    """Run a function of `benchmarks.child` in a fresh interpreter.

    Parameters
    ----------
    task : str
        The function's name.
    environment : dict, optional
        Of the process; without, ours.
    **arguments
        What it takes; must be JSON.

    Returns
    -------
    dict
        What it returned, and as ``process`` the seconds from the interpreter's start to its end.

    Raises
    ------
    StylecoreError
        If it failed; what it wrote to standard error has been shown then.
    """
    command = [sys.executable, "-m", "benchmarks.child", task, json.dumps(arguments)]
    began = time.perf_counter()
    process = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    if process.returncode:
        raise StylecoreError(f"{task} failed in its own process with status {process.returncode}; see above why.")
    return {**json.loads(process.stdout), "process": time.perf_counter() - began}


class Trace:
    """Notes when each evaluation of a loss was done and what came out, and keeps the image of the lowest loss.

    Parameters
    ----------
    evaluations : int or None
        After so many, `note` raises `Ended`; None for no end.

    Attributes
    ----------
    points : list of (float, float)
        Seconds since the trace was made, and loss.
    image : ndarray or None
    """

    class Ended(Exception):
        """Raised out of an optimiser when all evaluations are used."""

    def __init__(self, evaluations):
        self._evaluations = evaluations
        self._began = time.perf_counter()
        self._lowest = math.inf
        self.points = []
        self.image = None

    def note(self, loss, image):
        """Note an evaluation at an array."""
        self.points.append((time.perf_counter() - self._began, loss))
        if loss < self._lowest:
            self._lowest, self.image = loss, image.copy()
        if len(self.points) % 50 == 0:
            progress(f"  after {len(self.points)} evaluations the loss is {loss:.4g}")
        if len(self.points) == self._evaluations:
            raise self.Ended
