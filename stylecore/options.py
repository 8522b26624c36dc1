"""What the command line understands: its commands and options, and what `--help` says of them."""

import argparse
import inspect
import re

from stylecore import weights
from stylecore.errors import ParameterError
from stylecore.messages import near_matches
from stylecore.network import POOLINGS
from stylecore.objective import DEVICES, DTYPES
from stylecore.optimizers import OPTIMIZERS
from stylecore.training.options import add_train
from stylecore.transfer import transfer
from stylecore.version import __version__

SETTINGS = {
    name: parameter.default
    for name, parameter in inspect.signature(transfer).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY and name not in ("callback", "progress")
}
"""The settings of `transfer` with their defaults; each is an option."""


def parse(arguments=None):
    """Parse a command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without, those of the process.

    Returns
    -------
    argparse.Namespace
        ``command`` is "transfer", "demo" or one such as "weights list"; the rest is as the command has it.

    Raises
    ------
    ParameterError
        If it cannot be understood.
    """
    options, unknown = _parser().parse_known_args(arguments)
    if unknown:
        _refuse(unknown, options.parser)
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
    _add_demo(commands)
    _add_weights(commands)
    _add_networks(commands)
    add_train(commands, _add_command, _add_setting, _add_quiet)
    return parser


def _add_command(commands, name, command, summary, **more):
    parser = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False, **more)
    parser.set_defaults(command=command, parser=parser)
    return parser


def _whole_number(text):
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number') from None


def _number(text):
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number') from None


def _add_setting(group, name, help, settings=SETTINGS, **more):
    """Add a setting of `transfer` as an option, with the type and the default that `transfer` has."""
    default = settings[name]
    if isinstance(default, float):
        more = {"type": _number, "metavar": "NUMBER", **more}
        shown = f"{default:g}"
    elif isinstance(default, int):
        more = {"type": _whole_number, "metavar": "NUMBER", **more}
        shown = default
    else:
        shown = default or "the network's own"
    option = "--" + name.replace("_", "-")
    group.add_argument(option, default=default, help=f"{help} (default: {shown})", **more)


def _add_quiet(group):
    group.add_argument("-q", "--quiet", action="store_true", help="show only the result, or an error")


def _add_transfer(commands):
    parser = _add_command(
        commands,
        "transfer",
        "transfer",
        "Make a picture that shows what CONTENT shows, painted as STYLE is painted.",
        usage="%(prog)s CONTENT STYLE -o OUT [options]",
        epilog="""Ctrl-C ends the work early and saves the picture reached so far. A picture's metadata tells the
        settings that it was made with.""",
    )
    _add_basic(parser.add_argument_group("basic"))
    _add_look(parser.add_argument_group("look"))
    _add_start(parser.add_argument_group("start and scales"))
    _add_network(
        parser.add_argument_group(
            "network and machine",
            """The pictures are compared by a network: a program that was trained to recognise things in photographs.
            It looks at a picture in layers, one after the other. The first (relu1_1) sees colours and grain, the next
            (relu2_1, relu3_1) see strokes and patterns, the last (relu4_1, relu5_1) large forms.""",
        )
    )


def _add_basic(group):
    group.add_argument("content", metavar="CONTENT", help="picture of what is to be seen, such as a photograph")
    group.add_argument("style", metavar="STYLE", help="picture that shows how to paint it, such as a painting")
    group.add_argument(
        "-o",
        "--output",
        metavar="OUT",
        required=True,
        help="""the picture to write; its ending tells the format: .png, .jpg, .webp, or .tif for 16 bits per
        colour. A file of that name is replaced""",
    )
    _add_setting(
        group,
        "size",
        """longer side of the picture. A larger picture has room for finer strokes; at twice the size, each step
        takes four times as long""",
        metavar="PIXELS",
    )
    _add_setting(
        group,
        "iterations",
        """steps of painting. With few, the photograph shows through; with more, the strokes take shape and settle;
        after some hundreds little changes""",
        metavar="STEPS",
    )
    _add_quiet(group)


