"""Compiling the kernels ahead of a transfer, while the network is downloaded."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from stylecore.kernels.compilation import each_compiled
from stylecore.objective import Objective

FUNCTIONS = 38
"""Functions that the first evaluation of a picture in single precision compiles."""

_SIDE = 32


class _Cancelled(Exception):
    """The compilation is not needed any more."""


@contextmanager
def compiling(progress: bool = True, dtype: str = "float32") -> Iterator[None]:
    """Compile the kernels of the CPU in a thread of their own, while the ``with`` block is executed.

    The block ends when they are compiled; if it raises an error, when the function being compiled is.

    Parameters
    ----------
    progress : bool
        Whether to show a progress bar, as soon as a function has to be compiled.
    dtype : {"float32", "float64", "bfloat16"}
        The precision for which they are compiled, as in `stylecore.transfer`.
    """
    cancelled = threading.Event()
    thread = threading.Thread(target=_compile, args=(progress, dtype, cancelled), daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        cancelled.set()
        raise
    finally:
        thread.join()


def _compile(progress: bool, dtype: str, cancelled: threading.Event) -> None:
    """Evaluate a small picture with the network that needs no download; it uses the same kernels as the others."""
    from tqdm import tqdm

    bar = None

    def count(kept: bool) -> None:
        nonlocal bar
        if cancelled.is_set():
            raise _Cancelled
        if bar is None:
            # Below the bar of the download.
            options = {"position": 1, "leave": False, "dynamic_ncols": True, "disable": not progress}
            bar = tqdm(total=FUNCTIONS, desc="compiling the kernels, once", unit="function", file=sys.stderr, **options)
        bar.update()

    picture = np.linspace(0, 1, _SIDE * _SIDE * 3).reshape(_SIDE, _SIDE, 3)
    try:
        with each_compiled(count):
            Objective(picture, picture, network="small", dtype=dtype)(picture)
    except Exception:
        # An error that is not due to the small picture will be raised, and reported, when the transfer begins.
        pass
    finally:
        if bar is not None:
            bar.close()
