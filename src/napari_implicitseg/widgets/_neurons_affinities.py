"""Affinities in Image layers: which layers hold them, of which neighbours, and showing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_implicitseg.affinities.ops import neighbourhood
from napari_implicitseg.errors import InputError
from napari_implicitseg.napari_files import AFFINITIES_OF
from napari_implicitseg.widgets._neurons_jobs import direct_offsets
from napari_implicitseg.widgets._neurons_parts import image_of, place_of, with_leading_axis

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_implicitseg.affinities.ops import Affinities, Offsets
    from napari_implicitseg.widgets._neurons_parts import Part

__all__ = [
    "has_time",
    "holds_affinities",
    "neighbour_choices",
    "offsets_of",
    "show_affinities",
]

_MOST = 32
"""Affinities per voxel of any network; more along the first axis are sections or times."""
_AXES = ("z", "y", "x")


def has_time(image: Layer) -> bool:
    """Whether one of the axes of a layer is time."""
    named = any(str(label).lower() in ("t", "time") for label in image.axis_labels)
    return named or any(unit.is_compatible_with("second") for unit in image.units)


def neighbour_choices(image: Layer | None) -> dict[str, str]:
    """Say what the first axis of an image may stand for, where that is not known.

    Returns
    -------
    dict of str to str
        Choices, that to begin with first, and what they are called; empty if there is none.
    """
    if not _may_hold(image) or _noted(image):
        return {}
    number, ndim, far = _channels(image)
    if number <= 3 if ndim == 3 else number != 2 and far is None:
        return {}
    names = ", ".join(_AXES[3 - ndim :])
    found = {"direct": names + ", no farther ones" * (number > ndim)}
    if far is not None:
        found = {"far": f"{names} and farther ones", **found}
    none = {"none": "none: no affinities" if ndim == 3 else "none: these are sections"}
    is_likely = np.dtype(image.data.dtype).kind == "f" and (ndim == 3 or number == 2)  # type: ignore[union-attr]
    return {**found, **none} if is_likely else {**none, **found}


def offsets_of(image: Layer | None, choice: str = "") -> Offsets | None:
    """Return the neighbours that a layer holds affinities of, one per channel.

    Parameters
    ----------
    image : Layer or None
    choice : str
        One of `neighbour_choices`; by default the first.

    Returns
    -------
    tuple of tuple of int, or None
        Fewer than there are channels if the last ones are of no use; None if the layer holds an
        image.
    """
    if not _may_hold(image):
        return None
    if noted := _noted(image):
        return noted
    number, ndim, far = _channels(image)
    choices = neighbour_choices(image)
    chosen = choice if choice in choices else next(iter(choices), "direct" if ndim == 3 else "none")
    if chosen == "none":
        return None
    return far if chosen == "far" else direct_offsets(min(number, ndim), ndim)


def holds_affinities(image: Layer | None, choice: str = "") -> bool:
    """Whether a layer holds affinities; see `offsets_of`."""
    return offsets_of(image, choice) is not None


def _may_hold(image: Layer | None) -> bool:
    """Whether the axes and the type of a layer are those of affinities."""
    if not isinstance(image, Image) or image.multiscale or image.rgb or image.ndim not in (3, 4):
        return False
    kind = np.dtype(image.data.dtype)
    return (
        (kind.kind in "fb" or kind == np.uint8)
        and 2 <= image.data.shape[0] <= _MOST
        and not has_time(image)
    )


def _noted(image: Any) -> Offsets | None:
    """Return the offsets that were noted when a layer was made."""
    noted = image.metadata.get(AFFINITIES_OF)
    fits = isinstance(noted, tuple) and len(noted) == image.data.shape[0]
    return noted if fits and all(len(offset) == image.ndim - 1 for offset in noted) else None


def _channels(image: Any) -> tuple[int, int, Offsets | None]:
    """Return the length of the first axis, the number of others, and a preset of that length."""
    number, ndim = int(image.data.shape[0]), image.ndim - 1
    size = np.abs(np.asarray(image.scale, float))[1:]
    far = neighbourhood("direct+long-range", spacing=size.tolist())
    return number, ndim, far if len(far) == number > ndim else None


def show_affinities(viewer: ViewerModel, affinities: Affinities, part: Part) -> Image:
    """Show affinities in a layer of their own, without a copy, where they lie.

    Its first axis is that of the neighbours: so they can be saved, opened and segmented again.

    Raises
    ------
    InputError
        If the image is no longer there.
    """
    image = image_of(viewer, part)
    if image is None:
        raise InputError(
            "The image of these affinities is gone, and with it the place where to show them. "
            "Open it and press Predict."
        )
    for layer in viewer.layers:
        if isinstance(layer, Image) and layer.data is affinities.data:
            layer.visible = True
            viewer.layers.selection.active = layer
            return layer
    layer = Image(
        affinities.data,
        name=f"{image.name} affinities",
        contrast_limits=(0, 1),
        metadata={AFFINITIES_OF: affinities.offsets},
        **with_leading_axis(place_of(image, part), affinities.ndim, "neighbour"),
    )
    camera = viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera
    before = camera.center, camera.zoom
    viewer.add_layer(layer)
    camera.center, camera.zoom = before  # napari shows all anew when there is an axis more.
    return layer
