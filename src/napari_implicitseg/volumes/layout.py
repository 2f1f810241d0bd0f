"""How the arrays of an OME-Zarr are cut into chunks and shards."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_implicitseg.errors import InputError
from napari_implicitseg.volumes.volume import common_scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_implicitseg.volumes.volume import Axis

__all__ = ["Layout", "chunks_of", "pieces_of", "shards_of"]

_PLAIN = {1: (65536,), 2: (512, 512), 3: (64, 64, 64)}
_FLAT = {1: (65536,), 2: (512, 512), 3: (16, 128, 128)}
_PER_SHARD = 4
"""Chunks along each axis of space of a shard."""
_SHARD_BYTES = 1 << 25
_STEP = 1 << 20
"""Coarse voxels that are computed at a time."""
_FLAT_FROM = 2.0
"""How much longer than wide voxels are whose chunks are made flat."""
_OTHER = ("time", "channel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """How arrays are stored.

    Attributes
    ----------
    version : {"0.5", "0.4"}
        Of OME-Zarr: zarr format 3 or 2.
    chunks : tuple of int or None
        What is read at once; by default 64^3 voxels of space, 16 x 128 x 128 where voxels are
        twice as long along z, 512^2 in 2D, and one time point and channel.
    shards : tuple of int or None
        What lies in one file, in multiples of `chunks`; by default up to four along each
        axis of space, and 32 MiB. Version 0.4 has none: there every chunk is a file.
    """

    version: str = "0.5"
    chunks: tuple[int, ...] | None = None
    shards: tuple[int, ...] | None = None


def chunks_of(shape: Sequence[int], axes: Sequence[Axis], layout: Layout) -> tuple[int, ...]:
    """Return the chunk shape of a level."""
    if layout.chunks is not None:
        given = layout.chunks
        space = sum(axis.kind not in _OTHER for axis in axes)
        if len(given) == space < len(axes):
            given = (*(1,) * (len(axes) - space), *given)
        if len(given) != len(axes) or min(given) < 1:
            raise InputError(
                f"chunks are {layout.chunks}; needed is one positive number for each of the axes "
                f"{', '.join(axis.name for axis in axes)}, or for each of space."
            )
        return tuple(min(c, n) for c, n in zip(given, shape, strict=True))
    voxel = common_scale(axes)
    inner = [i for i, axis in enumerate(axes) if axis.kind not in _OTHER]
    flat = len(inner) == 3 and voxel[inner[0]] >= _FLAT_FROM * min(voxel[i] for i in inner)
    best = (_FLAT if flat else _PLAIN)[len(inner)]
    sizes = dict(zip(inner, best, strict=True))
    return tuple(min(sizes.get(i, 1), n) for i, n in enumerate(shape))


def shards_of(
    shape: Sequence[int],
    chunks: Sequence[int],
    itemsize: int,
    axes: Sequence[Axis],
    layout: Layout,
) -> tuple[int, ...]:
    """Return the shape of what lies in one file."""
    if layout.shards is not None:
        given = layout.shards
        if len(given) < len(chunks):
            given = (*(1,) * (len(chunks) - len(given)), *given)
        if len(given) != len(chunks) or min(given) < 1:
            raise InputError(
                f"shards are {layout.shards}; needed is one positive number for each of "
                f"{len(chunks)} axes, or for each of space."
            )
        counts = [-(-s // c) for s, c in zip(given, chunks, strict=True)]
    else:
        counts = [1 if axis.kind in _OTHER else _PER_SHARD for axis in axes]
        while max(counts) > 1 and math.prod(counts) * math.prod(chunks) * itemsize > _SHARD_BYTES:
            axis = counts.index(max(counts))
            counts[axis] //= 2
    whole = [-(-n // c) for n, c in zip(shape, chunks, strict=True)]
    return tuple(c * min(k, w) for c, k, w in zip(chunks, counts, whole, strict=True))


def pieces_of(shape: Sequence[int], chunks: Sequence[int]) -> tuple[int, ...]:
    """Return how much of a block is computed at a time: whole chunks, few enough to fit."""
    counts = [-(-n // c) for n, c in zip(shape, chunks, strict=True)]
    while max(counts) > 1 and math.prod(counts) * math.prod(chunks) > _STEP:
        axis = counts.index(max(counts))
        counts[axis] = -(-counts[axis] // 2)
    return tuple(c * k for c, k in zip(chunks, counts, strict=True))
