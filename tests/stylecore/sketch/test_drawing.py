"""Reading drawings: paper, pencil, inverted and transparent ones, and what is refused."""

import warnings

import numpy as np
import pytest

from stylecore import ImageError
from stylecore.sketch import Drawing, read_drawing


def refused(words):
    """Expect an error of one sentence with these words in it."""
    return pytest.raises(ImageError, match=rf"^(?!.*\.\s)(?!.*\n).*{words}.*\.$")


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_black_on_white_is_read_as_it_is(house):
    np.testing.assert_allclose(read_drawing(house).ink, 1 - house, atol=1e-6)


def test_pencil_on_grey_paper_has_the_same_lines(house):
    np.testing.assert_array_equal(read_drawing(0.5 + 0.3 * house).lines, read_drawing(house).lines)


def test_white_on_black_is_inverted_with_a_warning(house):
    with pytest.warns(UserWarning, match="light lines on dark paper; it is inverted"):
        drawing = read_drawing(1 - house)
    np.testing.assert_allclose(drawing.ink, 1 - house, atol=1e-6)


@pytest.mark.parametrize("tone", [0.0, 1.0])
def test_a_transparent_drawing_is_put_on_paper(house, tone):
    rgba = np.dstack([np.full((*house.shape, 3), tone), 1 - house]).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Light lines are inverted.
        drawing = read_drawing(rgba)
    np.testing.assert_array_equal(drawing.lines, read_drawing(house).lines)


def test_a_photograph_is_refused():
    with refused("looks like a photograph.*--line-art"):
        read_drawing(np.random.default_rng(0).random((64, 64, 3)))


def test_the_edges_of_a_photograph_are_a_drawing(photo):
    lines = read_drawing(photo, line_art=True).lines
    assert lines[48, 30:38].any() and lines[15:22, 64].any()
    assert not lines[:8].any()


@pytest.mark.parametrize("tone", [0.0, 0.4, 1.0])
def test_a_blank_sheet_is_refused(tone):
    with refused("is blank.*no lines"):
        read_drawing(np.full((32, 32), tone, np.float32))


def test_a_uniform_photograph_has_no_edges():
    with refused("is blank.*no edges"):
        read_drawing(np.full((32, 32, 3), 0.5, np.float32), line_art=True)


def test_messages_name_the_file(tmp_path):
    with refused("nothing.png does not exist"):
        read_drawing(tmp_path / "nothing.png")


def test_a_drawing_is_returned_unchanged():
    drawing = Drawing(np.eye(8, dtype=np.float32))
    assert read_drawing(drawing) is drawing
    assert drawing.at((4, 4)).ink.shape == (4, 4)
