"""Segmentations: merging of small regions, and resizing."""

import numpy as np

from stylecore.sketch import Segmentation
from stylecore.sketch.segmentation import grown, merged

LABELS = np.array([[0, 5, 5, 5, 5, 5], [0, 5, 5, 5, 2, 3]])


def test_small_regions_go_to_the_nearest_one_that_is_left():
    np.testing.assert_array_equal(merged(LABELS, 0.2, 8), (LABELS > 0).astype(int))


def test_regions_are_numbered_by_size_and_limited():
    two = merged(np.array([[1, 2, 2, 2, 7, 7]]), 0, 2)
    np.testing.assert_array_equal(two, [[1, 1, 1, 1, 2, 2]])


def test_a_mask_without_labels_becomes_one_region():
    mask = np.array([[True, False], [True, True]])
    np.testing.assert_array_equal(grown(np.zeros((2, 2), int), mask), mask.astype(int))


def test_foreground_regions_and_masks():
    segmentation = Segmentation(LABELS)
    assert segmentation.regions == [2, 3, 5]
    np.testing.assert_array_equal(segmentation.foreground, LABELS > 0)
    np.testing.assert_array_equal(segmentation.mask(5), LABELS == 5)


def test_resizing_takes_the_nearest_pixel():
    enlarged = Segmentation(LABELS).at((4, 12)).labels
    np.testing.assert_array_equal(enlarged, np.kron(LABELS, np.ones((2, 2), int)))
    np.testing.assert_array_equal(Segmentation(enlarged).at((2, 6)).labels, LABELS)
