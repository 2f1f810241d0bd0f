"""What a job over blocks would need: memory, disk, and time by the example of one block."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.affinities.ops import Affinities
from napari_implicitseg.hierarchy.fragments import make_fragments
from napari_implicitseg.volumes.block_source import open_raw
from napari_implicitseg.volumes.blocks import size_of
from napari_implicitseg.volumes.engine import usual_workers
from napari_implicitseg.volumes.planning import make_plan
from napari_implicitseg.volumes.stages import predicted

if TYPE_CHECKING:
    from napari_implicitseg.batch_config import BatchConfig
    from napari_implicitseg.volumes.stages import BlockJob, Place

__all__ = ["Estimate", "estimate"]

_PROCESS = 400 << 20
"""Bytes of a worker that does nothing, with torch and numba."""
_FRAGMENT_BYTES = 60
"""Per voxel of a block and its halo, beside the affinities, as measured on fib25."""
_REST = 1.7
"""All stages after the affinities, over making fragments alone."""
_EDGES, _EDGE_BYTES = 6, 300
"""Of a fragment, and what an edge takes while all are merged."""
_LABEL_BYTES = 0.6
"""Per voxel on the disk, of labels with their pyramid and of fragments, compressed."""
_KEPT = 0.7
"""Of affinities, by compression."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a job would need.

    Attributes
    ----------
    shape, block_shape, halo : tuple of int
    blocks, workers : int
    worker_bytes, merge_bytes, disk_bytes : int
        Memory of a worker and of the one step that sees all fragments; on the disk.
    block_seconds, seconds : float
        Of a block in all stages, and of all blocks with these workers.
    """

    shape: tuple[int, ...]
    block_shape: tuple[int, ...]
    halo: tuple[int, ...]
    blocks: int
    workers: int
    worker_bytes: int
    merge_bytes: int
    disk_bytes: int
    block_seconds: float
    seconds: float

    def document(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return asdict(self)


def estimate(source: str, target: str, config: BatchConfig) -> Estimate:
    """Try the middle block of a job, and say what all would need; nothing is written.

    Raises
    ------
    InputError, FileError
        As `run_batch` does before it begins.
    """
    plan = make_plan(source, target, config)
    job, grid = plan.job, plan.job.grid
    place = tuple(n // 2 for n in grid.counts)
    segments = config.job == "segment"
    spent, count = _tried(job, place, segments)
    share = size_of(grid.core(place)) / math.prod(grid.shape)
    workers = usual_workers() if config.workers is None else max(1, config.workers)
    voxels, fragments = math.prod(grid.shape), count / share
    disk = voxels * _LABEL_BYTES * segments
    if job.raw is not None:
        size = np.dtype(config.dtype).itemsize
        disk += voxels * len(job.affinities.offsets) * size * _KEPT
    return Estimate(
        shape=grid.shape,
        block_shape=grid.block_shape,
        halo=grid.halo,
        blocks=len(grid),
        workers=workers,
        worker_bytes=_worker_bytes(job, place, segments),
        merge_bytes=int(fragments * _EDGES * _EDGE_BYTES) if segments else 0,
        disk_bytes=int(disk),
        block_seconds=round(spent, 3),
        seconds=round(spent / share / min(workers, len(grid)), 3),
    )


def _tried(job: BlockJob, place: Place, segments: bool) -> tuple[float, int]:
    """Do a block without writing it: seconds, and how many fragments it has."""
    core, outer = job.grid.core(place), job.grid.outer(place)
    spent = 0.0
    if job.raw is not None:
        raw, size, model = open_raw(job.raw)
        job = replace(job, scaling=model.normalisation.scaling(raw, f"volume '{job.raw.path}'"))
        start = time.perf_counter()
        data = predicted(job, place)
        spent = time.perf_counter() - start
        known = Affinities(data=data, offsets=job.affinities.offsets, spacing=size)
    else:
        known = job.affinities.read(core)
    if not segments:
        return spent, 0
    method = "distance" if job.config.fragments == "auto" else job.config.fragments
    # Once before, so that compiling does not count.
    make_fragments(known, method=method)
    start = time.perf_counter()
    found = make_fragments(known, method=method)
    spent += _REST * (time.perf_counter() - start) * size_of(outer) / size_of(core)
    return spent, int(found.max(initial=0))


def _worker_bytes(job: BlockJob, place: Place, segments: bool) -> int:
    """Memory of a worker at its largest."""
    outer, edges = size_of(job.grid.outer(place)), len(job.affinities.offsets)
    needed = outer * (edges * 5 + _FRAGMENT_BYTES) if segments else 0
    if job.raw is not None and job.tile is not None:
        config = open_raw(job.raw)[2].network.config
        lead = len(job.grid.shape) - config.ndim
        window = math.prod(
            side + 2 * halo
            for side, halo in zip(job.tile, (*(0,) * lead, *config.halo), strict=True)
        )
        block = size_of(job.grid.core(place)) * edges * 5
        needed = max(needed, int(window * 4 * config.features_held) + block)
    return _PROCESS + needed
