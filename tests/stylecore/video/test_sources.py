import struct
from fractions import Fraction

import numpy as np
import pytest

from stylecore.errors import DataError, ParameterError
from stylecore.pictures.writing import write_image
from stylecore.video.sources import FilmError, FilmFile, FrameFolder, open_source, selected

from .films import scene, write_film


def error(frame, picture):
    return np.abs(frame.pixels / 255 - picture).mean()


def test_a_film_is_decoded(tmp_path):
    frames = scene()
    write_film(tmp_path / "a.mp4", frames)
    film = open_source(tmp_path / "a.mp4")
    read = list(film.frames())
    assert film.rate == 10 and film.count == 6 and not film.has_sound
    assert [frame.time for frame in read] == [Fraction(i, 10) for i in range(6)]
    assert [frame.number for frame in read] == [1, 2, 3, 4, 5, 6]
    assert max(error(frame, picture) for frame, picture in zip(read, frames, strict=True)) < 0.01


def test_variable_times_are_kept(tmp_path):
    times = [0, 0.1, 0.15, 0.4, 0.45, 1.0]
    write_film(tmp_path / "a.mkv", scene(), times=times)
    assert [float(frame.time) for frame in FilmFile(tmp_path / "a.mkv").frames()] == pytest.approx(times)


def test_times_begin_at_zero(tmp_path):
    write_film(tmp_path / "a.mkv", scene(), times=[2 + i / 10 for i in range(6)])
    film = FilmFile(tmp_path / "a.mkv")
    assert film.begin == 2 and next(film.frames()).time == 0


def test_time_stamps_that_do_not_increase_are_replaced(tmp_path, monkeypatch):
    write_film(tmp_path / "a.mp4", scene())

    def without_times(film, container, stream):
        for decoded in container.decode(stream):
            decoded.pts = 0
            yield decoded

    monkeypatch.setattr(FilmFile, "_decoded", without_times)
    assert [frame.time for frame in FilmFile(tmp_path / "a.mp4").frames()] == [Fraction(i, 10) for i in range(6)]


@pytest.mark.parametrize("colorspace", [1, 5])
@pytest.mark.parametrize("pixels", ["yuv444p", "yuv420p", "yuv444p10le"])
def test_colours_follow_the_matrix_of_the_film(tmp_path, colorspace, pixels):
    red = [np.broadcast_to(np.uint8([200, 40, 90]), (32, 48, 3))] * 3
    write_film(tmp_path / "a.mkv", red, pixels=pixels, colorspace=colorspace, color_range=1)
    for frame in FilmFile(tmp_path / "a.mkv").frames():
        assert np.abs(frame.pixels.astype(int) - [200, 40, 90]).max() <= 3


def test_high_dynamic_range_is_compressed(tmp_path):
    # 58% of PQ is white paper, and 75% a highlight of 1000 cd/m^2.
    grey = np.zeros((32, 48, 3), np.uint16)
    grey[:, :24], grey[:, 24:] = round(0.58 * 65535), round(0.75 * 65535)
    hdr = {"colorspace": 9, "color_range": 1, "color_primaries": 9, "color_trc": 16}
    write_film(tmp_path / "a.mkv", [grey] * 2, pixels="yuv444p10le", **hdr)
    pixels = next(FilmFile(tmp_path / "a.mkv").frames()).pixels
    paper, highlight = pixels[16, 8].astype(int), pixels[16, 40].astype(int)
    assert np.ptp(paper) <= 3 and np.ptp(highlight) <= 3
    assert 180 < paper[0] < 240 < highlight[0]


def test_pixels_that_are_not_square_are_stretched(tmp_path):
    write_film(tmp_path / "a.mkv", scene(), sample_aspect_ratio=Fraction(2, 1))
    assert next(FilmFile(tmp_path / "a.mkv").frames()).pixels.shape == (48, 128, 3)


# Columns of the matrix in the header of a track, by the clockwise angle at which a phone was held: x and y of the image
# of the x axis, then of the y axis, which points down.
TURNS = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


