"""Whole transfers, at the smallest sizes that show what is to be shown."""

import json
import math
import os
import re
import subprocess
import sys
import tracemalloc
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stylecore import Objective, ParameterError, StylecoreError, TooLargeError, __version__, memory, transfer
from stylecore.budget import predicted_bytes
from stylecore.kernels import cpu
from stylecore.network import CONTENT_LAYERS, STYLE_LAYERS, load_network
from stylecore.pictures.colour import grey
from stylecore.pictures.geometry import resize
from stylecore.pictures.reading import read_image, read_settings
from stylecore.samples import PAINTING, PHOTOGRAPH
from stylecore.schedule import COARSEST, PRINT, schedule, style_shape
from stylecore.settings import without_folders

network = cache(load_network)
picture = cache(lambda path, size: resize(read_image(path)[0], (size * 3 // 4, size)))
LAYERS = {"content_layers": ["relu2_2"], "style_layers": ["relu1_1", "relu2_1"]}


def shallow(content=None, style=None, **settings):
    """A transfer of the sample pictures through the first layers, which takes a fraction of a second."""
    settings = {"size": 64, "iterations": 6, "network": network("vgg19"), **LAYERS, **settings}
    return transfer(
        picture(PHOTOGRAPH, 96) if content is None else content,
        picture(PAINTING, 96) if style is None else style,
        **settings,
    )


def losses(result):
    return [evaluation.loss for evaluation in result.history]


def refused(error, words):
    """Expect an error of one sentence with these words in it."""
    return pytest.raises(error, match=rf"^(?!.*\.\s)(?!.*\n).*{words}.*\.$")


# The loss


@pytest.mark.parametrize("optimizer", ["lbfgsb", "lbfgs", "adam"])
@pytest.mark.parametrize(("init", "seed"), [("content", 0), ("noise", 0), ("noise", 1), ("noise", 2)])
def test_loss_falls(init, seed, optimizer):
    layers = {"content_layers": ["relu3_2"], "style_layers": ["relu1_1", "relu2_1", "relu3_1"]}
    check_loss_falls(layers, init=init, seed=seed, optimizer=optimizer, iterations=15)


def test_loss_falls_through_the_whole_network():
    layers = {"content_layers": CONTENT_LAYERS, "style_layers": STYLE_LAYERS}
    check_loss_falls(layers, init="noise", iterations=10)


def check_loss_falls(layers, **settings):
    content, style = picture(PHOTOGRAPH, 48), picture(PAINTING, 48)
    result = shallow(content, style, size=48, pyramid=1, **layers, **settings)
    assert min(losses(result)) < 0.6 * losses(result)[0]
    assert losses(result)[-1] < losses(result)[0]
    # The picture is the best of all that were tried.
    loss, _ = Objective(content, style, network=network("vgg19"), **layers)(result.array)
    assert loss == pytest.approx(min(losses(result)), rel=1e-4)
    assert result.array.min() >= 0 and result.array.max() <= 1


@pytest.mark.parametrize("optimizer", ["lbfgsb", "lbfgs", "adam"])
@pytest.mark.parametrize("iterations", [1, 2, 5, 9])
def test_iterations_are_never_exceeded(optimizer, iterations, monkeypatch):
    evaluate, calls = Objective.evaluate, []
    monkeypatch.setattr(Objective, "evaluate", lambda self, x: calls.append(x.shape) or evaluate(self, x))
    result = shallow(optimizer=optimizer, iterations=iterations, pyramid=3)
    assert len(calls) == len(result.history) == iterations
    assert calls[-1] == result.array.shape == (48, 64, 3)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
@pytest.mark.parametrize("weight", [1e25, 1e60, 1.7e308])
def test_weights_beyond_the_range_of_numbers(weight):
    with refused(StylecoreError, "too large or not a number at evaluation 1; lower the weights"):
        shallow(style_weight=weight)


# The same again

REPEATS = """
import hashlib
import numba, numpy as np
from threadpoolctl import threadpool_limits
from stylecore import transfer

def digest(optimizer, network, layers):
    rng = np.random.default_rng(0)
    content, style = rng.random((72, 96, 3)), rng.random((100, 90, 3))
    result = transfer(content, style, size=96, iterations=6, pyramid=2, init="noise", seed=7, optimizer=optimizer,
                      network=network, content_layers=layers[-1:], style_layers=layers, tv_weight=1.0)
    bits = result.array.tobytes() + repr([evaluation.loss for evaluation in result.history]).encode()
    return hashlib.sha256(bits).hexdigest()

def guided_digest():
    rng = np.random.default_rng(0)
    content, style, mask = rng.random((72, 96, 3)), rng.random((100, 90, 3)), rng.random((72, 96))
    result = transfer(content, [style, content], regions=[(mask, "all", "none"), ("rest", "all", "all")], size=96,
                      style_loss="wasserstein", iterations=4, pyramid=1, optimizer="adam", content_layers=["relu2_2"],
                      style_layers=["relu1_1", "relu2_1"])
    return hashlib.sha256(result.array.tobytes()).hexdigest()

for threads, blas in ((1, 1), (2, 3), (3, 1), (4, 2)):
    numba.set_num_threads(threads)
    with threadpool_limits(blas, user_api="blas"):
        print(digest("lbfgs", "vgg19", ["relu1_1", "relu2_1", "relu3_1"]))
        print(digest("adam", "alexnet", ["relu1", "relu2"]))
        print(guided_digest())
"""


@pytest.mark.slow
def test_same_bits_on_any_number_of_threads():
    process = subprocess.run(
        [sys.executable, "-c", REPEATS],
        env={**os.environ, "NUMBA_NUM_THREADS": "4"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = process.stdout.splitlines()
    assert len(lines) == 12 and all(len(set(lines[i::3])) == 1 for i in range(3))


@pytest.mark.parametrize("optimizer", ["lbfgsb", "lbfgs", "adam"])
def test_same_seed_same_bits(optimizer):
    first, again, other = (shallow(init="noise", seed=seed, optimizer=optimizer) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.array, again.array)
    assert losses(first) == losses(again)
    assert np.abs(first.array - other.array).mean() > 0.01


# The schedule


@settings(deadline=None)
@given(
    height=st.integers(1, 3000),
    width=st.integers(1, 3000),
    iterations=st.integers(1, 500),
    pyramid=st.integers(1, 14),
    smallest=st.integers(1, 40),
)
def test_schedule(height, width, iterations, pyramid, smallest):
    sizes, counts = zip(*schedule((height, width), iterations, pyramid, smallest), strict=True)
    assert sum(counts) == iterations
    assert min(counts) >= 1
    assert sizes[-1] == (height, width)
    assert len(sizes) <= pyramid
    for smaller, larger in pairwise(sizes):
        assert max(smaller) < max(larger)
        assert min(smaller) >= 4 * smallest
        assert abs(max(larger) - 2 * max(smaller)) <= 2


def test_schedule_gives_most_to_the_small_scales():
    assert schedule((384, 512), 200, 3, 16) == [((96, 128), 114), ((192, 256), 57), ((384, 512), 29)]


@settings(deadline=None)
@given(longer=st.integers(1, 20000), iterations=st.integers(20, 500))
def test_automatic_scales(longer, iterations):
    sizes, counts = zip(*schedule((max(1, longer // 2), longer), iterations, "auto", 1), strict=True)
    sides = [max(size) for size in sizes]
    assert sum(counts) == iterations and sides[-1] == longer and min(counts) >= 1
    assert all(before >= after for before, after in pairwise(counts[:-1]))
    assert all(math.sqrt(2) - 0.02 < larger / smaller < 2.02 for smaller, larger in pairwise(sides))
    assert min(sides) >= min(longer, COARSEST)
    if 2 * COARSEST <= longer <= PRINT:
        assert len(sides) == 3
    if longer > PRINT:
        assert len([side for side in sides if side <= PRINT]) == min(3, iterations - len(sides) + 3)
        assert max(side for side in sides if side <= PRINT) >= PRINT / 2


@pytest.mark.parametrize(
    ("longer", "sides"),
    [
        (128, [128]),
        (181, [181]),
        (182, [128, 182]),
        (256, [128, 181, 256]),
        (400, [128, 226, 400]),
        (512, [128, 256, 512]),
    ],
)
def test_no_automatic_scale_is_too_small_for_a_head(longer, sides):
    assert [max(size) for size, _ in schedule((longer, longer // 2), 200, "auto", 1)] == sides


def test_a_print_is_painted_at_the_small_scales():
    sizes, counts = zip(*schedule((4500, 6000), 200, "auto", 16), strict=True)
    assert [max(size) for size in sizes] == [375, 750, 1500, 3000, 6000]
    assert counts == (103, 51, 26, 13, 7)


def test_a_stroke_enlarges_the_style_image():
    assert style_shape((30, 40), 80, 4) == (30, 40)
    assert style_shape((30, 40), 80, 4, enlarges=True) == (60, 80)
    broad, same = (shallow(style=picture(PAINTING, 32), pyramid=1, stroke=stroke) for stroke in (128, 64))
    assert np.abs(broad.array - same.array).mean() > 1e-3


def test_scales_beyond_a_single_pixel_cost_nothing():
    assert schedule((384, 512), 200, 10**9, 16) == schedule((384, 512), 200, 4, 16)


def test_scales_are_gone_through_as_scheduled():
    result = shallow(iterations=12, pyramid=3, optimizer="adam")
    sizes = [evaluation.size for evaluation in result.history]
    assert sizes == [size for size, count in schedule((48, 64), 12, 3, 2) for _ in range(count)]
    assert len(set(sizes)) == 3


@pytest.mark.parametrize("content_weight", [1.0, 0.0])
def test_an_enlarged_picture_gets_the_details_of_the_content(content_weight):
    seen = []
    shallow(pyramid=2, content_weight=content_weight, callback=lambda _, image: seen.append(image), optimizer="adam")
    first = next(i for i, image in enumerate(seen) if image.shape == (48, 64, 3))
    best = min(range(first), key=lambda i: np.abs(resize(seen[i], (48, 64)) - seen[first]).mean())
    enlarged, content = resize(seen[best], (48, 64)), resize(picture(PHOTOGRAPH, 96), (48, 64))
    details = content - resize(resize(picture(PHOTOGRAPH, 96), (24, 32)), (48, 64))
    expected = (enlarged + details).clip(0, 1) if content_weight else enlarged
    np.testing.assert_allclose(seen[first], expected, rtol=0, atol=1e-6)


# The result


def test_history():
    seen = []
    result = shallow(
        iterations=8, pyramid=2, tv_weight=1.0, callback=lambda evaluation, image: seen.append((evaluation, image))
    )
    assert [evaluation for evaluation, _ in seen] == result.history
    assert [evaluation.number for evaluation in result.history] == list(range(1, 9))
    seconds = [evaluation.seconds for evaluation in result.history]
    assert seconds[0] > 0 and seconds == sorted(seconds)
    for evaluation, image in seen:
        assert image.shape == (*evaluation.size, 3)
        assert evaluation.terms.keys() == {"content:relu2_2", "style:relu1_1", "style:relu2_1", "tv"}
        assert all(value >= 0 for value in evaluation.terms.values())
        parts = [evaluation.weights[name] * value for name, value in evaluation.terms.items()]
        assert evaluation.loss == pytest.approx(sum(parts))
    assert list(result.history.columns()["loss"]) == losses(result)
    assert not result.stopped


@pytest.mark.parametrize("optimizer", ["lbfgsb", "lbfgs", "adam"])
def test_callback_ends_the_run(optimizer, monkeypatch):
    evaluate, calls = Objective.evaluate, []
    monkeypatch.setattr(Objective, "evaluate", lambda self, x: calls.append(x.shape) or evaluate(self, x))
    result = shallow(
        iterations=30, pyramid=2, optimizer=optimizer, callback=lambda evaluation, image: evaluation.number == 3
    )
    assert result.stopped and len(result.history) == len(calls) == 3
    # It is stopped at the smaller scale; the picture has its full size all the same.
    assert calls[-1] == (24, 32, 3) and result.array.shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("shape", "size", "expected"), [((60, 100), 50, (30, 50)), ((100, 60), 50, (50, 30)), ((20, 21), 43, (41, 43))]
)
def test_shape_of_the_result(shape, size, expected):
    result = shallow(np.random.default_rng(0).random((*shape, 3)), size=size, iterations=2)
    assert result.array.shape == (*expected, 3) and result.array.dtype == np.float32
    assert result.alpha is None
    assert result.image.size == expected[::-1] and result.image.mode == "RGB"


def test_transparency_is_kept(tmp_path):
    alpha = np.linspace(0, 1, 64, dtype=np.float32) * np.ones((48, 1), np.float32)
    content = np.dstack([picture(PHOTOGRAPH, 64), alpha])
    result = shallow(content, pyramid=1)
    np.testing.assert_array_equal(result.alpha, alpha)
    assert result.image.mode == "RGBA"
    # Where nothing is resized, the network sees the colours as they are.
    np.testing.assert_array_equal(result.array, shallow(content[..., :3], pyramid=1).array)
    np.testing.assert_array_equal(shallow(content, size=40).alpha, resize(alpha, (30, 40)))
    result.save(tmp_path / "out.png")
    saved, saved_alpha = read_image(tmp_path / "out.png")
    np.testing.assert_allclose(saved, result.array, atol=0.51 / 255)
    np.testing.assert_allclose(saved_alpha, result.alpha, atol=0.51 / 255)


def test_settings_are_stored(tmp_path):
    settings = {"seed": np.int64(3), "tv_weight": np.float32(0.5), "init": "noise", "style_layers": ("relu1_1",)}
    result = shallow(str(PHOTOGRAPH), PAINTING, layer_weights={"relu2_2": 1, "relu1_1": 2.0}, **settings)
    assert result.settings == {
        "stylecore": __version__,
        "content": str(PHOTOGRAPH),
        "style": str(PAINTING),
        "style_blend": None,
        "regions": None,
        "labels": None,
        "style_loss": "gram",
        "size": 64,
        "iterations": 6,
        "init": "noise",
        "seed": 3,
        "pyramid": "auto",
        "optimizer": "lbfgsb",
        "averaging": 0.0,
        "network": "a Network",
        "content_layers": ["relu2_2"],
        "style_layers": ["relu1_1"],
        "content_detail": "shapes",
        "content_weight": 1.0,
        "style_weight": 20.0,
        "regularization_weight": 0.0,
        "tv_weight": 0.5,
        "layer_weights": {"relu2_2": 1, "relu1_1": 2.0},
        "style_scale": 1.0,
        "stroke": None,
        "dpi": None,
        "edges": "zeros",
        "tile": "auto",
        "method": "statistics",
        "style_pyramid": "scaled",
        "style_growth": 1.5,
        "colour": "style",
        "pooling": "max",
        "device": "cpu",
        "dtype": "float32",
    }
    result.save(tmp_path / "out.png", metadata="paths")
    assert read_settings(tmp_path / "out.png") == result.settings == json.loads(json.dumps(result.settings))


def test_metadata_has_names_only_or_nothing(tmp_path):
    result = shallow(PHOTOGRAPH, [PAINTING])
    result.save(tmp_path / "out.png")
    stored = read_settings(tmp_path / "out.png")
    assert stored == result.metadata() and (stored["content"], stored["style"]) == ("photograph.jpg", ["painting.jpg"])
    assert {name: value for name, value in stored.items() if name not in ("content", "style")} == {
        name: value for name, value in result.settings.items() if name not in ("content", "style")
    }
    result.save(tmp_path / "out.png", metadata="none")
    assert read_settings(tmp_path / "out.png") is None
    with refused(ParameterError, 'metadata is "all"; choose "names"'):
        result.save(tmp_path / "out.png", metadata="all")


def test_folders_are_left_out_of_a_record():
    record = {"content": "/home/me/a.jpg", "style": ["b/c.jpg", "a ndarray"], "init": "noise", "network": "n/my.h5"}
    record |= {"regions": [["x/sky.png", "not:x/land.png"], ["rest", "all"]], "labels": None, "colour": "style"}
    assert without_folders(record) == {
        "content": "a.jpg", "style": ["c.jpg", "a ndarray"], "init": "noise", "network": "my.h5",
        "regions": [["sky.png", "not:land.png"], ["rest", "all"]], "labels": None, "colour": "style",
    }  # fmt: skip


def test_scales_of_ones_own():
    result = shallow(pyramid=[20, 40], iterations=[3, 1, 2])
    assert [evaluation.size for evaluation in result.history] == [(15, 20)] * 3 + [(30, 40)] + [(48, 64)] * 2
    assert (result.settings["pyramid"], result.settings["iterations"]) == ([20, 40], [3, 1, 2])


def test_averages_are_taken_at_each_scale():
    sharp, calm = shallow(optimizer="adam"), shallow(optimizer="adam", averaging=0.9)
    assert losses(calm)[0] == losses(sharp)[0]
    assert 1e-4 < np.abs(calm.array - sharp.array).mean() < 0.1


# Several styles and regions


def test_regions_at_all_scales():
    # Left red, right green, at every size that is gone through; and each style where it belongs only.
    left = np.arange(96) < 48 * np.ones((72, 1))
    red, green = np.float32([[[1, 0, 0]]]) * np.ones((72, 96, 1)), np.float32([[[0, 1, 0]]]) * np.ones((60, 60, 1))
    settings = {"content_weight": 0, "tv_weight": 0, "iterations": 40, "pyramid": 2}
    result = shallow(style=[red, green], regions=[(left, "all", "none"), ("rest", "none", "all")], **settings)
    assert len({evaluation.size for evaluation in result.history}) == 2
    assert result.array[:, :28, 0].mean() - result.array[:, :28, 1].mean() > 0.2
    assert result.array[:, -28:, 1].mean() - result.array[:, -28:, 0].mean() > 0.2
    names = {f"style:{layer}:{region}" for layer in LAYERS["style_layers"] for region in "12"}
    assert result.history[0].terms.keys() >= names
    assert result.settings["regions"] == [["a ndarray", "all", "none"], ["rest", "none", "all"]]


@pytest.mark.parametrize("style_loss", ["mean_std", "mean_covariance", "wasserstein", "sliced_wasserstein"])
def test_loss_falls_for_each_style_loss(style_loss):
    layers = {"content_layers": ["relu3_2"], "style_layers": ["relu1_1", "relu2_1", "relu3_1"]}
    result = shallow(size=48, pyramid=1, iterations=15, style_loss=style_loss, init="noise", **layers)
    assert min(losses(result)) < 0.6 * losses(result)[0]


def test_one_style_or_a_list_of_it():
    np.testing.assert_array_equal(shallow().array, shallow(style=[picture(PAINTING, 96)]).array)


# The start


def started_from(**settings):
    images = []
    shallow(iterations=1, pyramid=1, callback=lambda evaluation, image: images.append(image.copy()), **settings)
    return images[0]


@pytest.mark.parametrize("optimizer", ["lbfgsb", "lbfgs", "adam"])
def test_starts(optimizer, tmp_path):
    content, mine = picture(PHOTOGRAPH, 96), np.random.default_rng(1).integers(256, size=(30, 50, 3), dtype=np.uint8)
    Image.fromarray(mine).save(tmp_path / "mine.png")
    expected = resize(mine[:, 5:45] / np.float32(255), (48, 64))  # of the same aspect
    np.testing.assert_array_equal(started_from(optimizer=optimizer), resize(content, (48, 64)))
    for init in (tmp_path / "mine.png", str(tmp_path / "mine.png"), Image.fromarray(mine), mine):
        np.testing.assert_array_equal(started_from(optimizer=optimizer, init=init), expected)


def test_noise():
    noise = started_from(init="noise", seed=1)
    assert noise.shape == (48, 64, 3) and 0.45 < noise.mean() < 0.55 and 0.27 < noise.std() < 0.3
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.05
    np.testing.assert_array_equal(noise, started_from(init="noise", seed=1, optimizer="adam"))
    assert np.abs(noise - started_from(init="noise", seed=2)).mean() > 0.3


def test_style_is_never_enlarged():
    def result(size, style_scale):
        return shallow(style=picture(PAINTING, size), style_scale=style_scale, pyramid=1).array

    np.testing.assert_array_equal(result(40, 3.0), result(40, 1.0))
    assert np.abs(result(40, 0.5) - result(40, 1.0)).max() > 0.01
    assert np.abs(result(160, 2.0) - result(160, 1.0)).max() > 0.01
    np.testing.assert_array_equal(result(160, 4.0), result(160, 2.5))


def test_style_pyramid():
    def result(style_pyramid, pyramid):
        return shallow(style_pyramid=style_pyramid, pyramid=pyramid).array

    np.testing.assert_array_equal(result("full", 1), result("scaled", 1))
    assert np.abs(result("full", 2) - result("scaled", 2)).max() > 0.01


def test_full_style_is_seen_at_its_final_size_at_every_scale(monkeypatch):
    seen, set_up = [], Objective._set_up
    monkeypatch.setattr(
        Objective, "_set_up", lambda self, content, styles, *more: seen.append(styles[0].shape) or set_up(
            self, content, styles, *more)
    )  # fmt: skip
    shallow(pyramid=2, iterations=2, style_scale=0.75, style_pyramid="full")
    shallow(pyramid=2, iterations=2, style_scale=0.75)
    assert seen == [(36, 48, 3), (36, 48, 3), (18, 24, 3), (36, 48, 3)]


def test_the_style_grows_with_the_scales():
    def style_terms(growth):
        losses = shallow(pyramid=2, iterations=[1, 1], style_growth=growth, tv_weight=0.0).history
        return [evaluation.loss for evaluation in losses]

    # The loss of the content image itself, at the first scale, is its style's.
    assert style_terms(0.0)[0] == pytest.approx(2 * style_terms(1.0)[0])


@pytest.mark.parametrize("size", [(50, 48), "50x48"])
def test_width_and_height(size):
    alpha = np.linspace(0, 1, 96, dtype=np.float32) * np.ones((72, 1), np.float32)
    content = np.dstack([picture(PHOTOGRAPH, 96), alpha])
    seen = []
    settings = {"iterations": 1, "pyramid": 1}
    result = shallow(content, size=size, callback=lambda evaluation, image: seen.append(image.copy()), **settings)
    assert result.array.shape == (48, 50, 3)
    cropped = content[:, 10:85]  # 75 x 72 about the middle, of 96 x 72
    np.testing.assert_array_equal(seen[-1], resize(cropped[:, :, :3], (48, 50), cropped[:, :, 3]))
    np.testing.assert_array_equal(result.alpha, resize(cropped[:, :, 3], (48, 50)))


def test_continued_from_a_finished_picture_at_a_larger_size(tmp_path):
    shallow(iterations=10).save(tmp_path / "small.png")
    small = read_image(tmp_path / "small.png")[0]
    seen = []
    larger = shallow(
        size="1x", init=tmp_path / "small.png", pyramid=1, callback=lambda evaluation, image: seen.append(image)
    )
    assert larger.array.shape == (72, 96, 3)
    np.testing.assert_array_equal(seen[0], resize(small, (72, 96)))
    assert min(losses(larger)) < losses(larger)[0] < losses(shallow(size="1x", pyramid=1))[0]


# The colour


def likeness(image):
    """Correlation of an image's chrominance with that of the content."""
    chrominances = (array - grey(array) for array in (image, resize(picture(PHOTOGRAPH, 96), image.shape)))
    return np.corrcoef(*(array.ravel() for array in chrominances))[0, 1]


def test_content_keeps_its_colours_in_all_that_is_shown():
    seen = []
    result = shallow(colour="content", pyramid=2, callback=lambda evaluation, image: seen.append(image))
    for image in (*seen, result.array):
        assert likeness(image) > 0.98
    assert likeness(shallow(pyramid=2).array) < 0.95


@pytest.mark.parametrize("colour", ["match", "histogram"])
def test_matched_colours_come_nearer_to_those_of_the_content(colour):
    def distance(result):
        return np.abs(result.array.mean(axis=(0, 1)) - picture(PHOTOGRAPH, 96).mean(axis=(0, 1))).max()

    settings = {"iterations": 15, "pyramid": 1, "content_weight": 0.0}
    assert distance(shallow(colour=colour, **settings)) < 0.5 * distance(shallow(**settings))


# The memory


@pytest.mark.parametrize(
    ("settings", "free"),
    [
        ({}, 40_000_000),
        ({"style_scale": 4.0}, 40_000_000),
        ({"style_layers": []}, 30_000_000),
        ({"content_layers": CONTENT_LAYERS, "style_layers": STYLE_LAYERS}, 60_000_000),
    ],
    ids=["plain", "large style", "no style", "deep"],
)
def test_refusal_names_the_largest_size_that_fits(settings, free, monkeypatch):
    content, style = (np.random.default_rng(0).random((*shape, 3)) for shape in ((300, 400), (600, 500)))
    settings = {"iterations": 1, "pyramid": 1, **settings}
    monkeypatch.setattr(memory, "available", lambda: free)
    with refused(TooLargeError, "400 x 300 pixels needs .* a size of [0-9]+ would fit") as refusal:
        shallow(content, style, size=400, **settings)
    fitting = int(re.search("size of ([0-9]+)", str(refusal.value))[1])
    result = shallow(content, style, size=fitting, **settings)
    assert max(result.array.shape) == fitting
    with refused(TooLargeError, f"a size of {fitting} would fit"):
        shallow(content, style, size=fitting + 1, **settings)


def test_refusal_where_no_size_fits(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 10_000)
    with refused(TooLargeError, "no smaller size would"):
        shallow()


def test_unknown_memory_is_no_reason_to_refuse(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: None)
    assert shallow(iterations=1).history


def test_memory_of_a_gpu_is_counted_by_itself(monkeypatch):
    """The passes must fit into the GPU's memory, the optimiser into the computer's."""
    monkeypatch.setattr(cpu, "available_bytes", lambda: 20_000_000)
    content = np.random.default_rng(0).random((300, 400, 3))
    with refused(TooLargeError, "GB of the GPU's memory and .* a size of [0-9]+ would fit") as refusal:
        shallow(content, size=400, pyramid=1)
    fitting = int(re.search("size of ([0-9]+)", str(refusal.value))[1])
    assert shallow(content, size=fitting, pyramid=1, iterations=1).history
    monkeypatch.setattr(memory, "available", lambda: 1_000_000)
    with refused(TooLargeError, "GB of memory and"):
        shallow(content, size=fitting, pyramid=1)


@pytest.mark.parametrize(
    ("optimizer", "dtype", "style_loss", "regions"),
    [
        ("lbfgs", "float32", "gram", None),
        ("adam", "float32", "gram", None),
        ("lbfgsb", "float32", "gram", None),
        ("lbfgs", "float64", "gram", None),
        ("adam", "float64", "gram", None),
        ("lbfgs", "float32", "wasserstein", [(np.tri(192, 256), "all"), ("rest", "all")]),
    ],
)
@pytest.mark.slow
def test_memory_stays_within_the_prediction(optimizer, dtype, style_loss, regions):
    vgg19 = network("vgg19", dtype=dtype)
    settings = {"optimizer": optimizer, "network": vgg19, "style_loss": style_loss, "regions": regions}
    content, style = (np.random.default_rng(0).random((*shape, 3), np.float32) for shape in ((192, 256), (200, 256)))
    shallow(content, style, size=256, iterations=1, **settings)
    cpu.release_scratch()
    tracemalloc.start()
    try:
        shallow(content, style, size=256, iterations=4, **settings)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    shapes = (192, 256), (200, 256)
    more = optimizer, style_loss, len(regions or [None])
    predicted = predicted_bytes(vgg19, *LAYERS.values(), *shapes, *more)
    assert peak == pytest.approx(predicted["memory"], rel=0.15)


# What is refused


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        *[({name: value}, f"{name} is {value}; .*one or more") for name in ("size", "iterations", "pyramid")
          for value in (0, -3, 1.5, True)],
        *[({"size": value}, "size is .*the longer side in pixels, one or more, or such as 640x480 or 1.5x")
          for value in ("64", "x", "0x10", "1.2.3x", "nanx", "-2x", "0.0001x", (1, 2, 3), (64, 0), (64, 1.5), [True, 5],
                        None)],
        ({"style_pyramid": "half"}, 'style_pyramid "half" is not known'),
        ({"colour": "contents"}, 'colour "contents" is not known .did you mean content'),
        *[({"style_scale": value}, f"style_scale is {value!r}; .*above zero")
          for value in (0, -1.0, float("nan"), float("inf"), "2", None)],
        *[({"style_growth": value}, f"style_growth is {value!r}; .*zero or more")
          for value in (-1.0, float("nan"), "1")],
        ({"seed": -1, "init": "noise"}, "seed is -1; .*zero or more"),
        ({"seed": 1.5, "init": "noise"}, r"seed is 1\.5"),
        *[({name: value}, f"{name} is {bad}; .*one or more") for name in ("iterations", "pyramid")
          for value, bad in (([3, 0], 0), ([2.5], "2.5"))],
        *[({"averaging": value}, f"averaging is {value!r}; .*zero to below one")
          for value in (-0.1, 1, 1.5, float("nan"), "0.9", None)],
        ({"pyramid": [32, 16]}, "the scales 32, 16 do not increase up to the result's 64 px"),
        ({"pyramid": [32, 64]}, "the scales 32, 64 do not increase up to the result's 64 px"),
        ({"pyramid": [32, 48], "iterations": [5, 6]}, r"iterations is \[5, 6\] and the scales are 32, 48, 64 px"),
        ({"pyramid": 1, "iterations": [5, 6]}, r"iterations is \[5, 6\] and the scales are 64 px"),
        ({"optimizer": "adams"}, 'optimizer "adams" is not known .did you mean adam'),
        ({"style_weight": -1}, "style_weight is -1"),
        ({"content_layers": "relu2_2"}, 'content_layers is the string "relu2_2"'),
        ({"style_layers": "relu2_1"}, 'style_layers is the string "relu2_1"'),
        ({"style_layers": ["relu2_1", "relu2_1"]}, "style_layers names a layer twice"),
        ({"style_layers": 7}, "style_layers is 7; give a list"),
        ({"style_layers": [["relu1_1"]]}, r"style_layers is \[\['relu1_1'\]\]; give a list"),
        ({"style_layers": ["relu6_1"]}, 'no layer "relu6_1"'),
        ({"content_layers": [], "style_layers": []}, "no layers"),
        ({"style": []}, "no style image"),
        ({"style_blend": [1, 1]}, "style_blend has 2 weights"),
        ({"style_loss": "grams"}, 'style_loss "grams" is not known .did you mean gram'),
        ({"regions": [("all",)]}, "region 1 has 1 mask"),
        ({"regions": [(np.eye(1, 96) * np.ones((72, 1)), "all")], "size": (48, 64)}, "region 1 lies outside what a"),
        ({"layer_weights": "normalised"}, 'choose "relative", "normalized", "paper" or a mapping'),
        ({"size": 12, "style_layers": ["relu5_1"]}, "12 x 9 pixels is too small for relu5_1"),
        ({"network": "vgg91"}, 'network "vgg91" is not known'),
        ({"network": "vgg19", "pooling": "mean"}, 'pooling "mean" is not known'),
        ({"network": "vgg19", "device": "gpu"}, 'device "gpu" is not known'),
        ({"network": "vgg19", "dtype": "float"}, 'dtype "float" is not known'),
    ],
)  # fmt: skip
def test_bad_settings(settings, words):
    with refused(ParameterError, words):
        shallow(**settings)


def test_layers_from_an_iterator():
    # They are gone through more than once.
    result = shallow(content_layers=iter(["relu2_2"]), style_layers=(layer for layer in LAYERS["style_layers"]))
    np.testing.assert_array_equal(result.array, shallow().array)
    assert result.settings["content_layers"] == ["relu2_2"]


def test_style_image_too_small():
    with refused(ParameterError, "60 x 10 pixels is too small for relu5_1 of vgg19; .*16"):
        shallow(style=np.zeros((10, 60, 3)), style_layers=["relu5_1"])
