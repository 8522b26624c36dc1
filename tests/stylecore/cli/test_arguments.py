import argparse

import pytest

from stylecore.cli.arguments import add_command, add_quiet, add_setting

SETTINGS = {"learning_rate": 0.1, "epochs": 12, "network": "vgg19", "layers": None}


@pytest.fixture
def parser():
    return argparse.ArgumentParser(exit_on_error=False)


def test_a_setting_has_the_type_of_its_default(parser):
    for name in SETTINGS:
        add_setting(parser, name, f"the {name}", SETTINGS)
    assert vars(parser.parse_args([])) == {}  # Only what is given is there.
    given = parser.parse_args(["--learning-rate", "1e-3", "--epochs", "3", "--network", "3"])
    assert (given.learning_rate, given.epochs, given.network) == (0.001, 3, "3")
    shown = " ".join(parser.format_help().split())
    assert "--learning-rate NUMBER the learning_rate (default: 0.1)" in shown
    assert "(default: 12)" in shown and "(default: vgg19)" in shown and "(default: the network's own)" in shown


def test_another_default_and_type_can_be_given(parser):
    add_setting(parser, "epochs", "the epochs", SETTINGS, default=3, type=float)
    assert parser.parse_args([]).epochs == 3 and parser.parse_args(["--epochs", "0.5"]).epochs == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "1.5"], '"1.5" is not a whole number'),
        (["--epochs", "many"], '"many" is not a whole number'),
        (["--learning-rate", "fast"], '"fast" is not a number'),
    ],
)
def test_values_of_another_type_are_refused(parser, arguments, message):
    for name in ("epochs", "learning_rate"):
        add_setting(parser, name, name, SETTINGS)
    with pytest.raises(argparse.ArgumentError, match=message):
        parser.parse_args(arguments)


def test_a_command_is_returned_by_all_of_its_words(parser):
    commands = parser.add_subparsers()
    command = add_command(commands, "cnn", "train cnn", "Train.")
    add_quiet(command)
    given = parser.parse_args(["cnn", "-q"])
    assert given.command == "train cnn" and given.parser is command and given.quiet
