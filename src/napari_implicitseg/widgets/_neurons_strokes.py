"""The layer of strokes by which neurons are split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.widgets._drawing_layers import scribbles_layer

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_implicitseg.widgets._neurons_view import NeuronsView

__all__ = ["SplitStrokes"]


class SplitStrokes:
    """Keeps the layer that strokes are painted in.

    Parameters
    ----------
    viewer : ViewerModel
    view : NeuronsView
        Of the neurons.
    """

    def __init__(self, viewer: ViewerModel, view: NeuronsView) -> None:
        self._viewer = viewer
        self._view = view
        self._layer: Labels | None = None

    @property
    def layer(self) -> Labels | None:
        """The layer, if it is in the viewer and fits the neurons."""
        layer, neurons = self._layer, self._view.layer
        if layer is None or neurons is None or layer not in self._viewer.layers:
            return None
        same = layer.data.shape == neurons.data.shape and all(
            np.allclose(getattr(layer, name), getattr(neurons, name))
            for name in ("scale", "translate")
        )
        return layer if same else None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to split by."""
        return self.layer is None or not np.any(self.layer.data)

    def paint(self) -> str:
        """Add the layer, or take the one there is, and paint; say what to paint.

        Raises
        ------
        InputError
            If there are no neurons.
        """
        neurons = self._view.layer
        if neurons is None:
            raise InputError("There are no neurons to split. Press Segment first.")
        layer = self.layer
        if layer is None:
            layer = scribbles_layer(neurons)
            layer.name = "scribbles"
            self._layer = layer
            self._viewer.add_layer(layer)
        self._viewer.layers.selection.active = layer
        layer.mode, layer.selected_label = "paint", 1
        return (
            "Paint two strokes of different labels into one neuron (M is the next label), then "
            "press S."
        )

    def erase(self, places: tuple[NDArray[np.intp], ...]) -> None:
        """Erase strokes that are done, by napari's history: Ctrl+Z in that layer brings them."""
        if self.layer is not None:
            self.layer.data_setitem(places, 0)
            self._viewer.layers.selection.active = self._view.layer
