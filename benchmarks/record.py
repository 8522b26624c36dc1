"""The JSON record of a run, and the tables that are printed from it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.measuring import ROOT
from stylecore.errors import StylecoreError
from stylecore.files import replacing

RESULTS = ROOT / "benchmarks" / "results"


def default_path(machine: str) -> Path:
    """A new file for today's run on a machine: earlier records are kept."""
    name, path, count = f"{date.today()}-{machine}", RESULTS / f"{date.today()}-{machine}.json", 1
    while path.exists():
        count += 1
        path = RESULTS / f"{name}-{count}.json"
    return path


def write(record: dict[str, Any], path: str | Path) -> None:
    """Write a record, whole or not at all.

    Parameters
    ----------
    record : dict
    path : str or path

    Raises
    ------
    StylecoreError
        If it cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write((json.dumps(record, indent=1) + "\n").encode())
    except OSError as error:
        raise StylecoreError(
            f"{path} cannot be written ({error.strerror}); name another file with --output."
        ) from error


def check_writable(path: str | Path) -> None:
    """Raise StylecoreError if a record cannot be written to this path."""
    probe = Path(path).with_name(f".{secrets.token_hex(8)}.tmp")
    write({}, probe)
    probe.unlink()


def read(path: str | Path) -> dict[str, Any]:
    """Read a record; raises StylecoreError if it cannot be read."""
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise StylecoreError(
            f"{path} is not a record that can be read ({error}); name one of {RESULTS.name}/."
        ) from error


def table(title: str, header: list[str], rows: Sequence[Sequence[object]]) -> str:
    """Format a table in Markdown, aligned so that it can be read as plain text.

    Parameters
    ----------
    title : str
    header : list of str
    rows : sequence of sequences
        Cells, formatted with `str`.

    Returns
    -------
    str
    """
    cells = [header, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in cells]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([f"**{title}**", "", lines[0], rule, *lines[1:]])


def number(value: float | None, style: str) -> str:
    """A number in a format such as "{:.2f}"; a dash for None."""
    return "-" if value is None else style.format(value)


def spread(summary: dict[str, float] | None, style: str, factor: float = 1) -> str:
    """Median and range of a summary, times a factor, as in ``2.1 (2.0..2.4)``; a dash for None."""
    if summary is None:
        return "-"
    median, least, most = (style.format(factor * summary[name]) for name in ("median", "min", "max"))
    return f"{median} ({least}..{most})"
