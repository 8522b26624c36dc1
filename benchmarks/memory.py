"""Peak memory of one evaluation, each side in its own process, and the memory that stylecore predicts for itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.measuring import in_own_process, progress, ratios, summary
from benchmarks.record import number, spread, table
from benchmarks.setting import Setting


def measure(setting: Setting) -> dict[str, Any]:
    """Measure at each size with the largest number of threads; on Linux only.

    Evaluations are repeated, the two sides in turn. The predictions are compared once, with a whole transfer.

    Returns
    -------
    dict
        "memory": a row for each size.
    """
    return {"memory": [_row(setting, size, max(setting.threads)) for size in setting.sizes]}


def _row(setting: Setting, size: int, threads: int) -> dict[str, Any]:
    given: dict[str, Any] = {"content": setting.content, "style": setting.style, "size": size, "threads": threads}
    row: dict[str, Any] = {"size": size, "threads": threads}
    sides: dict[str, dict[str, Any]] = {"ours": {"memory_format": None}}
    if setting.peers:
        row["memory format"] = setting.memory_format(size, threads)
        sides["pytorch"] = {"memory_format": row["memory format"]}
    peaks: dict[str, list[float]] = {side: [] for side in sides}
    for repetition in range(setting.repetitions):
        progress(f"memory, {size} px, {repetition + 1} of {setting.repetitions}")
        for side, more in sides.items():
            run = in_own_process("evaluation_memory", side=side, **given, **more)
            peaks[side].append(run["above import"])
    row["bytes"] = summary(peaks["ours"])
    if setting.peers:
        row["pytorch bytes"] = summary(peaks["pytorch"])
        row["ratio"] = ratios(peaks["pytorch"], peaks["ours"])
    return {**row, **_predictions(setting, size, given)}


def _predictions(setting: Setting, size: int, given: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"optimizer": setting.optimizers[0]}
    progress(f"memory, {size} px, predictions with {row['optimizer']}")
    run = in_own_process("predicted_memory", optimizer=row["optimizer"], **given)
    for work in ("evaluation", "transfer"):
        row[work] = {"measured bytes": summary([run[work]["measured"]]), "predicted bytes": run[work]["predicted"]}
    return row


def tables(section: dict[str, Any]) -> Iterator[str]:
    """Yield the tables of the section: the comparison, and the predictions."""
    rows, megabytes = section["memory"], 1 / 2**20
    yield table(
        "Peak memory of one evaluation above import, network and targets included",
        ["px", "MB", "PyTorch MB", "times as much"],
        [
            [
                row["size"],
                spread(row["bytes"], "{:.0f}", megabytes),
                spread(row.get("pytorch bytes"), "{:.0f}", megabytes),
                spread(row.get("ratio"), "{:.2f}"),
            ]
            for row in rows
        ],
    )
    yield table(
        "Peak memory beyond network and images, and its prediction",
        ["px", "of", "MB", "predicted MB", "predicted / measured"],
        [
            [
                row["size"],
                name,
                spread(row[work]["measured bytes"], "{:.0f}", megabytes),
                number(row[work]["predicted bytes"] * megabytes, "{:.0f}"),
                number(row[work]["predicted bytes"] / row[work]["measured bytes"]["median"], "{:.2f}"),
            ]
            for row in rows
            for work, name in (("evaluation", "one evaluation"), ("transfer", f"a transfer with {_optimizer(row)}"))
        ],
    )


def _optimizer(row: dict[str, Any]) -> str:
    return row.get("optimizer", "lbfgs")  # Which records before December 2026 do not name.
