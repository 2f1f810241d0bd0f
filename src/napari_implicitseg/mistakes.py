"""The objects that cost most: what was split or merged, and by how many bits.

>>> from napari_implicitseg.metrics import contingency
>>> table = contingency([1, 1, 2, 2, 3, 3], [7, 7, 7, 7, 8, 8])
>>> worst = worst_splits(table)[0]
>>> worst.id, worst.parts, worst.voxels, round(worst.bits, 3)
(7, (1, 2), (2, 2), 0.667)
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._contingency import Contingency

__all__ = ["Mistake", "MistakeKind", "worst_merges", "worst_splits"]

MistakeKind: TypeAlias = Literal["split", "merge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """An object of the truth that was cut, or a segment that joins several.

    Attributes
    ----------
    kind : {"split", "merge"}
    id : int
        The object of the truth that was split, or the segment that merges.
    parts : tuple of int
        Ids of the segments it was split into, or of the objects of the truth it joins, from the
        largest part down.
    voxels : tuple of int
        Voxels of each part.
    bits : float
        What it adds to the VOI split or merge, in bits.
    """

    kind: MistakeKind
    id: int
    parts: tuple[int, ...]
    voxels: tuple[int, ...]
    bits: float


def worst_splits(table: Contingency, number: int = 10) -> tuple[Mistake, ...]:
    """Objects of the truth that were cut into pieces, those that cost most first.

    Over all objects the bits add up to `voi(table).split`.

    Parameters
    ----------
    table : Contingency
    number : int
        How many at most.

    Returns
    -------
    tuple of Mistake
        Each of some cost; of equal cost the smaller id first.

    Raises
    ------
    InputError
        If the number is negative or not whole.
    """
    truth = _Side(table.truth_ids, table.truth_sizes, table.columns)
    return _worst("split", truth, table.label_ids[table.rows], table.counts, number)


def worst_merges(table: Contingency, number: int = 10) -> tuple[Mistake, ...]:
    """Segments that join several objects of the truth, those that cost most first.

    Over all segments the bits add up to `voi(table).merge`. Label 0 is a segment like any other,
    as it is in the VOI.

    Parameters
    ----------
    table : Contingency
    number : int
        How many at most.

    Returns
    -------
    tuple of Mistake
        Each of some cost; of equal cost the smaller id first.

    Raises
    ------
    InputError
        If the number is negative or not whole.
    """
    labels = _Side(table.label_ids, table.label_sizes, table.rows)
    return _worst("merge", labels, table.truth_ids[table.columns], table.counts, number)


class _Side(NamedTuple):
    """One side of a table: ids and voxels of its objects, and the object of each entry."""

    ids: NDArray[Any]
    sizes: NDArray[np.int64]
    places: NDArray[np.int64]


def _worst(
    kind: MistakeKind,
    side: _Side,
    others: NDArray[Any],
    counts: NDArray[np.int64],
    number: int,
) -> tuple[Mistake, ...]:
    """List the objects of one side that cost most, with their parts on the other."""
    most = _checked_number(number)
    # The quotients are 1, and the cost exactly 0, where an object is in one piece.
    costs = counts * np.log2(side.sizes[side.places] / counts)
    bits = np.bincount(side.places, costs, len(side.ids)) / max(1, int(counts.sum()))
    ranked = np.argsort(-bits, kind="stable")[:most]
    # Entries object by object, the largest first.
    order = np.lexsort((-counts, side.places))
    starts = np.searchsorted(side.places[order], np.arange(len(side.ids) + 1))
    found = []
    for place in ranked[bits[ranked] > 0]:
        own = order[starts[place] : starts[place + 1]]
        found.append(
            Mistake(
                kind=kind,
                id=int(side.ids[place]),
                parts=tuple(others[own].tolist()),
                voxels=tuple(counts[own].tolist()),
                bits=float(bits[place]),
            )
        )
    return tuple(found)


def _checked_number(number: Any) -> int:
    """Return how many mistakes to list."""
    try:
        most = operator.index(number)
    except TypeError as error:
        raise InputError(f"number is {number!r}; give a whole number such as 10.") from error
    if most < 0:
        raise InputError(f"number is {most}; give how many mistakes to list, from 0.")
    return most
