"""Ids of label images: whether they are some, how many voxels each has, which voxels have some."""

from __future__ import annotations

import operator
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray

__all__ = [
    "MAX_ID",
    "IdRange",
    "among",
    "as_ids",
    "checked_ids",
    "checked_labels",
    "count_voxels",
    "parse_ids",
    "present",
]

# Ids up to this are looked up in a table.
_LOW_ID = 1 << 20
_SLAB = 1 << 22
_RANGE = re.compile(r"(\d+)(?:\s*(?:-|\u2013|\.\.)\s*(\d+))?")

MAX_ID = 2**32 - 1
"""The largest id there is."""
IdRange = tuple[int, int]
"""First and last of some ids in a row."""


def checked_labels(labels: Any) -> NDArray[Any]:
    """Return labels, or a probability map, as an array that can be repaired.

    Raises
    ------
    InputError
        If it can not.
    """
    values = np.asarray(labels.filled(0) if isinstance(labels, np.ma.MaskedArray) else labels)
    if values.ndim not in (2, 3):
        raise InputError(f"The labels have {values.ndim} axes; a repair takes 2D or 3D labels.")
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype.kind not in "iuf":
        raise InputError(f"The labels are of type {values.dtype}; give integers, 0 for background.")
    if not values.size:
        return values.astype(np.uint8)
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        if np.isnan(low):
            raise InputError(
                "The probability map holds NaN; give numbers within 0 to 1, for instance by "
                "numpy.nan_to_num."
            )
        if not (low >= 0 and high <= 1):
            raise InputError(
                f"The labels are of type {values.dtype} and range from {low:g} to {high:g}. A "
                "probability map lies within 0 to 1; labels are integers: convert them, for "
                "instance by labels.astype('uint32')."
            )
        return values
    if low < 0:
        raise InputError(f"The labels hold {low}; ids have to be positive, and 0 is background.")
    if high > MAX_ID:
        raise InputError(f"The labels hold {high}; the largest id is {MAX_ID}. Relabel them.")
    return values


def checked_ids(ids: Any) -> list[int] | None:
    """Return ids as a list of integers, or None for all.

    Raises
    ------
    InputError
        If they are no sequence of whole numbers.
    """
    if ids is None:
        return None
    try:
        return [operator.index(i) for i in ids]
    except TypeError as error:
        raise InputError(
            f"ids is {ids!r}; give a list of whole numbers such as [3, 7], or None for all."
        ) from error


def as_ids(values: NDArray[Any]) -> NDArray[Any]:
    """Return labels as they are, and of a probability map 1 where it is over a half."""
    return (values > 0.5).astype(np.uint8) if values.dtype.kind == "f" else values


def count_voxels(labels: NDArray[Any]) -> dict[int, int]:
    """Count the voxels of each object; those of a probability map over a half are object 1.

    Slab by slab: a sorted copy of a volume would take several times its memory.
    """
    labels = as_ids(labels)
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


def parse_ids(text: str) -> tuple[IdRange, ...]:
    """Read a list of ids such as `2, 5-9 12`.

    Raises
    ------
    InputError
        If it is no such list, or empty.
    """
    if not text.strip(" ,;"):
        raise InputError("Type the ids of the objects to repair, for instance 2, 5-9.")
    found = []
    for part in re.split(r"[,;]", text.strip(" ,;")):
        matches = list(_RANGE.finditer(part))
        if not matches or _RANGE.sub("", part).strip():
            raise InputError(
                f"The ids are {text!r}; type ids and ranges with commas between them, for instance "
                "2, 5-9."
            )
        found += [(int(m[1]), int(m[2] or m[1])) for m in matches]
    for low, high in found:
        if not 0 < low <= high <= MAX_ID:
            raise InputError(
                f"The ids hold {low}-{high}; ids go from 1 to {MAX_ID}, the smaller first."
                if low != high
                else f"The ids hold {low}; ids go from 1 to {MAX_ID}, 0 is background."
            )
    return tuple(found)


def present(ranges: Sequence[IdRange], labels: NDArray[Any]) -> list[int]:
    """Ids to repair: single ones whether they are there or not, of ranges those that are there."""
    labels = as_ids(labels)
    there = np.unique(labels[labels != 0])
    found: set[int] = set()
    for low, high in ranges:
        inside = there[(there >= low) & (there <= high)].tolist()
        found |= {low} if low == high else set(inside)
        if not inside and low != high:
            raise InputError(f"There is no object from {low} to {high} in the masks.")
    return sorted(found)
