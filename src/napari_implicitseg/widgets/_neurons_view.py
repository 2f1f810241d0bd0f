"""The layer of the neurons, painted anew within milliseconds, and the current one marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap

from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._layers import HIDDEN_FROM_CHOICES
from napari_implicitseg.widgets._preview import remove_quietly

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.components import ViewerModel
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_implicitseg._types import LabelArray
    from napari_implicitseg.hierarchy.proofreading import Proofreading

__all__ = ["NEURONS_OF", "NeuronsView", "go_to", "lies_on"]

NEURONS_OF = "napari_implicitseg:neurons"
"""Key of `layer.metadata` that says which image a layer of neurons belongs to."""

_OUTLINE = 2
"""Pixels of the outline of the current object."""


class NeuronsView:
    """Shows a proofreading in a Labels layer.

    Parameters
    ----------
    viewer : ViewerModel
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layer: Labels | None = None
        self._mark: Labels | None = None
        self._outline = _Outline()
        viewer.dims.events.ndisplay.connect(self._show_mark)

    @property
    def layer(self) -> Labels | None:
        """The layer, if it is in the viewer; users may delete it."""
        return self._layer if self._layer in self._viewer.layers else None

    # The neurons --------------------------------------------------------------

    def show(self, labels: LabelArray, image: Image, place: Mapping[str, Any], name: str) -> Labels:
        """Show objects in the layer of an image, making that if it is not there.

        Parameters
        ----------
        labels : ndarray of uint32
            The layer takes it over.
        image : Image
        place : mapping
            Where the layer lies, as arguments of napari's layers.
        name : str
            Of a new layer.
        """
        layer = self.layer
        same = layer is not None and layer.metadata.get(NEURONS_OF) == image.unique_id
        if same and layer is not None and layer.data.shape == labels.shape:
            layer.data = labels
            for key, value in place.items():
                setattr(layer, key, value)
        else:
            self.let_go()
            layer = Labels(
                labels,
                name=name,
                metadata={NEURONS_OF: image.unique_id},
                **place,
            )
            self._layer = layer
            self._viewer.add_layer(layer)
        layer.editable = False  # What were painted would go with the next move of the slider.
        self.mark(0)
        return layer

    def repaint(self, work: Proofreading) -> None:
        """Show the objects as they are now; only what the canvas needs at once is made anew."""
        layer = self.layer
        if layer is None:
            return
        if layer.data.dtype != np.uint32:  # napari converts them where the user asks for it.
            layer.data = work.labels()
            return
        work.labels(out=layer.data)
        if not _paint_texture(layer, work):
            layer.refresh(thumbnail=False, highlight=False, extent=False)

    def finish(self) -> None:
        """Draw the thumbnail of the layer list, which takes long, once the slider rests."""
        if self.layer is not None:
            self.layer._update_thumbnail()

    # The current object -------------------------------------------------------

    def mark(self, label: int, beside: int = 0) -> None:
        """Mark an object, or none by 0; a thinner outline has what it may be merged with."""
        layer = self.layer
        if layer is None:
            return
        self._outline.follow(layer, label, beside)
        if label and layer.selected_label != label:
            layer.selected_label = label
            if layer.show_selected_label:
                layer.refresh(thumbnail=False, highlight=False, extent=False)
        self._show_mark()

    def alone(self, on: bool) -> None:
        """Show the current object only, or all."""
        if self.layer is not None:
            self.layer.show_selected_label = on

    def _show_mark(self, event: object = None) -> None:
        """Draw the white outline of the current object; in 3D there is none."""
        wanted = self._viewer.dims.ndisplay == 2 and self._outline.label > 0
        if self._mark is not None and self._mark not in self._viewer.layers:
            self._mark = None
        if self._mark is None and wanted and self.layer is not None:
            self._add_mark(self.layer)
        elif self._mark is not None:
            if self._mark.visible != wanted:
                self._mark.visible = wanted
            self._mark.refresh(thumbnail=False, highlight=False, extent=False)

    def _add_mark(self, layer: Labels) -> None:
        """Add the layer of the mark, without taking the selection from the user."""
        active = self._viewer.layers.selection.active
        mark = Labels(
            self._outline,
            name="current neuron",
            metadata={HIDDEN_FROM_CHOICES: True},
            opacity=1.0,
            # Not a direct one: what that needs is compiled anew by each napari, for a second.
            colormap=CyclicLabelColormap(colors=np.array([[0, 0, 0, 0], [1, 1, 1, 1]], np.float32)),
            **_layers.like(layer),
        )
        mark.editable = False
        self._mark = mark
        self._viewer.layers.append(mark)
        self._viewer.layers.selection.active = active

    def drop_mark(self) -> None:
        """Remove the mark."""
        mark, self._mark = self._mark, None
        self._outline.follow(None, 0)
        if mark is not None and mark in self._viewer.layers:
            remove_quietly(self._viewer, mark)

    # Life cycle ---------------------------------------------------------------

    def let_go(self) -> None:
        """Leave the layer to the user, to paint in as in any other."""
        self.drop_mark()
        if self.layer is not None:
            self.layer.editable = True
            self.layer.show_selected_label = False
        self._layer = None

    def close(self) -> None:
        """Leave the layer and disconnect from the viewer."""
        self.let_go()
        self._viewer.dims.events.ndisplay.disconnect(self._show_mark)


