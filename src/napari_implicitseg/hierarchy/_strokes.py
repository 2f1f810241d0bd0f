"""Scribbles and seeds as users give them, as voxels in objects."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy._regions import checked_voxel
from napari_implicitseg.hierarchy.edits import shared_voxel
from napari_implicitseg.hierarchy.seeded import LARGEST_ID, checked_seeds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import LabelArray

__all__ = ["checked_strokes"]

_Voxels = tuple[tuple[int, ...], ...]


def checked_strokes(
    strokes: Any, fragments: LabelArray, lookup: NDArray[np.uint32], what: str
) -> tuple[_Voxels, ...]:
    """Return the voxels of each stroke that belong to objects, without strokes that have none.

    Parameters
    ----------
    strokes : ndarray of int, shape S, or mapping of int to voxels, or sequence of voxels
        Ids and 0 elsewhere; or the voxels of each.
    fragments : ndarray of uint32, shape S
    lookup : ndarray of uint32, shape (N + 1,)
        Object of each fragment, 0 for none.
    what : str
        Name of several of them, for messages: "scribbles" or "seeds".

    Raises
    ------
    InputError
        If they have another shape than the volume, are no whole numbers, or all 0; if an id is out
        of range, or a voxel is in two of them or outside the volume.
    """
    shape = fragments.shape
    if isinstance(strokes, Mapping):
        for name in strokes:
            _check_id(name, what)
        lists = [_voxels(voxels, shape, what) for _, voxels in sorted(strokes.items())]
    elif isinstance(strokes, np.ndarray) or what == "seeds":
        return _painted(strokes, fragments, lookup, what)
    else:
        lists = [_voxels(voxels, shape, what) for voxels in strokes]
    if both := shared_voxel(lists):
        raise InputError(f"Voxel {both} is in two {what}; leave it out of one.")
    inside = (tuple(v for v in voxels if lookup[fragments[v]]) for voxels in lists)
    return tuple(voxels for voxels in inside if voxels)


def _painted(
    strokes: Any, fragments: LabelArray, lookup: NDArray[np.uint32], what: str
) -> tuple[_Voxels, ...]:
    """Voxels of each id of an array that belong to objects, by id."""
    places, ids = checked_seeds(strokes, fragments.shape, what)
    inside = lookup[fragments.reshape(-1)[places]] > 0
    places, ids = places[inside], ids[inside]
    order = np.argsort(ids, kind="stable")
    index = np.stack(np.unravel_index(places[order], fragments.shape), axis=1)
    starts = np.flatnonzero(np.diff(ids[order], prepend=0))
    parts = np.split(index, starts)[1:]
    return tuple(tuple(map(tuple, part.tolist())) for part in parts)


def _voxels(voxels: Any, shape: tuple[int, ...], what: str) -> _Voxels:
    """Return the voxels of one stroke, none of them twice."""
    if not isinstance(voxels, Iterable):
        raise InputError(f"Among the {what} is {voxels!r}; give the voxels of each, as indices.")
    return tuple(dict.fromkeys(checked_voxel(voxel, shape) for voxel in voxels))


def _check_id(name: Any, what: str) -> None:
    """Refuse what is no id."""
    try:
        fits = not isinstance(name, bool) and 0 < operator.index(name) <= LARGEST_ID
    except TypeError:
        fits = False
    if not fits:
        raise InputError(f"Among the {what} is the id {name!r}; use ids from 1 to 2**32 - 1.")
