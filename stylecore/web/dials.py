"""The dials of the page: the options of the commands, and the settings and command lines that their values mean.

The page sends the words that a user would write on the command line, and they are parsed by the same parser; so the
page has the same names, help texts, defaults and error messages, and a new option becomes a new dial.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from stylecore.cli.arguments import number, whole_number
from stylecore.cli.options import command_parser
from stylecore.cli.settings import given_settings
from stylecore.cli.sketch import SETTINGS as SKETCH_SETTINGS
from stylecore.cli.sketch import sketch_settings
from stylecore.cli.video import DEFAULTS as FILM_DEFAULTS
from stylecore.cli.video import film_settings
from stylecore.errors import ParameterError
from stylecore.messages import near_matches
from stylecore.optimizers import OPTIMIZERS
from stylecore.settings import Settings
from stylecore.studies.presets import load_presets
from stylecore.video.settings import FilmSettings

MAIN = ("size", "style_weight", "style_scale", "colour", "iterations")
"""The dials that are always visible; the others are under "more"."""

LONGEST = 200
"""Largest number of characters of a value."""

# Shares of the paintings and regions have controls of their own; a page has no folder of flows.
# A job must be able to continue from a checkpoint, which only one method can.
_ELSEWHERE = ("style_blend", "regions", "labels", "flow", "keep_going", "method")


class _Kind(NamedTuple):
    """What a kind of job is made with: a command, its files, its function, and the defaults of its settings."""

    command: str
    option: str
    """Before the names of the styles, if there is one."""
    function: str
    output: str
    defaults: dict[str, Any]
    parsed: Callable[[argparse.Namespace], dict[str, Any]]


KINDS = {
    "picture": _Kind("transfer", "", "transfer", "out.png", Settings.defaults(), given_settings),
    "film": _Kind("video", "", "transfer_video", "out.mp4", {**Settings.defaults(), **FILM_DEFAULTS}, film_settings),
    "sketch": _Kind("sketch", "--photo", "colour_sketch", "out.png", SKETCH_SETTINGS, sketch_settings),
}
"""The kinds of jobs."""

PHOTOGRAPHS = "photographs"
"""Folder of the photographs for a sketch, if there are several."""


class Dial(NamedTuple):
    """An option of a command as the page shows it.

    Attributes
    ----------
    name : str
        Of the setting.
    option : str
    group : str
        Title of its group in ``--help``; "main" for those of `MAIN`.
    help : str
    kind : {"choice", "number", "integer", "words"}
    choices : list of str
        The only values of a choice; suggestions for other kinds.
    default : str
    several : bool
        Whether the value may be several words.
    """

    name: str
    option: str
    group: str
    help: str
    kind: str
    choices: list[str]
    default: str
    several: bool


@cache
def dials(kind: str = "picture") -> dict[str, Dial]:
    """The dials by name, the main ones first.

    Parameters
    ----------
    kind : str
        One of `KINDS`.

    Returns
    -------
    dict of str to Dial
    """
    defaults = KINDS[kind].defaults
    found = {
        action.dest: _dial(action, group.title or "", defaults[action.dest], kind)
        for group in command_parser(KINDS[kind].command)._action_groups
        for action in group._group_actions
        if action.dest in defaults and action.dest not in _ELSEWHERE
    }
    main = [name for name in MAIN if name in found]
    return {name: found[name] for name in (*main, *(name for name in found if name not in main))}


def _dial(action: argparse.Action, group: str, default: Any, kind: str) -> Dial:
    name = action.dest
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    words = [str(choice) for choice in action.choices or metavar.strip("{}").split(",") if metavar or action.choices]
    choices = [word for word in words if word and not word.isupper()]
    if name == "optimizer" and kind == "picture":  # A job must be able to continue from its checkpoint.
        choices = [word for word in choices if OPTIMIZERS[word].resumable]
        default = choices[0]
    of_values = "choice"
    if "NUMBER" in words or not choices:
        of_values = "integer" if action.type is whole_number else "number" if action.type is number else "words"
    return Dial(
        name,
        action.option_strings[-1],
        "main" if name in MAIN else group,
        " ".join((action.help or "").partition(" (default: ")[0].split()).replace("%%", "%"),
        of_values,
        choices,
        words_of(name, default),
        action.nargs is not None,
    )


def words_of(name: str, value: Any) -> str:
    """A setting's value as it is written on the command line.

    Parameters
    ----------
    name : str
    value : object

    Returns
    -------
    str
        Empty for None.
    """
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return " ".join(f"{key}={weight:g}" for key, weight in value.items())
    if isinstance(value, tuple) and name == "size":
        return f"{value[0]}x{value[1]}"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def looks() -> dict[str, dict[str, Any]]:
    """The presets as the page shows them: a description, and the words of their dials.

    Returns
    -------
    dict of str to dict
    """
    return {
        name: {
            "description": preset.description,
            "given": {key: words_of(key, value) for key, value in preset.settings.items() if key in dials()},
        }
        for name, preset in load_presets().items()
    }


def checked(given: object, kind: str = "picture") -> dict[str, str]:
    """Check the words of some dials, as a browser sent them.

    Parameters
    ----------
    given : object
        Words by the name of the dial; empty words mean the default.
    kind : str
        One of `KINDS`.

    Returns
    -------
    dict of str to str
        Those that are given, with the optimizer of a picture; defaults are left out.

    Raises
    ------
    ParameterError
        If a dial is not known, or its words are not text or too long, or not one of its choices.
    """
    if not isinstance(given, dict):
        raise ParameterError("the settings are not an object; reload the page.")
    result = {}
    for name, words in given.items():
        if name not in dials(kind):
            raise ParameterError(f'there is no setting "{str(name)[:40]}"{near_matches(str(name)[:40], dials(kind))}.')
        dial = dials(kind)[name]
        if not isinstance(words, str) or len(words) > LONGEST:
            raise ParameterError(f"{dial.option} must be text of at most {LONGEST} characters.")
        words = " ".join(words.split())
        if dial.kind == "choice" and words and words not in dial.choices:
            raise ParameterError(f'{dial.option} "{words}" is not known{near_matches(words, dial.choices)}.')
        if words and words != dial.default:
            result[name] = words
    if kind == "picture":
        result.setdefault("optimizer", dials()["optimizer"].default)
    return result


def settings(given: Mapping[str, str], shares: Sequence[float] = (), kind: str = "picture") -> dict[str, Any]:
    """Parse words of dials to settings of the function for a kind of job.

    Parameters
    ----------
    given : mapping of str to str
        As `checked` returns them.
    shares : sequence of float
        Weight of each painting; none for a single one.
    kind : str
        One of `KINDS`.

    Returns
    -------
    dict

    Raises
    ------
    ParameterError
        If the words are not valid for their option, or a value is out of its range.
    """
    command, option, _, output, _, parsed = KINDS[kind]
    files = ["content", *([option] if option else []), "style", f"--output={output}"]
    found = parsed(command_parser(command).parse_args([*files, *_arguments(given, kind)]))
    named = {name: value for name, value in found.items() if name in given}
    if len(shares) > 1:
        named["style_blend"] = list(shares)
    Settings.of({name: value for name, value in named.items() if name in Settings.defaults()})
    if kind == "film":
        FilmSettings(**{name: value for name, value in named.items() if name in FILM_DEFAULTS})
    return named


def _arguments(given: Mapping[str, str], kind: str) -> list[str]:
    """The options of a command line."""
    arguments = []
    for name, words in given.items():
        dial = dials(kind)[name]
        if not dial.several:
            arguments.append(f"{dial.option}={words}")
            continue
        parts = words.split()
        if any(part.startswith("-") for part in parts):
            raise ParameterError(f'{dial.option} is "{words}"; none of its words may start with a hyphen.')
        arguments += [dial.option, *parts]
    return arguments


def commands(
    content: str,
    styles: Sequence[str],
    given: Mapping[str, str],
    shares: Sequence[float] = (),
    regions: Sequence[Sequence[str]] = (),
    start: str | None = None,
    kind: str = "picture",
) -> dict[str, str]:
    """The command line and the Python call that make the same picture or film.

    Parameters
    ----------
    content : str
        Name of the file of the photograph, film or drawing.
    styles : sequence of str
        Names of the paintings' files; of the photograph, for a sketch.
    given : mapping of str to str
        As `checked` returns them.
    shares : sequence of float
    regions : sequence of sequence of str
        As ``--region`` takes them.
    start : str, optional
        Name of the picture to start from.
    kind : str
        One of `KINDS`.

    Returns
    -------
    dict of str to str
        "shell" and "python".
    """
    command, option, function, output, _, _ = KINDS[kind]
    named = settings(given, shares, kind)
    if option and len(styles) > 1:
        option, styles = "--photos", [PHOTOGRAPHS]
    files = [_as_file(content), *([option] if option else []), *map(_as_file, styles)]
    arguments = ["stylecore", command, *files, "-o", output, *_arguments(given, kind)]
    if len(shares) > 1:
        arguments += ["--style-blend", *(f"{share:g}" for share in shares)]
    for region in regions:
        arguments += ["--region", *region]
    if start is not None:
        arguments += ["--init", start]
        named["init"] = start
    if regions:
        named["regions"] = [list(region) for region in regions]
    keywords = "".join(f",\n    {name}={value!r}" for name, value in named.items())
    paintings = repr(styles[0]) if len(styles) == 1 else repr(list(styles))
    if option:
        paintings = f"{option[2:]}={paintings}"
    written = f",\n    {output!r}" if kind == "film" else ""
    arguments_of_call = f"    {content!r},\n    {paintings}{written}{keywords},\n"
    python = f"import stylecore\n\nresult = stylecore.{function}(\n{arguments_of_call})\n"
    if kind != "film":
        python += f"result.save({output!r})\n"
    return {"shell": shlex.join(arguments), "python": python}


def _as_file(name: str) -> str:
    return f"./{name}" if name.startswith("-") else name


def file_name(name: str, otherwise: str) -> str:
    """Reduce a name that a browser sent to one that can be shown and that is a file's name on any system.

    Parameters
    ----------
    name : str
    otherwise : str
        The result if nothing is left.

    Returns
    -------
    str
        Without folders and control characters, of at most 80 characters.
    """
    name = re.split(r"[/\\]", name)[-1]
    name = "".join(character for character in name if character.isprintable() and character not in '<>:"|?*')
    return name.strip(". ")[-80:] or otherwise
