"""What the widget *Train U-Net* does, apart from its looks.

The session counts classes, asks for trainings and predictions, and shows these in layers. It knows
napari's layers but no Qt, and speaks through psygnal signals.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from psygnal import Signal

from napari_implicitseg.errors import ImplicitSegError, InputError
from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._semantic_inputs import (
    SemanticInputs,
    predict_request,
    source_of,
    train_request,
)
from napari_implicitseg.widgets._semantic_jobs import (
    Counted,
    CountRequest,
    Ended,
    Opened,
    OpenRequest,
    Predicted,
    Problem,
    ended,
)
from napari_implicitseg.widgets._semantic_layers import (
    paint_classes,
    probability_of,
    show_predicted,
)
from napari_implicitseg.widgets._semantic_saving import Saved, pictures_request
from napari_implicitseg.widgets._session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer

    from napari_implicitseg.models.semantic import SemanticModel

__all__ = ["CANCELLED", "Handed", "SemanticSession"]

CANCELLED = "Cancelled. A training that had begun goes on from its checkpoint with Train."

_PAINTED = ("paint", "data", "labels_update")
"""Events of a Labels layer after which its classes are counted again."""
_COUNTED = ("origin", "image", "labels", "images", "masks", "zero_is_class")

Purpose = Literal["show", "evidence", "repair"]


@dataclass(frozen=True, slots=True)
class Handed:
    """A layer for another panel.

    Attributes
    ----------
    purpose : {"evidence", "repair"}
    layer : Layer
        A probability, or objects.
    image : Image
        What it was predicted of.
    """

    purpose: Purpose
    layer: Layer
    image: Image


class SemanticSession(Session[Any]):
    """Trains and uses networks that tell classes, for one viewer.

    Parameters
    ----------
    viewer, submit, cancel, postpone
        See `Session`.
    """

    counted = Signal(object)
    """A `Counted`: the classes there are; or a `Problem`, or None if nothing is known."""
    opened = Signal(object)
    """An `Opened`: the model to predict with."""
    handed = Signal(object)
    """A `Handed`: another panel is to be opened with a layer."""
    left = Signal(str)
    """A training has ended before its end; where."""

    def __init__(
        self,
        viewer: ViewerModel,
        submit: Callable[[Callable[[Any], Any]], None],
        cancel: Callable[[], None],
        postpone: Callable[[], None],
    ) -> None:
        super().__init__(viewer, submit, cancel, postpone)
        self.inputs = SemanticInputs()
        self.model: SemanticModel | None = None
        self.folder = ""
        self.found: Counted | None = None
        self._running: Literal["", "count", "train", "open", "predict"] = ""
        self._target: tuple[Image, int, Purpose] | None = None
        self._training_in = ""
        self._watched: Labels | None = None
        self._news = ""

    # What the user has chosen -------------------------------------------------

    def use(self, **changes: Any) -> None:
        """Change inputs; see `SemanticInputs` for their names."""
        new = replace(self.inputs, **changes)
        if new == self.inputs:
            return
        old, self.inputs = self.inputs, new
        self._watch(new.labels if new.origin == "layers" else None)
        if any(getattr(old, name) != getattr(new, name) for name in _COUNTED):
            self.found = None
            self.counted.emit(None)
            self._postpone()
            self.tell()

    def _watch(self, labels: Labels | None) -> None:
        """Notice what is painted in a layer."""
        if labels is self._watched:
            return
        for layer, act in ((self._watched, "disconnect"), (labels, "connect")):
            if layer is not None:
                for name in _PAINTED:
                    getattr(getattr(layer.events, name), act)(self._painted)
        self._watched = labels

    def _painted(self, event: object = None) -> None:
        self._news = ""
        self._postpone()

    @property
    def is_running(self) -> bool:
        """Whether a training runs."""
        return self._running == "train"

    # What can be asked for ----------------------------------------------------

    def look(self) -> None:
        """Count the classes of layers; those of files are counted when asked for."""
        if self.inputs.origin == "layers" and self._running in ("", "count"):
            self.count()

    def count(self) -> None:
        """Count the classes."""
        try:
            source = source_of(self.inputs)
        except ImplicitSegError as error:
            self.found = None
            self.counted.emit(Problem(error) if self._is_begun else None)
            return
        self._running = "count"
        self._submit(CountRequest(source=source).run)

    @property
    def _is_begun(self) -> bool:
        """Whether enough is chosen to say what is wrong with it."""
        inputs = self.inputs
        if inputs.origin == "files":
            return bool(inputs.images)
        return inputs.image is not None and inputs.labels is not None

    def paint(self) -> Labels:
        """Add a layer to paint classes in.

        Raises
        ------
        InputError
            If there is no image.
        """
        image = self.inputs.image
        if image is None:
            raise InputError("There is no image to paint on. Open one.")
        return paint_classes(self.viewer, image)

    def train(self) -> None:
        """Begin a training, or go on with it."""
        self._drop()
        try:
            request = train_request(self.inputs)
        except ImplicitSegError as error:
            self.refused.emit(error)
            return
        self._running, self._training_in = "train", request.out
        self.told.emit("Learning. You can go on working; Cancel keeps what is learned.")
        self._submit(request.run)

    def open(self, folder: str) -> None:
        """Read a model."""
        self._drop()
        self._running = "open"
        self.told.emit("Reading the model...")
        self._submit(OpenRequest(folder=folder).run)

    def predict(
        self,
        image: Image | None,
        kind: str = "classes",
        *,
        which: int = 1,
        min_size: int = 1,
        purpose: Purpose = "show",
    ) -> None:
        """Ask what the model says of an image.

        Parameters
        ----------
        image : Image or None
        kind : {"classes", "probability", "objects"}
        which : int
            Number of the class, from 1.
        min_size : int
            Pixels of the smallest object.
        purpose : {"show", "evidence", "repair"}
            Whether another panel is to be opened with the result.
        """
        if self.is_running:
            self.refused.emit(InputError("A network is being trained. Wait, or press Cancel."))
            return
        self._drop()
        level = 0 if image is None else _layers.level_shown(image)
        try:
            request = predict_request(
                self.model, image, level, kind=kind, which=which, min_size=min_size
            )
        except ImplicitSegError as error:
            self.refused.emit(error)
            return
        if image is None:
            return
        there = probability_of(self.viewer, image, request) if purpose == "evidence" else None
        if there is not None:
            self.handed.emit(Handed(purpose, there, image))
            return
        self._running, self._target = "predict", (image, level, purpose)
        self.told.emit("Predicting...")
        self._submit(request.run)

    def save_pictures(self, folder: str) -> None:
        """Ask for pictures of the worst images and the confusion matrix.

        Raises
        ------
        InputError
            If there is no model, or nothing in folders.
        """
        request = pictures_request(self.model, source_of(self.inputs), folder)
        self._drop()
        self._running = "predict"
        self.told.emit("Measuring what was held out...")
        self._submit(request.run)

    # What jobs come to --------------------------------------------------------

    def receive(self, outcome: Any) -> None:
        """Show what a job came to; called in the main thread."""
        self._running = ""
        if isinstance(outcome, Counted):
            self.found = outcome
            self.counted.emit(outcome)
            self.tell()
        elif isinstance(outcome, Problem):
            self.found = None
            self.counted.emit(outcome)
        elif isinstance(outcome, Opened):
            self.model, self.folder = outcome.model, outcome.folder
            self.shown.emit(outcome)
            self.opened.emit(outcome)
            self._say_opened(outcome)
            self._postpone()
        elif isinstance(outcome, Predicted):
            self._show(outcome)
        elif isinstance(outcome, Saved):
            self.keep_saying(
                f"Confusion matrix and {outcome.count} worst images are in '{outcome.folder}'."
            )
        elif isinstance(outcome, Ended):
            self.left.emit(outcome.folder)

    def _show(self, outcome: Predicted) -> None:
        """Show a prediction, and hand it on if that was asked for."""
        if self._target is None:
            return
        image, level, purpose = self._target
        self._target = None
        request = outcome.request
        if request.kind == "objects" and not outcome.data.any():
            name = request.model.classes[request.which - 1]
            self.keep_saying(
                f"'{image.name}' has no objects of {name} of {request.min_size} pixels or more."
            )
            return
        layer = show_predicted(self.viewer, image, level, outcome)
        self.keep_saying(f"Layer '{layer.name}' shows what the model says.")
        if purpose != "show":
            self.handed.emit(Handed(purpose, layer, image))

    def stop(self) -> None:
        """Cancel what runs, or note that it failed; a training leaves its checkpoint."""
        was_training, self._training_in = self._training_in * self.is_running, ""
        self._drop()
        self._news = CANCELLED
        if was_training:
            self._submit(ended(was_training))

    def _drop(self) -> None:
        """Cancel what runs."""
        self._cancel()
        self._running, self._target, self._news = "", None, ""

    # Saying -------------------------------------------------------------------

    def _say_opened(self, outcome: Opened) -> None:
        model = outcome.model
        if not outcome.trained:
            self.keep_saying(f"The model '{model.name}' tells {_listed(model.classes)}.")
            return
        figures = model.metrics
        told = (
            f"Trained: mean IoU {figures['iou']:.3f}, accuracy {figures['accuracy']:.3f} on what "
            "was held out."
            if "iou" in figures
            else "Trained; nothing was held out to measure it on."
        )
        self.keep_saying(f"{told} Press Predict to see its classes.")

    def keep_saying(self, news: str) -> None:
        """Say what was done, or went wrong, until something else is done."""
        self._news = news
        self.told.emit(news)

    def tell(self, event: object = None) -> None:
        """Say what the user can do now."""
        if self._running in ("", "count"):
            self.told.emit(self._news or self._advice())

    def _advice(self) -> str:
        inputs, found = self.inputs, self.found
        if inputs.origin == "layers":
            if inputs.image is None:
                return "Open an image, or learn from folders."
            if inputs.labels is None:
                return "Press Paint classes and paint a little of each class, label by label."
            if found is not None and len(found.pixels) < 2:
                return (
                    "Paint a little of each class: one label for each, two classes at least. What "
                    "is not painted teaches nothing."
                )
        elif not inputs.images:
            return "Choose a folder of images, and one of masks of the same names."
        if self.model is not None:
            return "Press Predict to see what the model says, or Train to learn anew."
        return "Press Train. More steps learn more; 1200 take some minutes."

    # Life cycle ---------------------------------------------------------------

    def pause(self) -> None:
        """Stop; a training leaves its checkpoint."""
        self._drop()

    def resume(self) -> None:
        """See what was painted meanwhile."""
        self.tell()
        self._postpone()

    def close(self) -> None:
        """Let go of the viewer's layers; the results stay."""
        self._drop()
        self._watch(None)
        self.inputs, self.model, self.found = SemanticInputs(), None, None


def _listed(names: tuple[str, ...], most: int = 6) -> str:
    """List names, the first of many."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
