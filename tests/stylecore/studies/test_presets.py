import os

import numpy as np
import pytest

import stylecore
from stylecore import ParameterError, cli, transfer
from stylecore.cli import options
from stylecore.network import load_network
from stylecore.pictures.geometry import resize
from stylecore.pictures.reading import read_image, read_settings
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.settings import Settings
from stylecore.studies import presets

pytestmark = pytest.mark.slow

MINE = """
[mine]
description = "one of my own"
style_weight = 7
content_layers = ["relu2_2"]
style_layers = ["relu1_1", "relu2_1"]
layer_weights = {relu2_2 = 1, relu1_1 = 2, relu2_1 = 0.5}
pyramid = 1
size = 48
iterations = 2

[bold]
style_weight = 300
"""


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    """A folder of the user's configuration that is empty."""
    monkeypatch.setattr(presets, "user_file", lambda: tmp_path / "config" / "presets.toml")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "config"


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.toml").write_text(MINE)
    return tmp_path / "mine.toml"


@pytest.mark.parametrize("name", presets._read(presets._SHIPPED))
def test_each_of_the_packages_presets_can_be_used_and_is_described(name):
    look = presets.load_presets()[name]
    assert look.description and not look.description.endswith(".")
    quick = {"size": 48, "iterations": 1, "network": load_network("vgg19"), **look.settings}
    result = transfer(PHOTOGRAPH, PAINTING, **quick)
    assert result.settings | look.settings == result.settings
    assert look.settings and all(Settings.defaults()[key] != value for key, value in look.settings.items())


def test_own_presets_come_beside_and_before_the_packages(mine, config):
    assert stylecore.preset("mine", mine)["style_weight"] == 7
    assert stylecore.preset("bold", mine) == {"style_weight": 300}
    assert stylecore.preset("fine", mine) == stylecore.preset("fine")
    config.mkdir()
    mine.rename(config / "presets.toml")
    assert stylecore.preset("mine")["size"] == 48
    assert stylecore.preset("bold") == {"style_weight": 300}
    (config / "later.toml").write_text("[bold]\nstyle_weight = 400")
    assert stylecore.preset("bold", config / "later.toml") == {"style_weight": 400}


def test_command_line(mine, capsys):
    command = ["transfer", str(PHOTOGRAPH), str(PAINTING), "-o", "out.png", "--presets", "mine.toml", "-q"]
    assert cli.main([*command, "--preset", "mine", "--style-weight", "9", "--seed=3"]) == 0
    settings = read_settings("out.png")
    assert settings["layer_weights"] == {"relu2_2": 1, "relu1_1": 2, "relu2_1": 0.5}
    assert (settings["style_weight"], settings["seed"], settings["size"], settings["tv_weight"]) == (9, 3, 48, 20)
    assert settings["style_layers"] == ["relu1_1", "relu2_1"]


def test_options_override_even_by_the_defaults(mine):
    command = ["transfer", "a", "b", "-o", "out.png", "--presets", "mine.toml", "--preset", "mine"]
    given = options.parse([*command, "--style-weight", "20"])
    assert (given.style_weight, given.pyramid, given.size) == (20, 1, 48)


def test_list(mine, capsys):
    assert cli.main(["presets", "--presets", "mine.toml"]) == 0
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if " " in line.strip())
    assert told["mine"] == "one of my own" and "edges" in told["fine"]
    assert os.listdir() == ["mine.toml"]


def test_sheet(tmp_path, monkeypatch, capsys):
    (tmp_path / "two.toml").write_text("[red]\ntv_weight = 1\n[blue]\nsize = 64\nstyle_weight = 100")
    monkeypatch.setattr(presets, "_SHIPPED", tmp_path / "two.toml")
    assert cli.main(["presets", "--sheet", "sheet.png", "--size", "48", "--iterations", "2"]) == 0
    told = capsys.readouterr()
    assert told.out == "sheet.png\n"
    assert [line for line in told.err.splitlines() if line.endswith(":")] == ["the defaults:", "red:", "blue:"]
    sheet, _ = read_image("sheet.png")
    rows, columns = 48, 3 * 64  # as high as the highest, which a preset's own size makes
    assert rows < sheet.shape[0] < 1.6 * rows and columns < sheet.shape[1] < 1.1 * columns
    first = transfer(PHOTOGRAPH, PAINTING, size=48, iterations=2)
    shown = resize(sheet[:48, :64], first.array.shape)
    assert np.corrcoef(shown.ravel(), first.array.ravel())[0, 1] > 0.98


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[red", "is not valid TOML"),
        ("\udcff", "is not valid TOML"),
        ("style_weight = 3", '"style_weight" outside a preset'),
        ("[red]\nstyle_wieght = 3", r'"style_wieght" in \[red\], which is not a setting .did you mean style_weight'),
        ("[red]\ncallback = 3", r'"callback" in \[red\]'),
        (None, "cannot be read"),
    ],
)
def test_files_that_cannot_be_used(text, words, tmp_path, capsys):
    if text is not None:
        (tmp_path / "bad.toml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ParameterError, match=rf"bad\.toml .*{words}.*\.$"):
        presets.load_presets(tmp_path / "bad.toml")
    for command in (["presets"], ["transfer", "a", "b", "-o", "c.png", "--preset", "red"]):
        assert cli.main([*command, "--presets", "bad.toml"]) == 2
        error = capsys.readouterr().err
        assert error.startswith("stylecore: error: bad.toml ") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("value", "words"),
    [('style_weight = "much"', "much"), ("pyramid = 0", "pyramid is 0"), ('optimizer = "sgd"', "sgd"),
     ("size = true", "size is True"), ("layer_weights = 3", "layer_weights is"),
     ("layer_weights = [1, 2]", "layer_weights is"), ("content_layers = [1, 2]", "layer"),
     ("style_layers = 3", "style_layers"), ("iterations = [1.5]", "iterations is 1.5"),
     ('pyramid = ["a"]', "pyramid is 'a'"), ("style_loss = []", 'style_loss "[]" is not known'),
     ("init = [1]", "initial image is of type list"), ("network = {}", 'network "{}" is not known'),
     ('regions = [["all", "all"]]', '"regions" in [red], which is not a setting')],
)  # fmt: skip
def test_values_that_cannot_be(value, words, tmp_path, capsys):
    (tmp_path / "bad.toml").write_text(f"[red]\n{value}")
    command = ["transfer", str(PHOTOGRAPH), str(PAINTING), "-o", "out.png", "--presets", "bad.toml"]
    assert cli.main([*command, "--preset", "red"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("stylecore: error: ") and words in error and error.count("\n") == 1
    assert os.listdir() == ["bad.toml"]


def test_file_without_a_name(mine, capsys):
    assert cli.main(["transfer", "a", "b", "-o", "c.png", "--presets", "mine.toml"]) == 2
    assert "--presets needs --preset" in capsys.readouterr().err
    assert cli.main(["transfer", "a", "b", "-o", "c.png", "--preset", ""]) == 2
    assert 'preset "" is not known' in capsys.readouterr().err


def test_unknown_name():
    with pytest.raises(ParameterError, match='preset "boldd" is not known; near it are bold'):
        stylecore.preset("boldd")
