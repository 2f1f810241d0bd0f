"""The preview layer: the outcomes of fits that were not accepted yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from napari.layers import Labels

from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._layers import HIDDEN_FROM_CHOICES

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer
    from numpy.typing import DTypeLike, NDArray

    from napari_implicitseg.widgets._layers import Region
    from napari_implicitseg.widgets._scribble_fit import Outcome

__all__ = ["Index", "Preview", "insert_below", "remove_quietly"]

Index: TypeAlias = tuple[int | None, ...]
"""Position of a region: one entry per axis, None along whole ones."""


class Preview:
    """Shows the latest outcome of each slice (or volume) in a Labels layer.

    Parameters
    ----------
    viewer : ViewerModel

    Attributes
    ----------
    outcomes : dict of Index to Outcome
        What fits have come to; kept after accepting, for warm starts.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layer: Labels | None = None
        self.outcomes: dict[Index, Outcome] = {}
        # Outcomes on the way that are drawn in place of those.
        self._early: dict[Index, Outcome] = {}
        self._pending: set[Index] = set()

    @property
    def layer(self) -> Labels | None:
        """The layer, if it is in the viewer; users may delete it."""
        return self._layer if self._layer in self._viewer.layers else None

    def show(self, outcome: Outcome, image: Image, scribbles: Labels) -> None:
        """Write an outcome into the layer, making that if it is not there."""
        index = outcome.request.region.index
        before = self._early.pop(index, None) or self.outcomes.get(index)
        self.outcomes[index] = outcome
        self._pending.add(index)
        dtype = np.uint16 if outcome.labels is None else outcome.labels.dtype
        _draw(self.ensure(image, scribbles, dtype), before, outcome)

    def show_early(self, outcome: Outcome, image: Image, scribbles: Labels) -> None:
        """Write an outcome of a fit that goes on; it cannot be accepted."""
        index = outcome.request.region.index
        before = self._early.get(index) or self.outcomes.get(index)
        self._early[index] = outcome
        dtype = np.uint16 if outcome.labels is None else outcome.labels.dtype
        _draw(self.ensure(image, scribbles, dtype), before, outcome)

    def take_back_early(self) -> None:
        """Show again what fits have come to, where a fit was broken off."""
        layer = self.layer
        for index, early in self._early.items():
            if layer is not None:
                # What was accepted has left the preview.
                _draw(layer, early, self.outcomes[index] if index in self._pending else None)
        self._early.clear()

    def ensure(self, image: Image, scribbles: Labels, dtype: DTypeLike = np.uint16) -> Labels:
        """Return the layer where the image lies, made if it is not there or cannot hold the ids."""
        old = self.layer
        level = _layers.level_matching(image, scribbles)
        if old is not None and np.can_cast(dtype, old.data.dtype):
            _layers.align(old, image, level)
            return old
        data = np.zeros(scribbles.data.shape, dtype)
        if old is not None:
            data[...] = old.data
            self._viewer.layers.remove(old)
        layer = Labels(
            data,
            name=f"{image.name} preview",
            opacity=0.45,
            metadata={HIDDEN_FROM_CHOICES: True},
            **_layers.like(image, level),
        )
        insert_below(self._viewer, layer, scribbles)
        layer.editable = False
        self._layer = layer
        return layer

    def pending(self) -> tuple[tuple[NDArray[np.intp], ...], NDArray[Any]]:
        """Return the voxels of objects not accepted yet, and their ids."""
        self.take_back_early()
        layer = self.layer
        found, ids = [], []
        for index in self._pending:
            outcome = self.outcomes[index]
            if layer is None or outcome.labels is None or outcome.box is None:
                continue
            box = outcome.request.region.place(outcome.box)
            part = layer.data[box]
            at = np.nonzero(part)
            found.append(np.stack([a + (s.start or 0) for a, s in zip(at, box, strict=True)]))
            ids.append(part[at])
        if not found:
            return (), np.empty(0, np.uint16)
        return tuple(np.concatenate(found, axis=1)), np.concatenate(ids)

    def is_accepted(self, index: Index) -> bool:
        """Whether a region has an outcome and it was accepted."""
        return index in self.outcomes and index not in self._pending

    def regions(self) -> list[Region]:
        """Return the regions with outcomes not accepted yet."""
        return [self.outcomes[index].request.region for index in self._pending]

    def covers(self) -> list[tuple[slice, ...]]:
        """Return the parts of the image that the pending outcomes speak of."""
        return [region.place((slice(None),) * len(region.axes)) for region in self.regions()]

    def clear(self) -> None:
        """Empty the layer once its objects are in the results layer."""
        layer = self.layer
        if layer is not None:
            for index in self._pending:
                outcome = self.outcomes[index]
                if outcome.box is not None:
                    layer.data[outcome.request.region.place(outcome.box)] = 0
            layer.refresh(extent=False, highlight=False)
        self._pending.clear()

    def drop(self) -> None:
        """Forget all outcomes and remove the layer."""
        layer, self._layer = self.layer, None
        self.outcomes.clear()
        self._early.clear()
        self._pending.clear()
        if layer is not None:
            remove_quietly(self._viewer, layer)


def _draw(layer: Labels, before: Outcome | None, now: Outcome | None) -> None:
    """Write one outcome over another of the same region; None is empty."""
    known = now or before
    if known is None:
        return
    target = known.request.region.take(layer.data)
    labels = now.labels if now is not None else None
    # Only what was or is an object is written: the rest of a large image stays as it is.
    for box in (outcome.box for outcome in (before, now) if outcome is not None):
        if box is not None:
            target[box] = 0 if labels is None else labels[box]
    layer.refresh(extent=False, thumbnail=False, highlight=False)


def remove_quietly(viewer: ViewerModel, layer: Layer) -> None:
    """Remove a layer without taking the selection from the user."""
    active = viewer.layers.selection.active
    viewer.layers.remove(layer)
    if active is not layer and active in viewer.layers:
        viewer.layers.selection.active = active


def insert_below(viewer: ViewerModel, layer: Labels, other: Labels) -> None:
    """Add a layer under another one without taking the selection from the user."""
    active = viewer.layers.selection.active
    viewer.layers.insert(viewer.layers.index(other), layer)
    viewer.layers.selection.active = active
