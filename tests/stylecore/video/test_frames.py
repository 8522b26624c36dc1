from fractions import Fraction

import numpy as np
import pytest

from stylecore.errors import DataError
from stylecore.video import frames as module
from stylecore.video.frames import Frames, Shots, numbers

SHOTS = Shots([Fraction(0), Fraction(1, 3)], [1, 2], [(0, 1), (1, 2)], (48, 64))
PICTURE = np.random.default_rng(0).random((6, 5, 3), np.float32)


def test_frames_are_kept(tmp_path):
    frames = Frames(tmp_path / "f", {"size": 64})
    assert frames.shots is None and not frames.is_painted(0, 1)
    frames.add(0, PICTURE)
    frames.add(0, PICTURE, mask=2)
    frames.save(0, 1, PICTURE)
    frames.finish_reading(SHOTS)
    again = Frames(tmp_path / "f", {"size": 64})
    assert again.shots == SHOTS
    assert again.is_painted(0, 1) and not again.is_painted(0, 2)
    np.testing.assert_allclose(again.source(0), PICTURE, atol=0.002)
    np.testing.assert_allclose(again.painted(0, 1), PICTURE, atol=1e-5)
    assert again.mask_path(0, 2).is_file()
    again.remove()
    assert not (tmp_path / "f").exists()


def test_a_painted_frame_is_read_as_it_was_stored(tmp_path):
    frames = Frames(tmp_path / "f", {})
    frames.save(0, 1, PICTURE)
    stored = frames.painted(0, 1)
    frames.save(0, 1, stored)
    np.testing.assert_array_equal(frames.painted(0, 1), stored)


def test_frames_of_another_run_are_refused(tmp_path):
    Frames(tmp_path / "f", {"size": 64, "style": "a.png"}).finish_reading(SHOTS)
    with pytest.raises(DataError, match="another run \\(size was 64, and is 32\\)"):
        Frames(tmp_path / "f", {"size": 32, "style": "a.png"})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"record": 3}', '{"record": {}, "times": 3}', "\x00"])
def test_damaged_records_are_refused(tmp_path, content):
    Frames(tmp_path / "f", {}).finish_reading(SHOTS)
    (tmp_path / "f" / "film.json").write_text(content)
    with pytest.raises(DataError, match="delete the folder"):
        assert Frames(tmp_path / "f", {}).shots


def test_a_full_disk_keeps_the_frames(tmp_path, monkeypatch):
    frames = Frames(tmp_path / "f", {})
    frames.save(0, 1, PICTURE)

    def full(path, picture):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(module, "write_image", full)
    with pytest.raises(DataError, match=r"No space left on device\)\. The frames in .*f are kept"):
        frames.save(1, 1, PICTURE)
    assert frames.is_painted(0, 1) and not frames.is_painted(1, 1)


def test_numbers_are_spread_evenly():
    assert list(numbers(100, 5)) == [0, 25, 50, 74, 99]
    assert list(numbers(3, 12)) == [0, 1, 2]
    assert list(numbers(1, 12)) == [0]
