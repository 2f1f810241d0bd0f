"""What jobs over objects read: labels, or scribbles and their image, from any process."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.batch.raw_source import one_channel
from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.volumes.files import place_of, read_image, read_labels
from napari_implicitseg.volumes.ome_zarr import is_zarr
from napari_implicitseg.volumes.stores import is_url

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg.batch.blocks import Box
    from napari_implicitseg.batch.config import BatchConfig
    from napari_implicitseg.volumes.volume import Grid, Volume

__all__ = ["ObjectSource", "Opened", "object_source", "open_objects"]

_SCRIBBLES = "scribbles"
_MOST_NAMED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSource:
    """Labels, or an image and its scribbles.

    Attributes
    ----------
    path : str
    level, time, channel
        See `BatchConfig`.
    scribbles : str, optional
        Of an image; None if `path` holds labels.
    shape : tuple of int
        Of the volume, without channels.
    spacing : tuple of float
        Voxel size, in one unit where there is one.
    """

    path: str
    level: int
    time: int | None
    channel: int | None
    scribbles: str | None
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The arrays of a source, in memory or lazily read.

    Attributes
    ----------
    labels : array of integers or bool
        Those to repair, or scribbles.
    image : array, optional
    channel_axis : int, optional
        Of the image.
    """

    labels: Any
    image: Any = None
    channel_axis: int | None = None

    def read_image(self, box: Box) -> NDArray[Any]:
        """Read a window of the image, with all its channels."""
        parts = list(box)
        if self.channel_axis is not None:
            parts.insert(self.channel_axis, slice(0, self.image.shape[self.channel_axis]))
        return np.asarray(self.image[tuple(parts)])


def object_source(path: str, config: BatchConfig) -> tuple[ObjectSource, Grid]:
    """Look at labels, or at an image and its scribbles; also the grid of the voxels.

    Raises
    ------
    InputError, FileError
        If they do not fit together, or cannot be read.
    """
    strokes = _scribbles_of(path, config) if config.job == "scribble" else None
    source = ObjectSource(
        path=path,
        level=config.level,
        time=config.time,
        channel=config.channel,
        scribbles=strokes,
    )
    opened, grid = _open(source)
    if config.spacing is not None:
        grid = grid.with_spacing(config.spacing, config.unit)
    shape = tuple(int(n) for n in opened.labels.shape)
    return replace(source, shape=shape, spacing=grid.fit_spacing), grid


@functools.lru_cache(maxsize=1)
def open_objects(source: ObjectSource) -> Opened:
    """Open a source, once per process.

    Raises
    ------
    FileError
        If it cannot be read, or has become another one.
    """
    opened, _ = _open(source)
    shape = tuple(int(n) for n in opened.labels.shape)
    if shape != source.shape:
        raise FileError(
            f"'{source.scribbles or source.path}' has become {shape} voxels, from {source.shape}. "
            "Wait until it is complete, and begin anew with restart (--restart)."
        )
    return opened


def _open(source: ObjectSource) -> tuple[Opened, Grid]:
    """Open the arrays, and see that they fit together."""
    if source.scribbles is None:
        labels = read_labels(source.path, level=source.level, time=source.time)
        return Opened(labels=labels.data), labels.grid()
    image = read_image(source.path, level=source.level, time=source.time)
    image = one_channel(image, source.channel)
    strokes = _read_scribbles(source)
    try:
        axis = image.channel_axis_for(strokes.shape)
    except InputError as error:
        raise FileError(
            f"The scribbles '{source.scribbles}' have shape {strokes.shape} but the image "
            f"'{source.path}' has {image.shape}. Save scribbles of the image's height and width "
            "(and depth), of the same level."
        ) from error
    return Opened(labels=strokes.data, image=image.data, channel_axis=axis), image.grid(axis)


def _read_scribbles(source: ObjectSource) -> Volume:
    """Read scribbles at the image's level and time point, or as they are without such."""
    assert source.scribbles is not None
    for level, time in ((source.level, source.time), (source.level, None), (0, source.time)):
        try:
            return read_labels(source.scribbles, level=level, time=time, name="scribbles")
        except InputError:
            continue
    return read_labels(source.scribbles, name="scribbles")


def _scribbles_of(path: str, config: BatchConfig) -> str:
    """Return where the scribbles of an image are.

    Raises
    ------
    InputError
        If they are not in the image and no others are named.
    """
    if config.scribbles is not None:
        return config.scribbles
    if is_url(path):
        return f"{path.rstrip('/')}/labels/{_SCRIBBLES}"
    folder = Path(str(place_of(path)))
    if not folder.exists():
        raise FileError(f"'{path}' does not exist. Check the name and the folder.")
    strokes = folder / "labels" / _SCRIBBLES
    if is_zarr(strokes):
        return str(strokes)
    if not is_zarr(folder):
        raise InputError(
            f"'{path}' is no zarr that scribbles could lie in: name their label image "
            "(--scribbles)."
        )
    found = _labels_in(folder / "labels")
    there = f"there are the labels {', '.join(found)}" if found else "it has no labels at all"
    raise InputError(
        f"'{path}' holds no labels/{_SCRIBBLES}: {there}. Name the label image of the scribbles "
        f"(--scribbles), or save them as '{strokes}'."
    )


def _labels_in(folder: Path) -> list[str]:
    """Name the label images of an image."""
    if not folder.is_dir():
        return []
    names = sorted(path.name for path in folder.iterdir() if is_zarr(path))
    more = [f"and {len(names) - _MOST_NAMED} more"] if len(names) > _MOST_NAMED else []
    return names[:_MOST_NAMED] + more
