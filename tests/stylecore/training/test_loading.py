import threading

import numpy as np
import pytest

from stylecore.errors import DataError
from stylecore.training.data import ImageSet
from stylecore.training.loading import batches, measure, prepare, preprocessing

IMAGES = np.random.default_rng(0).integers(0, 256, (23, 8, 8, 3), np.uint8)
DATA = ImageSet(IMAGES, np.arange(23), tuple(map(str, range(23))))
SCALING = preprocessing(IMAGES)


def test_the_input_has_mean_zero_and_deviation_one():
    x = prepare(IMAGES, SCALING)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x.mean((0, 1, 2)), 0, atol=1e-5)
    assert x.std() == pytest.approx(1, abs=0.02)
    expected = (IMAGES[3] / 255 - np.array(SCALING.mean)) / SCALING.std[0]
    np.testing.assert_allclose(x[3], expected, atol=1e-5)


def test_mean_and_deviation_are_those_of_all_pixels():
    np.testing.assert_allclose(SCALING.mean, IMAGES.mean((0, 1, 2)) / 255, rtol=1e-12)
    np.testing.assert_allclose(SCALING.std, [IMAGES.std() / 255] * 3, rtol=1e-12)
    assert measure(DATA) == SCALING


def test_pictures_of_one_colour_are_refused():
    with pytest.raises(DataError, match="all pictures to train on have one and the same colour"):
        preprocessing(np.full((3, 8, 8, 3), 77, np.uint8))


def test_without_a_random_generator_all_come_in_order():
    found = list(batches(DATA, 5, SCALING))
    assert [len(labels) for _, labels in found] == [5, 5, 5, 5, 3]
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in found]), np.arange(23))
    np.testing.assert_array_equal(np.concatenate([x for x, _ in found]), prepare(IMAGES, SCALING))


def test_shuffled_batches_are_full_and_repeatable():
    def epoch(seed):
        return list(batches(DATA, 5, SCALING, np.random.default_rng(seed)))

    labels = np.concatenate([labels for _, labels in epoch(1)])
    assert len(labels) == 20 == len(set(labels)) and (labels != np.sort(labels)).any()
    for (x, some), (again, same) in zip(epoch(1), epoch(1), strict=True):
        np.testing.assert_array_equal(x, again)
        np.testing.assert_array_equal(some, same)
    assert (np.concatenate([labels for _, labels in epoch(2)]) != labels).any()


def test_leaving_early_ends_the_thread():
    before = threading.active_count()
    generator = batches(DATA, 2, SCALING)
    next(generator)
    generator.close()
    assert threading.active_count() == before
