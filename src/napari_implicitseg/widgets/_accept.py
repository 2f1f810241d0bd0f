"""Writing accepted objects into a results layer without losing anything.

A voxel may be written if it is free, or if it still holds what an earlier
accept wrote there. So what a person drew into the results layer or erased from
an object stays, objects accepted before give way to newer ones only where these
claim their voxels, and accepting an object again replaces its old mask.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._ledger import Ledger, contained
from napari_implicitseg.widgets._preview import insert_below

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from napari.components import ViewerModel
    from napari.layers import Image, Layer
    from numpy.typing import NDArray

    from napari_implicitseg.widgets._ledger import Voxels

__all__ = ["RESULTS", "Accepted", "results_layer", "write_objects"]

RESULTS = "napari_implicitseg:accepted"
"""Key of `layer.metadata` under which a results layer keeps its `Ledger`."""


def results_layer(viewer: ViewerModel, image: Image, scribbles: Labels, *, below: Layer) -> Labels:
    """Find the layer that accepted objects of an image go to; add it if there is none."""
    shape, level = scribbles.data.shape, _layers.level_matching(image, scribbles)
    for layer in viewer.layers:
        if (
            isinstance(layer, Labels)
            and RESULTS in layer.metadata
            and layer.metadata[RESULTS].belongs_to(layer)
            and layer.metadata[RESULTS].image == image.unique_id
            and layer.data.shape == shape
        ):
            _layers.align(layer, image, level)
            return layer
    ledger = Ledger(image.unique_id)
    layer = Labels(
        np.zeros(shape, np.uint32),
        name=f"{image.name} masks",
        opacity=0.35,  # A correction shows in the preview above it.
        metadata={RESULTS: ledger},
        **_layers.like(image, level),
    )
    ledger.watch(layer)
    insert_below(viewer, layer, below)
    return layer


@dataclass(frozen=True, slots=True)
class Accepted:
    """What writing objects came to.

    Attributes
    ----------
    ids : dict of int to int
        Id in the results layer of each object written.
    kept : int
        Voxels left as they were because a person drew or erased them.
    """

    ids: dict[int, int]
    kept: int

    def sentence(self, name: str) -> str:
        """Tell a user about it, given the name of the results layer."""
        count = len(self.ids)
        moved = [f"{old} became {new}" for old, new in self.ids.items() if old != new]
        return (
            f"Accepted {count} object{'s' * (count != 1)} into '{name}'."
            + (f" {self.kept} voxels you drew or erased there were kept." if self.kept else "")
            + (f" As their numbers were taken, {', '.join(moved)}." if moved else "")
            + " Paint on to correct them or to add more; Ctrl+Z in that layer takes them back."
        )


def write_objects(
    layer: Labels,
    coords: tuple[NDArray[np.intp], ...],
    labels: NDArray[np.integer[Any]],
    source: Hashable,
    covers: Sequence[tuple[slice, ...]],
) -> Accepted:
    """Write objects as one step of the layer's undo history.

    Parameters
    ----------
    layer : Labels
        The results layer; the ledger in `layer.metadata[RESULTS]` remembers what
        was written.
    coords : tuple of ndarray
        Array indices of the objects' voxels.
    labels : ndarray of integer
        Id of the object at each.
    source : hashable
        Where the objects come from: an id from the same source is the same object.
    covers : sequence of tuple of slice
        The parts of the array that were fitted: old masks are only replaced there.

    Returns
    -------
    Accepted
        An object keeps its id unless another one has it; then it gets the next
        free one.
    """
    data = np.asarray(layer.data)
    ledger: Ledger = layer.metadata[RESULTS]
    memory = ledger.voxels()
    ids = _choose_ids(layer, data, labels, source)
    flat = np.ravel_multi_index(coords, data.shape)
    wanted = np.zeros(labels.shape, np.int64)
    for label, result in ids.items():
        wanted[labels == label] = result
    current = data.reshape(-1)[flat].astype(np.int64)
    # A person has erased what was written once and is empty now.
    erased = (current == 0) & _written(flat, wanted, memory)
    free = ((current == 0) & ~erased) | _written(flat, current, memory)
    kept = int((~free & (current != wanted)).sum())
    old = _old_voxels(data, ids, memory, flat, covers)
    where = np.concatenate([flat[free], *old.values()])
    values = np.zeros(len(where), np.int64)
    values[: int(free.sum())] = wanted[free]
    wrote = {result: np.sort(flat[free & (wanted == result)]) for result in ids.values()}
    with ledger.step(layer, wrote, old):
        layer.data_setitem(np.unravel_index(where, data.shape), values.astype(layer.data.dtype))
    return Accepted(ids, kept)


def _choose_ids(
    layer: Labels, data: NDArray[Any], labels: NDArray[np.integer[Any]], source: Hashable
) -> dict[int, int]:
    """Give each object its id in the results layer."""
    known = layer.metadata[RESULTS].ids
    # bincount of a whole layer would be slow; the ids in use are few.
    used = set(np.unique(data[data != 0]).tolist()) | set(known.values())
    chosen: dict[int, int] = {}
    most = int(np.iinfo(layer.data.dtype).max)
    for label in np.unique(labels).tolist():
        if (source, label) not in known and label not in used and label <= most:
            known[source, label] = label
            used.add(label)
        chosen[label] = known.get((source, label), 0)
        if chosen[label] > most:  # The layer was converted to a narrower dtype.
            chosen[label] = 0
    for label in [label for label, result in chosen.items() if result == 0]:
        fresh = max(used) + 1
        if fresh > most:
            fresh = next(i for i in itertools.count(2) if i not in used)
        known[source, label] = chosen[label] = fresh
        used.add(fresh)
    return chosen


def _written(flat: NDArray[np.intp], ids: NDArray[np.int64], memory: Voxels) -> NDArray[np.bool_]:
    """Whether each voxel is one that an earlier accept gave the id named for it."""
    out = np.zeros(flat.shape, bool)
    for result in np.unique(ids).tolist():
        if result in memory:
            here = ids == result
            out[here] = contained(flat[here], memory[result])
    return out


def _old_voxels(
    data: NDArray[Any],
    ids: dict[int, int],
    memory: Voxels,
    flat: NDArray[np.intp],
    covers: Sequence[tuple[slice, ...]],
) -> Voxels:
    """Return voxels an earlier accept of the same objects wrote and the new masks leave."""
    old: Voxels = {}
    new = np.sort(flat)
    for result in ids.values():
        before = memory.get(result, np.empty(0, np.intp))
        still = before[data.reshape(-1)[before] == result]
        left = still[~contained(still, new)]
        old[result] = left[_covered(left, data.shape, covers)]
    return old


def _covered(
    flat: NDArray[np.intp], shape: tuple[int, ...], covers: Sequence[tuple[slice, ...]]
) -> NDArray[np.bool_]:
    """Whether each voxel lies in one of the boxes."""
    at = np.unravel_index(flat, shape)
    inside = np.zeros(flat.shape, bool)
    for cover in covers:
        here = np.ones(flat.shape, bool)
        for position, part, size in zip(at, cover, shape, strict=True):
            low, high, _ = part.indices(size)
            here &= (position >= low) & (position < high)
        inside |= here
    return inside
