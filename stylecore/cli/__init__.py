"""The command line, ``stylecore``.

The exit status is 0 on success; 1 if some of many pictures could not be made; 2 if an input cannot be used, which one
sentence on standard error explains; and 130 if Ctrl-C or a signal to terminate ended the run early, whether or not
there was a picture to save.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from stylecore.errors import StylecoreError

FAILED, STOPPED = 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        The exit status.
    """
    # Both are None if the caller closed them.
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    try:
        # The import takes most of a second, in which Ctrl-C may be pressed, too.
        from stylecore.cli.commands import run
    except KeyboardInterrupt:
        print("stylecore: stopped; no picture has been written.", file=sys.stderr)
        return STOPPED
    except StylecoreError as error:  # Environment variables with which Numba cannot be imported.
        print(f"stylecore: error: {error}", file=sys.stderr)
        return 2
    return run(arguments)
