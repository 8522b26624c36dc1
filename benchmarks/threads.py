"""How one evaluation gets faster with more threads, and whether it gives the same bits with each number."""

from benchmarks.machine import ALL_THREADS, use_threads
from benchmarks.measuring import in_turn, progress, ratios, summary
from benchmarks.record import spread, table


def _counts():
    """1, 2, 3 ... up to all threads; from 8 on doubled."""
    counts = [*range(1, min(8, ALL_THREADS) + 1)]
    while counts[-1] < ALL_THREADS:
        counts.append(min(2 * counts[-1], ALL_THREADS))
    return counts


def measure(setting):
    """Evaluate and time with each number of threads, at each size.

    Returns
    -------
    dict
        "threads", a row for each size and number of threads.
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


def _evaluate(setting, size, x, count):
    """Loss and gradient, bit by bit, of an objective that was made with so many threads too."""
    with use_threads(count):
        loss, gradient = setting.ours(size)(x)
    return loss.hex(), gradient.tobytes()


def tables(section):
    """Yield the section's table."""
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
