"""The passes over L-BFGS's pairs, against NumPy in float64."""

import numba
import numpy as np
import pytest

from stylecore.kernels.cpu import pairs

SIZES = pytest.mark.parametrize("size", [1, 3, pairs.PART - 1, pairs.PART, 2 * pairs.PART + 5, 7 * pairs.PART])
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-13}
ROWS = 9


def vectors(size, dtype):
    """Rows; and two points with their gradients, of which every third value is at an end of the range."""
    rng = np.random.default_rng(size)
    rows = rng.standard_normal((ROWS, size)).astype(dtype)
    points = rng.random((2, size)).astype(dtype)
    points[:, ::3] = points[:, ::3].round()
    gradients = rng.standard_normal((2, size)).astype(dtype)
    gradients[:, ::9] = 0
    return rows, *points, *gradients


def blocked(x, gradient):
    return ((x == 0) & (gradient > 0)) | ((x == 1) & (gradient < 0))


def assert_near(got, expected, dtype):
    scale = np.abs(expected).max() or 1
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


@DTYPES
@SIZES
def test_combine_sums_rows_where_values_are_free(size, dtype):
    rows, x, _, gradient, _ = vectors(size, dtype)
    used, coefficients = [7, 0, 3, 8], np.random.default_rng(1).standard_normal(ROWS)
    got = pairs.combine(rows, used, coefficients, x, gradient)
    expected = np.where(blocked(x, gradient), 0, coefficients[used] @ rows[used].astype(np.float64))
    assert got.dtype == dtype
    assert_near(got, expected, dtype)


@DTYPES
@SIZES
def test_move_stays_within_the_range_and_predicts_the_change(size, dtype):
    rows, x, _, gradient, _ = vectors(size, dtype)
    moved = np.empty_like(x)
    predicted = pairs.move(x, rows[0], 0.3, gradient, moved)
    expected = np.clip(x + 0.3 * rows[0].astype(np.float64), 0, 1)
    assert moved.min() >= 0 and moved.max() <= 1
    assert_near(moved, expected, dtype)
    terms = gradient * (expected - x)
    assert predicted == pytest.approx(terms.sum(), abs=TOLERANCE[dtype] * np.abs(terms).sum())


@DTYPES
@SIZES
def test_take_writes_the_pair_and_gives_inner_products(size, dtype):
    rows, x, new_x, gradient, new_gradient = vectors(size, dtype)
    before, used = rows.copy(), [1, 2, 5, 6, 8]
    products = pairs.take(rows, used, 2, 5, x, gradient, new_x, new_gradient)
    np.testing.assert_array_equal(rows[2], new_x - x)
    np.testing.assert_array_equal(rows[5], new_gradient - gradient)
    np.testing.assert_array_equal(rows[8], np.where(blocked(new_x, new_gradient), 0, new_gradient))
    others = [0, 1, 3, 4, 6, 7]
    np.testing.assert_array_equal(rows[others], before[others])
    lengths = np.linalg.norm(rows, axis=1)
    scale = np.outer(lengths[[2, 5, 8]], lengths[used])
    errors = np.abs(products - rows[[2, 5, 8]].astype(np.float64) @ rows[used].astype(np.float64).T)
    assert np.all(errors <= TOLERANCE[dtype] * scale)


@DTYPES
def test_sums_do_not_depend_on_the_threads(dtype):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("this machine has one thread only")
    results = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        rows, x, new_x, gradient, new_gradient = vectors(20 * pairs.PART + 3, dtype)
        numba.set_num_threads(threads)
        try:
            predicted = pairs.move(x, rows[0], 0.3, gradient, np.empty_like(x))
            products = pairs.take(rows, range(ROWS), 2, 5, x, gradient, new_x, new_gradient)
        finally:
            numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
        results.append((predicted, products.tobytes()))
    assert results[0] == results[1]
