import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import stylecore
from stylecore.errors import DataError, ImageError, ParameterError
from stylecore.pictures.reading import read_image
from stylecore.pictures.writing import write_image
from stylecore.samples import PAINTING
from stylecore.video import film as module
from stylecore.video import transfer_video

from .films import read_film, scene, write_film

pytestmark = pytest.mark.slow

STYLE = str(PAINTING)
QUICK = {"network": "small", "size": 64, "iterations": 4, "pyramid": 1, "frame_iterations": 2}


@pytest.fixture
def clip(tmp_path):
    """A film of two shots, three frames each, with sound."""
    write_film(tmp_path / "clip.mp4", [*scene(3), *scene(3, seed=1)], sound="aac")
    return tmp_path / "clip.mp4"


def left(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "clip.mp4")


def test_a_film_is_painted(clip, tmp_path):
    seen = []

    def callback(painted, picture):
        seen.append((painted.number, painted.count, painted.frame, picture.shape))

    sheets = {"sheet": tmp_path / "sheet.png", "preview": tmp_path / "preview.png"}
    result = transfer_video(clip, STYLE, tmp_path / "out.mp4", callback=callback, **sheets, **QUICK)
    assert result.frames == 6 and result.shots == [(0, 3), (3, 6)] and not result.stopped
    assert result.settings["size"] == 64 and result.settings["frame_iterations"] == 2
    times, frames = read_film(tmp_path / "out.mp4")
    assert times == pytest.approx([i / 10 for i in range(6)]) and frames[0].shape == (48, 64, 3)
    assert seen == [(i + 1, 6, i, (48, 64, 3)) for i in range(6)]
    assert left(tmp_path) == ["out.mp4", "preview.png", "sheet.png"]
    assert read_image(tmp_path / "sheet.png")[0].shape[0] > 3 * 192


def test_a_folder_of_pictures_is_painted(tmp_path):
    (tmp_path / "in").mkdir()
    for i, picture in enumerate(scene(4)):
        write_image(tmp_path / "in" / f"shot1_{i + 7:03d}.png", picture)
    transfer_video(tmp_path / "in", STYLE, tmp_path / "out", every=2, **QUICK)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["shot1_007.png", "shot1_009.png"]


def test_a_part_is_painted_at_its_times(clip, tmp_path):
    result = transfer_video(clip, STYLE, tmp_path / "out.mkv", start=0.1, stop=0.55, every=2, **QUICK)
    assert result.frames == 3
    assert read_film(tmp_path / "out.mkv")[0] == pytest.approx([0, 0.2, 0.4])


