"""The contingency table: how many voxels each object shares with each object of the truth.

The table is sparse, as most objects never meet, and tables of the parts of a volume
add up to the table of the whole: volumes larger than memory are compared in blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg._pair_counts import PairCounter, sorted_entries
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Contingency", "check_kind", "check_shapes", "compared_voxels", "contingency"]

# Ids up to this are looked up in a table, even where there are few.
_LOW_ID = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contingency:
    """How many voxels each object shares with each object of the truth.

    Attributes
    ----------
    label_ids : ndarray of int64 or uint64, shape (L,)
        Ids of the segmentation in ascending order; uint64 only where int64 does not hold them.
    truth_ids : ndarray of int64 or uint64, shape (T,)
        Ids of the truth.
    label_sizes, truth_sizes : ndarray of int64, shape (L,) and (T,)
        Voxels of each, those left out not counted.
    rows, columns : ndarray of int64, shape (E,)
        Places in `label_ids` and `truth_ids` of two objects that overlap, in ascending order.
    counts : ndarray of int64, shape (E,)
        Voxels they share, at least 1.
    ignored : int
        Voxels left out, because of their label in the truth.
    """

    label_ids: NDArray[Any]
    truth_ids: NDArray[Any]
    label_sizes: NDArray[np.int64]
    truth_sizes: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    counts: NDArray[np.int64]
    ignored: int = 0

    @classmethod
    def from_entries(
        cls, labels: ArrayLike, truth: ArrayLike, counts: ArrayLike, *, ignored: int = 0
    ) -> Contingency:
        """Make a table of entries in any order; those of the same two objects are added up.

        Parameters
        ----------
        labels, truth : array_like of int, shape (N,)
            Ids of two objects that overlap.
        counts : array_like of int, shape (N,)
            Voxels they share, at least 1.
        ignored : int
            Voxels left out.
        """
        label_ids, rows = _coded(_narrowed(np.asarray(labels)))
        truth_ids, columns = _coded(_narrowed(np.asarray(truth)))
        entries = (rows, columns, np.asarray(counts, np.int64))
        return cls._assembled(label_ids, truth_ids, entries, ignored)

    @classmethod
    def _assembled(
        cls,
        label_ids: NDArray[Any],
        truth_ids: NDArray[Any],
        entries: tuple[NDArray[np.int64], ...],
        ignored: int,
    ) -> Contingency:
        """Sort entries of rows, columns and counts, and add up what belongs together."""
        rows, columns, counts = sorted_entries(*entries, len(label_ids), len(truth_ids))
        return cls(
            label_ids=label_ids,
            truth_ids=truth_ids,
            label_sizes=_summed(rows, counts, len(label_ids)),
            truth_sizes=_summed(columns, counts, len(truth_ids)),
            rows=rows,
            columns=columns,
            counts=counts,
            ignored=ignored,
        )

    def __repr__(self) -> str:
        """Name the sizes; the arrays may be long."""
        return (
            f"Contingency({len(self.label_ids)} labels, {len(self.truth_ids)} in the truth, "
            f"{len(self.counts)} overlaps, {self.total} voxels, {self.ignored} ignored)"
        )

    @property
    def total(self) -> int:
        """Voxels that were compared."""
        return int(self.counts.sum())

    def merged(self, *others: Contingency) -> Contingency:
        """Return the table of all parts together, for instance of the blocks of a volume.

        Ids mean the same object in every part.

        Raises
        ------
        InputError
            If some ids are negative and others too large for int64.
        """
        tables = (self, *others)
        return Contingency.from_entries(
            _joined([t.label_ids[t.rows] for t in tables], "labels"),
            _joined([t.truth_ids[t.columns] for t in tables], "truth"),
            np.concatenate([t.counts for t in tables]),
            ignored=sum(t.ignored for t in tables),
        )

    def relabelled(self, ids: ArrayLike) -> Contingency:
        """Return the table of the segmentation with other labels, objects of one id joined.

        It makes the table of every cut of a hierarchy from that of its fragments, without
        looking at a voxel.

        Parameters
        ----------
        ids : array_like of int, shape (L,)
            New id of each of `label_ids`.

        Raises
        ------
        InputError
            If there is not one id for each label.
        """
        new = np.asarray(ids)
        if new.shape != self.label_ids.shape or new.dtype.kind not in "iub":
            raise InputError(
                f"The new ids are {new.dtype} {new.shape}; give {len(self.label_ids)} integers, "
                "one for each of label_ids."
            )
        label_ids, codes = _coded(_narrowed(new))
        entries = (codes[self.rows], self.columns, self.counts)
        return Contingency._assembled(label_ids, self.truth_ids, entries, self.ignored)


def contingency(labels: ArrayLike, truth: ArrayLike, *, ignore: int | None = 0) -> Contingency:
    """Count the voxels that each object shares with each object of the truth.

    Parameters
    ----------
    labels : array_like of int or bool, shape S
        The segmentation. Label 0 is an object like any other.
    truth : array_like of int or bool, shape S
        The truth. Ids of both may be of any size, and need not agree.
    ignore : int, optional
        Voxels with this label in the truth are left out; None leaves out none.

    Returns
    -------
    Contingency
        It may be empty, if all voxels are left out: another part of the volume may have some.

    Raises
    ------
    InputError
        If the arrays differ in shape or hold no integers.

    Examples
    --------
    >>> table = contingency([1, 1, 2, 2], [7, 7, 7, 0])
    >>> table.truth_ids.tolist(), table.label_sizes.tolist(), table.ignored
    ([7], [2, 1], 1)
    """
    arrays = [_checked(labels, "labels"), _checked(truth, "truth")]
    check_shapes(arrays[0].shape, arrays[1].shape)
    counter = PairCounter(arrays[0].dtype, arrays[1].dtype, ignore)
    counter.add(*arrays)
    return Contingency.from_entries(*counter.entries(), ignored=counter.ignored)


def compared_voxels(table: Contingency) -> int:
    """Return how many voxels were compared.

    Raises
    ------
    InputError
        If there is none, which leaves all scores undefined.
    """
    if not table.total:
        raise InputError(
            "There is no voxel to compare"
            + (
                f": all {table.ignored} are left out, as the truth has no other label than the "
                "one ignored. Give a truth with labels, or ignore=None."
                if table.ignored
                else "; give arrays that are not empty."
            )
        )
    return table.total


def check_kind(array: Any, name: str) -> None:
    """Refuse arrays that hold no integers, or mask some of them."""
    if isinstance(array, np.ma.MaskedArray):
        raise InputError(f"The {name} are a masked array; fill it, for instance by .filled(0).")
    try:
        integers = np.dtype(array.dtype).kind in "iub"
    except TypeError:  # Types of other libraries are none of NumPy's.
        integers = False
    if not integers:
        raise InputError(
            f"The {name} are of type {array.dtype}; give integers of NumPy, for instance "
            "by .astype('uint32')."
        )


def check_shapes(labels: tuple[int, ...], truth: tuple[int, ...]) -> None:
    """Refuse arrays of different shapes."""
    if labels != truth:
        raise InputError(
            f"The labels have shape {labels} but the truth has {truth}; compare volumes of the "
            "same voxels."
        )


def _checked(values: ArrayLike, name: str) -> NDArray[Any]:
    """Return integers as an array."""
    array = np.asanyarray(values)
    check_kind(array, name)
    return np.asarray(array)


def _narrowed(ids: NDArray[Any]) -> NDArray[Any]:
    """Return ids as int64, or uint64 if they need it."""
    needs = ids.dtype.kind == "u" and ids.size and ids.max() > np.iinfo(np.int64).max
    return ids.astype(np.uint64 if needs else np.int64, copy=False)


def _coded(ids: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the different ids in ascending order, and the place of each id among them."""
    low, high = (int(ids.min()), int(ids.max())) if ids.size else (0, 0)
    if low < 0 or high > 4 * ids.size + _LOW_ID:
        found, places = np.unique(ids, return_inverse=True)
        return found, places.astype(np.int64, copy=False)
    there = np.zeros(high + 1, np.bool_)
    there[ids] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[ids]


def _joined(ids: list[NDArray[Any]], name: str) -> NDArray[Any]:
    """Put ids of several tables into one array; int64 and uint64 together would become floats."""
    if all(part.dtype == np.int64 for part in ids):
        return np.concatenate(ids)
    if any(part.dtype == np.int64 and part.size and part.min() < 0 for part in ids):
        raise InputError(
            f"Some ids of the {name} are negative and others over {np.iinfo(np.int64).max}; "
            "relabel them."
        )
    return np.concatenate([part.astype(np.uint64) for part in ids])


def _summed(places: NDArray[np.int64], counts: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Add counts up by place."""
    sums = np.zeros(size, np.int64)
    np.add.at(sums, places, counts)
    return sums
