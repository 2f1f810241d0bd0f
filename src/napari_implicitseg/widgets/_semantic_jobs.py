"""What the widget *Train U-Net* has done in its thread: counting classes, training, predicting.

Nothing here knows Qt or touches a layer: a request holds arrays or paths, an outcome holds what
the widget shows.
"""

from __future__ import annotations

import warnings
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from napari_implicitseg.errors import ImplicitSegError, InputError
from napari_implicitseg.widgets._neurons_jobs import of_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress
    from napari_implicitseg.models.semantic import SemanticModel

__all__ = [
    "CountRequest",
    "Counted",
    "Ended",
    "OpenRequest",
    "Opened",
    "PredictRequest",
    "Predicted",
    "Problem",
    "Source",
    "TrainRequest",
    "ended",
    "warm_up",
]

Kind = Literal["classes", "probability", "objects"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Classes of masks.

    Attributes
    ----------
    pixels : dict of int to int
        Pixels of each value that is a class, by ascending value.
    total : int
        Pixels of all masks.
    colours : bool
        Whether values are packed colours.
    images : int
    zero : str
        What 0 was taken for.
    """

    pixels: dict[int, int]
    total: int
    colours: bool = False
    images: int = 1
    zero: str = "unlabelled"

    def default_name(self, value: int) -> str:
        """Name of a class that the user has not named."""
        if value == 0:
            return "background"
        if self.colours:
            return f"#{value:06x}"
        return f"class {[*self.pixels].index(value) + 1}"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why classes cannot be counted, for a user who has not finished choosing."""

    error: ImplicitSegError


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Images and masks to learn from.

    Attributes
    ----------
    images, masks : array or path
    name : str
        Of the Labels layer; empty if they are files.
    channel_axis : int or None
    spacing : tuple of float or None
    zero : {"unlabelled", "background"}
    """

    images: Any
    masks: Any
    name: str = ""
    channel_axis: int | None = None
    spacing: tuple[float, ...] | None = None
    zero: Literal["unlabelled", "background"] = "unlabelled"

    @contextmanager
    def named(self) -> Iterator[None]:
        """Begin what is refused with the layer, if there is one."""
        if not self.name:
            yield
            return
        with of_layer(self.name):
            yield

    def count(self, progress: Progress) -> Counted:
        """Count the pixels of each class.

        Raises
        ------
        ImplicitSegError
            If masks cannot be read or are no masks of classes.
        """
        from napari_implicitseg.semantic_sources import open_pairs
        from napari_implicitseg.training.semantic_examples import count_values

        pixels: Counter[int] = Counter()
        with self.named():
            opened = open_pairs(
                self.images, self.masks, spacing=self.spacing, channel_axis=self.channel_axis
            )
            for number, volume in enumerate(opened.volumes):
                progress(number / len(opened.volumes), "Looking at the masks")
                pixels.update(count_values(volume))
        if self.zero == "unlabelled":
            kept = {v: pixels[v] for v in sorted(pixels) if v}
        else:
            kept = {v: pixels[v] for v in sorted(pixels)}
        return Counted(
            pixels=kept,
            total=sum(pixels.values()),
            colours=opened.colours,
            images=len(opened.volumes),
            zero=self.zero,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CountRequest:
    """Which classes there are, and how much of each."""

    source: Source

    def run(self, progress: Progress) -> Counted | Problem:
        """Count; in the worker thread."""
        with taken_down([]):
            try:
                return self.source.count(progress)
            except ImplicitSegError as error:
                return Problem(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A model that can be used now.

    Attributes
    ----------
    model : SemanticModel
    folder : str
    notes : tuple of str
        What the training has warned of.
    trained : bool
        Whether it was trained just now.
    """

    model: SemanticModel
    folder: str
    notes: tuple[str, ...] = ()
    trained: bool = False


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
                classes=tuple(self.names.get(v) or counted.default_name(v) for v in values),
                colours=counted.colours,
                zero=source.zero,
                **self.options,
            )
            with source.named():
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
        told = tuple(dict.fromkeys(notes))
        return Opened(model=model, folder=self.out, notes=told, trained=True)

    def _values(self, counted: Counted) -> tuple[int, ...]:
        """Values of the classes; two at least."""
        values = tuple(counted.pixels)
        if len(values) > 1:
            return values
        name = self.source.name
        where = f"Layer '{name}' holds" if name else "The masks hold"
        what = f"one class only ({values[0]})" if values else "0 only, which is unlabelled"
        more = "a second class" if values else "two classes"
        verb = "Paint some of" if name else "Label some of"
        zero = "" if counted.zero == "background" else ", or say that 0 is a class"
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
        from napari_implicitseg.semantic_jobs import load_semantic

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


@contextmanager
def taken_down(notes: list[str]) -> Iterator[Callable[[], None]]:
    """Take warnings down as notes, until what is yielded is called.

    What is done with warnings is the same in all threads, so it is changed for as short as it
    may be.
    """
    with ExitStack() as stack:
        caught = stack.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always", UserWarning)
        stack.callback(_note, caught, notes)
        try:
            yield stack.close
        finally:
            stack.close()


def _note(caught: list[warnings.WarningMessage], notes: list[str]) -> None:
    """Keep what warnings say."""
    notes.extend(str(one.message) for one in caught if issubclass(one.category, UserWarning))


def warm_up(progress: Progress) -> None:
    """Import what a job needs."""
    from napari_implicitseg import semantic_jobs  # noqa: F401
    from napari_implicitseg.training import semantic_task  # noqa: F401

    progress(1.0, "Warmed up")
