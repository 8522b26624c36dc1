"""Segmentation of photographs: the object, its regions, and degenerate pictures."""

import numpy as np

from stylecore.sketch import segment_photo


def test_a_disc_is_separated_from_its_ground(photo):
    segmentation = segment_photo(photo, 2)
    truth = photo[..., 0] > 0.5
    assert (segmentation.foreground & truth).sum() / (segmentation.foreground | truth).sum() > 0.85
    assert len(segmentation.regions) == 2
    assert segmentation.labels[48, 64] != segmentation.labels[48, 42]


def test_the_number_of_regions_is_limited(photo):
    assert segment_photo(photo, 1).regions == [1]


def test_it_is_repeatable(photo):
    np.testing.assert_array_equal(segment_photo(photo, 4).labels, segment_photo(photo, 4).labels)


def test_a_uniform_photograph_has_foreground_and_background():
    foreground = segment_photo(np.full((40, 60, 3), 0.5, np.float32)).foreground
    assert 0.05 < foreground.mean() < 0.95


def test_a_frame_is_background(photo):
    framed = np.zeros((120, 160, 3), np.float32)
    framed[12:108, 16:144] = photo
    foreground = segment_photo(framed).foreground
    truth = framed[..., 0] > 0.5
    assert (foreground & truth).sum() / (foreground | truth).sum() > 0.85