@pytest.mark.parametrize("clockwise", TURNS)
def test_turned_films_are_upright(tmp_path, clockwise):
    frames = scene()
    write_film(tmp_path / "a.mp4", frames)
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    straight = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    at = data.index(straight, data.index(b"tkhd"))
    a, b, c, d = (each << 16 for each in TURNS[clockwise])
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "a.mp4").write_bytes(data)
    frame = next(FilmFile(tmp_path / "a.mp4").frames())
    assert error(frame, np.rot90(frames[0], -clockwise // 90)) < 0.01


def test_a_part_is_selected(tmp_path):
    write_film(tmp_path / "a.mp4", scene(10))
    film = FilmFile(tmp_path / "a.mp4")
    assert [frame.number for frame in selected(film, 0.2, 0.8, 1)] == [3, 4, 5, 6, 7, 8]
    assert [frame.number for frame in selected(film, 0.2, None, 3)] == [3, 6, 9]
    assert not list(selected(film, 5, None, 1))


def test_a_truncated_film_is_noticed(tmp_path):
    write_film(tmp_path / "a.mkv", scene(40), codec="ffv1", pixels="bgr0")
    data = (tmp_path / "a.mkv").read_bytes()
    (tmp_path / "b.mkv").write_bytes(data[: len(data) // 2])
    read = []
    with pytest.raises(FilmError, match=r"b\.mkv"):
        read.extend(FilmFile(tmp_path / "b.mkv").frames())
    with pytest.raises(FilmError):
        for frame in FilmFile(tmp_path / "b.mkv").frames():
            read.append(frame)
    assert 5 < len(read) < 40


def test_files_that_are_no_films_are_refused(tmp_path):
    (tmp_path / "text.mp4").write_text("no film")
    with pytest.raises(DataError, match=r"text\.mp4 cannot be opened as a film"):
        open_source(tmp_path / "text.mp4")
    with pytest.raises(DataError, match="No such file"):
        open_source(tmp_path / "missing.mp4")


def test_sound_alone_is_refused(tmp_path):
    import av

    from .films import _add_tone

    with av.open(str(tmp_path / "a.mka"), "w", format="matroska") as container:
        _add_tone(container, container.add_stream("libopus", rate=48000), 9600)
    with pytest.raises(DataError, match="no video track"):
        open_source(tmp_path / "a.mka")


def test_missing_packages_are_named(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ParameterError, match="pip install av"):
        open_source(tmp_path / "a.mp4")


def write_folder(folder, names, frames=None):
    folder.mkdir(exist_ok=True)
    for name, picture in zip(names, frames or scene(len(names)), strict=True):
        write_image(folder / name, picture)


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path):
    frames = scene(4)
    names = ["shot2_9.png", "shot2_10.png", "shot2_11.png", "shot2_12.png"]
    write_folder(tmp_path / "f", names, frames)
    (tmp_path / "f" / "notes.txt").write_text("other files are ignored")
    folder = open_source(tmp_path / "f")
    assert folder.count == 4 and [frame.number for frame in folder.frames()] == [9, 10, 11, 12]
    assert max(error(*pair) for pair in zip(folder.frames(), frames, strict=True)) < 0.003


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a1.png", "a2.png", "a4.png"], "no frame 3"),
        (["a1.png", "b1.png"], "the same number"),
        (["a1.png", "cover.png"], "has no number"),
        ([], "has no pictures"),
    ],
)
def test_folders_that_are_no_films_are_refused(tmp_path, names, message):
    write_folder(tmp_path / "f", names)
    with pytest.raises(DataError, match=message):
        FrameFolder(tmp_path / "f")


def test_pictures_of_different_sizes_are_refused(tmp_path):
    write_folder(tmp_path / "f", ["1.png", "2.png"], [scene(1)[0], scene(1, (40, 64))[0]])
    with pytest.raises(DataError, match=r"2\.png has 64 x 40 pixels and .*1\.png has 64 x 48"):
        list(FrameFolder(tmp_path / "f").frames())


def test_transparent_pictures_are_shown_on_white(tmp_path):
    (tmp_path / "f").mkdir()
    for i in (1, 2):
        write_image(tmp_path / "f" / f"{i}.png", np.zeros((8, 8, 3)), alpha=np.zeros((8, 8)))
    with pytest.warns(UserWarning, match="transparent"):
        assert (next(FrameFolder(tmp_path / "f").frames()).pixels == 255).all()
