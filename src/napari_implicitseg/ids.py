"""Ids of label images: how many voxels each has, and which voxels have some of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray

__all__ = ["among", "count_voxels"]

# Ids up to this are looked up in a table.
_LOW_ID = 1 << 20
_SLAB = 1 << 22


def count_voxels(labels: NDArray[Any]) -> dict[int, int]:
    """Count the voxels of each object; those of a probability map over a half are object 1.

    Slab by slab: a sorted copy of a volume would take several times its memory.
    """
    if labels.dtype.kind == "f":
        inside = int(np.count_nonzero(labels > 0.5))
        return {1: inside} if inside else {}
    counts: dict[int, int] = {}
    if labels.size and int(labels.max()) <= _LOW_ID:
        table = np.zeros(int(labels.max()) + 1, np.int64)
        for slab in _slabs(labels):
            here = np.bincount(slab.ravel().astype(np.int64, copy=False))
            table[: len(here)] += here
        counts = {int(k): int(table[k]) for k in np.flatnonzero(table)}
    else:
        for slab in _slabs(labels):
            values, numbers = np.unique(slab, return_counts=True)
            for k, n in zip(values.tolist(), numbers.tolist(), strict=True):
                counts[k] = counts.get(k, 0) + n
    counts.pop(0, None)
    return counts


def _slabs(labels: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Cut an array along its first axis, into parts of about `_SLAB` voxels."""
    rows = max(1, _SLAB * len(labels) // max(1, labels.size))
    for begin in range(0, len(labels), rows):
        yield labels[begin : begin + rows]


def among(labels: NDArray[Any], ids: Sequence[int]) -> BoolArray:
    """Whether each voxel has one of some ids; with many ids far quicker than `numpy.isin`."""
    most = int(labels.max(initial=0))
    if labels.dtype.kind not in "iu" or most > _LOW_ID or labels.min(initial=0) < 0:
        return np.isin(labels, ids)
    table = np.zeros(most + 1, bool)
    table[[i for i in ids if i <= most]] = True
    return np.asarray(table[labels])
