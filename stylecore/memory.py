"""How much memory there is, so that work that does not fit is refused before it starts."""

import os
import sys
from pathlib import Path

# Folders in which Linux keeps the limits of the group of processes that this one belongs to (cgroups, 2 and 1), with
# the names of the limit, of the usage, and of the part of it that holds files not in use, which gives way.
_GROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available():
    """Memory that this process can still take, in bytes, without swapping.

    Returns
    -------
    int or None
        None where the system does not tell.
    """
    amounts = [amount for amount in (_free(), *map(_left_in_group, _GROUPS)) if amount is not None]
    return min(amounts, default=None)


def _free():
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    if sys.platform == "win32":
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _left_in_group(group):
    folder, limit, usage, files = group
    try:
        used = int(Path(folder, usage).read_text())
        for line in Path(folder, "memory.stat").read_text().splitlines():
            if line.startswith(files + " "):
                used -= int(line.split()[1])
        return max(int(Path(folder, limit).read_text()) - used, 0)
    except (OSError, ValueError):
        return None
