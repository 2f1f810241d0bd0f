"""What the widget *Train U-Net* does, apart from its looks.

The session counts classes, asks for trainings and predictions, and shows these in layers. It knows
napari's layers but no Qt, and speaks through psygnal signals.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from psygnal import Signal

from napari_implicitseg.errors import ImplicitSegError, InputError
from napari_implicitseg.widgets import _layers
from napari_implicitseg.widgets._semantic_advice import next_step, say_opened
from napari_implicitseg.widgets._semantic_held import HeldOut
from napari_implicitseg.widgets._semantic_inputs import (
    SemanticInputs,
    predict_request,
    source_of,
    train_request,
)
from napari_implicitseg.widgets._semantic_jobs import (
    Ended,
    Opened,
    OpenRequest,
    Predicted,
    ended,
)
from napari_implicitseg.widgets._semantic_layers import (
    Handed,
    paint_classes,
    probability_of,
    show_predicted,
)
from napari_implicitseg.widgets._semantic_looking import Looked, short_name
from napari_implicitseg.widgets._semantic_pairs import Pair, show_pair
from napari_implicitseg.widgets._semantic_reading import Counted, CountRequest, Problem
from napari_implicitseg.widgets._semantic_saving import Saved, pictures_request
from napari_implicitseg.widgets._semantic_worst import WorstView, class_palette
from napari_implicitseg.widgets._session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from napari_implicitseg.models.semantic import SemanticModel
    from napari_implicitseg.widgets._semantic_layers import Purpose

__all__ = ["CANCELLED", "SemanticSession"]

CANCELLED = "Cancelled. A training that had begun goes on from its checkpoint with Train."

_PAINTED = ("paint", "data", "labels_update")
"""Events of a Labels layer after which its classes are counted again."""
_COUNTED = ("origin", "pairs", "images", "masks", "zero_is_class")


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
        self._watched: tuple[Labels, ...] = ()
        self._news = ""
        self._held = HeldOut(viewer)
        self.worst = WorstView(viewer)
        self._taught: tuple[Pair, ...] = ()
        self._seen: tuple[Pair | None, int] = (None, 0)

    # What the user has chosen -------------------------------------------------

    def use(self, **changes: Any) -> None:
        """Change inputs; see `SemanticInputs` for their names."""
        new = replace(self.inputs, **changes)
        if new == self.inputs:
            return
        old, self.inputs = self.inputs, new
        if old.image is not new.image:
            self.worst.hide()
        painted = [pair.labels for pair in new.pairs if pair.labels is not None]
        self._watch(tuple(dict.fromkeys(painted)) if new.origin == "layers" else ())
        if any(getattr(old, name) != getattr(new, name) for name in _COUNTED):
            self.found = None
            self.counted.emit(None)
            if not self._running:
                self._news = ""
            self._postpone()
            self.tell()

    def _watch(self, painted: tuple[Labels, ...]) -> None:
        """Notice what is painted in layers."""
        if painted == self._watched:
            return
        for layers, act in ((self._watched, "disconnect"), (painted, "connect")):
            for layer in layers:
                for name in _PAINTED:
                    getattr(getattr(layer.events, name), act)(self._painted)
        self._watched = painted

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
        inputs = self.inputs
        whole = tuple(pair for pair in inputs.pairs if pair.is_whole)
        if not (inputs.images if inputs.origin == "files" else whole):
            self.found = None
            self.counted.emit(None)  # Not enough is chosen to say what is wrong with it.
            return
        try:
            source = source_of(replace(inputs, pairs=whole))
        except ImplicitSegError as error:
            self.found = None
            self.counted.emit(Problem(error))
            return
        self._running = "count"
        self._submit(CountRequest(source=source).run)

    def paint(self) -> Labels:
        """Start painting the classes of the image, in a layer of its own, or go on with it.

        Raises
        ------
        InputError
            If there is no image.
        """
        image = self.inputs.image
        if image is None:
            raise InputError("There is no image to paint on. Open one.")
        before = next((pair.labels for pair in self.inputs.pairs if pair.image is image), None)
        layer = paint_classes(self.viewer, image, before)
        show_pair(self.viewer, Pair(image, layer), self.inputs.pairs)
        return layer

    def train(self) -> None:
        """Begin a training, or go on with it."""
        self._drop()
        try:
            request = train_request(self.inputs)
        except ImplicitSegError as error:
            self.refused.emit(error)
            return
        self._running, self._training_in = "train", request.out
        self._taught = self.inputs.pairs
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
            If there is no model, it is being trained, or the images are not to be found.
        """
        model = self._usable()
        request = pictures_request(model, self._held.pictures(model, self.inputs), folder)
        self._drop()
        self._running = "predict"
        self.told.emit("Measuring what was held out...")
        self._submit(request.run)

    def look_at(self, name: str) -> Pair | None:
        """Show an image that was held out, its truth, and where the model is wrong.

        Parameters
        ----------
        name : str
            As the figures call it.

        Returns
        -------
        Pair or None
            The layers it is in; None of a file.

        Raises
        ------
        InputError
            If there is no model, it is being trained, or the image is not to be found.
        """
        request, pair, level = self._held.look(self._usable(), name, self.inputs)
        self._drop()
        self.worst.hide()
        if pair is not None:
            show_pair(self.viewer, pair, self.inputs.pairs)
        self._running, self._seen = "predict", (pair, level)
        self.told.emit(f"Predicting '{short_name(name)}'...")
        self._submit(request.run)
        return pair

    def palette(self) -> list[Any]:
        """Return the colours of nothing and of each class of the model.

        Raises
        ------
        InputError
            If there is no model, or it is being trained.
        """
        painted = self._taught[0].labels if self._taught else None
        return class_palette(self._usable(), painted)

    def _usable(self) -> SemanticModel:
        """Return the model, if it can be used now."""
        if self.is_running:
            raise InputError("A network is being trained. Wait, or press Cancel.")
        if self.model is None:
            raise InputError("There is no model. Train one, or press Open model.")
        return self.model

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
            if outcome.source is None or not outcome.source.names:
                self._taught = ()
            self._held.remember(outcome.source, self._taught)
            self.shown.emit(outcome)
            self.opened.emit(outcome)
            self.keep_saying(say_opened(outcome))
            self._postpone()
        elif isinstance(outcome, Predicted):
            self._show(outcome)
        elif isinstance(outcome, Looked):
            self.worst.show(outcome, self.palette(), *self._seen)
            self.keep_saying(outcome.say())
        elif isinstance(outcome, Saved):
            self.keep_saying(outcome.say())
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

    def keep_saying(self, news: str) -> None:
        """Say what was done, or went wrong, until something else is done."""
        self._news = news
        self.told.emit(news)

    def tell(self, event: object = None) -> None:
        """Say what the user can do now."""
        if self._running in ("", "count"):
            advice = next_step(self.inputs, self.found, has_model=self.model is not None)
            self.told.emit(self._news or advice)

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
        self._watch(())
        self.inputs, self.model, self.found = SemanticInputs(), None, None
        self._taught = ()
        self._held.remember(None, ())
