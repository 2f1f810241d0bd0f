"""Layers that show a held-out image, its truth, and where a model is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_implicitseg.widgets._layers import HIDDEN_FROM_CHOICES
from napari_implicitseg.widgets._neurons_parts import Part, place_of
from napari_implicitseg.widgets._semantic_looking import short_name
from napari_implicitseg.widgets._semantic_pairs import bring_to_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_implicitseg.models.semantic import SemanticModel
    from napari_implicitseg.widgets._semantic_looking import Looked
    from napari_implicitseg.widgets._semantic_pairs import Pair

__all__ = ["WorstView", "class_palette"]

_WRONG = (1.0, 0.1, 0.1, 1.0)
_COLOURS = 3


class WorstView:
    """Shows one image at a time; its layers go when the next one comes.

    Parameters
    ----------
    viewer : ViewerModel
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layers: list[Layer] = []

    def hide(self) -> None:
        """Take the layers out of sight; those of the next image take their place."""
        # Not removed: vispy may crash if layers go, the canvas is drawn, and others come.
        for layer in self._layers:
            layer.visible = False

    def _clear(self) -> None:
        """Remove the layers, right before others are added."""
        for layer in reversed(self._layers):
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._layers = []

    def show(self, looked: Looked, palette: Sequence[Any], pair: Pair | None, level: int) -> None:
        """Show an image in place of the last one.

        Parameters
        ----------
        looked : Looked
        palette : sequence of colours
            Of nothing and of each class.
        pair : Pair or None
            The layers it is in; a file is shown in layers of its own.
        level : int
            Of a multiscale image.
        """
        self._clear()
        image = None if pair is None else pair.image
        if image is None:
            sizes = looked.spacing or (1.0,) * looked.truth.ndim
            place: dict[str, Any] = {"scale": sizes}
        else:
            stop = tuple(a + n for a, n in zip(looked.start, looked.truth.shape, strict=True))
            place = place_of(image, Part(image.unique_id, level, looked.start, stop))
        name = short_name(looked.request.name)
        if image is None:
            self._add(_image(looked, name, place))
        classes = looked.request.model.classes
        truth = _labels(looked.truth, f"{name} truth", classes, palette, place)
        truth.visible = False
        found = _labels(looked.found, f"{name} prediction", classes, palette, place)
        wrong = ((looked.truth != looked.found) & (looked.truth > 0)).astype(np.uint8)
        red = Labels(wrong, name=f"{name} wrong pixels", opacity=0.8, **place)
        red.colormap = DirectLabelColormap(color_dict={1: _WRONG, None: "transparent"})
        for layer in (truth, found, red) if image is None else (found, red):
            self._add(layer)
        first = self._layers[0] if image is None else image
        if isinstance(first, Image) and image is None:
            bring_to_view(self._viewer, first)
        self._viewer.layers.selection.active = first

    def _add(self, layer: Layer) -> None:
        """Add a layer that is looked at only."""
        layer.metadata[HIDDEN_FROM_CHOICES] = True
        if isinstance(layer, Labels):
            layer.editable = False  # It goes with the next click, and so would what is painted.
        self._viewer.add_layer(layer)
        self._layers.append(layer)


def class_palette(model: SemanticModel, painted: Labels | None) -> list[Any]:
    """Return the colours of nothing and of each class: as they were painted, or as in pictures."""
    if painted is not None:
        colours = [painted.get_color(value) for value in model.values]
        if all(colour is not None for colour in colours):
            return [(0.0, 0.0, 0.0, 0.0), *colours]
    from napari_implicitseg.semantic.pictures import class_colours

    return [(*(c / 255 for c in colour), 1.0) for colour in class_colours(len(model.classes))]


def _image(looked: Looked, name: str, place: dict[str, Any]) -> Image:
    """Make a layer of an image: colours as such, of other channels the first."""
    raw: NDArray[Any] = looked.raw
    if len(raw) == _COLOURS and raw.dtype == np.uint8:
        return Image(np.moveaxis(raw, 0, -1), name=name, rgb=True, **place)
    return Image(raw[0], name=name, **place)


def _labels(
    data: NDArray[np.uint8],
    name: str,
    classes: tuple[str, ...],
    palette: Sequence[Any],
    place: dict[str, Any],
) -> Labels:
    """Make a layer of classes."""
    layer = Labels(data, name=name, opacity=0.45, **place)
    colours: dict[int | None, Any] = {i: c for i, c in enumerate(palette) if i}
    layer.colormap = DirectLabelColormap(color_dict={**colours, None: "transparent"})
    names = ["none", *classes]
    layer.features = {"index": list(range(len(names))), "class": names}
    return layer
