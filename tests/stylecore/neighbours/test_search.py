"""The search against all cosines at once."""

import numpy as np
import pytest

from stylecore.neighbours import search
from stylecore.neighbours.hypercolumns import Features
from stylecore.neighbours.search import Search, nearest_rows


def example(rng, squares, fine=4, coarse=2):
    return Features(rng.standard_normal((squares, fine)), rng.standard_normal((squares // 4, coarse)))


def matrix(features):
    return features.rows(np.arange(len(features.fine)))


def cosines(query, style, mean):
    """All cosines with the rows of a matrix, times the length of the query, as a matrix."""
    style = style - mean
    return query @ (style / np.linalg.norm(style, axis=1, keepdims=True)).T


@pytest.mark.parametrize("block", [4, 8, 1024])
@pytest.mark.parametrize("columns", [slice(0, 6), slice(0, 3), slice(4, 6)], ids=["all", "fine", "coarse"])
def test_nearest_rows(columns, block, monkeypatch):
    monkeypatch.setattr(search, "BLOCK", block)
    rng = np.random.default_rng(0)
    query, style = (example(rng, squares).part(columns) for squares in (20, 28))
    mean = example(rng, 4).mean().part(columns)
    expected = cosines(matrix(query), matrix(style), np.concatenate(mean, axis=1))
    found, rows = nearest_rows(query, style, mean)
    # The squares of a cell may be equal, and any of them is the nearest.
    np.testing.assert_allclose(found, expected.max(axis=1), rtol=1e-12)
    np.testing.assert_allclose(expected[np.arange(20), rows], expected.max(axis=1), rtol=1e-12)


def test_a_feature_that_is_the_mean_has_no_direction():
    nothing = np.empty((0, 0))
    query, style, mean = ([[1.0, 0.0]], [[1.0, 1.0], [2.0, 1.0]], [[1.0, 1.0]])
    found, rows = nearest_rows(*(Features(np.array(each), nothing) for each in (query, style, mean)))
    assert (found, rows) == (pytest.approx([1]), pytest.approx([1]))


def test_parts_have_neighbours_of_their_own_in_any_of_the_images():
    rng = np.random.default_rng(1)
    features, images = example(rng, 8, 5), [example(rng, 12, 5) for _ in range(2)]
    mean, parts = images[0].mean(), [slice(0, 2), slice(2, 5), slice(5, 7)]
    queries = matrix(features) - matrix(features).mean(axis=0)
    found = Search(features, parts)
    for image in images:
        found.add(image, mean)
    everything, its_mean = np.concatenate([*map(matrix, images)]), np.concatenate(mean, axis=1)[0]
    for i, part in enumerate(parts):
        expected = cosines(queries[:, part], everything[:, part], its_mean[part])
        np.testing.assert_allclose(found.products[i], expected.max(axis=1), rtol=1e-12)
        np.testing.assert_array_equal(found.nearest[:, part], everything[expected.argmax(axis=1), part])
