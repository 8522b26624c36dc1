"""Descriptors of lines and photographs."""

import numpy as np
import pytest

from stylecore.sketch import read_drawing
from stylecore.sketch.descriptors import GRID, MARGIN, SIDE, Describer, fitted


@pytest.fixture(scope="module")
def describer():
    return Describer()


def test_lines_are_cropped_fitted_and_thinned():
    mask = np.zeros((100, 300), bool)
    mask[20:30, 50:250] = True
    square = fitted(mask)
    assert square.shape == (SIDE, SIDE)
    rows, columns = np.nonzero(square)
    assert set(rows) <= {SIDE // 2 - 2, SIDE // 2 - 1, SIDE // 2, SIDE // 2 + 1}
    assert columns.min() >= MARGIN and columns.max() < SIDE - MARGIN


def test_place_and_size_of_a_drawing_do_not_matter(describer, house):
    padded = np.pad(house, ((0, 90), (60, 0)), constant_values=1)
    for name, vector in describer.lines(read_drawing(house).lines).items():
        np.testing.assert_array_equal(vector, describer.lines(read_drawing(padded).lines)[name])


def test_a_sketch_is_described_as_it_is_and_mirrored(describer, house):
    drawing = read_drawing(house[:, :100])
    plain, mirrored = describer.sketch(drawing)
    again, back = describer.sketch(read_drawing(house[:, 99::-1]))
    assert any((plain[name] != mirrored[name]).any() for name in plain)
    np.testing.assert_array_equal(plain["relu5_1"], back["relu5_1"])
    np.testing.assert_array_equal(mirrored["relu5_1"], again["relu5_1"])


def test_a_photograph_has_lines_and_colours(describer, photo):
    described = describer.photo(photo)
    assert described["appearance"].shape == (GRID * GRID * 512,)
    assert described["content"].shape == (512,)
    assert all(vector.dtype == np.float16 and np.isfinite(vector).all() for vector in described.values())


@pytest.mark.parametrize("tone", [0.0, 0.5])
def test_a_uniform_photograph_can_be_described(describer, tone):
    described = describer.photo(np.full((50, 80, 3), tone, np.float32))
    assert all(np.isfinite(vector).all() for vector in described.values())
