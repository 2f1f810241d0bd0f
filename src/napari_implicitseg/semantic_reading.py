"""An image and its mask of classes, from arrays or files; those of files stay there."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.models.channels import channels_before, with_channels
from napari_implicitseg.models.class_values import packed_colours
from napari_implicitseg.training.array_cache import LoadedArray
from napari_implicitseg.training.arrays import CroppedArray, as_array
from napari_implicitseg.training.labelled import TrainingVolume
from napari_implicitseg.training.value_counts import count_blocks
from napari_implicitseg.volumes.files import open_volume, place_of, read_image, read_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg.training.array_cache import ArrayCache

__all__ = ["ReadPair", "is_path", "name_of", "read_pair", "volume_with_channels"]

_ALPHA, _COLOURS = 4, 3
_LOSSY = (".jpg", ".jpeg")
# Files of these are decoded as a whole, however large they are.
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp")


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
    """

    volume: TrainingVolume
    colours: bool
    unit: str


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
) -> ReadPair:
    """Read an image and its mask, to see that they are whole and go together.

    Parameters
    ----------
    image, mask : array or path
    name : str
        Of the image, for messages.
    cache : ArrayCache
        Keeps what was read for a while; what it forgets is read again when it is asked for.
    colours, spacing, channel_axis, channels
        See `open_pairs`.

    Raises
    ------
    InputError
        If they differ in shape, or channels do not fit.
    FileError
        If one cannot be read.
    """
    labels, packed = _mask(mask, name, cache, colours=colours)
    shape = tuple(int(n) for n in labels.shape)
    size, unit = None, ""
    if is_path(image):
        found = _ImageFile(image, shape, name, channel_axis, channels)
        raw: Any = LoadedArray.first_read(found.read, cache, name)
        size, unit = found.spacing, found.unit
    else:
        raw = _arranged(as_array(image, name), shape, channel_axis, name, channels)
    if 0 in raw.shape:
        raise InputError(f"{_begun(name)} is empty: its shape is {tuple(raw.shape)}.")
    if isinstance(labels, LoadedArray) and labels.is_whole and labels.dtype.kind in "iub":
        labels.counts = count_blocks(labels)
    if spacing is not None:
        size = tuple(float(s) for s in spacing)
    if size is not None and len(size) != len(shape):
        size = size[-len(shape) :] if len(size) > len(shape) else None
    volume = TrainingVolume(raw=raw, labels=labels, spacing=size, name=name)
    return ReadPair(volume=volume, colours=packed, unit=unit)


def volume_with_channels(volume: TrainingVolume, wanted: int) -> TrainingVolume:
    """Return an image with the channels that are wanted; what is in a file stays there.

    Raises
    ------
    InputError
        If its own do not fit.
    """
    raw, name = volume.raw, _image_of(volume.name)
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
        data = _decoded(volume.data, self.path)
        return _arranged(data, self.shape, axis, self.name, self.channels)


@dataclass(slots=True)
class _MaskFile:
    """A mask in a file.

    Attributes
    ----------
    is_packed : bool
        Whether its values are packed colours, once it was read.
    """

    path: Any
    colours: bool
    is_packed: bool = False

    def read(self) -> Any:
        """Read or open it: one number per pixel."""
        place = place_of(self.path)
        volume = open_volume(place, name="mask", labels=not self.colours)
        axis = volume.channel_axis
        if axis is not None and volume.shape[axis] in (_COLOURS, _ALPHA):
            data = np.asarray(volume.data)
            first, *others = (np.take(data, i, axis) for i in range(_COLOURS))
            if not self.colours and all(np.array_equal(first, other) for other in others):
                return first
            self.is_packed = True
            return _packed(data, axis)
        is_read = axis is None and not self.colours and volume.data.dtype.kind in "iub"
        if not is_read or Path(place).suffix.lower() in _LOSSY:
            volume = read_labels(self.path, name="mask")
        if not self.colours:
            return _decoded(volume.data, self.path)
        self.is_packed = True
        return packed_colours(np.stack([np.asarray(volume.data)] * _COLOURS, axis=-1))


def _arranged(
    raw: Any, shape: tuple[int, ...], axis: int | None, name: str, channels: int | None
) -> Any:
    """Return an image as (C, *S), without transparency."""
    axis = _channel_axis(tuple(int(n) for n in raw.shape), shape, axis, name)
    last = axis is not None and axis % len(raw.shape) == len(raw.shape) - 1
    raw = channels_before(raw, axis)
    if last and int(raw.shape[0]) == _ALPHA and raw.dtype == np.uint8:
        whole = tuple(slice(0, n) for n in shape)
        opaque = (slice(0, _COLOURS), *whole)
        raw = raw[:_COLOURS] if isinstance(raw, np.ndarray) else CroppedArray(raw, opaque)
    if channels is None or channels == int(raw.shape[0]):
        return raw
    return with_channels(_sliceable(raw), channels, _image_of(name))


def _sliceable(raw: Any) -> Any:
    """Return an image (C, *S) of which channels can be taken."""
    if isinstance(raw, np.ndarray):
        return raw
    return CroppedArray(raw, tuple(slice(0, int(n)) for n in raw.shape))


def _mask(mask: Any, name: str, cache: ArrayCache, *, colours: bool) -> tuple[Any, bool]:
    """Read a mask: one number per pixel; also say whether it is a packed colour."""
    if not is_path(mask):
        values = as_array(mask, f"mask of {name}")
        is_coloured = len(values.shape) == 3 and int(values.shape[-1]) in (_COLOURS, _ALPHA)
        return (_packed(values, -1), True) if colours and is_coloured else (values, False)
    file = _MaskFile(mask, colours)
    labels = LoadedArray.first_read(file.read, cache, f"The mask of {name}")
    return labels, file.is_packed


def _decoded(data: Any, path: Any) -> Any:
    """Return the array of a picture, which is in memory, also of a large one."""
    is_picture = Path(place_of(path)).suffix.lower() in _PICTURES
    return np.asarray(data) if is_picture else data


def _packed(data: Any, axis: int) -> NDArray[np.int64]:
    """Return colours as one number per pixel."""
    return packed_colours(np.moveaxis(np.asarray(data), axis, -1)[..., :_COLOURS])


def _channel_axis(
    image: tuple[int, ...], mask: tuple[int, ...], axis: int | None, name: str
) -> int | None:
    """Find which axis of an image its mask does not have."""
    if len(mask) not in (2, 3):
        raise InputError(
            f"The mask of {name} has {len(mask)} axes, shape {mask}; needed are 2 or 3. Give one "
            "image or one volume at a time."
        )
    if image == mask:
        return None
    tried = range(len(image) - 1, -1, -1) if axis is None else [axis % len(image)]
    for one in tried:
        if image[:one] + image[one + 1 :] == mask:
            return one
    raise InputError(
        f"The mask of {name} has shape {mask} but the image {image}. Both need the same size; "
        "crop or resample one of them."
    )


def _image_of(name: str) -> str:
    """Name an image after "The"."""
    return f"image {name}" if name.startswith("'") else name.removeprefix("the ")


def _begun(name: str) -> str:
    """Name an image at the start of a sentence."""
    return name if name.startswith("'") else name[0].upper() + name[1:]
