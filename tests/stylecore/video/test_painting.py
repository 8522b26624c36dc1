"""The painting of shots, with a network that is part of the program."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from stylecore.errors import DataError, ImageError, ParameterError
from stylecore.pictures.writing import write_image
from stylecore.regions import read_styles
from stylecore.samples import PAINTING
from stylecore.settings import Settings
from stylecore.video.frames import Frames, Shots
from stylecore.video.painting import Flows, Look, MaskFilm, check_flows, flow_files, paint_alone, paint_shot
from stylecore.video.settings import FilmSettings

from .films import scene
from .test_flow import write_flow

pytestmark = pytest.mark.slow

SHAPE = (48, 64)


@pytest.fixture
def film(tmp_path):
    """A working folder with a film of six frames, whose camera moves by a pixel per frame."""
    frames = Frames(tmp_path / "film.frames", {})
    for i, picture in enumerate(scene(6, SHAPE)):
        frames.add(i, picture)
    return frames


def shots_of(count=6):
    return Shots([Fraction(i, 10) for i in range(count)], list(range(1, count + 1)), [(0, count)], SHAPE)


def look(regions=None, film=None, **settings):
    quick = {"network": "small", "iterations": 6, "pyramid": 1, **settings}
    styles, opacities = read_styles(str(PAINTING))
    settings = Settings.of(quick).with_layers()
    given = FilmSettings(**{"frame_iterations": 4, **(film or {})})
    return Look(settings, given, styles, opacities, regions, SHAPE)


def painted(frames, look, shots=None, run=1):
    shots = shots or shots_of()
    paint_shot(frames, shots, shots.shots[0], look)
    return [frames.painted(i, run) for i in range(len(shots.times))]


def flicker(pictures):
    """Mean squared difference between consecutive frames, each moved by the camera's pixel."""
    return np.mean([((a[8:-8, 9:-8] - b[8:-8, 8:-9]) ** 2).mean() for a, b in pairwise(pictures)])


def test_frames_agree_with_those_before_them(film, tmp_path):
    free = look(film={"temporal_weight": 0.0, "frame_iterations": 12})
    alone = [paint_alone(film, shots_of(), i, look()) for i in range(6)]
    held = painted(film, look(film={"temporal_weight": 2000.0, "frame_iterations": 12}))
    other = Frames(tmp_path / "other", {})
    for i, picture in enumerate(scene(6, SHAPE)):
        other.add(i, picture)
    warped = painted(other, free)
    assert flicker(held) < 0.5 * flicker(warped) and flicker(held) < 0.3 * flicker(alone)
    # The frames are painted, and did not stay as they are in the film.
    assert all(np.abs(held[i] - film.source(i)).mean() > 0.01 for i in range(6))


def test_each_frame_is_painted_once_and_is_the_same_after_an_interruption(film, tmp_path):
    done = []
    paint_shot(film, shots_of(), (0, 6), look(), lambda i, run: done.append((i, run)) or len(done) == 3)
    assert done == [(0, 1), (1, 1), (2, 1)] and not film.is_painted(3, 1)
    resumed = painted(film, look())
    whole = Frames(tmp_path / "whole", {})
    for i, picture in enumerate(scene(6, SHAPE)):
        whole.add(i, picture)
    for a, b in zip(resumed, painted(whole, look()), strict=True):
        np.testing.assert_array_equal(a, b)


def test_later_passes_go_backwards_and_forwards(film):
    order = []
    shots = shots_of(4)
    paint_shot(film, shots, (0, 4), look(film={"passes": 3}), lambda i, run: order.append((i, run)))
    assert order == [*((i, 1) for i in range(4)), *((i, 2) for i in (3, 2, 1, 0)), *((i, 3) for i in range(4))]
    first, second, third = ([film.painted(i, run) for i in range(4)] for run in (1, 2, 3))
    np.testing.assert_array_equal(second[3], first[3])
    assert np.abs(second[0] - first[0]).max() > 0.001 and np.abs(third[3] - second[3]).max() > 0.001
    assert flicker(third) < 2 * flicker(first)


def test_the_colours_of_the_film_are_not_those_that_frames_start_from(film):
    grey = painted(film, look(colour="content"))
    assert max(np.ptp(picture, axis=2).max() for picture in grey) < 0.01
    alone = paint_alone(film, shots_of(), 0, look(colour="content"))
    assert np.ptp(alone, axis=2).max() > 0.1


def test_regions_follow_a_mask_film(film):
    for i in range(6):
        mask = np.zeros((*SHAPE, 3), np.float32)
        mask[:, : 16 + 4 * i] = 1
        film.add(i, mask, mask=0)
    regions = [[MaskFilm(0, False), "all"], [MaskFilm(0, True), "none"]]
    with pytest.raises(ParameterError, match="region 2"):
        painted(film, look(regions))
    pictures = painted(film, look([[MaskFilm(0, False), "all"]], content_weight=0.0, tv_weight=0.0))
    change = [np.abs(picture - film.source(i)).mean(axis=(0, 2)) for i, picture in enumerate(pictures)]
    # Outside the mask, and what its layers see beyond it, the film is unchanged in the first frame.
    assert change[0][:12].mean() > 10 * change[0][40:].mean()


