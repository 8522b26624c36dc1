"""The devices of this machine: which GPUs can be used, and the backend of a device.

The driver is queried directly, through its C library: this says what is missing even where no other part of CUDA is
installed, and imports nothing where there is no driver.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, NamedTuple

from stylecore.errors import ParameterError
from stylecore.messages import near_matches

if TYPE_CHECKING:
    from stylecore.kernels.backend import Backend

DEVICES = ("auto", "cpu", "cuda", "reference")
"""Names of devices; a GPU other than the first is "cuda:1", "cuda:2" and so on."""

LEAST_CAPABILITY = (7, 5)
"""The lowest compute capability that the kernels are compiled for and tested with."""

# Packages that install the CUDA toolkit together with numba-cuda, with the major version of the toolkit; and the lowest
# version of the driver for each.
_TOOLKITS = {"nvidia-nvvm": 13, "nvidia-cuda-nvcc-cu12": 12}
_DRIVERS = {13: 580, 12: 525}

# The driver's numbers of two attributes of a device: major and minor compute capability.
_CAPABILITY = (75, 76)

# Modules whose exceptions are faults of a GPU or its driver.
_MODULES_OF_FAULTS = ("numba.cuda.cudadrv.", "cuda.core.", "cuda.bindings.")

_NO_PACKAGE = "the GPU needs the package numba-cuda, which is not installed; run pip install 'numba-cuda[cu{}]'."


class Device(NamedTuple):
    """A GPU.

    Attributes
    ----------
    name : str
    memory : int
        Bytes in total.
    capability : tuple of int
        Compute capability, such as (8, 6).
    """

    name: str
    memory: int
    capability: tuple[int, int]


class Driver(NamedTuple):
    """The NVIDIA driver.

    Attributes
    ----------
    supports : tuple of int
        The version of CUDA that it supports, such as (13, 0); (0, 0) if it does not start.
    devices : list of Device
    """

    supports: tuple[int, int]
    devices: list[Device]


def load_backend(device: str) -> Backend:
    """Load the kernels of a device.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "cuda:1", ..., "reference"}
        Numba on all cores; an NVIDIA GPU, the first or another one; or plain NumPy in float64. "auto" is the first GPU
        that works, or the CPU if there is none.

    Returns
    -------
    module
        `stylecore.kernels.cpu`, `cuda` or `reference`.

    Raises
    ------
    ParameterError
        If there is no such device, or it cannot be used.
    BackendError
        If Numba cannot run kernels in this process.

    Warns
    -----
    UserWarning
        If "auto" finds GPUs, but none of them works.
    """
    if device == "auto":
        return _first_gpu() or _cpu()
    if device == "cpu":
        return _cpu()
    if device == "reference":
        from stylecore.kernels import reference

        return reference
    number = number_of(device)
    if number is None:
        raise ParameterError(f'device "{device}" is not known{near_matches(device, DEVICES)}.')
    reason = problem(number)
    if reason:
        raise ParameterError(f'device "{device}" cannot be used: {reason}')
    try:
        return _gpu(number)
    except Exception as error:  # Any part of CUDA may fail, each with exceptions of its own.
        reason = one_line(error)
        raise ParameterError(
            f'device "{device}" cannot be used: {reason}; see the output of `stylecore devices`.'
        ) from error


def _cpu() -> Backend:
    """The kernels on the CPU, once it is known that they can run."""
    from stylecore.kernels import cpu
    from stylecore.kernels.cpu.runtime import start

    start()
    return cpu


def _gpu(number: int) -> Backend:
    """The kernels on a GPU, once it has computed a test."""
    from stylecore.kernels import cuda

    cuda.select(number)
    return cuda


def _first_gpu() -> Backend | None:
    """The kernels on the first GPU that works; None if none does, with a warning if one should."""
    reasons = []
    for number in candidates():
        try:
            return _gpu(number)
        except Exception as error:  # Any part of CUDA may fail, each with exceptions of its own.
            reasons.append(f"cuda:{number}: {one_line(error)}")
    if reasons:
        warnings.warn(f"no GPU can be used, and the CPU is used instead ({'; '.join(reasons)}).", stacklevel=3)
    return None


def number_of(device: str) -> int | None:
    """Number of the GPU that a device is, 0 for "cuda" and 1 for "cuda:1"; None if it is not a GPU."""
    found = re.fullmatch(r"cuda(?::(\d+))?", str(device))
    return int(found[1] or 0) if found else None


def candidates() -> list[int]:
    """Numbers of the GPUs that have no known problem."""
    driver = None if simulated() else find_driver()
    count = len(driver.devices) if driver else int(simulated())
    return [number for number in range(count) if problem(number) is None]


def problem(number: int = 0) -> str | None:
    """Why a GPU cannot be used, and what to do about it, as a sentence; None if there is no known problem.

    Parameters
    ----------
    number : int
        As the driver counts the GPUs.

    Returns
    -------
    str or None
    """
    if simulated():
        return None if _installed("numba-cuda") else _NO_PACKAGE.format(max(_DRIVERS))
    driver = find_driver()
    if driver is None:
        return 'this machine has no NVIDIA driver; install it, or choose the device "cpu".'
    if not driver.devices:
        return (
            'the NVIDIA driver finds no GPU that it can use; see the output of nvidia-smi, or choose the device "cpu".'
        )
    if number >= len(driver.devices):
        return f'there is no GPU "cuda:{number}"; the last one is "cuda:{len(driver.devices) - 1}".'
    if not _installed("numba-cuda"):
        return _NO_PACKAGE.format(_newest_toolkit(driver) or max(_DRIVERS))
    return _incompatibility(driver, number)


def _incompatibility(driver: Driver, number: int) -> str | None:
    """What is not compatible among a GPU, the driver and the toolkit."""
    device, major = driver.devices[number], toolkit()
    if device.capability < LEAST_CAPABILITY:
        return (
            f"GPU {number}, {device.name}, has compute capability {_dotted(device.capability)}, and at least "
            f'{_dotted(LEAST_CAPABILITY)} is needed; choose the device "cpu".'
        )
    if major is not None and driver.supports[0] < major:
        older = _newest_toolkit(driver)
        instead = f", or run pip install 'numba-cuda[cu{older}]'" if older else ""
        return (
            f"the NVIDIA driver supports CUDA {_dotted(driver.supports)} and the installed toolkit is CUDA {major}; "
            f"update the driver to version {_DRIVERS[major]} or later{instead}."
        )
    return None


def simulated() -> bool:
    """Whether Numba's simulator takes the place of a GPU."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"


