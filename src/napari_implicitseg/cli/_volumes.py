"""Volumes for networks: one time point, the channels a model takes."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import FileError, ImplicitSegError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_implicitseg.models.affinity import AffinityModel
    from napari_implicitseg.models.bioimage import ForeignModel
    from napari_implicitseg.volumes import Grid, Volume

__all__ = ["for_channels", "no_time_series", "read_volume", "volume_for"]

_SLAB = 1 << 24
"""Voxels that are compared at a time."""


def volume_for(
    network: AffinityModel | ForeignModel,
    path: Path,
    *,
    level: int,
    time: int | None,
    channel: int | None,
    spacing: tuple[float, ...] | None,
    unit: str | None,
) -> tuple[Volume, Grid]:
    """Open a volume as a network takes it; also the grid of its voxels."""
    from napari_implicitseg.cli._inputs import corrected_grid

    volume = for_channels(read_volume(path, level=level, time=time), network.channels, channel)
    grid = volume.grid(volume.channel_axis)
    return volume, corrected_grid(grid, spacing, unit, dropped=volume.dropped)


def read_volume(path: Path, *, level: int, time: int | None) -> Volume:
    """Open a volume or image at one point in time.

    Raises
    ------
    FileError
        As `read_image` does; where there are several time points, with the option of
        `predict` that chooses one.
    """
    from napari_implicitseg.volumes import read_image

    try:
        return read_image(path, level=level, time=time)
    except FileError as error:
        if time is None and _has_times(path, level):
            raise FileError(
                f"'{path}' is a time series; one volume is predicted at a time. Choose a time "
                "point with --time N, from 0."
            ) from error
        raise


@contextmanager
def no_time_series(paths: Iterable[Path]) -> Iterator[None]:
    """Say of files that could not be read if it is because they are time series."""
    try:
        yield
    except FileError as error:
        for path in paths:
            if _has_times(path):
                raise FileError(
                    f"'{path}' is a time series; a network learns from volumes and images. Save "
                    "one time point of it in a file of its own, and train on that."
                ) from error
        raise


def _has_times(path: Path, level: int = 0) -> bool:
    """Whether a file can be read when a time point is chosen, and only then."""
    from napari_implicitseg.volumes import read_image

    try:
        read_image(path, level=level)
    except ImplicitSegError:
        try:
            read_image(path, level=level, time=0)
        except ImplicitSegError:
            return False
        return True
    return False


def for_channels(volume: Volume, wanted: int, channel: int | None) -> Volume:
    """Return a volume with the channels a model takes.

    Parameters
    ----------
    volume : Volume
    wanted : int
        Channels the model takes.
    channel : int or None
        The one the user chose, from 0. Without a choice one of several is taken if all are
        equal, as of grey saved as colours.

    Raises
    ------
    InputError
        If there is no such channel, or there are several different ones and the model
        takes one.
    """
    from napari_implicitseg.models.volume_checks import colours_last

    axis, path = volume.channel_axis, volume.path
    if channel is not None:
        if axis is None and colours_last(volume.shape):
            axis = len(volume.shape) - 1
        if axis is None:
            raise InputError(
                f"--channel is {channel}, but '{path}' has no channels: its shape is "
                f"{volume.shape}. Leave --channel out."
            )
        count = volume.shape[axis]
        if not 0 <= channel < count:
            raise InputError(
                f"--channel is {channel}, but '{path}' has {count} channels: choose 0 to "
                f"{count - 1}."
            )
        return _one_channel(volume, axis, channel)
    if axis is None and wanted == 1 and colours_last(volume.shape):
        return _thin(volume)
    if axis is None or wanted != 1 or volume.shape[axis] == 1:
        return volume
    if _are_equal(volume.data, axis):
        return _one_channel(volume, axis, 0)
    count = volume.shape[axis]
    sections = (
        " If they are the sections of a stack, save it as one (TIFF: axes ZYX, not colours)."
        if axis == 0
        else ""
    )
    raise InputError(
        f"'{path}' has {count} channels that differ, shape {volume.shape}; the model takes one. "
        f"Choose it with --channel N, 0 to {count - 1}.{sections}"
    )


def _thin(volume: Volume) -> Volume:
    """Return a volume whose last axis is as short as colours are, if it is known to be x."""
    from napari_implicitseg.models.volume_checks import with_channel
    from napari_implicitseg.volumes import Axis

    if all(axis.kind == "space" for axis in volume.axes):
        # With a channel in front nobody takes the last axis for one.
        axes = (Axis(name="c", kind="channel"), *volume.axes)
        return replace(volume, data=with_channel(volume.data), axes=axes)
    count = volume.shape[-1]
    raise InputError(
        f"'{volume.path}' has shape {volume.shape}, which looks like {count} colours along the "
        f"last axis; the model takes one channel. If so, choose it with --channel N, 0 to "
        f"{count - 1}; if not, save it with named axes: OME-Zarr, or TIFF with ZYX."
    )


def _one_channel(volume: Volume, axis: int, channel: int) -> Volume:
    """Return one channel of a volume; of a lazy one nothing is read."""
    from napari_implicitseg.volumes.lazy import FileArray

    key: list[int | slice] = [slice(0, n) for n in volume.shape]
    key[axis] = channel
    data: Any = volume.data
    if isinstance(data, np.ndarray):
        data = data[tuple(key)]
    else:
        data = FileArray(data, tuple(key), path=volume.path, kind="image")
    return replace(volume, data=data, axes=volume.axes[:axis] + volume.axes[axis + 1 :])


def _are_equal(data: Any, axis: int) -> bool:
    """Whether all channels are the same; looks at a slab at a time, until they differ."""
    shape = tuple(int(n) for n in data.shape)
    along = 1 if axis == 0 else 0
    step = max(1, _SLAB // max(1, math.prod(shape) // max(1, shape[along])))
    for start in range(0, shape[along], step):
        key: list[slice] = [slice(None)] * len(shape)
        key[along] = slice(start, start + step)
        first, *others = np.moveaxis(np.asarray(data[tuple(key)]), axis, 0)
        if not all(_same(first, other) for other in others):
            return False
    return True


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two channels are equal, NaN included."""
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
