"""The machine: what it is, how many threads are used of it, and how fast it multiplies matrices."""

import os
import platform
import re
import subprocess
import sys
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numba
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.measuring import ROOT, in_turn, progress, summary

ALL_THREADS = numba.config.NUMBA_NUM_THREADS


def cpu_model():
    """Name of the processor, as the system calls it."""
    try:
        rows = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        rows = []
    names = [row.partition(":")[2].strip() for row in rows if row.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def default_name():
    """A name for the machine that can stand in a file's name, from the processor and its number of cores."""
    model = re.sub(r"\((r|tm)\)|\b(cpu|processor)\b|@.*", " ", cpu_model().lower())
    return "-".join([*re.findall(r"[a-z0-9]+", model), f"{ALL_THREADS}-threads"])


def describe():
    """What the figures depend on: processor, memory, and the versions of everything that computes."""
    return {
        "cpu": cpu_model(),
        "logical cores": os.cpu_count(),
        "threads": ALL_THREADS,
        "memory GB": _memory(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: _version(package) for package in ("numpy", "numba", "scipy", "torch")},
        "threading layer": numba.threading_layer(),
        "commit": _commit(),
    }


def _memory():
    if sys.platform == "win32":
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit():
    """The checkout's commit, with a plus if files of it have changed since; None outside of git."""
    command = ["git", "describe", "--always", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


@contextmanager
def use_threads(count):
    """Let stylecore, and PyTorch if it is loaded, work on so many threads inside the ``with`` block."""
    torch = sys.modules.get("torch")
    before = numba.get_num_threads()
    numba.set_num_threads(count)
    if torch:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        numba.set_num_threads(before)
        if torch:
            torch.set_num_threads(before)


def product_rates(threads, repetitions):
    """How fast this machine multiplies float32 matrices: what the kernels can reach at most.

    Parameters
    ----------
    threads : int
    repetitions : int

    Returns
    -------
    dict of str to summary
        GFLOP/s by product: "NumPy" for its sgemm of large square matrices, "stylecore" for the package's own
        register tiles on blocks that stay in the cache.
    """
    # One after the other: OpenBLAS's idle threads wait in a loop, and would take half of two cores from the other.
    products = {"stylecore": _own_product(threads), "NumPy": _numpy_product()}
    progress(f"rate of products, threads: {threads}: {' and '.join(products)}")
    rates = {}
    with use_threads(threads), threadpool_limits(threads, user_api="blas"):
        for name, (function, operations) in products.items():
            seconds = in_turn({name: function}, repetitions)[name]
            rates[name] = summary([operations / second / 1e9 for second in seconds])
    return rates


def _numpy_product(side=2048):
    """The function and its floating-point operations."""
    a, b = np.random.default_rng(0).random((2, side, side), np.float32)
    c = np.empty_like(a)
    return lambda: np.matmul(a, b, out=c), 2 * side**3


def _own_product(threads, depth=256, repeats=2000):
    """As `_numpy_product`, a small product many times over on each thread."""
    from stylecore.kernels.cpu.product import ROWS, multiply, panel_columns

    rows, columns = 3 * ROWS, panel_columns(np.float32)

    @numba.njit(parallel=True)
    def products(a, b, c, repeats):
        for thread in numba.prange(len(a)):
            for _ in range(repeats):
                multiply(a[thread], 0, depth, 1, b[thread], 0, columns, c[thread], 0, columns, rows, depth, False)

    draw = np.random.default_rng(0).random
    a, b = draw((threads, rows * depth), np.float32), draw((threads, depth * columns), np.float32)
    c = np.empty((threads, rows * columns), np.float32)
    return lambda: products(a, b, c, repeats), 2 * rows * depth * columns * threads * repeats
