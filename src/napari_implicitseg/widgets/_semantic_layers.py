"""Layers of *Train U-Net*: classes to paint, and what a model says of an image."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Image, Labels

from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._drawing_layers import scribbles_layer
from napari_implicitseg.widgets._neurons_parts import place_of, whole_image

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_implicitseg.widgets._semantic_jobs import Predicted, PredictRequest

__all__ = [
    "PAINTED_FOR",
    "PREDICTED",
    "Handed",
    "Purpose",
    "is_raw",
    "paint_classes",
    "probability_of",
    "show_predicted",
]

PREDICTED = "napari_implicitseg:predicted classes"
"""Key of `layer.metadata` of what a model has predicted."""

PAINTED_FOR = "napari_implicitseg:classes of"
"""Key of `layer.metadata` that says which image classes are painted for."""

Purpose = Literal["show", "evidence", "repair"]

_OPACITY = 0.5
_COLOURS = "magma"


@dataclass(frozen=True, slots=True)
class Handed:
    """A layer for another panel.

    Attributes
    ----------
    purpose : {"evidence", "repair"}
    layer : Layer
        A probability, or objects.
    image : Image
        What it was predicted of.
    """

    purpose: Purpose
    layer: Layer
    image: Image


def paint_classes(viewer: ViewerModel, image: Image, before: Labels | None) -> Labels:
    """Start painting the classes of an image, or go on with it.

    Parameters
    ----------
    viewer : ViewerModel
    image : Image
    before : Labels or None
        The classes it has. Painting goes on if they were painted for it; other layers may be
        somebody's masks, and stay as they are.
    """
    layer = before
    if layer is None or layer.metadata.get(PAINTED_FOR) != image.unique_id:
        layer = scribbles_layer(image)
        layer.name = f"{image.name} painted classes"
        layer.metadata[PAINTED_FOR] = image.unique_id
        layer.selected_label = 1
        viewer.add_layer(layer)
    layer.visible = True
    viewer.layers.selection.active = layer
    layer.mode = "paint"
    return layer


def is_raw(layer: Layer) -> bool:
    """Whether a layer may be chosen unasked: no prediction."""
    return PREDICTED not in layer.metadata


def probability_of(viewer: ViewerModel, image: Image, request: PredictRequest) -> Image | None:
    """Return the layer that shows what a request asks for, if there is one already."""
    for layer in viewer.layers:
        if isinstance(layer, Image) and _of(layer) == _key(image, request):
            return layer
    return None


def show_predicted(viewer: ViewerModel, image: Image, level: int, outcome: Predicted) -> Layer:
    """Show a prediction where its image lies; what the user has changed is not overwritten.

    Parameters
    ----------
    viewer : ViewerModel
    image : Image
        What was predicted.
    level : int
        Of a multiscale image.
    outcome : Predicted
    """
    request, data = outcome.request, outcome.data
    place = place_of(image, whole_image(image, level, data.ndim))
    made = _probability(outcome) if request.kind == "probability" else _labels(outcome)
    for name, value in place.items():
        setattr(made, name, value)
    kept = {"of": _of_image(image, request), "model": id(request.model), "sum": _sum(data)}
    made.metadata[PREDICTED] = kept
    made.name = _name(image, request)
    for layer in viewer.layers:
        if _of(layer)[:1] == (image.unique_id,):
            layer.visible = False  # It would cover this one.
    for layer in list(viewer.layers):
        if _is_former(layer, made) and layer.data.shape == data.shape:
            layer.data, layer.metadata[PREDICTED] = made.data, kept
            if isinstance(layer, Labels):
                layer.features = made.features
            _layers.align(layer, made)
            layer.name, layer.visible = made.name, True
            return layer
    viewer.add_layer(made)
    return made


def _probability(outcome: Predicted) -> Image:
    """Make a layer of probabilities."""
    return Image(
        outcome.data, contrast_limits=(0, 1), colormap=_COLOURS, opacity=0.7, blending="translucent"
    )


def _labels(outcome: Predicted) -> Labels:
    """Make a layer of classes, or of objects of a class."""
    request = outcome.request
    layer = Labels(outcome.data, opacity=_OPACITY)
    if request.kind == "classes":
        names = ["none", *request.model.classes]
        layer.features = {"index": list(range(len(names))), "class": names}
    return layer


def _name(image: Image, request: PredictRequest) -> str:
    """Name of the layer of a prediction."""
    what = request.model.classes[request.which - 1]
    ends = {"classes": "classes", "probability": f"probability of {what}", "objects": what}
    return f"{image.name} {ends[request.kind]}"


def _of_image(image: Image, request: PredictRequest) -> tuple[Any, ...]:
    """Tell what a prediction is of."""
    which = 0 if request.kind == "classes" else request.which
    return image.unique_id, request.kind, which


def _key(image: Image, request: PredictRequest) -> tuple[Any, ...]:
    """Tell what a prediction is of, and by which model."""
    return (*_of_image(image, request), id(request.model))


def _of(layer: Layer) -> tuple[Any, ...]:
    """Tell what a layer shows."""
    kept = layer.metadata.get(PREDICTED)
    return (*kept["of"], kept["model"]) if isinstance(kept, dict) else ()


def _is_former(layer: Layer, made: Layer) -> bool:
    """Whether a layer shows an earlier prediction, and nobody has changed it."""
    kept = layer.metadata.get(PREDICTED)
    if not isinstance(kept, dict) or type(layer) is not type(made):
        return False
    same = kept["of"] == made.metadata[PREDICTED]["of"]
    return bool(same and kept["sum"] == _sum(layer.data))


def _sum(data: Any) -> int:
    """Tell values from others."""
    return zlib.crc32(np.ascontiguousarray(data).data)
