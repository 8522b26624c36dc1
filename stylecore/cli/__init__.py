"""The command line, ``stylecore``.

The exit status is 0 when the work is done; 2 when an input cannot be used, which one sentence on standard error
explains; and 130 when Ctrl-C or a signal to terminate ended the run early, whether or not there was a picture to save.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

STOPPED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

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
        # Importing takes most of a second, in which Ctrl-C may come as well.
        from stylecore.cli.commands import run
    except KeyboardInterrupt:
        print("stylecore: stopped; no picture has been written.", file=sys.stderr)
        return STOPPED
    return run(arguments)
