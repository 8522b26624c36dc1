"""A whole transfer: how long it takes to reach the loss that the peer ends with.

Both sides minimise the same objective, and every loss is that of our objective at the final size. The peer's is that
of the picture it would save, so what left the range of colours is cut off. Loading the network and the pictures is
not counted on either side, all else is.
"""

import numpy as np

from benchmarks.evaluation import check_agreement
from benchmarks.machine import use_threads
from benchmarks.measuring import Trace, progress, ratios, summary
from benchmarks.record import number, spread, table
from stylecore._transfer import transfer

# Our ways there: the evaluations at each of the scales before the last, each half as large as the next, as parts of the
# peer's. At the last there may be twice the peer's.
OURS = {"one scale": [], "pyramid": [1 / 6, 1 / 6]}

STARTS = ("content", "noise")

# The peers' optimisers, by the word that stands for each on the command line.
PEERS = {"torch": "torch.optim.LBFGS", "scipy": "PyTorch + SciPy L-BFGS-B"}


def measure(setting):
    """Run the peers and ours in turn, from the content and from noise; there must be peers.

    Returns
    -------
    dict
        "transfer", a row for each start and peer.
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
            for peer in runs[0]:
                row = {"size": size, "threads": threads, "memory format": memory_format, "differences": differences}
                rows.append({**row, "start": start, "peer": peer, **_summary([run[peer] for run in runs])})
    return {"transfer": rows}


def _run(setting, content, style, start, image, memory_format, judge):
    """One repetition: every peer to its end, then ours until the lowest of their losses; a dict for each peer."""
    peers, results = setting.peers, {}
    for peer in map(PEERS.get, setting.transfer_peers):
        minimize = peers.OPTIMIZERS[peer]
        progress(f"transfer from {start}: {peer}")
        trace = Trace(setting.transfer_evaluations)
        minimize(lambda: peers.Objective(content, style, setting.weights, memory_format), image, trace)
        seconds, lowest = min(trace.points, key=lambda point: point[1])
        loss, _ = judge(trace.image.clip(0, 1))
        results[peer] = {"evaluations": len(trace.points), "seconds": seconds, "own loss": lowest, "loss": loss}
    for ours, parts in OURS.items():
        lowest = min(result["loss"] for result in results.values())
        counts = [round(part * setting.transfer_evaluations) for part in [*parts, 2]]
        progress(f"transfer from {start}: ours, {ours}, until {lowest:.4g}")
        points = _transfer(setting, content, style, start, counts, lowest)
        for result in results.values():
            reached = [(seconds, number) for number, (seconds, loss) in enumerate(points, 1) if loss <= result["loss"]]
            if reached:
                result[ours] = dict(zip(("seconds", "evaluations"), reached[0], strict=True))
    return results


def _transfer(setting, content, style, start, counts, lowest):
    """Seconds and losses of the evaluations at the final size, until the loss is so low."""
    trace = Trace(None)

    def note(evaluation, image):
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
        network=setting.network,
        callback=note,
    )
    return trace.points


def _summary(runs):
    """What the repetitions against one peer come to; ours is left out where a repetition did not reach the loss."""
    row = {name: summary([run[name] for run in runs]) for name in ("evaluations", "seconds", "own loss", "loss")}
    for ours in OURS:
        if all(ours in run for run in runs):
            seconds = [run[ours]["seconds"] for run in runs]
            row[ours] = {
                "seconds": summary(seconds),
                "evaluations": summary([run[ours]["evaluations"] for run in runs]),
                "ratio": ratios([run["seconds"] for run in runs], seconds),
            }
    return row


def tables(section):
    """Yield the section's table."""
    rows = section["transfer"]
    yield table(
        f"A transfer at {rows[0]['size']} px until the peer's loss is reached",
        [
            "from",
            "peer",
            "loss",
            "its own loss",
            "s",
            *(f"{ours} {what}" for ours in OURS for what in ("s", "evaluations", "times as fast")),
        ],
        [_cells(row) for row in rows],
    )


def _cells(row):
    cells = [
        row["start"],
        row["peer"],
        number(row["loss"]["median"], "{:.4g}"),
        number(row["own loss"]["median"], "{:.4g}"),
        spread(row["seconds"], "{:.1f}"),
    ]
    for ours in OURS:
        reached = row.get(ours, {})
        cells += [
            spread(reached.get("seconds"), "{:.1f}"),
            spread(reached.get("evaluations"), "{:.0f}"),
            spread(reached.get("ratio"), "{:.2f}"),
        ]
    return cells
