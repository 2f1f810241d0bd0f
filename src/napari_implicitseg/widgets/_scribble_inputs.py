"""What the user has chosen, and the fit request that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels

from napari_implicitseg.config import OUTLINES, FitConfig
from napari_implicitseg.errors import InputError
from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._scribble_fit import BACKGROUND, FitRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.components import ViewerModel
    from napari.layers import Shapes

    from napari_implicitseg.geometry import Figure
    from napari_implicitseg.results import FitResult
    from napari_implicitseg.widgets._figure_numbers import FigureNumbers
    from napari_implicitseg.widgets._layers import Region
    from napari_implicitseg.widgets._preview import Index
    from napari_implicitseg.widgets._scribble_fit import Outcome

__all__ = [
    "WATCHED_VOXELS",
    "Inputs",
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
    evidence : str, Image or Labels
        A method, or a layer with the probability of object, or with labels.
    coupling : {"sequential", "joint"}
    embedding : Image or None
        Features of every voxel of the image, the axis of features first.
    """

    image: Image | None = None
    scribbles: Labels | None = None
    shapes: Shapes | None = None
    scope: str = "slice"
    shape: str = "convex"
    config: FitConfig = field(default_factory=FitConfig)
    evidence: str | Image | Labels = "auto"
    coupling: str = "sequential"
    embedding: Image | None = None

    @property
    def has_outlines(self) -> bool:
        """Whether what is drawn are sloppy outlines."""
        return isinstance(self.evidence, str) and self.evidence == OUTLINES


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
    picture = (
        (id(image), level, region, inputs.evidence),
        (inputs.config.upsampler, inputs.config.upsampler_scale),
    )
    how = (inputs.shape, inputs.config, inputs.coupling, inputs.embedding)
    request = FitRequest(
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
        coupling=inputs.coupling,
        embedding=_embedding(inputs.embedding, scribbles),
        name=scribbles.name,
        key=(picture, id(scribbles), how),
        picture=picture if inputs.has_outlines else None,
        warm_start=None,
        version=version,
    )
    return replace(request, warm_start=_start(request, outcomes.get(region.index)))


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
    ids = numbers.give(_layers.finished_figures(shapes), painted)
    return tuple(_layers.figures_of(shapes, scribbles, region, ids))


def _start(request: FitRequest, before: Outcome | None) -> FitResult | None:
    """Return what a fit may start from: an earlier result, or the network it has trained."""
    if before is None or before.result is None:
        return None
    if before.request.key == request.key:
        return before.result
    if request.picture is None or before.request.picture != request.picture:
        return None
    return _network_alone(before.result)


def _network_alone(result: FitResult) -> FitResult:
    """Leave only the network of sloppy outlines to start from.

    Other shapes are wanted, but the network knows the image and no shape.
    """
    from napari_implicitseg.results import FitReport

    networks = {k: v for k, v in result.networks.items() if k == OUTLINES}
    slices = {z: _network_alone(part) for z, part in result.slices.items()}
    return replace(result, shapes={}, networks=networks, slices=slices, report=FitReport())


def _evidence(chosen: str | Image | Labels, scribbles: Labels) -> Any:
    """Return the method, or the array of a layer that fits the scribbles."""
    if isinstance(chosen, str):
        return chosen
    if isinstance(chosen, Image) and chosen.rgb:
        raise InputError(
            f"Layer '{chosen.name}' is RGB; a probability map has one value per voxel. "
            "Choose another layer or method as evidence."
        )
    shape = tuple(int(n) for n in scribbles.data.shape)
    shapes = _layers.level_shapes(chosen)
    if shape not in shapes:
        has = " or ".join(map(str, shapes))
        raise InputError(
            f"Layer '{chosen.name}' has shape {has} but the scribbles '{scribbles.name}' have "
            f"{shape}. Choose a layer of that shape as evidence, or a method."
        )
    data = _layers.level_data(chosen, shapes.index(shape))
    if isinstance(chosen, Image) and np.dtype(data.dtype).kind in "iu":
        return _layers.as_lazy(data).astype(np.float32)  # Integers would be read as labels.
    return data


def _embedding(chosen: Image | None, scribbles: Labels) -> Any:
    """Return the array of features, if they are those of the voxels scribbled on."""
    if chosen is None:
        return None
    shape = tuple(int(n) for n in scribbles.data.shape)
    if tuple(chosen.data.shape[1:]) != shape:
        raise InputError(
            f"Layer '{chosen.name}' has shape {tuple(chosen.data.shape)} but the scribbles "
            f"'{scribbles.name}' have {shape}; an embedding has the axis of its features before "
            "these. Choose another layer as embedding, or none."
        )
    return chosen.data
