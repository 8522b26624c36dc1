"""Environment variables of Numba with which no kernel can run."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

# Of each, a value that Numba refuses or cannot work with.
WRONG = [
    ("NUMBA_DISABLE_JIT", "1"),
    ("NUMBA_NUM_THREADS", "0"),
    ("NUMBA_NUM_THREADS", "-3"),
    ("NUMBA_NUM_THREADS", "many"),
    ("NUMBA_OPT", "9"),
    ("NUMBA_THREADING_LAYER", "threads"),
    ("NUMBA_THREADING_LAYER_PRIORITY", "omp"),
]


def run(*arguments, **environment):
    environment = {**os.environ, **environment}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(("name", "value"), [WRONG[0], WRONG[1], WRONG[-1]])
def test_the_first_kernel_ends_in_a_sentence(name, value, tmp_path):
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(256, size=(32, 32, 3), dtype=np.uint8)).save(picture)
    output = tmp_path / "result.png"
    command = ["transfer", picture, picture, "--network", "small", "--size", "32", "--output", output]
    result = run("-m", "stylecore", *map(str, command), **{name: value})
    assert result.returncode == 2 and not output.exists()
    assert result.stderr.startswith("stylecore: error: ") and result.stderr.count("\n") == 1
    assert name in result.stderr and result.stderr.endswith(".\n")


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_the_package_can_be_imported_and_the_first_kernel_raises(name, value):
    program = """
import numpy as np
import stylecore
from stylecore.kernels.cpu import pools
from stylecore.kernels.devices import load_backend
x = np.zeros((1, 1, 1, 1))
for use, *arguments in ((load_backend, "cpu"), (pools.upsample, x, 1, x)):
    try:
        use(*arguments)
    except stylecore.BackendError as error:
        print(error)
"""
    result = run("-c", program, **{name: value})
    lines = result.stdout.splitlines()
    assert result.returncode == 0, result.stderr
    assert len(lines) == 2 and lines[0] == lines[1] and name in lines[0]


def test_a_threading_layer_that_is_not_installed():
    from numba.np.ufunc import parallel

    try:
        parallel._check_tbb_version_compatible()
    except ImportError:
        pass
    else:
        pytest.skip("TBB is installed")
    program = "from stylecore.kernels.devices import load_backend; load_backend('cpu')"
    result = run("-c", program, NUMBA_THREADING_LAYER="tbb")
    assert 'BackendError: Numba cannot start its threads with the threading layer "tbb"' in result.stderr
