"""Which images are learned from, and which are held out and measured on."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.training.held_parts import hold_part

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from napari_implicitseg.training.held_parts import HeldPart
    from napari_implicitseg.training.labelled import TrainingVolume

    Split = tuple[tuple[TrainingVolume, ...], tuple[TrainingVolume, ...]]

__all__ = ["list_some", "split_images"]

_LISTED = 5


def split_images(
    images: Sequence[TrainingVolume],
    there: Sequence[Collection[int]],
    names: Sequence[str],
    *,
    share: float,
    seed: int,
) -> Split:
    """Hold images out, by seed and name, so that every class is in what is learned from.

    The same files are held out in whatever order they are given; arrays have no names but their
    numbers. Where no whole image can be spared, a part of one is held out.

    Parameters
    ----------
    images : sequence of TrainingVolume
        Labels are classes from 1, 0 unlabelled.
    there : sequence of collection of int
        Classes that each has.
    names : sequence of str
        Of the classes.
    share : float
        Share of the images that is held out, 0 to 0.9.
    seed : int

    Returns
    -------
    taught, held : tuple of TrainingVolume

    Warns
    -----
    UserWarning
        If fewer are held out, a part of one, or none.
    """
    if not share:
        return tuple(images), ()
    by_name = sorted(range(len(images)), key=lambda i: _path_of(images[i]))
    shuffled = np.random.default_rng([seed, len(images)]).permutation(len(images)).tolist()
    order = [by_name[i] for i in shuffled]
    wanted = min(len(images) - 1, max(1, round(share * len(images))))
    left = Counter(number for classes in there for number in classes)
    chosen: set[int] = set()
    for i in order:
        if len(chosen) < wanted and all(left[number] > 1 for number in there[i]):
            chosen.add(i)
            left.subtract(there[i])
    if not chosen:
        return _split_one(images, there, names, order, share)
    if len(chosen) < wanted:
        warnings.warn(
            f"{len(chosen)} of {len(images)} images {'is' if len(chosen) == 1 else 'are'} held out "
            f"instead of {wanted}: without the others a class could not be learned.",
            stacklevel=3,
        )
    taught = tuple(image for i, image in enumerate(images) if i not in chosen)
    return taught, tuple(image for i, image in enumerate(images) if i in chosen)


def list_some(names: Sequence[str]) -> str:
    """List names, the first of many."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _path_of(image: TrainingVolume) -> str:
    """Return the path of a file, and "" of an array."""
    return image.name.strip("'") if image.name.startswith("'") else ""


def _split_one(
    images: Sequence[TrainingVolume],
    there: Sequence[Collection[int]],
    names: Sequence[str],
    order: Sequence[int],
    share: float,
) -> Split:
    """Hold a part of an image out: of the only one, or of the first that can be cut."""
    wanted = "several" if len(images) == 1 else "more"
    parts = ((i, hold_part(images[i], share, len(names))) for i in order)
    found = next(((i, part) for i, part in parts if part is not None), None)
    if found is None:
        one = images[0].name
        whose = f"{one[0].upper()}{one[1:]} has" if len(images) == 1 else "The images have"
        warnings.warn(
            f"{whose} too few labels to hold some out, so nothing is measured. Label more, or "
            f"give {wanted} images.",
            stacklevel=4,
        )
        return tuple(images), ()
    i, part = found
    why = (
        f"There is one image only: its part {part.place} is held out and measured on."
        if len(images) == 1
        else "No whole image can be held out, as each has a class that no other has: the part "
        f"{part.place} of {images[i].name} is held out and measured on."
    )
    warnings.warn(
        f"{why} Pixels of one image are alike; how good the model is on others this does not "
        f"tell. Give {wanted} images.",
        stacklevel=4,
    )
    elsewhere = {number for k, classes in enumerate(there) if k != i for number in classes}
    _warn_of_lacking(part, names, elsewhere)
    return (*images[:i], part.taught, *images[i + 1 :]), (part.held,)


def _warn_of_lacking(part: HeldPart, names: Sequence[str], elsewhere: Collection[int]) -> None:
    """Say which classes only one part of an image has."""
    unlearned = [names[n - 1] for n in part.unlearned if n not in elsewhere]
    unmeasured = [names[n - 1] for n in part.unmeasured]
    if unlearned:
        warnings.warn(
            f"Only the held-out part {part.place} has {list_some(unlearned)}: it cannot be "
            "learned. Label some of it elsewhere, or hold less out.",
            stacklevel=5,
        )
    if unmeasured:
        warnings.warn(
            f"The held-out part {part.place} has no {list_some(unmeasured)}, which is not measured "
            "then. Label some of it there, or give more images.",
            stacklevel=5,
        )
