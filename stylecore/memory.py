"""How much memory is free, so that work that does not fit can be refused before it starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import psutil


class _Hierarchy(NamedTuple):
    """Where a version of Linux's control groups (cgroups) is mounted, and its names for a group's memory."""

    mount: Path
    controller: str
    limits: tuple[str, ...]
    usage: str
    cache: str


# The controller is the second field of a line of /proc/self/cgroup, empty in version 2. `cache` is the part of the
# usage that holds files no process has in use; the kernel reclaims it before it enforces a limit.
_HIERARCHIES = (
    _Hierarchy(Path("/sys/fs/cgroup"), "", ("memory.max", "memory.high"), "memory.current", "inactive_file"),
    _Hierarchy(
        Path("/sys/fs/cgroup/memory"),
        "memory",
        ("memory.limit_in_bytes",),
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)
_MEMBERSHIP = Path("/proc/self/cgroup")


def available() -> int | None:
    """Memory that this process can still allocate without swapping, in bytes.

    This is the free memory of the machine, or what is left in one of the control groups (cgroups) that contain this
    process, if that is less. A control group is how a container, a batch system or systemd limits memory.

    Returns
    -------
    int or None
        None if the system does not say.

    References
    ----------
    "Control Group v2" and "Memory Resource Controller" (v1), https://docs.kernel.org/admin-guide/.
    """
    amounts = [amount for hierarchy in _HIERARCHIES for amount in _left_in_groups(hierarchy)]
    free = _free()
    return min(amounts if free is None else [free, *amounts], default=None)


def _free() -> int | None:
    try:
        return int(psutil.virtual_memory().available)
    except OSError:  # Linux without /proc.
        return None


def _left_in_groups(hierarchy: _Hierarchy) -> Iterator[int]:
    """What is left below each limit of the groups that contain this process."""
    for group in _groups(hierarchy):
        for limit in hierarchy.limits:
            try:
                yield max(_number(group / limit) - _used(group, hierarchy), 0)
            except (OSError, ValueError):  # No such file, or a limit of "max".
                continue


def _groups(hierarchy: _Hierarchy) -> Iterator[Path]:
    """Folders of this process's group and of all that contain it, whether they are visible here or not."""
    group = PurePosixPath("/")
    try:
        for line in _MEMBERSHIP.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if hierarchy.controller in controllers.split(","):
                group = PurePosixPath(path)
    except (OSError, ValueError):
        pass
    # In a container the path may be that of the host, and the mount be of the container's own group.
    return (hierarchy.mount / str(level).lstrip("/") for level in (group, *group.parents))


def _used(group: Path, hierarchy: _Hierarchy) -> int:
    """Bytes that the processes of a group have allocated, and that the kernel cannot reclaim at once."""
    statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return _number(group / hierarchy.usage) - int(statistics.get(hierarchy.cache, 0))


def _number(path: Path) -> int:
    return int(path.read_text())
