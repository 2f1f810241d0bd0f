"""From options to a job that predicts affinities, or makes objects of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from napari_implicitseg.batch.affinity_store import AffinityStore, affinity_store
from napari_implicitseg.batch.fingerprint import digest_of
from napari_implicitseg.batch.label_steps import COARSEN, ONCE
from napari_implicitseg.batch.neuron_stages import NeuronJob
from napari_implicitseg.batch.planning import RECORDS, Plan, block_grid, checked_target
from napari_implicitseg.batch.predicting import tile_of
from napari_implicitseg.batch.raw_source import RawSource, open_raw, raw_source
from napari_implicitseg.errors import InputError
from napari_implicitseg.models.volume_checks import in_stack
from napari_implicitseg.volumes.stores import is_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_implicitseg.batch.config import BatchConfig

__all__ = ["plan_neurons"]

_AFTER_MERGING = (f"{ONCE}/merged", f"{ONCE}/labels", "relabel", COARSEN)
_LATE = {"config.threshold": _AFTER_MERGING, "config.quantile": _AFTER_MERGING}
"""Options that are asked for last, and what depends on them."""
HALO = 32
"""Voxels of the finest axis. On FIB-25, cut into 27 blocks, the segmentations of blocks and of the
whole differed by a VOI of 0.011, 0.0045 and 0.0020 bits with 16, 24 and 32."""


def plan_neurons(source: str, target: str, config: BatchConfig) -> Plan:
    """Look at source and target, and plan a job; nothing is written.

    Raises
    ------
    InputError, FileError, OutputExistsError
        If source, model and target do not fit together.
    """
    place = checked_target(source, target)
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
        data, size, _ = open_raw(raw)
        offsets = in_stack(raw.offsets, len(raw.shape))
        given = AffinityStore(path=place, offsets=offsets, spacing=size, shape=raw.shape)
        about = digest_of(source, data)
        about["model"] = raw.model_digest
    else:
        from napari_implicitseg.batch.block_arrays import open_array
        from napari_implicitseg.volumes.affinity_files import read_grid

        voxels = read_grid(given.path)
        if config.spacing is not None:
            voxels = voxels.with_spacing(config.spacing, config.unit)
        about = digest_of(source, open_array(given.path / "0"))
    grid = block_grid(given.shape, config, _usual_halo(given.spacing))
    job = NeuronJob(
        folder=place / RECORDS / config.job_name,
        config=config,
        grid=grid,
        affinities=given,
        labels=place / "labels" / str(config.name),
        raw=raw,
        tile=tile_of(grid.block_shape) if raw is not None else None,
    )
    matters = {
        "config": config.matters(),
        "source": about,
        "blocks": {"shape": list(grid.block_shape), "halo": list(grid.halo)},
    }
    makes = () if raw is None else (place / "0", place / "zarr.json")
    if config.job == "segment":
        makes = (*makes, job.labels)
    return Plan(job=job, target=place, voxels=voxels, about=matters, makes=makes, late=_LATE)


def _usual_halo(spacing: Sequence[float]) -> tuple[int, ...]:
    """Return the same distance along each axis."""
    return tuple(max(1, math.ceil(HALO * min(spacing) / s)) for s in spacing)
