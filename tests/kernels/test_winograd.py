"""The transforms of Winograd's algorithm, as formulas on plain numbers."""

import numpy as np
from stylecore.kernels.cpu import winograd


def test_transforms_make_a_correlation():
    rng = np.random.default_rng(0)
    d, g = rng.standard_normal((6, 6)), rng.standard_normal((3, 3))
    v, u = winograd._both_ways(winograd._input_transform, d), winograd._both_ways(winograd._filter_transform, g)
    y = winograd._both_ways(winograd._output_transform, (np.array(u) * np.array(v)).tolist())
    expected = [[np.sum(d[a : a + 3, b : b + 3] * g) for b in range(4)] for a in range(4)]
    np.testing.assert_allclose(y, expected, atol=1e-12)


def test_packed_filters_are_filled_up_with_zeros():
    filters = np.random.default_rng(0).standard_normal((3, 3, 16, 48))
    packed = winograd.pack_filters(filters)
    assert packed.shape == (2, 16, 9, winograd.WIDTH)
    np.testing.assert_array_equal(packed[1, 5, 7], [*filters[2, 1, 5, 32:], *[0] * 16])
