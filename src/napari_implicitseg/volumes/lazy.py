"""Arrays that stay in their file until a window of them is asked for."""

from __future__ import annotations

import lzma
import math
import struct
import weakref
import zlib
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_implicitseg.atomic import explain
from napari_implicitseg.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import DTypeLike, NDArray

__all__ = ["DECODE_ERRORS", "FileArray", "unreadable"]

Key: TypeAlias = tuple[int | slice, ...]

DECODE_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    SyntaxError,
    ImportError,
    MemoryError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
)
"""What decoders raise on damaged files. SyntaxError is Pillow's, ImportError tifffile's."""


def unreadable(path: Path, error: Exception, kind: str) -> FileError:
    """Return the error for a file whose content cannot be decoded."""
    if isinstance(error, OSError) and error.errno is not None:
        return explain(error, path, "read")
    if isinstance(error, MemoryError):
        return FileError(
            f"'{path}' does not fit into memory. Convert it to OME-Zarr, which is read in pieces."
        )
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return FileError(
        f"'{path}' cannot be read as {kind}: {reason[:200]}. It may be damaged or cut off; "
        "open it elsewhere, or copy or save it again."
    )


class FileArray:
    """View of an array in a file, read on indexing.

    Some axes are fixed at an index or cut to a range. What goes wrong while
    reading becomes a `FileError` that names the file.

    Parameters
    ----------
    source : array
        Anything with `shape`, `dtype` and indexing by integers and slices.
    key : tuple of int or slice
        One entry per axis of `source`; an integer drops the axis. Slices have
        a start and a stop and no step.
    path : Path
        The file, for messages.
    kind : str
        Its format, for messages.
    close : callable, optional
        Called when nothing refers to this array any more.
    """

    def __init__(
        self,
        source: Any,
        key: Key,
        *,
        path: Path,
        kind: str,
        close: Callable[[], object] | None = None,
    ) -> None:
        self._source = source
        self._key = key
        self._path = path
        self._kind = kind
        self._kept = [axis for axis, part in enumerate(key) if isinstance(part, slice)]
        self.dtype: np.dtype[Any] = np.dtype(source.dtype)
        kept = [part for part in key if isinstance(part, slice)]
        self.shape: tuple[int, ...] = tuple(int(part.stop - part.start) for part in kept)
        if close is not None:
            weakref.finalize(self, close)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes the whole array would take in memory."""
        return self.size * self.dtype.itemsize

    @property
    def chunks(self) -> tuple[int, ...]:
        """Block shape that is read at once; rows if the file is not chunked."""
        chunks = getattr(self._source, "chunks", None)
        if chunks is None:
            return (*(1,) * (self.ndim - 1), *self.shape[-1:])
        return tuple(min(int(chunks[a]), n) for a, n in zip(self._kept, self.shape, strict=True))

    def __len__(self) -> int:
        """Length of the first axis."""
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Read a window; indices are integers, slices with positive step and Ellipsis."""
        key: list[int | slice] = list(self._key)
        for axis, part, length in zip(
            self._kept, _expand(index, self.ndim), self.shape, strict=True
        ):
            fixed = self._key[axis]
            assert isinstance(fixed, slice)
            key[axis] = _shift(part, fixed.start, length)
        try:
            return np.asarray(self._source[tuple(key)])
        except DECODE_ERRORS as error:
            raise unreadable(self._path, error, self._kind) from error

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Read everything."""
        whole = self[...]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __repr__(self) -> str:
        """Name the file and the shape."""
        return f"FileArray({str(self._path)!r}, shape={self.shape}, dtype={self.dtype})"


def _expand(index: Any, ndim: int) -> list[Any]:
    """Return one index per axis."""
    parts = list(index) if isinstance(index, tuple) else [index]
    dots = [i for i, part in enumerate(parts) if part is Ellipsis]
    if len(dots) > 1 or len(parts) - len(dots) > ndim:
        raise IndexError(f"too many indices: {index!r} for an array of {ndim} axes")
    place = dots[0] if dots else len(parts)
    missing = ndim - (len(parts) - len(dots))
    return [*parts[:place], *[slice(None)] * missing, *parts[place + len(dots) :]]


def _shift(part: Any, start: int, length: int) -> int | slice:
    """Move an index of the view to one of the source."""
    if isinstance(part, slice):
        first, last, step = part.indices(length)
        if step < 1:
            raise IndexError(f"step {step} of a slice must be positive")
        return slice(start + first, start + max(first, last), step)
    position = int(part)
    if not -length <= position < length:
        raise IndexError(f"index {position} is out of range for an axis of length {length}")
    return start + position % length
