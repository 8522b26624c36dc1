"""What is measured in a process of its own: ``python -m benchmarks.child TASK ARGUMENTS-AS-JSON`` prints JSON.

Nothing heavy is imported up here, for imports are part of what is measured.
"""

import ctypes
import gc
import json
import sys
import time
from pathlib import Path


def startup(content, style, size):
    """Seconds from before the import: until it is done, and until the first evaluation is."""
    began = time.perf_counter()
    import stylecore

    imported = time.perf_counter() - began
    from benchmarks.setting import square

    x = square(content, size)
    stylecore.Objective(x, square(style, size))(x)
    return {"import": imported, "first evaluation": time.perf_counter() - began}


def evaluation_memory(side, content, style, size, threads, memory_format):
    """Peak of one evaluation above what the process held after its imports, in bytes; network and targets count.

    Parameters
    ----------
    side : {"ours", "pytorch"}
    content, style : str
    size, threads : int
    memory_format : str or None
        Of the peer.
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
        _forget_peak()
        objective(x)
        objective(x)
    return {"above import": _peak() - imported}


def predicted_memory(content, style, size, threads):
    """Peaks of ours beyond network and images, and what is predicted of them, in bytes.

    Of one evaluation, and of a transfer at one scale that is long enough for L-BFGS to keep all its pairs.
    """
    from benchmarks.machine import use_threads
    from benchmarks.setting import NETWORK, SMALL, square
    from stylecore import Objective
    from stylecore._transfer import transfer
    from stylecore.budget import predicted_bytes
    from stylecore.network import CONTENT_LAYERS, STYLE_LAYERS, load_network
    from stylecore.optimizers import pairs_kept

    with use_threads(threads):
        network = load_network(NETWORK)
        # Loads the compiled code, which is no part of what is predicted.
        transfer(square(content, SMALL), square(style, SMALL), size=SMALL, iterations=2, network=network)
        x, painting = square(content, size), square(style, size)

        objective = Objective(x, painting, network=network)
        before = _held_after_release(network)
        objective(x)
        objective(x)
        evaluation = {"measured": _peak() - before, "predicted": objective.bytes(size, size)}

        del objective
        before = _held_after_release(network)
        transfer(x, painting, size=size, iterations=pairs_kept(x.size) + 5, pyramid=1, network=network)
        predicted = predicted_bytes(network, CONTENT_LAYERS, STYLE_LAYERS, x.shape[:2], painting.shape[:2], "lbfgs")
    return {"evaluation": evaluation, "transfer": {"measured": _peak() - before, "predicted": predicted["memory"]}}


def _held_after_release(network):
    """What is held after all that is not needed has gone back to the system; the peak starts again from there."""
    network.backend.release_scratch()
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # GNU's library has it.
    if trim:
        trim(0)
    _forget_peak()
    return _held()


def _held():
    return _memory("VmRSS")


def _peak():
    return _memory("VmHWM")


def _memory(kind):
    """What Linux tells of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {kind}")


def _forget_peak():
    """Let the peak start again from what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    TASKS = {task.__name__: task for task in (startup, evaluation_memory, predicted_memory)}
    print(json.dumps(TASKS[sys.argv[1]](**json.loads(sys.argv[2]))))
