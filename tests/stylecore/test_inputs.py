"""The images of a transfer: read once, with their transparency, and in grey where all are."""

import io
import os
import threading

import numpy as np
import pytest
from PIL import Image

from stylecore import ImageError, Objective, ParameterError, transfer
from stylecore.inputs import read_inputs
from stylecore.network import load_network
from stylecore.regions import read_styles
from stylecore.settings import Settings

TINY = {"network": "small", "size": 48, "iterations": 3, "pyramid": 1}


def colours(seed, shape=(36, 48)):
    return np.random.default_rng(seed).random((*shape, 3)).astype(np.float32)


def png(array):
    stream = io.BytesIO()
    Image.fromarray(np.uint8(255 * array)).save(stream, "PNG")
    stream.seek(0)
    return stream


def test_streams_are_read_once_and_can_be_read_again_from_the_sources():
    inputs = read_inputs(png(colours(0)), [png(colours(1))], Settings(**TINY))
    assert inputs.names == {"content": "-", "style": ["-"]}
    again = read_inputs(inputs.sources["content"], inputs.sources["style"], Settings(**TINY))
    np.testing.assert_array_equal(again.content, inputs.content)
    np.testing.assert_array_equal(again.styles[0], inputs.styles[0])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_a_pipe_is_opened_once(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = png(colours(0)).getvalue()
    writer = threading.Thread(target=lambda: pipe.write_bytes(data))
    writer.start()
    result = transfer(pipe, colours(1), **TINY)
    writer.join(10)
    expected = transfer(png(colours(0)), colours(1), **TINY)
    np.testing.assert_array_equal(result.array, expected.array)


# Transparency


def disc(hidden):
    """A white disc, with a colour hidden under the transparent rest."""
    y, x = np.mgrid[:64, :64] - 31.5
    alpha = (np.hypot(x, y) < 24).astype(np.float32)
    return np.dstack([np.where(alpha[:, :, None] > 0, 1, hidden) * np.ones(3), alpha]).astype(np.float32)


@pytest.mark.parametrize("pyramid", [1, 3])
def test_hidden_colours_do_not_show_at_the_rim(pyramid):
    weights = {"content_weight": 0, "style_weight": 0, "tv_weight": 0}
    result = transfer(disc(0.0), colours(1), **{**TINY, "size": 40, "pyramid": pyramid, "iterations": 3}, **weights)
    assert result.array[result.alpha > 0.02].min() > 0.998


def test_only_what_is_visible_of_a_style_counts():
    content, style = colours(0), colours(1, (64, 64))
    alpha = np.zeros((64, 64), np.float32)
    alpha[:, :32] = 1
    black, white = (np.dstack([np.where(alpha[:, :, None] > 0, style, hidden), alpha]) for hidden in (0.0, 1.0))
    losses = [Objective(content, picture, network="small")(content)[0] for picture in (black, white)]
    assert losses[0] == losses[1]
    half = Objective(content, style[:, :32], network="small")(content)[0]
    whole = Objective(content, black[:, :, :3], network="small")(content)[0]
    assert abs(losses[0] - half) < 0.3 * abs(whole - half)


def test_hidden_colours_of_a_style_are_those_of_the_nearest_visible_pixel():
    (filled,), (alpha,) = read_styles(disc(0.0))
    assert filled.min() == 1 and 0 < alpha.mean() < 1


def test_a_style_that_is_fully_transparent():
    with pytest.raises(ImageError, match="style image 2 is fully transparent"):
        read_styles([colours(0), np.zeros((8, 8, 4))])


def test_a_region_in_a_transparent_part():
    style, outside = disc(0.0), np.zeros((64, 64))
    outside[:4, :4] = 1
    with pytest.raises(ParameterError, match="region 1 lies in a transparent part of the style image"):
        transfer(colours(0), style, regions=[("all", outside)], **TINY)


# Grey


@pytest.mark.parametrize("init", ["content", "noise"])
@pytest.mark.parametrize("optimizer", ["lbfgsb", "lbfgs", "adam"])
def test_grey_by_grey_is_grey(init, optimizer):
    content, style = (np.repeat(colours(seed)[:, :, :1], 3, axis=2) for seed in (0, 1))
    result = transfer(content, style, **{**TINY, "iterations": 6}, init=init, optimizer=optimizer)
    assert np.ptp(result.array, axis=2).max() == 0
    assert result.history[-1].loss < result.history[0].loss


def test_one_picture_in_colour_makes_a_picture_in_colour():
    grey = np.repeat(colours(0)[:, :, :1], 3, axis=2)
    assert np.ptp(transfer(grey, colours(1), **{**TINY, "iterations": 6}).array, axis=2).max() > 0.01


def test_the_gradient_for_grey_images_against_finite_differences():
    grey, style = (np.repeat(colours(seed)[:, :, :1], 3, axis=2).astype(np.float64) for seed in (0, 1))
    settings = Settings(**TINY, device="reference").with_layers()
    inputs = read_inputs(grey, style, settings)
    network = load_network("small", "reference", layers=settings.layers)
    objective = Objective.of_arrays(inputs.seen, inputs.styles, inputs.regions, network, settings, grey=True)
    x, step = np.repeat(np.random.default_rng(2).random((36, 48, 1)), 3, axis=2), np.zeros((36, 48, 3))
    step[10, 20] = 1e-6
    _, gradient = objective(x)
    numeric = (objective(x + step)[0] - objective(x - step)[0]) / 2e-6
    assert gradient[10, 20].sum() == pytest.approx(numeric, rel=1e-5) and np.ptp(gradient, axis=2).max() == 0
