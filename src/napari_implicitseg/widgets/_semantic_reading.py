"""What is learned from in the thread of *Train U-Net*: arrays or paths, and the classes in them.

Nothing here knows Qt or touches a layer.
"""

from __future__ import annotations

import warnings
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_implicitseg.errors import ImplicitSegError
from napari_implicitseg.widgets._semantic_words import of_layers, with_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_implicitseg._types import Progress

__all__ = ["CountRequest", "Counted", "Problem", "Source", "taken_down"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Classes of masks.

    Attributes
    ----------
    pixels : dict of int to int
        Pixels of each value that is a class, by ascending value, over all masks.
    total : int
        Pixels of all masks.
    colours : bool
        Whether values are packed colours.
    shares : tuple of float
        Which share of each mask is labelled.
    zero : str
        What 0 was taken for.
    """

    pixels: dict[int, int]
    total: int
    colours: bool = False
    shares: tuple[float, ...] = (1.0,)
    zero: str = "unlabelled"

    @property
    def images(self) -> int:
        """How many images there are."""
        return len(self.shares)

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
    images, masks : tuple of array, or path
        Arrays of layers, channels first; or a folder or file.
    names, painted : tuple of str
        Layers of the images, and of their classes; empty if they are files.
    channel_axis : int or None
    spacing : tuple of float or None
    zero : {"unlabelled", "background"}
    """

    images: Any
    masks: Any
    names: tuple[str, ...] = ()
    painted: tuple[str, ...] = ()
    channel_axis: int | None = None
    spacing: tuple[float, ...] | None = None
    zero: Literal["unlabelled", "background"] = "unlabelled"

    def say(self, text: str) -> str:
        """Call images in a text of the engine by their layers, if they are layers."""
        return with_layers(text, self.names, self.painted)

    def image_name(self, called: str) -> str:
        """Return the layer of an image that the engine has numbered; others keep their name.

        A part of an image keeps its place: "image 2 (y 72 to 95)" becomes "em (y 72 to 95)".
        """
        for number, name in enumerate(self.names, start=1):
            own = "the image" if len(self.names) == 1 else f"image {number}"
            if called == own or called.startswith(f"{own} ("):
                return name + called[len(own) :]
        return self.say(called)

    def count(self, progress: Progress) -> Counted:
        """Count the pixels of each class.

        Raises
        ------
        ImplicitSegError
            If masks cannot be read or are no masks of classes.
        """
        from napari_implicitseg.semantic.sources import open_pairs
        from napari_implicitseg.training.semantic_examples import count_values

        pixels: Counter[int] = Counter()
        shares: list[float] = []
        with of_layers(self.names, self.painted):
            opened = open_pairs(
                self.images, self.masks, spacing=self.spacing, channel_axis=self.channel_axis
            )
            for number, volume in enumerate(opened.volumes):
                progress(number / len(opened.volumes), "Looking at the masks")
                own = count_values(volume)
                silent = own[0] if self.zero == "unlabelled" else 0
                shares.append(1 - silent / max(1, sum(own.values())))
                pixels.update(own)
        first = 1 if self.zero == "unlabelled" else 0
        return Counted(
            pixels={v: pixels[v] for v in sorted(pixels) if v >= first or v < 0},
            total=sum(pixels.values()),
            colours=opened.colours,
            shares=tuple(shares),
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
