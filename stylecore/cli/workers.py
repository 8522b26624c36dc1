"""The options that distribute the work of a command over the processes of a Dask cluster."""

from __future__ import annotations

from argparse import Namespace
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from stylecore.cli.arguments import whole_number
from stylecore.errors import ParameterError

if TYPE_CHECKING:
    from stylecore.cli.arguments import Group


def add_workers(group: Group, what: str) -> None:
    """Add the options ``--workers`` and ``--dask``.

    Parameters
    ----------
    group : group of an argparse.ArgumentParser
    what : str
        What the workers compute.
    """
    group.add_argument(
        "--workers",
        type=whole_number,
        metavar="NUMBER",
        help=f"compute {what} in this number of processes on this machine, with one thread each (needs Dask)",
    )
    group.add_argument(
        "--dask",
        metavar="ADDRESS",
        help=f"compute {what} on the Dask cluster whose scheduler is at this address, such as tcp://10.0.0.5:8786",
    )


def client_of(given: Namespace) -> AbstractContextManager[Any]:
    """The Dask client that a command line asks for, or None.

    Parameters
    ----------
    given : argparse.Namespace

    Returns
    -------
    context manager

    Raises
    ------
    StylecoreError
        As in `stylecore.cluster.workers` and `stylecore.cluster.connected`.
    """
    if given.workers is None and given.dask is None:
        return nullcontext()
    if given.workers is not None and given.dask is not None:
        raise ParameterError("--workers starts processes, and --dask uses those of a cluster; give only one of them.")
    from stylecore import cluster

    return cluster.workers(given.workers) if given.dask is None else cluster.connected(given.dask)
