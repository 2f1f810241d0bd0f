"""Zarr by URL, through fsspec: `https://`, `s3://`, `memory://` and what else is installed."""

from __future__ import annotations

import os
import re
import secrets
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from napari_implicitseg.errors import FileError, OutputExistsError
from napari_implicitseg.volumes.lazy import decode_errors, remote_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["file_system", "is_url", "remote_error", "replace_remote", "url_store"]

_URL = re.compile(r"^[a-zA-Z][a-zA-Z0-9+.-]+://")
_METADATA = ("zarr.json", ".zgroup", ".zarray")
_INSTALL = {
    "http": "aiohttp",
    "https": "aiohttp",
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
}
_KEYS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (for public data storage option anon=true)",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
}


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a URL such as `s3://bucket/volume.zarr`."""
    return _URL.match(os.fspath(path)) is not None


def file_system(url: str, options: Mapping[str, Any] | None = None) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, and the path in it.

    Raises
    ------
    FileError
        If there is no such protocol, its package is missing, or it cannot be reached.
    """
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    try:
        system, path = url_to_fs(url, **(options or {}))
    except decode_errors() as error:
        raise remote_error(url, error, "read") from error
    return system, str(path).rstrip("/")


def url_store(url: str, options: Mapping[str, Any] | None = None, *, write: bool = False) -> Any:
    """Return a zarr store of what lies at a URL."""
    from fsspec.implementations import asyn_wrapper  # type: ignore[import-untyped]
    from zarr.storage import FsspecStore

    system, path = file_system(url, {**(options or {}), "asynchronous": True})
    if not system.async_impl:
        system = asyn_wrapper.AsyncFileSystemWrapper(system, asynchronous=True)
    return FsspecStore(system, path=path, read_only=not write)


def remote_error(url: str, error: Exception, doing: str) -> FileError:
    """Turn what went wrong with a URL into a sentence for the user.

    Parameters
    ----------
    url : str
    error : Exception
    doing : {"read", "write"}
    """
    scheme = url.split("://", maxsplit=1)[0].lower()
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    status = getattr(error, "status", None)
    if isinstance(error, ImportError):
        package = _INSTALL.get(scheme, "the package it names")
        extra = ", or napari-implicitseg[s3]" if package == "s3fs" else ""
        advice = f"Install {package} (pip install {package}{extra})."
    elif "redential" in reason or status in (401, 403) or isinstance(error, PermissionError):
        keys = _KEYS.get(scheme, "what the server asks for")
        advice = f"Access was refused. Give credentials: {keys}."
    elif isinstance(error, FileNotFoundError) or status == 404:
        advice = "There is nothing at that address. Check it."
    else:
        advice = "Check the address and the network."
    return FileError(f"Cannot {doing} '{url}': {reason[:200]}. {advice}")


@contextmanager
def replace_remote(
    url: str, options: Mapping[str, Any] | None = None, *, overwrite: bool
) -> Iterator[Any]:
    """Write a zarr at a URL; what fails leaves nothing behind, and what was there as it was.

    Until all is written, a replacement lies beside what it replaces. Servers cannot swap the
    two at once: if that fails half way, the error names the place of what was written.

    Parameters
    ----------
    url : str
    options : mapping, optional
        Of fsspec.
    overwrite : bool
        Whether what is there may be replaced.

    Yields
    ------
    zarr store
        Empty, to be written to.

    Raises
    ------
    OutputExistsError
        If something is there and `overwrite` is false.
    FileError
        If it cannot be written.
    """
    system, path = file_system(url, options)
    try:
        # What lists were kept from before may be old by now.
        system.invalidate_cache()
        there = system.exists(path)
        if there and not overwrite:
            raise OutputExistsError(
                f"Output '{url}' already exists. Give another name, or allow overwriting "
                "(--overwrite)."
            )
        if there and not any(system.exists(f"{path}/{name}") for name in _METADATA):
            raise FileError(f"Output '{url}' exists and is no zarr, so it is not replaced.")
        folder, _, name = path.rpartition("/")
        part = f"{folder}/.{name}-{secrets.token_hex(4)}.tmp.zarr" if there else path
        address = url.split("://", maxsplit=1)[0] + "://" + part.lstrip("/")
        try:
            yield url_store(address, options, write=True)
            system.invalidate_cache()
        except BaseException:
            with suppress(*_write_errors()):
                system.invalidate_cache()
                system.rm(part, recursive=True)
            raise
        if there:
            _swap(system, part, path)
    except _write_errors() as error:
        raise remote_error(url, error, "write") from error


def _write_errors() -> tuple[type[Exception], ...]:
    """Return what writing to a URL raises."""
    return (OSError, *remote_errors())


def _swap(system: Any, part: str, path: str) -> None:
    """Put a zarr in the place of an old one; what makes it a zarr comes last."""
    try:
        system.rm(path, recursive=True)
        for name in sorted(system.find(part), key=lambda name: name.count("/"), reverse=True):
            system.copy(name, path + name[len(part) :])
    except _write_errors() as error:
        # There is no undoing this: what was written must not be lost as well.
        raise FileError(
            f"'{path}' could not be replaced: {error}. The new one lies at '{part}': move it."
        ) from error
    system.rm(part, recursive=True)
