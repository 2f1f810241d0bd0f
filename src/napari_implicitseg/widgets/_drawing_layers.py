"""Layers to draw in: scribbles, and outlines around objects."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels, Shapes

from napari_implicitseg.widgets import _layers

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

__all__ = ["OUTLINES_OF", "draw_outlines", "outlines_layer", "scribbles_layer"]

OUTLINES_OF = "napari_implicitseg:outlines"
"""Key of `layer.metadata` that says which image a layer of outlines belongs to."""

_DRAWING = "add_polygon_lasso"
_COLOUR = "#ffd166"


def scribbles_layer(image: Image) -> Labels:
    """Make an empty Labels layer on the level of an image that is shown."""
    level = _layers.level_shown(image)
    shape = _layers.level_shapes(image)[level]
    layer = Labels(
        np.zeros(shape, np.uint16),
        name=f"{image.name} scribbles",
        opacity=0.9,
        **_layers.like(image, level),
    )
    layer.brush_size = _brush_size_for(shape)
    return layer


def outlines_layer(viewer: ViewerModel, image: Image) -> Shapes:
    """Find the layer for outlines of an image; add it if there is none."""
    for layer in viewer.layers:
        if isinstance(layer, Shapes) and layer.metadata.get(OUTLINES_OF) == image.unique_id:
            layer.visible = True
            _layers.align(layer, image)
            return layer
    layer = Shapes(
        ndim=image.ndim,
        name=f"{image.name} outlines",
        face_color="transparent",
        edge_color=_COLOUR,
        edge_width=_edge_width_for(_layers.level_shapes(image)[0]),
        metadata={OUTLINES_OF: image.unique_id},
        **_layers.like(image),
    )
    viewer.add_layer(layer)
    return layer


def draw_outlines(viewer: ViewerModel, layer: Shapes) -> None:
    """Let the user draw: a lasso, as outlines may be rough."""
    viewer.layers.selection.active = layer
    layer.selected_data = set()
    layer.mode = _DRAWING


def _brush_size_for(shape: tuple[int, ...]) -> int:
    """Return a brush that is easy to see on an image without covering its objects."""
    return int(np.clip(round(math.sqrt(min(shape[-2:])) / 4), 2, 12))


def _edge_width_for(shape: tuple[int, ...]) -> float:
    """Return the width of a line that is seen on an image, and does not hide it."""
    return max(1.0, min(shape[-2:]) / 200)
