"""Kernels in forked processes and in several threads at once, with each threading layer of Numba."""

import sys

import pytest

if sys.platform == "win32":
    pytest.skip("there is no fork", allow_module_level=True)

LAYERS = ["omp", "workqueue", "tbb"]

START = """
import multiprocessing, os, threading
import numba, numpy as np
from stylecore.errors import BackendError
from stylecore.kernels.cpu.increment import increment

def increased(size=1000):
    x = np.zeros(size)
    increment(x)
    return float(x.sum())

def result(*ignored):
    try:
        return increased()
    except BackendError as error:
        return str(error)

def in_a_fork(function):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, str(function()).encode())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    return os.read(reader, 1000).decode()

"""


@pytest.fixture(params=LAYERS)
def run(request, compiled_package):
    """Returns a function that runs a program with a threading layer; it prints nothing else."""

    def run(program):
        output = compiled_package.run(START + program, NUMBA_THREADING_LAYER=request.param)
        return output.splitlines()

    try:
        compiled_package.run("import numba; numba.get_num_threads()", NUMBA_THREADING_LAYER=request.param)
    except AssertionError:
        pytest.skip(f"the threading layer {request.param} is not installed")
    run.survives_forks = not (request.param == "omp" and sys.platform == "linux")
    return run


def test_forks_of_a_process_that_has_run_a_kernel(run):
    outputs = run("""
increased()
print(in_a_fork(result))
print(in_a_fork(lambda: in_a_fork(result)))
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(*set(pool.map_async(result, range(4)).get(timeout=60)))
print(increased())
""")
    assert outputs[-1] == "1000.0"
    if run.survives_forks:
        assert outputs[:-1] == ["1000.0"] * 3
    else:
        assert len(set(outputs[:-1])) == 1 and 'multiprocessing.get_context("spawn")' in outputs[0]


def test_forks_of_a_process_that_has_only_started_its_threads(run):
    (output,) = run("numba.get_num_threads()\nprint(in_a_fork(result))")
    assert output == "1000.0" if run.survives_forks else '"spawn"' in output


def test_forks_of_a_process_that_has_run_no_kernel(run):
    assert run("print(in_a_fork(result))\nprint(increased())") == ["1000.0", "1000.0"]


def test_threads_at_once_and_forks_between_them(run):
    assert run("""
def repeat():
    results.extend(increased(100_000) for _ in range(100))

results = []
in_a_fork(result)
threads = [threading.Thread(target=repeat) for _ in range(4)]
for thread in threads:
    thread.start()
for _ in range(5):
    in_a_fork(result)
for thread in threads:
    thread.join()
print(len(results), set(results))
""") == ["400 {100000.0}"]
