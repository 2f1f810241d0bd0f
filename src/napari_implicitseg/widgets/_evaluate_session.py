"""What the evaluation widget does, apart from its looks.

The session asks for evaluations, follows the threshold of live neurons and moves the view to
mistakes. It knows napari's layers but no Qt, and speaks through psygnal signals.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_implicitseg.errors import ImplicitSegError, InputError
from napari_implicitseg.widgets._evaluate_inputs import (
    EvaluateInputs,
    advise,
    build_request,
    fine_voxel,
    present_cut,
)
from napari_implicitseg.widgets._evaluate_jobs import EvaluateOutcome
from napari_implicitseg.widgets._neurons_link import link_of
from napari_implicitseg.widgets._neurons_view import go_to
from napari_implicitseg.widgets._session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_implicitseg.mistakes import Mistake
    from napari_implicitseg.widgets._evaluate_jobs import Cut, EvaluateRequest

__all__ = ["EvaluateSession"]

_RESTS_AFTER = 0.4
"""Seconds after which a threshold that was moved is taken to rest."""
_EDITED = ("paint", "labels_update", "data")
"""Events of a layer that tell of its voxels; `data` that it has got another array."""


class EvaluateSession(Session[EvaluateOutcome]):
    """Compares layers of one viewer.

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

    moved = Signal(object)
    """Scores of the neurons at another threshold, a `CurvePoint`."""

    def __init__(
        self,
        viewer: ViewerModel,
        submit: Callable[[Callable[[Any], EvaluateOutcome]], None],
        cancel: Callable[[], None],
        postpone: Callable[[], None],
    ) -> None:
        super().__init__(viewer, submit, cancel, postpone)
        self.inputs = EvaluateInputs()
        self.outcome: EvaluateOutcome | None = None
        self._running: EvaluateRequest | None = None
        self._running_of = self._shown_of = (self.inputs.labels, self.inputs.truth)
        # How the live neurons were cut when they were looked at last, and since when.
        self._cut: Cut | None = None
        self._cut_since = 0.0
        self._is_stale = False

    # What the user has chosen -------------------------------------------------

    def use(self, **changes: Any) -> None:
        """Change inputs; see `EvaluateInputs` for their names."""
        new = replace(self.inputs, **changes)
        if new == self.inputs:
            return
        self._unwatch()
        old, self.inputs = self.inputs, new
        self._watch()
        if (old.labels, old.truth) != (new.labels, new.truth):
            self.stop()
        self.tell()

    # Evaluating ---------------------------------------------------------------

    def evaluate(self) -> None:
        """Ask for an evaluation of the layers as they are now."""
        self._ask(None)

    def _ask(self, before: EvaluateOutcome | None) -> None:
        """Ask for an evaluation, of the same neurons as one before or from the start."""
        self.stop()
        inputs = self.inputs
        if before is not None:
            # Those of the evaluation shown, whatever the user has chosen since.
            labels, truth = self._shown_of
            request = before.request
            inputs = replace(inputs, ignore=request.ignore, border=request.border)
            inputs = replace(inputs, labels=labels, truth=truth)
        try:
            request = build_request(inputs, None if before is None else before.known)
        except ImplicitSegError as error:
            self.refused.emit(error)
            return
        self._running = request
        self._running_of = (inputs.labels, inputs.truth)
        self._cut, self._cut_since = request.cut, time.monotonic()
        if before is None:
            self._is_stale = False
            self.told.emit(f"Comparing '{request.names[0]}' with '{request.names[1]}'...")
        self._submit(request.run)

    def receive(self, outcome: EvaluateOutcome) -> None:
        """Show what an evaluation came to; called in the main thread."""
        if outcome.request is self._running:
            self._show(outcome)
            self._running = None
            self.tell()

    def receive_early(self, outcome: EvaluateOutcome) -> None:
        """Show figures while the places of the mistakes are looked for."""
        if outcome.request is self._running:
            self._show(outcome)

    def _show(self, outcome: EvaluateOutcome) -> None:
        self._shown_of, self.outcome = self._running_of, outcome
        self.shown.emit(outcome)

    @property
    def shown_layers(self) -> tuple[Labels | None, Labels | None]:
        """Labels and truth of the evaluation shown."""
        return self._shown_of

    def stop(self) -> None:
        """Cancel the evaluation that runs, or note that it failed; what is shown stays."""
        self._cancel()
        self._running = None
        self._cut_since = math.inf  # What was cancelled is not asked for again by itself.

    # Live neurons -------------------------------------------------------------

    def follow(self) -> None:
        """Look whether the live neurons are cut otherwise than when they were looked at last.

        What their fragments tell at once is shown; the rest follows when the threshold rests.
        """
        outcome = self.outcome
        if outcome is None or outcome.known is None or self._is_first:
            return
        labels = self._shown_of[0]
        cut = present_cut(labels) if labels in self.viewer.layers else None
        if cut is None:
            return
        if self._cut is None or cut.lookup is not self._cut.lookup:
            if self._running is not None:
                self.stop()
            self._cut, self._cut_since = cut, time.monotonic()
            point = outcome.known.scores(cut)
            if point is not None:
                self.moved.emit(point)
            return
        shown = outcome.request.cut
        late = shown is None or shown.lookup is not cut.lookup
        if late and self._running is None and time.monotonic() - self._cut_since > _RESTS_AFTER:
            self._ask(outcome)

    @property
    def _is_first(self) -> bool:
        """Whether an evaluation runs that the user has asked for."""
        return self._running is not None and self._running.known is None

    @property
    def is_live(self) -> bool:
        """Whether the neurons shown are cut by *Volume to neurons* now."""
        labels = self._shown_of[0]
        live = self.outcome is not None and self.outcome.known is not None
        return live and labels in self.viewer.layers and present_cut(labels) is not None

    def move(self, threshold: float) -> None:
        """Cut the live neurons at another threshold.

        Raises
        ------
        InputError
            If no panel cuts them now.
        """
        labels = self._shown_of[0]
        link = link_of(labels) if labels in self.viewer.layers else None
        if link is None or link.work() is None:
            raise InputError(
                "These labels are not cut live: open them in Volume to neurons, then evaluate "
                "again."
            )
        link.move(threshold)
        self.follow()

    # Looking ------------------------------------------------------------------

    def jump(self, mistake: Mistake) -> None:
        """Move the view to a mistake, and choose the objects there in their layers.

        Raises
        ------
        InputError
            If the layers are gone, or it is not known yet where to look.
        """
        outcome = self.outcome
        if outcome is None or mistake not in outcome.mistakes:
            return
        there = [layer in self.viewer.layers for layer in self._shown_of]
        if not any(there):
            raise InputError("The layers that were compared are not in the viewer any more.")
        place = None if outcome.places is None else outcome.places[outcome.mistakes.index(mistake)]
        if place is None:
            raise InputError(
                "The place of this mistake is still looked for; click again in a moment."
                if outcome.places is None
                else "There is no place to show for this mistake."
            )
        ids = (mistake.parts[1], mistake.id)
        sides = zip(self._shown_of, outcome.request.levels, there, strict=True)
        placed = [(layer, level) for layer, level, shown in sides if shown and layer is not None]
        layer, level = placed[0]
        go_to(self.viewer, layer, fine_voxel(layer, level, place))  # type: ignore[arg-type]
        self._select(ids if mistake.kind == "split" else ids[::-1], there)
        link = link_of(self._shown_of[0])
        if there[0] and link is not None and link.work() is not None:
            link.select(place)

    def _select(self, ids: tuple[int, ...], there: list[bool]) -> None:
        """Choose objects in the layers that are still there; 0 is none."""
        for layer, label, shown in zip(self._shown_of, ids, there, strict=True):
            if shown and layer is not None and label:
                layer.selected_label = label

    # Saying -------------------------------------------------------------------

    def tell(self, event: object = None) -> None:
        """Say what the user can do now."""
        if self._running is None or self._running.known is not None:
            self.told.emit(self._advice())

    def _advice(self) -> str:
        outcome = self.outcome
        same = (self.inputs.labels, self.inputs.truth) == self._shown_of
        if outcome is None or not same:
            return advise(self.viewer, self.inputs)
        if self._is_stale:
            return "The layers have changed since. Press Evaluate to compare them again."
        request = outcome.request
        if (self.inputs.ignore, self.inputs.border) != (request.ignore, request.border):
            return "Press Evaluate to compare them with these options."
        found = outcome.found
        first = (
            f"VOI {found['voi']:.3g} bits: {found['voi_split']:.3g} by splits, "
            f"{found['voi_merge']:.3g} by merges. "
        )
        if not outcome.mistakes:
            return first + "There is no mistake."
        return first + "Click a mistake to go there."

    # Life cycle ---------------------------------------------------------------

    def look(self) -> None:
        """Notice that the voxels of a layer have changed."""
        if not self._is_stale:
            self._is_stale = True
            self.tell()

    def _on_edit(self, event: Any) -> None:
        followed = event.source is self._shown_of[0] and self.is_live
        if self.outcome is not None and event.source in self._shown_of and not followed:
            self._postpone()

    def _watch(self) -> None:
        for layer in self._watched():
            for name in _EDITED:
                getattr(layer.events, name).connect(self._on_edit)

    def _unwatch(self) -> None:
        for layer in self._watched():
            for name in _EDITED:
                getattr(layer.events, name).disconnect(self._on_edit)

    def _watched(self) -> list[Labels]:
        """Layers whose edits have to be noticed."""
        both = (self.inputs.labels, self.inputs.truth)
        return [layer for layer in both if layer is not None]

    def pause(self) -> None:
        """Stop watching; what is shown stays."""
        self._unwatch()
        self.stop()

    def resume(self) -> None:
        """Watch again."""
        self._watch()
        self._cut_since = time.monotonic()
        self.tell()

    def close(self) -> None:
        """Let go of the viewer's layers."""
        self.pause()
        self.inputs, self.outcome = EvaluateInputs(), None
        self._running_of = self._shown_of = (None, None)
        self._cut = None
