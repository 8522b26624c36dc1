"""What is kept of a run: a JSON record, and the tables that are printed from it."""

import json
import secrets
from datetime import date
from pathlib import Path

from benchmarks.measuring import ROOT
from stylecore.errors import StylecoreError
from stylecore.files import replacing

RESULTS = ROOT / "benchmarks" / "results"


def default_path(machine):
    """A file for today's run on a machine that does not exist yet, so that no record is lost."""
    name, path, count = f"{date.today()}-{machine}", RESULTS / f"{date.today()}-{machine}.json", 1
    while path.exists():
        count += 1
        path = RESULTS / f"{name}-{count}.json"
    return path


def write(record, path):
    """Write a record, whole or not at all.

    Parameters
    ----------
    record : dict
    path : path

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


def check_writable(path):
    """Raise StylecoreError, before the work, if a record cannot be written there."""
    probe = Path(path).with_name(f".{secrets.token_hex(8)}.tmp")
    write({}, probe)
    probe.unlink()


def read(path):
    """Read a record; raises StylecoreError if there is none."""
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise StylecoreError(
            f"{path} is not a record that can be read ({error}); name one of {RESULTS.name}/."
        ) from error


def table(title, header, rows):
    """Lay out a table, in Markdown that is also readable as it stands.

    Parameters
    ----------
    title : str
    header : list of str
    rows : list of lists
        Cells that are text, or are shown as Python shows them.

    Returns
    -------
    str
    """
    cells = [header, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in cells]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([f"**{title}**", "", lines[0], rule, *lines[1:]])


def number(value, style):
    """A number in a style such as "{:.2f}"; a dash if there is none."""
    return "-" if value is None else style.format(value)


def spread(summary, style, factor=1):
    """Median and spread of a summary, ``2.1 (2.0..2.4)``; a dash if there is none."""
    if summary is None:
        return "-"
    median, least, most = (style.format(factor * summary[name]) for name in ("median", "min", "max"))
    return f"{median} ({least}..{most})"
