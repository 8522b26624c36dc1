"""What is told of the memory, on this machine and as other systems tell it."""

import os

import pytest

from stylecore import memory

GB = 2**30


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Let the limits of the process's group be read from a folder; returns a function that writes them there."""
    versions = (("max", "current", "inactive_file"), ("limit_in_bytes", "usage_in_bytes", "total_inactive_file"))
    folders = [tmp_path / "2", tmp_path / "1"]
    monkeypatch.setattr(
        memory,
        "_GROUPS",
        [
            (str(folder), f"memory.{limit}", f"memory.{usage}", files)
            for folder, (limit, usage, files) in zip(folders, versions, strict=True)
        ],
    )

    def write(version, limit, usage, files=0):
        folder = tmp_path / str(version)
        folder.mkdir()
        for name, amount in zip(versions[2 - version], (limit, usage), strict=False):
            (folder / f"memory.{name}").write_text(f"{amount}\n")
        name = versions[2 - version][2]
        (folder / "memory.stat").write_text(f"anon 1\n{name}_more 77\n{name} {files}\nunevictable 0\n")

    return write


def test_this_machine():
    free = memory.available()
    assert isinstance(free, int)
    assert 2**26 < free <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize("version", [1, 2])
def test_limit_of_a_group(version, groups):
    groups(version, 2 * 2**20, 2**20)
    assert memory.available() == 2**20


@pytest.mark.parametrize("version", [1, 2])
def test_files_that_are_not_in_use_give_way(version, groups):
    groups(version, 2 * 2**20, 2**20 + 4096, files=4096)
    assert memory.available() == 2**20


def test_group_at_its_limit(groups):
    groups(2, 2**20, 2**20 + 4096)
    assert memory.available() == 0


@pytest.mark.parametrize("limits", [[(2, "max")], [(1, 9223372036854771712)], []])
def test_group_without_limit(limits, groups, monkeypatch):
    monkeypatch.setattr(memory, "_free", lambda: 5 * GB)
    for version, limit in limits:
        groups(version, limit, 2**20)
    assert memory.available() == 5 * GB


def test_the_least_counts(groups, monkeypatch):
    groups(1, 3 * GB, 0)
    for free in (2 * GB, 4 * GB):
        monkeypatch.setattr(memory, "_free", lambda free=free: free)
        assert memory.available() == min(free, 3 * GB)


def test_systems_without_proc(groups, monkeypatch):
    def missing(self):
        raise FileNotFoundError(self)

    monkeypatch.setattr(memory.Path, "read_text", missing)
    assert memory.available() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    monkeypatch.setattr(memory.sys, "platform", "win32")
    assert memory.available() is None
