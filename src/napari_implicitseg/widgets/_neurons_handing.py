"""Neurons handed over to *Scribble to mask* and *Repair labels*, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels

from napari_implicitseg.errors import InputError
from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._accept import RESULTS
from napari_implicitseg.widgets._neurons_affinities import holds_affinities
from napari_implicitseg.widgets._neurons_edit_jobs import MaskRequest
from napari_implicitseg.widgets._neurons_parts import cut_out, image_of, shifted
from napari_implicitseg.widgets._repair_accept import REPAIRED, Steps
from napari_implicitseg.widgets._scribble_fit import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Hashable

    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.hierarchy.proofreading import Proofreading
    from napari_implicitseg.widgets._neurons_edits import Corrections
    from napari_implicitseg.widgets._neurons_parts import Part
    from napari_implicitseg.widgets._neurons_view import NeuronsView

__all__ = ["HandedOver", "hand_over"]

_MARGIN = 12
"""Voxels about a neuron that are handed over with it."""
_NEAR = 4
"""Pixels between a neuron and the stroke of background about it."""
_OBJECT = BACKGROUND + 1


@dataclass(frozen=True, slots=True)
class HandedOver:
    """A neuron in layers of its own.

    Attributes
    ----------
    image : Image or None
        What to scribble on.
    labels : Labels
        Strokes, or the mask to repair.
    neurons : hashable
        `unique_id` of the layer of neurons.
    voxel : tuple of int
        Of the neuron.
    start : tuple of int
        Where the layers begin in the volume.
    axis : int
        Of the sections.
    """

    image: Image | None
    labels: Labels
    neurons: Hashable
    voxel: tuple[int, ...]
    start: tuple[int, ...]
    axis: int

    def request(
        self, viewer: ViewerModel, work: Proofreading, neurons: Labels | None
    ) -> MaskRequest:
        """Ask for the neuron as it is now in the layer that was accepted into.

        Raises
        ------
        InputError
            If there is none, or the neurons are others.
        """
        if neurons is None or neurons.unique_id != self.neurons:
            raise InputError(
                "The neurons are others than those a neuron was handed over from. Hand it over "
                "again."
            )
        layer = self._accepted(viewer)
        if layer is None:
            wanted = "Accept a mask in" if self.image is not None else "Repair and accept it in"
            panel = "Scribble to mask" if self.image is not None else "Repair labels"
            raise InputError(f"There is no mask of the neuron to take back. {wanted} '{panel}'.")
        return MaskRequest(
            work=work,
            voxel=self.voxel,
            masks=layer.data,
            start=self.start,
            axis=self.axis,
            name=layer.name,
        )

    def put_away(self, viewer: ViewerModel, neurons: Labels | None) -> None:
        """Show the neurons again in place of these layers, which are kept."""
        for layer in (self.image, self.labels, self._accepted(viewer)):
            if layer is not None:
                layer.visible = False
        if neurons is not None:
            neurons.visible = True
            viewer.layers.selection.active = neurons

    def _accepted(self, viewer: ViewerModel) -> Labels | None:
        """Return the layer that the other panel has written to, if it is in the viewer."""
        found = None
        for layer in viewer.layers:
            if not isinstance(layer, Labels) or layer.data.shape != self.labels.data.shape:
                continue
            if self.image is None:
                steps = layer.metadata.get(REPAIRED)
                is_copy = isinstance(steps, Steps) and steps.source == self.labels.unique_id
                if is_copy or (layer is self.labels and found is None):
                    found = layer
            elif RESULTS in layer.metadata and layer.metadata[RESULTS].image == (
                self.image.unique_id
            ):
                found = layer
        return found


def hand_over(
    kind: str,
    viewer: ViewerModel,
    view: NeuronsView,
    corrections: Corrections,
    part: Part | None,
) -> HandedOver:
    """Put the current neuron into layers of its own and add them.

    Parameters
    ----------
    kind : {"scribble", "repair"}
    viewer : ViewerModel
    view : NeuronsView
    corrections : Corrections
    part : Part or None
        What the neurons are made of.

    Raises
    ------
    InputError
        If there is no current neuron, or no image to scribble on.
    """
    neurons, work, label = view.layer, corrections.work, corrections.current
    if neurons is None or work is None or not label:
        raise InputError("There is no current neuron. Click the one to hand over, then press it.")
    box = _box_about(neurons.data, label)
    mask = neurons.data[box] == label
    start = tuple(part.start for part in box)
    place = shifted(_layers.like(neurons), start)
    axis = _section_axis(viewer, neurons)
    inside = np.unravel_index(int(mask.argmax()), mask.shape)  # Stops at the first.
    voxel = tuple(int(s + v) for s, v in zip(start, inside, strict=True))
    image = None
    name = f"neuron {label}"
    if kind == "scribble":
        viewer.dims.ndisplay = 2  # Strokes are painted in sections.
        image = _image_about(viewer, neurons, part, box, place, name)
        section = _section(viewer, neurons, axis, start, mask)
        data = _strokes(mask, axis, section)
        name = f"{name} scribbles"
        viewer.add_layer(image)
    else:
        data = np.where(mask, np.uint32(label), np.uint32(0))
    labels = Labels(data, name=name, **place)
    viewer.add_layer(labels)
    if kind == "scribble":
        labels.brush_size, labels.selected_label, labels.mode = 3, _OBJECT, "paint"
    neurons.visible = False  # Its colours would hide what is made of the one neuron.
    return HandedOver(image, labels, neurons.unique_id, voxel, start, axis)


def _box_about(labels: NDArray[Any], label: int) -> tuple[slice, ...]:
    """Return the box of an object and what is close to it."""
    mask = labels == label
    found = []
    for axis, size in enumerate(labels.shape):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        hits = np.flatnonzero(mask.any(axis=others))
        found.append(slice(max(0, hits[0] - _MARGIN), min(size, int(hits[-1]) + 1 + _MARGIN)))
    return tuple(slice(int(part.start), int(part.stop)) for part in found)


def _section_axis(viewer: ViewerModel, neurons: Labels) -> int:
    """Return the axis of a volume that is not shown in 2D; 0 of an image."""
    offset = viewer.dims.ndim - neurons.ndim
    order = [axis - offset for axis in viewer.dims.order if axis >= offset]
    return order[0] if neurons.ndim == 3 else 0


def _section(
    viewer: ViewerModel, neurons: Labels, axis: int, start: tuple[int, ...], mask: BoolArray
) -> int:
    """Return the section shown, if the neuron is in it, or that with most of it."""
    sums = mask.sum(axis=tuple(a for a in range(mask.ndim) if a != axis))
    point = viewer.dims.point[viewer.dims.ndim - neurons.ndim :]
    shown = round(float(neurons.world_to_data(point)[axis])) - start[axis]
    there = 0 <= shown < len(sums) and sums[shown] > 0
    if not there:
        shown = int(sums.argmax())
        middle = [s + n / 2 for s, n in zip(start, mask.shape, strict=True)]
        middle[axis] = start[axis] + shown
        world = neurons.data_to_world(middle)
        offset = viewer.dims.ndim - neurons.ndim
        if neurons.ndim == 3:
            viewer.dims.set_point(axis + offset, world[axis])
    return shown


def _strokes(mask: BoolArray, axis: int, section: int) -> NDArray[np.uint16]:
    """Return strokes of a neuron in one section: its core, and background about it."""
    from scipy import ndimage

    found = np.zeros(mask.shape, np.uint16)
    index: tuple[Any, ...] = (slice(None),) * mask.ndim
    if mask.ndim == 3:
        index = tuple(section if a == axis else slice(None) for a in range(3))
    plane = mask[index]
    depth = ndimage.distance_transform_edt(np.pad(plane, 1))[1:-1, 1:-1]
    away = ndimage.distance_transform_edt(~plane)
    strokes = found[index]
    strokes[depth > depth.max() / 2] = _OBJECT
    strokes[(away > _NEAR) & (away <= _NEAR + 2)] = BACKGROUND
    return found


def _image_about(
    viewer: ViewerModel,
    neurons: Labels,
    part: Part | None,
    box: tuple[slice, ...],
    place: dict[str, Any],
    name: str,
) -> Image:
    """Return a layer of the image about a neuron, without a copy of what is in memory.

    Neurons of affinities lie on any image of their shape, or on the mean of the affinities.
    """
    source = None if part is None else image_of(viewer, part)
    options: dict[str, Any] = {}
    if source is None:
        data = None
    elif source.ndim > neurons.ndim:
        data = np.asarray(source.data[(slice(None), *box)], np.float32).mean(axis=0)
    else:
        data = cut_out(source, part) if part is not None else None
        options = {"contrast_limits": source.contrast_limits, "rgb": source.rgb}
        data = None if data is None else data[box]
    for layer in viewer.layers if source is None or source.ndim > neurons.ndim else ():
        fits = isinstance(layer, Image) and not layer.multiscale and not layer.rgb
        if fits and layer.data.shape == neurons.data.shape and not holds_affinities(layer):
            data, options = layer.data[box], {"contrast_limits": layer.contrast_limits}
    if data is None:
        raise InputError(
            "There is no image of these neurons any more to scribble on. Open it, or repair the "
            "neuron instead."
        )
    return Image(data, name=f"image of {name}", **options, **place)
