"""Pictures painted by neural neighbours, with random weights, and what the method refuses."""

import numpy as np
import pytest

from stylecore import ParameterError, TooLargeError, memory, transfer
from stylecore.cli import commands
from stylecore.kernels import cpu
from stylecore.neighbours import painting
from stylecore.neighbours.hypercolumns import LAYERS
from stylecore.network import Network
from stylecore.pictures.colour import is_grey
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.settings import Settings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network(weights_at_random):
    return Network(weights_at_random("vgg16"), cpu, layers=LAYERS)


def painted(network, **settings):
    return transfer(
        PHOTOGRAPH, PAINTING, method="neighbours", network=network, **{"size": 70, "iterations": 6, **settings}
    )


def test_a_picture(network):
    seen = []
    result = painted(network, callback=lambda evaluation, image: seen.append(image))
    assert result.array.shape == (52, 70, 3) and not result.stopped
    # One pass at half the size would be too small; the largest scale is painted twice.
    assert [evaluation.size for evaluation in result.history] == [(56, 72)] * 12
    losses = [evaluation.loss for evaluation in result.history]
    assert losses[5] < losses[0] and losses[11] < losses[6]
    assert all(image.shape == (52, 70, 3) and image.min() >= 0 and image.max() <= 1 for image in seen)
    assert result.settings["method"] == "neighbours"
    again = painted(network)
    np.testing.assert_array_equal(again.array, result.array)


def test_the_colours_are_the_paintings(network):
    red = np.random.default_rng(0).random((60, 80, 3)) * [0.2, 0.05, 0.05] + [0.7, 0.1, 0.1]
    picture = transfer(PHOTOGRAPH, red, method="neighbours", network=network, size=64, iterations=2).array
    np.testing.assert_allclose(picture.mean(axis=(0, 1)), red.mean(axis=(0, 1)), atol=0.02)
    grey = np.repeat(np.random.default_rng(1).random((60, 80, 1)), 3, axis=2)
    kept = transfer(grey, red, method="neighbours", network=network, size=64, iterations=2, colour="content")
    assert is_grey(kept.array)


def test_passes():
    assert [size for size, _ in painting._passes((384, 512), 200)] == [
        *((48, 64), (96, 128), (192, 256), (384, 512), (384, 512))
    ]
    assert painting._passes((40, 50), [3, 4]) == [((40, 50), 3), ((40, 50), 4)]
    with pytest.raises(ParameterError, match=r"iterations has 3 numbers; .* needs one number, or 2 for"):
        painting._passes((40, 50), [1, 2, 3])


def test_a_run_that_is_stopped_returns_the_picture_so_far(network):
    result = painted(network, callback=lambda evaluation, image: evaluation.number == 3)
    assert result.stopped and len(result.history) == 3 and result.array.shape == (52, 70, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regions": [("all", "all")]}, "has no regions"),
        ({"averaging": 0.9}, "has no averaging"),
        ({"checkpoint": "run.ckpt"}, "cannot be resumed; leave the checkpoint out"),
        ({"iterations": [1, 2, 3]}, "iterations has 3 numbers"),
    ],
)
def test_what_is_refused(settings, message, network, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError, match=message):
        painted(network, **settings)
    assert not list(tmp_path.iterdir())


def test_several_styles_are_refused(network):
    with pytest.raises(ParameterError, match="takes a single style image; choose one of the 2"):
        transfer(PHOTOGRAPH, [PAINTING, PAINTING], method="neighbours", network=network)


def test_a_network_that_does_not_suffice(tmp_path, capsys):
    output = tmp_path / "out.png"
    words = [PHOTOGRAPH, PAINTING, "-o", output, "--method", "neighbours", "--network", "small", "--size", "64"]
    assert commands.run(["transfer", *map(str, words)]) == 2
    assert 'choose network "vgg16" or "vgg19"' in capsys.readouterr().err
    assert not output.exists()


def test_pictures_that_are_too_large_are_refused(network, monkeypatch):
    needed = painting.predicted_bytes(network, (384, 512))
    monkeypatch.setattr(memory, "available", lambda: needed // 4)
    with pytest.raises(TooLargeError, match=r"512 x 384 pixels needs .* a size of 25[0-9] would fit"):
        painted(network, size=512)


def test_the_network_is_vgg16_unless_named():
    assert Settings.of({"method": "neighbours"}).network == "vgg16"
    assert Settings.of({"method": "neighbours", "network": "vgg19"}).network == "vgg19"
    assert Settings.of({}).network == "vgg19"
    with pytest.raises(ParameterError, match=r'method "neighbour" is not known .did you mean neighbours'):
        Settings.of({"method": "neighbour"})
