"""Arguments that several commands have in common, and the types of their values."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Any]
    Group = argparse._ActionsContainer
    """A parser, or a group of its options."""


class Help(argparse.Action):
    """The option ``--help`` of a command that also has ``--help-all``: shows the arguments that most people need.

    They are all positional arguments, the options that are required, and those that are named.

    Parameters
    ----------
    names : sequence of str
        Of the other options to show, without dashes.
    """

    def __init__(self, option_strings: Sequence[str], dest: str, names: Sequence[str], help: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=help)
        self.names = names

    def __call__(self, parser: argparse.ArgumentParser, *given: Any) -> NoReturn:
        """Print the help and end the program."""
        shown = {"help", "help-all", *self.names}
        actions = [
            action
            for action in parser._actions
            if action.required or shown & {option.lstrip("-") for option in action.option_strings}
        ]
        formatter = parser._get_formatter()
        formatter.add_usage(parser.usage, actions, [])
        formatter.add_text(parser.description)
        formatter.start_section("arguments and the most important options")
        formatter.add_arguments([_shortened(action) for action in actions])
        formatter.end_section()
        rest = len(parser._actions) - len(actions)
        formatter.add_text(f"`{parser.prog} --help-all` describes {rest} more options. {parser.epilog or ''}")
        parser._print_message(formatter.format_help(), sys.stdout)
        parser.exit()


def _shortened(action: argparse.Action) -> argparse.Action:
    """An argument with the first sentence of its help text, and its default."""
    shorter = copy(action)
    first, _, rest = " ".join((action.help or "").split()).partition(". ")
    default = re.search(r" [(]default: .*[)]$", rest)
    shorter.help = first + (default[0] if default else "")
    return shorter


def add_command(
    commands: Commands, name: str, command: str, summary: str, main: Sequence[str] = (), **more: Any
) -> argparse.ArgumentParser:
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
    main : sequence of str
        If it has many options, those that ``--help`` shows, without dashes; ``--help-all`` shows all.
    **more
        Arguments of `add_parser` of argparse.

    Returns
    -------
    argparse.ArgumentParser
    """
    parser = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False, add_help=not main, **more)
    if main:
        parser.add_argument("-h", "--help", action=Help, names=main, help="show the most important options")
        parser.add_argument("--help-all", action="help", help="show all options")
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
