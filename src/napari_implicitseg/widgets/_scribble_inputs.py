"""What the user has chosen, and the fit request that follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_implicitseg.config import FitConfig
from napari_implicitseg.errors import InputError
from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._scribble_fit import BACKGROUND, FitRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.components import ViewerModel
    from napari.layers import Labels, Shapes

    from napari_implicitseg.geometry import Figure
    from napari_implicitseg.widgets._figure_numbers import FigureNumbers
    from napari_implicitseg.widgets._layers import Region
    from napari_implicitseg.widgets._preview import Index
    from napari_implicitseg.widgets._scribble_fit import Outcome

__all__ = [
    "WATCHED_VOXELS",
    "Inputs",
    "brush_size_for",
    "build_request",
    "highest_label",
    "region_shown",
]

WATCHED_VOXELS = 1 << 24
"""Regions up to this size are copied and compared in the main thread."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What the user has chosen.

    Attributes
    ----------
    image : Image or None
    scribbles : Labels or None
    shapes : Shapes or None
    scope : {"slice", "slices", "volume"}
    shape : str
    config : FitConfig
        What goes with the shape.
    evidence : str or Image
        A method, or a layer with the probability of object.
    """

    image: Image | None = None
    scribbles: Labels | None = None
    shapes: Shapes | None = None
    scope: str = "slice"
    shape: str = "convex"
    config: FitConfig = field(default_factory=FitConfig)
    evidence: str | Image = "auto"


def region_shown(viewer: ViewerModel, scribbles: Image | Labels, scope: str) -> Region:
    """Return the region a scope means in the present view."""
    ndim = scribbles.ndim
    offset = viewer.dims.ndim - ndim
    order = [o - offset for o in viewer.dims.order if o >= offset]
    point = scribbles.world_to_data(np.asarray(viewer.dims.point, float)[-ndim:])
    return _layers.region_of(scope, scribbles.data.shape, order, point)


def build_request(
    viewer: ViewerModel,
    inputs: Inputs,
    outcomes: Mapping[Index, Outcome],
    version: int,
    numbers: FigureNumbers,
    region: Region | None = None,
) -> FitRequest | None:
    """Gather what a fit needs.

    Parameters
    ----------
    viewer : ViewerModel
    inputs : Inputs
    outcomes : mapping of Index to Outcome
        Earlier fits, to start from where they fit.
    version : int
        Which state of the strokes this is.
    numbers : FigureNumbers
        Ids of figures that name none.
    region : Region, optional
        What to fit; the region shown by default.

    Returns
    -------
    FitRequest or None
        None while there is no image or no scribbles.

    Raises
    ------
    ImplicitSegError
        If the layers do not fit each other, or a figure cannot be read.
    """
    image, scribbles = inputs.image, inputs.scribbles
    if image is None or scribbles is None:
        return None
    level = _layers.level_matching(image, scribbles)
    region = region or region_shown(viewer, scribbles, inputs.scope)
    labels = region.take(scribbles.data)
    if isinstance(labels, np.ndarray) and labels.size <= WATCHED_VOXELS:
        # Larger ones go as they are: any further stroke makes this fit stale.
        labels = labels.copy()
    key = (id(image), id(scribbles), level, region, inputs.shape, inputs.config, inputs.evidence)
    before = outcomes.get(region.index)
    return FitRequest(
        image=_layers.level_data(image, level),
        has_channels=bool(image.rgb),
        labels=labels,
        figures=_figures(inputs.shapes, scribbles, region, labels, numbers),
        whole=tuple(int(n) for n in scribbles.data.shape),
        region=region,
        spacing=_layers.spacing_of(scribbles),
        shape=inputs.shape,
        config=inputs.config,
        scope=inputs.scope if len(region.axes) == 3 else "slice",
        evidence=_evidence(inputs.evidence, scribbles),
        name=scribbles.name,
        key=key,
        warm_start=before.result if before is not None and before.request.key == key else None,
        version=version,
    )


def brush_size_for(shape: tuple[int, ...]) -> int:
    """Return a brush that is easy to see on an image without covering its objects."""
    return int(np.clip(round(math.sqrt(min(shape[-2:])) / 4), 2, 12))


def highest_label(scribbles: Labels, outcomes: Mapping[Index, Outcome]) -> int:
    """Return the largest id painted; in a large layer, of those fitted."""
    data = scribbles.data
    if isinstance(data, np.ndarray) and data.size <= WATCHED_VOXELS:
        return int(data.max(initial=0))
    fitted = (label for outcome in outcomes.values() for label in outcome.painted)
    return max(*fitted, int(scribbles.selected_label), 0)


def _figures(
    shapes: Shapes | None, scribbles: Labels, region: Region, labels: Any, numbers: FigureNumbers
) -> tuple[Figure, ...]:
    """Read the Shapes layer; figures without an id get the ones after the painted ones."""
    if shapes is None:
        return ()
    painted = int(labels.max(initial=BACKGROUND)) if isinstance(labels, np.ndarray) else BACKGROUND
    ids = numbers.give(len(shapes.data), painted)
    return tuple(_layers.figures_of(shapes, scribbles, region, ids))


def _evidence(chosen: str | Image, scribbles: Labels) -> Any:
    """Return the method, or the array of a probability layer that fits the scribbles."""
    if not isinstance(chosen, Image):
        return chosen
    if chosen.rgb:
        raise InputError(
            f"Layer '{chosen.name}' is RGB; a probability map has one value per voxel. "
            "Choose another layer or method as evidence."
        )
    return _layers.level_data(chosen, _layers.level_matching(chosen, scribbles))
