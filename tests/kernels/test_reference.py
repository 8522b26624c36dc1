"""The reference against finite differences, in float64.

ReLU and max have kinks, at which a difference quotient means nothing. The points are therefore chosen so that no
value is within STEP times the largest possible change of a kink: inputs are drawn until every value in front of a
ReLU, and every difference between the two largest of a window, exceeds MARGIN.
"""

import numpy as np
import pytest

from stylecore.kernels import BLOCKED, reference

STEP = 1e-6
MARGIN = 1e-4


def check_gradient(function, gradient, x, rng):
    """Compare d function / d x with central differences along random directions and at single elements."""
    directions = [direction / np.linalg.norm(direction) for direction in rng.standard_normal((3, *x.shape))]
    for index in rng.integers(x.size, size=3):
        single = np.zeros(x.size)
        single[index] = 1
        directions.append(single.reshape(x.shape))
    for direction in directions:
        numeric = (function(x + STEP * direction) - function(x - STEP * direction)) / (2 * STEP)
        assert abs(np.vdot(gradient, direction) - numeric) < 1e-6 * max(abs(numeric), np.abs(gradient).max())


def away_from(kink, draw):
    """The first drawn input for which all of kink(x) is further than MARGIN from zero."""
    for _ in range(200):
        x = draw()
        if np.abs(kink(x)).min() > MARGIN:
            return x
    raise AssertionError("no input away from the kinks was found")


def weighted(function, weights):
    return lambda x: float(np.vdot(weights, function(x)))


SHAPES = [
    ((1, 1, 1, 3), 3, 1, 1),
    ((2, 5, 7, 3), 3, 1, 1),
    ((1, 9, 8, 2), 5, 1, 2),
    ((1, 13, 11, 3), 11, 4, 2),
    ((1, 6, 6, 4), 1, 1, 0),
]


@pytest.mark.parametrize(("shape", "size", "stride", "padding"), SHAPES)
def test_conv2d(shape, size, stride, padding):
    rng = np.random.default_rng(0)
    x, filters, bias = (
        rng.standard_normal(shape),
        rng.standard_normal((size, size, shape[3], 5)),
        rng.standard_normal(5),
    )

    def function(x):
        return reference.conv2d(x, filters, bias, stride, padding)

    dy = rng.standard_normal(function(x).shape)
    gradient = reference.conv2d_backward(dy, filters, x.shape, stride, padding)
    check_gradient(weighted(function, dy), gradient, x, rng)


def test_conv2d_is_the_sum_in_its_formula():
    rng = np.random.default_rng(1)
    x, filters, bias = rng.standard_normal((1, 4, 5, 2)), rng.standard_normal((3, 3, 2, 3)), rng.standard_normal(3)
    y = reference.conv2d(x, filters, bias)
    for i, j, k in [(0, 0, 0), (3, 4, 2), (2, 1, 1)]:
        total = bias[k]
        for u in range(3):
            for v in range(3):
                if 0 <= i + u - 1 < 4 and 0 <= j + v - 1 < 5:
                    total += x[0, i + u - 1, j + v - 1] @ filters[u, v, :, k]
        assert abs(y[0, i, j, k] - total) < 1e-12


