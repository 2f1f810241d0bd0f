"""What the neurons widget does, apart from its looks.

The session asks for jobs, shows the neurons in a layer and corrects them as the user clicks.
It knows napari's layers but no Qt, and speaks through psygnal signals.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from psygnal import Signal

from napari_implicitseg.errors import ImplicitSegError, InputError
from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._drawing_layers import scribbles_layer
from napari_implicitseg.widgets._neurons_edits import Corrections, clicked_voxel, describe
from napari_implicitseg.widgets._neurons_inputs import (
    NeuronsInputs,
    holds_affinities,
    predict_request,
    seeds_of,
    train_request,
)
from napari_implicitseg.widgets._neurons_jobs import (
    Outcome,
    PredictRequest,
    SeedRequest,
    SegmentRequest,
    SplitRequest,
    UncertainRequest,
    threshold_at,
)
from napari_implicitseg.widgets._neurons_view import NeuronsView, go_to
from napari_implicitseg.widgets._session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_implicitseg._types import LabelArray
    from napari_implicitseg.widgets._neurons_jobs import Request

__all__ = ["NeuronsSession"]


class NeuronsSession(Session[Outcome]):
    """Takes one viewer from an image to neurons.

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

    trained = Signal(str)
    """The folder of a model that was trained."""

    def __init__(
        self,
        viewer: ViewerModel,
        submit: Callable[[Callable[[Any], Outcome]], None],
        cancel: Callable[[], None],
        postpone: Callable[[], None],
    ) -> None:
        super().__init__(viewer, submit, cancel, postpone)
        self.inputs = NeuronsInputs()
        self.view = NeuronsView(viewer)
        self.corrections = Corrections(self.view)
        self.share = 0.5
        self._running: Request | None = None
        self._running_on: Image | None = None
        # What was predicted last, and of which layer; what is cut, and of which layer.
        self._predicted: Any = None
        self._predicted_of = self._work_of = ""
        self._level = self._running_level = 0
        self._scribbles: Labels | None = None
        self._watching = False
        self.resume()

    # What the user has chosen -------------------------------------------------

    def use(self, **changes: Any) -> None:
        """Change inputs; see `NeuronsInputs` for their names."""
        new = replace(self.inputs, **changes)
        if new == self.inputs:
            return
        old, self.inputs = self.inputs, new
        of_image = isinstance(self._running, PredictRequest | SegmentRequest)
        if of_image and old.image is not new.image:
            self.stop()
        self.tell()

    # Jobs ---------------------------------------------------------------------

    def predict(self) -> None:
        """Ask for the affinities of the image."""
        self._ask(lambda: predict_request(self.inputs))

    def segment(self) -> None:
        """Ask for a hierarchy of the affinities; corrections made so far are replayed."""
        self._ask(self._segment_request)

    def train(self, labels: Labels | None, steps: int, out: str) -> None:
        """Ask for a training from painted sections."""
        self._ask(lambda: train_request(self.inputs, labels, steps, out))

    def cut_by_seeds(self, layer: Layer | None) -> None:
        """Ask for a cut by the seeds of a layer."""

        def request() -> SeedRequest:
            work, neurons = self.corrections.work, self.view.layer
            if work is None or neurons is None:
                raise InputError("There are no neurons yet. Press Segment first.")
            seeds = seeds_of(layer, neurons)
            name = "" if layer is None else layer.name
            return SeedRequest(hierarchy=work.hierarchy, seeds=seeds, name=name)

        self._ask(request)

    def _segment_request(self) -> SegmentRequest:
        image = self.inputs.image
        if image is None:
            raise InputError("There is no image. Open one, or affinities of shape (3, z, y, x).")
        own = holds_affinities(image)
        if not own and self._predicted_of != image.unique_id:
            raise InputError(f"There are no affinities of '{image.name}' yet. Press Predict first.")
        work = self.corrections.work
        edits = work.edits if work is not None and self._work_of == image.unique_id else ()
        return SegmentRequest(
            affinities=image.data if own else self._predicted,
            name=image.name,
            linkage=self.inputs.linkage,  # type: ignore[arg-type]  # build_hierarchy checks it
            share=self.share,
            edits=edits,
        )

    def _ask(self, make: Callable[[], Request]) -> None:
        """Submit a request, or refuse it."""
        if isinstance(self._running, UncertainRequest):
            self.stop()  # That is quick, and asked for again by N.
        try:
            if self._running is not None:
                raise InputError(
                    f"{self._running.doing} is under way. Wait until it is done, or press Cancel."
                )
            request = make()
        except ImplicitSegError as error:
            self.refused.emit(error)
            return
        self._running, self._running_on = request, self.inputs.image
        if isinstance(request, PredictRequest) and self.inputs.image is not None:
            self._running_level = _layers.level_shown(self.inputs.image)
        self.told.emit(f"{request.doing}...")
        self._submit(request.run)

    def receive(self, outcome: Outcome) -> None:
        """Show what a job came to; called in the main thread."""
        if outcome.request is not self._running:
            return
        image, self._running, self._running_on = self._running_on, None, None
        if outcome.decisions is not None or outcome.strokes is not None:
            self.correct(lambda: self._corrected(outcome))
            return
        if image is not None and image in self.viewer.layers:
            self._show(outcome, image)
        if outcome.work is None and outcome.labels is not None:
            self._add_seeded(outcome.labels)
        self.shown.emit(outcome)
        self.tell()
        if outcome.model:
            self.trained.emit(outcome.model)
            self.told.emit(f"The model in '{outcome.model}' is trained and chosen. Press Predict.")

    def _show(self, outcome: Outcome, image: Image) -> None:
        """Keep what was predicted of an image, or show its neurons."""
        if outcome.affinities is not None:
            self._predicted, self._predicted_of = outcome.affinities, image.unique_id
            self._level = self._running_level
        if outcome.work is not None and outcome.labels is not None:
            level = 0 if holds_affinities(image) else self._level
            layer = self.view.show(outcome.labels, image, level, f"{image.name} neurons")
            self.viewer.layers.selection.active = layer
            self._work_of = image.unique_id
            self.corrections.start(outcome.work)
            self.cut(self.share)  # The slider may have moved meanwhile.

    def _add_seeded(self, labels: LabelArray) -> None:
        """Add a layer of what seeds have come to."""
        neurons = self.view.layer
        if neurons is not None:
            name = f"{neurons.name} by seeds"
            self.viewer.add_layer(Labels(labels, name=name, **_layers.like(neurons)))

    def stop(self) -> None:
        """Cancel the job that runs, or note that it failed; what is shown stays."""
        self._cancel()
        self._running = self._running_on = None

    # Cutting ------------------------------------------------------------------

    def cut(self, share: float) -> None:
        """Cut where the slider is, 0 to 1."""
        self.share = share
        work = self.corrections.work
        if work is not None:
            self.corrections.cut(threshold_at(work.hierarchy, share))
            self.shown.emit(None)

    def correct(self, action: Callable[[], str]) -> None:
        """Do something to the neurons and say what; errors are refused in words."""
        try:
            said = action()
        except ImplicitSegError as error:
            self.refused.emit(error)
        else:
            if said:
                self.told.emit(said)
            else:
                self.tell()
        self.shown.emit(None)

    def merge(self) -> str:
        """Start to merge, or leave it."""
        if self.corrections.merging:
            self.corrections.stop_merging()
            return ""
        said = self.corrections.start_merging()
        if self.view.layer is not None:
            self.viewer.layers.selection.active = self.view.layer  # So that nobody paints.
        return said

    def split(self) -> None:
        """Cut between the strokes; without any, paint them."""
        layer = self.scribbles
        if layer is None or not np.any(layer.data):
            self.correct(self.new_scribbles)
            return
        self._ask(
            lambda: SplitRequest(
                work=copy.copy(self.corrections.needed()), strokes=layer.data, name=layer.name
            )
        )

    def next_uncertain(self) -> None:
        """Go to the closest decision not seen yet, which may have to be looked up."""
        self.correct(self._next)

    def _next(self) -> str:
        """Go to the next decision, or ask for some, and say what it is."""
        corrections, neurons = self.corrections, self.view.layer
        decision = corrections.next_uncertain()
        if decision is not None and neurons is not None:
            go_to(self.viewer, neurons, decision.voxel)
            return describe(decision)
        if isinstance(self._running, UncertainRequest):
            return ""
        work, limit = copy.copy(corrections.needed()), corrections.limit
        self._ask(lambda: UncertainRequest(work=work, limit=limit))
        return ""

    def _corrected(self, outcome: Outcome) -> str:
        """Show what a split or the look for decisions has come to, and say it."""
        work, found = self.corrections.needed(), outcome.request
        if isinstance(found, UncertainRequest) and outcome.decisions is not None:
            # What was corrected meanwhile, or recut, changes which are near.
            if (found.work.edits, found.work.threshold) == (work.edits, work.threshold):
                self.corrections.offer(outcome.decisions)
            return self._next()
        assert outcome.work is not None
        assert outcome.strokes is not None
        if outcome.work.edits[:-1] != work.edits:
            raise InputError("The neurons were corrected meanwhile. Press Split again.")
        outcome.work.threshold = work.threshold
        said = self.corrections.take_split(
            outcome.work, tuple(int(axis[0]) for axis in outcome.strokes)
        )
        if self.scribbles is not None:
            # By napari's history: Ctrl+Z in that layer brings the strokes back.
            self.scribbles.data_setitem(outcome.strokes, 0)
            self.viewer.layers.selection.active = self.view.layer
        return said

    @property
    def scribbles(self) -> Labels | None:
        """The layer of strokes to split by, if it is in the viewer and fits."""
        layer, neurons = self._scribbles, self.view.layer
        fits = layer is not None and neurons is not None and layer in self.viewer.layers
        return layer if fits and layer.data.shape == neurons.data.shape else None  # type: ignore[union-attr]

    def new_scribbles(self) -> str:
        """Add a layer of strokes, or take the one there is, and paint; say what to paint.

        Raises
        ------
        InputError
            If there are no neurons.
        """
        neurons = self.view.layer
        if neurons is None:
            raise InputError("There are no neurons yet. Press Segment first.")
        layer = self.scribbles
        if layer is None:
            layer = scribbles_layer(neurons)
            layer.name = "scribbles"
            self._scribbles = layer
            self.viewer.add_layer(layer)
        self.viewer.layers.selection.active = layer
        layer.mode, layer.selected_label = "paint", 1
        return (
            "Paint two strokes of different labels into one neuron (M is the next label), then "
            "press S."
        )

    # Clicks -------------------------------------------------------------------

    def _on_drag(self, viewer: object, event: Any) -> Iterator[None]:
        """Take a press that is no drag, where nobody paints, for a choice."""
        active = self.viewer.layers.selection.active
        painting = active is not None and str(getattr(active, "mode", "")) != "pan_zoom"
        if event.button != 1 or event.modifiers or painting:
            return
        yield
        while event.type == "mouse_move":
            if event.is_dragging and _moved(event):
                return
            yield
        layer = self.view.layer
        if layer is None or self.corrections.work is None or not layer.visible:
            return
        voxel = clicked_voxel(layer, event)
        if voxel is not None:
            self.correct(lambda: self.corrections.click(voxel))

    # Life cycle ---------------------------------------------------------------

    def look(self) -> None:
        """Nothing is postponed here."""

    def tell(self, event: object = None) -> None:
        """Say what the user can do now."""
        if self._running is None:
            self.told.emit(self._advice())

    def _advice(self) -> str:
        image, work = self.inputs.image, self.corrections.work
        same = image is None or self._work_of == image.unique_id
        if same and work is not None and self.view.layer is not None:
            return (
                "Move the slider until most neurons are right, then correct the others: click "
                "one, merge by M, split by S, freeze by F; N goes to what is most uncertain."
            )
        if image is None:
            return "Open an image of cells, or affinities of shape (3, z, y, x)."
        if holds_affinities(image):
            return f"'{image.name}' holds affinities. Press Segment."
        if self._predicted_of == image.unique_id:
            return f"The affinities of '{image.name}' are there. Press Segment."
        return f"Choose a model for '{image.name}' and press Predict."

    def pause(self) -> None:
        """Stop watching and take the mark away."""
        self.stop()
        self.corrections.stop_merging()
        self.view.drop_mark()
        if self._watching:
            self.viewer.mouse_drag_callbacks.remove(self._on_drag)
            self._watching = False

    def resume(self) -> None:
        """Watch again."""
        if not self._watching:
            self.viewer.mouse_drag_callbacks.append(self._on_drag)
            self._watching = True

    def close(self) -> None:
        """Let go of the viewer's layers."""
        self.pause()
        self.view.close()
        self.corrections.work = self._predicted = None
        self.inputs = NeuronsInputs()


def _moved(event: Any) -> bool:
    """Whether a move is a real one; hands tremble."""
    press = getattr(event, "press_event", None)
    if press is None:
        return True
    return bool(np.linalg.norm(np.subtract(event.pos, press.pos)) > 3)
