import shlex

import pytest

from stylecore.cli import options
from stylecore.cli.settings import given_settings
from stylecore.errors import ParameterError
from stylecore.settings import Settings
from stylecore.studies.presets import load_presets
from stylecore.web import dials


def test_every_setting_has_a_dial_but_those_with_controls_of_their_own():
    assert set(dials.dials()) == set(Settings.defaults()) - {"style_blend", "regions", "labels", "method"}
    assert tuple(dials.dials())[: len(dials.MAIN)] == dials.MAIN


def test_dials_are_described_as_by_help():
    dial = dials.dials()["style_weight"]
    assert dial.option == "--style-weight" and dial.default == "20" and dial.choices == ["auto"]
    assert dial.help.startswith("strength of the painting: 1 gives a hint of it")
    assert "default:" not in dial.help


def test_files_cannot_be_chosen():
    assert dials.dials()["network"].choices == ["vgg19", "vgg16", "alexnet", "small"]
    assert dials.dials()["init"].choices == ["content", "noise", "painter"]
    for name in ("network", "init"):
        with pytest.raises(ParameterError, match="is not known"):
            dials.checked({name: "/etc/passwd"})


def test_only_optimizers_that_can_be_resumed_are_offered():
    assert dials.dials()["optimizer"].choices == ["lbfgs", "adam"]
    assert dials.checked({}) == {"optimizer": "lbfgs"}


@pytest.mark.parametrize("name", list(load_presets()))
def test_the_words_of_a_preset_give_its_settings(name):
    given = dials.checked(dials.looks()[name]["given"])
    expected = Settings.of({**load_presets()[name].settings, "optimizer": "lbfgs"})
    assert Settings.of(dials.settings(given)) == expected


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"siz": "512"}, "did you mean size"),
        ({"style_weight": "-3"}, "style_weight is -3"),
        ({"style_layers": "relu1_1 --presets=/etc/passwd"}, "may start with a hyphen"),
        ({"pyramid": "1 --output=x"}, "may start with a hyphen"),
        ({"size": "5" * 201}, "at most 200 characters"),
        ({"size": 512}, "must be text"),
        ({"pooling": "min"}, "choose from max, average"),
        ([], "not an object"),
    ],
)
def test_words_that_are_refused(given, words):
    with pytest.raises(ParameterError, match=words):
        dials.settings(dials.checked(given))


def test_the_commands_make_the_same_settings():
    given = dials.checked({"size": "96", "style_layers": "relu1_1=0.5 relu2_1", "pyramid": "48 64"})
    regions = [["region-1.png", "all", "none"], ["rest", "none", "all"]]
    made = dials.commands("my photo.png", ["-a.png", "b.png"], given, [3.0, 1.0], regions, "start.png")
    words = shlex.split(made["shell"])
    parsed = options.parse(words[1:])
    assert (parsed.content, parsed.style) == ("my photo.png", ["./-a.png", "b.png"])
    expected = {
        "size": 96,
        "style_layers": {"relu1_1": 0.5, "relu2_1": 1.0},
        "pyramid": [48, 64],
        "optimizer": "lbfgs",
        "style_blend": [3.0, 1.0],
        "regions": regions,
        "init": "start.png",
    }
    assert {name: value for name, value in given_settings(parsed).items() if value is not None} == expected
    called = {}
    library = type("stylecore", (), {"transfer": lambda *pictures, **named: called.update(named, pictures=pictures)})
    exec(made["python"].replace("import stylecore", "").rpartition("result.save")[0], {"stylecore": library})
    assert called == {**expected, "pictures": ("my photo.png", ["-a.png", "b.png"])}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\photo.png", "photo.png"),
        ("a\x00\nb<script>.png", "abscript.png"),
        ("..", "picture"),
        ("", "picture"),
        ("a" * 300 + ".png", "a" * 76 + ".png"),
        ("Grüße.png", "Grüße.png"),
    ],
)
def test_names_of_files(name, shown):
    assert dials.file_name(name, "picture") == shown
