"""The compilation of the kernels while the network is downloaded."""

import time

import pytest

from stylecore import warming
from stylecore.kernels.compilation import report


def compile_functions(count, compiled, expected="float32"):
    """A class in place of `Objective`, whose evaluation seems to compile some functions, one in a millisecond."""

    class Compiling:
        def __init__(self, content, style, network, dtype):
            assert (network, dtype) == ("small", expected)

        def __call__(self, x):
            for number in range(count):
                report(kept=True)
                compiled.append(number)
                time.sleep(0.001)

    return Compiling


def test_the_block_ends_when_everything_is_compiled(monkeypatch, capsys):
    compiled = []
    monkeypatch.setattr(warming, "Objective", compile_functions(20, compiled, "bfloat16"))
    with warming.compiling(dtype="bfloat16"):
        pass
    assert len(compiled) == 20
    assert "compiling the kernels" in capsys.readouterr().err


def test_nothing_is_shown_without_progress_or_if_nothing_is_compiled(monkeypatch, capsys):
    for count, progress in ((20, False), (0, True)):
        monkeypatch.setattr(warming, "Objective", compile_functions(count, []))
        with warming.compiling(progress):
            pass
    assert capsys.readouterr().err == ""


def test_an_error_in_the_block_ends_the_compilation(monkeypatch):
    compiled = []
    monkeypatch.setattr(warming, "Objective", compile_functions(10_000, compiled))
    with pytest.raises(ZeroDivisionError), warming.compiling(progress=False):
        raise ZeroDivisionError
    assert len(compiled) < 10_000


def test_an_error_of_the_compilation_is_left_to_the_transfer(monkeypatch):
    class Failing:
        def __init__(self, *pictures, **settings):
            raise OSError("no room")

    monkeypatch.setattr(warming, "Objective", Failing)
    with warming.compiling():
        pass
