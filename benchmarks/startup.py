"""Start-up in fresh processes: the import, the first use, which compiles the kernels, and a later start."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import Any

from benchmarks.measuring import in_own_process, progress, summary
from benchmarks.record import spread, table
from benchmarks.setting import Setting

SIZE = 64

# As `benchmarks.child.startup` names them; the process ends last.
STAGES = ("import", "first evaluation", "first transfer", "process")


def measure(setting: Setting) -> dict[str, Any]:
    """Measure a first and a later start in turn, each pair with a compilation cache of its own.

    Returns
    -------
    dict
        "startup": a row for each kind of start.
    """
    given = {"content": setting.content, "style": setting.style, "size": SIZE}
    runs: dict[str, list[dict[str, float]]] = {"first": [], "later": []}
    for repetition in range(setting.repetitions):
        progress(f"start-up, {repetition + 1} of {setting.repetitions}")
        with tempfile.TemporaryDirectory() as cache:
            for start in runs.values():
                start.append(in_own_process("startup", {**os.environ, "NUMBA_CACHE_DIR": cache}, **given))
    return {
        "startup": [
            {"start": start, **{stage: summary([run[stage] for run in measured]) for stage in measured[0]}}
            for start, measured in runs.items()
        ]
    }


def tables(section: dict[str, Any]) -> Iterator[str]:
    """Yield the table of the section."""
    yield table(
        f"Start-up, seconds from the start until the end of each stage, at {SIZE} px",
        ["start", "import", "one evaluation", "a transfer", "process"],
        [[row["start"], *(spread(row.get(stage), "{:.2f}") for stage in STAGES)] for row in section["startup"]],
    )