def _add_look(group):
    _add_setting(
        group,
        "style_weight",
        """how much the painting takes over: 1 gives a touch of it, 20 a balance, 100 strokes that all but bury the
        photograph. Only its ratio to --content-weight counts""",
    )
    _add_setting(
        group,
        "content_weight",
        """how firmly the photograph's shapes are held; 0 lets go of them, and with --init noise the painting's
        texture alone fills the picture""",
    )
    _add_setting(
        group,
        "style_scale",
        """size of the strokes: the longer side of the painting is taken as this many times that of the picture, so 2
        gives broader strokes and 0.5 finer ones. The painting is never enlarged, so a small file limits it""",
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


def _add_start(group):
    _add_setting(
        group,
        "init",
        """what the canvas shows at the start: content, the photograph itself, whose shapes then last; noise, random
        specks, out of which each --seed grows another picture; or a file, such as an earlier result""",
        metavar="{content,noise,FILE}",
    )
    _add_setting(
        group,
        "seed",
        "which specks --init noise starts from; the same number gives the same picture again",
    )
    _add_setting(
        group,
        "pyramid",
        """how many sizes the picture is painted at, one after the other, each twice the one before. The small ones
        bring in large forms and sweeping strokes; 1 paints at full size only, where the style turns out finer""",
        metavar="SIZES",
    )
    _add_setting(
        group,
        "optimizer",
        """how the next step is found: lbfgs settles soon and cleanly; adam goes on in small, even steps, wants more
        of them, and takes less memory""",
        choices=OPTIMIZERS,
    )


def _add_network(group):
    _add_setting(
        group,
        "network",
        """which network compares: vgg19 paints best; vgg16 is a little quicker; alexnet is small and coarse, with
        layers relu1 to relu5; small comes with the program and needs no download. Or a file of weights that ends in
        .h5; see `stylecore weights --help` and `stylecore train --help`""",
        metavar="{" + ",".join([*weights.NAMES, "FILE"]) + "}",
    )
    _add_setting(
        group,
        "content_layers",
        """layers that hold the photograph: relu2_2 keeps every edge, relu4_2 the things that it shows, relu5_2 only
        roughly their places; none, if no name follows""",
        nargs="*",
        metavar="LAYER",
    )
    _add_setting(
        group,
        "style_layers",
        """layers that take up the painting: relu1_1 and relu2_1 alone its colours and grain, the later ones its
        strokes and swirls as well; none, if no name follows""",
        nargs="*",
        metavar="LAYER",
    )
    _add_setting(
        group,
        "layer_weights",
        """how much each layer has to say: relative lets all pull alike, so that sweeping strokes count as much as
        fine grain; paper takes the sums as they stand in the paper (Gatys et al. 2016), where fine grain outweighs
        the rest; or give every layer a number to multiply its sum with, as in relu4_2=1 relu1_1=0.5 relu2_1=2""",
        nargs="+",
        metavar="WEIGHT",
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
        "device",
        """what computes: cpu is the fast one, on all cores; reference is a slow, plain version that it is checked
        against, with the same look""",
        choices=DEVICES,
    )
    _add_setting(
        group,
        "dtype",
        """how many digits are computed with: float64 has twice as many as float32, takes about twice the time and
        memory, and gives the same look""",
        choices=DTYPES,
    )


def _add_demo(commands):
    parser = _add_command(
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
    _add_setting(parser, "size", "longer side of the picture", metavar="PIXELS")
    _add_setting(parser, "iterations", "steps of painting", metavar="STEPS")
    _add_quiet(parser)


def _add_networks(commands):
    parser = _add_command(
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
    _add_quiet(parser)


def _add_weights(commands):
    summary = "List, fetch and convert the networks that pictures are compared by."
    parser = commands.add_parser("weights", help=summary, description=summary, allow_abbrev=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_command(commands, "list", "weights list", "List the networks that can be fetched, and which are here.")

    fetch = _add_command(
        commands,
        "fetch",
        "weights fetch",
        "Fetch a network and keep it; `stylecore transfer` does so by itself when it first needs one.",
    )
    fetch.add_argument("network", metavar="NAME", help="one of: " + ", ".join(weights.CATALOGUE))
    fetch.add_argument("--force", action="store_true", help="fetch it anew even if it is here already")
    _add_quiet(fetch)

    convert = _add_command(
        commands,
        "convert",
        "weights convert",
        """Convert the weights of a network from another program's file: PyTorch, Keras, MatConvNet, Flax or NumPy
        pickle, .npz, safetensors.""",
    )
    convert.add_argument("file", metavar="FILE", help="the file to convert; its content tells its kind")
    convert.add_argument("--network", metavar="NAME", required=True, help="one of: " + ", ".join(weights.ARCHITECTURES))
    convert.add_argument("-o", "--output", metavar="OUT.h5", required=True, help="the file to write")
    convert.add_argument(
        "--preprocessing",
        metavar="NAME",
        help="how colours were given to it, where the file does not tell; one of: " + ", ".join(weights.PREPROCESSINGS),
    )

    info = _add_command(commands, "info", "weights info", "Tell what a file of weights holds.")
    info.add_argument("file", metavar="FILE.h5", help="a converted file, or the name of a fetched network")
