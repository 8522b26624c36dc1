"""Arguments that several commands have, and the types of their values."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any


def add_command(commands: Any, name: str, command: str, summary: str, **more: Any) -> argparse.ArgumentParser:
    """Add a command.

    Parameters
    ----------
    commands : subparsers of argparse
    name : str
        Its last word.
    command : str
        All of its words, which `parse` returns as ``command``.
    summary : str
    **more
        As `add_parser` of argparse takes them.

    Returns
    -------
    argparse.ArgumentParser
    """
    parser = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False, **more)
    parser.set_defaults(command=command, parser=parser)
    return parser


def add_setting(group: Any, name: str, help: str, settings: Mapping[str, Any], **more: Any) -> None:
    """Add a setting as an option, of the type that its default has in Python.

    Without a default of its own in `more`, an option that is not given is missing from what is parsed.

    Parameters
    ----------
    group : argparse.ArgumentParser or group of one
    name : str
    help : str
    settings : mapping of str to object
        The default of each setting.
    **more
        As `add_argument` of argparse takes them.
    """
    default = more.get("default", settings[name])
    if isinstance(default, float):
        more = {"type": number, "metavar": "NUMBER", **more}
        shown = f"{default:g}"
    elif isinstance(default, int):
        more = {"type": whole_number, "metavar": "NUMBER", **more}
        shown = str(default)
    else:
        shown = default or "the network's own"
    option = "--" + name.replace("_", "-")
    group.add_argument(option, help=f"{help} (default: {shown})", **{"default": argparse.SUPPRESS, **more})


def add_quiet(group: Any) -> None:
    """Add the option ``--quiet``."""
    group.add_argument("-q", "--quiet", action="store_true", help="show only the result, or an error")


def whole_number(text: str) -> int:
    """Parse an integer; raises argparse.ArgumentTypeError if the text is not one."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number') from None


def number(text: str) -> float:
    """Parse a number; raises argparse.ArgumentTypeError if the text is not one."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number') from None
