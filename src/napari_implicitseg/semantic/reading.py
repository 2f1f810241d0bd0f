"""An image and its mask of classes, from arrays or files; those of files stay there."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.models.channels import channels_before, in_sentence, with_channels
from napari_implicitseg.semantic.masks import MaskFile, check_no_colours, decoded, mask_array
from napari_implicitseg.training.array_cache import LoadedArray
from napari_implicitseg.training.arrays import CroppedArray, as_array, in_memory
from napari_implicitseg.training.labelled import TrainingVolume
from napari_implicitseg.training.value_counts import MOST_VALUES, count_blocks
from napari_implicitseg.volumes.files import place_of, read_image

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from napari_implicitseg.training.array_cache import ArrayCache

__all__ = ["ReadPair", "is_path", "name_of", "read_pair", "volume_with_channels"]

_ALPHA, _COLOURS = 4, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPair:
    """An image with its mask.

    Attributes
    ----------
    volume : TrainingVolume
        Raw (C, *S), mask (*S) with the values of its file.
    colours : bool
        Whether values are packed colours.
    unit : str
        Of the pixel size; "" if unknown.
    mask : MaskFile or None
        Where the mask is, if it is in a file.
    """

    volume: TrainingVolume
    colours: bool
    unit: str
    mask: MaskFile | None = None

    def in_colours(self, cache: ArrayCache, values: Collection[int] | None) -> ReadPair:
        """Return it with its mask as packed colours, as others of its set are."""
        if self.colours or self.mask is None:
            return self
        file = replace(self.mask, colours=True)
        labels = _mask_of(file, self.volume.name, cache, values)
        return replace(self, volume=replace(self.volume, labels=labels), colours=True, mask=file)


def read_pair(
    image: Any,
    mask: Any,
    name: str,
    cache: ArrayCache,
    *,
    colours: bool,
    spacing: Sequence[float] | None,
    channel_axis: int | None,
    channels: int | None,
    values: Collection[int] | None,
) -> ReadPair:
    """Read an image and its mask, to see that they are whole and go together.

    Parameters
    ----------
    image, mask : array or path
    name : str
        Of the image, for messages.
    cache : ArrayCache
        Keeps what was read for a while; what it forgets is read again when it is asked for.
    colours, spacing, channel_axis, channels, values
        See `open_pairs`.

    Raises
    ------
    InputError
        If they differ in shape, channels do not fit, or a pixel of an image that is read as a
        whole is no number.
    FileError
        If one cannot be read.
    """
    file = MaskFile(mask, colours) if is_path(mask) else None
    if file is None:
        labels, packed = mask_array(mask, name, colours=colours)
    else:
        labels = _mask_of(file, name, cache, values)
        packed = file.is_packed
    shape = tuple(int(n) for n in labels.shape)
    size, unit = None, ""
    if is_path(image):
        found = _ImageFile(image, shape, name, channel_axis, channels)
        raw: Any = LoadedArray.first_read(found.read, cache, name)
        size, unit = found.spacing, found.unit
    else:
        raw = as_array(image, in_sentence(name))
        raw = _arranged(raw, shape, channel_axis, name, channels, said=channel_axis is not None)
    if raw.dtype.kind not in "biuf":
        raise InputError(
            f"The {in_sentence(name)} has dtype {raw.dtype}; needed are real numbers. Convert it."
        )
    if 0 in raw.shape:
        raise InputError(f"{_begun(name)} is empty: its shape is {tuple(raw.shape)}.")
    size = _cut(size, len(shape)) if spacing is None else _given(spacing, len(shape), name)
    volume = TrainingVolume(raw=raw, labels=labels, spacing=size, name=name)
    _check_numbers(volume)
    return ReadPair(volume=volume, colours=packed, unit=unit, mask=file)


def _mask_of(
    file: MaskFile, name: str, cache: ArrayCache, values: Collection[int] | None
) -> LoadedArray:
    """Read a mask for the first time, and count its values."""
    labels = LoadedArray.first_read(file.read, cache, f"The mask of {name}")
    if labels.is_whole and labels.dtype.kind in "iub":
        labels.counts = count_blocks(labels, most=MOST_VALUES, only=values)
    return labels


def _check_numbers(volume: TrainingVolume) -> None:
    """Refuse an image that is in memory, or was just read, if a pixel is NaN or infinite."""
    raw = volume.raw
    if raw.dtype.kind != "f" or not (in_memory(raw) or getattr(raw, "is_whole", False)):
        return
    values = np.asarray(raw)
    # The least and the largest are NaN or infinite if any is, and need no array of their own.
    if not (np.isfinite(values.min()) and np.isfinite(values.max())):
        volume.read_raw(tuple(slice(0, n) for n in volume.shape))


def _cut(size: tuple[float, ...] | None, axes: int) -> tuple[float, ...] | None:
    """Return what a file says of the axes that its mask has, too."""
    return size[-axes:] if size is not None and len(size) >= axes else None


def _given(spacing: Any, axes: int, name: str) -> tuple[float, ...]:
    """Return the pixel size that was given; one number is for all axes."""
    try:
        size = tuple(float(s) for s in np.atleast_1d(np.asarray(spacing, float)))
    except (TypeError, ValueError):
        size = ()
    size = size * axes if len(size) == 1 else size
    if len(size) != axes or not all(0 < s < float("inf") for s in size):
        raise InputError(
            f"spacing is {spacing!r}, but {name} has {axes} axes; give one positive number for "
            "each."
        )
    return size


def volume_with_channels(volume: TrainingVolume, wanted: int) -> TrainingVolume:
    """Return an image with the channels that are wanted; what is in a file stays there.

    Raises
    ------
    InputError
        If its own do not fit.
    """
    raw, name = volume.raw, in_sentence(volume.name)
    count = int(raw.shape[0])
    if count == wanted:
        return volume
    # Whether they fit is seen without reading, but of colours that may be grey.
    with_channels(np.zeros((count, 1), np.uint8), wanted, name)
    if isinstance(raw, LoadedArray) and raw.is_whole:
        change = partial(with_channels, wanted=wanted, name=name)
        return replace(volume, raw=raw.changed(change, shape=(wanted, *volume.shape)))
    return replace(volume, raw=with_channels(_sliceable(raw), wanted, name))


def is_path(value: Any) -> bool:
    """Whether this is the name of a file."""
    return isinstance(value, str | os.PathLike)


def name_of(image: Any, number: int, count: int) -> str:
    """Name an image in messages: its path in quotes, or its number, from 1, of so many."""
    if is_path(image):
        return f"'{place_of(image)}'"
    return "the image" if count == 1 else f"image {number}"


@dataclass(slots=True)
class _ImageFile:
    """An image in a file, of which the size of the mask is known.

    Attributes
    ----------
    spacing : tuple of float
        Of its pixels, once it was read.
    unit : str
    """

    path: Any
    shape: tuple[int, ...]
    name: str
    channel_axis: int | None
    channels: int | None
    spacing: tuple[float, ...] | None = None
    unit: str = ""

    def read(self) -> Any:
        """Read or open it as (C, *S)."""
        volume = read_image(self.path)
        grid = volume.grid(volume.channel_axis)
        self.spacing, self.unit = grid.spacing, grid.units[-1] if grid.units else ""
        axis = volume.channel_axis if self.channel_axis is None else self.channel_axis
        data = decoded(volume.data, self.path)
        said = self.channel_axis is not None
        return _arranged(data, self.shape, axis, self.name, self.channels, said=said)


def _arranged(
    raw: Any,
    shape: tuple[int, ...],
    axis: int | None,
    name: str,
    channels: int | None,
    *,
    said: bool,
) -> Any:
    """Return an image as (C, *S), without transparency unless it was said to be channels."""
    axis = _channel_axis(tuple(int(n) for n in raw.shape), shape, axis, name)
    last = axis is not None and axis % len(raw.shape) == len(raw.shape) - 1
    raw = channels_before(raw, axis)
    is_opacity = last and not said and channels != _ALPHA and raw.dtype == np.uint8
    if is_opacity and int(raw.shape[0]) == _ALPHA:
        whole = tuple(slice(0, n) for n in shape)
        opaque = (slice(0, _COLOURS), *whole)
        raw = raw[:_COLOURS] if isinstance(raw, np.ndarray) else CroppedArray(raw, opaque)
    if channels is None or channels == int(raw.shape[0]):
        return raw
    return with_channels(_sliceable(raw), channels, in_sentence(name))


def _sliceable(raw: Any) -> Any:
    """Return an image (C, *S) of which channels can be taken."""
    if isinstance(raw, np.ndarray):
        return raw
    return CroppedArray(raw, tuple(slice(0, int(n)) for n in raw.shape))


def _channel_axis(
    image: tuple[int, ...], mask: tuple[int, ...], axis: int | None, name: str
) -> int | None:
    """Find which axis of an image its mask does not have."""
    check_no_colours(image, mask, name)
    if len(mask) not in (2, 3):
        raise InputError(
            f"The mask of {name} has {len(mask)} axes, shape {mask}; needed are 2 or 3. Give one "
            "image or one volume at a time."
        )
    if image == mask:
        return None
    if axis is not None and not (_is_whole(axis) and -len(image) <= axis < len(image)):
        raise InputError(
            f"channel_axis is {axis!r}, but {name} has {len(image)} axes: give 0 to "
            f"{len(image) - 1}."
        )
    tried = range(len(image) - 1, -1, -1) if axis is None else [axis % len(image)]
    for one in tried:
        if image[:one] + image[one + 1 :] == mask:
            return one
    raise InputError(
        f"The mask of {name} has shape {mask} but the image {image}. Both need the same size; "
        "crop or resample one of them."
    )


def _is_whole(value: Any) -> bool:
    """Whether this is a whole number."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _begun(name: str) -> str:
    """Name an image at the start of a sentence."""
    return name if name.startswith("'") else name[0].upper() + name[1:]
