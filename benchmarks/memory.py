"""Peak memory of one evaluation, each side in its own process, and what stylecore predicts of its own."""

from benchmarks.measuring import in_own_process, progress, ratios, summary
from benchmarks.record import number, spread, table


def measure(setting):
    """Measure at each size, with the most threads, the processes of both sides in turn; on Linux only.

    Returns
    -------
    dict
        "memory", a row for each size.
    """
    return {"memory": [_row(setting, size, max(setting.threads)) for size in setting.sizes]}


def _row(setting, size, threads):
    given = {"content": setting.content, "style": setting.style, "size": size, "threads": threads}
    row = {"size": size, "threads": threads}
    tasks = {
        "ours": ("evaluation_memory", {"side": "ours", "memory_format": None, **given}),
        "predicted": ("predicted_memory", given),
    }
    if setting.peers:
        row["memory format"] = setting.memory_format(size, threads)
        tasks["pytorch"] = ("evaluation_memory", {"side": "pytorch", "memory_format": row["memory format"], **given})
    runs = {name: [] for name in tasks}
    for repetition in range(setting.repetitions):
        progress(f"memory, {size} px, {repetition + 1} of {setting.repetitions}")
        for name, (task, arguments) in tasks.items():
            runs[name].append(in_own_process(task, **arguments))
    peaks = [run["above import"] for run in runs["ours"]]
    row["bytes"] = summary(peaks)
    if setting.peers:
        peer_peaks = [run["above import"] for run in runs["pytorch"]]
        row["pytorch bytes"] = summary(peer_peaks)
        row["ratio"] = ratios(peer_peaks, peaks)
    for work in ("evaluation", "transfer"):
        measured = summary([run[work]["measured"] for run in runs["predicted"]])
        row[work] = {"measured bytes": measured, "predicted bytes": runs["predicted"][0][work]["predicted"]}
    return row


def tables(section):
    """Yield the section's tables: the comparison, and the predictions."""
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
        "Peak memory beyond network and images, and as it is predicted",
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
            for work, name in (("evaluation", "one evaluation"), ("transfer", "a transfer"))
        ],
    )
