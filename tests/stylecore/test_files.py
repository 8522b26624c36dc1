"""Files written completely or not at all, also when a process is killed, and locks between processes."""

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest

from stylecore import files
from stylecore.files import InUseError, locked, replacing


def python(code, *arguments, **options):
    """A process that runs some code, and whose output can be read."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def make_old(path):
    os.utime(path, (time.time() - 3600,) * 2)


def test_complete_files_replace_others(tmp_path):
    path = tmp_path / "file"
    for content in (b"first", b"second"):
        with replacing(path) as file:
            file.write(content)
        assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_nothing_changes_when_writing_ends_early(error, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(error), replacing(path) as file:
        file.write(b"half of")
        raise error
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == ["file"]


def test_link_stays_a_link(tmp_path):
    (tmp_path / "link").symlink_to("target")
    for content in (b"first", b"second"):
        with replacing(tmp_path / "link") as file:
            file.write(content)
        assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_bytes() == content


def test_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "nowhere" / "file"):
        pass
    assert os.listdir(tmp_path) == []


# Power failures


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Names of the calls that bring a file to the disk, with what they find there."""
    made = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor):
        what = os.fstat(descriptor)
        made.append("fsync folder" if stat.S_ISDIR(what.st_mode) else f"fsync {what.st_size} bytes")
        fsync(descriptor)

    def noted_replace(source, target):
        made.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    return made


def test_the_content_is_on_the_disk_before_the_name_and_the_name_at_the_end(tmp_path, calls):
    with replacing(tmp_path / "file") as file:
        file.write(b"content")
    assert calls == ["fsync 7 bytes", "replace", "fsync folder"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF])
def test_a_file_system_without_fsync(number, tmp_path, monkeypatch):
    def fsync(descriptor):
        raise OSError(number, "not supported")

    monkeypatch.setattr(os, "fsync", fsync)
    with replacing(tmp_path / "file") as file:
        file.write(b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_disk_that_fails(tmp_path, monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.EIO, "the disk fails")

    (tmp_path / "file").write_bytes(b"before")
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="the disk fails"), replacing(tmp_path / "file") as file:
        file.write(b"content")
    assert (tmp_path / "file").read_bytes() == b"before" and os.listdir(tmp_path) == ["file"]


FULL = """
import resource, sys
from stylecore.files import replacing

# A limit on the size of files stands in for a full disk.
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    with replacing(sys.argv[1]) as file:
        file.write(bytes(1200))
except OSError as error:
    print(error.strerror)
"""


def test_a_full_disk(tmp_path):
    (tmp_path / "file").write_bytes(b"before")
    assert python(FULL, tmp_path / "file").communicate() == ("File too large\n", "")
    assert (tmp_path / "file").read_bytes() == b"before" and os.listdir(tmp_path) == ["file"]


# Permissions


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o755])
def test_permissions_are_kept(mode, tmp_path, umask):
    path = tmp_path / "file"
    path.write_bytes(b"before")
    path.chmod(mode)
    with replacing(path) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == mode
        file.write(b"content")
    assert stat.S_IMODE(path.stat().st_mode) == mode and path.read_bytes() == b"content"


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path, umask):
    with replacing(tmp_path / "file"):
        pass
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


# Root may do everything, so the tests that need a refusal run as another user.
PROTECTED = """
import os, shutil, tempfile
from stylecore.files import replacing

if os.getuid() == 0:
    os.setuid(65534)
folder = tempfile.mkdtemp()
try:
    path = os.path.join(folder, "file")
    open(path, "w").close()
    for place, mode in ((path, 0o400), (folder, 0o500), (folder, 0o300)):
        os.chmod(place, mode)
        try:
            with replacing(path) as file:
                file.write(b"content")
            outcome = "written"
        except PermissionError as error:
            outcome = "refused"
        os.chmod(folder, 0o700)
        os.chmod(path, 0o600)
        print(outcome, os.listdir(folder), os.path.getsize(path))
finally:
    shutil.rmtree(folder)
"""


def test_write_protected_files_and_folders():
    # The last folder may be written to but not listed.
    output = "refused ['file'] 0\nrefused ['file'] 0\nwritten ['file'] 7\n"
    assert python(PROTECTED).communicate() == (output, "")


# Pipes and devices


