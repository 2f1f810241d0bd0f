"""From options to a job that compares labels with the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_implicitseg._block_tables import check_volumes
from napari_implicitseg.batch.comparison_stages import ComparisonJob, open_labels
from napari_implicitseg.batch.fingerprint import digest_of
from napari_implicitseg.batch.planning import RECORDS, Plan, block_grid, checked_target
from napari_implicitseg.errors import InputError
from napari_implicitseg.volumes.volume import unit_name

if TYPE_CHECKING:
    from napari_implicitseg.batch.config import BatchConfig
    from napari_implicitseg.volumes.volume import Grid

__all__ = ["plan_comparisons"]


def plan_comparisons(source: str, target: str, config: BatchConfig) -> Plan:
    """Look at labels and truth, and plan a job; nothing is written.

    Raises
    ------
    InputError, FileError, OutputExistsError
        If labels, truth, target and options do not fit together.
    """
    place = checked_target(source, target, suffix=".json")
    truth = str(config.truth)
    segments = open_labels(source, config.level, config.time)
    objects = open_labels(truth, config.level, config.time, name="truth")
    if segments.shape != objects.shape:
        raise InputError(
            f"The labels '{source}' have shape {segments.shape} but the truth '{truth}' has "
            f"{objects.shape}; compare volumes of the same voxels."
        )
    check_volumes(segments.data, objects.data)
    grid = objects.grid()
    if config.spacing is not None:
        grid = grid.with_spacing(config.spacing, config.unit)
    job = ComparisonJob(
        folder=place.parent / f".{place.name}{RECORDS}",
        config=config,
        grid=block_grid(tuple(segments.shape), config),
        labels=place,
        source=source,
        truth=truth,
        spacing=_sizes(grid, config),
    )
    about = {
        "config": config.matters(),
        "source": digest_of(source, segments.data),
        "truth": digest_of(truth, objects.data),
        "blocks": {"shape": list(job.grid.block_shape)},
    }
    return Plan(job=job, target=place, voxels=grid, about=about, makes=(place,), late={})


def _sizes(grid: Grid, config: BatchConfig) -> tuple[float, ...] | None:
    """Return voxel sizes in the unit of the border."""
    if config.border is None:
        return None
    if config.spacing is not None or config.unit is None:
        return grid.spacing or grid.scale
    sizes = grid.spacing_in(unit_name(config.unit))
    if sizes is None:
        raise InputError(
            f"border is in {config.unit!r}, but '{config.truth}' does not say the size of a voxel "
            "in a unit of length; give it (--spacing Z,Y,X)."
        )
    return sizes
