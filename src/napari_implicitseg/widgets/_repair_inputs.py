"""What the user has chosen to repair, the request that follows, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels

from napari_implicitseg.config import FitConfig
from napari_implicitseg.errors import InputError
from napari_implicitseg.ids import parse_ids
from napari_implicitseg.widgets._layers import spacing_of
from napari_implicitseg.widgets._repair_run import RepairRequest
from napari_implicitseg.widgets._scribble_inputs import WATCHED_VOXELS, region_shown

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_implicitseg.ids import IdRange
    from napari_implicitseg.widgets._repair_run import RepairOutcome

__all__ = ["IDS", "TARGETS", "RepairInputs", "advise", "build_request", "can_be_source"]

IDS = {"all": "All", "selected": "Selected label", "list": "These:"}
TARGETS = {"new": "New layer (a repaired copy)", "same": "The same layer"}
_MASKS = {
    "convex": "convex mask",
    "connected": "mask in one piece",
    "star": "star-shaped mask",
    "symmetric": "symmetric mask",
    "free": "smooth mask",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairInputs:
    """What the user has chosen.

    Attributes
    ----------
    source : Labels, Image or None
        Masks, or the probability of one object.
    scope : {"slice", "slices", "volume"}
    shape : str
    config : FitConfig
        What goes with the shape.
    ids : {"all", "selected", "list"}
    listed : str
        Ids as the user typed them.
    target : {"new", "same"}
        Where accepted masks go: a copy of the layer, or the layer.
    """

    source: Labels | Image | None = None
    scope: str = "slice"
    shape: str = "convex"
    config: FitConfig = field(default_factory=FitConfig)
    ids: str = "all"
    listed: str = ""
    target: str = "new"

    @property
    def computed(self) -> tuple[Any, ...]:
        """What a preview depends on."""
        return self.source, self.scope, self.shape, self.config, self.ids, self.listed


def can_be_source(layer: object) -> bool:
    """Whether a layer is listed: masks, and images that might be probabilities."""
    return isinstance(layer, Labels) or (isinstance(layer, Image) and not layer.rgb)


def build_request(viewer: ViewerModel, inputs: RepairInputs) -> RepairRequest:
    """Gather what a repair needs.

    Raises
    ------
    InputError
        If there is nothing to repair, or the layer is of a kind that cannot be.
    """
    source = inputs.source
    if source is None:
        raise InputError(
            "There is nothing to repair. Open a Labels layer with masks, or an image with the "
            "probability of object."
        )
    if source.multiscale:
        raise InputError(
            f"Layer '{source.name}' is multiscale; a repair needs one resolution. Add one of its "
            f"levels as a layer: viewer.add_labels(viewer.layers['{source.name}'].data[0])."
        )
    kind = np.dtype(source.data.dtype).kind
    if isinstance(source, Image) and kind != "f":
        raise InputError(
            f"Image '{source.name}' is of type {source.data.dtype}. A probability map holds "
            "floating-point numbers from 0 to 1; if these are labels, right-click the layer and "
            "choose Convert to Labels."
        )
    region = region_shown(viewer, source, inputs.scope)
    labels = region.take(source.data)
    if isinstance(labels, np.ndarray) and labels.size <= WATCHED_VOXELS:
        # Larger ones go as they are: any further edit makes this preview stale.
        labels = labels.copy()
    return RepairRequest(
        labels=labels,
        name=source.name,
        region=region,
        spacing=spacing_of(source),
        shape=inputs.shape,
        config=inputs.config,
        per_slice=inputs.scope == "slices" and len(region.axes) == 3,
        ids=_ids(inputs),
    )


def _ids(inputs: RepairInputs) -> tuple[IdRange, ...] | None:
    """Return the ids asked for, or None for all."""
    source = inputs.source
    if not isinstance(source, Labels) or inputs.ids == "all":
        return None
    if inputs.ids == "list":
        return parse_ids(inputs.listed)
    label = int(source.selected_label)
    if label <= 0:
        raise InputError(
            f"The label selected in layer '{source.name}' is {label}, which is no object. Pick an "
            "object with the layer's colour picker (key 5), or repair all."
        )
    return ((label, label),)


def advise(inputs: RepairInputs, outcome: RepairOutcome | None, *, stale: bool, other: bool) -> str:
    """Say what the user can do now.

    Parameters
    ----------
    inputs : RepairInputs
    outcome : RepairOutcome or None
        What is previewed.
    stale : bool
        Whether the masks were changed since.
    other : bool
        Whether the choices were changed since.
    """
    source = inputs.source
    if source is None:
        return "Open a Labels layer with masks, or an image with the probability of object."
    if outcome is None:
        mask = _MASKS.get(inputs.shape, "mask")
        return f"Press Preview to see the nearest {mask} of each object of '{source.name}'."
    if stale:
        return f"Layer '{source.name}' has changed since the preview. Press Preview again."
    if other:
        return "The preview shows earlier choices. Press Preview to see these."
    rows = outcome.rows
    if not rows:
        return f"Layer '{source.name}' holds no object here, so there is nothing to repair."
    held = sum(row.certificate is not None and row.certificate.holds for row in rows)
    promise = "" if inputs.shape == "free" else f", guarantee kept by {held}"
    return (
        f"{len(rows)} object{'s' * (len(rows) != 1)} in {outcome.seconds:.1f} s{promise}. The "
        "preview outlines the result: click a row to go there, then accept."
    )
