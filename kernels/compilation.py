"""A report that kernels are being compiled, which keeps a program waiting without another sign of life."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

ONCE = "compiling the kernels; this takes about a quarter of a minute, once"
EVERY_TIME = "compiling the kernels; this takes about a quarter of a minute, and the code cannot be kept on disk"

_callbacks: list[Callable[[bool], None]] = []


@contextmanager
def on_compile(callback: Callable[[str], object]) -> Iterator[None]:
    """Call a function when the first kernel has to be compiled inside the ``with`` block; at most once.

    It is not called while all code comes from the cache on disk.

    Parameters
    ----------
    callback : callable
        Gets `ONCE` or `EVERY_TIME`, a text to show to the user.

    Examples
    --------
    >>> from stylecore.kernels.compilation import on_compile
    >>> with on_compile(print):
    ...     pass
    """
    reported = False

    def report_once(kept: bool) -> None:
        nonlocal reported
        if not reported:
            reported = True
            callback(ONCE if kept else EVERY_TIME)

    with each_compiled(report_once):
        yield


@contextmanager
def each_compiled(callback: Callable[[bool], None]) -> Iterator[None]:
    """Call a function whenever a function of the kernels has to be compiled inside the ``with`` block, by any thread.

    Parameters
    ----------
    callback : callable
        Gets whether the code will be kept on disk. An error that it raises ends the compilation.
    """
    _callbacks.append(callback)
    try:
        yield
    finally:
        _callbacks.remove(callback)


def report(kept: bool) -> None:
    """Tell all who asked by `on_compile` that Numba begins to compile a kernel.

    Parameters
    ----------
    kept : bool
        Whether the code will be kept on disk.
    """
    for callback in tuple(_callbacks):
        callback(kept)
