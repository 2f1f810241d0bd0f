"""One call of a job: stages over blocks, what is told of them, and the report."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from napari_implicitseg.batch.blocks import block_name, size_of
from napari_implicitseg.batch.label_steps import COARSEN, coarser_grids, publish_labels
from napari_implicitseg.batch.report import (
    BatchReport,
    BlockEvent,
    BlockFailure,
    StageReport,
    versions,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from napari_implicitseg._types import Progress
    from napari_implicitseg.batch.blocks import Box
    from napari_implicitseg.batch.engine import Engine, Outcome
    from napari_implicitseg.batch.jobs import Job, Place
    from napari_implicitseg.batch.planning import Plan
    from napari_implicitseg.volumes.zarr_write import Multiscale

__all__ = ["Places", "Run"]

_SUMMED = ("voxels", "seconds", "compute", "bytes")
"""Of the records of blocks."""


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
        """Do a stage of all blocks, and return what their records say of the stage, by name.

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
        totals = _Totals(blocks=len(places), done_before=len(records))
        for record in records.values():
            totals.add(record)
        if self.watch is not None:
            for place in (p for p in places if block_name(p) in records):
                self._show(stage, places, place, "done before")
        begun, voxels = self.behind, 0
        todo = (p for p in places if block_name(p) not in records)
        for number, outcome in enumerate(self.engine.run(job, stage, todo), len(records) + 1):
            self._note(stage, places, outcome)
            if outcome.record is not None:
                totals.add(outcome.record)
                records[block_name(outcome.place)] = outcome.record
            voxels += size_of(places.core(outcome.place))
            self.behind = begun + share * number / count
            rate = voxels / max(1e-9, time.perf_counter() - start) / 1e6
            self.tell(f"{said}: block {number} of {len(places)}, {rate:.2g} Mvoxel/s")
        self.behind = begun + share
        self.stages.append(totals.report(stage, time.perf_counter() - start))
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

    def _note(self, stage: str, places: Places, outcome: Outcome) -> None:
        """Take down what became of a block."""
        done = outcome.record is not None
        self._show(stage, places, outcome.place, "done" if done else "failed")
        if done:
            return
        core, name = places.core(outcome.place), block_name(outcome.place)
        where = {"start": [p.start for p in core], "stop": [p.stop for p in core]}
        self.failed.append(BlockFailure(stage=stage, block=name, error=outcome.error, **where))

    def _show(self, stage: str, places: Places, place: Place, state: Any) -> None:
        """Tell whoever watches of a block."""
        if self.watch is not None:
            core = places.core(place)
            start, stop = tuple(p.start for p in core), tuple(p.stop for p in core)
            self.watch(BlockEvent(stage=stage, place=place, start=start, stop=stop, state=state))


@dataclass(slots=True)
class _Totals:
    """What the blocks of a stage sum up to."""

    blocks: int
    done_before: int
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(_SUMMED, 0.0))

    def add(self, record: dict[str, Any]) -> None:
        """Add what a block says, and take it out of its record: a million of them are much."""
        for name in _SUMMED:
            self.sums[name] += record.pop(name, 0)

    def report(self, stage: str, seconds: float) -> StageReport:
        """Return it, with the time the stage took."""
        return StageReport(
            name=stage,
            blocks=self.blocks,
            done_before=self.done_before,
            seconds=round(seconds, 3),
            block_seconds=round(self.sums["seconds"], 3),
            compute_seconds=round(self.sums["compute"], 3),
            bytes=int(self.sums["bytes"]),
        )
