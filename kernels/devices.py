"""The NVIDIA GPUs of this machine, and whether they can be used.

The driver is asked directly, by its C library: that tells what is missing also where nothing else of CUDA is installed,
and imports nothing where there is no driver.
"""

import ctypes
import os
import re
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from stylecore.errors import ParameterError
from stylecore.messages import near_matches

# The least compute capability that the kernels are compiled for and tested with.
LEAST_CAPABILITY = (7, 5)

# Packages that bring the toolkit with numba-cuda, one for each of its major versions, and the driver that each needs.
_TOOLKITS = {"nvidia-nvvm": 13, "nvidia-cuda-nvcc-cu12": 12}
_DRIVERS = {13: 580, 12: 525}

# Numbers that the driver knows attributes of a device by.
_CAPABILITY = (75, 76)


class Device(NamedTuple):
    """A GPU.

    Attributes
    ----------
    name : str
    memory : int
        Bytes in all.
    capability : tuple of int
        Compute capability, as (8, 6).
    """

    name: str
    memory: int
    capability: tuple


class Driver(NamedTuple):
    """The driver.

    Attributes
    ----------
    supports : tuple of int
        The version of CUDA that it supports, as (13, 0); (0, 0) if it does not even start.
    devices : list of Device
    """

    supports: tuple
    devices: list


def simulated():
    """Whether Numba's simulator stands in for a GPU."""
    return os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"


def find_driver():
    """The driver with its devices; None if it is not installed."""
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    return ask_driver(library)


def ask_driver(library):
    """What the driver's library tells.

    Parameters
    ----------
    library : ctypes.CDLL
        Its functions give zero where they succeed.

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
    return Driver(supports, [_ask_device(library, i) for i in range(number.value)])


def _ask_device(library, number):
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
    library.cuDeviceGet(ctypes.byref(device), number)
    library.cuDeviceGetName(name, len(name), device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    return Device(name.value.decode(), memory.value, tuple(_attribute(library, device, which) for which in _CAPABILITY))


def _attribute(library, device, which):
    value = ctypes.c_int()
    library.cuDeviceGetAttribute(ctypes.byref(value), which, device)
    return value.value


def toolkit():
    """Major version of CUDA's toolkit that came with numba-cuda; None if that is unknown, as if it came otherwise."""
    return next((major for package, major in _TOOLKITS.items() if _installed(package)), None)


