"""Kernels that compile in a moment, and processes of their own to run them in."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# All that compiling a kernel needs of the package.
PARTS = (
    "stylecore/errors.py",
    "stylecore/files.py",
    "kernels/__init__.py",
    "kernels/code_cache.py",
    "kernels/compilation.py",
    "kernels/environment.py",
    "kernels/cpu/runtime.py",
)

ADD = """
import numpy as np
from stylecore.kernels.cpu.number import number
from stylecore.kernels.cpu.runtime import kernel

@kernel
def add_to(x):
    x[0] += number()

def add(x):
    result = np.array([x])
    add_to(result)
    return result[0]
"""

NUMBER = """
from stylecore.kernels.cpu.runtime import subroutine

@subroutine
def number():
    return {}
"""

INCREMENT = """
from stylecore.kernels.cpu.runtime import for_each, kernel, subroutine

@subroutine
def increment_one(i, x):
    x[i] += 1

@kernel
def increment(x):
    for_each(x.size, increment_one, (x,))
"""


class Package:
    """A package named stylecore that has only small kernels: `add`, which calls `number`, and `increment`.

    Parameters
    ----------
    root : Path
        Folder to make it in.
    """

    def __init__(self, root):
        self.root, self.kernels = root, root / "stylecore" / "kernels"
        for part in PARTS:
            source = ROOT / part
            target = root / "stylecore" / part.removeprefix("stylecore/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        (root / "stylecore" / "__init__.py").touch()
        (self.kernels / "cpu" / "__init__.py").touch()
        (self.kernels / "cpu" / "add.py").write_text(ADD)
        (self.kernels / "cpu" / "increment.py").write_text(INCREMENT)
        self.number = self.kernels / "cpu" / "number.py"
        self.set_number(2)

    def set_number(self, value):
        """Change the source of `number`, whose time stays as old as can be."""
        self.number.write_text(NUMBER.format(value))
        os.utime(self.number, (1e9 + value, 1e9 + value))

    def start(self, program, **environment):
        """Start a program in a process with no environment variables of Numba but the given ones."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
        home = {"HOME": str(self.root / "home"), "XDG_CACHE_HOME": ""}
        environment = {**kept, **home, "PYTHONPATH": str(self.root), **environment}
        return subprocess.Popen(
            [sys.executable, "-c", program],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.root,
            start_new_session=True,
        )

    def run(self, program, status=0, **environment):
        """Run a program; returns what it prints."""
        return self.finish(self.start(program, **environment), status)

    def finish(self, process, status=0):
        """Wait for a process; returns what it printed."""
        try:
            output, errors = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
            pytest.fail(f"the process hangs; it has printed {output!r} and {errors!r}")
        assert process.returncode == status, errors
        return output


@pytest.fixture
def package(tmp_path):
    return Package(tmp_path)


@pytest.fixture(scope="session")
def compiled_package(tmp_path_factory):
    """A package whose kernel `increment` has been compiled and kept."""
    package = Package(tmp_path_factory.mktemp("package"))
    program = "import numpy; from stylecore.kernels.cpu.increment import increment; increment(numpy.zeros(3))"
    package.run(program)
    return package
