"""From options to a job that tells the classes of a volume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_implicitseg.batch.fingerprint import digest_of
from napari_implicitseg.batch.planning import RECORDS, Plan, block_grid, checked_target
from napari_implicitseg.batch.predicting import tile_of
from napari_implicitseg.batch.raw_source import open_raw, raw_source
from napari_implicitseg.batch.semantic_stages import SemanticJob

if TYPE_CHECKING:
    from napari_implicitseg.batch.config import BatchConfig

__all__ = ["plan_semantics"]


def plan_semantics(source: str, target: str, config: BatchConfig) -> Plan:
    """Look at source and target, and plan a job; nothing is written.

    Raises
    ------
    InputError, FileError, OutputExistsError
        If source, model and target do not fit together.
    """
    place = checked_target(source, target)
    raw, voxels = raw_source(source, config)
    data = open_raw(raw)[0]
    grid = block_grid(raw.shape, config)
    job = SemanticJob(
        folder=place / RECORDS / config.job_name,
        config=config,
        grid=grid,
        labels=place / "labels" / str(config.name),
        raw=raw,
        tile=tile_of(grid.block_shape),
    )
    about = {
        "config": config.matters(),
        "source": {**digest_of(source, data), "model": raw.model_digest},
        "blocks": {"shape": list(grid.block_shape)},
    }
    return Plan(job=job, target=place, voxels=voxels, about=about, makes=(job.labels,), late={})
