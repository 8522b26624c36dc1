import numpy as np

from stylecore.video.flow import warp
from stylecore.video.shots import SIDE, is_cut, small


def scene(seed):
    """A smooth texture, 120 x 200."""
    noise = np.kron(np.random.default_rng(seed).random((14, 22, 3)), np.ones((10, 10, 1)))
    return warp(noise, np.full((140, 220, 2), 0.5), order=3).clip(0, 1).astype(np.float32)


def view(scene, x, y=10):
    return small(scene[y : y + 120, x : x + 180])


def test_frames_are_reduced():
    assert max(small(np.zeros((300, 400, 3), np.float32)).shape) == SIDE
    assert small(np.zeros((3, 4, 3), np.float32)).shape == (3, 4, 3)


def test_another_scene_is_a_cut():
    assert is_cut(view(scene(0), 10), view(scene(1), 10))


def test_motion_and_light_are_no_cuts():
    first = view(scene(0), 5)
    for other in (view(scene(0), 5), view(scene(0), 13), view(scene(0), 9, 14), (first * 0.8).astype(np.uint8)):
        assert not is_cut(first, other)


def test_a_still_frame_of_one_colour_is_no_cut():
    black = np.zeros((90, 160, 3), np.uint8)
    assert not is_cut(black, black)


def test_a_cut_from_black_is_found():
    assert is_cut(np.zeros_like(view(scene(0), 5)), view(scene(0), 5))
