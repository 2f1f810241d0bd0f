"""What a job over blocks would need: memory, disk, and time by the example of one block."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from napari_implicitseg.batch.engine import worker_devices
from napari_implicitseg.batch.pipeline import make_plan

if TYPE_CHECKING:
    from napari_implicitseg.batch.config import BatchConfig

__all__ = ["Estimate", "estimate"]

_PROCESS = 400 << 20
"""Bytes of a worker that does nothing, with torch and numba."""


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
    warnings : tuple of str
        What does not fit well.
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
    warnings: tuple[str, ...] = ()

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
    job = plan.job
    needs = job.needs()
    workers = 1 if config.workers == 0 else len(worker_devices(config))
    return Estimate(
        shape=job.grid.shape,
        block_shape=job.grid.block_shape,
        halo=job.grid.halo,
        blocks=len(job.grid),
        workers=workers,
        worker_bytes=_PROCESS + needs.worker_bytes,
        merge_bytes=needs.merge_bytes,
        disk_bytes=needs.disk_bytes,
        block_seconds=round(needs.block_seconds, 3),
        seconds=round(needs.block_seconds / needs.share / min(workers, len(job.grid)), 3),
        warnings=plan.warnings,
    )
