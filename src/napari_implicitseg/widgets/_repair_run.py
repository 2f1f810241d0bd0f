"""One repair of masks, asked for by the widget and run in its thread.

Nothing here knows Qt or touches a layer: a request holds arrays, an outcome
holds what the widget shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.ids import among, count_voxels, present

if TYPE_CHECKING:
    from napari_implicitseg._types import LabelArray, Progress
    from napari_implicitseg.config import FitConfig
    from napari_implicitseg.ids import IdRange
    from napari_implicitseg.shapes.certificate import Certificate
    from napari_implicitseg.widgets._layers import Region

__all__ = [
    "RepairOutcome",
    "RepairRequest",
    "RepairRow",
    "warm_up",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairRow:
    """What the table says about one object.

    Attributes
    ----------
    label : int
    before, after : int
        Voxels of its mask.
    agreement : float
        Intersection over union of the two masks.
    certificate : Certificate or None
    unchanged : bool
        Whether it was too small for any shape.
    """

    label: int
    before: int
    after: int
    agreement: float
    certificate: Certificate | None
    unchanged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairOutcome:
    """What a repair came to.

    Attributes
    ----------
    request : RepairRequest
    labels : ndarray of uint32
        Masks of the objects repaired, like the region; no others.
    rows : tuple of RepairRow
        The objects asked for, by id.
    notes : tuple of str
    seconds : float
    """

    request: RepairRequest
    labels: LabelArray
    rows: tuple[RepairRow, ...]
    notes: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairRequest:
    """All a repair needs, taken from the layers when it was asked for.

    Attributes
    ----------
    labels : array
        Masks or probabilities of the region.
    name : str
        Name of their layer, for messages.
    region : Region
    spacing : tuple of float
        Voxel size of the whole array, per axis.
    shape : str
    config : FitConfig
    per_slice : bool
    ids : tuple of IdRange or None
        Objects to repair; all if None.
    """

    labels: Any
    name: str
    region: Region
    spacing: tuple[float, ...]
    shape: str
    config: FitConfig
    per_slice: bool
    ids: tuple[IdRange, ...] | None

    def run(self, progress: Progress) -> RepairOutcome:
        """Repair; in the worker thread.

        Raises
        ------
        ImplicitSegError
            Whatever `project_labels` refuses, with the name of the layer.
        """
        from napari_implicitseg.api import project_labels

        progress(0.0, "Reading the masks")
        labels = np.asarray(self.labels)
        if labels.dtype.kind == "f" and not np.isfinite(labels).all():
            raise InputError(
                f"Layer '{self.name}' has NaN or infinite values; a probability map lies within "
                "0 to 1. Replace them, for instance by numpy.nan_to_num(data)."
            )
        ids = None if self.ids is None or labels.dtype.kind == "f" else present(self.ids, labels)
        try:
            result = project_labels(
                labels,
                shape=self.shape,
                spacing=self.region.of(self.spacing),
                ids=ids,
                progress=progress,
                config=replace(self.config, per_slice=self.per_slice),
            )
        except InputError as error:
            raise InputError(f"Layer '{self.name}': {error}") from error
        progress(1.0, "Counting voxels")
        report = result.report
        before = count_voxels(labels)
        after = count_voxels(result.labels)
        chosen = sorted({*result.certificates, *report.unchanged})
        rows = tuple(
            RepairRow(
                label=i,
                before=before.get(i, 0),
                after=after.get(i, 0),
                agreement=float(report.agreement.get(i, 1.0)),
                certificate=result.certificates.get(i),
                unchanged=i in report.unchanged,
            )
            for i in chosen
        )
        masks = result.labels
        if ids is not None:
            masks = np.where(among(masks, chosen), masks, 0).astype(np.uint32, copy=False)
        return RepairOutcome(
            request=self, labels=masks, rows=rows, notes=report.warnings, seconds=report.seconds
        )


def warm_up(progress: Progress) -> None:
    """Import what a repair needs and compile it, on a tiny mask."""
    from napari_implicitseg.api import project_labels

    labels = np.zeros((48, 48), np.uint8)
    labels[12:36, 10:40] = 1
    labels[20:24, 10:20] = 0
    project_labels(labels, progress=progress)
