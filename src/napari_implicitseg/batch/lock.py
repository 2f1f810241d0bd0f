"""One run of a job at a time: a lock that dies with the process that holds it."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_implicitseg.atomic import explain
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["locked"]

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)
"""What disks say that know no locks."""
_TRIES = 100
_MOST_READ = 200


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a lock, which the system gives back if this process ends in any way.

    The file is removed at the end. One that a killed process has left locks nothing. Where the
    disk knows no locks, there is none.

    Parameters
    ----------
    path : Path
        A file beside what is locked; its folder is made.
    wait : bool
        Wait for whoever holds it, instead of refusing.

    Raises
    ------
    InputError
        If another run holds it.
    FileError
        If the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _acquired(path, wait)
    except OSError as error:
        raise explain(error, path.parent, "write") from error
    try:
        yield
    finally:
        # Removed while it is held, so that nobody else's is.
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(handle)


def _acquired(path: Path, wait: bool) -> int:
    """Open the file and lock it."""
    for _ in range(_TRIES):
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            if not _lock(handle, wait):
                raise InputError(
                    f"Another run of this job is at work{_holder(path)}. Wait until it has ended, "
                    "or stop it: then the same command does the rest."
                )
            # It may have been removed, and made anew, in between.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(path)):
                    with contextlib.suppress(OSError):  # Of a full disk: it is only for people.
                        os.truncate(handle, 0)
                        os.write(
                            handle, f"process {os.getpid()} on {socket.gethostname()}".encode()
                        )
                    return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    raise OSError(errno.EAGAIN, "its lock is made anew all the time", str(path))


def _holder(path: Path) -> str:
    """Say who holds a lock, as far as it is known."""
    try:
        said = path.read_text(encoding="utf-8")[:_MOST_READ].strip()
    except (OSError, ValueError):
        said = ""
    return f" ({said})" if said else ""


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int, wait: bool) -> bool:
        """Lock a byte that nobody reads; whether nobody else holds it."""
        os.lseek(handle, 1 << 20, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(handle, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _lock(handle: int, wait: bool) -> bool:
        """Lock an open file; whether nobody else holds it."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        return True
