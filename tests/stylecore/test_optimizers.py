"""The optimisers on functions whose lowest point is known."""

import numba
import numpy as np
import pytest
from scipy.optimize import Bounds, minimize, rosen, rosen_der
from threadpoolctl import threadpool_limits

from stylecore import optimizers
from stylecore.kernels.cpu.pairs import PART
from stylecore.optimizers import (
    BLOCK,
    FOLD,
    LBFGS,
    LBFGSB,
    MARGIN,
    MOST_PAIRS,
    Adam,
    Stopped,
    fold,
    fold_backward,
    pairs_kept,
    unfold,
)

OPTIMIZERS = pytest.mark.parametrize("optimizer", [LBFGS, Adam, LBFGSB])
RESUMABLE = pytest.mark.parametrize("optimizer", [LBFGS, Adam])
SHAPE = (4, 5, 3)
START = np.random.default_rng(0).random(SHAPE, np.float32)
INSIDE = np.random.default_rng(1).uniform(0.2, 0.8, SHAPE)
# Beyond [0, 1] for two thirds of the values, on either side.
OUTSIDE = np.random.default_rng(2).uniform(-1, 2, SHAPE)
CURVATURE = np.random.default_rng(3).uniform(0.5, 20, SHAPE)


class Quadratic:
    """1/2 sum curvature (x - optimum)^2; keeps what it was asked and what it answered."""

    def __init__(self, optimum, curvature=CURVATURE):
        self.optimum, self.curvature = optimum, curvature
        self.images, self.losses = [], []

    def __call__(self, x):
        assert x.shape == SHAPE
        difference = x - self.optimum
        self.images.append(x.copy())
        self.losses.append(0.5 * np.sum(self.curvature * difference**2))
        return self.losses[-1], self.curvature * difference


def minimum(optimizer, function, start, evaluations, **more):
    run = optimizer(start, evaluations, **more)
    run.run(function)
    return run.image


@pytest.mark.parametrize("optimum", [INSIDE, OUTSIDE], ids=["inside", "outside"])
@pytest.mark.parametrize(
    ("optimizer", "iterations", "tolerance"), [(LBFGS, 60, 1e-6), (LBFGSB, 400, 1e-6), (Adam, 300, 1e-2)]
)
def test_optimum_is_found(optimizer, iterations, tolerance, optimum):
    # The curvature is diagonal, so that the lowest point within [0, 1] is the optimum cut off there.
    image = minimum(optimizer, Quadratic(optimum), START, iterations)
    assert image.shape == SHAPE and image.dtype == np.float32
    np.testing.assert_allclose(image, optimum.clip(0, 1), rtol=0, atol=tolerance)


@OPTIMIZERS
def test_never_leaves_the_range(optimizer):
    function = Quadratic(OUTSIDE)
    minimum(optimizer, function, START, 30)
    assert min(image.min() for image in function.images) >= 0
    assert max(image.max() for image in function.images) <= 1


@OPTIMIZERS
def test_start_comes_first_and_stays_as_it_is(optimizer):
    function, start = Quadratic(INSIDE), START.copy()
    minimum(optimizer, function, start, 5)
    np.testing.assert_array_equal(function.images[0], START)
    np.testing.assert_array_equal(start, START)


@OPTIMIZERS
@pytest.mark.parametrize("iterations", [1, 2, 3, 7, 20])
def test_limit_of_evaluations_is_exact(optimizer, iterations):
    # A curved valley, which neither reaches the end of in so few steps.
    calls = []

    def valley(x):
        calls.append(x)
        flat = x.reshape(-1).astype(np.float64)
        return rosen(4 * flat - 2), 4 * rosen_der(4 * flat - 2).reshape(x.shape)

    minimum(optimizer, valley, START, iterations)
    assert len(calls) == iterations


@OPTIMIZERS
def test_best_image_is_returned(optimizer):
    function = Quadratic(INSIDE)

    def misleading(x):
        """From the fourth evaluation on, nothing is as good as what was there before."""
        loss, gradient = function(x)
        function.losses[-1] = loss + 100 * (len(function.losses) > 3)
        return function.losses[-1], gradient

    image = minimum(optimizer, misleading, START, 12)
    best = int(np.argmin(function.losses))
    assert best < 3 and len(function.losses) > 3
    np.testing.assert_array_equal(image, function.images[best].astype(np.float32))


