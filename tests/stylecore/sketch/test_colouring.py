"""Colours of the regions: where they come from, and what the transfer is given."""

import numpy as np

from stylecore.sketch import Segmentation, colour
from stylecore.sketch.colouring import filled, region_pairs

SKETCH = Segmentation(np.repeat([[0, 1, 2, 3]], 16, axis=1) * np.ones((64, 1), int))
PHOTO_REGIONS = Segmentation(np.repeat([[0, 1, 2]], 20, axis=1) * np.ones((60, 1), int))
PHOTO = np.repeat(np.array([[[0.1, 0.2, 0.7], [0.9, 0.1, 0.1], [0.2, 0.8, 0.2]]], np.float32), 20, axis=1).repeat(60, 0)
MATCHES = {1: 2, 2: 1, 3: 1}


def test_pairs_join_regions_with_the_same_match_and_cover_the_sheet():
    pairs = region_pairs(SKETCH, PHOTO_REGIONS, MATCHES)
    assert len(pairs) == 3
    np.testing.assert_array_equal(np.sum([ours for ours, _ in pairs], axis=0), 1)
    np.testing.assert_array_equal(pairs[0][0], (SKETCH.labels == 2) | (SKETCH.labels == 3))
    np.testing.assert_array_equal(pairs[0][1], PHOTO_REGIONS.labels == 1)


def test_without_a_background_the_whole_photograph_takes_its_place():
    everything = Segmentation(np.ones((60, 60), int))
    assert region_pairs(SKETCH, everything, {1: 1, 2: 1, 3: 1})[-1][1].all()


def test_regions_are_filled_with_the_mean_colour_of_their_match():
    content = filled(PHOTO, region_pairs(SKETCH, PHOTO_REGIONS, MATCHES))
    for column, expected in ((4, PHOTO[0, 0]), (24, PHOTO[0, 50]), (40, PHOTO[0, 30])):
        np.testing.assert_allclose(content[32, column], expected, atol=1e-3)
    assert 0.2 < content[32, 31, 0] < 0.9  # The edges are soft.


def test_the_transfer_keeps_foreground_and_background_apart():
    picture = colour(SKETCH, PHOTO, PHOTO_REGIONS, MATCHES, size=64, iterations=12, pyramid=1).array
    assert picture.shape == (64, 64, 3)
    assert picture[:, 2:12, 2].mean() > picture[:, 2:12, 0].mean() + 0.2
    assert picture[:, 20:28, 1].mean() > picture[:, 20:28, 0].mean() + 0.2
    assert picture[:, 40:60, 0].mean() > picture[:, 40:60, 2].mean() + 0.2