def _installed(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def number_of(device):
    """Number of the GPU that a setting names, 0 for "cuda" and 1 for "cuda:1"; None if it names none."""
    found = re.fullmatch(r"cuda(?::(\d+))?", str(device))
    return int(found[1] or 0) if found else None


def problem(number=0):
    """Why a GPU cannot be used, and what to do, as a sentence; None if nothing is known to stand against it.

    Parameters
    ----------
    number : int
        As the driver counts.

    Returns
    -------
    str or None
    """
    if simulated():
        return None if _installed("numba-cuda") else _NO_PACKAGE
    driver = find_driver()
    if driver is None:
        return 'this machine has no NVIDIA driver; install it, or choose the device "cpu".'
    if not driver.devices:
        return 'the NVIDIA driver finds no GPU that it can use; see what nvidia-smi says, or choose the device "cpu".'
    if number >= len(driver.devices):
        return f'there is no GPU "cuda:{number}"; the last one is "cuda:{len(driver.devices) - 1}".'
    if not _installed("numba-cuda"):
        return _NO_PACKAGE
    return _misfit(driver, number)


def candidates():
    """Numbers of the GPUs against which nothing is known.

    Returns
    -------
    list of int
    """
    driver = None if simulated() else find_driver()
    count = len(driver.devices) if driver else int(simulated())
    return [number for number in range(count) if problem(number) is None]


def fault(error):
    """What an error that comes from the GPU or its driver tells, as a sentence; None if it comes from elsewhere.

    Parameters
    ----------
    error : Exception

    Returns
    -------
    str or None
    """
    # By name, as CUDA is not to be imported where it is not in use.
    if not any(kind.__module__.startswith(_MODULES_OF_FAULTS) for kind in type(error).__mro__):
        return None
    return f'the GPU failed, as its driver tells ({one_line(error)}); try again, or choose the device "cpu".'


_MODULES_OF_FAULTS = ("numba.cuda.cudadrv.", "cuda.core.", "cuda.bindings.")


def one_line(error):
    """Text of an error, to be part of a sentence."""
    return " ".join(str(error).split()).rstrip(".")


_NO_PACKAGE = "the GPU needs the package numba-cuda, which is not installed; run pip install 'stylecore[cuda]'."


def _misfit(driver, number):
    """What does not fit between a GPU, the driver and the toolkit."""
    device, major = driver.devices[number], toolkit()
    if device.capability < LEAST_CAPABILITY:
        capability, least = (".".join(map(str, pair)) for pair in (device.capability, LEAST_CAPABILITY))
        return (
            f"GPU {number}, {device.name}, has compute capability {capability}, and {least} is the least that can be "
            'worked with; choose the device "cpu".'
        )
    if major is not None and driver.supports[0] < major:
        supports = ".".join(map(str, driver.supports))
        older = max((known for known in _DRIVERS if known <= driver.supports[0]), default=None)
        instead = f", or run pip install 'numba-cuda[cu{older}]'" if older else ""
        return (
            f"the NVIDIA driver supports CUDA {supports} and the installed toolkit is CUDA {major}; update the driver "
            f"to version {_DRIVERS[major]} or later{instead}."
        )
    return None


def rows():
    """A line of text for each device that can be named, the processor first, and what stands against it."""
    yield "cpu       Numba on all cores"
    if simulated():
        yield f"cuda      {problem() or 'the simulator of numba-cuda, for tests'}"
        return
    driver = find_driver()
    if driver is None or not driver.devices:
        yield f"cuda      cannot be used: {problem()}"
        return
    for number, device in enumerate(driver.devices):
        memory, capability = f"{device.memory / 2**30:.0f} GB", ".".join(map(str, device.capability))
        state = problem(number)
        yield (
            f"cuda:{number:<4} {device.name}, {memory}, compute capability {capability}; "
            + (f"cannot be used: {state}" if state else "ready")
        )
    major = toolkit()
    fits = f"the toolkit is CUDA {major}" if major else "no toolkit came with numba-cuda"
    yield f"          The driver supports CUDA {'.'.join(map(str, driver.supports))}; {fits}."


DEVICES = ("auto", "cpu", "cuda", "reference")


def load_backend(device):
    """Return the kernels of a device.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda", "cuda:1", "reference"}
        Numba kernels on all cores; on an NVIDIA GPU, the first or another one; or plain NumPy in float64. "auto" is the
        first GPU that works, and the processor where there is none.

    Raises
    ------
    ParameterError
        If there is no such device, or it cannot be used.
    """
    if device == "reference":
        from stylecore.kernels import reference

        return reference
    if device == "auto":
        return _first_gpu() or load_backend("cpu")
    if device == "cpu":
        from stylecore.kernels import cpu

        return cpu
    number = number_of(device)
    if number is None:
        raise ParameterError(f'device "{device}" is not known{near_matches(device, DEVICES)}.')
    reason = problem(number)
    if reason:
        raise ParameterError(f'device "{device}" cannot be used: {reason}')
    try:
        return _gpu(number)
    except Exception as error:  # Whatever stands between Python and the GPU.
        reason = one_line(error)
        raise ParameterError(
            f'device "{device}" cannot be used: {reason}; see what `stylecore devices` says.'
        ) from error


def _gpu(number):
    """The kernels on a GPU, after a trial."""
    from stylecore.kernels import cuda

    cuda.select(number)
    return cuda


def _first_gpu():
    """The kernels on the first GPU that works; None if none does, with a warning if one was expected to."""
    reasons = []
    for number in candidates():
        try:
            return _gpu(number)
        except Exception as error:  # Whatever stands between Python and the GPU.
            reasons.append(f"cuda:{number}: {one_line(error)}")
    if reasons:
        warnings.warn(f"no GPU can be used, so the processor computes ({'; '.join(reasons)}).", stacklevel=3)
    return None