def test_a_run_that_is_stopped_goes_on_to_the_same_film(clip, tmp_path):
    transfer_video(clip, STYLE, tmp_path / "whole.mkv", **QUICK)
    done = []
    stopped = transfer_video(
        clip,
        STYLE,
        tmp_path / "out.mkv",
        callback=lambda painted, _: done.append(painted.frame) or len(done) == 2,
        **QUICK,
    )
    assert stopped.stopped and done == [0, 1] and not (tmp_path / "out.mkv").exists()
    assert stopped.folder == tmp_path / "out.mkv.frames" and stopped.folder.is_dir()
    rest = []
    transfer_video(clip, STYLE, tmp_path / "out.mkv", callback=lambda painted, _: rest.append(painted), **QUICK)
    assert [painted.number for painted in rest] == [3, 4, 5, 6] and rest[-1].seconds_left == 0
    for a, b in zip(read_film(tmp_path / "out.mkv")[1], read_film(tmp_path / "whole.mkv")[1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_same_film(clip, tmp_path):
    transfer_video(clip, STYLE, tmp_path / "whole.mkv", **QUICK)
    code = (
        "import sys; from stylecore.video import transfer_video\n"
        f"transfer_video(sys.argv[1], {STYLE!r}, sys.argv[2], **{QUICK!r})"
    )
    frames = tmp_path / "out.mkv.frames" / "painted1"
    for count in (1, 4):
        process = subprocess.Popen([sys.executable, "-c", code, str(clip), str(tmp_path / "out.mkv")])
        deadline = time.monotonic() + 120
        while not (frames.is_dir() and len(list(frames.glob("*.tif"))) >= count):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    transfer_video(clip, STYLE, tmp_path / "out.mkv", **QUICK)
    for a, b in zip(read_film(tmp_path / "out.mkv")[1], read_film(tmp_path / "whole.mkv")[1], strict=True):
        np.testing.assert_array_equal(a, b)
    assert left(tmp_path) == ["out.mkv", "whole.mkv"]


def test_shots_are_painted_by_the_workers_of_a_client(clip, tmp_path):
    transfer_video(clip, STYLE, tmp_path / "alone.mkv", **QUICK)
    seen = []
    with ThreadPoolExecutor(1) as client:
        transfer_video(
            clip,
            STYLE,
            tmp_path / "out.mkv",
            client=client,
            callback=lambda painted, _: seen.append(painted.frame),
            **QUICK,
        )
    assert seen == list(range(6))
    for a, b in zip(read_film(tmp_path / "out.mkv")[1], read_film(tmp_path / "alone.mkv")[1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_callback_ends_the_work_of_a_client(clip, tmp_path):
    with ThreadPoolExecutor(1) as client:
        done = transfer_video(clip, STYLE, tmp_path / "out.mkv", client=client, callback=lambda *_: True, **QUICK)
    assert done.stopped and not (tmp_path / "out.mkv").exists()
    assert not transfer_video(clip, STYLE, tmp_path / "out.mkv", **QUICK).stopped


def test_the_colours_of_the_film_can_be_kept(clip, tmp_path):
    transfer_video(clip, STYLE, tmp_path / "out.mkv", colour="content", **QUICK)
    painted, film = read_film(tmp_path / "out.mkv")[1][0] / 255, read_film(clip)[1][0] / 255
    luminance = np.array([0.299, 0.587, 0.114])
    assert (
        np.corrcoef((painted[:, :, 0] - painted @ luminance).ravel(), (film[:, :, 0] - film @ luminance).ravel())[0, 1]
        > 0.8
    )


def test_a_mask_film_needs_enough_frames(clip, tmp_path):
    write_film(tmp_path / "mask.mkv", [np.ones((48, 64, 3), np.float32)] * 4, codec="ffv1", pixels="bgr0")
    with pytest.raises(DataError, match=r"mask\.mkv ends before frame 5"):
        transfer_video(clip, STYLE, tmp_path / "out.mp4", regions=[[str(tmp_path / "mask.mkv"), "all"]], **QUICK)
    assert left(tmp_path) == ["mask.mkv"]


def test_a_mask_film_is_used(clip, tmp_path):
    write_film(tmp_path / "mask.mkv", [np.ones((48, 64, 3), np.float32)] * 6, codec="ffv1", pixels="bgr0")
    transfer_video(clip, STYLE, tmp_path / "out.mkv", regions=[[f"{tmp_path / 'mask.mkv'}", "all"]], **QUICK)
    assert read_film(tmp_path / "out.mkv")[1][0].shape == (48, 64, 3)


def damaged(path):
    """A film whose second half is missing."""
    write_film(path, scene(40), codec="ffv1", pixels="bgr0")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def test_a_damaged_film_is_refused_unless_it_is_to_be_kept_going(tmp_path):
    damaged(tmp_path / "b.mkv")
    with pytest.raises(DataError, match=r"b\.mkv .* can be read; keep_going paints them"):
        transfer_video(tmp_path / "b.mkv", STYLE, tmp_path / "out.mkv", **QUICK)
    assert left(tmp_path) == ["b.mkv"]
    with pytest.warns(UserWarning, match="frames before are painted"):
        result = transfer_video(tmp_path / "b.mkv", STYLE, tmp_path / "out.mkv", keep_going=True, every=4, **QUICK)
    assert 2 <= result.frames < 10


def test_what_cannot_be_done_is_refused_before_the_work(clip, tmp_path):
    out = tmp_path / "out.mp4"
    write_image(tmp_path / "one.png", scene(1)[0])
    cases = [
        ({"source": tmp_path / "one.png"}, "only one frame"),
        ({"start": 9.0}, "no frame after 9 s"),
        ({"output": clip}, "is the film to read"),
        ({"sheet": tmp_path / "a.png", "preview": tmp_path / "a.png"}, "written twice"),
        ({"sheet": tmp_path / "a.xyz"}, "no suffix of a known picture format"),
        ({"output": tmp_path / "a.avi"}, "known film format"),
        ({"init": str(tmp_path / "one.png")}, 'must be "content" or "noise"'),
        ({"passes": 0}, "passes is 0"),
        ({"method": "neighbours"}, "leave method out"),
        ({"size": 3}, "too small"),
        ({"style_layers": ["relu9_9"]}, "relu9_9"),
        ({"regions": [[np.ones((48, 48)), "all"]]}, "another aspect ratio"),
        ({"style_wieght": 3}, "did you mean style_weight"),
        ({"flow": tmp_path}, "no flows"),
        ({"style_blend": [1, 2]}, "style_blend has 2"),
    ]
    for given, message in cases:
        arguments = {"source": clip, "output": out, **given}
        with pytest.raises((DataError, ParameterError, ImageError), match=message):
            transfer_video(arguments.pop("source"), STYLE, arguments.pop("output"), **{**QUICK, **arguments})
    assert left(tmp_path) == ["one.png"]


def test_a_disk_that_is_too_small_is_noticed(clip, tmp_path, monkeypatch):
    usage = module.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DataError, match=r"need .* GB in .*, and 0\.0 GB are free"):
        transfer_video(clip, STYLE, tmp_path / "out.mp4", **QUICK)
    assert left(tmp_path) == []


def test_an_output_that_cannot_be_written_keeps_the_frames(clip, tmp_path, monkeypatch):
    def full(*arguments):
        raise DataError("out.mp4 cannot be written (No space left on device).")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_film", full)
        with pytest.raises(DataError, match=r"No space left on device\)\. The frames in .*out\.mp4\.frames are kept"):
            transfer_video(clip, STYLE, tmp_path / "out.mp4", **QUICK)
    painted = []
    transfer_video(clip, STYLE, tmp_path / "out.mp4", callback=lambda *_: painted.append(1), **QUICK)
    assert not painted and left(tmp_path) == ["out.mp4"]


def test_frames_of_other_settings_are_refused(clip, tmp_path):
    transfer_video(clip, STYLE, tmp_path / "out.mp4", callback=lambda *_: True, **QUICK)
    with pytest.raises(DataError, match=r"style_weight was 20\.0, and is 5\.0"):
        transfer_video(clip, STYLE, tmp_path / "out.mp4", style_weight=5.0, **QUICK)
    os.utime(clip, ns=(1, 1))
    with pytest.raises(DataError, match="film was"):
        transfer_video(clip, STYLE, tmp_path / "out.mp4", **QUICK)


def test_a_sound_that_is_lost_is_reported(clip, tmp_path):
    with pytest.warns(UserWarning, match=r"out\.gif has no sound"):
        transfer_video(clip, STYLE, tmp_path / "out.gif", **QUICK)


def test_two_runs_on_one_film_are_locked_out(clip, tmp_path):
    from stylecore.files import locked

    with locked(tmp_path / "out.mp4.frames"), pytest.raises(DataError, match="another process"):
        transfer_video(clip, STYLE, tmp_path / "out.mp4", **QUICK)


def test_it_is_exported():
    assert stylecore.transfer_video is transfer_video and "transfer_video" in dir(stylecore)