@OPTIMIZERS
def test_stopped_returns_the_best_so_far(optimizer):
    function = Quadratic(INSIDE)

    def stopping(x):
        if len(function.losses) == 4:
            raise Stopped
        return function(x)

    image = minimum(optimizer, stopping, START, 50)
    assert len(function.losses) == 4
    np.testing.assert_array_equal(image, function.images[int(np.argmin(function.losses))].astype(np.float32))


@OPTIMIZERS
def test_stopped_at_once_returns_the_start(optimizer):
    def stopping(x):
        raise Stopped

    np.testing.assert_array_equal(minimum(optimizer, stopping, START, 50), START)


@OPTIMIZERS
def test_other_errors_pass_through(optimizer):
    def failing(x):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        minimum(optimizer, failing, START, 3)


def test_lbfgs_needs_no_scale():
    # Weights may be of any size: steps are as good for a loss of 1e-12 as for one of 1e12.
    for scale in (1e-20, 1e-12, 1.0, 1e12):
        image = minimum(LBFGS, Quadratic(INSIDE, scale * CURVATURE), START, 60)
        np.testing.assert_allclose(image, INSIDE, rtol=0, atol=1e-5)


@OPTIMIZERS
def test_same_bits_on_any_number_of_threads(optimizer):
    # So many values that sums are divided among threads, and in float64, which hides no last bit.
    start, optimum = np.random.default_rng(4).random((2, 120, 120, 3))
    images = []

    def function(x):
        images[-1].append(x.copy())
        return 0.5 * np.sum((x - optimum) ** 4), 2 * (x - optimum) ** 3

    for threads in (1, 2, 3):
        images.append([])
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        try:
            with threadpool_limits(threads, user_api="blas"):
                minimum(optimizer, function, start, 8)
        finally:
            numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    np.testing.assert_array_equal(images[1], images[0])
    np.testing.assert_array_equal(images[2], images[0])


def test_adam_steps_by_its_formula():
    # Kingma and Ba, algorithm 1, written out for a single value, with the step's cosine.
    function = Quadratic(INSIDE)
    minimum(Adam, function, START.astype(np.float64), 12)
    x, m, v = float(START[1, 2, 0]), 0.0, 0.0
    for t in range(1, 13):
        assert function.images[t - 1][1, 2, 0] == pytest.approx(x, rel=1e-12)
        g = CURVATURE[1, 2, 0] * (x - INSIDE[1, 2, 0])
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        step = Adam.STEP * (0.1 + 0.9 * (1 + np.cos(np.pi * t / 12)) / 2)
        x = min(max(x - step * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8), 0), 1)


class Valley:
    """A narrow valley between all neighbouring values of the image, its lowest point beyond the range for some."""

    def __init__(self, shape):
        self.optimum = np.random.default_rng(5).uniform(-0.3, 1.3, shape)
        self.losses = []

    def __call__(self, x):
        x = x.astype(np.float64)
        near, far = x - self.optimum, np.diff(x - self.optimum, axis=1)
        gradient = near + 4 * near**3
        gradient[:, 1:] += 100 * far
        gradient[:, :-1] -= 100 * far
        self.losses.append(0.5 * np.sum(near**2) + np.sum(near**4) + 50 * np.sum(far**2))
        return self.losses[-1], gradient.astype(np.float32)


LARGE = np.random.default_rng(6).random((70, 50, 3), np.float32)


@pytest.mark.parametrize("optimizer", [LBFGS, LBFGSB])
@pytest.mark.parametrize("length", [0.02, 0.001])
def test_the_first_step_has_the_length_that_is_given(optimizer, length):
    function = Quadratic(INSIDE)
    minimum(optimizer, function, INSIDE.astype(np.float32) + np.float32(0.05), 2, first_step=length)
    first, second = function.images[:2]
    assert np.sqrt(np.mean((second - first) ** 2)) == pytest.approx(length, rel=0.02)


