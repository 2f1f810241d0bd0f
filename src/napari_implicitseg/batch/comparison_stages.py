"""Labels and truth, compared block by block."""

from __future__ import annotations

import functools
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_implicitseg._block_tables import contingency_box
from napari_implicitseg._contingency import Contingency
from napari_implicitseg.batch.block_arrays import load_arrays, save_arrays
from napari_implicitseg.batch.blocks import block_name, size_of
from napari_implicitseg.batch.jobs import Job, Needs

if TYPE_CHECKING:
    from pathlib import Path

    from napari_implicitseg.batch.jobs import Place
    from napari_implicitseg.volumes.volume import Volume

__all__ = ["ComparisonJob", "open_labels"]

_VOXEL_BYTES = 40
"""Of a block while it is counted: both ids, keys and their order."""
_ENTRY_BYTES = 24
"""Of two objects that overlap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonJob(Job):
    """Labels that are compared with the truth.

    Attributes
    ----------
    source, truth : str
    spacing : tuple of float or None
        Voxel size in the unit of the border.
    """

    source: str
    truth: str
    spacing: tuple[float, ...] | None

    def work(self, stage: str, place: Place) -> dict[str, Any]:
        """Count what objects share in a block."""
        table = self._table(place)
        size = save_arrays(
            self.table(place),
            labels=table.label_ids[table.rows],
            truth=table.truth_ids[table.columns],
            counts=table.counts,
        )
        voxels = size_of(self.grid.core(place))
        return {"voxels": voxels, "bytes": size, "ignored": table.ignored}

    def needs(self) -> Needs:
        """Try a block in the middle, and say what all would need."""
        place = tuple(n // 2 for n in self.grid.counts)
        start = time.perf_counter()
        entries = len(self._table(place).counts)
        spent = time.perf_counter() - start
        voxels = size_of(self.grid.core(place))
        share = voxels / math.prod(self.grid.shape)
        size = int(entries * _ENTRY_BYTES / share)
        return Needs(
            worker_bytes=voxels * _VOXEL_BYTES,
            merge_bytes=2 * size,
            disk_bytes=size,
            block_seconds=spent,
            share=share,
        )

    def table(self, place: Place) -> Path:
        """File of the table of a block."""
        return self.folder / "tables" / f"{block_name(place)}.npz"

    def load_table(self, place: Place, ignored: int) -> Contingency:
        """Read the table of a block."""
        found = load_arrays(self.table(place))
        return Contingency.from_entries(
            found["labels"], found["truth"], found["counts"], ignored=ignored
        )

    def _table(self, place: Place) -> Contingency:
        """Compare a block."""
        config = self.config
        return contingency_box(
            open_labels(self.source, config.level, config.time).data,
            open_labels(self.truth, config.level, config.time, name="truth").data,
            self.grid.core(place),
            ignore=config.ignore,
            border=config.border,
            spacing=self.spacing,
        )


@functools.lru_cache(maxsize=2)
def open_labels(path: str, level: int, time: int | None, name: str = "labels") -> Volume:
    """Open a label image, once per process."""
    from napari_implicitseg.volumes.files import read_labels

    return read_labels(path, level=level, time=time, name=name)
