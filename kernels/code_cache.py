"""Compiled code, kept on disk: Numba compiles each kernel once for each version of the sources.

Numba's own cache compares a kernel with the one file that it is defined in, although its code contains that of the
functions it calls in other files; and two processes that compile a kernel for different types at the same time may
store one's code under the other's name. Here all code is in a folder that is named by a digest of everything that
decides it, in a file for each kernel and signature, and is read only if its checksum matches. So no process ever runs
the code of other sources, and a process that is killed while it writes leaves nothing that another would read.
"""

import hashlib
import os
import pickle
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
import platformdirs
from numba.core.caching import NullCache

from stylecore.files import replacing
from stylecore.kernels import compilation

# Settings of Numba that change the code it generates.
_SETTINGS = ("BOUNDSCHECK", "DEBUGINFO_DEFAULT", "DISABLE_INTEL_SVML", "LOOP_VECTORIZE", "OPT", "SLP_VECTORIZE")

# Folders of other versions that have not been used for so many seconds are deleted.
_UNUSED = 30 * 24 * 3600

_CHECKSUM = hashlib.sha256().digest_size


def digest_of_sources() -> str:
    """SHA-256 digest of all source files of the kernels as they are on disk now, in hexadecimal."""
    total = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(path for path in root.rglob("*.py") if path.is_file()):
        total.update(f"{path.relative_to(root).as_posix()}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


SOURCES = digest_of_sources()
"""Digest of the sources that this process has imported: it is taken before any kernel is."""


@cache
def _digest_of_code() -> str:
    """Digest of all that decides the machine code: sources, compiler, Python, processor and settings."""
    parts = [SOURCES, numba.__version__, llvmlite.__version__, _version("numba-cuda"), sys.implementation.cache_tag]
    parts += [llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()]
    parts += [f"{name}={getattr(numba.config, name, None)}" for name in _SETTINGS]
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:24]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _places() -> Iterator[Path]:
    """Folders to keep code in, the preferred one first: the user's choice, beside the sources, the user's cache."""
    if numba.config.CACHE_DIR:
        yield Path(os.path.abspath(numba.config.CACHE_DIR), "stylecore")
    yield Path(__file__).parent / "__pycache__" / "stylecore"
    yield Path(platformdirs.user_cache_dir("stylecore", appauthor=False), "kernels")


@cache
def folder() -> Path | None:
    """Folder in which this process keeps compiled code; None if no folder can be written to.

    It is in the folder that the environment variable ``NUMBA_CACHE_DIR`` names, else in ``__pycache__`` beside the
    sources, else in the user's folder for caches.
    """
    if not Path(__file__).is_file():  # The sources are in an archive, and unknown.
        return None
    for place in _places():
        path = place / _digest_of_code()
        if path.is_absolute():  # Without a home directory, the user's folder is "~/.cache" literally.
            with suppress(OSError):
                path.mkdir(parents=True, exist_ok=True)
                TemporaryFile(dir=path).close()  # It also marks the folder as used.
                return path
    return None


@cache
def _unchanged(file: str) -> bool:
    """Whether the sources are still those of `SOURCES` as a file of them is imported, which may be much later."""
    return digest_of_sources() == SOURCES


@cache
def _delete_unused() -> None:
    """Delete the folders of other versions that no process has used for a long time; one that still does recompiles."""
    own = folder()
    for other in own.parent.iterdir() if own else ():
        with suppress(OSError):
            if other != own and time.time() - other.stat().st_mtime > _UNUSED:
                shutil.rmtree(other, ignore_errors=True)


class _Files:
    """Code of one kernel, a file for each signature: takes the place of Numba's index and data files.

    Parameters
    ----------
    start : Path
        What the files' names start with.
    dumps : callable
        Serialises what Numba keeps of a kernel.
    """

    def __init__(self, start: Path, dumps: Callable[[Any], bytes]):
        self._start, self._dumps = start, dumps

    def _path(self, key: tuple) -> Path:
        # The digest is part of the name, as NUMBA_CACHE_LOCATOR_CLASSES may choose another folder.
        name = hashlib.sha256(f"{_digest_of_code()} {key!r}".encode()).hexdigest()[:24]
        return self._start.with_name(f"{self._start.name}-{name}.nbc")

    def load(self, key: tuple) -> Any:
        try:
            content = self._path(key).read_bytes()
        except OSError:
            return None
        checksum, data = content[:_CHECKSUM], content[_CHECKSUM:]
        return pickle.loads(data) if hashlib.sha256(data).digest() == checksum else None

    def save(self, key: tuple, code: Any) -> None:
        data = self._dumps(code)
        with replacing(self._path(key)) as file:
            file.write(hashlib.sha256(data).digest() + data)
        _delete_unused()

    def flush(self) -> None:
        for path in self._start.parent.glob(f"{self._start.name}-*.nbc"):
            path.unlink(missing_ok=True)


class _NoCode(NullCache):
    """Keeps nothing, where no folder can be written to or the sources have changed since they were imported."""

    def load_overload(self, signature, context):
        compilation.report(kept=False)


@cache
def _kept(cache_class: Any) -> Any:
    """Derive a class from Numba's cache of kernels for a target, which keeps their code as this module does."""

    class Kept(cache_class):
        _cache_file: Any

        def __init__(self, function):
            # Numba chooses the folder when it makes a cache; afterwards the user's choice for other code is restored.
            chosen, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder())
            try:
                super().__init__(function)
            finally:
                numba.config.CACHE_DIR = chosen
            name = f"{function.__module__}.{function.__qualname__}-{function.__code__.co_firstlineno}"
            start = Path(self._cache_path, name.replace("<locals>", "locals"))
            self._cache_file = _Files(start, self._cache_file._dump)

        def load_overload(self, signature, context):
            code = super().load_overload(signature, context)
            if code is None:
                compilation.report(kept=True)
            return code

        def save_overload(self, signature, code):
            with suppress(OSError):  # A full disk only means that it will be compiled again.
                super().save_overload(signature, code)

    return Kept


def keep(dispatcher: Any, cache_class: type) -> None:
    """Keep the code of a kernel on disk, if that is possible.

    Parameters
    ----------
    dispatcher : Dispatcher
        The kernel, as Numba has decorated it.
    cache_class : type
        Numba's cache for the target of the kernel: `FunctionCache` or `CUDACache`.
    """
    function = dispatcher.py_func
    kept = folder() is not None and _unchanged(function.__code__.co_filename)
    dispatcher._cache = _kept(cache_class)(function) if kept else _NoCode()
