"""Compiled code is kept on disk, unless a source that it may hold code of has changed since."""

from contextlib import suppress
from pathlib import Path

from numba import njit


def keeps_code(function):
    """Whether Numba can keep compiled code of a function's file; before that, outdated code of its folder is deleted.

    Parameters
    ----------
    function : callable
        Any that is defined in the file.

    Returns
    -------
    bool
        False where all folders that Numba tries are closed to writing.
    """
    try:
        folder = Path(njit(cache=True)(function).stats.cache_path)
    except RuntimeError:
        return False
    forget_outdated_code(folder, Path(function.__code__.co_filename).parent)
    return True


def forget_outdated_code(folder, sources):
    """Delete compiled code that is older than any of the sources: Numba looks at a kernel's own file only.

    A kernel's code holds that of the kernels it calls in other files.

    Parameters
    ----------
    folder, sources : Path
        Where compiled code and where its sources are.
    """
    newest = max(path.stat().st_mtime for path in sources.glob("*.py"))
    for index in folder.glob("*.nbi"):
        with suppress(OSError):  # Another process may be at it.
            if index.stat().st_mtime < newest:
                index.unlink()
