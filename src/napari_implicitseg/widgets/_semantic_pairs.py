"""Which image of the viewer goes with which painted classes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels

from napari_implicitseg.errors import InputError
from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._accept import RESULTS
from napari_implicitseg.widgets._camera import _canvas_size
from napari_implicitseg.widgets._layers import HIDDEN_FROM_CHOICES
from napari_implicitseg.widgets._repair_accept import REPAIRED
from napari_implicitseg.widgets._semantic_layers import PAINTED_FOR, is_raw

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.components import ViewerModel
    from napari.layers import Layer

__all__ = ["Pair", "belongs_to", "bring_to_view", "classes_of", "images_to_add", "show_pair"]

_IMAGE = re.compile(r"[-_. ](image|img|raw|em)$", re.IGNORECASE)
_BETWEEN = "-_. ["
_FILLED = 0.95
"""Share of the canvas that an image fills."""
_CLEAR = 0.8
"""Opacity up to which one sees what is beneath."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its classes; what is not chosen yet is None."""

    image: Image | None = None
    labels: Labels | None = None

    @property
    def is_whole(self) -> bool:
        """Whether both are chosen."""
        return self.image is not None and self.labels is not None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What there is of it."""
        return tuple(layer for layer in (self.image, self.labels) if layer is not None)


def belongs_to(viewer: ViewerModel, labels: Labels) -> Image | None:
    """Return the image that classes were painted for, or are named after; or None.

    Of images named "cell" and "cell 1" the layer "cell 1 mask" is named after the second.
    """
    images = [layer for layer in viewer.layers if isinstance(layer, Image)]
    painted = labels.metadata.get(PAINTED_FOR)
    for image in images:
        if painted is not None and image.unique_id == painted:
            return image
    bases = [(image, _IMAGE.sub("", image.name)) for image in images if image is not labels]
    named = [(len(base), image) for image, base in bases if _is_named_after(labels.name, base)]
    return max(named, key=lambda one: one[0])[1] if named else None


def classes_of(
    viewer: ViewerModel, image: Image | None, others: Sequence[Pair] = (), *, alone: bool = False
) -> Labels | None:
    """Return the classes of an image: its own, or the only ones that can be meant; or None.

    Parameters
    ----------
    viewer : ViewerModel
    image : Image or None
    others : sequence of Pair
        Whose classes are taken.
    alone : bool
        Take the uppermost that can be meant, even if there are several.
    """
    if image is None:
        return None
    taken = {pair.labels for pair in others}
    fitting = [
        layer
        for layer in reversed(viewer.layers)
        if isinstance(layer, Labels) and layer not in taken and _may_be_classes(layer, image)
    ]
    for layer in fitting:
        if belongs_to(viewer, layer) is image:
            return layer
    free = [layer for layer in fitting if layer.visible and belongs_to(viewer, layer) is None]
    return free[0] if len(free) == 1 or (free and alone) else None


def images_to_add(viewer: ViewerModel, known: Sequence[Pair]) -> list[Image]:
    """Return the images that are selected in the layer list, or else the next one.

    Raises
    ------
    InputError
        If all images are known.
    """
    there = {pair.image for pair in known}
    images = [
        layer
        for layer in viewer.layers
        if isinstance(layer, Image)
        and layer not in there
        and not layer.metadata.get(HIDDEN_FROM_CHOICES)
        and is_raw(layer)
    ]
    if not images:
        raise InputError(
            "All images of the viewer are in the list of what is learned from. Open another one."
        )
    selected = [image for image in images if image in viewer.layers.selection]
    return selected or images[-1:]


def show_pair(viewer: ViewerModel, pair: Pair, others: Sequence[Pair]) -> None:
    """Show an image and its classes, not those of other pairs or what covers it.

    The classes are selected, or the image if it has none.

    Parameters
    ----------
    viewer : ViewerModel
        In grid mode all stay as they are, side by side.
    pair : Pair
    others : sequence of Pair
    """
    if pair.image is None:
        return
    canvas: Any = getattr(viewer, "canvas", viewer)  # Before napari 0.9 the grid is the viewer's.
    if not canvas.grid.enabled:
        hidden = {layer for other in others for layer in other.layers} - {*pair.layers}
        for layer in (*hidden, *_covering(viewer, pair.image)):
            layer.visible = False
        seen = [o.image for o in others if o.image is not None]
        if any(not _lies_alike(pair.image, image) for image in seen):
            bring_to_view(viewer, pair.image)
    for layer in pair.layers:
        if not layer.visible:  # Else it would stop being painted.
            layer.visible = True
    viewer.layers.selection.active = pair.layers[-1]


def bring_to_view(viewer: ViewerModel, image: Image) -> None:
    """Fit the view to an image; a view in 3D to all there is."""
    offset = viewer.dims.ndim - image.ndim
    axes = [axis - offset for axis in viewer.dims.displayed]
    if viewer.dims.ndisplay != 2 or min(axes) < 0:
        viewer.reset_view()
        return
    low, high = image.extent.world[:, axes]
    camera: Any = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
    camera.center = tuple(float(middle) for middle in (low + high) / 2)
    room = np.maximum(high - low, 1e-9)
    camera.zoom = float(_FILLED * np.min(np.asarray(_canvas_size(viewer)) / room))


def _may_be_classes(labels: Labels, image: Image) -> bool:
    """Whether a layer may be chosen unasked as the classes of an image."""
    if labels.multiscale or labels.metadata.get(HIDDEN_FROM_CHOICES):
        return False
    if not is_raw(labels) or {RESULTS, REPAIRED} & labels.metadata.keys():
        return False
    shapes = _layers.level_shapes(image)
    shape = tuple(int(n) for n in labels.data.shape)
    return shape in shapes or (not image.rgb and shape in [one[1:] for one in shapes])


def _is_named_after(name: str, base: str) -> bool:
    """Whether a name is another one, alone or with more after it."""
    rest = name[len(base) :]
    return bool(base) and name.startswith(base) and (not rest or rest[0] in _BETWEEN)


def _covering(viewer: ViewerModel, image: Image) -> list[Image]:
    """Return the images above one that nothing shines through."""
    above = list(viewer.layers)
    above = above[above.index(image) + 1 :] if image in above else []
    return [
        layer
        for layer in above
        if isinstance(layer, Image)
        and layer.blending != "additive"
        and layer.opacity > _CLEAR
        and _overlap(layer, image)
    ]


def _overlap(one: Image, other: Image) -> bool:
    """Whether two images share a place in the plane."""
    (low, high), (low2, high2) = one.extent.world[:, -2:], other.extent.world[:, -2:]
    return bool((low < high2).all() and (low2 < high).all())


def _lies_alike(one: Image, other: Image) -> bool:
    """Whether two images lie in the same place."""
    first, second = one.extent.world, other.extent.world
    return bool(first.shape == second.shape and abs(first - second).max() < 1e-6)
