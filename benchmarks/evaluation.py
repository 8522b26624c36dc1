"""One evaluation of the objective, value and gradient: our time beside PyTorch's, and where ours goes."""

import time
from collections import defaultdict

import numpy as np

from benchmarks.machine import use_threads
from benchmarks.measuring import in_turn, progress, ratios, summary
from benchmarks.record import number, spread, table
from stylecore.errors import StylecoreError
from stylecore.network import Network

# Largest relative difference between both sides' losses and gradients that still counts as the same objective.
AGREEMENT = {"loss": 1e-3, "gradient": 1e-2}

# Functions of a backend that compute nothing.
_BESIDE = ("prepare", "allocate", "empty", "scratch_bytes", "gram_scratch_bytes", "release_scratch")


def measure(setting):
    """Time the evaluation at each size and number of threads.

    Returns
    -------
    dict
        "evaluation", a row for each size and number of threads.
    """
    rows = []
    for threads in setting.threads:
        for size in setting.sizes:
            theirs = setting.theirs(size, threads) if setting.peers else None
            progress(f"evaluation, {size} px, threads: {threads}")
            with use_threads(threads):
                row = {"size": size, "threads": threads}
                if theirs:
                    row["memory format"] = setting.memory_format(size, threads)
                rows.append({**row, **_row(setting, size, theirs)})
    return {"evaluation": rows}


def _row(setting, size, theirs):
    ours, x = setting.ours(size), _near(setting.pictures(size)[0])
    sides = {"ours": lambda: ours(x)}
    row = {}
    if theirs:
        row["differences"] = check_agreement(ours, theirs, x)
        sides["pytorch"] = lambda: theirs(x)
    seconds = in_turn(sides, setting.repetitions)
    row["seconds"] = summary(seconds["ours"])
    if theirs:
        row["pytorch seconds"] = summary(seconds["pytorch"])
        row["ratio"] = ratios(seconds["pytorch"], seconds["ours"])
    return {**row, **_breakdown(setting, size, x)}


def _near(content):
    """An image as it comes up on the way: the content, changed."""
    noise = np.random.default_rng(0).standard_normal(content.shape, np.float32)
    return np.clip(content + 0.1 * noise, 0, 1)


def check_agreement(ours, theirs, x):
    """Relative differences of two objectives' losses and gradients at an image.

    Parameters
    ----------
    ours, theirs : callable
    x : ndarray, (H, W, 3)

    Returns
    -------
    dict
        "loss" and "gradient".

    Raises
    ------
    StylecoreError
        If they are not the same objective.
    """
    (loss, gradient), (peer_loss, peer_gradient) = ours(x), theirs(x)
    differences = {
        "loss": abs(loss - peer_loss) / abs(peer_loss),
        "gradient": float(np.linalg.norm(gradient - peer_gradient) / np.linalg.norm(peer_gradient)),
    }
    for what, difference in differences.items():
        if not difference <= AGREEMENT[what]:
            raise StylecoreError(
                f"the {what} of stylecore and of PyTorch differ by {difference:.1e}, so their times cannot be "
                f"compared; run the tests to see which of them is wrong."
            )
    return differences


class TimedBackend:
    """A backend that notes how long each of its functions takes.

    Attributes
    ----------
    seconds : dict of str to float
        By function, since the last `clear` of it.
    """

    def __init__(self, backend):
        self._backend = backend
        self.seconds = defaultdict(float)

    def __getattr__(self, name):
        function = getattr(self._backend, name)
        if name in _BESIDE or not callable(function):
            return function

        def timed(*arguments):
            began = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                self.seconds[name] += time.perf_counter() - began

        return timed


def _breakdown(setting, size, x):
    """Milliseconds of one evaluation by function of the backend, and the share of all but the convolutions."""
    backend = TimedBackend(setting.network.backend)
    objective = setting.ours(size, Network(setting.weights, backend))
    objective(x)
    parts, shares = defaultdict(list), []
    for _ in range(setting.repetitions):
        backend.seconds.clear()
        began = time.perf_counter()
        objective(x)
        total = time.perf_counter() - began
        backend.seconds["all else"] = total - sum(backend.seconds.values())
        for name, seconds in backend.seconds.items():
            parts[name].append(seconds)
        shares.append(1 - sum(s for name, s in backend.seconds.items() if name.startswith("conv")) / total)
    return {
        "parts seconds": {name: summary(seconds) for name, seconds in parts.items()},
        "outside convolutions": summary(shares),
    }


def tables(section):
    """Yield the section's tables: the comparison, and the breakdown of our time."""
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
    names = list(dict.fromkeys(name for row in rows for name in row["parts seconds"]))
    yield table(
        "Where the time of one evaluation goes",
        ["ms in", *(f"{row['size']} px, {row['threads']} thr." for row in rows)],
        [[name, *(spread(row["parts seconds"].get(name), "{:.1f}", 1e3) for row in rows)] for name in names],
    )


def _cells(row):
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
