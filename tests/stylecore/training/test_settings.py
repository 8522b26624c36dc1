import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from stylecore.errors import ParameterError
from stylecore.training.architectures import AUTOENCODER, CNN
from stylecore.training.settings import AutoencoderSettings, ClassifierSettings
from stylecore.weights.architectures import Conv, Pool


def test_each_network_has_its_defaults():
    classifier, autoencoder = ClassifierSettings(), AutoencoderSettings()
    assert classifier.architecture == CNN and autoencoder.architecture == AUTOENCODER
    assert (classifier.optimizer, classifier.learning_rate, classifier.dropout) == ("sgd", 0.1, 0.1)
    assert (autoencoder.optimizer, autoencoder.learning_rate) == ("adam", 2e-3)
    assert ClassifierSettings.defaults() == vars(classifier)
    assert set(AutoencoderSettings.defaults()) == set(vars(classifier)) - {"dropout"}


def test_settings_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        ClassifierSettings().epochs = 3


def test_numbers_of_numpy_and_lists_become_plain():
    settings = ClassifierSettings(
        epochs=np.int64(3), learning_rate=np.float32(0.5), classes=["a", "b"], seed=np.uint8(1)
    )
    assert settings == ClassifierSettings(epochs=3, learning_rate=0.5, classes=("a", "b"), seed=1)
    json.dumps(settings.to_json())


@pytest.mark.parametrize("kind", [ClassifierSettings, AutoencoderSettings])
def test_json_gives_equal_settings(kind):
    settings = kind(
        architecture=(Conv("conv1", 3, 8), Pool("pool1")), classes=["cat", "dog"], learning_rate=0.3, seed=7
    )
    assert kind.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    assert kind.from_json(json.loads(json.dumps(kind().to_json()))) == kind()


@pytest.mark.parametrize("stored", [{"epochs": 3}, {"architecture": 3}, {"architecture": "vgg"}])
def test_json_of_something_else_is_refused(stored):
    with pytest.raises(ValueError):
        ClassifierSettings.from_json(stored)


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ParameterError, match=r'there is no setting "lerning_rate".*learning_rate'):
        ClassifierSettings.of({"lerning_rate": 0.1})
    with pytest.raises(ParameterError, match='there is no setting "dropout"'):
        AutoencoderSettings.of({"dropout": 0.1})
    assert ClassifierSettings.of({"epochs": 3}) == ClassifierSettings(epochs=3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch": 0}, "batch is 0; it must be an integer of at least 1"),
        ({"batch": True}, "batch is True"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"side": "64"}, "side is '64'"),
        ({"seed": -1}, "seed is -1; it must be an integer of at least 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; it must be a non-negative number"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"warm_up": float("inf")}, "warm_up is inf"),
        ({"held_out": 1}, "held_out is 1; it must be a number between 0 and 1"),
        ({"dropout": 1}, "dropout is 1; it must be a number from 0 to less than 1"),
        ({"optimizer": "sdg"}, 'optimizer "sdg" is unknown.*sgd'),
        ({"optimizer": ["sgd"]}, "is unknown"),
        ({"architecture": (Conv("a", 4, 8),)}, "a does not take the 3 channels of the layer before it"),
        ({"architecture": (Conv("a", 3, 8), Conv("a", 8, 8))}, "two layers have the same name"),
        ({"architecture": "vgg"}, "the architecture cannot be trained"),
        ({"architecture": None}, "the architecture cannot be trained"),
        ({"architecture": (Pool("pool1"),)}, "there is no convolution in it"),
        ({"classes": "cat"}, "classes is 'cat'; it must be a list"),
        ({"classes": ["cat", "cat"]}, "classes is cat, cat; a class must be named only once"),
    ],
)
def test_values_out_of_range_are_refused(wrong, message):
    with pytest.raises(ParameterError, match=message):
        ClassifierSettings.of(wrong)
