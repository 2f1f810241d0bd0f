"""What the widget *Train U-Net* has done in its thread: training, reading models, predicting.

Nothing here knows Qt or touches a layer: a request holds arrays or paths, an outcome holds what
the widget shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from napari_implicitseg.errors import InputError
from napari_implicitseg.widgets._neurons_jobs import of_layer
from napari_implicitseg.widgets._semantic_reading import taken_down
from napari_implicitseg.widgets._semantic_words import of_layers

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress
    from napari_implicitseg.models.semantic import SemanticModel
    from napari_implicitseg.widgets._semantic_reading import Counted, Source

__all__ = [
    "Ended",
    "OpenRequest",
    "Opened",
    "PredictRequest",
    "Predicted",
    "TrainRequest",
    "ended",
    "warm_up",
]

Kind = Literal["classes", "probability", "objects"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A model that can be used now.

    Attributes
    ----------
    model : SemanticModel
    folder : str
    notes : tuple of str
        What the training has warned of.
    source : Source or None
        What it was trained with, if it was just now.
    """

    model: SemanticModel
    folder: str
    notes: tuple[str, ...] = ()
    source: Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """A training.

    Attributes
    ----------
    source : Source
    names : dict of int to str
        Names the user has given, by value in the masks.
    preset : str
    options : dict
        Fields of a `SemanticConfig`.
    out : str
        Folder.
    resume : bool
    """

    source: Source
    names: dict[int, str]
    preset: str
    options: dict[str, Any]
    out: str
    resume: bool

    doing = "Training"

    def run(self, progress: Progress) -> Opened:
        """Train; in the worker thread.

        Raises
        ------
        ImplicitSegError
            Whatever the masks lack, or `train_semantic` refuses.
        """
        from napari_implicitseg import api

        source = self.source
        notes: list[str] = []
        with taken_down(notes) as end:

            def report(fraction: float, message: str, /) -> None:
                end()  # The training has begun, and what it was given is read.
                progress(fraction, message)

            progress(0.0, "Looking at the masks")
            counted = source.count(progress)
            values = self._values(counted)
            config = api.SemanticConfig.preset(
                self.preset,
                values=values,
                classes=self._classes(counted),
                colours=counted.colours,
                zero=source.zero,
                **self.options,
            )
            with of_layers(source.names, source.painted):
                model = api.train_semantic(
                    source.images,
                    source.masks,
                    config=config,
                    out=self.out,
                    spacing=source.spacing,
                    channel_axis=source.channel_axis,
                    resume=self.resume,
                    progress=report,
                )
        if source.names:
            model = _called(model, source)
            model.save(self.out)
        told = tuple(dict.fromkeys(map(source.say, notes)))
        return Opened(model=model, folder=self.out, notes=told, source=source)

    def _classes(self, counted: Counted) -> tuple[str, ...]:
        """Names of the classes; each its own."""
        names = [self.names.get(v) or counted.default_name(v) for v in counted.pixels]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InputError(
                f"Two classes are called '{twice}'. Give each a name of its own: double-click one "
                "in the table of classes."
            )
        return tuple(names)

    def _values(self, counted: Counted) -> tuple[int, ...]:
        """Values of the classes; two at least."""
        values = tuple(counted.pixels)
        if len(values) > 1:
            return values
        painted = self.source.painted
        where = f"Layer '{painted[0]}' holds" if len(painted) == 1 else "The masks hold"
        what = f"one class only ({values[0]})" if values else "0 only, which is unlabelled"
        more = "a second class" if values else "two classes"
        verb = "Paint some of" if painted else "Label some of"
        zero = "" if counted.zero == "background" else ", or tick '0 is a class, too'"
        raise InputError(
            f"{where} {what}, and there is nothing to tell apart. {verb} {more}{zero}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRequest:
    """A model in a folder."""

    folder: str

    doing = "Opening"

    def run(self, progress: Progress) -> Opened:
        """Read it; in the worker thread.

        Raises
        ------
        ImplicitSegError
            If there is none, or it predicts something else.
        """
        from napari_implicitseg.semantic.jobs import load_semantic

        progress(0.0, "Reading the model")
        return Opened(model=load_semantic(self.folder), folder=self.folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictRequest:
    """What a model says of an image.

    Attributes
    ----------
    model : SemanticModel
    image : array
    name : str
        Of the layer.
    channel_axis : int or None
    kind : {"classes", "probability", "objects"}
    which : int
        Number of the class, from 1.
    min_size : int
        Pixels of the smallest object.
    """

    model: SemanticModel
    image: Any
    name: str
    channel_axis: int | None
    kind: Kind = "classes"
    which: int = 1
    min_size: int = 1

    doing = "Predicting"

    def run(self, progress: Progress) -> Predicted:
        """Predict; in the worker thread.

        Raises
        ------
        ImplicitSegError
            If the image does not fit the model.
        """
        from napari_implicitseg.devices import find_device

        model = self.model
        data: NDArray[Any]
        options: dict[str, Any] = {
            "channel_axis": self.channel_axis,
            "device": find_device("auto", large=True),
            "progress": progress,
        }
        with of_layer(self.name):
            if self.kind == "classes":
                data = model.predict(self.image, **options)
            elif self.kind == "probability":
                data = model.evidence(self.image, self.which, **options)
            else:
                data = model.objects(self.image, self.which, min_size=self.min_size, **options)
        return Predicted(request=self, data=data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """What came of a prediction, shape (*S)."""

    request: PredictRequest
    data: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """A training that was cancelled, or failed, has ended: its checkpoint is written."""

    folder: str = field(default="")


def ended(folder: str) -> Callable[[Progress], Ended]:
    """Return a job that comes after all that is still running."""
    return lambda progress: Ended(folder)


def _called(model: SemanticModel, source: Source) -> SemanticModel:
    """Return a model that knows the images it was trained with by their layers."""
    training, metrics = dict(model.training), dict(model.metrics)
    for about, lists in ((training, ("volumes", "held_out")), (metrics, ("images",))):
        for name in lists:
            if about.get(name):
                about[name] = [_renamed(one, source) for one in about[name]]
    return replace(model, training=training, metrics=metrics)


def _renamed(one: Any, source: Source) -> Any:
    """Return the name of an image, or what is said of one, with its layer in place of a number."""
    if isinstance(one, str):
        return source.image_name(one)
    return {**one, "name": source.image_name(one["name"])}


def warm_up(progress: Progress) -> None:
    """Import what a job needs."""
    from napari_implicitseg.semantic import jobs  # noqa: F401
    from napari_implicitseg.training import semantic_task  # noqa: F401

    progress(1.0, "Warmed up")
