"""Arguments that several commands have in common, and the types of their values."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Any]
    Group = argparse._ActionsContainer
    """A parser, or a group of its options."""


def add_command(commands: Commands, name: str, command: str, summary: str, **more: Any) -> argparse.ArgumentParser:
    """Add a command.

    Parameters
    ----------
    commands : subparsers of argparse
    name : str
        Last word of the command.
    command : str
        All words of the command, which are ``command`` in the parsed arguments.
    summary : str
        Help text of the command.
    **more
        Arguments of `add_parser` of argparse.

    Returns
    -------
    argparse.ArgumentParser
    """
    parser = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False, **more)
    parser.set_defaults(command=command, parser=parser)
    return parser


def add_setting(group: Group, name: str, help: str, settings: Mapping[str, Any], **more: Any) -> None:
    """Add a setting as an option of the same type as the setting's default.

    Unless `more` has a default, the parsed arguments lack an option that the user does not give.

    Parameters
    ----------
    group : argparse.ArgumentParser or group of one
    name : str
    help : str
    settings : mapping of str to object
        The default of each setting.
    **more
        Arguments of `add_argument` of argparse; and "none", what the help calls a default of None.
    """
    none = more.pop("none", "the network's own")
    default = more.get("default", settings[name])
    if isinstance(default, float):
        more = {"type": number, "metavar": "NUMBER", **more}
        shown = f"{default:g}"
    elif isinstance(default, int):
        more = {"type": whole_number, "metavar": "NUMBER", **more}
        shown = str(default)
    else:
        shown = default or none
    option = "--" + name.replace("_", "-")
    group.add_argument(option, help=f"{help} (default: {shown})", **{"default": argparse.SUPPRESS, **more})


def add_quiet(group: Group) -> None:
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
