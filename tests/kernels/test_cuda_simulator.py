"""The CUDA kernels on a machine without a GPU: run by Numba's simulator, and compiled down to machine code."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

if not importlib.util.find_spec("numba_cuda"):
    pytest.skip("numba-cuda is not installed, which `make test` does", allow_module_level=True)

from cuda.core import Linker, LinkerOptions, ObjectCode
from numba import cuda
from numba.cuda import types
from numba.cuda.cudadrv.driver import CudaAPIError, LinkerError

from stylecore.errors import BackendError
from stylecore.kernels import code_cache, devices
from stylecore.kernels.cuda import (
    channels,
    features,
    first,
    image,
    lowering,
    narrow,
    padding,
    pointwise,
    pools,
    product,
    runtime,
    winograd,
)
from stylecore.kernels.cuda.arrays import _fill

pytestmark = pytest.mark.slow

# Kernels with the types of their arguments, a letter each.
TYPES = {
    "f": types.float32,
    "i": types.int64,
    "d": types.float64,
    "b": types.boolean,
    "F": types.float32[::1],
    "D": types.float64[::1],
    "U": types.uint8[::1],
    "I": types.UniTuple(types.int64, 3),
    "N": types.UniTuple(types.float32, 3),
}
KERNELS = [
    (_fill, "Ff"),
    (_fill, "Dd"),
    (product._multiply, "FFFiiifFbb"),
    (winograd._transform_filters, "FiibF"),
    *((kernel, "FUiiiiiiiiiF") for kernel in winograd._INTO_TILES),
    *((kernel, "FFiiiiiiiFU") for kernel in winograd._OUT_OF_TILES),
    (first._forward, "FiiiFFiiiFU"),
    (first._backward, "FiiiUFiiF"),
    (lowering._forward, "FiiiiFiiFiiiiiiibFU"),
    (lowering._gate, "FUbiiF"),
    (lowering._gather, "FiiiiiiiiiiF"),
    (lowering._sum_over_part, "FiiiiiiFiiiiiiF"),
    (lowering._add_parts, "FiF"),
    (narrow._add_rotated, "FiiiiF"),
    (padding._pad_reflected, "FiiiiiiiiiiF"),
    (padding._pad_reflected_backward, "FiiiiiiiF"),
    (pointwise._add, "FF"),
    (pointwise._sigmoid, "FF"),
    (pointwise._sigmoid_backward, "FFF"),
    (channels._sums, "FiiiD"),
    (channels._scale_shift, "FFFiifF"),
    (channels._statistics, "DiiiDD"),
    (channels._affine, "FFDDFF"),
    (channels._gated_sums, "FFFFfiiiiD"),
    (channels._coefficients, "DiiiFDDFFFF"),
    (channels._combine_gated, "FFFFfFFiiF"),
    (pools._max_pool, "FiiiiiiiFU"),
    (pools._max_pool_backward, "FUiiiiiiiF"),
    (pools._average_pool, "FiiiiifiiF"),
    (pools._average_pool_backward, "FiiiiifiiF"),
    (features._copy_columns, "FiFi"),
    (features._add_columns, "FiFi"),
    (features._gram, "FFbiiiF"),
    (features._channel_sums, "FFbiiiD"),
    (features._add_sums, "DidD"),
    (features._channel_sums_backward, "FfFbF"),
    (features._add_parts, "FiiifF"),
    (features._sum_of_squares, "FFbD"),
    (features._add_difference, "FFfF"),
    (image._preprocess, "FINNF"),
    (image._preprocess_backward, "FIN"),
    (image._total_variation, "FiiiD"),
    (image._total_variation_backward, "FiiifF"),
]
TESTS = Path(__file__).parent.parent
# The oldest and the newest: those between them have as many registers, and no less shared memory than the oldest.
CAPABILITIES = [(7, 5), (9, 0)]


def test_kernels_on_the_simulator():
    """The simulator takes Numba's place in a whole process, so the tests have one of their own."""
    files = [TESTS / "kernels" / "test_cuda.py", TESTS / "benchmarks" / "test_cuda.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "quick_simulator", *map(str, files)]
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(TESTS / "kernels")}
    process = subprocess.run(command, cwd=TESTS.parent, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout[-5000:]
    assert int(re.search("([0-9]+) passed", process.stdout)[1]) > 30


def test_faults_are_distinguished_from_other_errors():
    fault = devices.fault(CudaAPIError(700, "Call to cuLaunchKernel results in\nCUDA_ERROR_ILLEGAL_ADDRESS"))
    assert 'in CUDA_ERROR_ILLEGAL_ADDRESS"' in fault and fault.endswith(".")
    assert devices.fault(LinkerError("nvJitLink")) is not None
    assert devices.fault(RuntimeError("700")) is None


def test_every_kernel_is_compiled():
    """None is missing in the list above."""
    modules = (channels, features, first, image, lowering, narrow, padding, pointwise, pools, product, winograd)
    kernels = [k for module in modules for k in vars(module).values() if hasattr(k, "py_func") and not device(k)]
    assert {kernel.py_func for kernel in kernels} <= {kernel.py_func for kernel, _ in KERNELS}


def device(kernel):
    """Whether it is a function that kernels call."""
    return kernel.targetoptions.get("device", False)


@pytest.mark.parametrize("capability", CAPABILITIES, ids=lambda pair: "{}.{}".format(*pair))
@pytest.mark.parametrize(("kernel", "arguments"), KERNELS, ids=lambda value: getattr(value, "__name__", ""))
def test_machine_code(kernel, arguments, capability):
    """It fits the registers that its block may take, spills none, and fits the shared memory."""
    threads, blocks = kernel.targetoptions["launch_bounds"]
    signature = tuple(TYPES[letter] for letter in arguments)
    ptx, _ = cuda.compile_ptx(
        kernel.py_func, signature, cc=capability, abi="numba", launch_bounds=kernel.targetoptions["launch_bounds"]
    )
    # Local memory is where an array goes whose places are not all known to the compiler.
    assert ".local" not in ptx
    assert (".f64" in ptx) == ("D" in arguments)

    options = LinkerOptions(arch="sm_{}{}".format(*capability), verbose=True, ptxas_options=["-v"])
    linker = Linker(ObjectCode.from_ptx(ptx.encode()), options=options)
    linker.link("cubin")
    log = linker.get_info_log()
    assert re.search(r"\b0 bytes spill stores, 0 bytes spill loads", log)
    registers = -(-int(re.search("Used ([0-9]+) registers", log)[1]) // 8) * 8
    assert registers * threads * blocks <= 65536
    assert int(re.search("([0-9]+) bytes smem", log)[1]) <= 48 * 1024
    assert threads <= 1024


def test_a_forked_process_says_that_it_cannot_use_the_gpu(monkeypatch):
    monkeypatch.setattr(runtime, "_chosen", 0)
    monkeypatch.setattr(runtime, "_forked", False)
    runtime._note_fork()
    with pytest.raises(BackendError, match=r'multiprocessing.get_context\("spawn"\)'):
        runtime.enter()


def test_compiled_kernels_are_kept_like_those_of_the_cpu():
    assert type(_fill._cache._cache_file) is code_cache._Files
    assert _fill.stats.cache_path.startswith(str(code_cache.folder()))
