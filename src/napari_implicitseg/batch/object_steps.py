"""Repairs of objects, and shapes from scribbles: what is done once, between the stages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.batch.block_arrays import load_arrays
from napari_implicitseg.batch.label_steps import ONCE
from napari_implicitseg.batch.object_tasks import make_tasks
from napari_implicitseg.errors import InputError
from napari_implicitseg.ids import MAX_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from napari_implicitseg.batch.object_stages import ObjectJob

__all__ = ["gathered", "merge_scans", "prepare_tasks", "windows_of"]

_SHARE, _LEAST = 0.25, 8
"""Of what is seen around an object that is repaired: share of its extent, and voxels."""
_STROKES_SHARES, _STROKES_LEAST = (1.0, 0.5, 0.0), 32
"""Of what is seen around strokes: shares of their longest extent, of which the first is taken that
memory allows, and voxels of the finest axis."""
_MOST_LISTED = 8


def prepare_tasks(job: ObjectJob) -> dict[str, Any]:
    """Sort the objects that were found into tasks; what was recorded of it.

    Raises
    ------
    InputError
        If an object that was asked for is not there.
    """
    done = job.ledger.get(ONCE, "tasks")
    if done is not None:
        return done
    ids, boxes, counts = merge_scans(load_arrays(job.seen(place)) for place in job.grid)
    if job.source.scribbles is not None:
        objects = ids != np.uint64(job.background)
        ids, boxes, counts = ids[objects], boxes[objects], counts[objects]
        if not len(ids):
            raise InputError(
                f"The scribbles '{job.read_from}' hold no stroke of an object (labels other than "
                f"{job.background}, which is background). Paint one on each object, with a label "
                "of its own."
            )
    chosen = _chosen(job, ids)
    windows = windows_of(job, boxes)
    sizes = np.prod((windows[:, 1] - windows[:, 0]).astype(float), axis=1)
    large = chosen & (sizes > job.config.most_voxels)
    most = job.config.most_voxels
    table = make_tasks(ids, boxes, counts, windows, chosen & ~large, job.grid, most_voxels=most)
    table.save(job.tasks)
    largest = np.flatnonzero(large)[np.argsort(-sizes[large], kind="stable")]
    done = {
        "objects": int(chosen.sum()),
        "left": int(large.sum()),
        "largest": [[int(ids[k]), int(sizes[k])] for k in largest[:_MOST_LISTED]],
        "tasks": len(table.windows),
        "rounds": int(table.rounds.max(initial=-1)) + 1,
        "dtype": "uint32" if int(ids.max(initial=0)) <= MAX_ID else "uint64",
    }
    job.ledger.record(ONCE, "tasks", done)
    return done


def merge_scans(
    scans: Iterable[Mapping[str, NDArray[Any]]],
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
    """Put together what blocks have seen of objects: ids, ascending, boxes and voxels."""
    parts = [(one["ids"], one["boxes"], one["counts"]) for one in scans]
    ids, boxes, counts = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(ids, kind="stable")
    found, starts = np.unique(ids[order], return_index=True)
    if not len(found):
        return found, boxes, counts
    low = np.minimum.reduceat(boxes[order, 0], starts, axis=0)
    high = np.maximum.reduceat(boxes[order, 1], starts, axis=0)
    return found, np.stack([low, high], axis=1), np.add.reduceat(counts[order], starts)


def _chosen(job: ObjectJob, ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Mark the objects that are fitted.

    Raises
    ------
    InputError
        If one is not there.
    """
    wanted = job.config.ids
    if wanted is None or job.source.scribbles is not None:
        return np.ones(len(ids), bool)
    asked = np.array(sorted(set(wanted)), np.uint64)
    missing = asked[~np.isin(asked, ids)]
    if len(missing):
        listed = ", ".join(map(str, missing[:_MOST_LISTED].tolist()))
        span = f", {ids[0]} to {ids[-1]}" if len(ids) else ""
        raise InputError(
            f"There is no object {listed} in '{job.read_from}', which holds {len(ids)} objects"
            f"{span}. Give ids that are there, or none for all (--ids)."
        )
    return np.isin(ids, asked)


def windows_of(job: ObjectJob, boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what is seen around each object, (N, 2, D): its box and a margin.

    An object of 100 voxels is seen with 25 around it to be repaired: a fit looks 15 % of its
    extent beyond it. What strokes stand for is larger than they, in all directions: around them
    the longest of their extents is seen along each axis, but at least 32 voxels of the finest one.
    Of long strokes less is seen across them, if it would be more than `most_voxels`.
    """
    extents = boxes[:, 1] - boxes[:, 0]
    if job.halo is not None:
        return _grown(job, boxes, np.broadcast_to(np.asarray(job.halo), extents.shape))
    if job.source.scribbles is None:
        return _grown(job, boxes, np.maximum(np.ceil(_SHARE * extents), _LEAST))
    spacing = np.asarray(job.source.spacing)
    longest = (extents * spacing).max(axis=1, initial=0)[:, None]
    out = _grown(job, boxes, np.zeros_like(extents))
    open_ = np.ones(len(boxes), bool)
    for share in _STROKES_SHARES:
        least = np.maximum(_STROKES_LEAST * spacing.min(), share * longest)
        seen = _grown(job, boxes, np.ceil(least / spacing))
        out[open_] = seen[open_]
        open_ &= np.prod((seen[:, 1] - seen[:, 0]).astype(float), axis=1) > job.config.most_voxels
    return out


def _grown(job: ObjectJob, boxes: NDArray[np.int64], margin: NDArray[Any]) -> NDArray[np.int64]:
    """Return boxes with margins (N, D), as far as the volume goes."""
    low = np.maximum(boxes[:, 0] - margin, 0)
    high = np.minimum(boxes[:, 1] + margin, np.asarray(job.grid.shape))
    return np.stack([low, high], axis=1).astype(np.int64)


def gathered(records: Iterable[Mapping[str, Any]]) -> dict[str, tuple[int, list[Any]]]:
    """Count what tasks had to say, by kind, with some of it."""
    out: dict[str, tuple[int, list[Any]]] = {}
    for record in records:
        for kind, said in record["notes"].items():
            count, some = out.get(kind, (0, []))
            some = some if kind == "said" else some[:_MOST_LISTED]
            out[kind] = (count + int(record["counts"][kind]), [*some, *said])
    return out
