"""Free memory on this machine, and under limits as Linux describes them in files."""

import psutil
import pytest

from stylecore import memory

GB = 2**30


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Read control groups from a folder that is empty at first; returns a function that writes a group there."""
    versions = dict(zip((2, 1), memory._HIERARCHIES, strict=True))
    mounts = {version: tmp_path / str(version) for version in versions}
    monkeypatch.setattr(memory, "_HIERARCHIES", [versions[v]._replace(mount=mounts[v]) for v in versions])
    monkeypatch.setattr(memory, "_MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(memory, "_free", lambda: 5 * GB)

    def write(version, group, usage, files=0, **limits):
        folder = mounts[version] / group
        folder.mkdir(parents=True, exist_ok=True)
        hierarchy = versions[version]
        for name, amount in limits.items():
            assert f"memory.{name}" in hierarchy.limits
            (folder / f"memory.{name}").write_text(f"{amount}\n")
        (folder / hierarchy.usage).write_text(f"{usage}\n")
        name = hierarchy.cache
        (folder / "memory.stat").write_text(f"anon 1\n{name}_more 77\n{name} {files}\nunevictable 0\n")

    def member(*lines):
        (tmp_path / "membership").write_text("".join(f"{line}\n" for line in lines))

    write.member = member
    return write


LIMIT = {1: "limit_in_bytes", 2: "max"}


def test_this_machine():
    free = memory.available()
    assert isinstance(free, int)
    assert 2**26 < free <= psutil.virtual_memory().total


def test_without_groups(groups):
    assert memory.available() == 5 * GB


@pytest.mark.parametrize("version", [1, 2])
def test_limit_of_the_visible_root(version, groups):
    # As a container sees its own group.
    groups(version, "", 2**20, **{LIMIT[version]: 2 * 2**20})
    assert memory.available() == 2**20


@pytest.mark.parametrize("version", [1, 2])
def test_files_that_are_not_in_use_can_be_reclaimed(version, groups):
    groups(version, "", 2**20 + 4096, files=4096, **{LIMIT[version]: 2 * 2**20})
    assert memory.available() == 2**20


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("tightest", ["", "user", "user/session", "user/session/job"])
def test_the_limits_of_all_levels_count(version, tightest, groups):
    groups.member("4:cpu,cpuacct:/elsewhere", "3:memory:/user/session/job", "0::/user/session/job")
    for group in ("", "user", "user/session", "user/session/job"):
        groups(version, group, GB, **{LIMIT[version]: 2 * GB if group == tightest else 4 * GB})
    assert memory.available() == GB


def test_levels_that_are_not_this_process_s(groups):
    groups.member("0::/user/session")
    groups(2, "user/session/below", GB, max=2 * GB)
    groups(2, "user/beside", GB, max=2 * GB)
    groups(2, "elsewhere", GB, max=2 * GB)
    assert memory.available() == 5 * GB


def test_each_level_counts_with_its_own_usage(groups):
    groups.member("0::/user/session")
    groups(2, "user", 9 * GB, max=12 * GB)
    groups(2, "user/session", 0, max=4 * GB)
    assert memory.available() == 3 * GB


def test_version_1_beside_version_2(groups):
    groups.member("3:cpu,memory:/one", "0::/two")
    groups(1, "one", GB, limit_in_bytes=4 * GB)
    groups(2, "two", GB, max=3 * GB)
    assert memory.available() == 2 * GB
    groups(1, "one", 3 * GB, limit_in_bytes=4 * GB)
    assert memory.available() == GB


def test_the_lower_limit_of_version_2(groups):
    groups(2, "", GB, max=4 * GB, high=3 * GB)
    assert memory.available() == 2 * GB
    groups(2, "", GB, max="max", high=2 * GB)
    assert memory.available() == GB


@pytest.mark.parametrize("path", ["/docker/0123456789", "/../../system.slice/job", "", "no path"])
def test_a_path_that_is_not_visible_here(path, groups):
    groups.member(f"2:memory:{path}", f"0::{path}")
    groups(1, "", GB, limit_in_bytes=3 * GB)
    assert memory.available() == 2 * GB


def test_a_membership_that_cannot_be_read(groups):
    groups.member("something else")
    groups(2, "", GB, max=3 * GB)
    assert memory.available() == 2 * GB


def test_a_group_over_its_limit(groups):
    groups(2, "", 2**20 + 4096, max=2**20)
    assert memory.available() == 0


@pytest.mark.parametrize(("version", "limit"), [(2, "max"), (1, 9223372036854771712)])
def test_a_group_without_limit(version, limit, groups):
    groups(version, "", 2**20, **{LIMIT[version]: limit})
    assert memory.available() == 5 * GB


def test_the_least_counts(groups, monkeypatch):
    groups(1, "", 0, limit_in_bytes=3 * GB)
    for free in (2 * GB, 4 * GB):
        monkeypatch.setattr(memory, "_free", lambda free=free: free)
        assert memory.available() == min(free, 3 * GB)


def test_a_system_that_does_not_say(tmp_path, monkeypatch):
    def missing():
        raise FileNotFoundError("/proc/meminfo")

    monkeypatch.setattr(memory.psutil, "virtual_memory", missing)
    monkeypatch.setattr(memory, "_HIERARCHIES", [])
    assert memory.available() is None
