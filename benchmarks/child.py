"""Measurements in a process of their own: ``python -m benchmarks.child TASK ARGUMENTS-AS-JSON`` prints JSON.

The package is imported in the functions, since imports are part of what is measured.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import time
from pathlib import Path
from typing import Any


def startup(content: str, style: str, size: int) -> dict[str, float]:
    """Seconds from the start of the import to its end, to that of a first evaluation and to that of a first transfer.

    Parameters
    ----------
    content, style : str
        Paths of pictures.
    size : int

    Returns
    -------
    dict of str to float
    """
    began = time.perf_counter()
    import stylecore

    imported = time.perf_counter() - began
    from benchmarks.setting import square

    x, painting = square(content, size), square(style, size)
    stylecore.Objective(x, painting)(x)
    evaluated = time.perf_counter() - began
    # A few steps, so that the kernels of the optimiser are compiled as well.
    stylecore.transfer(x, painting, size=size, iterations=3, pyramid=1)
    return {"import": imported, "first evaluation": evaluated, "first transfer": time.perf_counter() - began}


def evaluation_memory(
    side: str, content: str, style: str, size: int, threads: int, memory_format: str | None
) -> dict[str, int]:
    """Peak memory of one evaluation, with network and targets, above that of the process after its imports.

    Parameters
    ----------
    side : {"ours", "pytorch"}
    content, style : str
        Paths of pictures.
    size, threads : int
    memory_format : str or None
        Of the peer.

    Returns
    -------
    dict of str to int
        In bytes.
    """
    from benchmarks.machine import use_threads
    from benchmarks.setting import NETWORK, square
    from stylecore import Objective, weights

    if side == "pytorch":
        from benchmarks import peers
    imported = _held()
    with use_threads(threads):
        x, painting = square(content, size), square(style, size)
        if side == "ours":
            objective = Objective(x, painting, network=NETWORK)
        else:
            objective = peers.Objective(x, painting, weights.load(NETWORK), memory_format)
        _reset_peak()
        objective(x)
        objective(x)
    return {"above import": _peak() - imported}


def predicted_memory(content: str, style: str, size: int, threads: int, optimizer: str) -> dict[str, dict[str, int]]:
    """Peak memory of stylecore beyond network and images, measured and predicted.

    Parameters
    ----------
    content, style : str
        Paths of pictures.
    size, threads : int
    optimizer : str

    Returns
    -------
    dict of str to dict of str to int
        In bytes, "measured" and "predicted" of one "evaluation" and of a "transfer" at one scale, which is long enough
        for L-BFGS to hold all its pairs.
    """
    from benchmarks.machine import use_threads
    from benchmarks.setting import CONTENT_LAYERS, NETWORK, SMALL, STYLE_LAYERS, square
    from stylecore import Objective, transfer
    from stylecore.budget import predicted_bytes
    from stylecore.network import load_network
    from stylecore.optimizers import pairs_kept

    with use_threads(threads):
        network = load_network(NETWORK)
        settings: dict[str, Any] = {"network": network, "optimizer": optimizer}
        # Loads the compiled code, which is not part of the prediction.
        transfer(square(content, SMALL), square(style, SMALL), size=SMALL, iterations=2, **settings)
        x, painting = square(content, size), square(style, size)

        objective = Objective(x, painting, network=network)
        before = _held_after_release(network)
        objective(x)
        objective(x)
        evaluation = {"measured": _peak() - before, "predicted": objective.bytes(size, size)}

        del objective
        before = _held_after_release(network)
        transfer(x, painting, size=size, iterations=pairs_kept(x.size) + 5, pyramid=1, **settings)
        predicted = predicted_bytes(network, CONTENT_LAYERS, STYLE_LAYERS, (size, size), (size, size), optimizer)
    return {"evaluation": evaluation, "transfer": {"measured": _peak() - before, "predicted": predicted["memory"]}}


def tiles_memory(content: str, style: str, size: int, tile: int, threads: int) -> dict[str, Any]:
    """Peak memory of a first evaluation in tiles, with the targets of the content, and its prediction.

    Parameters
    ----------
    content, style : str
        Paths of pictures; the style image is used at 1024 pixels.
    size, tile, threads : int

    Returns
    -------
    dict
        "tile"; in bytes, the peak "above import", with network and images, and that "measured" beyond them, with its
        prediction, "predicted"; and the "seconds" of the evaluation.
    """
    from benchmarks.machine import use_threads
    from benchmarks.setting import NETWORK, SMALL, square
    from stylecore import Objective
    from stylecore.network import load_network

    imported = _held()
    with use_threads(threads):
        network = load_network(NETWORK)
        small = square(content, SMALL)
        Objective(small, small, network=network)(small)  # Loads the compiled code.
        x, painting = square(content, size), square(style, 1024)
        before = _held_after_release(network)
        objective = Objective(small, painting, network=network, tile=tile)
        began = time.perf_counter()
        objective(x)
        seconds = time.perf_counter() - began
    return {
        "tile": tile,
        "above import": _peak() - imported,
        "measured": _peak() - before,
        "predicted": objective.bytes(size, size),
        "seconds": seconds,
    }


def painter_memory(content: str, size: int, threads: int, side: str) -> dict[str, int]:
    """Peak memory of a picture by a painter, with the painter.

    Parameters
    ----------
    content : str
        Path of a picture.
    size, threads : int
    side : {"ours", "PyTorch"}

    Returns
    -------
    dict of str to int
        In bytes, "above import".
    """
    from benchmarks.machine import use_threads
    from benchmarks.painter import random_painter
    from benchmarks.setting import SMALL, square

    if side == "PyTorch":
        from benchmarks import peers
    small, x = square(content, SMALL), square(content, size)
    imported = _held()
    with use_threads(threads):
        painter = random_painter()
        paint = painter.paint_array if side == "ours" else peers.Painter(painter.weights, "channels last").paint
        paint(small)  # Loads the compiled code.
        _reset_peak()
        paint(x)
        paint(x)
    return {"above import": _peak() - imported}


def _held_after_release(network: Any) -> int:
    """Memory of the process after unused memory has been returned to the system, from where a new peak is measured."""
    network.backend.release_scratch()
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # Of the GNU C library.
    if trim:
        trim(0)
    _reset_peak()
    return _held()


def _held() -> int:
    return _memory("VmRSS")


def _peak() -> int:
    return _memory("VmHWM")


def _memory(kind: str) -> int:
    """A figure of Linux on the memory of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {kind}")


def _reset_peak() -> None:
    """Reset the peak to the present memory of the process."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    TASKS: dict[str, Any] = {
        task.__name__: task for task in (startup, evaluation_memory, predicted_memory, tiles_memory, painter_memory)
    }
    print(json.dumps(TASKS[sys.argv[1]](**json.loads(sys.argv[2]))))