@pytest.mark.slow
def test_lbfgs_is_as_good_as_scipy():
    # More values than a part has, and more iterations than there are pairs.
    assert LARGE.size > PART
    ours, bounded = Valley(LARGE.shape), Valley(LARGE.shape)
    minimum(LBFGS, ours, LARGE, 2 * MOST_PAIRS)
    assert min(ours.losses) == pytest.approx(lowest_by_scipy(bounded, 2 * MOST_PAIRS), rel=1e-6)
    assert min(ours.losses) < 0.1 * ours.losses[0]


def lowest_by_scipy(function, evaluations):
    """The lowest loss that SciPy's L-BFGS-B finds with bounds."""

    def flat(x):
        loss, gradient = function(x.reshape(LARGE.shape))
        return loss, gradient.ravel().astype(float)

    limits = {"maxfun": evaluations, "maxiter": evaluations, "ftol": 0, "gtol": 0}
    minimize(flat, LARGE.ravel().astype(float), jac=True, method="L-BFGS-B", bounds=Bounds(0, 1), options=limits)
    return min(function.losses[:evaluations])


@pytest.mark.slow
def test_without_bounds_scipys_is_as_good_as_with_them():
    folded, bounded = Valley(LARGE.shape), Valley(LARGE.shape)
    minimum(LBFGSB, folded, LARGE, 200)
    assert min(folded.losses) == pytest.approx(lowest_by_scipy(bounded, 200), rel=1e-4)


# The fold that keeps SciPy's variables within the range


