"""A job over the blocks of a volume: its stages in their order, with what is in between."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_implicitseg.batch_config import BatchConfig
from napari_implicitseg.errors import InputError
from napari_implicitseg.volumes import between
from napari_implicitseg.volumes.blocks import BlockGrid, size_of
from napari_implicitseg.volumes.engine import open_engine
from napari_implicitseg.volumes.planning import begin, make_plan
from napari_implicitseg.volumes.report import BatchReport, BlockFailure, StageReport, versions

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from napari_implicitseg._types import Progress
    from napari_implicitseg.volumes.engine import Engine
    from napari_implicitseg.volumes.planning import Plan
    from napari_implicitseg.volumes.stages import BlockJob

__all__ = ["run_batch"]

_WEIGHTS = {"predict": 30.0, "fragments": 3.0, "contacts": 2.0, "relabel": 0.5, "coarsen": 0.1}
"""About how long a voxel takes in each stage, beside the others."""


def run_batch(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    config: BatchConfig,
    client: Any = None,
    progress: Progress | None = None,
) -> BatchReport:
    """Work through a volume of any size block by block, and go on where it was interrupted.

    What is done is recorded in the target after its data is safely on the disk: the same call
    again does the rest, and what comes out is the same to the byte as without interruption.

    Parameters
    ----------
    source : path or URL
        A volume (OME-Zarr, zarr, TIFF, HDF5); or affinities, the OME-Zarr that `predict` writes,
        for the job "segment".
    target : path
        ``NAME.zarr``. Affinities become its image; labels lie in ``labels/NAME`` as OME-Zarr with
        a pyramid.
    config : BatchConfig
    client : dask.distributed.Client, optional
        Whose workers are used; by default those that `config` says.
    progress : callable, optional
        Called as ``progress(fraction, message)`` after each block; may raise `Cancelled`.

    Returns
    -------
    BatchReport
        With the blocks that failed, if any did: then the rest of their stage is done, and the
        stages after it are not.

    Raises
    ------
    InputError
        If source, model and options do not fit; if the target was begun with others; or the
        scheduler is gone.
    FileError
        If something cannot be read or written.
    Cancelled
        If `progress` asked to stop.

    References
    ----------
    J. Funke et al., "Large scale image segmentation with structured loss based deep learning for
    connectome reconstruction", IEEE TPAMI 41 (2018), 1669-1680.
    """
    if not isinstance(config, BatchConfig):
        raise InputError(f"config is {config!r}; give a BatchConfig.")
    plan = make_plan(str(source), str(target), config)
    resumed = begin(plan)
    with open_engine(config, client) as engine:
        run = _Run(plan, engine, progress, resumed=resumed)
        return run.all()


@dataclass(slots=True)
class _Run:
    """One call: the stages that are done, and what is told of them."""

    plan: Plan
    engine: Engine
    progress: Progress | None
    resumed: bool
    stages: list[StageReport] = field(default_factory=list)
    failed: list[BlockFailure] = field(default_factory=list)
    facts: dict[str, int] = field(default_factory=dict)
    start: float = field(default_factory=time.perf_counter)
    behind: float = 0.0
    total: float = 1.0

    def all(self) -> BatchReport:
        """Do all stages, until blocks of one have failed."""
        job = replace(self.plan.job, threads=self.engine.threads)
        names = self._names(job)
        size = size_of(tuple(slice(0, n) for n in job.grid.shape))
        self.total = sum(_WEIGHTS[name] for name in names) * size
        if self.engine.dashboard:
            self._tell(0.0, f"{self.engine.workers} workers, dashboard {self.engine.dashboard}")
        if job.raw is not None:
            job = between.prepare_affinities(job, self.plan.voxels)
            self._blocks(job, "predict")
            if not self.failed:
                between.publish_affinities(job)
        if job.config.job == "segment" and not self.failed:
            self._segment(job)
        report = self._report()
        between.write_report(job, report.document())
        return report

    def _segment(self, job: BlockJob) -> None:
        """From affinities to labels."""
        job = between.choose_fragments(job)
        between.prepare_fragments(job)
        records = self._blocks(job, "fragments")
        if self.failed:
            return
        counts = [records[job.grid.name(place)]["fragments"] for place in job.grid]
        self.facts["fragments"] = sum(counts)
        between.number_fragments(job, counts)
        records = self._blocks(job, "contacts")
        if self.failed:
            return
        self.facts["edges"] = sum(record["edges"] for record in records.values())
        start = time.perf_counter()
        self._tell(self.behind / self.total, "Merging all blocks")
        self.facts["objects"] = between.merge_blocks(job)
        seconds = time.perf_counter() - start
        self.stages.append(StageReport(name="merge", blocks=1, seconds=round(seconds, 3)))
        made = between.prepare_labels(job, self.plan.voxels)
        self._blocks(job, "relabel")
        for level in range(1, len(made.arrays)):
            if self.failed:
                return
            shape, unit = made.arrays[level].shape, made.unit(level)
            grid = BlockGrid(shape=shape, block_shape=unit, halo=(0,) * len(shape))
            self._blocks(job, f"coarsen:{level}", grid)
        if not self.failed:
            between.publish_labels(job, made)

    def _names(self, job: BlockJob) -> list[str]:
        """Name the stages of the job."""
        names = [] if job.raw is None else ["predict"]
        if job.config.job == "segment":
            names += ["fragments", "contacts", "relabel", "coarsen"]
        return names

    def _blocks(
        self, job: BlockJob, stage: str, grid: BlockGrid | None = None
    ) -> dict[str, dict[str, Any]]:
        """Do a stage of all blocks; return their records."""
        grid = job.grid if grid is None else grid
        start, weight = time.perf_counter(), _WEIGHTS[stage.split(":", maxsplit=1)[0]]
        records = job.ledger.all(stage, map(grid.name, grid))
        before, todo = len(records), (p for p in grid if grid.name(p) not in records)
        self.behind += weight * sum(size_of(grid.core(p)) for p in grid if grid.name(p) in records)
        voxels = 0
        for count, outcome in enumerate(self.engine.run(job, stage, todo), 1):
            core = grid.core(outcome.place)
            if outcome.record is None:
                where = {"start": [p.start for p in core], "stop": [p.stop for p in core]}
                name = grid.name(outcome.place)
                self.failed.append(
                    BlockFailure(stage=stage, block=name, error=outcome.error, **where)
                )
            else:
                records[grid.name(outcome.place)] = outcome.record
            voxels += size_of(core)
            self.behind += weight * size_of(core)
            rate = voxels / max(1e-9, time.perf_counter() - start)
            self._tell(
                min(1.0, self.behind / self.total),
                f"{_SAID[stage.split(':', maxsplit=1)[0]]}: block {before + count} of {len(grid)}, "
                f"{rate / 1e6:.2g} million voxels/s",
            )
        self.stages.append(
            StageReport(
                name=stage,
                blocks=len(grid),
                done_before=before,
                seconds=round(time.perf_counter() - start, 3),
                block_seconds=round(_sum(records.values(), "seconds"), 3),
                compute_seconds=round(_sum(records.values(), "compute"), 3),
                bytes=int(_sum(records.values(), "bytes")),
            )
        )
        return records

    def _tell(self, fraction: float, message: str) -> None:
        if self.progress is not None:
            self.progress(fraction, message)

    def _report(self) -> BatchReport:
        """Say what was done."""
        plan, job = self.plan, self.plan.job
        is_labels = job.config.job == "segment"
        return BatchReport(
            job=job.config.job,
            target=str(plan.target),
            output=str(job.labels if is_labels else plan.target),
            shape=job.grid.shape,
            block_shape=job.grid.block_shape,
            halo=job.grid.halo,
            blocks=len(job.grid),
            workers=self.engine.workers,
            resumed=self.resumed,
            seconds=round(time.perf_counter() - self.start, 3),
            stages=tuple(self.stages),
            failed=tuple(self.failed),
            facts=dict(self.facts),
            config=asdict(job.config),
            versions=versions(),
        )


_SAID = {
    "predict": "Predicting",
    "fragments": "Cutting into fragments",
    "contacts": "Contacts of fragments",
    "relabel": "Writing objects",
    "coarsen": "Coarser levels",
}


def _sum(records: Iterable[dict[str, Any]], name: str) -> float:
    """Sum of a figure over records that have it."""
    return float(sum(record.get(name, 0) for record in records))