class _Outline:
    """The outline of an object as an array that is made, slice by slice, when it is looked at.

    napari's own contours warn in 3D, before any plugin can switch them off.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self) -> None:
        self._labels: NDArray[Any] = np.zeros((1, 1), np.uint32)
        self.label = self.beside = 0

    def follow(self, layer: Labels | None, label: int, beside: int = 0) -> None:
        """Be the outline of an object of a layer, and a thin one of another beside it."""
        if layer is not None:
            self._labels = layer.data
        self.label, self.beside = label, beside

    @property
    def shape(self) -> tuple[int, ...]:
        return self._labels.shape

    @property
    def ndim(self) -> int:
        return self._labels.ndim

    @property
    def size(self) -> int:
        return self._labels.size

    def __getitem__(self, key: Any) -> Any:
        part = self._labels[key]
        if self.label == 0 or part.ndim != 2:
            return np.zeros(part.shape, np.uint8)
        mask = part == self.label
        inside = mask
        for _ in range(_OUTLINE):
            inside = _eroded(inside)
        outline = mask & ~inside
        if self.beside:
            other = part == self.beside
            outline |= other & ~_eroded(other)
        return outline.view(np.uint8)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        whole: NDArray[Any] = self[...]
        return whole if dtype is None else whole.astype(dtype)


def _eroded(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a mask whose four neighbours are in it; the border of the image counts as in."""
    found = mask.copy()
    found[1:] &= mask[:-1]
    found[:-1] &= mask[1:]
    found[:, 1:] &= mask[:, :-1]
    found[:, :-1] &= mask[:, 1:]
    return found


def lies_on(image: Image, ndim: int, level: int = 0) -> dict[str, Any]:
    """Return what a layer of `ndim` axes needs to lie on an image, or one with an axis more.

    Parameters
    ----------
    image : Image
        Its first axis may be that of affinities.
    ndim : int
    level : int
        Of a multiscale image.
    """
    found = _layers.like(image, level)
    if image.ndim == ndim:
        return found
    first = image.ndim - ndim
    kept = list(range(first, image.ndim))
    linear = image._transforms["data2physical"].linear_matrix[first:, first:]
    affine = image.affine.set_slice(kept).affine_matrix
    whole = np.eye(ndim + 1)
    whole[:-1, :-1] = linear
    whole[:-1, -1] = np.asarray(image.translate)[first:]
    plain = np.allclose(linear, np.diag(np.diag(linear)))
    names = {"units": image.units[first:], "axis_labels": image.axis_labels[first:]}
    if not plain:
        return {"affine": affine @ whole, **names}
    return {
        "scale": np.asarray(image.scale)[first:],
        "translate": np.asarray(image.translate)[first:],
        "affine": affine,
        **names,
    }


def go_to(viewer: ViewerModel, layer: Labels, voxel: tuple[int, ...]) -> None:
    """Move slice and camera to a voxel; the zoom stays."""
    world = np.asarray(layer.data_to_world(voxel), float)
    offset = viewer.dims.ndim - layer.ndim
    shown = [axis - offset for axis in viewer.dims.displayed if axis >= offset]
    for axis in range(layer.ndim):
        if axis not in shown:
            viewer.dims.set_point(axis + offset, world[axis])
    camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
    camera.center = tuple(float(world[axis]) for axis in shown)


def _paint_texture(layer: Labels, work: Proofreading) -> bool:
    """Paint a body right into what the graphics card gets; whether that could be done.

    napari would turn each voxel's id into a place of the colour map, which takes longer than all
    else; here each fragment's is, once.
    """
    from napari_implicitseg.hierarchy._lookups import look_up

    if layer._slice_input.ndisplay != 3 or not (layer.visible and layer.loaded):
        return False
    raw, view = layer._slice.image.raw, layer._slice.image.view
    fits = (
        isinstance(view, np.ndarray)
        and view.shape == work.fragments.shape
        and view.dtype in (np.uint8, np.uint16)
        and view.flags.c_contiguous
        and view.flags.writeable
        # Else the axes are shown in another order, or the slice is an old one.
        and isinstance(raw, np.ndarray)
        and raw.shape == layer.data.shape
        and raw.strides == layer.data.strides
        and np.shares_memory(raw, layer.data)
    )
    if not fits:
        return False
    colours = np.ascontiguousarray(layer.colormap._data_to_texture(work.lookup))
    if colours.dtype != view.dtype:
        return False
    look_up(colours, work.fragments.reshape(-1), view.reshape(-1))
    layer.events.set_data()
    return True
