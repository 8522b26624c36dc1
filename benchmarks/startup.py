"""Start-up, in fresh processes: the import, the first use with everything to compile, and a later start."""

import os
import tempfile

from benchmarks.measuring import in_own_process, progress, summary
from benchmarks.record import spread, table

SIZE = 64


def measure(setting):
    """Measure each start anew, every first one with a compilation cache of its own.

    Returns
    -------
    dict
        "startup", a row for each kind of start.
    """
    given = {"content": setting.content, "style": setting.style, "size": SIZE}
    runs = {"first": [], "later": []}
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


def tables(section):
    """Yield the section's table."""
    yield table(
        f"Start-up, seconds until the end of one evaluation at {SIZE} px",
        ["start", "import", "import and first evaluation", "whole process"],
        [
            [row["start"], *(spread(row[stage], "{:.2f}") for stage in ("import", "first evaluation", "process"))]
            for row in section["startup"]
        ],
    )
