"""What classes are learned from: images with masks, their classes found and some held out."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.models.class_values import ClassValues, MappedMask
from napari_implicitseg.training.arrays import Blocks, in_memory
from napari_implicitseg.training.examples import hold_out

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_implicitseg.semantic_config import SemanticConfig
    from napari_implicitseg.training.labelled import TrainingVolume

__all__ = ["ClassExamples", "class_examples", "count_values", "list_some"]

_MOST_CLASSES = 255
# Masks with more values than this are ids of objects, or images.
_MANY_VALUES = 64
# Splits that are tried until every class is among what is learned from.
_SPLITS = 50
_LISTED = 5
_NOTHING = (
    "All pixels of all masks are unlabelled or ignored: there is nothing to learn. Label some, or "
    "say what 0 means: zero='background' (--zero background) makes it a class."
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
        labelled, a class is missing from what is learned from, or part of an image is held
        out because there is one only.

    Raises
    ------
    InputError
        If masks hold too many values, less than two classes, or no label at all.
    """
    if not volumes:
        raise InputError("There are no images to learn from. Give at least one with its mask.")
    found = [count_values(volume) for volume in volumes]
    every = sum(found, Counter())
    values, ignored = _class_values(every, config)
    labelled = [any(v in one for v in values) for one in found]
    if not any(labelled):
        raise InputError(_NOTHING)
    empty = [v.name for v, some in zip(volumes, labelled, strict=True) if not some]
    if empty:
        warnings.warn(
            f"{len(empty)} of {len(volumes)} images are left out, as nothing in their masks is "
            f"labelled: {list_some(empty)}.",
            stacklevel=2,
        )
    names = _names(values, config, colours=colours)
    meaning = ClassValues(values=values, ignored=ignored, strict=config.values is None)
    if not meaning.is_plain() and config.values is None:
        pairs = zip(values, names, strict=True)
        listed = ", ".join(
            f"{_shown(value, colours)} is class {i} ({name})"
            for i, (value, name) in enumerate(pairs, start=1)
        )
        warnings.warn(f"Values of the masks become classes: {listed}.", stacklevel=2)
    kept = [(v, c) for v, c, some in zip(volumes, found, labelled, strict=True) if some]
    mapped = [(_mapped(volume, meaning), counts) for volume, counts in kept]
    taught, held = _split(mapped, values, names, config)
    return ClassExamples(classes=names, values=values, taught=taught, held=held)


def count_values(volume: TrainingVolume) -> Counter[int]:
    """Count the values of a mask, block by block.

    Raises
    ------
    InputError
        If they are no integers, or too many to be classes.
    """
    if volume.labels.dtype.kind not in "iub":
        raise InputError(
            f"The mask of {volume.name} has dtype {volume.labels.dtype}; classes are integers. "
            "Convert it, for instance by mask.astype('uint8')."
        )
    blocks = Blocks(volume.labels)
    counts: Counter[int] = Counter()
    for number in range(len(blocks)):
        values, pixels = np.unique(blocks.read(number), return_counts=True)
        counts.update(dict(zip(values.tolist(), pixels.tolist(), strict=True)))
        if len(counts) > _MANY_VALUES:
            raise InputError(
                f"The mask of {volume.name} holds more than {_MANY_VALUES} different values, too "
                "many for classes: it looks like an image, or like ids of objects. Give a mask of "
                "classes; images come first, masks second."
            )
    return Counter({int(value): n for value, n in counts.items()})


def list_some(names: Sequence[str]) -> str:
    """List names, the first of many."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


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
            f"The masks hold {found[0]}; classes are positive. Relabel it, or have it ignored "
            f"(ignore={found[0]}, --ignore)."
        )
    wanted = len(config.classes)
    plain = tuple(range(first, first + (wanted or (found[-1] - first + 1))))
    # A gap in small numbers is a class that happens to be in no mask.
    is_plain = set(found) <= set(plain) and (wanted > 0 or len(plain) <= 2 * len(found))
    values = plain if is_plain and not set(ignored) & set(plain) else found
    if wanted and len(values) != wanted:
        raise InputError(
            f"There are {wanted} classes by name ({', '.join(config.classes)}) but the masks hold "
            f"the values {', '.join(map(str, found))}. Name each, or have values "
            "ignored; 0 is a class only with zero='background' (--zero background)."
        )
    if len(values) < 2:
        raise InputError(
            f"The masks hold one class only ({values[0]}), and there is nothing to tell apart. "
            + (
                "0 is unlabelled: if it is a class, say so by zero='background' (--zero "
                "background). Otherwise label a second class."
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
        return tuple("background" if value == 0 else _shown(value, True) for value in values)
    by_zero = config.zero == "background" and values[0] == 0
    names = [f"class {i}" for i in range(1, len(values) + 1)]
    return ("background", *names[1:]) if by_zero else tuple(names)


def _shown(value: int, colours: bool) -> str:
    """Write a value of a mask."""
    return f"#{value:06x}" if colours else str(value)


def _mapped(volume: TrainingVolume, meaning: ClassValues) -> TrainingVolume:
    """Return an image whose mask holds classes."""
    labels: Any = volume.labels
    if in_memory(labels):
        labels = meaning(labels, f"mask of {volume.name}")
    else:
        labels = MappedMask(labels, meaning, f"mask of {volume.name}")
    return replace(volume, labels=labels, kind="instances", zero="unlabelled")


def _split(
    images: Sequence[tuple[TrainingVolume, Counter[int]]],
    values: Sequence[int],
    names: Sequence[str],
    config: SemanticConfig,
) -> tuple[tuple[TrainingVolume, ...], tuple[TrainingVolume, ...]]:
    """Hold images out, by seed, so that every class is in what is learned from."""
    if not config.held_out:
        return tuple(volume for volume, _ in images), ()
    if len(images) == 1:
        return _split_one(images[0][0], config.held_out)
    rng = np.random.default_rng([config.seed, len(images)])
    count = min(len(images) - 1, max(1, round(config.held_out * len(images))))
    there = {value for _, counts in images for value in counts}
    splits = [rng.permutation(len(images)).tolist() for _ in range(_SPLITS)]
    order = next(
        (
            split
            for split in splits
            if all(
                any(v in images[i][1] for i in split[count:]) for v in there.intersection(values)
            )
        ),
        splits[0],
    )
    taught = [images[i] for i in sorted(order[count:])]
    missing = [
        name
        for value, name in zip(values, names, strict=True)
        if not any(value in counts for _, counts in taught)
    ]
    if missing:
        warnings.warn(
            f"No image that is learned from has {list_some(missing)}: it cannot be learned. Give "
            "more images of it, or hold fewer out (held_out, --held-out).",
            stacklevel=2,
        )
    return tuple(v for v, _ in taught), tuple(images[i][0] for i in sorted(order[:count]))


def _split_one(
    volume: TrainingVolume, share: float
) -> tuple[tuple[TrainingVolume, ...], tuple[TrainingVolume, ...]]:
    """Hold a part of the only image out."""
    taught, held = hold_out(volume, share)
    if held is None:
        return (volume,), ()
    warnings.warn(
        f"There is one image only: {held.name} is measured on. Pixels of one image are alike; "
        "how good the model is on others this does not tell. Give several images.",
        stacklevel=2,
    )
    return (taught,), (held,)
