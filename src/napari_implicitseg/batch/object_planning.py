"""From options to a job that repairs the objects of a volume, or fits them to scribbles."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from napari_implicitseg.batch.fingerprint import digest_of
from napari_implicitseg.batch.label_steps import COARSEN, ONCE
from napari_implicitseg.batch.object_source import object_source, open_objects
from napari_implicitseg.batch.object_stages import ObjectJob
from napari_implicitseg.batch.planning import (
    RECORDS,
    Plan,
    block_grid,
    checked_target,
    per_axis,
)
from napari_implicitseg.config import FitConfig
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from napari_implicitseg.batch.config import BatchConfig

__all__ = ["plan_objects"]

_AFTER_TASKS = ("fit", f"{ONCE}/labels", "paint", COARSEN)
_AFTER_SCAN = (f"{ONCE}/tasks", *_AFTER_TASKS)
_FITS = ("shape", "seed", "evidence", "coupling", *(f"fit.{f.name}" for f in fields(FitConfig)))
_LATE = {
    **{f"config.{name}": _AFTER_TASKS for name in _FITS},
    **{f"config.{name}": _AFTER_SCAN for name in ("ids", "most_voxels")},
}
"""Options that objects need not be searched for anew for, and what depends on them."""


def plan_objects(source: str, target: str, config: BatchConfig) -> Plan:
    """Look at source and target, and plan a job; nothing is written.

    Raises
    ------
    InputError, FileError, OutputExistsError
        If source, scribbles and target do not fit together.
    """
    place = checked_target(source, target)
    read, voxels = object_source(source, config)
    ndim = len(read.shape)
    if config.fit.per_slice and ndim != 3:
        raise InputError(
            f"per_slice takes stacks slice by slice, but '{source}' has shape {read.shape}. Give a "
            "3D volume, or leave per_slice off."
        )
    if config.background == 0 and config.job == "scribble":
        raise InputError("background is 0; it is the id of a stroke, so 1 or more.")
    grid = block_grid(read.shape, config)
    halo = None if config.halo is None else per_axis("halo", config.halo, ndim)
    job = ObjectJob(
        folder=place / RECORDS / config.job_name,
        config=config,
        grid=grid,
        labels=place / "labels" / str(config.name),
        source=read,
        halo=halo,
    )
    opened = open_objects(read)
    if read.scribbles is None:
        about: dict[str, Any] = {"source": digest_of(source, opened.labels)}
    else:
        about = {
            "source": digest_of(source, opened.image),
            "scribbles": digest_of(read.scribbles, opened.labels),
        }
    matters = {
        "config": config.matters(),
        **about,
        "blocks": {"shape": list(grid.block_shape), "halo": None if halo is None else list(halo)},
    }
    return Plan(
        job=job, target=place, voxels=voxels, about=matters, makes=(job.labels,), late=_LATE
    )
