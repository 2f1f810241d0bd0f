"""What the scribble widget does, apart from its looks.

The session watches the strokes, asks for fits, shows the latest outcome in a
preview layer and writes accepted objects into a results layer. It knows napari's
layers but no Qt, and speaks through psygnal signals.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels

from napari_implicitseg.errors import ImplicitSegError, InputError
from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._accept import results_layer, write_objects
from napari_implicitseg.widgets._advice import advise
from napari_implicitseg.widgets._figure_numbers import FigureNumbers
from napari_implicitseg.widgets._preview import Preview
from napari_implicitseg.widgets._scribble_fit import BACKGROUND, FitRequest, Outcome
from napari_implicitseg.widgets._scribble_inputs import (
    WATCHED_VOXELS,
    Inputs,
    brush_size_for,
    build_request,
    highest_label,
    region_shown,
)
from napari_implicitseg.widgets._session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_implicitseg.widgets._accept import Accepted
    from napari_implicitseg.widgets._layers import Region
    from napari_implicitseg.widgets._preview import Index

__all__ = ["ScribbleSession"]

_SHAPE_ACTIONS = ("added", "removed", "changed")


class ScribbleSession(Session["Outcome"]):
    """Turns strokes into masks in one viewer.

    Parameters
    ----------
    viewer : ViewerModel
    submit : callable
        Runs a function of a progress callback in a thread; the latest wins.
    cancel : callable
        Drops what was submitted.
    postpone : callable
        Calls `look` on the next turn of the event loop.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        submit: Callable[[Callable[[Any], Outcome]], None],
        cancel: Callable[[], None],
        postpone: Callable[[], None],
    ) -> None:
        super().__init__(viewer, submit, cancel, postpone)
        self.live = True
        self.inputs = Inputs()
        self._version = 0
        self._is_due = False
        self._fitted_version = -1
        self._accept_next = False
        self.preview = Preview(viewer)
        self._asked: dict[Index, NDArray[Any]] = {}
        # Fits asked for whose outcome has not come: moving to another slice must not lose one.
        self._owed: dict[Index, FitRequest] = {}
        self._asked_version = -1
        self._history = (0, 0)
        self._numbers = FigureNumbers()

    # What the user has chosen -------------------------------------------------

    def use(self, **changes: Any) -> None:
        """Change inputs; see `Inputs` for their names."""
        new = replace(self.inputs, **changes)
        if new == self.inputs:
            return
        self._unwatch()
        old, self.inputs = self.inputs, new
        self._watch()
        if old.shapes is not new.shapes:
            self._numbers.forget()
        if (old.image, old.scribbles, old.scope) != (new.image, new.scribbles, new.scope):
            self.drop_preview()
        self.strokes_changed()

    def new_scribbles(self) -> Labels:
        """Add an empty Labels layer on the image, ready to paint background.

        Raises
        ------
        InputError
            If no image is chosen.
        """
        image = self._need_image()
        level = _layers.level_shown(image)
        shape = _layers.level_shapes(image)[level]
        layer = Labels(
            np.zeros(shape, np.uint16),
            name=f"{image.name} scribbles",
            opacity=0.9,
            **_layers.like(image, level),
        )
        layer.brush_size = brush_size_for(shape)
        if self.inputs.scribbles is not None:
            self.inputs.scribbles.visible = False  # Its strokes do not count any more.
        self.viewer.add_layer(layer)
        self.use(scribbles=layer)
        self.preview.ensure(image, layer)
        self.viewer.layers.selection.active = layer
        layer.mode = "paint"
        layer.selected_label = BACKGROUND
        self.tell()
        return layer

    def next_label(self) -> None:
        """Select the first label no stroke has yet, and the brush."""
        layer = self.inputs.scribbles
        if layer is None:
            raise InputError('There is no layer to paint on. Press "New scribbles" first.')
        highest = max(highest_label(layer, self.preview.outcomes), self._numbers.highest)
        self.viewer.layers.selection.active = layer
        layer.mode = "paint"
        layer.selected_label = max(highest, BACKGROUND) + 1
        self.tell()

    # Fitting ------------------------------------------------------------------

    def strokes_changed(self, event: object = None) -> None:
        """Note that the strokes or the inputs are not those fitted last."""
        self._is_due = False
        self._version += 1
        if self.live:
            self.fit()
        else:
            self._cancel()
            self.tell()

    @property
    def is_behind(self) -> bool:
        """Whether strokes or inputs have changed since the last fit."""
        return self._fitted_version != self._version

    def look(self) -> None:
        """Take up what was painted, unless something has read it since."""
        if self._is_due:
            self.strokes_changed()

    def fit(self, region: Region | None = None) -> None:
        """Ask for a fit of the strokes as they are now, by default of the region shown."""
        self._is_due = False
        self._cancel()
        try:
            outcomes = self.preview.outcomes
            request = build_request(
                self.viewer, self.inputs, outcomes, self._version, self._numbers, region
            )
        except ImplicitSegError as error:
            self._accept_next = False
            self.refused.emit(error)
            return
        if request is None:
            self.tell()
            return
        self._asked_version = request.version
        if isinstance(request.labels, np.ndarray):
            self._asked[request.region.index] = request.labels
        self._owed[request.region.index] = request
        self._submit(request.run)

    def receive(self, outcome: Outcome) -> None:
        """Show what a fit came to; called in the main thread."""
        if not self._is_current(outcome.request):
            return
        del self._owed[outcome.request.region.index]
        image, scribbles = self.inputs.image, self.inputs.scribbles
        if image is not None and scribbles is not None:
            self.preview.show(outcome, image, scribbles)
            shown = region_shown(self.viewer, scribbles, self.inputs.scope)
            if outcome.request.region.index == shown.index:
                self.shown.emit(outcome)
        if self._owed:
            self._submit(next(iter(self._owed.values())).run)
            return
        self._fitted_version = self._asked_version
        if self._accept_next:
            self.accept()
        else:
            self.tell()

    def _fit_changed_elsewhere(self) -> int:
        """Ask for fits of the slices not shown whose strokes were undone; return how many."""
        scribbles = self.inputs.scribbles
        stale = [
            region
            for region in self.preview.regions()
            if scribbles is not None
            and region.index in self._asked
            and not np.array_equal(self._asked[region.index], region.take(scribbles.data))
        ]
        for region in stale:
            self.fit(region)
        return len(stale)

    def stop(self) -> None:
        """Cancel the fit that runs, or note that it failed."""
        self._is_due = False
        self._cancel()
        self._accept_next = False
        self._asked_version = -1
        self._owed.clear()

    def accept(self) -> Accepted | None:
        """Write the objects shown to the results layer, after a fit if one is due.

        Returns
        -------
        Accepted or None
            None if a fit has to come first; accepting follows by itself.

        Raises
        ------
        InputError
            If there is no object to accept.
        """
        image, scribbles = self._need_image(), self.inputs.scribbles
        if scribbles is not None and self.is_behind:
            self._accept_next = True
            if self._asked_version != self._version:
                self.fit()
            return None
        self._accept_next = bool(self._fit_changed_elsewhere())
        if self._accept_next:
            return None
        coords, labels = self.preview.pending()
        if scribbles is None or not labels.size:
            raise InputError(
                "There is no new mask to accept. Paint background (label 1) and objects (label 2 "
                "and more); masks taken back with Ctrl+Z come again with Fit."
            )
        layer = results_layer(self.viewer, image, scribbles, below=self.preview.layer or scribbles)
        covers = self.preview.covers()
        accepted = write_objects(layer, coords, labels, scribbles.unique_id, covers)
        self.preview.clear()
        self.told.emit(accepted.sentence(layer.name))
        return accepted

    # Life cycle ---------------------------------------------------------------

    def pause(self) -> None:
        """Stop watching and take the preview away."""
        self._unwatch()
        self.drop_preview()

    def resume(self) -> None:
        """Watch and show again."""
        self._watch()
        self.strokes_changed()

    def close(self) -> None:
        """Let go of the viewer's layers."""
        self.pause()
        self.inputs = Inputs()

    def drop_preview(self) -> None:
        """Forget all fits and remove the preview layer."""
        self._cancel()
        self._accept_next = False
        self._fitted_version = self._asked_version = -1
        self._asked.clear()
        self._owed.clear()
        self.preview.drop()
        self.shown.emit(None)

    def tell(self, event: object = None) -> None:
        """Say what the user can do now."""
        scribbles = self.inputs.scribbles
        painted: tuple[int, ...] = ()
        accepted = False
        if scribbles is not None:
            region = region_shown(self.viewer, scribbles, self.inputs.scope)
            outcome = self.preview.outcomes.get(region.index)
            painted = outcome.painted if outcome is not None else painted
            accepted = self.preview.is_accepted(region.index)
        waits = self.is_behind and not self.live
        self.told.emit(advise(self.inputs, painted, waits=waits, accepted=accepted))

    # Inside -------------------------------------------------------------------

    def _need_image(self) -> Image:
        if self.inputs.image is None:
            raise InputError(
                "There is no image. Open one, for instance with File > Open Sample > "
                "Implicit segmentation."
            )
        return self.inputs.image

    def _is_current(self, request: FitRequest) -> bool:
        """Whether a request still speaks of the layers and strokes there are."""
        i = self.inputs
        there = all(x is not None and x in self.viewer.layers for x in (i.image, i.scribbles))
        return there and self._owed.get(request.region.index) is request

    # Watching the layers ------------------------------------------------------

    def _watch(self) -> None:
        for layer, name, callback in self._connections():
            getattr(layer.events, name).connect(callback)

    def _unwatch(self) -> None:
        for layer, name, callback in self._connections():
            getattr(layer.events, name).disconnect(callback)

    def _connections(self) -> list[tuple[Layer, str, Callable[[Any], None]]]:
        inputs = self.inputs
        found: list[tuple[Any, str, Callable[[Any], None]]] = []
        if inputs.scribbles is not None:
            found += [
                (inputs.scribbles, "paint", self._on_paint),
                (inputs.scribbles, "set_data", self._on_refresh),
                (inputs.scribbles, "selected_label", self.tell),
                (inputs.scribbles, "scale", self.strokes_changed),
            ]
        if inputs.shapes is not None:
            found += [
                (inputs.shapes, "data", self._on_shapes),
                (inputs.shapes, "features", self.strokes_changed),
                (inputs.shapes, "edge_width", self.strokes_changed),
            ]
        if inputs.image is not None:
            found.append((inputs.image, "data", self._on_image))
        if isinstance(inputs.evidence, Image):
            found.append((inputs.evidence, "data", self._on_image))
        return found

    def _on_paint(self, event: object) -> None:
        # Polygons and fills are told of before they are written.
        self._version += 1
        self._is_due = True
        self._postpone()

    def _on_image(self, event: object) -> None:
        self.drop_preview()
        self.strokes_changed()

    def _on_shapes(self, event: Any) -> None:
        action = str(getattr(event, "action", ""))
        if action == "removed":
            self._numbers.take_back(event.data_indices)
        if action in _SHAPE_ACTIONS:
            self.strokes_changed()

    def _on_refresh(self, event: object) -> None:
        """Notice undo, redo and writing to the array: napari only says 'redrawn'."""
        scribbles = self.inputs.scribbles
        if scribbles is None:
            return
        preview = self.preview.layer
        if preview is not None and preview.data.shape != scribbles.data.shape:
            self.drop_preview()  # Its boxes speak of an array of another shape.
        region = region_shown(self.viewer, scribbles, self.inputs.scope)
        now = region.take(scribbles.data)
        if isinstance(now, np.ndarray) and now.size <= WATCHED_VOXELS:
            seen = self._asked.get(region.index)
            changed = now.any() if seen is None else not np.array_equal(seen, now)
        else:
            # Too large to compare while the user scrolls: the undo history tells as much.
            history = (len(scribbles._undo_history), len(scribbles._redo_history))
            changed, self._history = history != self._history, history
        if changed:
            self.strokes_changed()
        else:
            self.tell()
