"""Files that are written completely or not at all, and locks on files."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# The host is part of the name because a lock taken by another host of a network file system may not be visible here.
_TEMPORARY = f".stylecore-{socket.gethostname()}-"

# Seconds without a write after which an unlocked temporary file is abandoned: a new one is not locked yet.
_ABANDONED = 60.0

# What fsync raises where a file system does not support it, for folders in particular.
_NO_FSYNC = (errno.EINVAL, errno.EBADF, errno.ENOSYS, errno.ENOTSUP)

# How the content of a lock's file starts, so that no file of another origin is deleted.
_HOLDER = b"stylecore, process "

# Windows locks ranges of bytes, and lets nobody else read them: one far behind the content.
_LOCKED_BYTE = 2**30


class InUseError(OSError):
    """A file is locked by another process; `strerror` says by which, if that is known."""


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Write a file so that a reader, a crash or a power failure finds the old or the new content, never a part.

    The content goes to a temporary file in the same folder, is flushed to the disk and then renamed to `path`. If
    anything fails the temporary file is deleted; those of killed processes are deleted by a later call in the same
    folder. An existing file keeps its permissions.

    Parameters
    ----------
    path : str or path
        File to create or replace. If it is a symbolic link, the file it points to is replaced. If it is not a regular
        file but a pipe or a device (``/dev/stdout``), the whole content is written to it at the end.

    Yields
    ------
    file
        Opened for writing bytes.

    Raises
    ------
    OSError
        If the file cannot be written, or is write-protected.

    References
    ----------
    PostgreSQL's ``durable_rename`` (src/backend/storage/file/fd.c), for the order of the calls to fsync.
    """
    mode = _mode(path)
    if mode is not None and not stat.S_ISREG(mode):
        with _streaming(path) as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    if mode is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    _delete_abandoned(target.parent)
    temporary = target.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}.tmp")
    try:
        with _create(temporary, mode) as file:
            with suppress(OSError):  # Not every file system has locks.
                lock(file)
            yield file
            file.flush()
            _sync(file.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other processes that use this function away from a file, inside the ``with`` block.

    The lock is on a file beside it, `path` with ``.lock`` appended, which is deleted at the end. The system releases
    the lock of a process that was killed. Where the file system has no locks, nothing is locked.

    Parameters
    ----------
    path : str or path
        It need not exist.

    Raises
    ------
    InUseError
        If another process, or another thread of this one, has the lock.
    OSError
        If the lock's file cannot be created, or there is another file of that name.
    """
    name = os.path.realpath(path) + ".lock"
    file = _open_locked(name)
    try:
        with suppress(OSError):  # The disk is full; the lock does not need the note.
            file.truncate(0)
            file.write(_HOLDER + f"{os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        # While it is still locked, so that no other process can have locked it; Windows deletes closed files only.
        if sys.platform != "win32":
            with suppress(OSError):
                os.unlink(name)
        file.close()
        if sys.platform == "win32":
            with suppress(OSError):
                os.unlink(name)


def lock(file: IO[bytes]) -> None:
    """Lock an open file until it is closed or the process ends.

    Parameters
    ----------
    file : file

    Raises
    ------
    InUseError
        If another open file holds the lock.
    OSError
        If the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            os.lseek(file.fileno(), _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            os.lseek(file.fileno(), 0, os.SEEK_SET)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise InUseError(error.errno, "it is locked") from error


def _mode(path: str | os.PathLike[str]) -> int | None:
    """Type and permissions of a file, None if there is none."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


@contextmanager
def _streaming(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Collect the content, in which a writer may seek, and write it to a pipe or a device once it is complete."""
    with tempfile.TemporaryFile() as file:
        yield file
        file.seek(0)
        with open(path, "wb") as stream:
            shutil.copyfileobj(file, stream)


def _create(path: Path, mode: int | None) -> IO[bytes]:
    """Create a file with the permissions of an existing one, or those of the umask."""
    permissions = 0o666 if mode is None else stat.S_IMODE(mode)
    # Never more open than the existing file, not even before chmod.
    file = open(path, "xb", opener=lambda name, flags: os.open(name, flags, permissions))  # noqa: SIM115
    if mode is not None:
        with suppress(OSError):  # Not every file system has permissions.
            os.chmod(path, permissions)
    return file


def _sync(descriptor: int) -> None:
    """Wait until the disk holds what was written."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise


def _sync_folder(folder: Path) -> None:
    """Wait until the disk holds the names of a folder's files, where the system can do that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows does not open folders, and no system one without permission to list it.
        return
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _delete_abandoned(folder: Path) -> None:
    """Delete the temporary files of this host's killed processes."""
    with suppress(OSError), os.scandir(folder) as entries:  # There may be no permission to list the folder.
        for entry in entries:
            if entry.name.startswith(_TEMPORARY) and entry.is_file(follow_symlinks=False):
                with suppress(OSError):  # It is in use, or gone.
                    _delete_if_abandoned(entry)


def _delete_if_abandoned(entry: os.DirEntry[str]) -> None:
    if time.time() - entry.stat().st_mtime > _ABANDONED:
        with open(entry.path, "rb") as file:
            lock(file)
        os.unlink(entry.path)


def _open_locked(name: str) -> IO[bytes]:
    """Open or create a lock's file and lock it."""
    while True:
        file = open(name, "a+b", buffering=0)  # noqa: SIM115
        try:
            _lock_own(file, name)
            # The process that had the lock before may have deleted the file after it was opened here.
            if os.path.samestat(os.fstat(file.fileno()), os.stat(name)):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()


def _lock_own(file: IO[bytes], name: str) -> None:
    """Lock a lock's file, which nothing else than `locked` may have written."""
    file.seek(0)
    content = file.read(200) or b""
    if content and not content.startswith(_HOLDER):
        raise FileExistsError(errno.EEXIST, f"{name} is not a lock of stylecore")
    try:
        lock(file)
    except InUseError as error:
        raise InUseError(error.errno, content.decode(errors="replace") or "another process", name) from error
    except OSError:  # The file system has no locks.
        pass
