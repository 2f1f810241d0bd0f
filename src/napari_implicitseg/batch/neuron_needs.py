"""What predicting and segmenting would need, by the example of one block."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.affinities.ops import Affinities
from napari_implicitseg.batch.blocks import size_of
from napari_implicitseg.batch.jobs import Needs
from napari_implicitseg.batch.predicting import measured, predicted, scaled, window_bytes
from napari_implicitseg.batch.raw_source import open_raw
from napari_implicitseg.hierarchy.fragments import make_fragments

if TYPE_CHECKING:
    from napari_implicitseg.batch.jobs import Place
    from napari_implicitseg.batch.neuron_stages import NeuronJob

__all__ = ["neuron_needs"]

_FRAGMENT_BYTES = 60
"""Per voxel of a block and its halo, beside the affinities, as measured on fib25."""
_REST = 1.7
"""All stages after the affinities, over making fragments alone."""
_EDGES, _EDGE_BYTES = 6, 350
"""Of a fragment, and what an edge takes while all are merged."""
_LABEL_BYTES = 0.6
"""Per voxel on the disk, of labels with their pyramid and of fragments, compressed."""
_KEPT = 0.7
"""Of affinities, by compression."""


def neuron_needs(job: NeuronJob) -> Needs:
    """Try the block in the middle of a volume; nothing is written."""
    grid, config = job.grid, job.config
    place = tuple(n // 2 for n in grid.counts)
    segments = config.job == "segment"
    spent, count = _tried(job, place, segments)
    share = size_of(grid.core(place)) / math.prod(grid.shape)
    voxels, fragments = math.prod(grid.shape), count / share
    disk = voxels * _LABEL_BYTES * segments
    if job.raw is not None:
        size = np.dtype(config.dtype).itemsize
        disk += voxels * len(job.affinities.offsets) * size * _KEPT
    return Needs(
        worker_bytes=_worker_bytes(job, place, segments),
        merge_bytes=int(fragments * _EDGES * _EDGE_BYTES) if segments else 0,
        disk_bytes=int(disk),
        block_seconds=spent,
        share=share,
    )


def _tried(job: NeuronJob, place: Place, segments: bool) -> tuple[float, int]:
    """Do a block without writing it: seconds, and how many fragments it has."""
    core, outer = job.grid.core(place), job.grid.outer(place)
    spent = 0.0
    if job.raw is not None:
        size = open_raw(job.raw)[1]
        job = scaled(job, measured(job))
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


def _worker_bytes(job: NeuronJob, place: Place, segments: bool) -> int:
    """Memory of a worker at its largest."""
    outer, edges = size_of(job.grid.outer(place)), len(job.affinities.offsets)
    needed = outer * (edges * 5 + _FRAGMENT_BYTES) if segments else 0
    return max(needed, 0 if job.raw is None else window_bytes(job, place))
