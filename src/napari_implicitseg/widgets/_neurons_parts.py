"""Parts of images: what the view shows of one, and where a layer made of it lies."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from napari.utils.transforms import Affine

from napari_implicitseg.errors import InputError
from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._camera import _canvas_size
from napari_implicitseg.widgets._neurons_view import lies_on

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from napari.components import ViewerModel

__all__ = [
    "AREAS",
    "Part",
    "cut_out",
    "image_of",
    "part_shown",
    "place_of",
    "shifted",
    "whole_image",
    "with_leading_axis",
]

AREAS = {"all": "everything", "view": "what the view shows"}
"""What is predicted, and what that is called."""


@dataclass(frozen=True, slots=True)
class Part:
    """A box of an image.

    Attributes
    ----------
    image : hashable
        `unique_id` of the layer.
    level : int
        Of a multiscale image.
    start, stop : tuple of int
        In voxels of the level, along the axes of space.
    """

    image: Hashable
    level: int
    start: tuple[int, ...]
    stop: tuple[int, ...]

    @property
    def slices(self) -> tuple[slice, ...]:
        """The box as an index."""
        return tuple(map(slice, self.start, self.stop))


def whole_image(image: Image, level: int = 0, ndim: int | None = None) -> Part:
    """Return all of an image, or of its last `ndim` axes."""
    shape = _layers.level_shapes(image)[level]
    shape = shape[len(shape) - (len(shape) if ndim is None else ndim) :]
    return Part(image.unique_id, level, (0,) * len(shape), shape)


def image_of(viewer: ViewerModel, part: Part) -> Image | None:
    """Return the image that a part is of, if it is in the viewer."""
    for layer in viewer.layers:
        if isinstance(layer, Image) and layer.unique_id == part.image:
            return layer
    return None


def part_shown(viewer: ViewerModel, image: Image, sections: int) -> Part:
    """Return what a view in 2D shows of an image, and some sections about the one shown.

    Parameters
    ----------
    viewer : ViewerModel
    image : Image
        2D or 3D.
    sections : int
        How many along the axis of the slider; fewer if there are not as many.

    Raises
    ------
    InputError
        If the view is in 3D, or shows nothing of the image.
    """
    if viewer.dims.ndisplay != 2:
        raise InputError(
            "A view in 3D has no edges along which to cut the image. Switch to 2D, or predict "
            "everything."
        )
    level = _layers.level_shown(image)
    shape = np.array(_layers.level_shapes(image)[level])
    corners = _corners(viewer, image)
    factor = np.array(_layers.level_shapes(image)[0]) / shape
    corners = (corners + 0.5) / factor - 0.5
    start = np.floor(corners.min(axis=0) + 0.5).astype(int)
    stop = np.ceil(corners.max(axis=0) + 0.5).astype(int)
    offset = viewer.dims.ndim - image.ndim
    shown = [axis - offset for axis in viewer.dims.displayed]
    for axis in range(image.ndim):
        if axis not in shown:
            middle = round(float(corners[:, axis].mean()))
            last = max(0, int(shape[axis]) - sections)
            start[axis] = min(max(0, middle - (sections - 1) // 2), last)
            stop[axis] = start[axis] + sections
    start, stop = np.maximum(start, 0), np.minimum(stop, shape)
    if (start >= stop).any():
        raise InputError(
            f"The view shows nothing of layer '{image.name}'. Move it there, or predict everything."
        )
    return Part(image.unique_id, level, tuple(start.tolist()), tuple(stop.tolist()))


def _corners(viewer: ViewerModel, image: Image) -> Any:
    """Corners of the canvas in the coordinates of an image: shape (4, ndim)."""
    camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
    middle = np.asarray(camera.center, float)[-2:]
    half = np.asarray(_canvas_size(viewer), float) / camera.zoom / 2
    found = []
    for signs in itertools.product((-1, 1), repeat=2):
        world = np.array(viewer.dims.point, float)
        world[list(viewer.dims.displayed)] = middle + half * signs
        found.append(image.world_to_data(world[viewer.dims.ndim - image.ndim :]))
    return np.array(found, float)


def cut_out(image: Image, part: Part) -> Any:
    """Return the data of a part: a view, or a lazy array of what is not in memory."""
    data = _layers.level_data(image, part.level)
    whole = part.start == (0,) * len(part.start) and part.stop == tuple(
        data.shape[: len(part.stop)]
    )
    if whole:
        return data
    return (data if isinstance(data, np.ndarray) else _layers.as_lazy(data))[part.slices]


def place_of(image: Image, part: Part) -> dict[str, Any]:
    """Return what a layer of a part needs to lie there, as arguments of napari's layers."""
    return shifted(lies_on(image, len(part.start), part.level), part.start)


def shifted(place: Mapping[str, Any], start: tuple[int, ...]) -> dict[str, Any]:
    """Move the place of a layer to that of its voxel `start`."""
    found = dict(place)
    step = _transform(place, len(start)).linear_matrix @ np.asarray(start, float)
    found["translate"] = np.asarray(place.get("translate", 0.0)) + step
    return found


def with_leading_axis(place: Mapping[str, Any], ndim: int, name: str) -> dict[str, Any]:
    """Return the place of a layer with one more axis, of no extent in space, before all."""
    own = _transform(place, ndim)
    linear, affine = own.linear_matrix, place["affine"]
    whole = np.eye(ndim + 2)
    whole[1:, 1:] = getattr(affine, "affine_matrix", affine)
    found = {
        "units": ("pixel", *map(str, place["units"])),
        "axis_labels": (name, *place["axis_labels"]),
    }
    if np.allclose(linear, np.diag(np.diag(linear))):
        scale, translate = (1.0, *np.diag(linear)), (0.0, *own.translate)
        return {"scale": scale, "translate": translate, "affine": whole, **found}
    turned = np.eye(ndim + 2)
    turned[1:, 1:] = own.affine_matrix
    return {"affine": whole @ turned, **found}


def _transform(place: Mapping[str, Any], ndim: int) -> Affine:
    """Return the transform of a place, without its `affine`."""
    names = ("scale", "translate", "rotate", "shear")
    return Affine(ndim=ndim, **{name: place[name] for name in names if name in place})
