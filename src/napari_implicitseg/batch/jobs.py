"""What all jobs over blocks have in common: what a process has to know, and records of blocks."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - jobs are pickled
from typing import TYPE_CHECKING, Any

from napari_implicitseg.batch.blocks import BlockGrid, block_name
from napari_implicitseg.batch.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_implicitseg.batch.config import BatchConfig

__all__ = ["Job", "Needs", "Place", "run_block", "torch_threads"]

Place = tuple[int, ...]
"""Of a block in the grid of its stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a job would need, by the example of one block.

    Attributes
    ----------
    worker_bytes, merge_bytes, disk_bytes : int
        Memory of a worker beside its libraries, and of the one step that sees all blocks; on the
        disk.
    block_seconds : float
        Of the block tried, in all stages.
    share : float
        Of the volume that it is.
    """

    worker_bytes: int
    merge_bytes: int
    disk_bytes: int
    block_seconds: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(ABC):
    """All that a process has to know to work on a block.

    Attributes
    ----------
    folder : Path
        Records and intermediate results.
    config : BatchConfig
    grid : BlockGrid
    labels : Path
        Group of the label image that is made, if one is.
    threads : int, optional
        Of torch, for each process.
    """

    folder: Path
    config: BatchConfig
    grid: BlockGrid
    labels: Path
    threads: int | None = None

    @property
    def ledger(self) -> Ledger:
        """The records."""
        return Ledger(self.folder)

    @abstractmethod
    def work(self, stage: str, place: Place) -> dict[str, Any]:
        """Do a stage of a block; return what is to be recorded, with `voxels` and `bytes`.

        What follows a colon in the name of the stage is for the job. Its results are on the disk
        when this returns; done twice, it gives the same.
        """

    @abstractmethod
    def needs(self) -> Needs:
        """Try a block in the middle, and say what all would need; nothing is written."""


def run_block(job: Job, stage: str, place: Place) -> dict[str, Any]:
    """Do a stage of a block and record it, unless it is done; return the record.

    The record is written here, so that what is done counts even if whoever asked has gone.
    """
    name, ledger = block_name(place), job.ledger
    done = ledger.get(stage, name)
    if done is not None:
        return done
    start = time.perf_counter()
    record = job.work(stage, place)
    record["seconds"] = round(time.perf_counter() - start, 4)
    ledger.record(stage, name, record)
    return record


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch use so many threads for a while."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
