"""The report that kernels are compiled."""

import pytest

from stylecore.kernels.compilation import EVERY_TIME, ONCE, each_compiled, on_compile, report


@pytest.mark.parametrize(("kept", "text"), [(True, ONCE), (False, EVERY_TIME)])
def test_each_block_reports_once(kept, text):
    outer, inner = [], []
    with on_compile(outer.append):
        with on_compile(inner.append):
            report(kept)
            report(kept)
        report(kept)
    report(kept)
    assert outer == inner == [text]


def test_nothing_is_reported_after_an_error():
    texts = []
    with pytest.raises(ZeroDivisionError), on_compile(texts.append):
        raise ZeroDivisionError
    report(True)
    assert texts == []


def test_each_function_is_reported():
    kept = []
    with each_compiled(kept.append):
        report(True)
        report(False)
    report(True)
    assert kept == [True, False]
