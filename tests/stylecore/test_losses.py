"""The terms of the paper against finite differences and against their formulas."""

from itertools import permutations

import numpy as np
import pytest

from stylecore.kernels import cpu, reference
from stylecore.losses import (
    STYLE_LOSSES,
    ContentLoss,
    GramDistance,
    MeanStdDistance,
    Moments,
    Projections,
    Regularization,
    SlicedWassersteinDistance,
    StyleLoss,
    TemporalLoss,
    TotalVariation,
    WassersteinDistance,
    directions,
)

OF_MOMENTS = [kind for kind, distance in STYLE_LOSSES.items() if not distance.of_positions]
BACKENDS = pytest.mark.parametrize("backend", [reference, cpu], ids=["reference", "cpu"])


def check_gradient(function, gradient, x, rng, tolerance=1e-6):
    for direction in rng.standard_normal((4, *x.shape)):
        direction /= np.linalg.norm(direction)
        numeric = (function(x + 1e-6 * direction) - function(x - 1e-6 * direction)) / 2e-6
        assert abs(np.vdot(gradient, direction) - numeric) <= tolerance * np.linalg.norm(gradient)


def value(loss, features):
    """Value at features that are accumulated in two strips."""
    loss.reset()
    loss.accumulate(features[:5])
    loss.accumulate(features[5:], 5)
    return loss.value()


@BACKENDS
def test_content(backend):
    rng = np.random.default_rng(0)
    features, target = rng.standard_normal((2, 9, 6))
    loss = ContentLoss(target, backend)
    assert value(loss, features) == pytest.approx(0.5 * np.sum((features - target) ** 2), rel=1e-12)
    gradient = np.zeros_like(features)
    for part in (slice(5), slice(5, None)):
        loss.add_gradient(features[part], 2.0, gradient[part], part.start or 0)
    check_gradient(lambda f: 2.0 * value(loss, f), gradient, features, rng)
    assert loss.blank() == pytest.approx(value(loss, np.zeros_like(target)), rel=1e-12)


