"""The command ``stylecore texture``: its options, and how it is run."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stylecore.cli import STOPPED
from stylecore.cli.arguments import add_command, add_quiet, add_setting, whole_number
from stylecore.cli.settings import picture_size
from stylecore.cli.terminal import Watch, print_result
from stylecore.errors import ParameterError
from stylecore.losses import STYLE_LOSSES
from stylecore.optimizers import OPTIMIZERS
from stylecore.pictures.writing import check_output
from stylecore.regions import read_styles
from stylecore.settings import Settings
from stylecore.textures import TEXTURE
from stylecore.textures import texture as make_texture

if TYPE_CHECKING:
    from stylecore.cli.arguments import Commands

_DEFAULTS = {**Settings.defaults(), **TEXTURE}

_SETTINGS = ("iterations", "seed", "style_scale", "style_loss", "tv_weight", "optimizer", "network", "device")


def add_texture(commands: Commands) -> None:
    """Add the command ``texture``.

    Parameters
    ----------
    commands : subparsers of argparse
    """
    parser = add_command(
        commands,
        "texture",
        "texture",
        "Make a texture of a painting: its colours and strokes, without any content.",
        usage="%(prog)s PAINTING [PAINTING ...] -o OUT [options]",
    )
    parser.add_argument(
        "style", metavar="PAINTING", nargs="+", help="picture whose texture is made; several are blended"
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help="picture to write: .png, .jpg, .webp or .tif. An existing file is overwritten",
    )
    parser.add_argument(
        "--size",
        type=picture_size,
        default=512,
        metavar="SIZE",
        help="side of a square in pixels, or width and height as in 640x480 (default: %(default)s)",
    )
    parser.add_argument(
        "--tileable", action="store_true", help="make a picture that repeats without seams; sizes are multiples of 16"
    )
    add_setting(parser, "iterations", "number of steps, at all sizes together", _DEFAULTS)
    add_setting(parser, "seed", "random seed; each gives another picture", _DEFAULTS, type=whole_number)
    add_setting(
        parser,
        "style_scale",
        "size of the strokes: the painting is scaled to this multiple of the texture's size, but never enlarged",
        _DEFAULTS,
    )
    add_setting(parser, "style_loss", "as in `stylecore transfer`", _DEFAULTS, choices=STYLE_LOSSES)
    add_setting(parser, "tv_weight", "strength of smoothing", _DEFAULTS)
    add_setting(parser, "optimizer", "as in `stylecore transfer`", _DEFAULTS, choices=OPTIMIZERS)
    add_setting(parser, "network", "network that compares the style, as in `stylecore transfer`", _DEFAULTS)
    add_setting(parser, "device", "as in `stylecore transfer`", _DEFAULTS)
    add_quiet(parser)


def texture(given: argparse.Namespace, watch: Watch, fetch: Callable[[Any], None]) -> int:
    """Make a texture according to a command line.

    Parameters
    ----------
    given : argparse.Namespace
    watch : Watch
    fetch : callable
        Downloads a network if necessary; called once the inputs have been checked.

    Returns
    -------
    int
        The exit status.

    Raises
    ------
    StylecoreError
        If an input cannot be used.
    """
    check_output(given.output)
    if os.path.realpath(given.output) in map(os.path.realpath, given.style):
        raise ParameterError(f"{given.output} is one of the input files; choose another name for the output.")
    read_styles(given.style)
    settings = {name: getattr(given, name) for name in _SETTINGS if hasattr(given, name)}
    fetch(settings.get("network", _DEFAULTS["network"]))
    result = make_texture(
        given.style, size=given.size, tileable=given.tileable, callback=watch, progress=watch.bar, **settings
    )
    result.save(given.output)
    height, width = result.array.shape[:2]
    early = ", stopped early" * result.stopped
    print_result(f"{given.output}: {width} x {height} pixels, {len(result.history)} steps{early}")
    return STOPPED if result.stopped else 0
