"""The transforms of Winograd's algorithm, as formulas on plain numbers."""

import numpy as np
import pytest

from stylecore.kernels.cpu import winograd


@pytest.mark.parametrize("points", [winograd.F4, winograd.F6], ids=["F4", "F6"])
def test_transforms_make_a_correlation(points):
    rng = np.random.default_rng(0)
    side = len(points) + 1
    d, g = rng.standard_normal((side, side)), rng.standard_normal((3, 3))
    of_input, of_filter, of_output = winograd._TRANSFORMS[len(points)]
    v, u = winograd._transform_2d(of_input, d), winograd._transform_2d(of_filter, g)
    y = winograd._transform_2d(of_output, (np.array(u) * np.array(v)).tolist())
    expected = [[np.sum(d[a : a + 3, b : b + 3] * g) for b in range(side - 2)] for a in range(side - 2)]
    np.testing.assert_allclose(y, expected, atol=1e-12)


@pytest.mark.parametrize("points", [winograd.F4, winograd.F6], ids=["F4", "F6"])
def test_filters_are_evaluated_at_the_points(points):
    # The transform of 1, x and x^2 is that of a polynomial at each point, up to a factor that the point has.
    _, of_filter, _ = winograd._TRANSFORMS[len(points)]
    columns = np.array([of_filter(*row) for row in np.eye(3)]).T
    np.testing.assert_allclose(columns[:-1] / columns[:-1, :1], [[1, point, point**2] for point in points])
    np.testing.assert_array_equal(columns[-1], [0, 0, 1])


def test_packed_filters_are_filled_up_with_zeros():
    filters = np.random.default_rng(0).standard_normal((3, 3, 16, 48))
    packed = winograd.pack_filters(filters)
    assert packed.shape == (2, 16, 9, winograd.WIDTH)
    np.testing.assert_array_equal(packed[1, 5, 7], [*filters[2, 1, 5, 32:], *[0] * 16])
