"""What the scribble widget does, apart from its looks.

The session watches the strokes, asks for fits, shows the latest outcome in a
preview layer and writes accepted objects into a results layer. It knows napari's
layers but no Qt, and speaks through psygnal signals.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from napari_implicitseg.errors import ImplicitSegError, InputError
from napari_implicitseg.widgets._accept import results_layer, write_objects
from napari_implicitseg.widgets._advice import advise
from napari_implicitseg.widgets._drawing_layers import (
    draw_outlines,
    outlines_layer,
    scribbles_layer,
)
from napari_implicitseg.widgets._scribble_fit import BACKGROUND, FitRequest, Outcome
from napari_implicitseg.widgets._scribble_inputs import (
    Inputs,
    build_request,
    highest_label,
    region_shown,
)
from napari_implicitseg.widgets._scribble_watch import ScribbleWatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Shapes

    from napari_implicitseg.widgets._accept import Accepted
    from napari_implicitseg.widgets._layers import Region
    from napari_implicitseg.widgets._preview import Index

__all__ = ["ScribbleSession"]


class ScribbleSession(ScribbleWatch):
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
        self._fitted_version = -1
        self._accept_next = False
        # Fits asked for whose outcome has not come: moving to another slice must not lose one.
        self._owed: dict[Index, FitRequest] = {}
        self._asked_version = -1

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
        layer = scribbles_layer(image)
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

    def new_outlines(self) -> Shapes:
        """Return a Shapes layer to draw sloppy outlines in, a new one if there is none.

        Raises
        ------
        InputError
            If no image is chosen.
        """
        return outlines_layer(self.viewer, self._need_image())

    @property
    def suits_outlines(self) -> bool:
        """Whether there are scribbles that outlines may go with: strokes in objects are none."""
        scribbles = self.inputs.scribbles
        if scribbles is None or self.inputs.has_outlines:
            return scribbles is not None
        return self._highest(scribbles) <= BACKGROUND

    def next_label(self) -> None:
        """Select the first label no stroke has yet, and the brush; or the lasso."""
        layer = self.inputs.scribbles
        if layer is None:
            raise InputError('There is no layer to paint on. Press "New scribbles" first.')
        if self.inputs.has_outlines and self.inputs.shapes is not None:
            draw_outlines(self.viewer, self.inputs.shapes)
            self.tell()
            return
        self.viewer.layers.selection.active = layer
        layer.mode = "paint"
        layer.selected_label = self.next_id
        self.tell()

    @property
    def next_id(self) -> int:
        """The first id that neither a stroke nor a figure has."""
        scribbles = self.inputs.scribbles
        highest = self._highest(scribbles) if scribbles is not None else BACKGROUND
        return max(highest, BACKGROUND) + 1

    def _highest(self, scribbles: Labels) -> int:
        """Return the largest id of a stroke or a figure."""
        return max(highest_label(scribbles, self.preview.outcomes), self._numbers.highest)

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
        # Until the outcome is there, what is shown may be one on the way: not to be accepted.
        self._fitted_version = -1
        self._asked_version = request.version
        self._asked.remember(request)
        self._owed[request.region.index] = request
        self._submit(request.run)

    def receive(self, outcome: Outcome) -> None:
        """Show what a fit came to; called in the main thread."""
        if not self._is_current(outcome.request):
            return
        del self._owed[outcome.request.region.index]
        self._show(outcome)
        if self._owed:
            self._submit(next(iter(self._owed.values())).run)
            return
        self._fitted_version = self._asked_version
        if self._accept_next:
            self.accept()
        else:
            self.tell()

    def receive_early(self, outcome: Outcome) -> None:
        """Show what a fit has come to on its way; called in the main thread."""
        if self._is_current(outcome.request):
            self._show(outcome)

    def _show(self, outcome: Outcome) -> None:
        """Show an outcome in the preview, and in words if its region is shown."""
        image, scribbles = self.inputs.image, self.inputs.scribbles
        if image is None or scribbles is None:
            return
        show = self.preview.show if outcome.is_final else self.preview.show_early
        show(outcome, image, scribbles)
        if outcome.request.region.index == self._index_shown(scribbles):
            self.shown.emit(outcome)

    def _index_shown(self, scribbles: Labels) -> Index:
        """Return where the region shown is."""
        return region_shown(self.viewer, scribbles, self.inputs.scope).index

    def _fit_changed_elsewhere(self) -> int:
        """Ask for fits of the slices not shown whose strokes were undone; return how many."""
        scribbles = self.inputs.scribbles
        if scribbles is None:
            return 0
        stale = self._asked.stale(self.preview.regions(), scribbles)
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
        self.preview.take_back_early()
        scribbles = self.inputs.scribbles
        if scribbles is not None:
            self.shown.emit(self.preview.outcomes.get(self._index_shown(scribbles)))

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
        self._asked.forget()
        self._owed.clear()
        self.preview.drop()
        self.shown.emit(None)

    def tell(self, event: object = None) -> None:
        """Say what the user can do now."""
        scribbles = self.inputs.scribbles
        painted: tuple[int, ...] = ()
        accepted = False
        if scribbles is not None:
            index = self._index_shown(scribbles)
            outcome = self.preview.outcomes.get(index)
            painted = outcome.painted if outcome is not None else painted
            accepted = self.preview.is_accepted(index)
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
