"""What a job over blocks says in the end."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BatchReport", "BlockEvent", "BlockFailure", "StageReport", "versions"]

_PACKAGES = ("napari-implicitseg", "dask", "distributed", "numpy", "torch", "zarr")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockEvent:
    """What has become of a block, for whoever watches a job.

    Attributes
    ----------
    stage : str
    place : tuple of int
        In the grid of the stage.
    start, stop : tuple of int
        Its voxels; of coarser levels ("coarsen:LEVEL") those of the level.
    state : {"done before", "done", "failed"}
    """

    stage: str
    place: tuple[int, ...]
    start: tuple[int, ...]
    stop: tuple[int, ...]
    state: Literal["done before", "done", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFailure:
    """A block that could not be done.

    Attributes
    ----------
    stage, block : str
    start, stop : list of int
        Its voxels in the volume.
    error : str
    """

    stage: str
    block: str
    start: list[int]
    stop: list[int]
    error: str

    def __str__(self) -> str:
        """Say where and why."""
        where = ", ".join(f"{a}:{b}" for a, b in zip(self.start, self.stop, strict=True))
        return f"block {self.block} [{where}], {self.stage}: {self.error}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageReport:
    """A stage of a job.

    Attributes
    ----------
    name : str
    blocks, done_before : int
        Blocks there are, and those that an earlier run had done.
    seconds : float
        It took in this run.
    block_seconds, compute_seconds : float
        All blocks took together, and what of it was the bare network, of stages that say so.
    bytes : int
        Written, of all blocks.
    """

    name: str
    blocks: int
    done_before: int = 0
    seconds: float = 0.0
    block_seconds: float = 0.0
    compute_seconds: float = 0.0
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchReport:
    """What `run_batch` has done.

    Attributes
    ----------
    job, target, output : str
        The result is `output`.
    shape, block_shape, halo : tuple of int
    blocks, workers : int
    resumed : bool
        Whether an earlier run had begun the job.
    seconds : float
    stages : tuple of StageReport
    failed : tuple of BlockFailure
        Blocks that could not be done; empty if all is well.
    warnings : tuple of str
        What the user should know.
    facts : mapping of str to int
        Such as `fragments`, `edges`, `objects`.
    figures : mapping of str to float
        Of "evaluate": see `evaluate`.
    config, versions : mapping
    """

    job: str
    target: str
    output: str
    shape: tuple[int, ...]
    block_shape: tuple[int, ...]
    halo: tuple[int, ...]
    blocks: int
    workers: int
    resumed: bool
    seconds: float
    stages: tuple[StageReport, ...] = ()
    failed: tuple[BlockFailure, ...] = ()
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether all blocks are done."""
        return not self.failed

    def document(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        return {**asdict(self), "ok": self.ok}


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
