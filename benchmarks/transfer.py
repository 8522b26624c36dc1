"""A whole transfer: the time it takes to reach the final loss of the peer.

Both sides minimise the same objective, and every loss is that of stylecore's objective at the final size. The loss of
the peer is that of the picture it would save, clipped to [0, 1]. Loading the network and the pictures is not counted on
either side, all else is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.evaluation import check_agreement
from benchmarks.machine import use_threads
from benchmarks.measuring import Trace, progress, ratios, summary
from benchmarks.record import number, spread, table
from benchmarks.setting import Setting
from stylecore import Evaluation, Objective, transfer

# How stylecore gets there: evaluations at each of the scales before the last, each half as large as the next, as
# fractions of the peer's. At the last scale there may be twice as many as the peer has.
PYRAMIDS: dict[str, list[float]] = {"one scale": [], "pyramid": [1 / 6, 1 / 6]}

STARTS = ("content", "noise")

# The optimisers of the peers, by their names on the command line.
PEERS = {"torch": "torch.optim.LBFGS", "scipy": "PyTorch + SciPy L-BFGS-B"}

# The measurements of one repetition, by peer and optimiser of stylecore.
Results = dict[tuple[str, str], dict[str, Any]]


def measure(setting: Setting) -> dict[str, Any]:
    """Run the peers and stylecore in turn, from the content and from noise; needs the peers.

    Returns
    -------
    dict
        "transfer": a row for each start, peer and optimiser of stylecore.
    """
    threads, size = max(setting.threads), setting.transfer_size
    memory_format = setting.memory_format(size, threads)
    content, style = setting.pictures(size)
    starts = {"content": content, "noise": np.random.default_rng(0).random(content.shape, np.float32)}
    rows = []
    with use_threads(threads):
        judge, theirs = setting.ours(size), setting.theirs(size, threads)
        differences = check_agreement(judge, theirs, starts["noise"])
        del theirs
        for start in setting.transfer_starts:
            runs = [
                _run(setting, content, style, start, starts[start], memory_format, judge)
                for _ in range(setting.transfer_repetitions)
            ]
            for peer, optimizer in runs[0]:
                row = {"size": size, "threads": threads, "memory format": memory_format, "differences": differences}
                row |= {"start": start, "peer": peer, "optimizer": optimizer}
                rows.append({**row, **_summary([run[peer, optimizer] for run in runs])})
    return {"transfer": rows}


def _run(
    setting: Setting,
    content: np.ndarray,
    style: np.ndarray,
    start: str,
    image: np.ndarray,
    memory_format: str,
    judge: Objective,
) -> Results:
    """One repetition: each peer to its end, then each optimiser of stylecore to the lowest of the peers' losses."""
    peers: Any = setting.peers
    results: Results = {}
    for peer in (PEERS[name] for name in setting.transfer_peers):
        progress(f"transfer from {start}: {peer}")
        trace = Trace(setting.transfer_evaluations)
        peers.OPTIMIZERS[peer](lambda: peers.Objective(content, style, setting.weights, memory_format), image, trace)
        seconds, lowest = min(trace.points, key=lambda point: point[1])
        loss, _ = judge(np.clip(trace.image, 0, 1))
        result = {"evaluations": len(trace.points), "seconds": seconds, "own loss": lowest, "loss": loss}
        results |= {(peer, optimizer): dict(result) for optimizer in setting.optimizers}
    lowest = min(result["loss"] for result in results.values())
    for optimizer in setting.optimizers:
        for way, fractions in PYRAMIDS.items():
            counts = [round(fraction * setting.transfer_evaluations) for fraction in [*fractions, 2]]
            progress(f"transfer from {start}: stylecore with {optimizer}, {way}, until {lowest:.4g}")
            points = _transfer(setting, content, style, start, counts, lowest, optimizer)
            for (_, other), result in results.items():
                reached = [(s, i) for i, (s, loss) in enumerate(points, 1) if loss <= result["loss"]]
                if other == optimizer and reached:
                    result[way] = dict(zip(("seconds", "evaluations"), reached[0], strict=True))
    return results


def _transfer(
    setting: Setting,
    content: np.ndarray,
    style: np.ndarray,
    start: str,
    counts: list[int],
    lowest: float,
    optimizer: str,
) -> list[tuple[float, float]]:
    """Seconds and losses of the evaluations at the final size, until a loss is reached."""
    trace = Trace(None)

    def note(evaluation: Evaluation, image: np.ndarray) -> bool:
        if evaluation.size != content.shape[:2]:
            return False
        trace.note(evaluation.loss, image)
        return evaluation.loss <= lowest

    transfer(
        content,
        style,
        size=len(content),
        iterations=counts,
        init=start,
        pyramid=[len(content) // 2**i for i in range(len(counts) - 1, 0, -1)] or 1,
        optimizer=optimizer,
        network=setting.network,
        callback=note,
    )
    return trace.points


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Summary of the repetitions; a way in which not all of them reached the loss is left out."""
    row: dict[str, Any] = {name: summary([run[name] for run in runs]) for name in _MEASURED}
    for way in PYRAMIDS:
        if all(way in run for run in runs):
            seconds = [run[way]["seconds"] for run in runs]
            row[way] = {
                "seconds": summary(seconds),
                "evaluations": summary([run[way]["evaluations"] for run in runs]),
                "ratio": ratios([run["seconds"] for run in runs], seconds),
            }
    return row


_MEASURED = ("evaluations", "seconds", "own loss", "loss")


def tables(section: dict[str, Any]) -> Iterator[str]:
    """Yield the table of the section."""
    rows = section["transfer"]
    yield table(
        f"A transfer at {rows[0]['size']} px until the loss of the peer is reached",
        [
            "from",
            "peer",
            "its loss",
            "before clipping",
            "s",
            "stylecore",
            *(f"{way} {what}" for way in PYRAMIDS for what in ("s", "evaluations", "times as fast")),
        ],
        [_cells(row) for row in rows],
    )


def _cells(row: dict[str, Any]) -> list[str]:
    cells = [
        row["start"],
        row["peer"],
        number(row["loss"]["median"], "{:.4g}"),
        number(row["own loss"]["median"], "{:.4g}"),
        spread(row["seconds"], "{:.1f}"),
        row.get("optimizer", "lbfgs"),  # Which records before December 2026 do not name.
    ]
    for way in PYRAMIDS:
        reached = row.get(way, {})
        cells += [
            spread(reached.get("seconds"), "{:.1f}"),
            spread(reached.get("evaluations"), "{:.0f}"),
            spread(reached.get("ratio"), "{:.2f}"),
        ]
    return cells
