"""Reading files in a child process, whose memory and time are limited and whose crash does no harm.

The HDF5 library crashes on some damaged files, and a file of a few bytes may ask for any amount of memory or time. What
can be foreseen is checked before it is allocated; this is for the rest.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import stylecore
from stylecore.errors import WeightsError

MEMORY = 1_200_000_000
"""Bytes that a child may allocate; VGG-19 with its classifier, the largest network here, takes 800 MB at the peak."""
SECONDS = 2
"""CPU time that a child may take for a small file; more for a large one, by `BYTES_PER_SECOND`."""
BYTES_PER_SECOND = 40_000_000
"""A tenth of the speed at which large files are read on a current processor."""
_WAITING = 10
"""How many times the CPU time may pass before the child ends, as on a busy machine or a slow disk."""

_REFUSED, _EXHAUSTED = 3, 4
"""The child's exit statuses after a WeightsError, whose message is its output, and after a MemoryError."""

# The modules of this package, without all that `import stylecore` loads: Numba alone takes longer than the reading.
_START = """
import json, sys, types
request = json.load(sys.stdin)
sys.path[:] = request["path"]
sys.modules["stylecore"] = types.ModuleType("stylecore")
sys.modules["stylecore"].__path__ = request["package"]
from stylecore.weights.isolation import answer
answer(request)
"""


def isolated(function: Callable[..., bytes | memoryview], path: str | os.PathLike[str], **arguments: Any) -> bytes:
    """Call a function that reads a file, in a child process with limits.

    Parameters
    ----------
    function : callable
        A function of a module of this package, that returns bytes.
    path : str or path
        The file, which is the function's first argument.
    **arguments
        Further arguments, as JSON can hold them.

    Returns
    -------
    bytes
        What the function returned.

    Raises
    ------
    WeightsError
        If the function raises one, exceeds the limits, crashes or fails.
    """
    request = {
        "path": [str(folder) for folder in sys.path],
        "package": list(stylecore.__path__),
        "module": function.__module__,
        "function": function.__name__,
        "file": os.fsdecode(path),
        "arguments": arguments,
    }
    try:
        process = subprocess.run(
            [sys.executable, "-I", "-c", _START],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=_WAITING * _seconds(path),
            # Each of OpenBLAS's threads reserves memory.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise _exhausting(path) from error
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read, since no process can be started ({error.strerror}); free some memory."
        ) from error
    if process.returncode == 0:
        return process.stdout
    if process.returncode == _REFUSED:
        raise WeightsError(json.loads(process.stdout))
    if process.returncode in (_EXHAUSTED, -getattr(signal, "SIGXCPU", 0)):
        raise _exhausting(path)
    reason = process.stderr.decode(errors="replace").strip().rpartition("\n")[2] or signal.strsignal(
        -process.returncode
    )
    raise WeightsError(f"{path} is damaged and crashes its reader ({reason}); download it again.")


def _exhausting(path: str | os.PathLike[str]) -> WeightsError:
    return WeightsError(
        f"{path} takes more memory or time to read than any network here; give a file that holds only weights."
    )


def answer(request: dict[str, Any]) -> None:
    """Serve one request of `isolated`, in the child process.

    Parameters
    ----------
    request : dict
        As `isolated` sends it.
    """
    function = getattr(importlib.import_module(request["module"]), request["function"])
    _limit(request["file"])
    try:
        content = function(request["file"], **request["arguments"])
    except WeightsError as error:
        sys.stdout.write(json.dumps(str(error)))
        sys.exit(_REFUSED)
    except MemoryError:
        sys.exit(_EXHAUSTED)
    sys.stdout.buffer.write(content)


def _limit(path: str) -> None:
    """Limit the memory and CPU time of this process, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return

    def lower(kind: int, value: int) -> None:
        soft, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (value if soft == resource.RLIM_INFINITY else min(value, soft), hard))

    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_CPU, math.ceil(time.process_time() + _seconds(path)))
    with suppress(OSError), open("/proc/self/statm") as file:  # Elsewhere than on Linux there is no such limit.
        mapped = int(file.read().split()[0]) * resource.getpagesize()
        # The file itself may be mapped into memory, of which only the pages that are read take any.
        lower(resource.RLIMIT_AS, mapped + os.path.getsize(path) + MEMORY)


def _seconds(path: str | os.PathLike[str]) -> float:
    return SECONDS + os.path.getsize(path) / BYTES_PER_SECOND
