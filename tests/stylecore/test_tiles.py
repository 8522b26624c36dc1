"""Tiles against one piece: the moments, the terms and the gradient of the whole picture, for every kind of setting."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylecore import Objective, ParameterError, TooLargeError, budget, memory, tiles, transfer
from stylecore.budget import evaluation_bytes, predicted_bytes
from stylecore.losses import GramDistance
from stylecore.network import load_network
from stylecore.tiles import Passes, Store, divide, halo, reaches

LAYERS = {"content_layers": ["relu2_2"], "style_layers": ["relu1_1", "relu2_1", "relu3_1"]}
ALL = [*LAYERS["content_layers"], *LAYERS["style_layers"]]


def random_images(*shapes):
    rng = np.random.default_rng(0)
    return [rng.random((*shape, 3)) for shape in shapes]


CONTENT, STYLE, X = random_images((60, 70), (45, 37), (75, 93))
LEFT = np.arange(70) < 31.5 * np.ones((60, 1))


def small(**more):
    return load_network("small", **{"dtype": "float64", **more})


# The geometry


def test_halo_of_vgg19():
    vgg19 = load_network("vgg19")
    assert reaches(vgg19, ["relu1_1", "relu5_1"])["relu5_1"] == (16, 70, 85)
    assert halo(vgg19, ["relu5_1"]) == 80
    assert halo(vgg19, ["relu1_1"]) == 1
    assert halo(vgg19, ["relu1_1", "relu2_1"]) == 4


@pytest.mark.parametrize("layer", ["relu1", "pool2", "relu3"])
def test_reach_is_what_changes_a_position(layer):
    """A feature depends on exactly the pixels that its reach names."""
    network = load_network("alexnet", device="reference")
    (image,) = random_images((131, 131))
    stride, before, after = reaches(network, [layer])[layer]
    (tile,) = divide(network, image.shape[:2], [layer], None)
    passes = Passes(network, [layer], GramDistance, [tile], gradient=False)
    _, width = tile.maps[layer].whole.shape
    i = (before + stride - 1) // stride

    def position(image):
        return passes.features(tile, image, [layer])[layer][i * width + i].copy()

    found, outside = position(image), image.copy()
    seen = slice(stride * i - before, stride * i + after + 1)
    outside[seen, seen] = 0
    np.testing.assert_allclose(position(image - outside), found, rtol=1e-12, atol=1e-12)
    image[seen.start, seen] += 5
    assert not np.allclose(position(image), found)


@settings(max_examples=60, deadline=None)
@given(st.integers(16, 400), st.integers(16, 400), st.integers(16, 200))
def test_tiles_cover_the_picture_and_every_map_once(height, width, side):
    network = small()
    layers = network.layer_names[:-1]
    try:
        found = divide(network, (height, width), layers, side)
    except ParameterError as error:
        assert "smaller than what" in str(error) or "too small" in str(error)
        return
    covered = np.zeros((height, width), int)
    for tile in found:
        covered[tile.inner.slices] += 1
        assert min(tile.inner.shape) >= min(halo(network, layers), height, width)
    assert (covered == 1).all()
    for layer in layers:
        counts = np.zeros(network.map_shape(height, width, layer)[1:3], int)
        for tile in found:
            counts[tile.maps[layer].whole.slices] += 1
            assert tile.maps[layer].seen.shape == tile.maps[layer].whole.shape
        assert (counts == 1).all()


def test_a_narrow_last_tile_joins_its_neighbour():
    network = load_network("vgg19")
    assert len(divide(network, (1024, 1024), ["relu5_1"], 1024)) == 1
    assert [tile.inner for tile in divide(network, (300, 96), ["relu5_1"], 96)] == [
        (0, 80, 0, 96),
        (80, 160, 0, 96),
        (160, 300, 0, 96),
    ]


def test_tiles_smaller_than_the_halo_are_refused():
    with pytest.raises(ParameterError, match=r"tiles of 79 px .* at least 80 px"):
        divide(load_network("vgg19"), (300, 300), ["relu5_1"], 79)


# The objective


def both(side, x=X, **more):
    made = [Objective(CONTENT, STYLE, tile=tile, **{"network": small(), **more}) for tile in (None, side)]
    whole, in_tiles = ((*objective.evaluate(x), objective.term_weights) for objective in made)
    assert len(made[1]._scale.tiles.tiles) > 1
    return whole, in_tiles


def check_same(whole, in_tiles, tolerance=1e-12):
    assert in_tiles[0] == pytest.approx(whole[0], rel=tolerance)
    assert np.linalg.norm(in_tiles[1] - whole[1]) < tolerance * np.linalg.norm(whole[1])
    assert in_tiles[2] == pytest.approx(whole[2], rel=tolerance)
    assert in_tiles[3] == pytest.approx(whole[3], rel=tolerance)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"pooling": "average"},
        {"style_loss": "mean_std"},
        {"style_loss": "mean_covariance"},
        {"style_loss": "wasserstein", "regularization_weight": 2.0},
        {"layer_weights": "normalized", "tv_weight": 0},
        {"layer_weights": "paper", "content_weight": 0},
        {"regions": [(LEFT, "all"), ("rest", "all")]},
        {"style_weight": 0},
    ],
    ids=lambda more: ",".join(more) or "defaults",
)
def test_tiles_change_nothing(more):
    network = small(pooling=more.get("pooling", "max"))
    # The decomposition that the Wasserstein distance needs amplifies the rounding.
    tolerance = 1e-9 if more.get("style_loss") == "wasserstein" else 1e-12
    check_same(*both(24, **{"network": network, **more}), tolerance)


def test_tiles_change_nothing_in_vgg19_and_in_strips(monkeypatch):
    network = load_network("vgg19", dtype="float64")
    monkeypatch.setattr(network.backend, "STRIP_VALUES", 1)
    check_same(*both(48, network=network, **LAYERS))


def test_tiles_change_nothing_where_windows_overlap():
    network = load_network("alexnet", dtype="float64")
    (x,) = random_images((230, 260))
    layers = {"content_layers": ["relu2"], "style_layers": ["relu1", "pool1", "relu3"]}
    whole, in_tiles = (
        Objective(CONTENT, random_images((120, 130))[0], tile=tile, network=network, **layers).evaluate(x)
        for tile in (None, 96)
    )
    assert in_tiles[0] == pytest.approx(whole[0], rel=1e-12)
    assert np.linalg.norm(in_tiles[1] - whole[1]) < 1e-12 * np.linalg.norm(whole[1])


def test_the_reference_in_tiles():
    check_same(*both(24, X[:40, :48], network=load_network("small", "reference")))


def test_single_precision_in_tiles():
    # ReLUs and maxima that are nearly tied fall otherwise where values are rounded otherwise.
    whole, in_tiles = both(24, network=small(dtype="float32"))
    assert in_tiles[0] == pytest.approx(whole[0], rel=1e-6)
    assert np.linalg.norm(in_tiles[1] - whole[1]) < 1e-3 * np.linalg.norm(whole[1])


def test_terms_and_their_gradients():
    whole, in_tiles = (
        Objective(CONTENT, STYLE, tile=tile, network=small()).terms(X, gradients=True) for tile in (None, 24)
    )
    assert list(whole) == list(in_tiles)
    for name, (value, gradient) in whole.items():
        assert in_tiles[name][0] == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(in_tiles[name][1], gradient, rtol=1e-9, atol=1e-12 * np.abs(gradient).max())


def test_a_tile_can_be_computed_elsewhere():
    """The passes depend on their arguments only: the sum over fresh ones is the result, bit for bit."""
    objective = Objective(CONTENT, STYLE, tile=24, network=small())
    _, gradient, _ = objective.evaluate(X)

    class Elsewhere(tiles.Tiles):
        def _forward_each(self, image):
            for i, tile in enumerate(self.tiles):
                call = tile, image[tile.outer.slices], self.part(i), self.targets(i)
                yield passes(tile).forward(*pickle.loads(pickle.dumps(call)))

        def _backward_each(self, image, differences, weights):
            for i, tile in reversed(list(enumerate(self.tiles))):
                call = tile, image[tile.outer.slices], self.part(i), differences, self.targets(i), weights
                yield tile, passes(tile).backward(*pickle.loads(pickle.dumps(call)))

    def passes(tile):
        return Passes(small(), objective.layers, GramDistance, [tile])

    objective._scale.tiles.__class__ = Elsewhere
    np.testing.assert_array_equal(objective.evaluate(X)[1], gradient)


# Memory


def test_auto_uses_tiles_if_the_memory_does_not_suffice(monkeypatch):
    monkeypatch.setattr("stylecore.objective.SIDE", 24)
    objective = Objective(CONTENT, STYLE, network=small())
    objective(X)
    assert len(objective._scale.tiles.tiles) == 1
    monkeypatch.setattr(memory, "available", lambda: 10_000)
    objective = Objective(CONTENT, STYLE, network=small())
    objective(X)
    assert len(objective._scale.tiles.tiles) > 1


@pytest.mark.slow
def test_a_transfer_in_tiles_is_the_same_picture(tmp_path):
    given = {"network": "small", "dtype": "float64", "size": 93, "iterations": 6, "pyramid": 2, "optimizer": "lbfgs"}
    whole, in_tiles = (transfer(X, STYLE, tile=tile, **given) for tile in (None, 24))
    assert np.abs(whole.array - in_tiles.array).max() < 1e-4
    assert in_tiles.settings["tile"] == 24
    again = transfer(X, STYLE, tile=24, checkpoint=tmp_path / "run", **given)
    np.testing.assert_array_equal(again.array, in_tiles.array)


def test_tiles_need_less_memory():
    network = load_network("vgg19")
    layers = LAYERS.values()
    whole, in_tiles = (evaluation_bytes(network, *layers, 2048, 2048, tile=tile) for tile in (None, 512))
    assert in_tiles < whole / 3
    assert "disk space for temporary files" in predicted_bytes(
        network, *layers, (900, 900), (300, 300), "adam", tile=512
    )


@pytest.mark.parametrize("tile", ["large", 0, -16, 2.5, True])
def test_bad_tiles(tile):
    with pytest.raises(ParameterError, match="tile is"):
        Objective(CONTENT, STYLE, network=small(), tile=tile)


def test_a_full_disk_ends_in_a_sentence(monkeypatch):
    class Full:
        def seek(self, *_):
            return 0

        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tiles.tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(tiles.StylecoreError, match=r"cannot be stored in .*No space left"):
        Store(in_memory=False).put((0, "relu1_1"), X)


def test_a_disk_that_is_too_small_is_known_before_the_work(monkeypatch):
    monkeypatch.setattr(budget.shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    evaluated = []
    given = {"network": "small", "size": 96, "iterations": 2, "tile": 24, "optimizer": "lbfgs"}
    with pytest.raises(TooLargeError, match=r"GB of disk space for temporary files and 0\.0 GB are free"):
        transfer(X, STYLE, callback=lambda *step: evaluated.append(step), **given)
    assert not evaluated
