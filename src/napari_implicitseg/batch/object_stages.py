"""Repairs of objects, and shapes from scribbles: what is done to one block, or to one task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_implicitseg.batch.block_arrays import (
    load_arrays,
    open_array,
    save_arrays,
    write_block,
)
from napari_implicitseg.batch.blocks import block_name, size_of
from napari_implicitseg.batch.jobs import Job
from napari_implicitseg.batch.label_steps import coarsen_block, is_coarser
from napari_implicitseg.batch.object_masks import load_masks, paint_masks, save_masks
from napari_implicitseg.batch.object_scenes import numbered, read_ids
from napari_implicitseg.batch.object_source import ObjectSource, open_objects
from napari_implicitseg.batch.object_tasks import TaskTable

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_implicitseg.batch.blocks import Box
    from napari_implicitseg.batch.jobs import Needs, Place
    from napari_implicitseg.batch.object_source import Opened

__all__ = ["ObjectJob", "scanned"]

_BACKGROUND = 1
_MOST_NOTED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectJob(Job):
    """Objects of a volume, each with a shape.

    Attributes
    ----------
    source : ObjectSource
    halo : tuple of int, optional
        Voxels seen around an object; by default as many as suit it.
    """

    source: ObjectSource
    halo: tuple[int, ...] | None = None

    def work(self, stage: str, place: Place) -> dict[str, Any]:
        """Do a stage of a block; of "fit:ROUND" a place is the number of a task."""
        if is_coarser(stage):
            return coarsen_block(self.labels, stage, place)
        if stage == "scan":
            return scan_block(self, place)
        if stage == "paint":
            return paint_block(self, place)
        return fit_objects(self, place[0])

    def needs(self) -> Needs:
        """Try a block, and say what all would need."""
        from napari_implicitseg.batch.object_needs import object_needs

        return object_needs(self)

    @property
    def opened(self) -> Opened:
        """The arrays that are read."""
        return open_objects(self.source)

    @property
    def read_from(self) -> str:
        """What to call the labels that are read."""
        return self.source.scribbles or self.source.path

    @property
    def background(self) -> int:
        """Label of background scribbles."""
        given = self.config.background
        return _BACKGROUND if given is None else given

    @property
    def options(self) -> dict[str, Any]:
        """What repairs and fits of scribbles are told alike."""
        config = self.config
        return {
            "shape": config.shape,
            "spacing": self.source.spacing,
            "seed": config.seed,
            "device": config.device,
            "config": config.fit,
        }

    @property
    def tasks(self) -> Path:
        """Folder of the table of tasks."""
        return self.folder / "tasks"

    def seen(self, place: Place) -> Path:
        """File of the objects in a block."""
        return self.folder / "objects" / f"{block_name(place)}.npz"

    def masks(self, task: int) -> Path:
        """File of the masks that a task has made."""
        return self.folder / "masks" / f"{task}.npz"


def scan_block(job: ObjectJob, place: Place) -> dict[str, Any]:
    """Find the objects in a block."""
    core = job.grid.core(place)
    ids, boxes, counts = scanned(job, core)
    size = save_arrays(job.seen(place), ids=ids, boxes=boxes, counts=counts)
    return {"voxels": size_of(core), "bytes": size, "objects": len(ids)}


def scanned(
    job: ObjectJob, core: Box
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the ids in a box (N,), where they lie (N, 2, D) and how many voxels each has."""
    values = read_ids(job.opened.labels, core, job.read_from)
    ids, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    first = 1 if len(ids) and ids[0] == 0 else 0
    # Labels without gaps, of which 0 is none.
    numbers = places.reshape(values.shape).astype(np.int32) + np.int32(1 - first)
    found = ndimage.find_objects(numbers)
    origin = np.array([part.start for part in core], np.int64)
    bounds = [([p.start for p in box], [p.stop for p in box]) for box in found]
    boxes = np.array(bounds, np.int64).reshape(-1, 2, len(core)) + origin
    return ids[first:].astype(np.uint64), boxes, counts[first:].astype(np.int64)


def fit_objects(job: ObjectJob, task: int) -> dict[str, Any]:
    """Fit the objects of a task."""
    from napari_implicitseg.batch.object_fits import fit_task

    table = TaskTable.open(job.tasks)
    found = fit_task(job, table, task)
    size = save_masks(job.masks(task), found.masks)
    notes = {kind: sorted(said)[:_MOST_NOTED] for kind, said in found.notes.items()}
    return {
        "voxels": size_of(table.window(task)),
        "bytes": size,
        "objects": len(table.own(task)),
        "holds": found.holds,
        "notes": notes,
        "counts": {kind: len(said) for kind, said in found.notes.items()},
    }


def paint_block(job: ObjectJob, place: Place) -> dict[str, Any]:
    """Write the objects of a block: fitted ones, and those that are left as they were."""
    core, table = job.grid.core(place), TaskTable.open(job.tasks)
    array = open_array(job.labels / "0", write=True)
    if job.source.scribbles is None:
        ids = load_arrays(job.seen(place))["ids"]
        at = np.searchsorted(table.ids, ids)
        kept = np.where(table.task[at] < 0, ids, 0)
        names = np.concatenate([np.zeros(1, np.uint64), kept]).astype(array.dtype)
        values = names[numbered(job.opened.labels, core, ids, job.read_from)]
    else:
        values = np.zeros([part.stop - part.start for part in core], array.dtype)
    files = [job.masks(task) for task in table.seen_in(job.grid.number(place))]
    paint_masks(values, core, load_masks(files, core), lambda mask: mask.id)
    size = write_block(job.labels / "0", core, values, array=array)
    return {"voxels": size_of(core), "bytes": size}
