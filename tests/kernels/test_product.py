"""The register tiles against NumPy's product."""

import numpy as np
import pytest
from numba import njit

from stylecore.kernels.cpu import product, vectors
from stylecore.kernels.cpu.product import ROWS, multiply, pad_columns, panel_columns
from stylecore.kernels.cpu.runtime import kernel

TOLERANCE = {"float32": 1e-5, "float64": 1e-13}


@kernel
def multiplied(a, a_start, a_row, a_column, b, b_start, b_row, c, c_start, c_row, rows, depth, add):
    multiply(a, a_start, a_row, a_column, b, b_start, b_row, c, c_start, c_row, rows, depth, add)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("by_columns", [False, True])
@pytest.mark.parametrize("depth", [1, 7, 64])
@pytest.mark.parametrize("rows", [1, 3, 4, 7, ROWS, ROWS + 1, 3 * ROWS + 6])
def test_multiply(rows, depth, by_columns, add, dtype):
    rng = np.random.default_rng(0)
    width = panel_columns(np.dtype(dtype))
    a = rng.standard_normal((rows, depth)).astype(dtype)
    b = rng.standard_normal((depth, 2 * width)).astype(dtype)
    c = rng.standard_normal((rows + 2, 3 * width)).astype(dtype)
    expected = c.astype(np.float64)
    expected[1:-1, width : 2 * width] *= add
    expected[1:-1, width : 2 * width] += a.astype(np.float64) @ b[:, width:]

    memory = np.ascontiguousarray(a.T if by_columns else a).reshape(-1)
    row, column = (1, rows) if by_columns else (depth, 1)
    start = 3 * width + width
    flat_b, flat_c = b.reshape(-1), c.reshape(-1)
    multiplied(memory, 0, row, column, flat_b, width, 2 * width, flat_c, start, 3 * width, rows, depth, add)
    # What lies around the panel is compared too, and must be as it was.
    assert np.linalg.norm(c - expected) <= TOLERANCE[dtype] * np.linalg.norm(expected)
    np.testing.assert_array_equal(c[[0, -1]], expected[[0, -1]].astype(dtype))
    np.testing.assert_array_equal(c[:, :width], expected[:, :width].astype(dtype))


@pytest.mark.parametrize("depth", [1, 2, 33])
def test_pairs_in_bfloat16(depth, monkeypatch):
    rng = np.random.default_rng(0)
    width = panel_columns(np.dtype("float32"))
    # The upper halves of numbers in float32 are those in bfloat16.
    a, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((depth, 2), (depth, width, 2)))
    a, b = ((array.view(np.uint32) & 0xFFFF0000).view(np.float32) for array in (a, b))
    pairs = [np.ascontiguousarray(array.view(np.uint16)[..., 1::2]).view(np.uint32).reshape(-1) for array in (a, b)]
    expected = np.einsum("ki,kji->j", a.astype(np.float64), b.astype(np.float64))
    results = []
    for by_instruction in {vectors.BFLOAT16, False}:
        monkeypatch.setattr(vectors, "BFLOAT16", by_instruction)
        results.append(np.empty(width, np.float32))
        tile = product._register_tile(1)

        @njit
        def multiplied(a, b, c, depth, tile=tile):
            tile(a, 0, depth, 1, b, 0, c.size, c, 0, c.size, depth, False)

        multiplied(*pairs, results[-1], depth)
        np.testing.assert_allclose(results[-1], expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(results[0], results[-1])


def test_what_is_not_added_to_may_hold_anything():
    width = panel_columns(np.dtype("float32"))
    c = np.full(width, np.nan, np.float32)
    multiplied(np.ones(2, np.float32), 0, 2, 1, np.ones(2 * width, np.float32), 0, width, c, 0, width, 1, 2, False)
    np.testing.assert_array_equal(c, 2)


@pytest.mark.parametrize("columns", [1, 31, 32, 33])
def test_padded_columns_are_zero(columns):
    matrix = np.random.default_rng(0).standard_normal((3, columns)).astype(np.float32)
    padded = pad_columns(matrix)
    assert padded.flags.c_contiguous and padded.shape[1] % panel_columns(np.float32) == 0
    np.testing.assert_array_equal(padded[:, :columns], matrix)
    np.testing.assert_array_equal(padded[:, columns:], 0)
