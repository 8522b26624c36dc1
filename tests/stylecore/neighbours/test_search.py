"""The search against all cosines at once."""

import numpy as np
import pytest

from stylecore.neighbours import search
from stylecore.neighbours.search import Search, best_cosines


def cosines(query, style, mean):
    """All cosines, as a matrix."""
    style = style - mean
    return query @ (style / np.linalg.norm(style, axis=1, keepdims=True)).T


@pytest.mark.parametrize("block", [3, 7, 1024])
def test_best_cosines(block, monkeypatch):
    monkeypatch.setattr(search, "BLOCK", block)
    rng = np.random.default_rng(0)
    query, style, mean = rng.standard_normal((17, 6)), rng.standard_normal((23, 6)), rng.standard_normal(6)
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    expected = cosines(query, style, mean)
    found, rows = best_cosines(query, style, mean)
    np.testing.assert_array_equal(rows, expected.argmax(axis=1))
    np.testing.assert_allclose(found, expected.max(axis=1), rtol=1e-12)


def test_a_feature_that_is_the_mean_has_no_direction():
    style = np.array([[1.0, 1.0], [2.0, 1.0]])
    found, rows = best_cosines(np.array([[1.0, 0.0]]), style, np.array([1.0, 1.0]))
    assert (found, rows) == (pytest.approx([1]), pytest.approx([1]))


def test_parts_have_neighbours_of_their_own_in_any_of_the_images():
    rng = np.random.default_rng(1)
    features = rng.standard_normal((9, 7))
    images = rng.standard_normal((2, 11, 7))
    mean, parts = images[0].mean(axis=0), [slice(0, 3), slice(3, 7)]
    found = Search(features, parts)
    for image in images:
        found.add(image, mean)
    everything = np.concatenate(images)
    for i, part in enumerate(parts):
        query = features[:, part] - features[:, part].mean(axis=0)
        query /= np.linalg.norm(query, axis=1, keepdims=True)
        expected = cosines(query, everything[:, part], mean[part])
        np.testing.assert_allclose(found.cosines[i], expected.max(axis=1), rtol=1e-12)
        np.testing.assert_array_equal(found.nearest[:, part], everything[expected.argmax(axis=1), part])