def test_relu():
    rng = np.random.default_rng(2)
    x = away_from(lambda x: x, lambda: rng.standard_normal((1, 3, 4, 11)))
    dy = rng.standard_normal(x.shape)
    gradient = reference.relu_backward(dy, reference.relu_mask(reference.relu(x)))
    check_gradient(weighted(reference.relu, dy), gradient, x, rng)


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2), (3, 3)])
@pytest.mark.parametrize("shape", [(1, 3, 3, 2), (2, 7, 6, 3)])
def test_pools(shape, size, stride):
    rng = np.random.default_rng(3)
    sides = [(side - size) // stride + 1 for side in shape[1:3]]
    pooled = (shape[0], *sides, shape[3])

    def max_pool(x):
        y, route = np.empty(pooled), np.empty(pooled, np.uint8)
        reference.max_pool(x, size, stride, y, route)
        return y, route

    def average_pool(x):
        y = np.empty(pooled)
        reference.average_pool(x, size, stride, y)
        return y

    def gaps(x):
        return np.diff(np.sort(x, axis=None))

    x = away_from(gaps, lambda: rng.standard_normal(shape))
    dy, dx = rng.standard_normal(pooled), np.empty(shape)
    reference.max_pool_backward(dy, max_pool(x)[1], size, stride, dx)
    check_gradient(weighted(lambda x: max_pool(x)[0], dy), dx, x, rng)
    reference.average_pool_backward(dy, size, stride, dx)
    check_gradient(weighted(average_pool, dy), dx, x, rng)


@pytest.mark.parametrize("shape", [(1, 2, 2, 3), (1, 5, 4, 3)])
def test_convolution_with_relu_and_pool(shape):
    rng = np.random.default_rng(4)
    conv = reference.prepare(rng.standard_normal((3, 3, 3, 4)), rng.standard_normal(4), 1, 1, "float64")
    pooled = (1, shape[1] // 2, shape[2] // 2, 4)

    def linear(x):
        return reference.conv2d(x, conv.filters, conv.bias)

    def kinks(x):
        y = linear(x)
        return np.concatenate([y.reshape(-1), np.diff(np.sort(y, axis=None))])

    x = away_from(kinks, lambda: rng.standard_normal(shape))
    y, mask = np.empty((*shape[:3], 4)), np.empty((*shape[:3], 1), np.uint8)
    dy, dx = rng.standard_normal(y.shape), np.empty(shape)
    reference.conv_relu(x, conv, y, mask)
    reference.conv_relu_backward(dy, mask, conv, dx)
    check_gradient(weighted(lambda x: reference.relu(linear(x)), dy), dx, x, rng)

    y, route = np.empty(pooled), np.empty(pooled, np.uint8)

    def fused(x):
        value = np.empty(pooled)
        reference.conv_relu_pool(x, conv, value, np.empty(pooled, np.uint8))
        return value

    reference.conv_relu_pool(x, conv, y, route)
    assert ((route == BLOCKED) == (y == 0)).all()
    dy = rng.standard_normal(pooled)
    reference.conv_relu_pool_backward(dy, route, conv, dx)
    check_gradient(weighted(fused, dy), dx, x, rng)


def added(function, shape, *arguments):
    """What a function adds, 0.7 times, to what is there."""
    total = np.ones(shape)
    function(arguments[0], 0.7, total, *arguments[1:])
    return (total - 1) / 0.7


def gram(features, guide=None):
    return added(reference.gram, features.shape[1:] * 2, features, guide)


def channel_sums(features, guide=None):
    return added(reference.channel_sums, features.shape[1:], features, guide)


def test_gram_and_its_gradient():
    rng = np.random.default_rng(5)
    features, target = rng.standard_normal((7, 4)), rng.standard_normal((4, 4))
    target += target.T

    def energy(f):
        return 0.25 * float(np.sum((gram(f) - target) ** 2))

    gradient = np.zeros_like(features)
    reference.gram_backward(features, gram(features) - target, 1.0, gradient)
    check_gradient(energy, gradient, features, rng)


def test_total_variation():
    rng = np.random.default_rng(7)
    x = rng.random((4, 5, 3))
    gradient = np.zeros_like(x)
    reference.total_variation_backward(x, 1.0, gradient)
    check_gradient(reference.total_variation, gradient, x, rng)


def test_guided_gram_and_channel_sums_and_their_gradients():
    rng = np.random.default_rng(7)
    features, guide = rng.standard_normal((7, 4)), rng.random(7)
    target, row = rng.standard_normal((4, 4)), rng.standard_normal(4)
    target += target.T
    np.testing.assert_allclose(gram(features, guide), features.T @ np.diag(guide) @ features)
    np.testing.assert_allclose(channel_sums(features, guide), guide @ features)
    np.testing.assert_allclose(channel_sums(features), np.ones(7) @ features)
    for weights in (None, guide):
        gradient = np.zeros_like(features)
        reference.gram_backward(features, gram(features, weights) - target, 1.0, gradient, weights)
        reference.channel_sums_backward(row, 0.7, gradient, weights)

        def energy(f, weights=weights):
            difference = gram(f, weights) - target
            return 0.25 * float(np.sum(difference**2)) + 0.7 * float(row @ channel_sums(f, weights))

        check_gradient(energy, gradient, features, rng)


def test_half_squared_distance():
    rng = np.random.default_rng(6)
    a, b = rng.standard_normal((2, 6, 5))
    gradient = np.zeros_like(a)
    reference.half_squared_distance_backward(a, b, 1.0, gradient)
    check_gradient(lambda a: reference.half_squared_distance(a, b), gradient, a, rng)
