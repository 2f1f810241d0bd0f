"""What classes are learned from: images with masks, their classes found and some held out."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.models.class_values import (
    LARGEST,
    TRANSPARENT,
    ClassValues,
    MappedMask,
    check_whole,
    shown_value,
)
from napari_implicitseg.semantic_config import SemanticConfig
from napari_implicitseg.training.array_cache import LoadedArray
from napari_implicitseg.training.arrays import in_memory
from napari_implicitseg.training.semantic_split import list_some, split_images
from napari_implicitseg.training.value_counts import MANY_VALUES, MOST_VALUES, count_blocks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_implicitseg.training.labelled import TrainingVolume
    from napari_implicitseg.training.value_counts import BlockCounts

__all__ = ["ClassExamples", "class_examples", "count_values", "list_some"]

_MOST_CLASSES = 255
_NOTHING = (
    "All pixels of all masks are unlabelled or ignored: there is nothing to learn. Label some, or, "
    "if 0 is a class, say that 0 is background (--zero background)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassExamples:
    """Images with masks of classes.

    Attributes
    ----------
    classes : tuple of str
        Names.
    values : tuple of int
        What stood for each in the masks.
    taught, held : tuple of TrainingVolume
        What is learned from, and what is measured on; labels are classes from 1.
    """

    classes: tuple[str, ...]
    values: tuple[int, ...]
    taught: tuple[TrainingVolume, ...]
    held: tuple[TrainingVolume, ...]


def class_examples(
    volumes: Sequence[TrainingVolume], config: SemanticConfig, *, colours: bool = False
) -> ClassExamples:
    """Find the classes in masks, and hold some images out.

    Parameters
    ----------
    volumes : sequence of TrainingVolume
        Masks as they were given; raw images with channels, alike in number.
    config : SemanticConfig
    colours : bool
        Whether values are packed colours, for messages.

    Warns
    -----
    UserWarning
        If values are mapped to classes, an image is left out because nothing in its mask is
        labelled, a class cannot be learned, or part of an image is held out because no whole
        image can be.

    Raises
    ------
    InputError
        If masks hold too many values, less than two classes, or no label at all.
    """
    if not volumes:
        raise InputError("There are no images to learn from. Give at least one with its mask.")
    counted = [_counted(volume, config, flat=_is_flat(volume, config)) for volume in volumes]
    found = [_totals(counts) for counts in counted]
    every: Counter[int] = Counter()
    for one in found:
        every.update(one)
    values, ignored = _class_values(every, config)
    labelled = [any(v in one for v in values) for one in found]
    if not any(labelled):
        raise InputError(_NOTHING)
    empty = [v.name for v, some in zip(volumes, labelled, strict=True) if not some]
    if empty:
        are, whose = ("is", "its mask") if len(empty) == 1 else ("are", "their masks")
        warnings.warn(
            f"{len(empty)} of {len(volumes)} images {are} left out, as nothing in {whose} is "
            f"labelled: {list_some(empty)}.",
            stacklevel=2,
        )
    names = _names(values, config, colours=colours)
    meaning = ClassValues(
        values=values, ignored=ignored, strict=config.values is None, colours=colours
    )
    if not meaning.is_plain() and config.values is None:
        pairs = zip(values, names, strict=True)
        listed = ", ".join(
            f"{shown_value(value, colours=colours)} is class {i} ({name})"
            for i, (value, name) in enumerate(pairs, start=1)
        )
        warnings.warn(f"Values of the masks become classes: {listed}.", stacklevel=2)
    kept = [(v, c) for v, c, some in zip(volumes, counted, labelled, strict=True) if some]
    nowhere = [name for value, name in zip(values, names, strict=True) if not every[value]]
    if nowhere:
        warnings.warn(
            f"No mask has {list_some(nowhere)}: it cannot be learned. Give images of it, or leave "
            "its name out.",
            stacklevel=2,
        )
    mapped = [_mapped(volume, meaning, counts) for volume, counts in kept]
    totals = [one for one, some in zip(found, labelled, strict=True) if some]
    there = [{i for i, v in enumerate(values, start=1) if v in one} for one in totals]
    taught, held = split_images(mapped, there, names, share=config.held_out, seed=config.seed)
    return ClassExamples(classes=names, values=values, taught=taught, held=held)


def count_values(volume: TrainingVolume) -> Counter[int]:
    """Count the values of a mask, block by block; those of a file that is read whole are known.

    Transparent pixels of a picture are left out.

    Raises
    ------
    InputError
        If they are no integers, or too many to be classes.
    """
    return _totals(_counted(volume, SemanticConfig()))


def _totals(counts: BlockCounts) -> Counter[int]:
    """Pixels of each value that may be a class."""
    found = counts.totals()
    found.pop(TRANSPARENT, None)
    return found


def _counted(volume: TrainingVolume, config: SemanticConfig, *, flat: bool = False) -> BlockCounts:
    """Count the values of a mask in the blocks from which patches will be drawn."""
    labels = volume.labels
    check_whole(labels, f"mask of {volume.name}")
    counts: BlockCounts | None = getattr(labels, "counts", None)
    if counts is None:
        counts = count_blocks(labels, flat=flat, most=MOST_VALUES, only=config.values)
    # Who names the classes, or says what they are, knows that they are many.
    explained = config.values is not None or config.classes
    silent = {0, config.ignore, TRANSPARENT}
    if counts is None or (not explained and len({*_there(counts)} - silent) > MANY_VALUES):
        most = MOST_VALUES if counts is None and explained else MANY_VALUES
        raise InputError(
            f"The mask of {volume.name} holds more than {most} different values, too many for "
            "classes: it looks like an image, or like ids of objects. Give a mask of classes; "
            "images come first, masks second. If they are classes, name them (--classes) or say "
            "which values they are (--values, --colours)."
        )
    if max(_there(counts), default=0) > LARGEST:
        raise InputError(
            f"The mask of {volume.name} holds {max(_there(counts))}; values of classes are at most "
            f"{LARGEST}. Relabel it, or say which values are classes (--values)."
        )
    return counts


def _there(counts: BlockCounts) -> list[int]:
    """List the values that a mask holds."""
    return [*counts.totals()]


def _is_flat(volume: TrainingVolume, config: SemanticConfig) -> bool:
    """Whether patches will be of sections of this stack; if not, it is counted once more."""
    if len(volume.shape) == 2:
        return False
    from napari_implicitseg.training.semantic_task import network_axes

    return network_axes([volume], config) == 2


def _class_values(
    every: Mapping[int, int], config: SemanticConfig
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return what stands for each class, and what says nothing."""
    if config.values is not None:
        return config.values, ()
    ignored: tuple[int, ...] = () if config.ignore is None else (config.ignore,)
    first = 0 if config.zero == "background" else 1
    if config.zero == "unlabelled":
        ignored = (0, *(i for i in ignored if i))
    found = tuple(sorted(value for value in every if value not in ignored))
    if not found:
        raise InputError(_NOTHING)
    if found[0] < 0:
        raise InputError(
            f"The masks hold {found[0]}; classes are positive. Relabel it, or have it ignored."
        )
    wanted = len(config.classes)
    # A gap in small numbers is a class that happens to be in no mask.
    count = wanted or (found[-1] - first + 1)
    is_plain = found[0] >= first and found[-1] < first + count <= first + _MOST_CLASSES
    plain = range(first, first + count) if is_plain and count <= 2 * len(found) + wanted else ()
    values = tuple(plain) if plain and not set(ignored) & set(plain) else found
    if wanted and len(values) != wanted:
        raise InputError(
            f"There {'is 1 class' if wanted == 1 else f'are {wanted} classes'} by name "
            f"({list_some(config.classes)}) but the masks hold "
            f"the values {list_some([*map(str, found)])}. Name each, or have one ignored; 0 is a "
            "class only where you say that 0 is background (--zero background)."
        )
    if len(values) < 2:
        raise InputError(
            f"The masks hold one class only ({values[0]}), and there is nothing to tell apart. "
            + (
                "0 is unlabelled: if it is a class, say that 0 is background (--zero background). "
                "Otherwise label a "
                "second class."
                if config.zero == "unlabelled" and 0 in every
                else "Label a second class."
            )
        )
    if len(values) > _MOST_CLASSES:
        raise InputError(f"There are {len(values)} classes; at most {_MOST_CLASSES} are learned.")
    return values, ignored


def _names(values: Sequence[int], config: SemanticConfig, *, colours: bool) -> tuple[str, ...]:
    """Name the classes."""
    if config.classes:
        return config.classes
    if colours:
        return tuple(
            "background" if value == 0 else shown_value(value, colours=True) for value in values
        )
    by_zero = config.zero == "background" and values[0] == 0
    names = [f"class {i}" for i in range(1, len(values) + 1)]
    return ("background", *names[1:]) if by_zero else tuple(names)


def _mapped(volume: TrainingVolume, meaning: ClassValues, counts: BlockCounts) -> TrainingVolume:
    """Return an image whose mask holds classes."""
    labels: Any = volume.labels
    name = f"mask of {volume.name}"
    classes = counts.of_classes(meaning.values)
    if in_memory(labels):
        labels = meaning(labels, name)
    elif isinstance(labels, LoadedArray) and labels.is_whole:
        labels = labels.changed(partial(meaning, name=name), dtype=np.uint8, counts=classes)
    else:
        labels = MappedMask(labels, meaning, name, classes)
    return replace(volume, labels=labels, kind="instances", zero="unlabelled")
