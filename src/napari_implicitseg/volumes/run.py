"""One call of a job: stages over blocks, what is told of them, and the report."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from napari_implicitseg.volumes.blocks import block_name, size_of
from napari_implicitseg.volumes.label_steps import COARSEN, coarser_grids, publish_labels
from napari_implicitseg.volumes.report import (
    BatchReport,
    BlockEvent,
    BlockFailure,
    StageReport,
    versions,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from napari_implicitseg._types import Progress
    from napari_implicitseg.volumes.blocks import Box
    from napari_implicitseg.volumes.engine import Engine, Outcome
    from napari_implicitseg.volumes.jobs import Job, Place
    from napari_implicitseg.volumes.planning import Plan
    from napari_implicitseg.volumes.zarr_write import Multiscale

__all__ = ["Places", "Run"]


class Places(Protocol):
    """Blocks of a stage, and where they lie in the volume."""

    def __len__(self) -> int:
        """Return their number."""

    def __iter__(self) -> Iterator[Place]:
        """Yield them."""

    def core(self, place: Place) -> Box:
        """Return the voxels of one."""


@dataclass(slots=True)
class Run:
    """What one call has done so far.

    Attributes
    ----------
    plan : Plan
    engine : Engine
    progress, watch : callable, optional
        See `run_batch`.
    resumed : bool
    stages, failed, facts, figures, warnings
        Of the report.
    shares : mapping of str to float
        How much of the time each stage takes, by a guess; set before the first one.
    """

    plan: Plan
    engine: Engine
    progress: Progress | None
    watch: Callable[[BlockEvent], None] | None
    resumed: bool
    stages: list[StageReport] = field(default_factory=list)
    failed: list[BlockFailure] = field(default_factory=list)
    facts: dict[str, int] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    shares: Mapping[str, float] = field(default_factory=dict)
    behind: float = 0.0
    start: float = field(default_factory=time.perf_counter)

    def blocks(
        self, job: Job, stage: str, places: Places | None = None, *, said: str
    ) -> dict[str, dict[str, Any]]:
        """Do a stage of all blocks, and return their records by name.

        Blocks that fail are noted in `failed`; then their records are missing.

        Parameters
        ----------
        job : Job
        stage : str
        places : Places, optional
            By default those of the job.
        said : str
            What the stage does, for users.
        """
        places = job.grid if places is None else places
        start, share, count = time.perf_counter(), self._share(stage), max(1, len(places))
        records = job.ledger.all(stage, map(block_name, places))
        before = len(records)
        if self.watch is not None:
            for place in (p for p in places if block_name(p) in records):
                self._show(stage, places, place, "done before")
        begun, voxels = self.behind, 0
        todo = (p for p in places if block_name(p) not in records)
        for number, outcome in enumerate(self.engine.run(job, stage, todo), before + 1):
            self._note(stage, places, outcome, records)
            voxels += size_of(places.core(outcome.place))
            self.behind = begun + share * number / count
            rate = voxels / max(1e-9, time.perf_counter() - start) / 1e6
            self.tell(
                f"{said}: block {number} of {len(places)}, {rate:.2g} Mvoxel/s",
            )
        self.behind = begun + share
        self.stages.append(
            StageReport(
                name=stage,
                blocks=len(places),
                done_before=before,
                seconds=round(time.perf_counter() - start, 3),
                block_seconds=round(_sum(records.values(), "seconds"), 3),
                compute_seconds=round(_sum(records.values(), "compute"), 3),
                bytes=int(_sum(records.values(), "bytes")),
            )
        )
        return records

    def coarser(self, job: Job, made: Multiscale) -> None:
        """Write the coarser levels of a label image, and publish it."""
        for stage, grid in coarser_grids(made):
            if self.failed:
                return
            self.blocks(job, stage, grid, said="Coarser levels")
        if not self.failed:
            publish_labels(job, made)

    @contextmanager
    def once(self, name: str, said: str) -> Iterator[None]:
        """Time a step that is done in this process."""
        start = time.perf_counter()
        self.tell(said)
        yield
        self.behind += self._share(name)
        seconds = round(time.perf_counter() - start, 3)
        self.stages.append(StageReport(name=name, blocks=1, seconds=seconds))

    def tell(self, message: str) -> None:
        """Say how far the job has come."""
        if self.progress is not None:
            total = sum(self.shares.values()) or 1.0
            self.progress(min(1.0, self.behind / total), message)

    def report(self, output: Path) -> BatchReport:
        """Say what was done."""
        plan, job = self.plan, self.plan.job
        return BatchReport(
            job=job.config.job,
            target=str(plan.target),
            output=str(output),
            shape=job.grid.shape,
            block_shape=job.grid.block_shape,
            halo=job.grid.halo,
            blocks=len(job.grid),
            workers=self.engine.workers,
            resumed=self.resumed,
            seconds=round(time.perf_counter() - self.start, 3),
            stages=tuple(self.stages),
            failed=tuple(self.failed),
            warnings=tuple(self.warnings),
            facts=dict(self.facts),
            figures=dict(self.figures),
            config=asdict(job.config),
            versions=versions(),
        )

    def _share(self, stage: str) -> float:
        """Return the share of a stage; of coarser levels each half of the one before."""
        name, _, number = stage.partition(":")
        share = self.shares.get(name, 0.0)
        return share * 0.5 ** int(number) if name == COARSEN else share

    def _note(
        self, stage: str, places: Places, outcome: Outcome, records: dict[str, dict[str, Any]]
    ) -> None:
        """Take down what became of a block."""
        name = block_name(outcome.place)
        if outcome.record is not None:
            records[name] = outcome.record
            self._show(stage, places, outcome.place, "done")
            return
        core = places.core(outcome.place)
        where = {"start": [p.start for p in core], "stop": [p.stop for p in core]}
        self.failed.append(BlockFailure(stage=stage, block=name, error=outcome.error, **where))
        self._show(stage, places, outcome.place, "failed")

    def _show(self, stage: str, places: Places, place: Place, state: Any) -> None:
        """Tell whoever watches of a block."""
        if self.watch is not None:
            core = places.core(place)
            start, stop = tuple(p.start for p in core), tuple(p.stop for p in core)
            self.watch(BlockEvent(stage=stage, place=place, start=start, stop=stop, state=state))


def _sum(records: Iterable[dict[str, Any]], name: str) -> float:
    """Sum of a figure over records that have it."""
    return float(sum(record.get(name, 0) for record in records))
