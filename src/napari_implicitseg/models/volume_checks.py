"""Volumes as networks take them: channels in front, voxel size known, no NaN."""

from __future__ import annotations

import operator
import warnings
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "channel_first",
    "check_finite",
    "checked_sides",
    "checked_volume",
    "chunk_shape",
    "colours_last",
    "in_stack",
    "with_channel",
]

_MOST_OFF = 1.5
"""How many times larger or smaller voxels may be than those a model has learned from."""
_COLOURS = (3, 4)
_MUCH_LONGER = 8
"""How many times as long as the axis of colours the sides of an image are."""


class _Model(Protocol):
    """What a model tells of the volumes it takes."""

    @property
    def ndim(self) -> int:
        """Spatial axes of the network; one of two takes stacks as well."""

    @property
    def channels(self) -> int:
        """Channels of the images it takes."""

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size it has learned from."""

    @property
    def unit(self) -> str:
        """Of `spacing`."""

    @property
    def name(self) -> str:
        """For messages."""


def checked_volume(
    volume: Any,
    model: _Model,
    *,
    spacing: Sequence[float] | None,
    channel_axis: int | None,
    name: str,
    compare: bool = True,
) -> tuple[Any, tuple[float, ...]]:
    """Return a volume as (C, *S), lazy ones still lazy, and its voxel size.

    Parameters
    ----------
    volume : array-like, shape (*S) or with one channel axis
    model : AffinityModel or ForeignModel
    spacing : sequence of float or None
        Of the volume; that of the model if None, and then of sections that of their pixels.
        Warns where they differ by half.
    channel_axis : int or None
        Axis that holds channels; the first if there is one axis too many.
    name : str
        Of the volume, for messages.
    compare : bool
        Whether to compare the voxel size with that of the model.

    Raises
    ------
    InputError
        If axes, channels, type or voxel size do not fit, or there is no voxel.
    """
    raw = _channels_first(volume, model, channel_axis, name)
    shape = tuple(int(n) for n in raw.shape[1:])
    if 0 in shape:
        raise InputError(f"The {name} has shape {shape}: there is no voxel to predict.")
    size = _voxel_size(spacing, len(shape), model, name, compare=compare)
    return raw, size


def in_stack(offsets: Sequence[tuple[int, ...]], ndim: int) -> tuple[tuple[int, ...], ...]:
    """Offsets of a network as those of a volume of `ndim` axes: those of sections lie in them."""
    return tuple((*(0,) * (ndim - len(offset)), *offset) for offset in offsets)


def _channels_first(volume: Any, model: _Model, channel_axis: int | None, name: str) -> Any:
    """Move channels to the front, and check them."""
    ndim, channels = model.ndim, model.channels
    axes = len(volume.shape)
    if np.dtype(volume.dtype).kind not in "biuf":
        raise InputError(
            f"The {name} has dtype {volume.dtype}; a network needs real numbers. Convert it."
        )
    wanted = (2, 3) if ndim == 2 else (3,)
    coloured = channel_axis is None and colours_last(volume.shape)
    if coloured and not (channels > 1 and int(volume.shape[0]) == channels):
        raise InputError(_about_colours(volume.shape, model, name))
    if axes in wanted and channel_axis is None and (channels == 1 or axes == ndim):
        raw = with_channel(volume)
    elif axes - 1 in wanted:
        raw = channel_first(volume, 0 if channel_axis is None else channel_axis)
    else:
        raise InputError(_about_axes(volume.shape, model, channel_axis, name))
    if int(raw.shape[0]) != channels:
        raise InputError(
            f"The {name} has {_count(int(raw.shape[0]))}; the model '{model.name}' was trained on "
            f"{channels}. Choose the channels it knows (--channel), or another model."
        )
    return raw


def colours_last(shape: Sequence[int]) -> bool:
    """Whether an array looks like a picture, or a stack of them, with colours as its last axis.

    An axis of 3 or 4 after much longer ones is hardly one of space.
    """
    last = int(shape[-1]) if len(shape) in (3, 4) else 0
    return last in _COLOURS and min(shape[-3:-1]) >= _MUCH_LONGER * last


def _about_colours(shape: Sequence[int], model: _Model, name: str) -> str:
    """Say that colours seem to come last."""
    last = len(shape) - 1
    if int(shape[-1]) == model.channels:
        so = f"give channel_axis={last}"
    elif model.channels == 1:
        so = "take one of them, such as volume[..., 0] (--channel N)"
    else:
        so = f"give {model.channels} of them, with channel_axis={last}"
    otherwise = (
        "give volume[None] with channel_axis=0"
        if len(shape) == 3
        else "say by channel_axis which axis holds the channels"
    )
    return (
        f"The {name} has shape {_plain(shape)}, which looks like {shape[-1]} colours along the "
        f"last axis; the model '{model.name}' is for {_kind(model)} of {_count(model.channels)}. "
        f"If they are colours, {so}; if not, {otherwise}."
    )


def _about_axes(shape: Sequence[int], model: _Model, channel_axis: int | None, name: str) -> str:
    """Say that an array has more or fewer axes than a model takes."""
    axes, ndim = len(shape), model.ndim
    text = f"The {name} has {axes} axes, shape {_plain(shape)}"
    space, advice = axes, ""
    if channel_axis is not None:
        space, channel_axis = axes - 1, channel_axis % max(axes, 1)
        text += f", of which axis {channel_axis} holds channels"
        if axes == ndim == 3:
            advice = (
                f"If axis {channel_axis} holds sections, save the file as grey sections, or leave "
                "channel_axis out. Else: "
            )
    if space > ndim:
        advice += "Give one volume at a time."
    elif ndim == 3:
        advice += "Give a stack of sections, or choose a model for 2D images such as sstem-2d."
    else:
        advice += "Give an image or a stack."
    return f"{text}; the model '{model.name}' is for {_kind(model)}. {advice}"


def _kind(model: _Model) -> str:
    """Say what a model is for."""
    return "2D images (y, x) or stacks of them" if model.ndim == 2 else "3D volumes (z, y, x)"


def _plain(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(n) for n in shape)


def _count(channels: int) -> str:
    return f"{channels} channel{'' if channels == 1 else 's'}"


def _voxel_size(
    spacing: Sequence[float] | None, ndim: int, model: _Model, name: str, *, compare: bool
) -> tuple[float, ...]:
    """Return the voxel size of a volume; warns where the model has learned from another."""
    known = model.spacing
    lead = ndim - len(known)
    if spacing is None:
        # How far apart sections are nobody said; as much as pixels is no worse a guess than any.
        return (*(max(known),) * lead, *known)
    try:
        given = tuple(float(s) for s in np.atleast_1d(np.asarray(spacing, float)))
    except (TypeError, ValueError):
        given = ()
    given = given * ndim if len(given) == 1 else given
    if len(given) != ndim or not all(0 < s < float("inf") for s in given):
        raise InputError(
            f"spacing is {spacing!r}; give one positive number for each of the {ndim} axes."
        )
    ratios = [a / b for a, b in zip(given[lead:], known, strict=True)]
    if compare and (max(ratios) > _MOST_OFF or min(ratios) < 1 / _MOST_OFF):
        warnings.warn(
            f"The {name} has voxels of {_short(given)} but the model '{model.name}' has learned "
            f"from {_short(known)}{model.unit and ' '}{model.unit}. Results may be poor: rescale "
            "the volume, or train the model on volumes like it.",
            stacklevel=5,
        )
    return given


def _short(spacing: Sequence[float]) -> tuple[float, ...]:
    """Voxel size without the digits that conversions of units leave behind."""
    return tuple(float(f"{size:.6g}") for size in spacing)


def check_finite(values: NDArray[Any], place: Sequence[int], name: str) -> None:
    """Refuse a window (C, *S) with voxels that are no numbers.

    Parameters
    ----------
    values : ndarray, shape (C, *S)
    place : sequence of int
        Where the window begins in the volume, for the message; of a section with the
        number of the section before.
    name : str
        Of the volume, for the message.

    Raises
    ------
    InputError
        Names the first such voxel.
    """
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    first = np.argwhere(~np.isfinite(values))[0][1:]
    lead = len(place) - len(first)
    where = (*place[:lead], *(int(a + b) for a, b in zip(first, place[lead:], strict=True)))
    raise InputError(
        f"The {name} is NaN or infinite at {where}. Networks need numbers: replace such voxels, "
        "for instance by np.nan_to_num."
    )


def chunk_shape(array: Any) -> tuple[int, ...] | None:
    """Shape of what is read at once, or None if nothing is known; of dask the largest chunk."""
    chunks = getattr(array, "chunks", None)
    if not chunks or len(chunks) != len(array.shape):
        return None
    return tuple(int(max(c)) if isinstance(c, tuple) else int(c) for c in chunks)


def with_channel(volume: Any) -> Any:
    """Return an array without channels as one with a single channel, in front."""
    return volume[None] if isinstance(volume, np.ndarray) else _OneChannel(volume)


class _OneChannel:
    """View of an array in a file with an axis of one channel before its own."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.dtype: np.dtype[Any] = np.dtype(source.dtype)
        self.shape: tuple[int, ...] = (1, *(int(n) for n in source.shape))
        self.ndim = len(self.shape)
        chunks = chunk_shape(source)
        self.chunks = (1, *chunks) if chunks else None

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Read a window, all of it with Ellipsis; the first index is that of the channel."""
        if index is Ellipsis:
            return np.asarray(self._source[...])[np.newaxis]
        parts = index if isinstance(index, tuple) else (index,)
        return np.asarray(self._source[parts[1:] or ...])[np.newaxis][parts[0]]


class _Moved:
    """An array with the channel axis moved to the front; reads only what is asked."""

    def __init__(self, array: Any, axis: int) -> None:
        self._array, self._axis = array, axis
        self.shape = (array.shape[axis], *array.shape[:axis], *array.shape[axis + 1 :])
        self.dtype = np.dtype(array.dtype)

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[Any]:
        moved = (*index[1 : self._axis + 1], index[0], *index[self._axis + 1 :])
        return np.moveaxis(np.asarray(self._array[moved]), self._axis, 0)


def channel_first(volume: Any, axis: int) -> Any:
    """Channels first."""
    axes = len(volume.shape)
    if not -axes <= axis < axes:
        raise InputError(
            f"channel_axis is {axis}, but the volume has {axes} axes: give 0 to {axes - 1}."
        )
    axis %= axes
    if isinstance(volume, np.ndarray):
        return np.moveaxis(volume, axis, 0)
    return _Moved(volume, axis)


def checked_sides(tile: Any, ndim: int, axes: int) -> tuple[int, ...]:
    """Return the sides of a tile, one for each axis of the network, or of the volume.

    Parameters
    ----------
    tile : sequence of int
    ndim, axes : int
        Axes of the network, and of the volume.

    Raises
    ------
    InputError
        If it has another number of axes, or sides that are no positive whole numbers.
    """
    try:
        sides = tuple(map(operator.index, tile))
    except TypeError:
        sides = ()
    if len(sides) not in (ndim, axes) or min(sides) < 1:
        raise InputError(
            f"tile_shape is {tile!r}; needed are {ndim} whole numbers above 0, one for each axis "
            "of the network (--tile)."
        )
    return sides
