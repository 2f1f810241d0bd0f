"""Copying an array of a file into a zarr array, block by block."""

from __future__ import annotations

import errno
import math
import os
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.volumes.pyramid import blocks_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import zarr
    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress

__all__ = ["Source", "copy_array"]

_IN_MEMORY = 1 << 26
"""Bytes of a slab up to which it is held in memory; larger ones go to a temporary file."""
_PIECE = 1 << 24
"""Bytes that are read at a time, unless a chunk of the source is larger."""


class Source:
    """An array of a file with its axes in another order, and of another type.

    Parameters
    ----------
    data : ndarray or FileArray
    order : sequence of int
        Which axis of `data` each axis is.
    dtype : dtype
        Signed integers may become unsigned ones of their size.
    name : str
        What to call it in messages.
    """

    def __init__(self, data: Any, order: Sequence[int], dtype: np.dtype[Any], name: str) -> None:
        self._data, self._order, self._name = data, tuple(order), name
        self.dtype = dtype
        self.shape = tuple(int(data.shape[i]) for i in order)
        chunked = getattr(data, "is_chunked", False)
        self.chunks = tuple(int(data.chunks[i]) for i in order) if chunked else None

    def __getitem__(self, window: tuple[slice, ...]) -> NDArray[Any]:
        """Read a window of slices with start and stop."""
        key: list[slice] = [slice(None)] * len(window)
        for axis, part in zip(self._order, window, strict=True):
            key[axis] = part
        block = np.asarray(self._data[tuple(key)]).transpose(self._order)
        if block.dtype.kind == "i" and self.dtype.kind == "u" and block.min(initial=0) < 0:
            raise InputError(
                f"The labels '{self._name}' have the negative id {block.min()}; ids are 0 or "
                "more. Relabel them, or convert them as an image (--image)."
            )
        return block.astype(self.dtype, copy=False)


def copy_array(
    source: Source,
    target: zarr.Array[Any],
    *,
    scratch: Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Copy an array, with every chunk of the source read once and every shard written once.

    Where chunks of the source are wider than those of the target, as the pages of a TIFF are,
    a slab of the source goes through memory or, if it is large, a temporary file.

    Parameters
    ----------
    source : Source
    target : zarr.Array
        Of the same shape.
    scratch : Path, optional
        Folder for temporary files.
    progress : callable, optional
    """
    unit = tuple(target.shards or target.chunks)
    slab = tuple(
        u if c <= u else -(-c // u) * u
        for u, c in zip(unit, source.chunks or (1,) * len(unit), strict=True)
    )
    total, done = math.prod(source.shape), 0
    for region in blocks_of(source.shape, slab):
        start = [part.start for part in region]
        with _loaded(source, region, slab == unit, scratch) as block:
            for part in blocks_of(block.shape, unit):
                if progress is not None:
                    progress(done / total, "copying")
                place = tuple(
                    slice(s + p.start, s + p.stop) for s, p in zip(start, part, strict=True)
                )
                target[place] = block[part]
                done += math.prod(p.stop - p.start for p in part)


@contextmanager
def _loaded(
    source: Source, region: tuple[slice, ...], direct: bool, scratch: Path | None
) -> Iterator[NDArray[Any]]:
    """Read a region of the source."""
    shape = tuple(part.stop - part.start for part in region)
    size = math.prod(shape) * source.dtype.itemsize
    if direct or size <= _IN_MEMORY:
        yield source[region]
        return
    with tempfile.TemporaryFile(dir=scratch) as file:
        _reserve(file.fileno(), size)
        block = np.memmap(file, dtype=source.dtype, mode="r+", shape=shape)
        for piece in blocks_of(shape, _piece(source, shape)):
            place = tuple(
                slice(r.start + p.start, r.start + p.stop)
                for r, p in zip(region, piece, strict=True)
            )
            block[piece] = source[place]
        yield block


def _reserve(handle: int, size: int) -> None:
    """Take room on the disk: a full one, mapped to memory, would end the process later."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(handle, 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # Not every disk can.
            raise


def _piece(source: Source, shape: Sequence[int]) -> tuple[int, ...]:
    """Return how much of a region to read at a time: whole chunks."""
    assert source.chunks is not None
    sizes = list(source.chunks)
    budget = _PIECE // source.dtype.itemsize
    for axis in reversed(range(len(sizes))):
        room = budget // math.prod(sizes)
        sizes[axis] *= max(1, min(room, -(-shape[axis] // sizes[axis])))
    return tuple(sizes)
