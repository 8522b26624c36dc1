"""All stages in one function: the result, its sheet, and what is refused before anything is computed."""

import numpy as np
import pytest

import stylecore
from stylecore import ImageError, ParameterError, extras
from stylecore.sketch import colour_sketch
from stylecore.sketch import pipeline as module

pytestmark = pytest.mark.slow

QUICK = {"size": 64, "iterations": 3, "pyramid": 1}


def refused(words, error=ParameterError):
    """Expect an error of one sentence with these words in it."""
    return pytest.raises(error, match=rf"^(?!.*\.\s)(?!.*\n).*{words}.*\.$")


@pytest.fixture
def coloured(house, photo):
    return colour_sketch(house, photo=photo, **QUICK)


def test_it_is_part_of_the_package(house, photo):
    assert stylecore.colour_sketch is colour_sketch


def test_the_result_has_the_lines_on_top(coloured):
    assert coloured.array.shape == (64, 64, 3)
    ink = coloured.drawing.ink
    np.testing.assert_allclose(coloured.array, coloured.colours * (1 - ink[..., None]), atol=1e-6)
    assert (coloured.array[ink > 2 / 3] < 1 / 3).all()
    assert coloured.retrieved == [] and set(coloured.matches) == set(coloured.sketch_regions.regions)


def test_it_is_saved_and_shown_as_a_sheet(coloured, tmp_path):
    coloured.save(tmp_path / "out.png")
    assert (tmp_path / "out.png").exists()
    assert coloured.image.size == (64, 64)
    assert coloured.sheet().shape[0] > module.SHOWN


def test_a_folder_gives_the_photographs(house, photo, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    stylecore.pictures.writing.write_image(folder / "disc.png", photo)
    stylecore.pictures.writing.write_image(folder / "dark.png", 0.5 * photo[:, :96])
    (folder / "broken.png").write_bytes(b"broken")
    with pytest.warns(UserWarning, match="1 picture cannot be read and is skipped: .*broken.png"):
        coloured = colour_sketch(house, photos=folder, pick=2, **QUICK)
    assert len(coloured.retrieved) == 2 and coloured.chosen == 1
    assert coloured.photo.shape[1] == (96 if coloured.retrieved[1].path.name == "dark.png" else 128)
    assert coloured.sheet().shape[1] > 2 * 256
    with refused("pick is 3, but .* only 2"), pytest.warns(UserWarning):
        colour_sketch(house, photos=folder, pick=3, **QUICK)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "either a folder"),
        ({"photos": "a", "photo": "b"}, "either a folder"),
        ({"photo": "b", "pick": 0}, "pick is 0"),
        ({"photo": "b", "pick": 1.5}, "pick is 1.5"),
        ({"photo": "b", "ink": 2}, "ink is 2"),
    ],
)
def test_options_that_cannot_be_used_are_refused(house, given, words):
    with refused(words):
        colour_sketch(house, **given)


def test_a_photograph_is_not_a_sketch(photo):
    with refused("looks like a photograph", ImageError):
        colour_sketch(photo, photo=photo, **QUICK)


def test_a_missing_library_is_named(house, photo, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(extras, "import_module", missing)
    with refused("pip install scikit-image"):
        colour_sketch(house, photo=photo, **QUICK)


def test_one_region_is_enough(photo):
    sheet = np.ones((80, 80), np.float32)
    sheet[20:60, 20:60] = 0
    sheet[23:57, 23:57] = 1
    coloured = colour_sketch(sheet, photo=photo, **QUICK)
    assert coloured.matches == {1: 1}
