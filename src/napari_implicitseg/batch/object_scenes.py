"""What a task sees of the volume: objects in small numbers, those done before in their new form."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_implicitseg.batch.block_arrays import load_arrays
from napari_implicitseg.batch.blocks import relative
from napari_implicitseg.batch.object_masks import load_masks, paint_masks
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg.batch.blocks import Box
    from napari_implicitseg.batch.object_masks import Mask
    from napari_implicitseg.batch.object_stages import ObjectJob
    from napari_implicitseg.batch.object_tasks import TaskTable

__all__ = ["Scene", "numbered", "read_ids", "see_labels", "see_strokes"]

_SLAB = 1 << 22
_PART = 0.2
"""Share of an object that a piece of it has at least, to be a part of it."""
_NO_IDS = np.empty(0, np.uint64)
_BESIDE = 2
"""Voxels from an object within which others are fitted with it."""


@dataclass(slots=True)
class Scene:
    """A window of the volume.

    Attributes
    ----------
    window : tuple of slice
    values : ndarray of uint32
        Numbers of the labels, 0 where there is none.
    names : ndarray of uint64
        Ids by number; that of 0 is 0. Numbers are in the order of ids.
    own : list of int
        Numbers of the objects the task is about.
    beside : list of int
        Numbers of objects that are still to be fitted, by later tasks.
    done : list of Mask
        Objects of earlier tasks.
    """

    window: Box
    values: NDArray[np.uint32]
    names: NDArray[np.uint64]
    own: list[int]
    beside: list[int]
    done: list[Mask]

    def number(self, identity: int) -> int:
        """Return the number of an id."""
        return int(np.searchsorted(self.names, np.uint64(identity)))

    @property
    def held(self) -> NDArray[np.uint32]:
        """Numbers of the objects done before, 0 elsewhere."""
        out = np.zeros(self.values.shape, np.uint32)
        self.paint_done(out)
        return out

    def paint_done(self, values: NDArray[np.uint32]) -> None:
        """Write the objects done before into labels of the window."""
        paint_masks(values, self.window, self.done, lambda mask: self.number(mask.id))

    @property
    def fixed(self) -> NDArray[np.uint32]:
        """Numbers of the objects done before."""
        return np.array(sorted({self.number(mask.id) for mask in self.done}), np.uint32)


def read_ids(labels: Any, box: Box, name: str) -> NDArray[Any]:
    """Read a window of labels.

    Raises
    ------
    InputError
        If there is a negative one.
    """
    values = np.asarray(labels[box])
    if values.dtype == bool:
        return values.astype(np.uint8)
    if values.dtype.kind == "i" and values.size and values.min() < 0:
        raise InputError(
            f"'{name}' holds the id {values.min()}; ids have to be positive, and 0 is background. "
            "Relabel it."
        )
    return values


def numbered(labels: Any, box: Box, ids: NDArray[np.uint64], name: str) -> NDArray[np.uint32]:
    """Read a window of labels as places in a list of all ids in it, from 1.

    Slab by slab: sorting a large window would take several times its memory.
    """
    sides = [part.stop - part.start for part in box]
    out = np.zeros(sides, np.uint32)
    rows = max(1, _SLAB // max(1, math.prod(sides[1:])))
    for z in range(0, sides[0], rows):
        part = slice(box[0].start + z, min(box[0].start + z + rows, box[0].stop))
        values = read_ids(labels, (part, *box[1:]), name).astype(np.uint64, copy=False)
        painted = values != 0
        out[z : z + rows][painted] = np.searchsorted(ids, values[painted]) + 1
    return out


def see_labels(job: ObjectJob, table: TaskTable, task: int) -> Scene:
    """Look at the labels that a task repairs."""
    scene, owners = _seen(job, table, task)
    if scene.done:
        # Objects done before are where they are now, and no longer where they were.
        moved = np.isin(owners, table.before(task))
        scene.values[np.concatenate([[False], moved])[scene.values]] = 0
        scene.paint_done(scene.values)
    there = np.bincount(scene.values.reshape(-1), minlength=len(scene.names)) > 0
    scene.own = [n for n in scene.own if there[n]]
    for n in _near(job, table, task, scene).intersection(scene.beside):
        _drop_specks(job, table, scene, n)
    near = _near(job, table, task, scene)
    scene.beside = [n for n in scene.beside if n in near]
    return scene


def see_strokes(job: ObjectJob, table: TaskTable, task: int) -> Scene:
    """Look at the scribbles that a task fits objects to; background has a number, too."""
    more = np.array([job.background], np.uint64)
    return _seen(job, table, task, more)[0]


def _seen(
    job: ObjectJob, table: TaskTable, task: int, more: NDArray[np.uint64] = _NO_IDS
) -> tuple[Scene, NDArray[np.int64]]:
    """Look at a window; also the task of each number from 1, -1 of what is not fitted."""
    window = table.window(task)
    files = [job.masks(other) for other in table.before(task)]
    done = list(load_masks(files, window))
    places = (place for place, _ in job.grid.touched(window))
    there = [load_arrays(job.seen(place))["ids"] for place in places]
    ids = np.unique(np.concatenate([*there, np.array([m.id for m in done], np.uint64), more]))
    own = table.ids[table.own(task)]
    values = numbered(job.opened.labels, window, ids, job.read_from)
    owners = np.full(len(ids), -1, np.int64)
    at = np.searchsorted(table.ids, ids)
    known = at < len(table.ids)
    known[known] = table.ids[at[known]] == ids[known]
    owners[known] = table.task[at[known]]
    later = (owners >= 0) & (owners != task) & ~np.isin(owners, table.before(task))
    scene = Scene(
        window=window,
        values=values,
        names=np.concatenate([np.zeros(1, np.uint64), ids]),
        own=(np.searchsorted(ids, own) + 1).tolist(),
        beside=(np.flatnonzero(later) + 1).tolist(),
        done=done,
    )
    return scene, owners


def _drop_specks(job: ObjectJob, table: TaskTable, scene: Scene, number: int) -> None:
    """Leave out small pieces of an object whose main part lies outside of the window.

    Taken for the whole of it, a speck and a tip would be joined straight through the window.
    """
    known = int(np.searchsorted(table.ids, scene.names[number]))
    window = np.array([(part.start, part.stop) for part in scene.window]).T
    low = np.maximum(table.boxes[known, 0], window[0])
    high = np.minimum(table.boxes[known, 1], window[1])
    if (low == table.boxes[known, 0]).all() and (high == table.boxes[known, 1]).all():
        return
    crop = scene.values[tuple(map(slice, low - window[0], high - window[0]))]
    pieces, _ = ndimage.label(crop == number, np.ones((3,) * crop.ndim))
    kept = np.bincount(pieces.reshape(-1)) >= _PART * table.counts[known]
    for axis, size in enumerate(job.grid.shape):
        # Beyond such a side it goes on.
        if low[axis] == window[0, axis] > 0:
            kept[pieces.take(0, axis=axis)] = True
        if high[axis] == window[1, axis] < size:
            kept[pieces.take(-1, axis=axis)] = True
    kept[0] = True
    crop[~kept[pieces]] = 0


def _near(job: ObjectJob, table: TaskTable, task: int, scene: Scene) -> set[int]:
    """Find what lies close to the objects of a task."""
    found: set[int] = set()
    margin = (_BESIDE,) * len(scene.window)
    for bounds in table.boxes[table.own(task)]:
        box = tuple(slice(a, b) for a, b in zip(*bounds.tolist(), strict=True))
        around = job.grid.grown(box, margin, margin)
        found.update(np.unique(scene.values[relative(around, scene.window)]).tolist())
    return found
