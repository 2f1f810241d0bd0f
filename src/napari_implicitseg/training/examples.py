"""What is learned from: raw volumes and their labels, checked before any step is taken."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from napari_implicitseg.config import LabelKind, ZeroMeaning
from napari_implicitseg.errors import InputError
from napari_implicitseg.training.arrays import (
    Blocks,
    as_array,
    channels_first,
    in_memory,
)
from napari_implicitseg.training.labelled import TrainingVolume
from napari_implicitseg.training.membranes import is_anisotropic, membranes_to_instances

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["TrainingVolume", "as_volumes", "checked_volumes", "hold_out"]

_KINDS, _ZEROS = get_args(LabelKind), get_args(ZeroMeaning)
# Voxel sizes that differ by less than this are rounded differently, not different.
_SAME_SIZE = 0.01


def checked_volumes(
    volumes: Any,
    *,
    ndim: int | None,
    in_channels: int | None = None,
    kind: LabelKind = "instances",
    zero: ZeroMeaning = "unlabelled",
) -> tuple[TrainingVolume, ...]:
    """Check what is to be learned from, and turn membranes into instances.

    Arrays in files are looked at in blocks, until there are labels to learn from.

    Parameters
    ----------
    volumes : TrainingVolume, pair, mapping, or a sequence of these
        A pair is `(raw, labels)`; a mapping has the attributes of
        `TrainingVolume` as its keys.
    ndim : {2, 3} or None
        Axes of the network. For 2, the sections of a stack are samples. While it is None,
        undecided, membranes stay what they are.
    in_channels : int, optional
        How many channels the raw images must have; by default all the same number.
    kind, zero : str
        Those of volumes that do not say; in membranes 0 is background all the same.

    Returns
    -------
    tuple of TrainingVolume
        With all attributes known; `raw` has channels, and `kind` is "instances".

    Raises
    ------
    InputError
        If raw and labels differ in shape or voxel size, there is nothing labelled or
        nothing to tell apart, labels are negative, fractions or bool, the raw
        image holds NaN or infinity, or dimension or channels do not fit.
    """
    found = as_volumes(volumes)
    if not found:
        raise InputError("There are no volumes to train from. Give at least one (raw, labels).")
    named = [replace(v, name=v.name or _default_name(i, len(found))) for i, v in enumerate(found)]
    checked = [_checked(volume, ndim, kind, zero) for volume in named]
    needed = checked[0].channels if in_channels is None else in_channels
    for volume in checked:
        if volume.channels != needed:
            wanted = f"{checked[0].name} has" if in_channels is None else "the network takes"
            raise InputError(
                f"The raw image of {volume.name} has {_count(volume.channels, 'channel')}, shape "
                f"{tuple(volume.raw.shape)}; {wanted} {needed}. Give all the same channels, first."
            )
    if not any(_differ(volume) for volume in checked):
        raise InputError(_nothing_to_tell_apart(checked))
    return tuple(checked)


def as_volumes(volumes: Any) -> list[TrainingVolume]:
    """Make a list of training volumes of whatever form they were given in, unchecked.

    Parameters
    ----------
    volumes : TrainingVolume, pair, mapping, or a sequence of these
        See `checked_volumes`.

    Raises
    ------
    InputError
        If it is something else.
    """
    if _is_one(volumes):
        return [_one(volumes)]
    if hasattr(volumes, "shape") or not isinstance(volumes, Iterable) or isinstance(volumes, str):
        raise InputError(
            f"The volumes are {_described(volumes)}; needed are raw images with their labels: "
            "(raw, labels), or a list of such pairs."
        )
    return [_one(volume) for volume in volumes]


def hold_out(
    volume: TrainingVolume, share: float = 0.25, axis: int | None = None
) -> tuple[TrainingVolume, TrainingVolume | None]:
    """Set the end of a volume aside for validation.

    Parameters
    ----------
    volume : TrainingVolume
    share : float
        Share of the length that is held out, between 0 and 1.
    axis : int, optional
        Along which axis of space. By default across sections if these are
        much further apart than pixels, otherwise along the longest axis, or along
        another if only so both parts have labels.

    Returns
    -------
    train, held : TrainingVolume
        Two windows of `volume`; nothing is copied. `held` is None if no axis leaves
        labels in both parts, and something to tell apart in the first.

    Warns
    -----
    UserWarning
        If nothing can be held out.

    Raises
    ------
    InputError
        If `share` or `axis` is out of range, or along the axis asked for a part has no label.
    """
    shape = volume.shape
    if not 0 < share < 1:
        raise InputError(f"The share held out is {share}; give one between 0 and 1, such as 0.25.")
    if axis is not None and not -len(shape) <= axis < len(shape):
        raise InputError(f"axis is {axis}; {_called(volume)} has {len(shape)} axes of space.")
    axes = _axes_to_cut(volume) if axis is None else [axis % len(shape)]
    for chosen in axes:
        parts = _cut(volume, share, chosen)
        if parts and _differ(parts[0]) and _some_label(parts[1]):
            return parts
    if axis is not None:
        raise InputError(
            f"{_called(volume)} cannot be cut at {1 - share:g} of its {shape[axis]} voxels along "
            f"axis {axis}: one part would have too few labels. Cut it along another axis, or give "
            "a volume for validation."
        )
    warnings.warn(
        f"{_called(volume)} has too few labels to hold some out: all of it is learned from. Give "
        "another volume for validation.",
        stacklevel=2,
    )
    return volume, None


def _axes_to_cut(volume: TrainingVolume) -> list[int]:
    """List the axes of space, the best one to cut along first."""
    axes = sorted(range(len(volume.shape)), key=lambda axis: -volume.shape[axis])
    if is_anisotropic(volume.voxel_size):
        axes.sort(key=bool)
    return axes


def _cut(
    volume: TrainingVolume, share: float, axis: int
) -> tuple[TrainingVolume, TrainingVolume] | None:
    """Cut a volume in two, if it is long enough."""
    length = volume.shape[axis]
    cut = length - max(1, round(length * share))
    if not cut:
        return None
    window = [slice(0, n) for n in volume.shape]
    window[axis] = slice(0, cut)
    train = volume.crop(tuple(window))
    window[axis] = slice(cut, length)
    held = volume.crop(tuple(window))
    place = f"{'zyx'[axis - len(window)]} from {cut}"
    return train, replace(held, name=f"the held-out part of {_called(volume)} ({place})")


def _is_one(value: Any) -> bool:
    """Whether this is one volume and not a sequence of them."""
    if isinstance(value, TrainingVolume | Mapping):
        return True
    pair = isinstance(value, tuple | list) and len(value) == 2
    return pair and all(
        isinstance(part, str | os.PathLike)
        or (hasattr(part, "shape") and not isinstance(part, TrainingVolume))
        for part in value
    )


def _one(value: Any) -> TrainingVolume:
    """Make a training volume of a pair or a mapping."""
    if isinstance(value, TrainingVolume):
        return value
    if isinstance(value, Mapping):
        known = [field.name for field in fields(TrainingVolume)]
        unknown = [key for key in value if key not in known]
        if unknown or "raw" not in value or "labels" not in value:
            raise InputError(
                f"A training volume has the keys {', '.join(map(str, value))}; needed are raw and "
                f"labels, possible {', '.join(known[2:])}."
            )
        return TrainingVolume(**value)
    if isinstance(value, tuple | list) and len(value) == 2:
        return TrainingVolume(raw=value[0], labels=value[1])
    raise InputError(
        f"A training volume is {_described(value)}; give (raw, labels) or a TrainingVolume."
    )


def _checked(
    volume: TrainingVolume, ndim: int | None, kind: LabelKind, zero: ZeroMeaning
) -> TrainingVolume:
    """Check one volume by itself."""
    volume = replace(volume, kind=volume.kind or kind)
    for option, value, choices in (("kind", volume.kind, _KINDS), ("zero", volume.zero, _ZEROS)):
        if value not in choices and not (option == "zero" and value is None):
            raise InputError(
                f"{option} of {volume.name} is {value!r}; use {' or '.join(map(repr, choices))}."
            )
    raw = as_array(volume.raw, f"raw image of {volume.name}")
    labels = as_array(volume.labels, f"label image of {volume.name}")
    volume = replace(volume, raw=raw, labels=labels)
    _check_shapes(volume, ndim)
    volume = _with_spacing(volume)
    volume = replace(volume, raw=channels_first(raw, len(volume.shape)))
    _check_finite(volume)
    if volume.kind == "membranes":
        if volume.zero == "unlabelled":
            raise InputError(
                f"zero of {volume.name} is 'unlabelled', but in membranes 0 is membrane. "
                "Give instances, or leave zero (--zero) out."
            )
        if ndim is None:
            return replace(volume, zero="background")
        return membranes_to_instances(volume, sections=len(volume.shape) == 3 and ndim == 2)
    _check_ids(volume)
    return replace(volume, zero=volume.zero or zero)


def _check_shapes(volume: TrainingVolume, ndim: int | None) -> None:
    """Refuse shapes that do not belong together, or not to the network."""
    raw, labels = tuple(map(int, volume.raw.shape)), volume.shape
    if len(labels) not in (2, 3):
        raise InputError(
            f"The labels of {volume.name} have {len(labels)} axes, shape {labels}; needed are 2 "
            "or 3: (y, x) or (z, y, x), without channels and time."
        )
    if raw[:-1] == labels and raw[-1] <= 4 and raw[1:] != labels:
        raise InputError(
            f"The raw image of {volume.name} has shape {raw}, with colours last; channels come "
            "first. Move them: numpy.moveaxis(raw, -1, 0)."
        )
    if labels not in (raw, raw[1:]):
        raise InputError(
            f"The raw image of {volume.name} has shape {raw} but its labels {labels}. Both need "
            "the same shape; channels of the raw image come first. Crop or resample one of them."
        )
    if 0 in raw:
        raise InputError(f"{volume.name} is empty: its shape is {raw}.")
    if len(labels) < (ndim or 2):
        raise InputError(
            f"The labels of {volume.name} have {len(labels)} axes, shape {labels}, but the "
            f"network {ndim}. Give a stack, or train a 2D network."
        )


def _with_spacing(volume: TrainingVolume) -> TrainingVolume:
    """Check the voxel sizes of raw image and labels against each other."""
    sizes = [
        _checked_spacing(values, volume, what)
        for values, what in ((volume.spacing, "spacing"), (volume.labels_spacing, "labels_spacing"))
    ]
    if sizes[0] and sizes[1] and not np.allclose(sizes[0], sizes[1], rtol=_SAME_SIZE, atol=0):
        raise InputError(
            f"The raw image of {volume.name} has spacing {sizes[0]} but its labels {sizes[1]}. "
            "Resample one of them, or give the right spacing."
        )
    spacing = sizes[0] or sizes[1] or volume.voxel_size
    return replace(volume, spacing=spacing, labels_spacing=None)


def _checked_spacing(values: Any, volume: TrainingVolume, what: str) -> tuple[float, ...] | None:
    """Return a voxel size as floats."""
    if values is None:
        return None
    spacing = tuple(float(s) for s in np.atleast_1d(values))
    ndim = len(volume.shape)
    if len(spacing) == 1:
        spacing *= ndim
    if len(spacing) != ndim or not all(math.isfinite(s) and s > 0 for s in spacing):
        raise InputError(
            f"{what} of {volume.name} is {spacing}; its labels have {ndim} axes: give one "
            "positive number for each, or one for all."
        )
    return spacing


def _check_finite(volume: TrainingVolume) -> None:
    """Refuse NaN and infinity in a raw image in memory; others are checked when read."""
    if volume.raw.dtype.kind != "f" or not in_memory(volume.raw):
        return
    whole = tuple(slice(0, n) for n in volume.shape[1:])
    for number in range(volume.shape[0]):
        volume.read_raw((slice(number, number + 1), *whole))


def _check_ids(volume: TrainingVolume) -> None:
    """Refuse labels that are no ids, or of which there are none."""
    labels = volume.labels
    if labels.dtype.kind not in "iu":
        raise InputError(
            f"The labels of {volume.name} have dtype {labels.dtype}; ids are integers. If they "
            "say where membranes are, give labels='membranes' (--labels membranes); otherwise "
            "convert them, for instance by labels.astype('uint32')."
        )
    if in_memory(labels):
        volume.read_labels(tuple(slice(0, n) for n in volume.shape))
    if not _some_label(volume):
        raise InputError(
            f"The labels of {volume.name} are all 0: no voxel is labelled. Label some, or "
            "check that these are its labels."
        )


def _some_label(volume: TrainingVolume) -> bool:
    """Whether any voxel is labelled; for membranes, whether any is inside an object."""
    blocks = Blocks(volume.labels)
    return any(bool(blocks.read(number).any()) for number in blocks.walk())


def _differ(volume: TrainingVolume) -> bool:
    """Whether there are two labels to tell apart."""
    blocks = Blocks(volume.labels)
    seen: set[Any] = set()
    for number in blocks.walk():
        block = blocks.read(number).ravel()
        known = block if volume.zero == "background" else block[block != 0]
        if known.size:
            seen |= {known.min().item(), known.max().item()}
        if len(seen) > 1:
            return True
    return False


def _nothing_to_tell_apart(volumes: Sequence[TrainingVolume]) -> str:
    """Say what is missing where no volume has two labels."""
    names = "the labels of " + ", ".join(volume.name for volume in volumes)
    if any(volume.zero == "background" for volume in volumes):
        return (
            f"All voxels of {names} have one and the same label: there is nothing to tell apart. "
            "Give labels with two objects, or with background."
        )
    return (
        f"There is only one label in {names}, and 0 is unlabelled: there is nothing to tell "
        "apart. If it is the inside of cells and 0 their membranes, say so: labels='membranes' "
        "(--labels membranes). If it is one object and 0 is background, say zero='background' "
        "(--zero background). Otherwise label a second object."
    )


def _default_name(number: int, count: int) -> str:
    """Name a volume in messages."""
    return "the training volume" if count == 1 else f"training volume {number + 1}"


def _called(volume: TrainingVolume) -> str:
    """Name a volume at the start of a sentence."""
    own = volume.name and not volume.name.startswith("the ")
    return volume.name if own else "The" + (volume.name or "the training volume")[3:]


def _count(number: int, thing: str) -> str:
    """Write a number of things."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _described(value: Any) -> str:
    """Say what was given instead of a volume."""
    shape = getattr(value, "shape", None)
    return f"one array of shape {tuple(shape)}" if shape is not None else repr(value)[:60]
