"""What the neurons widget does, apart from its looks.

The session asks for jobs, shows the neurons in a layer and corrects them as the user clicks.
It knows napari's layers but no Qt, and speaks through psygnal signals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from psygnal import Signal

from napari_implicitseg.errors import ImplicitSegError, InputError
from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._neurons_clicks import Clicks
from napari_implicitseg.widgets._neurons_edit_jobs import (
    MaskRequest,
    SeedRequest,
    SowRequest,
    SplitRequest,
    UncertainRequest,
)
from napari_implicitseg.widgets._neurons_edits import describe
from napari_implicitseg.widgets._neurons_handing import HandedOver, hand_over
from napari_implicitseg.widgets._neurons_inputs import NeuronsInputs, seeds_of
from napari_implicitseg.widgets._neurons_jobs import share_at, threshold_at
from napari_implicitseg.widgets._neurons_link import NeuronsLink
from napari_implicitseg.widgets._neurons_making import NeuronsMaking, Running
from napari_implicitseg.widgets._neurons_strokes import SplitStrokes
from napari_implicitseg.widgets._neurons_view import go_to

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_implicitseg.hierarchy.edits import Edit
    from napari_implicitseg.hierarchy.proofreading import Proofreading
    from napari_implicitseg.widgets._neurons_jobs import Outcome

__all__ = ["NeuronsSession"]


class NeuronsSession(NeuronsMaking):
    """Takes one viewer from an image to neurons, and corrects these.

    Parameters
    ----------
    viewer, submit, cancel, postpone
        See `Session`.
    """

    trained = Signal(str)
    """The folder of a model that was trained."""
    moved = Signal(float)
    """Where the slider is now, 0 to 1, if it was not the user who moved it."""

    def __init__(
        self,
        viewer: ViewerModel,
        submit: Callable[[Callable[[Any], Outcome]], None],
        cancel: Callable[[], None],
        postpone: Callable[[], None],
    ) -> None:
        super().__init__(viewer, submit, cancel, postpone)
        self.strokes = SplitStrokes(viewer, self.view)
        self.handed: HandedOver | None = None
        self._clicks = Clicks(viewer, lambda: self.view.layer, self._clicked)
        self._saved: tuple[Edit, ...] = ()
        self._link = NeuronsLink(lambda: self.corrections.work, self.move, self._select)
        self._linked: Labels | None = None
        self.resume()

    # Neurons there are --------------------------------------------------------

    def begin(self, outcome: Outcome, layer: Labels) -> None:
        """Begin to correct neurons that were made anew and are shown in a layer."""
        if outcome.work is None:
            return
        if self._linked is not layer:
            self._unlink()
            self._link.attach(layer)
            self._linked = layer
        if not outcome.work.edits:
            self._saved = ()
        self.corrections.start(outcome.work)
        self.cut(self.share)  # The slider may have moved meanwhile.

    def add_seeded(self, outcome: Outcome) -> None:
        """Add a layer of what seeds have come to."""
        neurons = self.view.layer
        if neurons is not None and outcome.labels is not None:
            name = f"{neurons.name} by seeds"
            self.viewer.add_layer(Labels(outcome.labels, name=name, **_layers.like(neurons)))

    def finished(self, outcome: Outcome) -> None:
        """Say that a model is trained."""
        if outcome.model:
            self.trained.emit(outcome.model)
            self.told.emit(f"The model in '{outcome.model}' is trained and chosen. Press Predict.")

    def _unlink(self) -> None:
        """Let no other panel move a layer that is not ours any more."""
        if self._linked is not None:
            self._link.detach(self._linked)
        self._linked = None

    # Cutting ------------------------------------------------------------------

    def cut(self, share: float) -> None:
        """Cut where the slider is, 0 to 1."""
        self.share = share
        work = self.corrections.work
        if work is not None:
            self.corrections.cut(threshold_at(work.hierarchy, share))
            self.shown.emit(None)

    def move(self, threshold: float) -> None:
        """Cut at a threshold and move the slider there; refuse one that is out of range."""

        def recut() -> str:
            work = self.corrections.needed()
            self.corrections.cut(threshold)
            self.share = share_at(work.hierarchy, threshold)
            self.moved.emit(self.share)
            return ""

        self.correct(recut)

    # Correcting ---------------------------------------------------------------

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

    def _clicked(self, voxel: tuple[int, ...]) -> None:
        if self.corrections.work is not None:
            self.correct(lambda: self.corrections.click(voxel))

    def _select(self, voxel: tuple[int, ...]) -> None:
        def select() -> str:
            self.corrections.needed()
            self.corrections.select(voxel)
            return ""

        self.correct(select)

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
        layer = self.strokes.layer
        if layer is None or self.strokes.is_empty:
            self.correct(self.strokes.paint)
            return
        self.ask(
            lambda: self._about(
                SplitRequest(work=self._copy(), strokes=layer.data, name=layer.name)
            )
        )

    def cut_by_seeds(self, layer: Layer | None, *, apart: bool = False) -> None:
        """Ask for a cut by the seeds of a layer, as a correction or in a layer apart."""

        def ask() -> Running:
            work, neurons = self.corrections.work, self.view.layer
            if work is None or neurons is None:
                raise InputError("There are no neurons yet. Press Segment first.")
            seeds = seeds_of(layer, neurons)
            name = "" if layer is None else layer.name
            if apart:
                return self._about(SeedRequest(hierarchy=work.hierarchy, seeds=seeds, name=name))
            return self._about(SowRequest(work=self._copy(), seeds=seeds, name=name))

        self.ask(ask)

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
        if not self._runs(UncertainRequest):
            request = UncertainRequest(work=self._copy(), limit=corrections.limit)
            self.ask(lambda: self._about(request))
        return ""

    def _copy(self) -> Proofreading:
        """Return a copy of the neurons, to be corrected in the thread."""
        return self.corrections.needed().copy()

    def take(self, outcome: Outcome) -> None:
        """Take over a correction that was computed, or decisions that were looked up."""
        self.correct(lambda: self._taken(outcome))

    def _taken(self, outcome: Outcome) -> str:
        work, found = self.corrections.needed(), outcome.request
        if isinstance(found, UncertainRequest) and outcome.decisions is not None:
            # What was corrected meanwhile, or recut, changes which are near.
            if (found.work.edits, found.work.threshold) == (work.edits, work.threshold):
                self.corrections.offer(outcome.decisions)
            return self._next()
        if outcome.work is None or outcome.voxel is None:
            return ""
        if outcome.work.edits[:-1] != work.edits:
            again = getattr(found, "again", found.doing)
            raise InputError(f"The neurons were corrected meanwhile. Press {again} again.")
        outcome.work.threshold = work.threshold
        if isinstance(found, SplitRequest):
            said = self.corrections.take_split(outcome.work, outcome.voxel)
        else:
            said = self.corrections.take_seeds(outcome.work, outcome.voxel)
        if outcome.strokes is not None:
            self.strokes.erase(outcome.strokes)
        if isinstance(found, MaskRequest) and self.handed is not None:
            self.handed.put_away(self.viewer, self.view.layer)
        return f"{said} {outcome.said}".strip()

    # Other panels -------------------------------------------------------------

    def hand_over(self, kind: str) -> HandedOver:
        """Put the current neuron into layers of its own, for another panel.

        Parameters
        ----------
        kind : {"scribble", "repair"}

        Raises
        ------
        InputError
            If there is no current neuron.
        """
        self.corrections.needed()
        self.handed = hand_over(kind, self.viewer, self.view, self.corrections, self.part)
        return self.handed

    def take_back(self) -> None:
        """Ask for a correction by what the other panel has accepted."""

        def ask() -> Running:
            if self.handed is None:
                raise InputError(
                    "No neuron was handed over. Click one, then press Scribble neuron... or "
                    "Repair neuron..."
                )
            return self._about(self.handed.request(self.viewer, self._copy(), self.view.layer))

        self.ask(ask)

    # Files --------------------------------------------------------------------

    @property
    def unsaved(self) -> int:
        """Number of corrections that would be lost with the neurons; 0 if they are saved."""
        work = self.corrections.work
        edits = () if work is None else work.edits
        return 0 if edits == self._saved[: len(edits)] else len(edits)

    def save(self, path: str | os.PathLike[str]) -> str:
        """Save the corrections; say what was done."""
        said = self.corrections.save(path)
        self._note_saved()
        return said

    def load(self, path: str | os.PathLike[str]) -> str:
        """Replay saved corrections in place of those there are; say so."""
        said = self.corrections.load(path)
        self._note_saved()
        return said

    def _note_saved(self) -> None:
        self._saved = self.corrections.needed().edits

    # Life cycle ---------------------------------------------------------------

    def look(self) -> None:
        """Nothing is postponed here."""

    def pause(self) -> None:
        """Stop watching and take the mark away."""
        self.stop()
        self.corrections.stop_merging()
        self.view.drop_mark()
        self._clicks.unwatch()

    def resume(self) -> None:
        """Watch again."""
        self._clicks.watch()

    def close(self) -> None:
        """Let go of the viewer's layers."""
        self.pause()
        self._unlink()
        self.view.close()
        self.corrections.work = self._predicted = self._predicted_of = None
        self.handed = None
        self.inputs = NeuronsInputs()
