import sys

import numpy as np
import pytest

from stylecore import Evaluation, History, ParameterError
from stylecore.runs.history import check_plot, plot


def evaluation(number, size=(24, 32), **terms):
    weights = dict.fromkeys(terms, 2.0)
    return Evaluation(number, size, 2 * sum(terms.values()), terms, number / 10, weights)


def history():
    return History(
        [evaluation(n, style=9.0 / n, tv=0.5) for n in range(1, 6)]
        + [evaluation(n, (48, 64), style=9.0 / n, content=n - 6.0) for n in range(6, 10)]
    )


def test_columns():
    columns = history().columns()
    assert list(columns) == ["number", "height", "width", "loss", "seconds", "style", "tv", "content"]
    assert all(column.shape == (9,) for column in columns.values())
    np.testing.assert_array_equal(columns["number"], np.arange(1, 10))
    np.testing.assert_array_equal(columns["width"], [32] * 5 + [64] * 4)
    np.testing.assert_array_equal(columns["height"], [24] * 5 + [48] * 4)
    np.testing.assert_array_equal(columns["style"], 9 / np.arange(1, 10))
    np.testing.assert_array_equal(columns["tv"], [0.5] * 5 + [np.nan] * 4)
    np.testing.assert_allclose(columns["loss"][:5], 2 * (columns["style"] + columns["tv"])[:5])


def test_is_a_list():
    assert history()[-1].number == 9 and len(history()) == 9 and history() == list(history())
    assert History().columns()["loss"].shape == (0,)


def drawn(picture):
    """Number of pixels of each colour that is neither white nor grey."""
    colours, counts = np.unique((picture.reshape(-1, 3) * 255).round().astype(int), axis=0, return_counts=True)
    return {tuple(c): n for c, n in zip(colours.tolist(), counts, strict=True) if np.ptp(c) > 60}


def test_plot_draws_a_line_for_each_term():
    picture = plot(history())
    assert picture.ndim == 3 and picture.dtype == np.float32 and picture.min() >= 0 and picture.max() <= 1
    three = sorted(drawn(picture).values())[-3:]
    assert three[0] > 300  # Three lines in colours of their own.
    one = drawn(plot([evaluation(1, style=2.0), evaluation(2, style=1.0)]))
    assert sorted(one.values())[-1] > 300 > sorted(one.values())[-2]


def test_plot_leaves_out_what_is_next_to_nothing():
    # As the content term is at the start, from the content image.
    nothing, little = ([evaluation(1, a=2.0, b=b), evaluation(2, a=1.0, b=1.0)] for b in (0.0, 1e-12))
    np.testing.assert_array_equal(plot(little), plot(nothing))


def test_plot_of_a_single_evaluation():
    assert plot([evaluation(1, style=2.0)]).mean() > 0.9


def test_plot_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ParameterError, match=r"needs Matplotlib; install it with: pip install matplotlib\.$"):
        check_plot()
