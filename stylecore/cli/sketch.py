"""The command ``stylecore sketch``: its options, and how it is run."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stylecore.cli import STOPPED
from stylecore.cli.arguments import add_command, add_quiet, add_setting, number, whole_number
from stylecore.cli.terminal import Watch, print_result
from stylecore.errors import ParameterError
from stylecore.pictures.geometry import fit
from stylecore.pictures.reading import read_image
from stylecore.pictures.sheets import contact_sheet
from stylecore.pictures.writing import check_output, write_image
from stylecore.sketch.drawing import Drawing, read_drawing
from stylecore.sketch.indexing import SUFFIX, PhotoIndex, index
from stylecore.sketch.pipeline import DEFAULTS, check_options, colour_sketch, warn_unreadable
from stylecore.sketch.retrieval import retrieve

if TYPE_CHECKING:
    from stylecore.cli.arguments import Commands, Group

SHEET_HEIGHT = 256
"""Height of each photograph on the sheet of --retrieve, in pixels."""

SETTINGS: dict[str, object] = {**DEFAULTS, "size": 512, "ink": 1.0}
"""Settings that the page of `stylecore.web` shows as well, with their defaults."""


def sketch_settings(given: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given, as `stylecore.colour_sketch` takes them."""
    return {name: getattr(given, name) for name in SETTINGS if hasattr(given, name)}


def add_sketch(commands: Commands) -> None:
    """Add the command ``sketch``.

    Parameters
    ----------
    commands : subparsers of argparse
    """
    parser = add_command(
        commands,
        "sketch",
        "sketch",
        "Colour a line drawing with the colours and textures of a photograph of the same thing.",
        usage="%(prog)s SKETCH (--photos FOLDER | --photo FILE) -o OUT [options]",
        epilog="""The first run with a folder indexes its photographs, about four in a second on two cores; later runs
        describe only those that are new or have changed. It needs scikit-image and opencv-python-headless.""",
    )
    _add_basic(parser.add_argument_group("basic"))
    _add_photos(parser.add_argument_group("photographs"))
    _add_look(parser.add_argument_group("look"))


def _add_basic(group: Group) -> None:
    group.add_argument("sketch", metavar="SKETCH", help="drawing with dark lines on light paper")
    group.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        help="picture to write: .png, .jpg, .webp or .tif. An existing file is overwritten",
    )
    group.add_argument(
        "--sheet",
        metavar="OUT",
        help="also write a picture of all stages; with --retrieve, of the photographs that were found",
    )
    add_quiet(group)


def _add_photos(group: Group) -> None:
    group.add_argument("--photos", metavar="FOLDER", help="folder of photographs, of which the most similar is used")
    group.add_argument("--photo", metavar="FILE", help="the photograph to use, in place of a folder")
    group.add_argument(
        "--pick", type=whole_number, default=1, metavar="K", help="use the K-th most similar photograph (default: 1)"
    )
    group.add_argument(
        "--retrieve",
        type=whole_number,
        metavar="K",
        help="only print the paths of the K most similar photographs, best first",
    )
    group.add_argument(
        "--index",
        metavar="FILE",
        help=f"file of the folder's index (default: FOLDER{SUFFIX}, beside the folder)",
    )


def _add_look(group: Group) -> None:
    group.add_argument("--line-art", action="store_true", help="SKETCH is a photograph; use its edges as the drawing")
    group.add_argument(
        "--ink",
        type=number,
        default=1.0,
        metavar="NUMBER",
        help="darkness of the lines, from 0 for none to 1 for black (default: 1)",
    )
    add_setting(group, "size", "longer side of the picture in pixels", SETTINGS)
    add_setting(group, "iterations", "number of steps of the style transfer", SETTINGS)
    add_setting(group, "style_weight", "strength of the photograph's texture; 1 gives almost flat colours", SETTINGS)


def sketch(given: argparse.Namespace, watch: Watch, fetch: Callable[[], None]) -> int:
    """Colour a sketch, or find photographs for it, according to a command line.

    Parameters
    ----------
    given : argparse.Namespace
    watch : Watch
    fetch : callable
        Downloads the network if necessary; called once the inputs have been checked.

    Returns
    -------
    int
        The exit status.

    Raises
    ------
    StylecoreError
        If an input cannot be used.
    """
    _check(given)
    drawing = read_drawing(given.sketch, line_art=given.line_art)
    if given.photo is not None:
        read_image(given.photo)
    fetch()
    photos = None if given.photos is None else _indexed(given, watch)
    if given.retrieve is not None and photos is not None:
        return _retrieve(given, drawing, photos)
    result = colour_sketch(
        drawing,
        photos=photos,
        photo=given.photo,
        pick=given.pick,
        callback=watch,
        progress=watch.bar,
        **sketch_settings(given),
    )
    sheet = None if given.sheet is None else result.sheet()
    result.save(given.output)
    if sheet is not None:
        write_image(given.sheet, sheet)
    source = given.photo or result.retrieved[result.chosen].path
    height, width = result.array.shape[:2]
    early = "stopped early, " * result.stopped
    print_result(f"{given.output}: {width} x {height} pixels, {early}coloured from {source}")
    return STOPPED if result.stopped else 0


def _check(given: argparse.Namespace) -> None:
    """Refuse options that do not fit together, and outputs that cannot be written or are inputs."""
    check_options(given.photos, given.photo, given.pick, given.ink)
    if given.retrieve is not None and (given.retrieve < 1 or given.photos is None):
        raise ParameterError("--retrieve must be one or more, and needs --photos, the folder to search.")
    if given.retrieve is None and given.output is None:
        raise ParameterError("give the picture to write with --output, or --retrieve to only list photographs.")
    if hasattr(given, "size") and given.size < 1:
        raise ParameterError(f"size is {given.size}; it must be one pixel or more.")
    outputs = [path for path in (given.output, given.sheet) if path is not None]
    inputs = [path for path in (given.sketch, given.photo, given.index) if path is not None]
    for output in outputs:
        check_output(output)
        if os.path.realpath(output) in map(os.path.realpath, inputs):
            raise ParameterError(f"{output} is one of the input files; choose another name for the output.")
    if len(set(map(os.path.realpath, outputs))) < len(outputs):
        raise ParameterError(f"{given.output} would be written twice; choose another name for the sheet.")


def _indexed(given: argparse.Namespace, watch: Watch) -> PhotoIndex:
    """The index of the folder, with a report of every hundredth photograph."""

    def report(done: int, total: int) -> None:
        if done % 100 == 0 or done == total:
            watch.say(f"{done} of {total} photographs indexed")

    photos = index(given.photos, file=given.index, callback=report)
    warn_unreadable(photos)
    return PhotoIndex(photos.folder, photos.names, photos.descriptors)


def _retrieve(given: argparse.Namespace, drawing: Drawing, photos: PhotoIndex) -> int:
    matches = retrieve(drawing, photos, given.retrieve)
    if given.sheet is not None:
        write_image(given.sheet, _retrieval_sheet(drawing, [read_image(match.path)[0] for match in matches]))
    for match in matches:
        print_result(match.path)
    return 0


def _retrieval_sheet(drawing: Drawing, photos: Sequence[np.ndarray]) -> np.ndarray:
    paper = np.repeat(1 - drawing.at(fit(drawing.ink.shape, SHEET_HEIGHT)).ink[..., None], 3, axis=2)
    labels = ["sketch", *(str(i) for i in range(1, len(photos) + 1))]
    return contact_sheet([paper, *photos], labels, SHEET_HEIGHT, columns=6)