def test_inverse_masks_select_the_rest(film):
    mask = np.zeros((*SHAPE, 3), np.float32)
    mask[:, 32:] = 1
    for i in range(2):
        film.add(i, mask, mask=0)
    shots = shots_of(2)
    pictures = painted(film, look([[MaskFilm(0, True), "all"]], content_weight=0.0, tv_weight=0.0), shots)
    change = np.abs(pictures[0] - film.source(0)).mean(axis=(0, 2))
    assert change[:20].mean() > 10 * change[52:].mean()


@pytest.mark.parametrize("optimizer", ["lbfgsb", "lbfgs", "adam"])
def test_every_optimizer_paints_films(film, optimizer):
    assert len(painted(film, look(optimizer=optimizer), shots_of(2))) == 2


def test_flows_of_a_folder_are_used(film, tmp_path):
    folder = tmp_path / "flows"
    folder.mkdir()
    for i in range(1, 6):
        for a, b, x in ((i, i + 1, -1), (i + 1, i, 1)):
            write_flow(folder / f"flow_{a:04d}_to_{b:04d}.flo", np.broadcast_to([x, 0.5], (*SHAPE, 2)))
    check_flows(folder, [1, 2, 3, 4, 5, 6], SHAPE)
    flows = Flows(film.source, range(1, 7), SHAPE, folder)
    np.testing.assert_allclose(flows.between(3, 2), np.broadcast_to([1, 0.5], (*SHAPE, 2)))
    np.testing.assert_allclose(flows.between(4, 0), np.broadcast_to([4, 2], (*SHAPE, 2)))
    np.testing.assert_allclose(flows.between(0, 2), np.broadcast_to([-2, 1], (*SHAPE, 2)))
    write_flow(folder / "forward_1_3.flo", np.broadcast_to([7, 7], (*SHAPE, 2)))
    np.testing.assert_allclose(Flows(film.source, range(1, 7), SHAPE, folder).between(0, 2)[0, 0], [7, 7])
    assert len(painted(film, look(film={"flow": folder}), shots_of(3))) == 3


def test_flows_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        flow_files(tmp_path / "missing")
    with pytest.raises(DataError, match="has no flows"):
        flow_files(tmp_path)
    write_flow(tmp_path / "f_1_2.flo", np.zeros((*SHAPE, 2)))
    with pytest.raises(DataError, match="no flow from frame 2 to frame 1"):
        check_flows(tmp_path, [1, 2], SHAPE)
    write_flow(tmp_path / "f_2_1.flo", np.zeros((10, 20, 2)))
    with pytest.raises(DataError, match="20 x 10 pixels, and the film of 64 x 48"):
        check_flows(tmp_path, [1, 2], SHAPE)


def test_flows_are_cropped_as_the_frames_are(film, tmp_path):
    flow = np.zeros((*SHAPE, 2))
    flow[:, :, 0] = np.arange(64)
    for name in ("f_1_2.flo", "f_2_1.flo"):
        write_flow(tmp_path / name, flow)
    cropped = Flows(film.source, range(1, 7), (48, 48), tmp_path).between(0, 1)
    assert cropped.shape == (48, 48, 2)
    np.testing.assert_array_equal(cropped[0, :, 0], np.arange(8, 56))


def test_what_no_earlier_frame_shows_is_painted_too(tmp_path):
    """A bright square that appears is painted in the style, as the rest of the picture is."""
    frames = Frames(tmp_path / "f", {})
    size = (128, 160)
    background = [picture * 0.3 for picture in scene(3, size, step=0)]
    for i, picture in enumerate(background):
        picture = picture.copy()
        if i:
            picture[40:90, 60:110] = [0.1, 0.9, 0.1]
        frames.add(i, picture)
    shots = Shots([Fraction(i, 10) for i in range(3)], [1, 2, 3], [(0, 3)], size)
    style = np.zeros((128, 160, 3), np.float32)
    style[:, :, 2] = 0.5 + 0.4 * np.sin(np.arange(160) / 2)
    settings = Settings.of({"network": "small", "iterations": 30, "pyramid": 1, "style_weight": 100.0}).with_layers()
    look = Look(settings, FilmSettings(frame_iterations=8), [style], [None], None, size)
    paint_shot(frames, shots, (0, 3), look)
    inside = frames.painted(2, 1)[50:80, 70:100].mean(axis=(0, 1))
    alone = paint_alone(frames, shots, 2, look)[50:80, 70:100].mean(axis=(0, 1))
    film_colour = np.array([0.1, 0.9, 0.1])
    assert np.abs(inside - film_colour).sum() > 0.8 * np.abs(alone - film_colour).sum()


def test_files_of_frames_that_vanish_are_an_error(film):
    write_image(film.folder / "source" / "000002.png", np.zeros((*SHAPE, 3)))
    (film.folder / "source" / "000003.png").unlink()
    with pytest.raises(ImageError, match="000003"):
        painted(film, look())
