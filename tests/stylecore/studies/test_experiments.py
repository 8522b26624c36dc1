"""The paper's experiments at a small size: what it reports must come out."""

import json
import os

import numpy as np
import pytest

from stylecore import ParameterError, TooLargeError, cli
from stylecore.cli import commands
from stylecore.pictures.geometry import resize
from stylecore.pictures.reading import read_image
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.studies import experiments

pytestmark = pytest.mark.slow

NAMES = ["content-only", "dark-style", "style-layers", "style-weights"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiments") / "new" / "folder"
    with pytest.warns(UserWarning, match="one dark tone"):
        sheets = list(experiments.experiments(folder, PHOTOGRAPH, PAINTING, size=96, iterations=40))
    assert sorted(sheets) == [folder / f"{name}.png" for name in NAMES]
    return folder


def runs(folder, name):
    return {run["label"]: run for run in json.loads((folder / f"{name}.json").read_text())["runs"]}


def kept(run, kind):
    """What is left of the content image's distance from the style, by layer."""
    before, after = run["terms_of_content"], run["terms_of_result"]
    return {name[-7:]: after[name] / before[name] for name in before if name.startswith(kind)}


def test_files(folder):
    assert sorted(os.listdir(folder)) == sorted(f"{name}.{kind}" for name in NAMES for kind in ("json", "png"))
    for name, pictures in {"content-only": 3, "style-layers": 5, "style-weights": 5, "dark-style": 4}.items():
        sheet, _ = read_image(folder / f"{name}.png")
        assert sheet.shape[0] > 72 + 20 and sheet.shape[1] > pictures * 72
        for run in runs(folder, name).values():
            assert run["settings"]["iterations"] == len(run["losses"]["loss"]) == 40
            assert run["losses"]["loss"][-1] < 0.8 * run["losses"]["loss"][0]


@pytest.mark.vgg19
def test_content_comes_back_out_of_noise(folder):
    for layer, run in runs(folder, "content-only").items():
        losses = run["losses"][f"content:{layer}"]
        assert losses[-1] < 0.1 * losses[0]
        assert not any(name.startswith("style") for name in run["losses"])
    sheet, _ = read_image(folder / "content-only.png")
    content = resize(read_image(PHOTOGRAPH)[0], (72, 96))
    top = next(i for i in range(len(sheet)) if np.abs(sheet[i : i + 72, :96] - content).mean() < 0.01)
    early = sheet[top : top + 72, 97 : 97 + 96]
    assert np.corrcoef(early.ravel(), content.ravel())[0, 1] > 0.95


def test_the_first_layer_alone_moves_colour_and_not_texture(folder):
    layers = runs(folder, "style-layers")
    alone, all_four = (kept(layers[label], "style") for label in ("relu1_1", "relu1_1, 2_1, 3_1, 4_1"))
    assert alone["relu1_1"] < 0.05 and all_four["relu1_1"] < 0.05
    for layer in ("relu3_1", "relu4_1"):
        assert all_four[layer] < 0.3
        assert alone[layer] > 2 * all_four[layer]
    without_first = kept(layers["relu2_1, 3_1, 4_1"], "style")
    assert without_first["relu4_1"] < 0.3 and without_first["relu1_1"] > all_four["relu1_1"]


def test_content_loss_rises_and_style_loss_falls_with_the_style_weight(folder):
    weights = runs(folder, "style-weights")
    assert [run["settings"]["content_weight"] for run in weights.values()] == pytest.approx([1.4, 1.0, 0.8])
    assert [run["settings"]["style_weight"] for run in weights.values()] == pytest.approx([12, 20, 24])
    content = [run["terms_of_result"]["content:relu4_2"] for run in weights.values()]
    style = [np.mean(list(kept(run, "style").values())) for run in weights.values()]
    assert content[0] < content[1] < content[2]
    assert style[0] > style[1] > style[2]


@pytest.mark.vgg19
def test_a_lower_weight_saves_the_content_from_the_dark(folder):
    default, auto = runs(folder, "dark-style").values()
    assert default["settings"]["style_weight"] == 20 and 1 <= auto["settings"]["style_weight"] < 5
    assert auto["terms_of_result"]["content:relu4_2"] < 0.5 * default["terms_of_result"]["content:relu4_2"]


def test_balance():
    assert experiments.balance(0.5) == {"content_weight": 1.0, "style_weight": 20.0}
    assert experiments.balance(0) == {"content_weight": 2, "style_weight": 0}
    assert experiments.balance(1) == {"content_weight": 0, "style_weight": 40}


@pytest.mark.parametrize("shape", [(200, 300), (301, 97)])
def test_mostly_black(shape):
    light = experiments.mostly_black(np.ones((*shape, 3), np.float32), lit=0.2)
    assert light.mean() == pytest.approx(0.2, abs=0.01)
    assert light[shape[0] // 2, shape[1] // 2].min() == 1 and light[0].max() == light[:, 0].max() == 0


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiments, "EXPERIMENTS", experiments.EXPERIMENTS[:1])
    monkeypatch.setattr(commands, "EXPERIMENTS", experiments.EXPERIMENTS)
    arguments = ["--size", "50x48", "--iterations", "2", "--content", str(PAINTING), "--dark-style", str(PHOTOGRAPH)]
    assert cli.main(["experiments", "out", *arguments]) == 0
    told = capsys.readouterr()
    assert told.out == f"{os.path.join('out', 'content-only.png')}\n"
    assert "content-only, relu2_2:\n" in told.err and "content-only, relu4_2:\n" in told.err
    assert sorted(os.listdir("out")) == ["content-only.json", "content-only.png"]


def test_no_more_once_a_run_is_stopped(tmp_path):
    def watch(name):
        return {"callback": lambda evaluation, image: name.startswith("style-layers")}

    some = experiments.experiments(tmp_path, PHOTOGRAPH, PAINTING, size=48, iterations=2, watch=watch)
    assert [sheet.name for sheet in some] == ["content-only.png"]
    assert sorted(os.listdir(tmp_path)) == ["content-only.json", "content-only.png"]


def test_size_beyond_the_memory(tmp_path):
    with pytest.raises(TooLargeError, match="would fit"):
        next(experiments.experiments(tmp_path, PHOTOGRAPH, PAINTING, size=30_000))


def test_folder_that_cannot_be(tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(ParameterError, match=r"file cannot be created \(File exists\); choose another\.$"):
        next(experiments.experiments(tmp_path / "file", PHOTOGRAPH, PAINTING))
    assert cli.main(["experiments", str(tmp_path / "file" / "below"), "--size", "48"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
