"""Arrays that stay in their file until a window of them is asked for."""

from __future__ import annotations

import itertools
import lzma
import math
import struct
import sys
import weakref
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_implicitseg.atomic import explain
from napari_implicitseg.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import DTypeLike, NDArray

__all__ = ["DECODE_ERRORS", "FileArray", "decode_errors", "remote_errors", "unreadable"]

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


def remote_errors() -> tuple[type[Exception], ...]:
    """Return what the libraries behind URLs raise, as far as they are used."""
    kinds = (("aiohttp", "ClientError"), ("botocore.exceptions", "BotoCoreError"))
    return tuple(getattr(sys.modules[m], name) for m, name in kinds if m in sys.modules)


def decode_errors() -> tuple[type[Exception], ...]:
    """Return what reading a file or URL raises if it is damaged or cannot be reached."""
    return (*DECODE_ERRORS, *remote_errors())


def unreadable(path: Path | str, error: Exception, kind: str) -> FileError:
    """Return the error for a file whose content cannot be decoded."""
    if isinstance(error, OSError) and error.errno is not None:
        return explain(error, Path(path), "read")
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
    path : Path or str
        The file or URL, for messages.
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
        path: Path | str,
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

    @property
    def is_chunked(self) -> bool:
        """Whether a small window costs the reading of whole chunks."""
        return getattr(self._source, "chunks", None) is not None

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
        except decode_errors() as error:
            kind = self._kind + broken_chunk(self._source, key)
            raise unreadable(self._path, error, kind) from error

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Read everything."""
        whole = self[...]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __repr__(self) -> str:
        """Name the file and the shape."""
        return f"FileArray({str(self._path)!r}, shape={self.shape}, dtype={self.dtype})"


def broken_chunk(source: Any, key: Sequence[int | slice]) -> str:
    """Name the first chunk of a zarr below a window that cannot be read; "" if there is none."""
    metadata: Any = getattr(source, "metadata", None)
    if not hasattr(metadata, "encode_chunk_key"):
        return ""
    sizes = getattr(source, "shards", None) or source.chunks
    grid = []
    for part, n in zip(key, sizes, strict=True):
        first, last = (part.start, part.stop - 1) if isinstance(part, slice) else (part, part)
        grid.append(range(first // n, last // n + 1))
    for place in itertools.product(*grid):
        window = tuple(slice(i * n, (i + 1) * n) for i, n in zip(place, sizes, strict=True))
        try:
            source[window]
        except decode_errors():
            name = f"{source.path}/{metadata.encode_chunk_key(place)}".lstrip("/")
            return f" (chunk {name})"
    return ""


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
