import inspect
import json
import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import numpy as np
import pytest

from stylecore import ParameterError, transfer
from stylecore.settings import ObjectiveSettings, Settings, describe, without_folders


def test_settings_are_frozen_and_checked_once():
    settings = Settings(style_weight=3, style_blend=(1, 2))
    with pytest.raises(FrozenInstanceError):
        settings.style_weight = 4
    assert settings.style_weight == 3.0 and settings.style_blend == [1.0, 2.0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"style_wieght": 3}, r'there is no setting "style_wieght" \(did you mean style_weight'),
        ({"callback": print}, 'there is no setting "callback"'),
        ({"optimizer": "scipy"}, 'optimizer "scipy" is not known'),
        ({"optimizer": ["adam"]}, "is not known"),
        ({"style_loss": {}}, "is not known"),
        ({"seed": -1}, "seed is -1; it must be a whole number of zero or more"),
        ({"iterations": 2**64}, "it must be at most"),
        ({"iterations": np.array([3, 0])}, "iterations is 0"),
        ({"style_weight": "auto "}, "style_weight is 'auto '"),
        ({"tv_weight": "auto"}, "tv_weight is 'auto'"),
        ({"tv_weight": True}, "tv_weight is True"),
        ({"style_blend": [0, 0]}, "all zero"),
        ({"metadata": "names"}, 'there is no setting "metadata"'),
    ],
)
def test_what_is_refused(given, words):
    with pytest.raises(ParameterError, match=words):
        Settings.of(given)


def test_settings_of_a_transfer_are_none_of_an_objective():
    with pytest.raises(ParameterError, match='no setting "size"'):
        ObjectiveSettings.of({"size": 64})


def test_settings_survive_json():
    settings = Settings(
        style_layers={"relu1_1": 0.5, "relu2_1": 1},
        content_layers=["relu2_2"],
        layer_weights={"relu1_1": 1, "relu2_1": 2, "relu2_2": 3},
        style_blend=[1, 3],
        iterations=[3, 4],
        pyramid=(100, 200),
        size="640x480",
        seed=np.int64(7),
        network=Path("folder/my.h5"),
        optimizer="adam",
    )
    stored = json.loads(json.dumps(settings.to_json()))
    again = Settings.from_json(stored)
    assert again.to_json() == stored
    assert again.content_layers == {"relu2_2": 1.0} and again.style_layers == {"relu1_1": 0.5, "relu2_1": 1.0}
    assert stored["network"] == str(Path("folder/my.h5")) and stored["seed"] == 7


def test_records_of_earlier_versions_are_read():
    stored = {"stylecore": "0.1.0", "content": "a.jpg", "style": "b.jpg", "optimizer": "scipy", "size": 300}
    settings = Settings.from_json(stored)
    assert (settings.optimizer, settings.size, settings.style_weight) == ("lbfgsb", 300, 20.0)


def test_default_layers_are_those_of_the_network():
    settings = Settings(network="small", style_layers=["relu1_1"]).with_layers()
    assert settings.content_layers == {"relu2_2": 1.0} and settings.style_layers == {"relu1_1": 1.0}
    assert settings.layers == ["relu1_1", "relu2_2"]


def test_content_detail_chooses_the_default_content_layers():
    assert Settings(content_detail="edges").with_layers().content_layers == {"relu2_1": 1.0}
    given = Settings(content_detail="edges", content_layers=["relu4_1"]).with_layers()
    assert given.content_layers == {"relu4_1": 1.0}
    with pytest.raises(ParameterError, match='content_detail "windows" is not known'):
        Settings(content_detail="windows")


def test_keywords_that_give_equal_settings():
    settings = Settings(style_layers={"relu1_1": 2}, content_layers=["relu2_2"], tv_weight=1)
    assert settings.as_given()["content_layers"] == ["relu2_2"]
    assert Settings.of(settings.as_given()) == settings


def test_help_shows_every_setting():
    parameters = inspect.signature(transfer).parameters
    for field in fields(Settings):
        assert parameters[field.name].default == field.default
    assert parameters["optimizer"].default == "lbfgsb"


def test_a_record_names_what_is_no_file():
    record = describe(np.zeros((2, 2, 3)), ["a.jpg", Path("b.jpg")], Settings(init=np.zeros((2, 2, 3))))
    assert (record["content"], record["style"], record["init"]) == ("a ndarray", ["a.jpg", "b.jpg"], "a ndarray")
    assert json.loads(json.dumps(record)) == record
    assert without_folders(record)["content"] == "a ndarray"


@pytest.mark.parametrize(
    ("given", "side"),
    [
        ({}, 250),
        ({"style_scale": 2}, 500),
        ({"style_pyramid": "full"}, 1000),
        ({"stroke": 400}, 100),
        ({"stroke": "254mm", "dpi": 100}, 250),
        ({"stroke": 400, "style_pyramid": "full"}, 400),
    ],
)
def test_longer_side_of_the_style_images(given, side):
    assert Settings(**given).style_side(250, 1000) == pytest.approx(side)


@pytest.mark.parametrize(
    ("growth", "side", "final", "share"),
    [
        (1, 128, 512, 0.25),
        (1, 512, 512, 1),
        (2, 128, 512, 0.0625),
        (0, 128, 512, 1),
        (1, 384, 6000, 0.25),
        (1, 3000, 6000, 1),
    ],
)
def test_share_of_the_style_at_a_scale(growth, side, final, share):
    assert Settings(style_growth=growth).style_share(side, final) == pytest.approx(share)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stroke": 0}, "stroke is 0; it must be a number above zero"),
        ({"stroke": "wide"}, "stroke is 'wide'; it must be"),
        ({"stroke": "xmm", "dpi": 300}, "stroke is 'xmm'"),
        ({"stroke": "30mm"}, "give dpi"),
        ({"stroke": 300, "style_scale": 2}, "give only one of them"),
        ({"dpi": -1}, "dpi is -1"),
        ({"dpi": "high"}, "dpi is 'high'"),
        ({"pyramid": "print"}, "pyramid is 'print'"),
    ],
)
def test_settings_of_a_print(given, words):
    with pytest.raises(ParameterError, match=re.escape(words)):
        Settings(**given)
