import numpy as np
import pytest

from stylecore import ParameterError
from stylecore.pictures.sheets import contact_sheet


def plain(height, width, colour):
    return np.broadcast_to(np.float32(colour), (height, width, 3))


RED, BLUE = plain(40, 80, (1, 0, 0)), plain(50, 25, (0, 0, 1))


def test_side_by_side():
    sheet = contact_sheet([RED, BLUE], height=100)
    gap = sheet.shape[1] - 200 - 50
    assert sheet.shape[0] == 100 and 0 < gap < 10 and sheet.dtype == np.float32
    np.testing.assert_array_equal(sheet[:, :200], plain(100, 200, (1, 0, 0)))
    np.testing.assert_array_equal(sheet[:, 200 : 200 + gap], 1)
    np.testing.assert_array_equal(sheet[:, 200 + gap :], plain(100, 50, (0, 0, 1)))

    labelled = contact_sheet([RED, BLUE], ["content", "a label much longer than its picture"], height=100)
    np.testing.assert_array_equal(labelled[:100], sheet)
    foot = labelled[100:]
    dark = (foot.min(axis=2) < 0.5).any(axis=0)
    assert dark[:200].any() and dark[200 + gap :].any() and not dark[200 : 200 + gap].any()


def test_rows():
    sheet = contact_sheet([RED, BLUE, BLUE], height=100, columns=2)
    gap = sheet.shape[0] - 200
    assert 0 < gap < 10 and sheet.shape[1] == 200 + gap + 50
    np.testing.assert_array_equal(sheet[:100], contact_sheet([RED, BLUE], height=100))
    np.testing.assert_array_equal(sheet[100 : 100 + gap], 1)
    below = sheet[100 + gap :]
    np.testing.assert_array_equal(below[:, 75:125], plain(100, 50, (0, 0, 1)))  # in the middle of its column
    np.testing.assert_array_equal(below[:, :75], 1)
    np.testing.assert_array_equal(below[:, 125:], 1)


def test_rows_with_labels_under_each():
    sheet = contact_sheet([RED, RED, RED, RED], ["one", "two", "three", "four"], height=100, columns=2)
    red = (sheet == [1, 0, 0]).all(axis=2)
    assert red.sum() == 4 * 100 * 200
    bands = [sheet[100:120], sheet[220:240]]
    assert sheet.shape[0] == 240 and all((band.min(axis=2) < 0.5).any() for band in bands)


def test_title():
    sheet = contact_sheet([RED, BLUE], ["a", "b"], height=100, title="A title")
    without = contact_sheet([RED, BLUE], ["a", "b"], height=100)
    head = sheet[: len(sheet) - len(without)]
    np.testing.assert_array_equal(sheet[len(head) :], without)
    assert 0 < (head.min(axis=2) < 0.5).mean() < 0.2


def test_more_columns_than_pictures():
    np.testing.assert_array_equal(contact_sheet([RED], columns=5), contact_sheet([RED]))


def test_needs_a_label_each():
    with pytest.raises(ParameterError, match="sheet of 1 pictures"):
        contact_sheet([RED], ["a", "b"])
    with pytest.raises(ParameterError, match="sheet of 0 pictures"):
        contact_sheet([])
