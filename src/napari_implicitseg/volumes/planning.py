"""From options to a job: source, blocks, halo and what the results look like."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_implicitseg.errors import FileError, InputError, OutputExistsError
from napari_implicitseg.models.volume_checks import in_stack
from napari_implicitseg.volumes.block_source import (
    AffinityStore,
    RawSource,
    affinity_store,
    digest_of,
    open_raw,
    raw_source,
)
from napari_implicitseg.volumes.blocks import BlockGrid
from napari_implicitseg.volumes.ledger import Ledger
from napari_implicitseg.volumes.stages import BlockJob
from napari_implicitseg.volumes.stores import is_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_implicitseg.batch_config import BatchConfig
    from napari_implicitseg.volumes.volume import Grid

__all__ = ["RECORDS", "Plan", "begin", "make_plan"]

RECORDS = ".implicitseg"
"""Folder in the target in which jobs keep their records and intermediate results."""
HALO = 32
"""Voxels of the finest axis. On FIB-25, cut into 27 blocks, the segmentations of blocks and of the
whole differed by a VOI of 0.011, 0.0045 and 0.0020 bits with 16, 24 and 32."""
_AFTER_MERGING = ("once/merged", "once/labels", "relabel", "coarsen")
_LATE = {"config.threshold": _AFTER_MERGING, "config.quantile": _AFTER_MERGING}
"""Options that are asked for last, and what depends on them."""
_BLOCK = {2: 1024, 3: 128}
_TILE = {2: 1024**2, 3: 128**3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A job that could begin.

    Attributes
    ----------
    job : BlockJob
    target : Path
    voxels : Grid
        Voxel size, position and units of the results.
    about : dict
        What the result depends on.
    """

    job: BlockJob
    target: Path
    voxels: Grid
    about: dict[str, Any]


def make_plan(source: str, target: str, config: BatchConfig) -> Plan:
    """Look at source and target, and plan a job; nothing is written.

    Raises
    ------
    InputError, FileError, OutputExistsError
        If source, model and target do not fit together.
    """
    place = _checked_target(source, target)
    given = None if is_url(source) else affinity_store(Path(source))
    if given is not None and config.job == "predict":
        raise InputError(
            f"'{source}' holds affinities already. Segment them (--job segment), or give the "
            "volume they are of."
        )
    raw: RawSource | None = None
    if given is None:
        if config.model is None:
            raise InputError(
                f"'{source}' holds no affinities, which are what predict writes to .zarr. Of a "
                "volume, give the network, too: --model fibsem-isotropic."
            )
        raw, voxels = raw_source(source, config)
        data, size, model = open_raw(raw)
        offsets = in_stack(model.offsets, len(raw.shape))
        given = AffinityStore(path=place, offsets=offsets, spacing=size, shape=raw.shape)
        about = digest_of(source, data)
        about["model"] = raw.model_digest
    else:
        from napari_implicitseg.volumes.affinity_files import read_grid
        from napari_implicitseg.volumes.block_arrays import open_array

        voxels = read_grid(given.path)
        if config.spacing is not None:
            voxels = voxels.with_spacing(config.spacing, config.unit)
        about = digest_of(source, open_array(given.path / "0"))
    grid = _grid(given, config)
    job = BlockJob(
        folder=place / RECORDS / config.job_name,
        config=config,
        grid=grid,
        affinities=given,
        labels=place / "labels" / config.name,
        raw=raw,
        tile=_tile(grid.block_shape) if raw is not None else None,
    )
    matters = {
        "config": config.matters(),
        "source": about,
        "blocks": {"shape": list(grid.block_shape), "halo": list(grid.halo)},
    }
    return Plan(job=job, target=place, voxels=voxels, about=matters)


def begin(plan: Plan) -> bool:
    """Begin a job in its target, or go on with it; whether it was there before.

    Raises
    ------
    InputError
        If it was begun with something else.
    OutputExistsError
        If there is a result that is not of this job.
    """
    job = plan.job
    ledger = Ledger(job.folder)
    # A restart, too, replaces nothing but what this job has made.
    if not job.folder.is_dir():
        for path in _results(plan):
            if path.exists():
                raise OutputExistsError(
                    f"'{path}' already exists and is not of this job. Write to another target, or "
                    "give the labels another name (--name)."
                )
    return ledger.begin(plan.about, restart=job.config.restart, late=_LATE)


def _results(plan: Plan) -> list[Path]:
    """Return what a job makes in its target."""
    found = []
    if plan.job.raw is not None:
        found += [plan.target / "0", plan.target / "zarr.json"]
    if plan.job.config.job == "segment":
        found.append(plan.job.labels)
    return found


def _checked_target(source: str, target: str) -> Path:
    """Refuse a target that cannot hold the results."""
    if is_url(target):
        raise FileError(
            f"The target '{target}' is a URL; blocks are written to a folder of this machine, or "
            "one that all workers share. Copy the result afterwards (napari-implicitseg convert)."
        )
    place = Path(target)
    if place.suffix.lower() != ".zarr":
        raise FileError(f"The target '{target}' is written as OME-Zarr: let its name end in .zarr.")
    real = Path(os.path.realpath(place))
    if not is_url(source):
        read = Path(os.path.realpath(source))
        if not read.exists():
            raise FileError(f"'{source}' does not exist. Check the name and the folder.")
        if real == read or real in read.parents or read in real.parents:
            raise FileError(
                f"The target '{target}' and the source '{source}' lie in each other. Give the "
                "target another name."
            )
    if not real.parent.is_dir():
        raise FileError(f"The folder of '{target}' does not exist. Make it: '{real.parent}'.")
    ours = (real / RECORDS).is_dir() or (real / "zarr.json").is_file()
    if real.exists() and not ours and (not real.is_dir() or any(real.iterdir())):
        raise OutputExistsError(
            f"'{target}' already exists and is no zarr of format 3. Give another name."
        )
    if real.is_dir() and not os.access(real, os.W_OK):
        raise FileError(f"'{target}' is read-only. Write to a folder you may write to.")
    from napari_implicitseg.atomic import probe_folder

    probe_folder(real if real.is_dir() else real.parent, place)
    # Workers may start elsewhere.
    return real


def _grid(store: AffinityStore, config: BatchConfig) -> BlockGrid:
    """Choose blocks and halo."""
    ndim = len(store.shape)
    if 0 in store.shape:
        raise InputError(f"The source has shape {store.shape}: there is no voxel in it.")
    block = _per_axis("block_shape", config.block_shape or (_BLOCK[ndim],), ndim)
    if config.halo is not None:
        halo = _per_axis("halo", config.halo, ndim)
    else:
        finest = min(store.spacing)
        halo = tuple(max(1, math.ceil(HALO * finest / s)) for s in store.spacing)
    return BlockGrid(shape=store.shape, block_shape=block, halo=halo)


def _per_axis(name: str, values: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Return one number per axis; one serves all."""
    if len(values) == 1:
        return tuple(values) * ndim
    if len(values) != ndim:
        raise InputError(f"{name} is {tuple(values)}, but the volume has {ndim} axes.")
    return tuple(values)


def _tile(block: Sequence[int]) -> tuple[int, ...]:
    """Choose what is predicted at a time, always the same so that results are."""
    sides = list(block)
    while math.prod(sides) > _TILE[len(sides)]:
        axis = sides.index(max(sides))
        sides[axis] = -(-sides[axis] // 2)
    return tuple(sides)
