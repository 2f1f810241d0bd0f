"""Counting pairs of ids voxel by voxel, compiled: the inner part of a contingency table."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PairCounter", "sorted_entries"]

# Voxels converted to 64 bits at one time: they stay in the processor's cache.
_BUFFER = 1 << 14
_FIRST_SLOTS = 1 << 12


class PairCounter:
    """A hash table from pairs of ids to voxels, which grows as pairs turn up.

    Parameters
    ----------
    label_type, truth_type : dtype
        Any integers, or bool.
    ignore : int, optional
        Label of the truth that is left out.

    Attributes
    ----------
    ignored : int
        Voxels left out so far.

    Raises
    ------
    InputError
        If `ignore` is no integer.
    """

    def __init__(self, label_type: np.dtype[Any], truth_type: np.dtype[Any], ignore: Any) -> None:
        self.ignored = 0
        self._types = (label_type, truth_type)
        # An id, the other and the voxels they share; 0 voxels where it is free.
        self._slots = np.zeros((_FIRST_SLOTS, 3), np.uint64)
        self._used = 0
        self._drops, self._dropped = _as_bits(ignore, truth_type)

    def add(self, labels: NDArray[Any], truth: NDArray[Any]) -> None:
        """Count the voxels of two arrays of one shape."""
        # NumPy's types do not know of "contig".
        flags: Any = [["readonly", "contig", "aligned", "nbo"]] * 2
        # It converts any type, byte order and strides, a buffer at a time.
        chunks = np.nditer(
            [labels, truth],
            flags=["external_loop", "buffered", "zerosize_ok"],
            op_flags=flags,
            op_dtypes=[np.dtype(np.uint64)] * 2,
            casting="unsafe",
            buffersize=_BUFFER,
        )
        for a, b in chunks:
            self._slots, self._used, ignored = _count(
                a, b, self._drops, self._dropped, self._slots, self._used
            )
            self.ignored += ignored

    def entries(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
        """Return the ids of both sides and the voxels of each pair, in no order."""
        filled = self._slots[self._slots[:, 2] > 0]
        labels, truth = (
            # Negative ids went in as their two's complement.
            filled[:, side].astype(np.int64 if kind.kind == "i" else np.uint64)
            for side, kind in enumerate(self._types)
        )
        return labels, truth, filled[:, 2].astype(np.int64)


def _as_bits(ignore: Any, kind: np.dtype[Any]) -> tuple[bool, np.uint64]:
    """Whether any label of a type can be ignored, and which, as it looks in 64 bits."""
    if ignore is None:
        return False, np.uint64(0)
    try:
        label = operator.index(ignore)
    except TypeError as error:
        raise InputError(
            f"ignore is {ignore!r}; give a label of the truth, or None to leave out nothing."
        ) from error
    low, high = (-(2**63), 2**63) if kind.kind == "i" else (0, 2**64)
    return low <= label < high, np.uint64(label % 2**64)


@numba.njit(cache=True, nogil=True)
def _find(slots, a, b):  # type: ignore[no-untyped-def]
    """Place of a pair in the table, or the free place for it."""
    mask = np.uint64(slots.shape[0] - 1)
    mixed = (a * np.uint64(0x9E3779B97F4A7C15) + b) * np.uint64(0xD6E8FEB86659FD93)
    i = (mixed ^ (mixed >> np.uint64(32))) & mask
    while slots[i, 2] > 0 and (slots[i, 0] != a or slots[i, 1] != b):
        i = (i + np.uint64(1)) & mask
    return i


@numba.njit(cache=True, nogil=True)
def _doubled(slots):  # type: ignore[no-untyped-def]
    """Return the same table with twice the places."""
    more = np.zeros((2 * slots.shape[0], 3), np.uint64)
    for i in range(slots.shape[0]):
        if slots[i, 2] > 0:
            j = _find(more, slots[i, 0], slots[i, 1])
            for k in range(3):
                more[j, k] = slots[i, k]
    return more


@numba.njit(cache=True, nogil=True)
def _count(labels, truth, drops, dropped, slots, used):  # type: ignore[no-untyped-def]
    """Add the pairs of two rows of voxels to the table; runs of one pair are looked up once."""
    ignored = 0
    start = 0
    while start < labels.size:
        a, b = labels[start], truth[start]
        stop = start + 1
        while stop < labels.size and labels[stop] == a and truth[stop] == b:
            stop += 1
        if drops and b == dropped:
            ignored += stop - start
        else:
            i = _find(slots, a, b)
            if slots[i, 2] == 0:
                slots[i, 0], slots[i, 1] = a, b
                used += 1
            slots[i, 2] += np.uint64(stop - start)
            if 2 * used > slots.shape[0]:
                slots = _doubled(slots)
        start = stop
    return slots, used, ignored


@numba.njit(cache=True, nogil=True)
def _by_row(rows, columns, counts, row_number):  # type: ignore[no-untyped-def]
    """Return where each row ends, and the columns and counts row after row."""
    ends = np.zeros(row_number + 1, np.int64)
    for e in range(rows.size):
        ends[rows[e]] += 1
    total = 0
    for r in range(row_number + 1):
        ends[r], total = total, total + ends[r]
    placed = np.empty((rows.size, 2), np.int64)
    for e in range(rows.size):
        i = ends[rows[e]]
        placed[i, 0], placed[i, 1] = columns[e], counts[e]
        ends[rows[e]] = i + 1
    return ends, placed


@numba.njit(cache=True, nogil=True)
def _sort_columns(row):  # type: ignore[no-untyped-def]
    """Sort a row of columns and counts by column."""
    if row.shape[0] > 32:
        row[:] = row[np.argsort(row[:, 0])]
        return
    for i in range(1, row.shape[0]):
        column, count = row[i, 0], row[i, 1]
        j = i
        while j > 0 and row[j - 1, 0] > column:
            row[j, 0], row[j, 1] = row[j - 1, 0], row[j - 1, 1]
            j -= 1
        row[j, 0], row[j, 1] = column, count


@numba.njit(cache=True, nogil=True)
def sorted_entries(rows, columns, counts, row_number, column_number):  # type: ignore[no-untyped-def]
    """Sort the entries of a table by row and column, and add up those of the same two.

    Parameters
    ----------
    rows, columns, counts : ndarray of int64, shape (N,)
    row_number, column_number : int
        Rows and columns there are.

    Returns
    -------
    rows, columns, counts : ndarray of int64, shape (E,)
    """
    ends, placed = _by_row(rows, columns, counts, row_number)
    row_of = np.empty(rows.size, np.int64)
    # Where the entry of a column lies, valid if that is in this row.
    spots = np.full(column_number, -1)
    found = 0
    for r in range(row_number):
        first = found
        for i in range(ends[r - 1] if r else 0, ends[r]):
            spot = spots[placed[i, 0]]
            if spot >= first:
                placed[spot, 1] += placed[i, 1]
            else:
                spots[placed[i, 0]] = found
                # There are never more entries found than looked at.
                placed[found, 0], placed[found, 1] = placed[i, 0], placed[i, 1]
                row_of[found] = r
                found += 1
        _sort_columns(placed[first:found])
    return row_of[:found].copy(), placed[:found, 0].copy(), placed[:found, 1].copy()
