"""Moving the view to an object."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_implicitseg.widgets._layers import Region

__all__ = ["look_at"]

_SHARE = 0.6
"""Share of the canvas an object fills at most."""
_MARGIN = 8
"""Voxels at least to be seen around an object."""


def look_at(
    viewer: ViewerModel,
    layer: Layer,
    region: Region,
    mask: NDArray[np.bool_],
    change: NDArray[np.bool_] | None = None,
) -> None:
    """Move to where an object is seen whole, in the slice where most of it has changed.

    Parameters
    ----------
    viewer : ViewerModel
    layer : Layer
        The layer the object belongs to.
    region : Region
        The part of the layer's array the mask speaks of.
    mask : ndarray of bool
        The object; nothing happens if it is empty.
    change : ndarray of bool, optional
        Where it has changed; without any it is the slice with most of it.
    """
    hits = [np.flatnonzero(mask.any(axis=_others(a, mask.ndim))) for a in range(mask.ndim)]
    if not all(hit.size for hit in hits):
        return
    offset = viewer.dims.ndim - layer.ndim
    shown = [a - offset for a in viewer.dims.displayed]
    low = np.array([0 if i is None else i for i in region.index], float)
    high = low.copy()
    focus = low.copy()
    part = mask if change is None or not change.any() else change
    for axis, hit in zip(region.axes, hits, strict=True):
        low[axis], high[axis] = hit[0], hit[-1]
        focus[axis] = (low[axis] + high[axis]) / 2
    for number, axis in enumerate(region.axes):
        if axis not in shown:  # The slice with most of the object.
            sums = np.count_nonzero(part, axis=_others(number, part.ndim))
            focus[axis] = int(np.argmax(sums))
            part = np.take(part, [int(focus[axis])], axis=number)
    world = np.asarray(layer.data_to_world(focus), float)
    for axis in range(layer.ndim):
        if axis not in shown:
            viewer.dims.set_point(axis + offset, world[axis])
    corners = itertools.product(*zip(low - 0.5, high + 0.5, strict=True))
    places = np.array([layer.data_to_world(corner) for corner in corners])
    sizes = np.ptp(places, axis=0)
    margin = 2 * _MARGIN * np.abs(np.asarray(layer.scale, float))
    axes = [a for a in shown if a >= 0]
    room = np.maximum(sizes[axes] / _SHARE, sizes[axes] + margin[axes])
    # Seen from a side, any axis of a body may lie along the shorter side of the canvas.
    across = room[-2:] if len(axes) < 3 else np.full(2, room.max())
    camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
    camera.center = tuple(float(world[a]) for a in axes)
    camera.zoom = float(np.min(_canvas_size(viewer) / across))


def _canvas_size(viewer: Any) -> NDArray[np.float64]:
    """Height and width of the part of the canvas that shows a layer."""
    if hasattr(viewer, "canvas"):
        return np.asarray(viewer.canvas.viewbox_size(viewer.layers), float)
    return np.asarray(viewer._canvas_size, float)


def _others(axis: int, ndim: int) -> tuple[int, ...]:
    """All axes but one."""
    return tuple(a for a in range(ndim) if a != axis)
