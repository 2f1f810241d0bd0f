"""Classes of a volume, block by block."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.batch.block_arrays import write_block
from napari_implicitseg.batch.blocks import size_of
from napari_implicitseg.batch.jobs import Needs
from napari_implicitseg.batch.label_steps import coarsen_block, is_coarser
from napari_implicitseg.batch.predicting import (
    PredictingJob,
    measured,
    predicted,
    scaled,
    window_bytes,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg.batch.jobs import Place

__all__ = ["SemanticJob"]

_LABEL_BYTES = 0.1
"""Per voxel on the disk, of classes with their pyramid, compressed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticJob(PredictingJob):
    """A volume whose voxels get the most probable class."""

    def work(self, stage: str, place: Place) -> dict[str, Any]:
        """Write the classes of a block, from 1."""
        if is_coarser(stage):
            return coarsen_block(self.labels, stage, place)
        core = self.grid.core(place)
        start = time.perf_counter()
        found = self.classes(place)
        spent = time.perf_counter() - start
        size = write_block(self.labels / "0", core, found)
        return {"voxels": size_of(core), "bytes": size, "compute": round(spent, 4)}

    def classes(self, place: Place) -> NDArray[np.uint8]:
        """Return the classes of a block."""
        found: NDArray[np.uint8] = predicted(self, place).argmax(axis=0).astype(np.uint8)
        return found + np.uint8(1)

    def needs(self) -> Needs:
        """Try a block in the middle, and say what all would need."""
        place = tuple(n // 2 for n in self.grid.counts)
        job = scaled(self, measured(self))
        start = time.perf_counter()
        job.classes(place)
        spent = time.perf_counter() - start
        voxels = math.prod(self.grid.shape)
        return Needs(
            worker_bytes=window_bytes(self, place),
            merge_bytes=0,
            disk_bytes=int(voxels * _LABEL_BYTES),
            block_seconds=spent,
            share=size_of(self.grid.core(place)) / voxels,
        )
