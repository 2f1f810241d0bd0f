"""What repairing objects, or fitting them to scribbles, would need."""

from __future__ import annotations

import heapq
import math
import time
from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.batch.blocks import size_of
from napari_implicitseg.batch.jobs import Needs
from napari_implicitseg.batch.object_scenes import numbered
from napari_implicitseg.batch.object_stages import scanned
from napari_implicitseg.batch.object_steps import windows_of
from napari_implicitseg.batch.object_tasks import box_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg.batch.blocks import Box
    from napari_implicitseg.batch.jobs import Place
    from napari_implicitseg.batch.object_stages import ObjectJob

__all__ = ["object_needs"]

_VOXEL_BYTES = {"convex": 72}
_MORE_BYTES = 100
"""Of a window, as measured with one object that fills it, by shape and of the others."""
_OBJECT_BYTES = 400
"""While all objects are sorted into tasks."""
_LABEL_BYTES = 0.6
"""Per voxel on the disk, of labels with their pyramid, and of masks."""
_SCANS = 3
"""Times a block is read and written, over finding its objects."""
_LONG = 5.0
_TRIED = 64
"""Blocks that are looked at in search of one that holds objects."""


def object_needs(job: ObjectJob) -> Needs:
    """Look at a block near the middle that holds objects, and fit one of them.

    How large objects are that lie in many blocks is not known before all are scanned, so the memory
    is a bound: a window of `most_voxels`, or the whole volume if that is smaller. The time is
    that of the block, as if each object took as long as the one of median size in it that was
    tried, alone: where objects touch it takes up to three times as long. Nothing is written.
    """
    grid, tried = job.grid, 0
    start = time.perf_counter()
    for place in _from_middle(job):
        tried += size_of(grid.core(place))
        ids, boxes, _ = _objects(job, grid.core(place))
        if len(ids):
            break
    spent = _SCANS * (time.perf_counter() - start)
    if len(ids):
        own = (boxes[:, 0] > [p.start for p in grid.core(place)]).all(axis=1)
        spent += max(1, int(own.sum())) * _fitted(job, ids, boxes)
    volume = math.prod(grid.shape)
    share = tried / volume
    return Needs(
        worker_bytes=_voxel_bytes(job) * min(volume, job.config.most_voxels),
        merge_bytes=int(_OBJECT_BYTES * len(ids) / share),
        disk_bytes=int(_LABEL_BYTES * volume),
        block_seconds=spent,
        share=share,
    )


def _voxel_bytes(job: ObjectJob) -> int:
    """Return what a voxel of a window takes."""
    found = _VOXEL_BYTES.get(job.config.shape, _MORE_BYTES)
    if job.source.scribbles is None:
        return found
    image, axis = job.opened.image, job.opened.channel_axis
    channels = 1 if axis is None else int(image.shape[axis])
    return found + channels * int(np.dtype(image.dtype).itemsize)


def _from_middle(job: ObjectJob) -> list[Place]:
    """Return the blocks nearest to the middle of the volume, the nearest first."""
    middle = [(n - 1) / 2 for n in job.grid.counts]
    return heapq.nsmallest(_TRIED, job.grid, key=lambda place: math.dist(place, middle))


def _objects(
    job: ObjectJob, box: Box
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the objects in a box, without background; see `scanned`."""
    ids, boxes, counts = scanned(job, box)
    if job.source.scribbles is None:
        return ids, boxes, counts
    objects = ids != np.uint64(job.background)
    return ids[objects], boxes[objects], counts[objects]


def _fitted(job: ObjectJob, ids: NDArray[np.uint64], boxes: NDArray[np.int64]) -> float:
    """Fit the object of median size of a block, as far as it is known; the seconds."""
    from napari_implicitseg.fit_jobs import fit_scribbles, project_labels

    config = job.config
    windows = windows_of(job, boxes)
    sizes = np.prod((windows[:, 1] - windows[:, 0]).astype(float), axis=1)
    chosen = int(np.argsort(sizes, kind="stable")[len(sizes) // 2])
    if sizes[chosen] > config.most_voxels:
        return 0.0
    window = box_of(windows[chosen])
    there = scanned(job, window)[0]
    values = numbered(job.opened.labels, window, there, job.read_from)
    spent = 0.0
    # Once before, so that compiling does not count; unless it takes long anyway.
    for _ in range(2):
        start = time.perf_counter()
        if job.source.scribbles is None:
            own = int(np.searchsorted(there, ids[chosen])) + 1
            project_labels(values, ids=[own], **job.options)
        else:
            background = int(np.searchsorted(there, np.uint64(job.background))) + 1
            strange = background > len(there) or int(there[background - 1]) != job.background
            fit_scribbles(
                job.opened.read_image(window),
                values,
                evidence=config.evidence,
                coupling=config.coupling,
                background=len(there) + 1 if strange else background,
                channel_axis=job.opened.channel_axis,
                **job.options,
            )
        spent = time.perf_counter() - start
        if spent > _LONG:
            break
    return spent
