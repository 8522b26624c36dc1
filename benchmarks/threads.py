"""Speed-up of one evaluation with the number of threads, and whether each number gives the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.machine import ALL_THREADS, use_threads
from benchmarks.measuring import in_turn, progress, ratios, summary
from benchmarks.record import spread, table
from benchmarks.setting import Setting


def _counts() -> list[int]:
    """1, 2, 3 and so on up to all threads; from 8 on doubled."""
    counts = [*range(1, min(8, ALL_THREADS) + 1)]
    while counts[-1] < ALL_THREADS:
        counts.append(min(2 * counts[-1], ALL_THREADS))
    return counts


def measure(setting: Setting) -> dict[str, Any]:
    """Evaluate and time with each number of threads, at each size.

    Returns
    -------
    dict
        "threads": a row for each size and number of threads.
    """
    rows = []
    for size in setting.sizes:
        progress(f"threads, {size} px: {', '.join(map(str, _counts()))}")
        content, _ = setting.pictures(size)
        results = {count: _evaluate(setting, size, content, count) for count in _counts()}
        objective = setting.ours(size)

        def run(count, objective=objective, x=content):
            with use_threads(count):
                objective(x)

        seconds = in_turn({count: lambda count=count: run(count) for count in _counts()}, setting.repetitions)
        for count in _counts():
            rows.append(
                {
                    "size": size,
                    "threads": count,
                    "seconds": summary(seconds[count]),
                    "speed-up": ratios(seconds[1], seconds[count]),
                    "same bits": results[count] == results[1],
                }
            )
    return {"threads": rows}


def _evaluate(setting: Setting, size: int, x: np.ndarray, count: int) -> tuple[str, bytes]:
    """Bits of the loss and the gradient of an objective that was also built on this number of threads."""
    with use_threads(count):
        loss, gradient = setting.ours(size)(x)
    return loss.hex(), gradient.tobytes()


def tables(section: dict[str, Any]) -> Iterator[str]:
    """Yield the table of the section."""
    yield table(
        "One evaluation by number of threads",
        ["px", "threads", "ms", "speed-up", "same bits as with 1"],
        [
            [
                row["size"],
                row["threads"],
                spread(row["seconds"], "{:.0f}", 1e3),
                spread(row["speed-up"], "{:.2f}"),
                "yes" if row["same bits"] else "NO",
            ]
            for row in section["threads"]
        ],
    )
