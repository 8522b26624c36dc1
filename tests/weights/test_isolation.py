import sys

import child_functions
import pytest

from stylecore.errors import WeightsError
from stylecore.weights import isolation
from stylecore.weights.isolation import isolated

only_on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process here")


@pytest.fixture
def path(tmp_path):
    (tmp_path / "file").write_bytes(b"content\0\xff")
    return tmp_path / "file"


def test_the_bytes_come_back(path):
    assert isolated(child_functions.contents, path) == b"content\0\xff"
    assert isolated(child_functions.contents, path, suffix=" ü \ud800 ") == b"content\0\xff \xc3\xbc ? "


def test_nothing_large_is_imported(path):
    modules = set(isolated(child_functions.modules, path).decode().split())
    assert {"stylecore.weights.isolation", "stylecore.errors"} <= modules
    assert not modules & {"numba", "scipy", "stylecore.kernels", "stylecore.objective", "PIL"}


def test_an_error_of_the_package_is_raised_here(path):
    with pytest.raises(WeightsError) as caught:
        isolated(child_functions.refuse, path)
    assert str(caught.value) == f"{path} is not to my taste; käse, \ud800."


@pytest.mark.parametrize(
    "function, reason", [("crash", "Segmentation fault"), ("abort", "Aborted"), ("fail", "RuntimeError: a defect")]
)
def test_a_crash_is_a_sentence(path, function, reason):
    with pytest.raises(WeightsError) as caught:
        isolated(getattr(child_functions, function), path)
    assert str(caught.value) == f"{path} is damaged and crashes its reader ({reason}); download it again."


@only_on_linux
def test_memory_is_limited(path):
    assert isolated(child_functions.allocate, path, size=isolation.MEMORY // 2) == b"600000000"
    with pytest.raises(WeightsError, match=r"file takes more memory or time to read than any network"):
        isolated(child_functions.allocate, path, size=2 * isolation.MEMORY)


def test_time_is_limited(path, monkeypatch):
    monkeypatch.setattr(isolation, "_WAITING", 0.3)
    with pytest.raises(WeightsError, match=r"file takes more memory or time to read than any network"):
        isolated(child_functions.spin, path)


@only_on_linux
def test_cpu_time_is_limited(path):
    with pytest.raises(WeightsError, match=r"file takes more memory or time to read than any network"):
        isolated(child_functions.spin, path)


def test_modules_in_the_working_folder_are_not_imported(path, tmp_path, monkeypatch):
    for name in ("json", "types", "numpy", "stylecore"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    assert isolated(child_functions.contents, path) == b"content\0\xff"


def test_a_process_that_cannot_be_started_is_a_sentence(path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(path))
    with pytest.raises(WeightsError, match=r"file cannot be read, since no process can be started \(Permission"):
        isolated(child_functions.contents, path)