GUIDES = {"none": None, "soft": np.linspace(0.1, 1, 9), "hard": np.arange(9.0) // 5}


class OfFeatures:
    """The style loss of features of nine positions, which come in strips, from a style given by its moments."""

    def __init__(self, kind, style, backend, guide=None):
        distance = STYLE_LOSSES[kind](*style, backend)
        self.loss = StyleLoss(distance, backend)
        self.moments = Moments(backend, (9, len(style[0])), np.float64, guide, distance.with_mean)
        self.relative_weight = self.loss.relative_weight
        self.reset, self.accumulate = self.moments.reset, self.moments.accumulate

    def value(self):
        return self.loss.value(self.moments.mean, self.moments.second)

    def add_gradient(self, features, weight, gradient, start=0):
        self.moments.add_gradient(features, *self.loss.gradients, weight, gradient, start)


def moments(features, guide=None):
    """Mean and second moment by their formulas."""
    guide = np.ones(len(features)) if guide is None else guide
    return guide @ features / guide.sum(), (features.T * guide) @ features / guide.sum()


@BACKENDS
@pytest.mark.parametrize("guide", GUIDES.values(), ids=GUIDES)
@pytest.mark.parametrize("kind", OF_MOMENTS)
def test_style(kind, guide, backend):
    rng = np.random.default_rng(1)
    features, style = rng.standard_normal((9, 6)), rng.standard_normal((14, 6)) + 0.5
    distance = STYLE_LOSSES[kind](*moments(style), backend)
    loss = OfFeatures(kind, moments(style), backend, guide)
    assert value(loss, features) == pytest.approx(distance(*moments(features, guide))[0], rel=1e-9)
    gradient = np.zeros_like(features)
    for part in (slice(5), slice(5, None)):
        loss.add_gradient(features[part], 2.0, gradient[part], part.start or 0)
    # Of the four positions in the hard region no covariance has full rank: there the quotient, too, is rounded.
    check_gradient(lambda f: 2.0 * value(loss, f), gradient, features, rng, 1e-5 if kind == "wasserstein" else 1e-6)
    assert loss.relative_weight * value(loss, np.zeros_like(features)) == pytest.approx(distance.strength, rel=1e-3)


@pytest.mark.parametrize("guide", [None, GUIDES["hard"]])
@pytest.mark.parametrize("kind", OF_MOMENTS)
def test_gradient_strength(kind, guide):
    rng = np.random.default_rng(8)
    features, style = rng.standard_normal((9, 6)), rng.standard_normal((14, 6)) + 0.5
    loss, gradient = OfFeatures(kind, moments(style), cpu, guide), np.zeros_like(features)
    value(loss, features)
    loss.add_gradient(features, 1.0, gradient)
    inside = features if guide is None else features[guide > 0]
    strength = loss.loss.gradient_strength(loss.moments.mean, loss.moments.second)
    assert strength == pytest.approx(np.linalg.norm(gradient) * np.linalg.norm(inside))


def test_gram_is_that_of_the_paper():
    rng = np.random.default_rng(1)
    features, style = rng.standard_normal((9, 6)), rng.standard_normal((14, 6))
    difference = features.T @ features - style.T @ style * 9 / 14
    energy, by_mean, gradient = GramDistance(*moments(style), cpu)(*moments(features))
    assert energy == pytest.approx(np.sum(difference**2) / (4 * 6**2 * 9**2), rel=1e-12)
    np.testing.assert_allclose(2 / 9 * features @ gradient, features @ difference / (6**2 * 9**2))
    assert not by_mean.any()


def test_guided_grams_add_up_to_that_of_the_whole():
    rng = np.random.default_rng(2)
    features, guide = rng.standard_normal((9, 6)), rng.random(9)
    parts = [Moments(cpu, (9, 6), np.float64, part) for part in (guide, 1 - guide)]
    for part in parts:
        part.accumulate(features)
    total = guide.sum() * parts[0].second + (1 - guide).sum() * parts[1].second
    np.testing.assert_allclose(total, features.T @ features)


def test_moments_of_parts_add_up_to_those_of_the_whole():
    rng = np.random.default_rng(9)
    features, guide = rng.standard_normal((9, 6)), rng.random(9)
    whole = Moments(cpu, (9, 6), np.float64, guide, with_mean=True)
    whole.accumulate(features)
    parts = [Moments(cpu, (n, 6), np.float64, part, True, guide.sum()) for n, part in ((4, guide[:4]), (5, guide[4:]))]
    parts[0].accumulate(features[:4])
    parts[1].accumulate(features[4:])
    np.testing.assert_allclose(parts[0].mean + parts[1].mean, whole.mean)
    np.testing.assert_allclose(parts[0].second + parts[1].second, whole.second)


@pytest.mark.parametrize("kind", OF_MOMENTS)
def test_no_distance_from_itself(kind):
    rng = np.random.default_rng(3)
    style = np.abs(rng.standard_normal((50, 8))) * np.arange(1, 9)
    distance = STYLE_LOSSES[kind](*moments(style), cpu)
    loss, by_mean, by_second = distance(*moments(style))
    assert 0 <= loss < 2e-4 * distance.blank
    assert np.abs(by_second).max() < 1e-2 and np.abs(by_mean).max() < 1e-1


@pytest.mark.parametrize("kind", OF_MOMENTS)
def test_mean_and_spread_both_count(kind):
    rng = np.random.default_rng(4)
    style = rng.standard_normal((50, 8))
    distance = STYLE_LOSSES[kind](*moments(style), cpu)
    assert distance(*moments(style + 1))[0] > 0.05 * distance.blank
    assert distance(*moments(2 * style))[0] > 0.05 * distance.blank


def test_mean_std_is_its_formula():
    rng = np.random.default_rng(10)
    features, style = rng.standard_normal((9, 6)), rng.standard_normal((14, 6)) + 0.5
    parts = [[f.T @ f / len(f), 10 * f.mean(axis=0), 10 * f.std(axis=0)] for f in (features, style)]
    expected = sum(np.sum((part - other) ** 2) for part, other in zip(*parts, strict=True)) / (4 * 6**2)
    assert MeanStdDistance(*moments(style), cpu)(*moments(features))[0] == pytest.approx(expected, rel=1e-5)


def test_wasserstein_of_gaussians_along_one_axis():
    # The distance between N(1, 2^2) and N(4, 6^2) is (4 - 1)^2 + (6 - 2)^2; across, neither has any spread.
    mean, other = np.array([1.0, 0.0]), np.array([4.0, 0.0])
    second, other_second = np.diag([5.0, 0.0]), np.diag([52.0, 0.0])
    assert WassersteinDistance(other, other_second, cpu)(mean, second)[0] == pytest.approx(25, abs=36 / 5000)


def test_wasserstein_is_the_transport_of_samples():
    # Of Gaussians with the same eigenvectors, the map between them stretches along each.
    rng = np.random.default_rng(5)
    axes = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    one, two = rng.random((2, 5)) + 0.1
    covariances = [axes * values**2 @ axes.T for values in (one, two)]
    value = WassersteinDistance(np.zeros(5), covariances[0], cpu)(np.zeros(5), covariances[1])[0]
    assert value == pytest.approx(np.sum((one - two) ** 2), abs=np.sum(one**2) / 5000)


def test_wasserstein_gradient_where_covariances_lack_rank():
    rng = np.random.default_rng(6)
    # Fewer positions than channels, on both sides; and channels that are never active, other ones on each side.
    style, features = rng.standard_normal((6, 12)), rng.standard_normal((9, 12))
    style[:, :2], features[:, 1:4] = 0, 0
    loss = OfFeatures("wasserstein", moments(style), cpu)
    gradient = np.zeros_like(features)
    value(loss, features)
    loss.add_gradient(features, 1.0, gradient)
    assert np.abs(gradient).max() < 5
    check_gradient(lambda f: value(loss, f), gradient, features, rng)


@pytest.mark.parametrize("kind", OF_MOMENTS)
def test_a_blank_style(kind):
    rng = np.random.default_rng(7)
    features = rng.standard_normal((9, 6))
    loss = OfFeatures(kind, (np.zeros(6), np.zeros((6, 6))), cpu)
    gradient = np.zeros_like(features)
    assert np.isfinite(loss.relative_weight) and value(loss, features) > 0
    loss.add_gradient(features, 1.0, gradient)
    check_gradient(lambda f: value(loss, f), gradient, features, rng)


def projected(features, backend=reference):
    """Projections of features that come in two strips."""
    projections = Projections(backend, features.shape, np.float64)
    projections.accumulate(features[:5])
    projections.accumulate(features[5:], 5)
    return projections


@pytest.mark.parametrize("channels", [1, 2, 6, 64])
def test_directions_are_orthogonal_and_symmetric(channels):
    D = directions(channels, np.float64)
    np.testing.assert_allclose(D @ D.T, np.eye(channels), atol=1e-12)
    np.testing.assert_allclose(D, D.T, atol=1e-12)


@BACKENDS
@pytest.mark.parametrize("positions", [9, 14, 5, 1])
def test_sliced_wasserstein(positions, backend):
    rng = np.random.default_rng(11)
    features, style = rng.standard_normal((9, 20)), rng.standard_normal((positions, 20)) + 0.5
    distance = SlicedWassersteinDistance(np.empty(0), style @ directions(20, np.float64), backend)
    loss = StyleLoss(distance, backend)

    def at(features):
        projections = projected(features, backend)
        return loss.value(projections.mean, projections.second)

    projections = projected(features, backend)
    np.testing.assert_allclose(projections.second, features @ directions(20, np.float64), rtol=1e-12)
    strength = loss.gradient_strength(projections.mean, projections.second)
    gradient = np.zeros_like(features)
    for part in (slice(5), slice(5, None)):
        projections.add_gradient(features[part], *loss.gradients, 2.0, gradient[part], part.start or 0)
    check_gradient(lambda f: 2 * at(f), gradient, features, rng)
    assert strength == pytest.approx(np.linalg.norm(gradient / 2) * np.linalg.norm(features))
    assert loss.relative_weight * at(np.zeros_like(features)) == pytest.approx(
        distance.strength, rel=1 if positions != 9 else 1e-9
    )


def test_sliced_wasserstein_is_the_least_of_all_assignments():
    rng = np.random.default_rng(12)
    p, q = rng.standard_normal((2, 5, 1))
    least = min(np.mean((p[list(order)] - q) ** 2) for order in permutations(range(5)))
    assert SlicedWassersteinDistance(np.empty(0), q, cpu)(np.empty(0), p)[0] == pytest.approx(least, rel=1e-12)


def test_sliced_wasserstein_sees_the_distribution_and_not_the_places():
    rng = np.random.default_rng(13)
    style = rng.standard_normal((40, 6)) ** 3
    distance = SlicedWassersteinDistance(np.empty(0), style, cpu)
    assert distance(np.empty(0), rng.permutation(style))[0] == 0
    # Twice as many positions of the same distribution, and others with the same mean and deviation.
    assert distance(np.empty(0), np.repeat(style, 2, axis=0))[0] < 0.02 * distance.blank
    normal = rng.standard_normal((40, 6))
    normal = (normal - normal.mean(axis=0)) / normal.std(axis=0) * style.std(axis=0) + style.mean(axis=0)
    assert distance(np.empty(0), normal)[0] > 0.1 * distance.blank


def gradient_at(loss, x):
    """Gradient of twice a loss of the image, which is added to what was there."""
    gradient = np.ones_like(x)
    loss.add_gradient(x, 2.0, gradient)
    return gradient - 1


@BACKENDS
def test_regularization(backend):
    rng = np.random.default_rng(2)
    x, mean = rng.random((2, 4, 5, 3))
    loss = Regularization(mean, backend)
    assert loss.value(x) == pytest.approx(0.5 * np.sum((x - mean) ** 2))
    check_gradient(lambda x: 2 * loss.value(x), gradient_at(loss, x), x, rng)


@BACKENDS
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 6, 3), (5, 1, 3), (4, 7, 3)])
def test_total_variation(shape, backend):
    rng = np.random.default_rng(3)
    x = rng.random(shape)
    loss = TotalVariation(backend)
    expected = sum(
        (x[i + 1, j] - x[i, j]) @ (x[i + 1, j] - x[i, j]) for i in range(shape[0] - 1) for j in range(shape[1])
    )
    expected += sum(
        (x[i, j + 1] - x[i, j]) @ (x[i, j + 1] - x[i, j]) for i in range(shape[0]) for j in range(shape[1] - 1)
    )
    assert loss.value(x) == pytest.approx(0.5 * expected)
    check_gradient(lambda x: 2 * loss.value(x), gradient_at(loss, x), x, rng)


@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (1, 9)])
def test_temporal(shape):
    rng = np.random.default_rng(4)
    x, target = rng.random((2, *shape, 3))
    weights = rng.random(shape)
    weights[0, 0] = 0
    loss = TemporalLoss(target, weights)
    expected = sum(
        weights[i, j] * (x[i, j, k] - target[i, j, k]) ** 2
        for i in range(shape[0])
        for j in range(shape[1])
        for k in range(3)
    )
    assert loss.value(x) == pytest.approx(expected / x.size)
    gradient = np.zeros_like(x)
    loss.add_gradient(x, 2.0, gradient)
    check_gradient(lambda x: 2 * loss.value(x), gradient, x, rng)
    assert (gradient[0, 0] == 0).all()
