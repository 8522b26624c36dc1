"""Writing files whole or not at all."""

import os
import secrets
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path):
    """Open a temporary file that takes the place of another once it is whole, or vanishes.

    Parameters
    ----------
    path : str or path
        The file to be replaced, which need not exist; of a link, what it points to is replaced.

    Yields
    ------
    file
        Open for writing bytes, in the same folder.

    Raises
    ------
    OSError
        If it cannot be written there.
    """
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