def test_a_pipe_gets_the_content_at_the_end(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    received = []
    reader = threading.Thread(target=lambda: received.append(path.read_bytes()))
    reader.start()
    with replacing(path) as file:
        file.write(b"??ntent")
        file.seek(0)
        file.write(b"co")
    reader.join()
    assert received == [b"content"] and stat.S_ISFIFO(path.stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


WRITE = """
import sys
from stylecore.files import replacing

with replacing(sys.argv[1]) as file:
    file.write(b"content")
"""


def test_standard_output():
    assert python(WRITE, "/dev/stdout").communicate() == ("content", "")


def test_devices():
    for name, error in (("/dev/null", None), ("/dev/full", "No space left on device")):
        process = python(WRITE, name)
        assert (error or "") in process.communicate()[1] and process.returncode == (1 if error else 0)
        assert stat.S_ISCHR(os.stat(name).st_mode)


def test_a_pipe_gets_nothing_when_writing_ends_early(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "pipe") as file:  # Opened, the pipe would wait.
        file.write(b"half of")
        raise KeyboardInterrupt


# Killed processes

PAUSE = """
import sys, time
from stylecore.files import replacing

with replacing(sys.argv[1]) as file:
    file.write(b"content")
    print("writing", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def writer(tmp_path):
    """A process that has a temporary file open."""
    process = python(PAUSE, tmp_path / "file")
    assert process.stdout.readline() == "writing\n"
    yield process
    process.kill()
    process.communicate()


def test_temporary_files_of_killed_processes_are_deleted(tmp_path, writer):
    (temporary,) = tmp_path.iterdir()
    make_old(temporary)

    def names():
        with replacing(tmp_path / "other"):
            pass
        return sorted(os.listdir(tmp_path))

    assert names() == [temporary.name, "other"]
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    os.utime(temporary)
    assert names() == [temporary.name, "other"]  # It could be another process's that is just being created.
    make_old(temporary)
    assert names() == ["other"]


def test_other_files_are_not_deleted(tmp_path, monkeypatch):
    for name in (".0123456789abcdef.tmp", ".stylecore-another-host-0123.tmp", ".stylecore", "file.tmp"):
        (tmp_path / name).write_bytes(b"")
        make_old(tmp_path / name)
    os.mkfifo(tmp_path / f"{files._TEMPORARY}0123.tmp")  # Opened, it would wait.
    make_old(tmp_path / f"{files._TEMPORARY}0123.tmp")
    before = os.listdir(tmp_path)
    with replacing(tmp_path / "file"):
        pass
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "file"])


def test_file_systems_without_locks(tmp_path, monkeypatch):
    def no_locks(file):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(files, "lock", no_locks)
    with replacing(tmp_path / "file") as file:
        file.write(b"content")
        (temporary,) = tmp_path.iterdir()
        make_old(temporary)
        with replacing(tmp_path / "other"):
            pass
    assert sorted(os.listdir(tmp_path)) == ["file", "other"]
    with locked(tmp_path / "file"), locked(tmp_path / "file"):
        pass


# Locks

HOLD = """
import sys, time
from stylecore.files import locked

with locked(sys.argv[1]):
    print("locked", flush=True)
    time.sleep(600)
"""


def test_a_lock_keeps_others_away_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "file"
    with locked(path):
        assert os.listdir(tmp_path) == ["file.lock"]
        with pytest.raises(InUseError, match=f"process {os.getpid()} on "), locked(path):
            pass
        with locked(tmp_path / "other"):
            pass
    assert os.listdir(tmp_path) == []
    with locked(path):
        pass


def test_a_lock_ends_with_its_process(tmp_path):
    path = tmp_path / "file"
    process = python(HOLD, path)
    assert process.stdout.readline() == "locked\n"
    with pytest.raises(InUseError, match=f"process {process.pid} on "), locked(path):
        pass
    process.kill()
    process.communicate()
    assert os.listdir(tmp_path) == ["file.lock"]
    with locked(path), pytest.raises(InUseError, match=f"process {os.getpid()} on "), locked(path):
        pass
    assert os.listdir(tmp_path) == []


def test_a_lock_is_on_the_file_that_a_link_points_to(tmp_path):
    (tmp_path / "link").symlink_to("file")
    with locked(tmp_path / "link"), pytest.raises(InUseError), locked(tmp_path / "file"):
        pass


def test_a_lock_file_that_its_former_process_deletes_is_created_again(tmp_path, monkeypatch):
    lock, name = files.lock, tmp_path / "file.lock"
    locks = []

    def lock_after_deletion(file):
        if not locks:
            name.unlink()
        locks.append(file)
        lock(file)

    monkeypatch.setattr(files, "lock", lock_after_deletion)
    with locked(tmp_path / "file"):
        assert name.exists() and len(locks) == 2
        with pytest.raises(InUseError), locked(tmp_path / "file"):
            pass


def test_a_file_with_the_name_of_a_lock_is_kept(tmp_path):
    (tmp_path / "file.lock").write_text("something else")
    with pytest.raises(FileExistsError, match="is not a lock of stylecore"), locked(tmp_path / "file"):
        pass
    assert (tmp_path / "file.lock").read_text() == "something else"


def test_a_lock_in_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError), locked(tmp_path / "nowhere" / "file"):
        pass
