"""Volumes as networks take them: channels in front, voxel size known, no NaN."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["channels_first", "check_finite", "voxel_size", "with_channel"]

_MOST_OFF = 1.5
"""How many times larger or smaller voxels may be than those a model has learned from."""


def channels_first(
    volume: Any,
    *,
    ndim: int,
    channels: int,
    channel_axis: int | None = None,
    model: str = "",
    name: str = "volume",
) -> Any:
    """Return a volume as (C, *S), lazy ones still lazy, and check it.

    Parameters
    ----------
    volume : array-like, shape (*S) or with one channel axis
    ndim : int
        Spatial axes of the network; one of two takes stacks as well.
    channels : int
        Channels it takes.
    channel_axis : int, optional
        Axis that holds channels; the first if there is one axis too many.
    model, name : str
        Of the model and the volume, for messages.

    Raises
    ------
    InputError
        If axes, channels or type are not those of the network.
    """
    axes = len(volume.shape)
    if np.dtype(volume.dtype).kind not in "biuf":
        raise InputError(
            f"The {name} has dtype {volume.dtype}; a network needs real numbers. Convert it."
        )
    wanted = (2, 3) if ndim == 2 else (3,)
    if axes in wanted and channel_axis is None and (channels == 1 or axes == ndim):
        raw = with_channel(volume)
    elif axes - 1 in wanted:
        raw = _moved(volume, 0 if channel_axis is None else channel_axis)
    else:
        dims = "2D images or stacks" if ndim == 2 else "3D volumes"
        raise InputError(
            f"The {name} has {axes} axes, shape {tuple(volume.shape)}; the model '{model}' is for "
            f"{dims}. Cut it, or choose another model."
        )
    if int(raw.shape[0]) != channels:
        raise InputError(
            f"The {name} has {int(raw.shape[0])} channels; the model '{model}' was trained on "
            f"{channels}. Choose the channels it knows, or another model."
        )
    return raw


def voxel_size(
    spacing: Sequence[float] | None,
    ndim: int,
    *,
    known: Sequence[float],
    unit: str = "",
    compare: bool = True,
    model: str = "",
    name: str = "volume",
) -> tuple[float, ...]:
    """Return the voxel size of a volume; warns where the model has learned from another.

    Parameters
    ----------
    spacing : sequence of float, optional
        Of the volume; that of the model by default.
    ndim : int
        Axes of the volume.
    known : sequence of float
        Of the model, for the last axes.
    unit : str
        Of both, for messages.
    compare : bool
        Whether to compare them.
    model, name : str
        For messages.

    Raises
    ------
    InputError
        If it is not one positive number per axis.
    """
    lead = ndim - len(known)
    if spacing is None:
        return (*(1.0,) * lead, *known)
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
            f"The {name} has voxels of {given} but the model '{model}' has learned from "
            f"{tuple(known)} {unit}. Results may be poor: rescale the volume, or train the model "
            "on volumes like it.",
            stacklevel=4,
        )
    return given


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


def with_channel(volume: Any) -> Any:
    """Return an array without channels as one with a single channel, in front."""
    return volume[None] if isinstance(volume, np.ndarray) else _Channel(volume)


class _Channel:
    """An array without channels as one with a single channel; reads only what is asked."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape = (1, *array.shape)
        self.dtype = np.dtype(array.dtype)

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[Any]:
        return np.asarray(self._array[index[1:]])[None]


class _Moved:
    """An array with the channel axis moved to the front; reads only what is asked."""

    def __init__(self, array: Any, axis: int) -> None:
        self._array, self._axis = array, axis
        self.shape = (array.shape[axis], *array.shape[:axis], *array.shape[axis + 1 :])
        self.dtype = np.dtype(array.dtype)

    def __getitem__(self, index: tuple[slice, ...]) -> NDArray[Any]:
        moved = (*index[1 : self._axis + 1], index[0], *index[self._axis + 1 :])
        return np.moveaxis(np.asarray(self._array[moved]), self._axis, 0)


def _moved(volume: Any, axis: int) -> Any:
    """Channels first."""
    axes = len(volume.shape)
    if not -axes <= axis < axes:
        raise InputError(f"channel_axis is {axis}, but the volume has {axes} axes.")
    axis %= axes
    if isinstance(volume, np.ndarray):
        return np.moveaxis(volume, axis, 0)
    return _Moved(volume, axis)
