from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from stylecore.errors import DataError, ImageError, ParameterError
from stylecore.video.outputs import FORMATS, Sound, check_film_output, write_film, write_folder

from . import films
from .films import read_film, scene

LOSSLESS = [".mkv", ".png"]


def timed(frames, times=None):
    return [(Fraction(i, 10) if times is None else times[i], frame) for i, frame in enumerate(frames)]


@pytest.mark.parametrize("suffix", [suffix for suffix in FORMATS if suffix != ".webp"])
@pytest.mark.parametrize("shape", [(48, 64), (33, 41)])
def test_a_film_can_be_read_again(tmp_path, suffix, shape):
    frames = [0.8 * frame.mean(axis=2, keepdims=True) + 0.2 * frame for frame in scene(5, shape)]
    write_film(tmp_path / f"a{suffix}", timed(frames), Fraction(10), shape)
    times, read = read_film(tmp_path / f"a{suffix}")
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=0.002)
    even = FORMATS[suffix].even
    assert read[0].shape == (*(side + side % 2 * even for side in shape), 3)
    pairs = [(a[: shape[0], : shape[1]] / 255, b) for a, b in zip(read, frames, strict=True)]
    if suffix in LOSSLESS:
        assert max(np.abs(a - b).max() for a, b in pairs) < 0.003
    else:  # Colours are stored at half the size, or reduced to a palette.
        assert max(np.abs(a - b).mean() for a, b in pairs) < 0.02
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


def test_an_animated_webp_can_be_read_again(tmp_path):
    write_film(tmp_path / "a.webp", timed(scene(5)), Fraction(10), (48, 64))
    with Image.open(tmp_path / "a.webp") as image:
        assert image.n_frames == 5 and image.size == (64, 48)
        image.seek(1)
        image.load()
        assert image.info["duration"] == 100


def test_uneven_times_are_kept(tmp_path):
    times = [Fraction(0), Fraction(1, 10), Fraction(1, 8), Fraction(1, 2), Fraction(2, 3)]
    write_film(tmp_path / "a.mp4", timed(scene(5), times), Fraction(10), (48, 64))
    assert read_film(tmp_path / "a.mp4")[0] == pytest.approx([float(time) for time in times], abs=1e-4)


def test_frames_never_fall_on_one_tick(tmp_path):
    times = [Fraction(i, 1000) for i in range(5)]
    write_film(tmp_path / "a.gif", timed(scene(5), times), Fraction(1000), (48, 64))
    assert len(read_film(tmp_path / "a.gif")[0]) == 5


def test_colours_are_stated(tmp_path):
    red = [np.broadcast_to(np.float32([0.8, 0.15, 0.35]), (48, 64, 3))] * 3
    write_film(tmp_path / "a.mp4", timed(red), Fraction(10), (48, 64))
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc) == (1, 1, 1, 1)
        np.testing.assert_allclose(frame.to_ndarray(format="rgb24")[20, 20], [204, 38, 89], atol=3)


def sound_of(path):
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        decoded = list(container.decode(stream))
        return stream.codec_context.name, float(sum(frame.samples for frame in decoded)) / decoded[0].sample_rate


@pytest.mark.parametrize(
    ("source", "codec", "output", "expected"),
    [
        ("s.mp4", "aac", "a.mp4", "aac"),
        ("s.mkv", "libopus", "a.mkv", "opus"),
        ("s.mkv", "libopus", "a.mp4", "aac"),
        ("s.mp4", "aac", "a.webm", "opus"),
    ],
)
def test_sound_is_copied_or_encoded_again(tmp_path, source, codec, output, expected):
    films.write_film(tmp_path / source, scene(20), sound=codec)
    sound = Sound(str(tmp_path / source), Fraction(0), Fraction(2))
    write_film(tmp_path / output, timed(scene(20)), Fraction(10), (48, 64), sound)
    name, seconds = sound_of(tmp_path / output)
    assert name == expected and seconds == pytest.approx(2, abs=0.1)
    assert len(read_film(tmp_path / output)[0]) == 20


def test_the_sound_of_a_part_starts_with_it(tmp_path):
    films.write_film(tmp_path / "s.mp4", scene(20), sound="aac")
    sound = Sound(str(tmp_path / "s.mp4"), Fraction(1, 2), Fraction(3, 2))
    write_film(tmp_path / "a.mp4", timed(scene(10)), Fraction(10), (48, 64), sound)
    assert sound_of(tmp_path / "a.mp4")[1] == pytest.approx(1, abs=0.1)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert float(next(container.decode(audio=0)).time) == pytest.approx(0, abs=0.05)


def test_formats_without_sound_leave_it_out(tmp_path):
    films.write_film(tmp_path / "s.mp4", scene(5), sound="aac")
    write_film(tmp_path / "a.gif", timed(scene(5)), Fraction(10), (48, 64), Sound(str(tmp_path / "s.mp4"), 0, 1))
    assert len(read_film(tmp_path / "a.gif")[0]) == 5


def test_a_folder_is_written(tmp_path):
    write_folder(tmp_path / "f" / "g", ["frame_1.png", "frame_2.png"], timed(scene(2)))
    assert sorted(path.name for path in (tmp_path / "f" / "g").iterdir()) == ["frame_1.png", "frame_2.png"]


def test_an_error_leaves_the_former_film(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"former")

    def broken():
        yield from timed(scene(3))
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match=r"a\.mp4 cannot be written \(No space left on device\)"):
        write_film(tmp_path / "a.mp4", broken(), Fraction(10), (48, 64))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"] and (tmp_path / "a.mp4").read_bytes() == b"former"


def test_outputs_are_checked_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    for output, message in {
        tmp_path / "a.avi": "no suffix of a known film format",
        tmp_path / "missing" / "a.mp4": "no folder",
        tmp_path / "file": "is a file",
    }.items():
        with pytest.raises((ParameterError, ImageError), match=message):
            check_film_output(output, (48, 64))
    with pytest.raises(ParameterError, match="at most 16383 pixels a side"):
        check_film_output(tmp_path / "a.webp", (48, 20000))
    for output in (tmp_path / "a.mp4", tmp_path / "folder", tmp_path):
        check_film_output(output, (48, 64))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
