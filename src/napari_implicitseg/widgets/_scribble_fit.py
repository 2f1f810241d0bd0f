"""One fit of scribbles, asked for by the widget and run in its thread.

Nothing here knows Qt or touches a layer: a request holds arrays, an outcome
holds what the widget shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.geometry import add_voxels, draw_figures
from napari_implicitseg.ids import count_voxels

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress
    from napari_implicitseg.config import FitConfig
    from napari_implicitseg.geometry import Figure
    from napari_implicitseg.results import FitResult
    from napari_implicitseg.shapes.certificate import Certificate
    from napari_implicitseg.widgets._layers import Region

__all__ = [
    "BACKGROUND",
    "EVIDENCE",
    "MODELS",
    "SCOPES",
    "SCRIBBLE_SHAPES",
    "SHAPES",
    "FitRequest",
    "ObjectRow",
    "Outcome",
    "warm_up",
]

BACKGROUND = 1

SHAPES = {
    "convex": "Convex",
    "connected": "Connected (one piece)",
    "star": "Star-shaped",
    "symmetric": "Symmetric",
    "free": "Free (no promise)",
}
SCRIBBLE_SHAPES = {**SHAPES, "none": "None (evidence alone)"}
SCOPES = {
    "slice": "Current slice",
    "slices": "All slices, one by one",
    "volume": "Volume, in 3D (or 2D and time)",
}
EVIDENCE = {
    "auto": "Automatic",
    "histogram": "Colours (histogram)",
    "geodesic": "Edges (geodesic)",
    "pixel": "Network per pixel",
    "cnn": "Network with neighbours",
    "teacher": "Network per pixel, wide",
    "none": "Strokes only",
}
MODELS = {"polytope": "Planes (fast)", "icnn": "Convex network (slow)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRow:
    """What the table says about one object.

    Attributes
    ----------
    label : int
    voxels : int
    size : float
        Area or volume in physical units.
    certificate : Certificate or None
    seconds : float
        Time of the fit this mask came from; objects are fitted together.
    """

    label: int
    voxels: int
    size: float
    certificate: Certificate | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a fit request came to.

    Attributes
    ----------
    request : FitRequest
    painted : tuple of int
        Ids with strokes in the region, ascending.
    result : FitResult or None
        None if there was nothing to fit yet.
    labels : ndarray of unsigned integer or None
        The masks, like the region.
    box : tuple of slice or None
        Where `labels` is not 0.
    rows : tuple of ObjectRow
    notes : tuple of str
        Warnings and strokes that could not be satisfied, in words.
    """

    request: FitRequest
    painted: tuple[int, ...]
    result: FitResult | None = None
    labels: NDArray[np.unsignedinteger[Any]] | None = None
    box: tuple[slice, ...] | None = None
    rows: tuple[ObjectRow, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRequest:
    """All a fit needs, taken from the layers when it was asked for.

    Attributes
    ----------
    image : array
        The image, channels last if it has any; NumPy, dask or zarr.
    has_channels : bool
    labels : array of integer
        Scribbles of the region.
    figures : tuple of Figure
        Shapes, in coordinates of the whole image.
    whole : tuple of int
        Spatial shape of the whole image.
    region : Region
    spacing : tuple of float
        Voxel size of the whole image, per axis.
    shape, scope : str
    config : FitConfig
        What goes with the shape; `scope` says whether slices are fitted one by one.
    evidence : str or array
        A method, or a probability map like the image.
    name : str
        What to call the labels in messages.
    key : hashable
        Fits with the same key may warm-start each other.
    warm_start : FitResult or None
    version : int
        Which state of the strokes this is.
    """

    image: Any
    has_channels: bool
    labels: Any
    figures: tuple[Figure, ...]
    whole: tuple[int, ...]
    region: Region
    spacing: tuple[float, ...]
    shape: str
    config: FitConfig
    scope: str
    evidence: Any
    name: str
    key: Hashable
    warm_start: FitResult | None
    version: int

    def run(self, progress: Progress) -> Outcome:
        """Fit; in the worker thread.

        Raises
        ------
        ImplicitSegError
            Whatever `fit_scribbles` refuses.
        """
        from napari_implicitseg.api import fit_scribbles

        scribbles = self._scribbles()
        painted = _ids(scribbles)
        if not any(label != BACKGROUND for label in painted):
            return Outcome(request=self, painted=painted)
        evidence = self.evidence
        if not isinstance(evidence, str):
            evidence = self.region.take(evidence)
        result = fit_scribbles(
            self.region.take(self.image),
            scribbles,
            shape=self.shape,
            evidence=evidence,
            background=BACKGROUND,
            spacing=self.region.of(self.spacing),
            channel_axis=-1 if self.has_channels else None,
            warm_start=self.warm_start,
            progress=progress,
            config=replace(self.config, per_slice=self.scope == "slices"),
        )
        return self._outcome(result, painted)

    def _scribbles(self) -> NDArray[Any]:
        """Put the shapes into the painted labels."""
        labels = np.asarray(self.labels)
        if not self.figures:
            return labels
        coords, ids = draw_figures(self.figures, self.whole, spacing=self.spacing)
        here = np.ones(len(ids), bool)
        for axis, position in enumerate(self.region.index):
            if position is not None:
                here &= coords[:, axis] == position
        coords = coords[here][:, list(self.region.axes)]
        return add_voxels(labels, coords, ids[here], name=self.name)

    def _outcome(self, result: FitResult, painted: tuple[int, ...]) -> Outcome:
        """Gather what the widget shows."""
        from napari_implicitseg.shapes.hull import crop_box

        report = result.report
        box = crop_box(result.labels > 0)
        ids = tuple(i for i in painted if i != BACKGROUND)
        voxels = count_voxels(result.labels[box])
        unit = float(np.prod(np.abs(self.region.of(self.spacing))))
        rows = tuple(
            ObjectRow(
                label=i,
                voxels=voxels.get(i, 0),
                size=voxels.get(i, 0) * unit,
                certificate=result.certificates.get(i),
                seconds=report.seconds,
            )
            for i in ids
        )
        small = np.uint16 if max(ids) <= np.iinfo(np.uint16).max else np.uint32
        return Outcome(
            request=self,
            painted=painted,
            result=result,
            labels=result.labels.astype(small),
            box=box,
            rows=rows,
            notes=report.warnings,
        )


def warm_up(progress: Progress) -> None:
    """Import what a fit needs and compile it, on a tiny image."""
    from napari_implicitseg.api import fit_scribbles

    row, column = np.indices((48, 48)) - 24
    image = (np.hypot(row, column) < 12).astype(np.float32)
    scribbles = np.zeros(image.shape, np.uint16)
    scribbles[2, 2:40] = BACKGROUND
    scribbles[24, 20:28] = BACKGROUND + 1
    result = fit_scribbles(image, scribbles, progress=progress)
    fit_scribbles(image, scribbles, warm_start=result, progress=progress)


def _ids(labels: NDArray[Any]) -> tuple[int, ...]:
    """Return the ids other than 0, ascending."""
    return tuple(int(i) for i in np.unique(labels[labels != 0]))
