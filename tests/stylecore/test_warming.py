"""The compilation of the kernels while the network is downloaded."""

import subprocess
import sys
import time

import pytest

from stylecore import warming
from stylecore.kernels.compilation import report


def compile_functions(count, compiled):
    """A class in place of `Objective`, whose evaluation seems to compile some functions, one in a millisecond."""

    class Compiling:
        def __init__(self, content, style, network):
            assert network == "small"

        def __call__(self, x):
            for number in range(count):
                report(kept=True)
                compiled.append(number)
                time.sleep(0.001)

    return Compiling


def test_the_block_ends_when_everything_is_compiled(monkeypatch, capsys):
    compiled = []
    monkeypatch.setattr(warming, "Objective", compile_functions(20, compiled))
    with warming.compiling():
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


COUNT = """
import numpy as np
from stylecore import Objective, warming
from stylecore.kernels.compilation import each_compiled

functions, later = [], []
with each_compiled(functions.append), warming.compiling(progress=False):
    pass
picture = np.random.default_rng(0).random((48, 40, 3))
with each_compiled(later.append):
    Objective(picture, picture, network="small")(picture)
print(len(functions), len(later), warming.FUNCTIONS)
"""


@pytest.mark.slow
def test_a_first_evaluation_compiles_nothing_more(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    output = subprocess.run([sys.executable, "-c", COUNT], check=True, capture_output=True, text=True).stdout
    compiled, later, expected = map(int, output.split())
    assert compiled == expected
    assert later == 0