def toolkit() -> int | None:
    """Major version of the CUDA toolkit that was installed with numba-cuda; None if it was installed otherwise."""
    return next((major for package, major in _TOOLKITS.items() if _installed(package)), None)


def _newest_toolkit(driver: Driver) -> int | None:
    """Major version of the newest toolkit that the driver supports; None if it supports none."""
    return max((major for major in _DRIVERS if major <= driver.supports[0]), default=None)


def _installed(package: str) -> str | None:
    """Version of an installed package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def fault(error: Exception) -> str | None:
    """An error of a GPU or its driver as a sentence; None if the error has another source.

    Parameters
    ----------
    error : Exception

    Returns
    -------
    str or None
    """
    # The classes are compared by name, as CUDA must not be imported where it is not used.
    if not any(kind.__module__.startswith(_MODULES_OF_FAULTS) for kind in type(error).__mro__):
        return None
    return f'the GPU failed: its driver reports "{one_line(error)}"; try again, or choose the device "cpu".'


def one_line(error: Exception) -> str:
    """The message of an error in one line without a full stop, to be part of a sentence."""
    return " ".join(str(error).split()).rstrip(".")


def rows() -> Iterator[str]:
    """A line of text for each device, the CPU first, with the reason if it cannot be used."""
    yield "cpu       Numba on all cores"
    if simulated():
        yield f"cuda      {problem() or 'the simulator of numba-cuda, for tests'}"
        return
    driver = find_driver()
    if driver is None or not driver.devices:
        yield f"cuda      cannot be used: {problem()}"
        return
    for number, device in enumerate(driver.devices):
        state = problem(number)
        yield (
            f"cuda:{number:<4} {device.name}, {device.memory / 2**30:.0f} GB, compute capability "
            f"{_dotted(device.capability)}; " + (f"cannot be used: {state}" if state else "ready")
        )
    major = toolkit()
    found = f"the toolkit is CUDA {major}" if major else "no toolkit was installed with numba-cuda"
    yield f"          The driver supports CUDA {_dotted(driver.supports)}; {found}."


def _dotted(numbers: tuple[int, int]) -> str:
    return ".".join(map(str, numbers))


def find_driver() -> Driver | None:
    """The driver with its devices; None if it is not installed."""
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    return query_driver(library)


def query_driver(library: ctypes.CDLL) -> Driver:
    """Query the driver.

    Parameters
    ----------
    library : ctypes.CDLL
        The driver's C library, whose functions return zero if they succeed.

    Returns
    -------
    Driver
    """
    number = ctypes.c_int()
    if library.cuInit(0) or library.cuDriverGetVersion(ctypes.byref(number)):
        return Driver((0, 0), [])
    supports = (number.value // 1000, number.value % 1000 // 10)
    if library.cuDeviceGetCount(ctypes.byref(number)):
        return Driver(supports, [])
    return Driver(supports, [_query_device(library, i) for i in range(number.value)])


def _query_device(library: ctypes.CDLL, number: int) -> Device:
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
    library.cuDeviceGet(ctypes.byref(device), number)
    library.cuDeviceGetName(name, len(name), device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    major, minor = (_attribute(library, device, which) for which in _CAPABILITY)
    return Device(name.value.decode(), memory.value, (major, minor))


def _attribute(library: ctypes.CDLL, device: ctypes.c_int, which: int) -> int:
    value = ctypes.c_int()
    library.cuDeviceGetAttribute(ctypes.byref(value), which, device)
    return value.value
