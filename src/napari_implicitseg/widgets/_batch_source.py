"""The volume of a job as a layer, where the user has named a file and no layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import ImplicitSegError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_implicitseg.batch.config import BatchConfig
    from napari_implicitseg.volumes.volume import Grid, Volume

__all__ = ["Picture", "add_picture", "open_picture"]

_MOST_VOXELS = 1 << 26
"""Of a level that is shown: napari takes it as a whole into memory in 3D."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A volume that can be shown.

    Attributes
    ----------
    name : str
    data : array
        In memory, or read slice by slice.
    voxels : Grid
        Where it lies.
    is_labels : bool
    """

    name: str
    data: Any
    voxels: Grid
    is_labels: bool


def open_picture(source: str, config: BatchConfig) -> Picture | None:
    """Open what a job reads at the finest level that may be shown; None if there is none.

    What cannot be opened is for the job to say.
    """
    labels = config.job in ("repair", "evaluate")
    try:
        for volume in _levels(source, config, labels=labels):
            if math.prod(volume.shape) <= _MOST_VOXELS:
                return _picture(source, volume, config, labels=labels)
    except ImplicitSegError:
        return None
    return None


def _levels(source: str, config: BatchConfig, *, labels: bool) -> Iterator[Volume]:
    """Open one level after the other, from that of the job."""
    from napari_implicitseg.volumes.files import read_image, read_labels

    read, level = read_labels if labels else read_image, config.level
    while True:
        try:
            yield read(source, level=level, time=config.time)
        except InputError:  # There are no more.
            return
        level += 1


def _picture(source: str, volume: Volume, config: BatchConfig, *, labels: bool) -> Picture:
    """Take one channel of a volume."""
    from napari_implicitseg.batch.raw_source import one_channel

    if volume.channel_axis is not None:
        volume = one_channel(volume, config.channel or 0)
    name = Path(source.rstrip("/")).name.partition(".")[0] or source
    data = volume.data
    if labels and np.dtype(data.dtype).kind not in "iu":
        data = np.asarray(data).astype(np.uint8)
    if not isinstance(data, np.ndarray):
        data = _Readable(data)
    return Picture(name=name, data=data, voxels=volume.grid(), is_labels=labels)


class _Readable:
    """An array that is read slice by slice, and dark where it cannot be: the job says why."""

    def __init__(self, data: Any) -> None:
        self._data = data
        self.shape: tuple[int, ...] = tuple(int(n) for n in data.shape)
        self.dtype = np.dtype(data.dtype)
        self.ndim = len(self.shape)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    def __getitem__(self, key: Any) -> NDArray[Any]:
        """Read a part."""
        try:
            return np.asarray(self._data[key])
        except ImplicitSegError:
            dark: NDArray[Any] = np.broadcast_to(np.zeros((), self.dtype), self.shape)[key]
            return dark

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read all of it, as for a view in 3D."""
        whole = self[...]
        return whole if dtype is None else whole.astype(dtype)


def add_picture(viewer: ViewerModel, picture: Picture) -> None:
    """Add a volume below what is there, without taking the selection from the user."""
    from napari_implicitseg.widgets._batch_inputs import place_of

    active = viewer.layers.selection.active
    place = place_of(None, tuple(picture.data.shape), picture.voxels)
    add = viewer.add_labels if picture.is_labels else viewer.add_image
    layer = add(picture.data, name=picture.name, **place)
    viewer.layers.move(viewer.layers.index(layer), 0)
    if active is not None and active in viewer.layers:
        viewer.layers.selection.active = active
