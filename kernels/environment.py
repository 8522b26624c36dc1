"""Numba's environment variables, some values of which make it useless for the kernels.

With some of them Numba cannot even be imported. It is imported here first, without them, so that the package can be
imported and used as far as it runs no kernel; the first kernel raises the error.
"""

import os
import re
import warnings

from stylecore.errors import BackendError


def _too_few_threads() -> bool:
    threads = os.environ.get("NUMBA_NUM_THREADS", "")
    return bool(re.fullmatch(r"\s*[-+]?\d+\s*", threads)) and int(threads) < 1


def _import_numba() -> str | None:
    """Import Numba; returns the name of the environment variable that it cannot work with, if there is one."""
    wrong, number = None, None
    if _too_few_threads():
        wrong, number = "NUMBA_NUM_THREADS", os.environ.pop("NUMBA_NUM_THREADS")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            import numba
    finally:
        if number is not None:
            os.environ["NUMBA_NUM_THREADS"] = number
    for warning in caught:
        unreadable = re.match(r"Environment variable '(\w+)' is defined but", str(warning.message))
        if unreadable:
            wrong = unreadable[1]
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return "NUMBA_DISABLE_JIT" if numba.config.DISABLE_JIT else wrong


WRONG = _import_numba()
"""Name of an environment variable that keeps the kernels from running, if there is one."""


def check() -> None:
    """Raise an error if kernels cannot run with Numba's environment variables.

    Raises
    ------
    BackendError
    """
    if WRONG == "NUMBA_DISABLE_JIT":
        raise BackendError(
            "the kernels run only when they are compiled; unset the environment variable NUMBA_DISABLE_JIT."
        )
    if WRONG is not None:
        value = os.environ.get(WRONG)
        raise BackendError(
            f'the environment variable {WRONG} is "{value}", which Numba cannot use; correct it, or unset it.'
        )
