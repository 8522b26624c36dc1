"""What is said about GPUs, with simulated drivers, and what is imported to find out."""

import ctypes
import subprocess
import sys

import pytest

from stylecore import ParameterError
from stylecore.kernels import devices
from stylecore.kernels.devices import load_backend
from stylecore.network import load_network

H200 = devices.Device("NVIDIA H200", 150 * 2**30, (9, 0))
P100 = devices.Device("Tesla P100", 16 * 2**30, (6, 0))


class FakeLibrary:
    """The driver's C library: results are written through the arguments, and zero means success."""

    def __init__(self, supports, found, start=0, count=0):
        self._supports, self._found, self._start, self._count = supports, found, start, count

    def cuInit(self, flags):
        return self._start

    def cuDriverGetVersion(self, number):
        number._obj.value = self._supports[0] * 1000 + self._supports[1] * 10
        return 0

    def cuDeviceGetCount(self, number):
        number._obj.value = len(self._found)
        return self._count

    def cuDeviceGet(self, device, number):
        device._obj.value = number + 100
        return 0

    def cuDeviceGetName(self, name, length, device):
        ctypes.memmove(name, self._found[device.value - 100].name.encode(), len(self._found[device.value - 100].name))
        return 0

    def cuDeviceTotalMem_v2(self, size, device):
        size._obj.value = self._found[device.value - 100].memory
        return 0

    def cuDeviceGetAttribute(self, value, which, device):
        value._obj.value = self._found[device.value - 100].capability[(75, 76).index(which)]
        return 0


def test_the_driver_is_queried():
    driver = devices.query_driver(FakeLibrary((13, 1), [H200, P100]))
    assert driver == devices.Driver((13, 1), [H200, P100])


def test_a_driver_that_does_not_start():
    assert devices.query_driver(FakeLibrary((13, 0), [H200], start=999)) == devices.Driver((0, 0), [])
    assert devices.query_driver(FakeLibrary((13, 0), [H200], count=100)) == devices.Driver((13, 0), [])


@pytest.fixture
def machine(monkeypatch):
    """Returns a function that sets what the machine has."""

    def set_up(driver, toolkit=13, package="0.30"):
        monkeypatch.delenv("NUMBA_ENABLE_CUDASIM", raising=False)
        monkeypatch.setattr(devices, "find_driver", lambda: driver)
        monkeypatch.setattr(devices, "_TOOLKITS", {"toolkit": toolkit} if toolkit else {})
        monkeypatch.setattr(devices, "_installed", lambda name: package if name == "numba-cuda" else name == "toolkit")

    return set_up


@pytest.mark.parametrize(
    ("driver", "settings", "number", "words"),
    [
        (None, {}, 0, ["no NVIDIA driver", "install it"]),
        (devices.Driver((0, 0), []), {}, 0, ["finds no GPU", "nvidia-smi"]),
        (devices.Driver((13, 0), [H200]), {}, 1, ['"cuda:1"', 'the last one is "cuda:0"']),
        (devices.Driver((13, 0), [H200]), {"package": None}, 0, ["numba-cuda", "pip install 'numba-cuda[cu13]'"]),
        (devices.Driver((12, 4), [H200]), {"package": None}, 0, ["pip install 'numba-cuda[cu12]'"]),
        (devices.Driver((13, 0), [P100]), {}, 0, ["Tesla P100", "6.0", "7.5"]),
        (devices.Driver((12, 4), [H200]), {}, 0, ["CUDA 12.4", "CUDA 13", "580", "numba-cuda[cu12]"]),
        (devices.Driver((11, 8), [H200]), {"toolkit": 12}, 0, ["CUDA 11.8", "CUDA 12", "525"]),
    ],
)
def test_a_problem_of_a_gpu_is_one_sentence(driver, settings, number, words, machine):
    machine(driver, **settings)
    problem = devices.problem(number)
    assert all(word in problem for word in words)
    assert problem.endswith(".") and "\n" not in problem and ". " not in problem
    with pytest.raises(ParameterError, match="cannot be used"):
        load_backend(f"cuda:{number}")
    assert any("cannot be used" in row for row in devices.rows()) or number


@pytest.mark.parametrize(("supports", "toolkit"), [((13, 0), 13), ((13, 4), 12), ((13, 0), None)])
def test_what_fits(supports, toolkit, machine):
    machine(devices.Driver(supports, [H200, P100]), toolkit=toolkit)
    assert devices.problem() is None
    rows = list(devices.rows())
    assert rows[1] == "cuda:0    NVIDIA H200, 150 GB, compute capability 9.0; ready"
    assert "Tesla P100" in rows[2] and "7.5" in rows[2]


def test_auto_is_the_processor_where_no_gpu_works(machine):
    machine(None)
    assert load_backend("auto").__name__ == "stylecore.kernels.cpu"


@pytest.mark.skipif(devices.find_driver() is not None, reason="this machine has a driver, and the GPU may work")
def test_auto_falls_back_with_a_warning_where_the_gpu_fails(machine):
    machine(devices.Driver((13, 0), [H200]))
    with pytest.warns(UserWarning, match="the CPU is used instead"):
        assert load_backend("auto").__name__ == "stylecore.kernels.cpu"
    with pytest.raises(ParameterError, match="stylecore devices"):
        load_backend("cuda")


def test_auto_takes_the_first_gpu_that_works(machine, monkeypatch):
    cuda = pytest.importorskip("stylecore.kernels.cuda", exc_type=ModuleNotFoundError)
    tried = []

    def select(number):
        tried.append(number)
        if number < 2:
            raise RuntimeError("all of its memory is taken")

    monkeypatch.setattr(cuda, "select", select)
    machine(devices.Driver((13, 0), [P100, H200, H200, H200]))
    assert load_backend("auto") is cuda
    assert tried == [1, 2]
    machine(devices.Driver((13, 0), [H200, H200]))
    with pytest.warns(
        UserWarning, match=r"cuda:0: all of its memory is taken; cuda:1: all of its memory is taken\)\.$"
    ):
        assert load_backend("auto").__name__ == "stylecore.kernels.cpu"


def test_there_is_no_float64_on_a_gpu(machine):
    machine(devices.Driver((13, 0), [H200]))
    with pytest.raises(ParameterError, match="float32 only"):
        load_network("vgg19", device="cuda", dtype="float64")
    network = load_network("vgg19", device="auto", dtype="float64", layers=["relu1_1"])
    assert network.backend.__name__ == "stylecore.kernels.cpu"


def test_nothing_of_cuda_is_imported_unless_it_is_asked_for():
    program = """
import sys
import stylecore
from stylecore import cli
from stylecore.kernels import devices
from stylecore.kernels.devices import load_backend
load_backend("cpu")
devices.problem()
parts = ("numba.cuda", "numba_cuda", "cuda.", "stylecore.kernels.cuda")
print([name for name in sys.modules if name.startswith(parts)])
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
