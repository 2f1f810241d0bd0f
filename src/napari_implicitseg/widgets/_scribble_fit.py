"""One fit of scribbles, asked for by the widget and run in its thread.

Nothing here knows Qt or touches a layer: a request holds arrays, an outcome
holds what the widget shows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.config import EVIDENCE as METHODS
from napari_implicitseg.config import OUTLINES
from napari_implicitseg.geometry import add_voxels, draw_figures, voxels_of
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
    from napari_implicitseg.widgets._session import Report

__all__ = [
    "BACKGROUND",
    "COUPLINGS",
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
_METHOD_TEXTS = {
    "auto": "Automatic",
    "histogram": "Colours (histogram)",
    "geodesic": "Edges (geodesic)",
    "pixel": "Network per pixel",
    "cnn": "Network with neighbours",
    "teacher": "Network per pixel, wide",
    OUTLINES: "Sloppy outline (network trained on the image)",
    "none": "Strokes only",
}
EVIDENCE = {name: _METHOD_TEXTS.get(name, name) for name in METHODS}
COUPLINGS = {"sequential": "Evidence, then shape", "joint": "Together (joint)"}
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
    is_final : bool
        Whether the fit has ended; nothing is promised of the mask before.
    """

    label: int
    voxels: int
    size: float
    certificate: Certificate | None
    seconds: float
    is_final: bool = True


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
    is_final : bool
        Whether the fit has ended.
    """

    request: FitRequest
    painted: tuple[int, ...]
    result: FitResult | None = None
    labels: NDArray[np.unsignedinteger[Any]] | None = None
    box: tuple[slice, ...] | None = None
    rows: tuple[ObjectRow, ...] = ()
    notes: tuple[str, ...] = ()
    is_final: bool = True

    @property
    def has_trained(self) -> bool:
        """Whether the network of sloppy outlines was trained for this fit."""
        history = self.result.history if self.result is not None else {}
        return bool(history.get(f"loss/{OUTLINES}"))


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
        A method, or a probability map or labels like the image.
    coupling : str
    embedding : array or None
        Features of every voxel of the image, the axis of features first.
    name : str
        What to call the labels in messages.
    key : hashable
        Fits with the same key may warm-start each other.
    picture : hashable
        What a network of sloppy outlines has learned: it serves all fits with the
        same picture.
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
    coupling: str
    embedding: Any
    name: str
    key: Hashable
    picture: Hashable
    warm_start: FitResult | None
    version: int

    def run(self, report: Report) -> Outcome:
        """Fit; in the worker thread. Joint fits show outcomes on the way.

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
        embedding = self.embedding

        def show(early: FitResult, /) -> None:
            report.show(self._outcome(early, painted, is_final=False))

        result = fit_scribbles(
            self.region.take(self.image),
            scribbles,
            shape=self.shape,
            evidence=evidence,
            coupling=self.coupling,
            background=BACKGROUND,
            spacing=self.region.of(self.spacing),
            channel_axis=-1 if self.has_channels else None,
            warm_start=self.warm_start,
            embedding=None if embedding is None else self.region.with_leading().take(embedding),
            progress=report,
            preview=show,
            config=replace(self.config, per_slice=self.scope == "slices"),
        )
        return self._outcome(result, painted)

    def _scribbles(self) -> NDArray[Any]:
        """Put the shapes into the painted labels."""
        labels = np.asarray(self.labels)
        if not self.figures:
            return labels
        if isinstance(self.evidence, str) and self.evidence == OUTLINES:
            return self._outlines(labels)
        coords, ids = draw_figures(self.figures, self.whole, spacing=self.spacing)
        coords, here = self._in_region(coords)
        return add_voxels(labels, coords, ids[here], name=self.name)

    def _outlines(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Put sloppy outlines under the painted labels: they may overlap, and strokes correct them.

        Where two overlap the smaller one wins, else one inside another would be lost.
        """
        found = [(voxels_of(f, self.whole, spacing=self.spacing), f.label) for f in self.figures]
        drawn = np.zeros(labels.shape, np.int64)
        for coords, label in sorted(found, key=lambda item: -len(item[0])):
            drawn[tuple(self._in_region(coords)[0].T)] = label
        return np.where(labels != 0, labels, drawn)

    def _in_region(self, coords: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the voxels that lie in the region, in its axes, and which they are."""
        here = np.ones(len(coords), bool)
        for axis, position in enumerate(self.region.index):
            if position is not None:
                here &= coords[:, axis] == position
        return coords[here][:, list(self.region.axes)], here

    def _outcome(
        self, result: FitResult, painted: tuple[int, ...], *, is_final: bool = True
    ) -> Outcome:
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
                is_final=is_final,
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
            notes=report.warnings if is_final else (),
            is_final=is_final,
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