@pytest.mark.parametrize("scale", [1.0, 0.3, 700.0])
def test_fold_and_unfold(scale):
    x = np.random.default_rng(7).random(3 * BLOCK // 2).astype(np.float32)
    x[:4] = 0, 1, MARGIN / 2, 1 - MARGIN / 2
    folded = fold(unfold(x, scale), scale)
    assert folded.dtype == np.float32
    np.testing.assert_allclose(folded, x.clip(MARGIN, 1 - MARGIN), rtol=0, atol=6e-8)


def test_fold_maps_the_line_onto_the_range():
    z = np.linspace(-7, 7, 200_001)
    x = fold(z).astype(np.float64)
    assert 0 <= x.min() < 1e-6 and 1 - 1e-6 < x.max() <= 1
    assert np.abs(np.diff(x)).max() <= z[1] - z[0] + 1.2e-7  # It never stretches, but for float32's rounding.


@pytest.mark.parametrize("scale", [1.0, 12.0])
def test_gradient_of_the_fold_against_finite_differences(scale):
    rng = np.random.default_rng(8)
    x = np.concatenate([rng.random(500), rng.uniform(0, FOLD, 500), rng.uniform(1 - FOLD, 1, 500)])
    z = np.concatenate([unfold(x, scale), rng.uniform(-3, 3, 500) / scale])
    weights = rng.standard_normal(z.size)
    step = 1e-4 / scale
    numeric = (fold(z + step, scale).astype(float) - fold(z - step, scale)) / (2 * step) * weights
    exact = np.empty_like(z)
    fold_backward(z, scale, weights, exact)
    # float32's rounding, and one step's part of the bend.
    np.testing.assert_allclose(exact, numeric, rtol=0, atol=0.02 * scale)


def test_start_beyond_the_margin_moves_by_less_than_an_8_bit_level():
    x = np.array([0.0, 1.0], np.float32)
    assert (np.rint(255 * fold(unfold(x))) == [0, 255]).all()
    # And it can leave the bound again.
    gradient = np.empty(2)
    fold_backward(unfold(x), 1.0, np.ones(2), gradient)
    assert (np.abs(gradient) > 0.2).all()


def test_lbfgs_never_goes_up():
    function = Valley(LARGE.shape)
    run = LBFGS(LARGE, 40)
    losses = []
    run.run(function, lambda: losses.append(run.state["loss"]))
    assert len(losses) > 20
    assert np.all(np.diff(losses) < 0)


def test_lbfgs_ends_where_nothing_is_lower():
    function = Quadratic(INSIDE)
    image = minimum(LBFGS, function, START.astype(np.float64), 10**6)
    np.testing.assert_allclose(image, INSIDE, rtol=0, atol=1e-6)


def test_lbfgs_ends_at_once_where_the_gradient_is_nothing():
    function = Quadratic(START.astype(np.float64))
    np.testing.assert_array_equal(minimum(LBFGS, function, START, 10), START)
    assert len(function.losses) == 1


def test_lbfgs_survives_a_gradient_that_is_wrong():
    # It points uphill, so that no step along it is accepted: the run ends, with the best that was seen.
    function = Quadratic(INSIDE)

    def wrong(x):
        loss, gradient = function(x)
        return loss, -gradient

    image = minimum(LBFGS, wrong, START, 1000)
    assert len(function.losses) < 200
    np.testing.assert_array_equal(image, START)


def test_lbfgs_direction_is_that_of_the_matrices():
    # The same pairs in the textbook's form: H' = (I - s y^T / sy) H (I - y s^T / sy) + s s^T / sy (7.16).
    run = LBFGS(START.astype(np.float64), 9)
    run.run(Quadratic(INSIDE))
    rows, products, pairs = run._rows, run._products, run._pairs
    changes = run._most + pairs
    np.testing.assert_allclose(products[np.ix_(pairs, changes)], rows[pairs] @ rows[changes].T, rtol=1e-9)
    last = changes[-1]
    inverse = np.eye(START.size) * products[pairs[-1], last] / products[last, last]
    for s, y in zip(rows[pairs], rows[changes], strict=True):
        across = np.eye(START.size) - np.outer(y, s) / (s @ y)
        inverse = across.T @ inverse @ across + np.outer(s, s) / (s @ y)
    assert len(pairs) > 5
    np.testing.assert_allclose(run._coefficients() @ rows, -inverse @ rows[-1], rtol=1e-6, atol=1e-12)


def test_large_images_keep_fewer_pairs():
    assert pairs_kept(3 * 64**2) == MOST_PAIRS
    assert pairs_kept(3 * 2**24) == optimizers.LEAST_PAIRS
    assert optimizers.LEAST_PAIRS < pairs_kept(3 * 1024**2) < MOST_PAIRS
    assert 3 * 1024**2 * pairs_kept(3 * 1024**2) <= optimizers.PAIR_VALUES


def test_lbfgs_with_few_pairs_works_as_well(monkeypatch):
    monkeypatch.setattr(optimizers, "PAIR_VALUES", 0)
    function = Valley(LARGE.shape)
    run = LBFGS(LARGE, 60)
    run.run(function)
    assert len(run._pairs) == optimizers.LEAST_PAIRS and len(run._rows) == 2 * optimizers.LEAST_PAIRS + 1
    assert min(function.losses) < 0.1 * function.losses[0]


@RESUMABLE
@pytest.mark.parametrize("averaging", [0.0, 0.9])
@pytest.mark.parametrize("iteration", [1, 2, 17, MOST_PAIRS + 5])
def test_a_run_taken_up_again_ends_with_the_same_bits(optimizer, averaging, iteration):
    states = []
    whole = optimizer(LARGE, MOST_PAIRS + 28, averaging)
    whole.run(Valley(LARGE.shape), lambda: states.append({k: np.copy(v) for k, v in whole.state.items()}))
    again = optimizer(LARGE, MOST_PAIRS + 28, averaging)
    again.restore(states[iteration - 1])
    again.run(Valley(LARGE.shape))
    np.testing.assert_array_equal(again.image, whole.image)
    assert not np.array_equal(whole.image, LARGE)


@OPTIMIZERS
def test_averaging_weighs_the_iterates(optimizer):
    iterates = []
    run = optimizer(START, 12, 0.8)
    run.run(Quadratic(INSIDE), lambda: iterates.append(run._x.copy()))
    weights = 0.8 ** np.arange(len(iterates))[::-1]
    expected = np.average(np.array(iterates, np.float64), axis=0, weights=weights)
    assert len(iterates) > 5
    np.testing.assert_allclose(run.image.reshape(-1), expected, rtol=0, atol=1e-6)
