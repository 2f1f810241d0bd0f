"""From an image to neurons: what a session of the neurons widget asks its thread for."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari.layers import Image

from napari_implicitseg.errors import ImplicitSegError, InputError
from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._neurons_affinities import has_time, offsets_of, show_affinities
from napari_implicitseg.widgets._neurons_edit_jobs import SaliencyRequest, UncertainRequest
from napari_implicitseg.widgets._neurons_edits import Corrections
from napari_implicitseg.widgets._neurons_inputs import (
    AUTOMATIC,
    NeuronsInputs,
    needed_image,
    predict_request,
    train_request,
)
from napari_implicitseg.widgets._neurons_jobs import Outcome, PredictRequest, SegmentRequest
from napari_implicitseg.widgets._neurons_parts import part_shown, place_of, whole_image
from napari_implicitseg.widgets._neurons_view import NeuronsView
from napari_implicitseg.widgets._save_recipe import tried
from napari_implicitseg.widgets._session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from napari.components import ViewerModel
    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_implicitseg.affinities.ops import Affinities
    from napari_implicitseg.hierarchy.edits import Edit
    from napari_implicitseg.hierarchy.proofreading import Proofreading
    from napari_implicitseg.widgets._neurons_edit_jobs import Request
    from napari_implicitseg.widgets._neurons_parts import Part
    from napari_implicitseg.widgets._save_recipe import Tried

__all__ = ["NeuronsMaking", "Running"]


@dataclass(frozen=True, slots=True)
class Running:
    """A request that was submitted, and the layer and part of it that it is about.

    `edits` are the corrections there were, of these neurons or others.
    """

    request: Request
    image: Image | None
    part: Part | None
    edits: tuple[Edit, ...] = ()


class NeuronsMaking(Session[Outcome]):
    """Takes one viewer from an image to neurons; what happens to these is left to subclasses.

    Parameters
    ----------
    viewer, submit, cancel, postpone
        See `Session`.
    """

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
        self._running: Running | None = None
        # What was predicted last, and of what; what the neurons are made of.
        self._predicted: Affinities | None = None
        self._predicted_of: Part | None = None
        self.part: Part | None = None
        self._predicted_by: PredictRequest | None = None
        self.tried: Tried | None = None
        # Whether affinities were predicted anew since neurons were made.
        self._newer = False

    # What the user has chosen -------------------------------------------------

    def use(self, **changes: Any) -> None:
        """Change inputs; see `NeuronsInputs` for their names."""
        new = replace(self.inputs, **changes)
        if new == self.inputs:
            return
        old, self.inputs = self.inputs, new
        of_image = self._runs(PredictRequest, SegmentRequest)
        if of_image and old.image is not new.image:
            self.stop()
        self.tell()

    # Jobs ---------------------------------------------------------------------

    def predict(self) -> None:
        """Ask for the affinities of the image, or of the part that the view shows."""

        def ask() -> Running:
            image = needed_image(self.inputs)
            if self.inputs.area == "view":
                part = part_shown(self.viewer, image, self.inputs.sections)
            else:
                part = whole_image(image, _layers.level_shown(image))
            return Running(predict_request(self.inputs, part), image, part)

        self.ask(ask)

    def segment(self) -> None:
        """Ask for a hierarchy of the affinities; corrections of the same part are replayed."""
        self.ask(self._segment_request)

    def train(self, labels: Labels | None, steps: int, out: str) -> None:
        """Ask for a training from painted sections."""
        self.ask(lambda: self._about(train_request(self.inputs, labels, steps, out)))

    def show_affinities(self) -> None:
        """Show what was predicted in a layer of its own.

        Raises
        ------
        InputError
            If nothing was, or its image is gone.
        """
        if self._predicted is None or self._predicted_of is None:
            raise InputError("There are no affinities yet. Press Predict first.")
        show_affinities(self.viewer, self._predicted, self._predicted_of)

    def show_saliency(self) -> None:
        """Ask for an image of the borders, how long each stays as neurons merge."""

        def ask() -> Running:
            hierarchy = self.corrections.needed().hierarchy
            return self._about(SaliencyRequest(hierarchy=hierarchy))

        self.ask(ask)

    @property
    def has_predicted(self) -> bool:
        """Whether there are affinities to show."""
        return self._predicted is not None

    @property
    def settings(self) -> tuple[Proofreading | None, Tried | None]:
        """The neurons there are, and how they were made."""
        return self.corrections.work, self.tried

    def part_to_segment(self) -> Part | None:
        """Return what *Segment* would segment; None if there is nothing."""
        image = self.inputs.image
        if image is None:
            return None
        if self.inputs.holds_affinities:
            return whole_image(image, 0, image.ndim - 1)
        predicted = self._predicted_of
        there = predicted is not None and predicted.image == image.unique_id
        return predicted if there else None

    def _segment_request(self) -> Running:
        image, part = self.inputs.image, self.part_to_segment()
        if image is None:
            raise InputError("There is no image. Open one, or affinities of shape (3, z, y, x).")
        offsets = offsets_of(image, self.inputs.neighbours)
        if part is None:
            needed_image(self.inputs)  # Says what is wrong with others.
            raise InputError(f"There are no affinities of '{image.name}' yet. Press Predict first.")
        edits = self._edits if self.part == part else ()
        request = SegmentRequest(
            affinities=self._predicted if offsets is None else image.data,
            offsets=offsets or (),
            name=image.name,
            linkage=self.inputs.linkage,  # type: ignore[arg-type]  # build_hierarchy checks it
            share=self.share,
            edits=edits,
            fragments=self.inputs.fragments,  # type: ignore[arg-type]  # as it does this
            min_size=None if self.inputs.min_size == AUTOMATIC else self.inputs.min_size,
        )
        return Running(request, image, part, self._edits)

    @property
    def _edits(self) -> tuple[Edit, ...]:
        """Corrections of the neurons there are."""
        work = self.corrections.work
        return () if work is None else work.edits

    def _about(self, request: Request) -> Running:
        """Note which layer is chosen when a request is made."""
        return Running(request, self.inputs.image, None)

    def ask(self, make: Callable[[], Running]) -> None:
        """Submit a request, or refuse it."""
        if self._runs(UncertainRequest):
            self.stop()  # That is quick, and asked for again by N.
        try:
            if self._running is not None:
                raise InputError(
                    f"{self._running.request.doing} is under way. Wait until it is done, or press "
                    "Cancel."
                )
            running = make()
        except ImplicitSegError as error:
            self.refused.emit(error)
            return
        self._running = running
        self.told.emit(f"{running.request.doing}...")
        self._submit(running.request.run)

    def _runs(self, *kinds: type) -> bool:
        """Whether a request of one of these kinds is under way."""
        return self._running is not None and isinstance(self._running.request, kinds)

    def receive(self, outcome: Outcome) -> None:
        """Show what a job came to; called in the main thread."""
        running, self._running = self._running, None
        if running is None or outcome.request is not running.request:
            self._running = running
            return
        if outcome.decisions is not None or outcome.voxel is not None:
            self.take(outcome)
            return
        if outcome.work is not None and self._edits != running.edits:
            if self.part != running.part:
                self.refused.emit(
                    InputError("The neurons were corrected meanwhile. Press Segment again.")
                )
                self.shown.emit(None)
                return
            outcome = self._corrected_again(outcome, outcome.work)
        if running.image is not None and running.image in self.viewer.layers:
            self._keep(outcome, running.image, running.part)
        if outcome.work is None and outcome.labels is not None:
            self.add_seeded(outcome)
        if outcome.saliency is not None and self.view.layer is not None:
            self._add_saliency(outcome.saliency, self.view.layer)
        self.shown.emit(outcome)
        self.tell()
        self.finished(outcome)

    def _corrected_again(self, outcome: Outcome, work: Proofreading) -> Outcome:
        """Replay the corrections that were made while neurons were made anew."""
        from napari_implicitseg.hierarchy.proofreading import Proofreading

        again = Proofreading(work.hierarchy, work.threshold, self._edits)
        return replace(outcome, work=again, labels=again.labels())

    def _keep(self, outcome: Outcome, image: Image, part: Part | None) -> None:
        """Keep what was predicted of an image, or show its neurons."""
        if outcome.affinities is not None and part is not None:
            self._predicted, self._predicted_of = outcome.affinities, part
            self._newer = True
            if isinstance(outcome.request, PredictRequest):
                self._predicted_by = outcome.request
        if outcome.work is not None and outcome.labels is not None and part is not None:
            if self.part != part:
                self.view.let_go()
            self.part, self._newer = part, False
            name = f"{image.name} neurons"
            layer = self.view.show(outcome.labels, image, place_of(image, part), name)
            self.viewer.layers.selection.active = layer
            given = isinstance(outcome.request, SegmentRequest) and bool(outcome.request.offsets)
            self.tried = tried(outcome, None if given else self._predicted_by, part.level)
            self.begin(outcome, layer)

    def _add_saliency(self, borders: NDArray[np.float32], neurons: Labels) -> None:
        """Add an image of the borders where the neurons lie, without choosing it."""
        active = self.viewer.layers.selection.active
        name, place = f"{neurons.name} saliency", _layers.like(neurons)
        image = Image(borders, name=name, colormap="inferno", blending="additive", **place)
        self.viewer.add_layer(image)
        self.viewer.layers.selection.active = active

    def stop(self) -> None:
        """Cancel the job that runs, or note that it failed; what is shown stays."""
        self._cancel()
        self._running = None

    # What subclasses do -------------------------------------------------------

    @abstractmethod
    def begin(self, outcome: Outcome, layer: Labels) -> None:
        """Begin to correct neurons that were made anew and are shown in a layer."""

    @abstractmethod
    def take(self, outcome: Outcome) -> None:
        """Take over a correction that was computed, or decisions that were looked up."""

    @abstractmethod
    def add_seeded(self, outcome: Outcome) -> None:
        """Add a layer of what seeds have come to."""

    def finished(self, outcome: Outcome) -> None:
        """Do what is to be done when all is shown."""

    # What to say --------------------------------------------------------------

    def tell(self, event: object = None) -> None:
        """Say what the user can do now."""
        if self._running is None:
            self.told.emit(self._advice())

    def _advice(self) -> str:
        image, part = self.inputs.image, self.part_to_segment()
        there = self.corrections.work is not None and self.view.layer is not None
        own = self.part is not None and (image is None or image.unique_id == self.part.image)
        if there and own and part in (None, self.part) and not self._newer:
            return (
                "Move the slider until most neurons are right, then correct the others: click "
                "one, merge by M, split by S, freeze by F; N goes to what is most uncertain."
            )
        if image is None:
            return "Open an image of cells, or affinities of shape (3, z, y, x)."
        if self.inputs.holds_affinities:
            return f"'{image.name}' holds affinities. Press Segment."
        if part is not None:
            return f"The affinities of '{image.name}' are there. Press Segment."
        if has_time(image):
            return (
                f"'{image.name}' has an axis of time; neurons are made of one volume at a time. "
                "Split it, by Layers > Split Stack."
            )
        return f"Choose a model for '{image.name}' and press Predict."
