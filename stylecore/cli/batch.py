"""The command ``stylecore batch``: its options, and how it is run."""

from __future__ import annotations

import glob
import os
import string
from argparse import Namespace
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylecore.cli import FAILED, STOPPED
from stylecore.cli.arguments import add_command, add_quiet
from stylecore.cli.settings import add_colour, add_look, add_size, add_steps, given_settings
from stylecore.cli.terminal import Watch, print_result, say
from stylecore.cli.workers import add_workers, client_of
from stylecore.errors import ImageError, ParameterError
from stylecore.many import Made, transfer_many
from stylecore.pictures.reading import SUFFIXES
from stylecore.settings import Settings

if TYPE_CHECKING:
    from stylecore.cli.arguments import Commands, Group

NAME = "{content}-{style}.png"
"""Default of ``--name``."""


def add_batch(commands: Commands) -> None:
    """Add the command ``batch``.

    Parameters
    ----------
    commands : subparsers of argparse
    """
    parser = add_command(
        commands,
        "batch",
        "batch",
        "Paint many photographs in the style of many paintings.",
        ("pairs", "name", "overwrite", "workers", "dask", "size", "style-weight", "preset", "quiet"),
        usage="%(prog)s PHOTO [PHOTO ...] --styles PAINTING [PAINTING ...] -o FOLDER [options]",
        epilog="""Pictures that are there already are skipped, so that the same command continues the work after it was
        interrupted. Ctrl-C ends it after the picture that is being painted.""",
    )
    _add_basic(parser.add_argument_group("basic"))
    add_workers(parser.add_argument_group("machines"), "several pictures at a time")
    add_look(parser.add_argument_group("look"))
    add_colour(parser.add_argument_group("colour"))
    add_size(parser.add_argument_group("size"))
    add_steps(parser.add_argument_group("steps"))


def _add_basic(group: Group) -> None:
    group.add_argument("photos", metavar="PHOTO", nargs="+", help="photograph, or folder, or glob pattern")
    group.add_argument(
        "--styles",
        metavar="PAINTING",
        nargs="+",
        required=True,
        help="painting, folder of paintings, or a glob pattern",
    )
    group.add_argument("-o", "--output", metavar="FOLDER", required=True, help="folder to write to; made if necessary")
    group.add_argument(
        "--pairs",
        choices=["all", "zip"],
        default="all",
        help="all: every photograph with every painting; zip: the first with the first, and so on (default: all)",
    )
    group.add_argument(
        "--name",
        metavar="TEMPLATE",
        default=NAME,
        help="""names of the pictures, with the names of the inputs without suffix as {content} and {style}, and the
        number of the picture as {number} (default: %(default)s)""",
    )
    group.add_argument("--overwrite", action="store_true", help="make pictures that are there already again")
    group.add_argument(
        "--manifest",
        metavar="FILE",
        help="JSON file that records what was made with what (default: manifest.json in FOLDER)",
    )
    group.add_argument("--preset", metavar="NAME", help="use the settings of a preset; other options override them")
    group.add_argument("--presets", metavar="FILE", help="a TOML file with more presets; see `stylecore presets`")
    add_quiet(group)


def batch(given: Namespace, watch: Watch, fetch: Callable[[Any], None]) -> int:
    """Paint many pictures according to a command line.

    Parameters
    ----------
    given : argparse.Namespace
    watch : Watch
    fetch : callable
        Downloads a network if necessary; called once the inputs have been found.

    Returns
    -------
    int
        The exit status: 1 if a picture failed.

    Raises
    ------
    StylecoreError
        If the inputs cannot be found, or the options do not fit together.
    """
    settings = given_settings(given)
    network = Settings.of(settings).network
    folder = Path(given.output)
    jobs = _jobs(found(given.photos), found(given.styles), given.pairs, folder, given.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"{folder} cannot be made ({error.strerror}); name another folder.") from error
    fetch(network)
    done: list[Made] = []

    def report(made: Made) -> bool:
        done.append(made)
        words = f"failed: {made.error}" if made.error else f"{made.seconds:.0f} s"
        watch.say(f"{len(done)} of {count}: {made.output}, {words}")
        return watch.is_ending

    manifest = folder / "manifest.json" if given.manifest is None else given.manifest
    count = len(jobs) if given.overwrite else sum(not job["output"].exists() for job in jobs)
    try:
        with client_of(given) as client:
            made = transfer_many(
                [{**job, **settings} for job in jobs],
                client=client,
                overwrite=given.overwrite,
                manifest=manifest,
                callback=report,
            )
    except KeyboardInterrupt:
        written = sum(made.state == "made" for made in done)
        rest = "." if given.overwrite else ", and the same command makes the others."
        say(f"stylecore: stopped; {written} of {count} pictures have been written{rest}")
        return STOPPED
    return _finish(made, manifest)


def _finish(made: Sequence[Made], manifest: str | os.PathLike[str]) -> int:
    """Report what was made, and each failure; returns the exit status."""
    states = [each.state for each in made]
    parts = [f"{states.count('made')} pictures made", f"{states.count('was there')} were there"]
    parts += [f"{states.count(state)} {state}" for state in ("failed", "not begun") if state in states]
    print_result(f"{', '.join(parts)}; see {manifest}")
    for each in made:
        if each.error:
            print_result(f"{each.output}: {each.error}")
    if "not begun" in states:
        return STOPPED
    return FAILED if "failed" in states else 0


def found(given: Sequence[str]) -> list[str]:
    """The pictures that are named, are in a folder that is named, or match a pattern; in the order given.

    Parameters
    ----------
    given : sequence of str

    Returns
    -------
    list of str

    Raises
    ------
    ImageError
        If one of them leads to no picture.
    """
    pictures: list[str] = []
    for each in given:
        if os.path.isdir(each):
            files = sorted(str(path) for path in Path(each).iterdir() if path.suffix.lower() in SUFFIXES)
        else:
            files = [each] if os.path.isfile(each) else sorted(filter(os.path.isfile, glob.glob(each, recursive=True)))
        if not files:
            raise ImageError(f"{each} is neither a picture nor a folder or a pattern with pictures; check the name.")
        pictures += files
    return pictures


def _jobs(photos: list[str], styles: list[str], pairs: str, folder: Path, name: str) -> list[dict[str, Any]]:
    if pairs == "zip" and len(photos) != len(styles):
        raise ParameterError(
            f"there are {len(photos)} photographs and {len(styles)} paintings; --pairs zip needs as many of both."
        )
    chosen = list(zip(photos, styles, strict=True)) if pairs == "zip" else list(product(photos, styles))
    fields = {field for _, field, _, _ in _parsed(name) if field is not None}
    if unknown := fields - {"content", "style", "number"}:
        raise ParameterError(
            f"--name has the field {{{min(unknown)}}}; it can have {{content}}, {{style}} and {{number}}."
        )
    jobs = []
    for number, (content, style) in enumerate(chosen, 1):
        words = {"content": Path(content).stem, "style": Path(style).stem, "number": f"{number:04d}"}
        jobs.append({"content": content, "style": style, "output": folder / name.format(**words)})
    return jobs


def _parsed(name: str) -> list[tuple[str, str | None, str | None, str | None]]:
    try:
        return list(string.Formatter().parse(name))
    except ValueError as error:
        raise ParameterError(f'--name is "{name}" ({error}); it is a template such as {NAME}.') from error
