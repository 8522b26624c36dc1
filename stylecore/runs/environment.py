"""What the bits of a picture depend on besides its settings: the program, its libraries and the processor."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm
import numba
import numpy as np
import PIL
import scipy

from stylecore import kernels, weights
from stylecore.kernels import devices
from stylecore.version import __version__


@cache
def sources_digest() -> str:
    """SHA-256 digest of all source files of the package, the same in a checkout and in an installation.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    # In an installation the kernels and weights are below the package as well, so files may be found twice.
    packages = Path(__file__).parents[1], *(Path(package.__path__[0]) for package in (kernels, weights))
    return _digest({_digest([file.read_text("utf-8")]) for folder in packages for file in folder.rglob("*.py")})


def environment(device: str = "cpu") -> dict[str, str]:
    """Everything besides its settings that the bits of a picture depend on; the number of threads is not part of it.

    Parameters
    ----------
    device : str
        As `stylecore.transfer` takes it.

    Returns
    -------
    dict of str to str
        Versions, digests of the source code and of the processor's vector instructions, and names of the devices.
    """
    features = [name for name, supported in llvm.get_host_cpu_features().items() if supported]
    return {
        "stylecore": __version__,
        "source code": sources_digest()[:12],
        "NumPy": np.__version__,
        "Numba": numba.__version__,
        "SciPy": scipy.__version__,
        "Pillow": PIL.__version__,
        "processor": f"{llvm.get_host_cpu_name()}-{_digest(features)[:12]}",
        "GPU": _gpu(device),
    }


def differences(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """Describe how two environments differ.

    Parameters
    ----------
    then, now : dict of str to str
        As `environment` returns them; `then` may lack entries.

    Returns
    -------
    list of str
        A phrase for each difference, such as "Numba 0.60.0 instead of 0.61.2".
    """
    if not then.keys() >= now.keys():  # Format 2 of the checkpoints recorded the first entry only.
        return ["an earlier version of stylecore"]
    return [f"{name} {then[name]} instead of {now[name]}" for name in now if then[name] != now[name]]


def _gpu(device: str) -> str:
    """Name of the GPU that computes."""
    number = 0 if device == "auto" else devices.number_of(device)
    if number is None:
        return "none"
    driver = devices.find_driver()
    return driver.devices[number].name if driver and number < len(driver.devices) else "none"


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(sorted(texts)).encode()).hexdigest()
