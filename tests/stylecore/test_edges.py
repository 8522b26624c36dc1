"""What the network sees beyond the edges: the adjoint, the exact gradient, and pictures that repeat."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylecore import Objective, ParameterError, tiles, transfer
from stylecore.budget import evaluation_bytes
from stylecore.edges import fold, positions
from stylecore.network import load_network
from stylecore.tiles import divide, halo

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
CONTENT, STYLE, X = (RNG.random((height, width, 3)) for height, width in ((40, 48), (36, 44), (48, 64)))
LEFT = np.arange(48) < 20 * np.ones((40, 1))


def small(**more):
    return load_network("small", **{"dtype": "float64", **more})


def objective(edges, **more):
    return Objective(CONTENT, STYLE, **{"network": small(), "edges": edges, **more})


def continued(image, margin, edges):
    rows, columns = (positions(length, margin, edges) for length in image.shape[:2])
    return image[np.ix_(rows, columns)]


@pytest.mark.parametrize("edges", ["reflect", "wrap"])
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 20))
def test_fold_is_the_adjoint(edges, height, width, margin):
    rng = np.random.default_rng(height)
    image = rng.random((height, width, 3))
    upstream = rng.random((height + 2 * margin, width + 2 * margin, 3))
    expected = float((continued(image, margin, edges) * upstream).sum())
    assert (fold(upstream, margin, edges) * image).sum() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("edges", ["reflect", "wrap"])
@pytest.mark.parametrize("more", [{}, {"regions": [(LEFT, "all"), ("rest", "all")]}, {"style_loss": "wasserstein"}])
def test_gradient(edges, more):
    function = objective(edges, **more)
    _, gradient = function(X)
    rng = np.random.default_rng(1)
    # The decomposition that the Wasserstein distance needs amplifies the rounding.
    tolerance = 1e-3 if "style_loss" in more else 1e-5
    # The rim has most of what is special.
    rim = np.ones(X.shape)
    rim[4:-4, 4:-4] = 0.1
    for _ in range(3):
        direction = rim * rng.standard_normal(X.shape)
        step = 1e-6 / np.abs(direction).max()
        slope = (function(X + step * direction)[0] - function(X - step * direction)[0]) / (2 * step)
        assert (gradient * direction).sum() == pytest.approx(slope, rel=tolerance)


@pytest.mark.parametrize("edges", ["reflect", "wrap"])
def test_tiles_change_nothing(edges):
    (loss, gradient, terms), (tiled_loss, tiled, tiled_terms) = (
        objective(edges, tile=tile).evaluate(X) for tile in (None, 24)
    )
    assert tiled_loss == pytest.approx(loss, rel=1e-12) and tiled_terms == pytest.approx(terms, rel=1e-12)
    assert np.linalg.norm(tiled - gradient) < 1e-12 * np.linalg.norm(gradient)


def test_a_reflection_may_be_narrower_than_the_halo(monkeypatch):
    whole_loss, _ = objective("reflect")(X)
    monkeypatch.setattr(tiles, "REFLECTED", 6)
    assert tiles.continued_by(small(), ["relu3_1"], "reflect") == 8  # A multiple of the stride, 4.
    (loss, gradient, _), (tiled_loss, tiled, _) = (objective("reflect", tile=tile).evaluate(X) for tile in (None, 24))
    assert loss != whole_loss and loss == pytest.approx(whole_loss, rel=0.05)
    assert tiled_loss == pytest.approx(loss, rel=1e-12)
    assert np.linalg.norm(tiled - gradient) < 1e-12 * np.linalg.norm(gradient)
    function, direction = objective("reflect"), np.random.default_rng(1).standard_normal(X.shape)
    step = 1e-7
    slope = (function(X + step * direction)[0] - function(X - step * direction)[0]) / (2 * step)
    assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-5)


def test_the_positions_of_the_picture_count():
    network, layer = small(), "relu3_1"
    margin, stride = halo(network, [layer]), 4
    (tile,) = divide(network, X.shape[:2], [layer], None, "reflect")
    assert tile.outer.shape == tuple(length + 2 * margin for length in X.shape[:2])
    own = tile.maps[layer]
    assert own.whole.shape == tuple(length // stride for length in X.shape[:2])
    assert (own.seen.top, own.seen.left) == (margin // stride, margin // stride)


@pytest.mark.parametrize("edges", ["zeros", "reflect", "wrap"])
@pytest.mark.parametrize("tile", [None, 24])
def test_a_blank_picture_has_no_rim(edges, tile):
    """All of its features are equal, unless zeros frame it: the covariance is zero."""
    function = objective(edges, style_loss="mean_covariance", tile=tile)
    blank = np.full(X.shape, 0.3)
    function(blank)
    moments, _ = function._scale.tiles.forward(blank)
    has_rim = [
        np.abs(second - np.outer(mean, mean)).max() > 1e-10 * np.abs(second).max() for mean, second in moments.values()
    ]
    assert all(has_rim) if edges == "zeros" else not any(has_rim)


@pytest.mark.parametrize("shift", [(8, 0), (0, 16), (24, -8)])
def test_a_picture_that_wraps_around_has_no_edge(shift):
    """Shifted by multiples of the network's stride, it has the same loss."""
    function = objective("wrap", content_weight=0)
    loss, gradient = function(X)
    shifted_loss, shifted = function(np.roll(X, shift, (0, 1)))
    assert shifted_loss == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(shifted, np.roll(gradient, shift, (0, 1)), rtol=1e-8, atol=1e-12)


def test_single_precision_and_a_transfer():
    given = {"network": "small", "size": 64, "iterations": 4, "pyramid": 2, "optimizer": "lbfgs"}
    pictures = [transfer(CONTENT, STYLE, edges=edges, **given) for edges in ("zeros", "reflect", "wrap")]
    assert pictures[1].settings["edges"] == "reflect"
    losses = [picture.history[-1].loss for picture in pictures]
    assert len(set(losses)) == 3 and all(
        picture.history[0].loss > loss for picture, loss in zip(pictures, losses, strict=True)
    )


def test_memory_of_the_margin_is_counted():
    network = load_network("vgg19")
    layers = ["relu4_2"], ["relu5_1"]
    plain, reflected = (evaluation_bytes(network, *layers, 256, 256, edges=edges) for edges in ("zeros", "reflect"))
    assert 1.5 * plain < reflected < 4 * plain


def test_bad_edges():
    with pytest.raises(ParameterError, match='edges "mirror" is not known'):
        objective("mirror")
    with pytest.raises(ParameterError, match="leave edges out"):
        objective("wrap", style_loss="sliced_wasserstein")
