"""The machine: its description, the number of threads in use, and its speed at multiplying matrices."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numba
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.measuring import ROOT, in_turn, progress, summary

ALL_THREADS = numba.config.NUMBA_NUM_THREADS


def cpu_model() -> str:
    """Name of the processor, as reported by the system."""
    try:
        rows = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        rows = []
    names = [row.partition(":")[2].strip() for row in rows if row.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def default_name() -> str:
    """A name for the machine, for file names: its processor and number of threads."""
    model = re.sub(r"\((r|tm)\)|\b(cpu|processor)\b|@.*", " ", cpu_model().lower())
    return "-".join([*re.findall(r"[a-z0-9]+", model), f"{ALL_THREADS}-threads"])


def describe() -> dict[str, Any]:
    """The machine as recorded: processor, memory, and versions of the libraries that compute."""
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


def _memory() -> float | None:
    if sys.platform == "win32":
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout, with a plus if files have changed since; None outside of git."""
    command = ["git", "describe", "--always", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Set the number of threads of stylecore, and of PyTorch if it is loaded, inside a ``with`` block."""
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


def product_rates(threads: int, repetitions: int) -> dict[str, dict[str, float]]:
    """Rates of float32 matrix products on this machine, an upper bound for the kernels.

    Parameters
    ----------
    threads : int
    repetitions : int

    Returns
    -------
    dict of str to summary
        GFLOP/s by product: "NumPy" for sgemm of large square matrices, "stylecore" for the register tiles of the
        package on blocks that stay in the cache.
    """
    # One after the other: idle threads of OpenBLAS spin, and would slow down the other product.
    products = {"stylecore": _own_product(threads), "NumPy": _numpy_product()}
    progress(f"rate of products, threads: {threads}: {' and '.join(products)}")
    rates = {}
    with use_threads(threads), threadpool_limits(threads, user_api="blas"):
        for name, (function, operations) in products.items():
            seconds = in_turn({name: function}, repetitions)[name]
            rates[name] = summary([operations / second / 1e9 for second in seconds])
    return rates


def _numpy_product(side: int = 2048) -> tuple[Callable[[], object], int]:
    """A function, and the number of its floating-point operations."""
    a, b = np.random.default_rng(0).random((2, side, side), np.float32)
    c = np.empty_like(a)
    return lambda: np.matmul(a, b, out=c), 2 * side**3


def _own_product(threads: int, depth: int = 256, repeats: int = 2000) -> tuple[Callable[[], object], int]:
    """As `_numpy_product`, for many repetitions of a small product on each thread."""
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
