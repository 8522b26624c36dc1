"""Matching of regions by their statistics."""

import numpy as np
import pytest

from stylecore import ParameterError
from stylecore.sketch import Segmentation, match_regions
from stylecore.sketch.matching import region_statistics


def rows(*counts, width=20):
    """Regions as horizontal bands with these heights, numbered from 1, below two rows of background."""
    return Segmentation(np.repeat([0, *range(1, len(counts) + 1)], [2, *counts])[:, None] * np.ones((1, width), int))


def test_regions_of_the_same_size_and_place_match():
    assert match_regions(rows(4, 10, 20), rows(4, 10, 20)) == {1: 1, 2: 2, 3: 3}


def test_area_decides_where_places_are_exchanged():
    assert match_regions(rows(4, 20), rows(20, 4), position_weight=0) == {1: 2, 2: 1}


def test_position_decides_between_equal_areas():
    mirrored = Segmentation(rows(10, 10).labels[::-1])
    assert match_regions(rows(10, 10), mirrored) == {1: 2, 2: 1}


def test_a_region_left_over_takes_its_neighbours_match():
    matches = match_regions(rows(20, 5, 5, 20), rows(20, 20))
    assert matches == {1: 1, 2: 1, 3: 2, 4: 2}


def test_statistics_of_a_square():
    labels = np.zeros((40, 40), int)
    labels[10:30, 10:30] = 1
    statistics = region_statistics(Segmentation(labels))[1]
    assert statistics.area == 1
    assert 12.5 < statistics.roundness < 16.5  # A square has 16; the perimeter is measured between pixel centres.
    np.testing.assert_allclose(statistics.centroid, 0.475)


def test_a_picture_without_foreground_is_refused():
    with pytest.raises(ParameterError, match="photograph has no foreground"):
        match_regions(rows(4), Segmentation(np.zeros((4, 4), int)))
