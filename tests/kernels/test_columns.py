"""Features side by side and their cosine loss, against NumPy in float64 and finite differences."""

import numba
import numpy as np
import pytest

from stylecore.kernels.cpu import columns

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}
PARTS = pytest.mark.parametrize(
    "parts",
    [[slice(0, 12)], [slice(0, 3), slice(3, 7), slice(7, 12)], [slice(0, 2), slice(2, 9), slice(9, 12)]],
    ids=["one", "apart", "across"],
)
SPLIT = 7


def means(values, side, block):
    """Means over squares of a map (H, W, C), in the order of the rows."""
    height, width, channels = (values.shape[0] // side, values.shape[1] // side, values.shape[2])
    squares = values.reshape(height, side, width, side, channels).mean(axis=(1, 3))
    cells = squares.reshape(height // block, block, width // block, block, channels)
    return cells.transpose(0, 2, 1, 3, 4).reshape(-1, channels)


@DTYPES
@pytest.mark.parametrize(("side", "block"), [(4, 2), (2, 2), (1, 2), (1, 1)])
def test_means_over_squares(side, block, dtype):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((16, 24, 5)).astype(dtype)
    matrix = rng.standard_normal((16 * 24 // side**2, 9)).astype(dtype)
    before = matrix.copy()
    columns.square_means(features, side, block, 0.5, matrix, 3)
    expected = 0.5 * means(features.astype(np.float64), side, block)
    np.testing.assert_allclose(matrix[:, 3:8], expected, atol=TOLERANCE[dtype])
    np.testing.assert_array_equal(matrix[:, [0, 1, 2, 8]], before[:, [0, 1, 2, 8]])


@DTYPES
@pytest.mark.parametrize(("side", "block"), [(4, 2), (2, 2), (1, 2), (1, 1)])
def test_their_gradient_is_the_adjoint(side, block, dtype):
    rng = np.random.default_rng(1)
    before = rng.standard_normal((16, 24, 5)).astype(dtype)
    given = rng.standard_normal((16 * 24 // side**2, 9)).astype(dtype)
    result = before.copy()
    columns.square_means_backward(given, 3, side, block, 0.5, result)
    expected = np.zeros((16 * 24 // side**2, 5))
    order = means(np.arange(len(expected)).reshape(16 // side, -1, 1), 1, block).astype(int)[:, 0]
    expected[order] = 0.5 / side**2 * given[:, 3:8]
    expected = expected.reshape(16 // side, -1, 5).repeat(side, axis=0).repeat(side, axis=1)
    np.testing.assert_allclose(result, before + expected, atol=TOLERANCE[dtype])


def loss_of(fine, coarse, targets, parts):
    features = np.concatenate([fine, coarse.repeat(4, axis=0)], axis=1)
    lengths = [np.linalg.norm(features[:, part], axis=1) for part in parts]
    products = [np.sum(features[:, part] * targets[:, part], axis=1) for part in parts]
    return np.mean([1 - product / length for product, length in zip(products, lengths, strict=True)])


def examples(parts, dtype, cells=6):
    rng = np.random.default_rng(2)
    fine, coarse = rng.standard_normal((4 * cells, SPLIT)), rng.standard_normal((cells, 12 - SPLIT))
    targets = rng.standard_normal((4 * cells, 12))
    for part in parts:
        targets[:, part] /= np.linalg.norm(targets[:, part], axis=1, keepdims=True)
    return fine.astype(dtype), coarse.astype(dtype), targets.astype(dtype)


@DTYPES
@PARTS
def test_cosine_loss(parts, dtype):
    fine, coarse, targets = examples(parts, dtype)
    by_fine, by_coarse = fine.copy(), coarse.copy()
    value = columns.cosine_loss(by_fine, by_coarse, targets, parts)
    fine, coarse, targets = (each.astype(np.float64) for each in (fine, coarse, targets))
    assert value == pytest.approx(loss_of(fine, coarse, targets, parts), rel=TOLERANCE[dtype])
    rng = np.random.default_rng(3)
    for _ in range(4):
        along_fine, along_coarse = rng.standard_normal(fine.shape), rng.standard_normal(coarse.shape)
        ahead, behind = (
            loss_of(fine + step * along_fine, coarse + step * along_coarse, targets, parts) for step in (1e-6, -1e-6)
        )
        along = np.vdot(by_fine, along_fine) + np.vdot(by_coarse, along_coarse)
        assert along == pytest.approx((ahead - behind) / 2e-6, abs=max(1e-8, TOLERANCE[dtype]))


def test_features_that_are_zero_have_no_angle():
    fine, coarse = np.zeros((4, 3)), np.zeros((1, 2))
    assert columns.cosine_loss(fine, coarse, np.zeros((4, 5)), [slice(0, 5)]) == 1
    assert not fine.any() and not coarse.any()


def test_the_loss_does_not_depend_on_the_threads():
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("this machine has one thread only")
    parts, results = [slice(0, 12)], []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        fine, coarse, targets = examples(parts, np.float32, cells=500)
        numba.set_num_threads(threads)
        try:
            results.append((columns.cosine_loss(fine, coarse, targets, parts), fine.tobytes(), coarse.tobytes()))
        finally:
            numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    assert results[0] == results[1]
