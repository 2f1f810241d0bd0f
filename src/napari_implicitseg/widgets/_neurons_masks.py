"""A mask of a neuron as seeds, so that taking it back is a correction like others.

The seeds are few, as they are saved with the edits: what lies at a border between what the masks
say is one object and another. All else is enclosed by that, and so goes with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.hierarchy.proofreading import Proofreading

__all__ = ["agreement", "seeds_of_masks"]

_SPECK = 10
"""Voxels; what a mask leaves out in pieces smaller than this stays with the neuron."""

Voxels = list[tuple[int, ...]]


def seeds_of_masks(
    work: Proofreading,
    voxel: tuple[int, ...],
    masks: NDArray[Any],
    start: tuple[int, ...],
    axis: int,
) -> tuple[dict[int, Voxels], tuple[int, ...]]:
    """Return seeds by which a neuron becomes what masks say it is.

    What a mask leaves out of the neuron becomes an object, piece by piece; what it takes from
    others is taken from them. Sections without a mask stay as they are.

    Parameters
    ----------
    work : Proofreading
    voxel : tuple of int
        Of the neuron.
    masks : ndarray of int
        Of a box of the volume, 0 elsewhere; each id is one object.
    start : tuple of int
        Where the box begins.
    axis : int
        Of the sections.

    Returns
    -------
    seeds : dict of int to list of voxels
    voxel : tuple of int
        Of the mask that has most of the neuron, inside both.

    Raises
    ------
    InputError
        If there is no mask, or none on the neuron.
    """
    neuron = work.object_at(voxel)
    if not masks.any():
        raise InputError("There is no mask to take back. Accept one in the other panel first.")
    masks, start = _with_rim(masks, start, work.fragments.shape)
    fragments = work.fragments[_box(start, masks.shape)]
    objects = work.lookup[fragments]
    main = _main(masks, objects == neuron)
    wanted = _partition(masks, objects, neuron, main, axis)
    places, ids = _at_borders(wanted, fragments)
    seeds: dict[int, Voxels] = {}
    for place, number in zip((places + np.array(start)).tolist(), ids.tolist(), strict=True):
        seeds.setdefault(number, []).append(tuple(place))
    both = np.argwhere((masks == main) & (objects == neuron))[0]
    return seeds, tuple((both + np.array(start)).tolist())


def agreement(
    work: Proofreading,
    voxel: tuple[int, ...],
    masks: NDArray[Any],
    start: tuple[int, ...],
    axis: int,
) -> float:
    """Intersection over union of an object and its mask, in the sections of the latter."""
    own = work.lookup[work.fragments[_box(start, masks.shape)]] == work.object_at(voxel)
    inside = tuple(v - s for v, s in zip(voxel, start, strict=True))
    mask = masks == masks[inside]
    own &= _sections(mask, axis)
    return float((own & mask).sum() / max(1, (own | mask).sum()))


def _box(start: tuple[int, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the box of a volume that begins somewhere."""
    return tuple(slice(s, s + n) for s, n in zip(start, shape, strict=True))


def _with_rim(
    masks: NDArray[Any], start: tuple[int, ...], whole: tuple[int, ...]
) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Return masks with a voxel more on all sides that are inside the volume, and their start."""
    before = [min(1, s) for s in start]
    after = [min(1, n - s - m) for n, s, m in zip(whole, start, masks.shape, strict=True)]
    padded = np.pad(masks, [*zip(before, after, strict=True)])
    return padded, tuple(s - b for s, b in zip(start, before, strict=True))


def _main(masks: NDArray[Any], neuron: BoolArray) -> int:
    """Return the mask that has most of a neuron."""
    found, counts = np.unique(masks[neuron & (masks > 0)], return_counts=True)
    if not len(found):
        raise InputError(
            "No mask lies on the neuron that was handed over. Hand over the one it is meant for."
        )
    return int(found[counts.argmax()])


def _partition(
    masks: NDArray[Any], objects: NDArray[Any], neuron: int, main: int, axis: int
) -> NDArray[np.int64]:
    """Say which object each voxel of a box is to belong to; 0 where it may be any."""
    from scipy import ndimage

    found = masks.astype(np.int64)
    last = int(found.max())
    free = masks == 0
    has_mask = _sections(~free, axis)
    rest = free & (objects == neuron)
    found[rest & ~has_mask] = main
    # Corners count: a thin rim is one piece.
    pieces, _ = ndimage.label(rest & has_mask, np.ones((3,) * masks.ndim))
    sizes = np.bincount(pieces.reshape(-1))
    numbers = np.zeros(len(sizes), np.int64)
    large = np.flatnonzero(sizes[1:] >= _SPECK) + 1
    numbers[large] = last + 1 + np.arange(len(large))
    found[pieces > 0] = numbers[pieces[pieces > 0]]
    last += len(large)
    for number, other in enumerate(np.unique(objects[~free]).tolist(), start=last + 1):
        if other not in (0, neuron):
            found[free & (objects == other)] = number
    return found


def _sections(mask: BoolArray, axis: int) -> BoolArray:
    """Whether each section has a voxel of a mask; an image is one section."""
    others = tuple(a for a in range(mask.ndim) if a != axis or mask.ndim == 2)
    return np.asarray(mask.any(axis=others, keepdims=True))


def _at_borders(
    wanted: NDArray[np.int64], fragments: NDArray[Any]
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Voxels by which all of a box goes to the objects wanted, and these.

    Of fragments that a border cuts they are all voxels at it, on both sides; of others at a
    border, one.

    Returns
    -------
    places : ndarray of int, shape (M, ndim)
    ids : ndarray of int, shape (M,)
    """
    chosen, border = np.zeros(wanted.shape, bool), np.zeros(wanted.shape, bool)
    known = (wanted > 0) & (fragments > 0)
    for axis in range(wanted.ndim):
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(wanted.ndim))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(wanted.ndim))
        here = (wanted[low] != wanted[high]) & known[low] & known[high]
        same = here & (fragments[low] == fragments[high])
        for side in (low, high):
            border[side] |= here
            chosen[side] |= same
    _, first = np.unique(np.where(known, wanted, 0), return_index=True)
    border.reshape(-1)[first] = True  # What has no border needs a seed, too.
    border &= known
    at = np.flatnonzero(border)
    pairs = np.stack([fragments.reshape(-1)[at].astype(np.int64), wanted.reshape(-1)[at]])
    _, some = np.unique(pairs, axis=1, return_index=True)
    chosen.reshape(-1)[at[some]] = True
    return np.argwhere(chosen), wanted[chosen]
