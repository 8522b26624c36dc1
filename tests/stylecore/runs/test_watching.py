import os
import sys

import numpy as np
import pytest

from stylecore import Evaluation, ParameterError, transfer
from stylecore.network import load_network
from stylecore.pictures.geometry import resize
from stylecore.pictures.reading import read_image
from stylecore.runs import watching
from stylecore.runs.watching import NotebookPicture, Preview, RunSheet, Snapshots, together
from stylecore.samples import PAINTING, PHOTOGRAPH

SHALLOW = {"content_layers": ["relu2_2"], "style_layers": ["relu1_1"], "size": 64, "iterations": 7, "pyramid": 1}


def run(callback=None, **settings):
    return transfer(
        PHOTOGRAPH, PAINTING, **{**SHALLOW, "network": load_network("vgg19"), **settings}, callback=callback
    )


def evaluation(number, height=12, width=16):
    return Evaluation(number, (height, width), 1.0, {}, 0.0, {})


def plain(level, height=12, width=16):
    return np.full((height, width, 3), level, np.float32)


def test_together():
    seen = []

    def note(answer):
        return lambda evaluation, image: seen.append(answer) or answer

    assert not together(note(None), None, note(False))(None, None)
    assert together(note(False), note(True), note(False))(None, None)
    assert seen == [None, False, False, True, False]  # Every one was asked.


# Snapshots


def test_snapshots_are_numbered_pictures_beside_the_result(tmp_path):
    shown = {}
    output = tmp_path / "out.png"
    run(together(Snapshots(output, 3), lambda evaluation, image: shown.update({evaluation.number: image.copy()})))
    assert sorted(os.listdir(tmp_path)) == ["out-0003.png", "out-0006.png"]
    for number in (3, 6):
        saved, _ = read_image(tmp_path / f"out-{number:04d}.png")
        np.testing.assert_allclose(saved, shown[number], atol=0.51 / 255)


def test_snapshots_tell_what_they_may_write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    snapshots = Snapshots("out.1.png", 1)
    for path in ("out.1-0001.png", tmp_path / "out.1-12345.png", "./out.1-0001.png"):
        assert snapshots.may_write(path)
    for path in ("out.1.png", "out.1-001.png", "outx1-0001.png", "out.1-0001.jpg", "folder/out.1-0001.png"):
        assert not snapshots.may_write(path)


@pytest.mark.parametrize("every", [0, -1, 1.5, True])
def test_snapshots_at_no_interval(every):
    with pytest.raises(ParameterError, match=r"save_every is .*a positive integer"):
        Snapshots("out.png", every)


def test_what_cannot_be_written_is_warned_of_once(tmp_path):
    for view in (Snapshots(tmp_path / "nowhere" / "out.png", 1), Preview(tmp_path / "nowhere" / "out.png", 0)):
        with pytest.warns(UserWarning, match=r"there is no folder .*\. The transfer continues without it\.") as warned:
            result = run(view)
        assert len(warned) == 1 and len(result.history) == 7
    assert os.listdir(tmp_path) == []


# Preview


def test_preview_is_rewritten_after_some_seconds(tmp_path, monkeypatch):
    now = 100.0
    monkeypatch.setattr(watching.time, "monotonic", lambda: now)
    preview = Preview(tmp_path / "live.png", seconds=2)
    levels = []
    for number in range(1, 7):
        preview(evaluation(number), plain(number / 10))
        levels.append(round(float(read_image(tmp_path / "live.png")[0].mean()), 1))
        now += 1
    assert levels == [0.1, 0.1, 0.3, 0.3, 0.5, 0.5]
    assert os.listdir(tmp_path) == ["live.png"]


# The sheet


@pytest.mark.parametrize(("iterations", "numbers"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (100, [1, 26, 51, 76])])
def test_sheet_shows_pictures_evenly_and_the_result(iterations, numbers):
    sheet = RunSheet(iterations, pictures=5, height=24)
    kept = []
    for number in range(1, iterations + 1):
        height = 12 if number < 50 else 48
        before = len(sheet._labels)
        sheet(evaluation(number, height, 2 * height), plain(number / 200, height, 2 * height))
        kept += [number] * (len(sheet._labels) - before)
    assert kept == numbers
    assert max(map(len, sheet._pictures)) <= 24


def test_sheet_of_a_run():
    sheet = RunSheet(7, pictures=4, height=48)
    result = run(sheet)
    shown = sheet.sheet(result)
    assert shown.shape[0] > 48 and 4 * 64 <= shown.shape[1] <= 4 * 68
    start = resize(read_image(PHOTOGRAPH)[0], (48, 64))
    np.testing.assert_allclose(shown[:48, :64], start, atol=0.51 / 255)
    np.testing.assert_allclose(shown[:48, -64:], result.array, atol=0.51 / 255)


# Notebooks


@pytest.fixture
def notebook(monkeypatch):
    """What IPython is asked to show."""
    import IPython.display

    shown = []

    class Handle:
        def update(self, picture):
            shown.append(picture)

    def display(picture, display_id):
        shown.append(picture)
        return Handle()

    monkeypatch.setattr(IPython.display, "display", display)
    return shown


def test_notebook_shows_the_picture_as_it_grows(notebook, monkeypatch):
    now = 0.0
    monkeypatch.setattr(watching.time, "monotonic", lambda: now)
    picture = NotebookPicture(seconds=2)
    for number in range(1, 6):
        picture(evaluation(number), plain(number / 10))
        now += 1
    assert [round(np.asarray(image).mean() / 255, 1) for image in notebook] == [0.1, 0.3, 0.5]


def test_progress_in_a_notebook(notebook, capsys):
    result = run(progress="notebook")
    assert notebook[0].size == (64, 48) and len(result.history) == 7
    assert "7/7" in capsys.readouterr().err
    with pytest.raises(ParameterError, match="progress is 'notbook'; it must be"):
        run(progress="notbook")


def test_notebook_without_ipython(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(ParameterError, match=r"needs IPython; install it with: pip install ipython\.$"):
        run(progress="notebook")


def test_result_shows_itself():
    result = run(iterations=2)
    assert result._repr_png_().startswith(b"\x89PNG")
    assert repr(result) == "<Result of 64 x 48 pixels after 2 evaluations>"
