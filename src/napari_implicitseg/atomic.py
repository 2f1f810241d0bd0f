"""Writing so that a failure leaves the old file as it was.

A file or folder is written beside its target under a temporary name, flushed
to the disk and moved into place in one step. Whatever goes wrong before that
step, the target is untouched and the temporary neighbour is removed.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_implicitseg.errors import FileError, OutputExistsError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "check_permission",
    "exists_error",
    "explain",
    "flush_file",
    "flush_folder",
    "probe_folder",
    "replace_file",
    "replace_folder",
]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
# File names may have 255 bytes on most disks; the temporary ones are longer by a few.
_LONGEST_STEM = 200


def explain(error: OSError, path: Path, doing: str) -> FileError:
    """Turn an error of the operating system into a sentence for the user.

    Parameters
    ----------
    error : OSError
    path : Path
        What the user named.
    doing : {"read", "write"}
        What was being done with it.

    Returns
    -------
    FileError
        To be raised.
    """
    reason = (error.strerror or str(error)).rstrip(".")
    if doing == "write":
        if error.errno in _FULL:
            advice = "Free some space, or write to another disk. Nothing was changed."
        elif error.errno in _FORBIDDEN:
            advice = "Write to a folder you may write to. Nothing was changed."
        else:
            advice = "Check the disk, or write elsewhere. Nothing was changed."
    elif error.errno in _FORBIDDEN:
        advice = "Ask for permission to read it."
    else:
        advice = "Check the path and the disk."
    return FileError(f"Cannot {doing} '{path}': {reason}. {advice}")


def check_permission(path: Path) -> None:
    """Refuse to replace what its owner made read-only, though a rename could."""
    if path.exists() and not os.access(path, os.W_OK):
        raise explain(PermissionError(errno.EACCES, "it is read-only"), path, "write")


def exists_error(path: Path) -> OutputExistsError:
    """Return the error for an output that is already there."""
    return OutputExistsError(
        f"Output '{path}' already exists. Give another name, or allow overwriting (--overwrite)."
    )


def probe_folder(folder: Path, path: Path) -> None:
    """Make and remove a file, to see whether `path` could be written to a folder.

    Raises
    ------
    FileError
        If it could not.
    """
    temporary = _neighbour(folder / path.name)
    try:
        temporary.touch(exist_ok=False)
        temporary.unlink()
    except OSError as error:
        raise explain(error, path, "write") from error


@contextmanager
def replace_file(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Write a file under a temporary name, then move it into place.

    Parameters
    ----------
    path : Path
        The file to make; its folder must exist.
    overwrite : bool
        Whether an existing file may be replaced.

    Yields
    ------
    Path
        An empty file beside `path`, with the same extension, to be written to.

    Raises
    ------
    OutputExistsError
        If `path` exists and `overwrite` is false.
    FileError
        If the disk is full, read-only or broken.
    """
    if not overwrite and os.path.lexists(path):
        raise exists_error(path)
    check_permission(path)
    # A link is followed, so that what it points to is replaced and not the link.
    target = Path(os.path.realpath(path))
    temporary = _neighbour(target)
    try:
        # O_EXCL and the process's own umask, unlike tempfile, which makes files private.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        flush_file(temporary)
        if target.exists():
            shutil.copymode(target, temporary)
        if not overwrite and os.path.lexists(path):
            raise exists_error(path)
        os.replace(temporary, target)
    except OSError as error:
        raise explain(error, path, "write") from error
    finally:
        with suppress(OSError):  # Of a read-only disk: the reason has been told.
            temporary.unlink(missing_ok=True)
    flush_folder(target.parent)


@contextmanager
def replace_folder(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Write a folder under a temporary name, then swap it into place.

    The old folder is kept until the new one is in its place.

    Parameters
    ----------
    path : Path
        The folder to make; its parent must exist.
    overwrite : bool
        Whether an existing folder may be replaced.

    Yields
    ------
    Path
        An empty folder beside `path` to be written to.

    Raises
    ------
    OutputExistsError
        If `path` exists and `overwrite` is false.
    FileError
        If the disk is full, read-only or broken.
    """
    if not overwrite and os.path.lexists(path):
        raise exists_error(path)
    check_permission(path)
    target = Path(os.path.realpath(path))
    temporary = _neighbour(target)
    try:
        temporary.mkdir()
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                flush_file(Path(folder, name))
        if not overwrite and os.path.lexists(path):
            raise exists_error(path)
        _swap(temporary, target)
    except OSError as error:
        raise explain(error, path, "write") from error
    finally:
        _remove_tree(temporary)
    flush_folder(target.parent)


def _swap(new: Path, target: Path) -> None:
    """Move a folder to `target`; what was there is removed last, or put back."""
    if not target.exists():
        os.rename(new, target)
        return
    old = _neighbour(target)
    os.rename(target, old)
    try:
        os.rename(new, target)
    except BaseException:
        os.rename(old, target)
        raise
    _remove_tree(old)


def _neighbour(target: Path) -> Path:
    """Return an unused hidden name in the same folder, with the same extension."""
    stem = target.stem.encode()[:_LONGEST_STEM].decode(errors="ignore")
    return target.with_name(f".{stem}-{secrets.token_hex(4)}.tmp{target.suffix}")


def flush_file(path: Path) -> None:
    """Wait until a file's content is on the disk, where delayed errors show."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def flush_folder(folder: Path) -> None:
    """Make a rename durable where the system can; the content is safe already."""
    if os.name != "posix":
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass  # Some network file systems refuse this for folders.
    finally:
        os.close(handle)


def _remove_tree(folder: Path) -> None:
    """Remove a folder, also while an interrupted writer still adds a last file."""
    for _ in range(10):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)
