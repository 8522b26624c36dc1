"""Whole trainings of small painters, on pictures that are made here."""

import inspect
import shutil

import numpy as np
import pytest

import stylecore
from stylecore import memory
from stylecore.errors import DataError, ParameterError, TooLargeError, TrainingError, WeightsError
from stylecore.painter import training as module
from stylecore.painter.files import read
from stylecore.weights import load

from .conftest import TABLE

pytestmark = pytest.mark.slow

SETTINGS = {
    "architecture": TABLE,
    "network": "small",
    "content_layers": ["relu2_1"],
    "style_layers": ["relu1_1", "relu2_1"],
    "crop": 16,
    "style_size": 32,
    "batch": 3,
    "held_out": 0.2,
    "learning_rate": 3e-3,
    "steps": 24,
    "warm_up": 2,
}


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch):
    monkeypatch.setattr(module, "ROUND", 8)
    monkeypatch.setitem(module.WHEN_ADDED, "steps", 8)


def train(pictures, output, **settings):
    add = {"architecture": settings.pop("architecture")} if "architecture" in settings else {}
    styles = settings.pop("styles", [pictures / "stripes.png", pictures / "noise.png"])
    given = {**SETTINGS, **add, **settings}
    if "add" in settings:
        given = {name: value for name, value in given.items() if name not in {"architecture", *module.WHEN_ADDED}}
    return stylecore.train_styles(pictures / "photographs", styles, output, **given)


@pytest.fixture(scope="module")
def trained(pictures, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROUND", 8)
        output = tmp_path_factory.mktemp("trained") / "painter.h5"
        return train(pictures, output), output


def test_a_painter_learns_and_its_file_paints(trained, pictures):
    done, output = trained
    assert [epoch["epoch"] for epoch in done.history] == [1, 2, 3]
    assert done.history[-1]["test loss"] < 0.9 * done.history[0]["loss"]
    painter = stylecore.Painter(output)
    assert painter.styles == ("stripes", "noise")
    assert f"to a test loss of {done.history[-1]['test loss']:.4f}" in painter.weights.source
    photograph = next((pictures / "photographs" / "even").iterdir())
    striped, noisy = (np.asarray(painter.paint(photograph, style)).astype(int) for style in painter.styles)
    assert np.abs(striped - noisy).max() > 10
    assert {file.name for file in output.parent.iterdir()} == {"painter.h5", "painter.csv", "painter.samples.png"}


def test_a_resumed_training_makes_the_same_painter(trained, pictures, tmp_path):
    done, _ = trained
    output = tmp_path / "painter.h5"

    def stop(epoch):
        if epoch["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(pictures, output, callback=stop)
    with pytest.raises(ParameterError, match=r"unfinished training; resume it"):
        train(pictures, output)
    with pytest.raises(ParameterError, match=r"style_weight 10\.0 and not 5\.0"):
        train(pictures, output, resume=True, style_weight=5.0)
    with pytest.raises(ParameterError, match="other data"):
        train(pictures, output, resume=True, names=["a", "b"])
    resumed = train(pictures, output, resume=True)
    for key, array in done.weights.arrays.items():
        np.testing.assert_array_equal(resumed.weights.arrays[key], array)


def test_an_added_style_leaves_the_others_as_they_are(trained, pictures, tmp_path):
    done, output = trained
    added = train(pictures, tmp_path / "more.h5", styles=[pictures / "noise.png"], names=["grain"], add=output)
    assert len(added.history) == 1 and '"learning_rate": 0.03' in added.weights.source
    assert added.weights.styles == ("stripes", "noise", "grain")
    for (stage, name), array in done.weights.arrays.items():
        stored = added.weights.arrays[stage, name]
        np.testing.assert_array_equal(stored if name == "filters" else stored[:2], array)
        assert name == "filters" or np.abs(stored[2] - array.mean(axis=0)).max() > 0
    assert read(tmp_path / "more.h5").styles == added.weights.styles


def test_a_loss_that_is_no_longer_finite_keeps_the_checkpoint(pictures, tmp_path):
    with pytest.raises(
        TrainingError, match=r"no longer finite at step 2, and nothing was written; reduce learning_rate"
    ):
        train(pictures, tmp_path / "painter.h5", learning_rate=1e38, warm_up=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"styles": []}, ParameterError, "no style images"),
        ({"names": ["a"]}, ParameterError, "1 names are given for 2"),
        ({"names": ["a", "a"]}, ParameterError, "two styles have the name a"),
        ({"names": ["a=1", "b"]}, ParameterError, "cannot be the name of a style"),
        ({"crop": 18}, ParameterError, "crop is 18; it must be a multiple of 4"),
        ({"crop": 128}, DataError, "too small"),
        ({"batch": 9}, ParameterError, "batch is 9, but there are only 8 photographs"),
        ({"style_layers": ["relu9_1"]}, ParameterError, 'no layer "relu9_1"'),
        ({"content_layers": []}, ParameterError, "content_layers is empty"),
        ({"stile_weight": 1}, ParameterError, 'no setting "stile_weight".*style_weight'),
        ({"warm_up": 24}, ParameterError, "less than steps"),
        ({"learning_rate": -1}, ParameterError, "learning_rate is -1"),
        ({"held_out": 1.0}, ParameterError, "held_out"),
        ({"styles": ["missing.png"]}, stylecore.ImageError, "missing.png"),
        ({"add": "missing.h5"}, WeightsError, "missing.h5"),
        ({"architecture": TABLE[:3]}, ParameterError, "architecture cannot be trained"),
    ],
)
def test_what_cannot_be_trained_is_refused(pictures, tmp_path, settings, error, message):
    with pytest.raises(error, match=message):
        train(pictures, tmp_path / "painter.h5", **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_batch_that_does_not_fit_into_memory_is_refused(pictures, tmp_path, monkeypatch):
    free = memory.available()
    monkeypatch.setattr(memory, "available", lambda: free if inspect.stack()[1].function != "check_memory" else 10**6)
    with pytest.raises(TooLargeError, match=r"batches of 3 pictures of 16 x 16 pixels needs .*; reduce batch"):
        train(pictures, tmp_path / "painter.h5")
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_is_an_input_is_refused(pictures, tmp_path):
    with pytest.raises(ParameterError, match=r"must end in \.h5"):
        train(pictures, tmp_path / "painter.png")
    with pytest.raises(ParameterError, match="in the folder of the photographs"):
        train(pictures, pictures / "photographs" / "even" / "painter.h5")
    with pytest.raises(ParameterError, match=r"painter\.samples\.png belongs to the data"):
        shutil.copy(pictures / "noise.png", tmp_path / "painter.samples.png")
        train(pictures, tmp_path / "painter.h5", styles=[tmp_path / "painter.samples.png"])
    with pytest.raises(DataError, match="does not exist"):
        stylecore.train_styles(tmp_path / "none", [pictures / "noise.png"], tmp_path / "painter.h5")
    assert load("small") is not None
