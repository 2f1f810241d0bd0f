"""Volumes and blocks that the part batch works on, ours and daisy's in the same way.

`python benchmarks/batch_jobs.py METHOD KIND FOLDER BLOCKS` works on blocks with two processes and
prints the seconds as JSON. For daisy that is done by the Python that `PEERS_PYTHON` names, which
needs this package beside daisy.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.batch.jobs import Job, Needs, run_block

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Nothing", "Smooth", "affinity_volume", "grey_volume", "loop", "make_job", "seconds_of"]

WORKERS = 2
_SIDE, _MARGIN = 64, 8


class _Apart(Job):
    """A job that is only worked on, never planned."""

    def needs(self) -> Needs:
        """Nobody asks."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing(_Apart):
    """Does nothing with a block, and writes that down."""

    def work(self, stage: str, place: tuple[int, ...]) -> dict[str, Any]:
        """Return what a record holds."""
        return {"voxels": 1, "bytes": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Smooth(_Apart):
    """Reads a block with a margin, smooths it, and writes it."""

    def work(self, stage: str, place: tuple[int, ...]) -> dict[str, Any]:
        """Work on one core, for some hundredths of a second."""
        from scipy import ndimage

        from napari_implicitseg.batch.block_arrays import read_block, write_block
        from napari_implicitseg.batch.blocks import relative, size_of

        core, outer = self.grid.core(place), self.grid.outer(place)
        values = read_block(self.folder.parent / "source", outer).astype(np.float32)
        found = ndimage.gaussian_filter(values, 3)[relative(core, outer)]
        size = write_block(self.folder.parent / "result", core, found.astype(np.uint8))
        return {"voxels": size_of(core), "bytes": size}


def make_job(kind: str, folder: Path, blocks: int) -> Job:
    """Prepare so many blocks in a row; arrays are made if they are not there."""
    import zarr

    from napari_implicitseg import BatchConfig
    from napari_implicitseg.batch.blocks import BlockGrid

    shape, block = (_SIDE * blocks, _SIDE, _SIDE), (_SIDE,) * 3
    grid = BlockGrid(shape=shape, block_shape=block, halo=(_MARGIN,) * 3)
    if kind == "smooth" and not (folder / "source").exists():
        layout = {"chunks": (32,) * 3, "shards": block}
        values = np.random.default_rng(0).integers(0, 256, block, np.uint8)
        source = zarr.create_array(folder / "source", shape=shape, dtype=np.uint8, **layout)
        for number in range(blocks):
            source[number * _SIDE : (number + 1) * _SIDE] = values
        zarr.create_array(folder / "result", shape=shape, dtype=np.uint8, **layout)
    made = {"nothing": Nothing, "smooth": Smooth}[kind]
    return made(folder=folder / "job", config=BatchConfig(), grid=grid, labels=folder / "labels")


def by_ours(job: Job) -> float:
    """Seconds of all blocks, with the start of the processes."""
    from napari_implicitseg.batch.engine import DaskEngine, local_cluster

    start = time.perf_counter()
    with local_cluster([None] * WORKERS) as (client, threads):
        done = sum(
            o.record is not None for o in DaskEngine(client, 0, threads).run(job, "x", job.grid)
        )
        spent = time.perf_counter() - start
    _check(done, job)
    return spent


def by_daisy(job: Job) -> float:
    """Seconds of all blocks, with the start of the processes."""
    import os

    import daisy

    # It writes logs where it runs.
    os.chdir(job.folder.parent)

    def process(block: Any) -> None:
        run_block(job, "x", (block.write_roi.begin[0] // _SIDE, 0, 0))

    zeros, side = (0,) * 3, (_SIDE,) * 3
    task = daisy.Task(
        task_id="blocks",
        total_roi=daisy.Roi(zeros, job.grid.shape),
        read_roi=daisy.Roi(zeros, side),
        write_roi=daisy.Roi(zeros, side),
        process_function=process,
        read_write_conflict=False,
        max_workers=WORKERS,
    )
    start = time.perf_counter()
    daisy.run_blockwise(task, progress=False, summary=False, block_tracking=False, host="127.0.0.1")
    spent = time.perf_counter() - start
    _check(len(list((job.folder / "done" / "x").rglob("*.json"))), job)
    return spent


def _check(done: int, job: Job) -> None:
    """Refuse the seconds of less than all blocks."""
    if done != len(job.grid):
        raise RuntimeError(f"{done} of {len(job.grid)} blocks were done")


METHODS = {"this package": by_ours, "daisy": by_daisy}


def seconds_of(method: str, kind: str, folder: Path, blocks: int) -> dict[str, float]:
    """Work on blocks that nobody has worked on."""
    import shutil

    job = make_job(kind, folder, blocks)
    shutil.rmtree(job.folder, ignore_errors=True)
    return {"seconds": METHODS[method](job)}


def grey_volume(path: Path, shape: tuple[int, ...]) -> None:
    """Write grey levels, as plain zarr in chunks of 64."""
    import zarr

    sides = tuple(min(64, n) for n in shape)
    made = zarr.create_array(path, shape=shape, dtype=np.uint8, chunks=sides)
    made[:] = np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def affinity_volume(path: Path, side: int, times: int) -> None:
    """Write synthetic affinities as predict does: cubes, one behind the other along z."""
    import zarr

    from malis import OFFSETS, volume
    from napari_implicitseg.affinities.ops import Affinities
    from napari_implicitseg.volumes import Grid
    from napari_implicitseg.volumes.affinity_files import write_affinities

    values: NDArray[np.float32] = volume(side)[0]
    write_affinities(
        path, Affinities(data=values, offsets=OFFSETS, spacing=(1, 1, 1)), Grid.plain(3)
    )
    array = zarr.open_array(path / "0", mode="r+")
    first = array[:]
    array.resize((len(OFFSETS), side * times, side, side))
    for number in range(1, times):
        array[:, number * side : (number + 1) * side] = first


def loop(seed: int) -> float:
    """Compute without any file for about half a second; what a core is good for."""
    import torch

    torch.manual_seed(seed)
    x, weight = torch.rand(1, 8, 16, 48, 48), torch.rand(8, 8, 3, 3, 3)
    with torch.inference_mode():
        for _ in range(60):
            x = torch.nn.functional.conv3d(x, weight, padding=1) / 100
    return float(np.sort(np.random.default_rng(seed).random(1 << 20))[0] + x[0, 0, 0, 0, 0])


if __name__ == "__main__":
    # What processes share must not be of the module that was started.
    import batch_jobs

    method, kind, folder, blocks = sys.argv[1:]
    print(json.dumps(batch_jobs.seconds_of(method, kind, Path(folder), int(blocks))))
