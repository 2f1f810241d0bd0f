"""Prediction of a volume block by block, by a network for affinities or for classes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from napari_implicitseg.batch.blocks import size_of
from napari_implicitseg.batch.jobs import Job, torch_threads
from napari_implicitseg.batch.raw_source import open_raw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from napari_implicitseg.batch.jobs import Place
    from napari_implicitseg.batch.raw_source import RawSource
    from napari_implicitseg.models.normalise import Scaling

__all__ = ["PredictingJob", "measured", "predicted", "scaled", "tile_of", "window_bytes"]

_TILE = {2: 1024**2, 3: 128**3}


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictingJob(Job):
    """A job that may predict.

    Attributes
    ----------
    raw : RawSource, optional
        What is predicted from.
    scaling : Scaling, optional
        Of its grey levels, measured over the whole volume.
    tile : tuple of int, optional
        Voxels predicted at a time.
    """

    raw: RawSource | None = None
    scaling: Scaling | None = None
    tile: tuple[int, ...] | None = None


_Predicting = TypeVar("_Predicting", bound=PredictingJob)


def measured(job: PredictingJob) -> dict[str, list[float]]:
    """Measure the grey levels of the whole volume; return them as a record holds them."""
    assert job.raw is not None
    raw, _, model = open_raw(job.raw)
    scaling = model.normalisation.scaling(raw, _name(job.raw))
    return {"low": list(scaling.low), "high": list(scaling.high)}


def scaled(job: _Predicting, record: Mapping[str, Any]) -> _Predicting:
    """Return a job that knows the grey levels of its volume."""
    from napari_implicitseg.models.normalise import Scaling

    assert job.raw is not None
    low, high = tuple(record["low"]), tuple(record["high"])
    return replace(job, scaling=Scaling(low=low, high=high, name=_name(job.raw)))


def _name(source: RawSource) -> str:
    return f"volume '{source.path}'"


def predicted(job: PredictingJob, place: Place) -> NDArray[np.float32]:
    """Return what a network says of a block: (C, *S), 0 to 1."""
    from napari_implicitseg.devices import find_device
    from napari_implicitseg.models.tiles import predict_tiles

    assert job.raw is not None
    assert job.scaling is not None
    raw, _, model = open_raw(job.raw)
    activation: Literal["sigmoid", "softmax"] = "softmax" if job.raw.semantic else "sigmoid"

    with torch_threads(job.threads):
        found: NDArray[np.float32] = predict_tiles(
            model.network,
            job.scaling.reader(raw),
            job.grid.shape,
            job.grid.core(place),
            channels=job.raw.outputs,
            tile_shape=job.tile,
            device=find_device(job.config.device, large=True),
            precision=job.config.precision,
            activation=activation,
        )
    return found


def tile_of(block: Sequence[int]) -> tuple[int, ...]:
    """Choose what is predicted at a time, always the same so that results are."""
    sides = list(block)
    while math.prod(sides) > _TILE[len(sides)]:
        axis = sides.index(max(sides))
        sides[axis] = -(-sides[axis] // 2)
    return tuple(sides)


def window_bytes(job: PredictingJob, place: Place) -> int:
    """Return the memory that predicting a block takes."""
    assert job.raw is not None
    assert job.tile is not None
    config = open_raw(job.raw)[2].network.config
    lead = len(job.grid.shape) - config.ndim
    window = math.prod(
        side + 2 * halo for side, halo in zip(job.tile, (*(0,) * lead, *config.halo), strict=True)
    )
    block = size_of(job.grid.core(place)) * job.raw.outputs * 5
    return int(window * 4 * config.features_held) + block
