"""Writing OME-Zarr: the one place that lays out arrays, pyramids and their metadata."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.volumes.layout import Layout, chunks_of, pieces_of, shards_of
from napari_implicitseg.volumes.pyramid import (
    Level,
    Method,
    blocks_of,
    coarser_block,
    factors_of,
    plan_levels,
)
from napari_implicitseg.volumes.volume import Axis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import zarr

    from napari_implicitseg._types import Progress
    from napari_implicitseg.volumes.volume import Grid

__all__ = ["Multiscale", "axes_of", "create_image", "create_labels"]

_KINDS = {"time": "time", "channel": "channel"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiscale:
    """An OME-Zarr image that is being written.

    Attributes
    ----------
    group : zarr.Group
    arrays : tuple of zarr.Array
        One per level, full resolution first.
    method : {"mean", "mode"} or None
        How coarser levels are computed.
    attributes : mapping
        The metadata of the group.
    """

    group: zarr.Group
    arrays: tuple[zarr.Array[Any], ...]
    method: Method
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def unit(self, level: int = 0) -> tuple[int, ...]:
        """Return the block that is written at once: a shard, or a chunk where there are none."""
        array = self.arrays[level]
        return tuple(array.shards or array.chunks)

    def write_coarser(self, level: int, block: Sequence[slice]) -> None:
        """Compute one block of a level from the level before it, and write it.

        Blocks that are aligned to `unit` may be written at the same time by several workers.

        Parameters
        ----------
        level : int
            1 or more.
        block : sequence of slice
            With start and stop.
        """
        source, target = self.arrays[level - 1], self.arrays[level]
        factors = factors_of(source.shape, target.shape)
        result = np.empty([part.stop - part.start for part in block], target.dtype)
        step = pieces_of(result.shape, target.chunks)
        for piece in blocks_of(result.shape, step):
            moved = [
                slice(a.start + p.start, a.start + p.stop)
                for a, p in zip(block, piece, strict=True)
            ]
            result[piece] = coarser_block(source, moved, factors, method=self.method)
        target[tuple(block)] = result

    def fill_coarser(self, progress: Progress | None = None) -> None:
        """Compute all levels after the first, block by block."""
        jobs = [
            (level, block)
            for level in range(1, len(self.arrays))
            for block in blocks_of(self.arrays[level].shape, self.unit(level))
        ]
        total = sum(_voxels(block) for _, block in jobs)
        done = 0
        for level, block in jobs:
            if progress is not None:
                progress(done / total, f"level {level} of {len(self.arrays) - 1}")
            self.write_coarser(level, block)
            done += _voxels(block)

    def publish(self) -> None:
        """Write the metadata that make the arrays an image."""
        self.group.update_attributes(dict(self.attributes))


def axes_of(grid: Grid) -> tuple[Axis, ...]:
    """Return the axes of a grid."""
    kinds = ("time" if name == "t" else "space" for name in grid.axes)
    entries = zip(grid.axes, kinds, grid.scale, grid.translate, grid.units, strict=True)
    return tuple(
        Axis(name=name, kind=kind, scale=scale, translate=translate, unit=unit)
        for name, kind, scale, translate, unit in entries
    )


def create_image(
    store: Any,
    shape: Sequence[int],
    dtype: Any,
    axes: Sequence[Axis],
    *,
    name: str,
    layout: Layout | None = None,
    levels: Sequence[Level] | None = None,
    about: Mapping[str, Any] | None = None,
    publish: bool = True,
) -> Multiscale:
    """Make the group and the arrays of an OME-Zarr image, still empty (0).

    Parameters
    ----------
    store : path or zarr store
        An empty folder, or none.
    shape, dtype
        Of level 0.
    axes : sequence of Axis
        In the order time, channel, space, each once.
    name : str
        For people.
    layout : Layout, optional
    levels : sequence of Level, optional
        By default those of `plan_levels`.
    about : mapping, optional
        More attributes of the group.
    publish : bool
        Write the metadata at once. Without, until `Multiscale.publish`, nobody takes the
        arrays for an image.

    Returns
    -------
    Multiscale

    Raises
    ------
    InputError
        If axes or layout are not OME-Zarr's.
    """
    return _create(
        store, shape, dtype, axes, "mean", {}, name, layout, levels, about or {}, publish
    )


def create_labels(
    store: Any,
    shape: Sequence[int],
    dtype: Any,
    axes: Sequence[Axis],
    *,
    name: str,
    layout: Layout | None = None,
    levels: Sequence[Level] | None = None,
    properties: Mapping[int, Mapping[str, Any]] | None = None,
    inside: bool = False,
    publish: bool = True,
) -> Multiscale:
    """Make the group and the arrays of an OME-Zarr label image, still empty (0).

    Parameters
    ----------
    store, shape, dtype, axes, name, layout, levels, publish
        See `create_image`.
    properties : mapping of int to mapping, optional
        What to say about each id.
    inside : bool
        The group lies in the `labels` of an image, and names it as its source.

    Returns
    -------
    Multiscale
    """
    version = (layout or Layout()).version
    label: dict[str, Any] = {"version": version}
    if properties:
        label["properties"] = [{"label-value": i, **p} for i, p in sorted(properties.items())]
    if inside:
        label["source"] = {"image": "../../"}
    more = {"image-label": label}
    return _create(store, shape, dtype, axes, "mode", more, name, layout, levels, {}, publish)


def _create(
    store: Any,
    shape: Sequence[int],
    dtype: Any,
    axes: Sequence[Axis],
    method: Method,
    more: Mapping[str, Any],
    name: str,
    layout: Layout | None,
    levels: Sequence[Level] | None,
    about: Mapping[str, Any],
    publish: bool,
) -> Multiscale:
    """Make group and arrays."""
    import zarr

    layout = layout or Layout()
    _check_axes(axes, shape)
    levels = list(levels or plan_levels(shape, axes))
    attributes = {**_attributes(axes, levels, method, more, name, layout.version), **about}
    group = zarr.create_group(store, zarr_format=2 if layout.version == "0.4" else 3)
    arrays = tuple(
        _create_array(group, str(number), level.shape, np.dtype(dtype), axes, layout)
        for number, level in enumerate(levels)
    )
    made = Multiscale(group=group, arrays=arrays, method=method, attributes=attributes)
    if publish:
        made.publish()
    return made


def _check_axes(axes: Sequence[Axis], shape: Sequence[int]) -> None:
    """Refuse axes that OME-Zarr does not have."""
    order = [("time", "channel").index(a.kind) if a.kind in _KINDS else 2 for a in axes]
    names = [axis.name for axis in axes]
    space = order.count(2)
    fits = order == sorted(order) and order.count(0) < 2 and order.count(1) < 2
    if not fits or space not in (2, 3) or len(set(names)) < len(names) or len(axes) != len(shape):
        raise InputError(
            f"The axes are {', '.join(names)} of shape {tuple(shape)}; OME-Zarr has time and "
            "channels, at most one of each, and then two or three axes of space. Name them anew."
        )


def _attributes(
    axes: Sequence[Axis],
    levels: Sequence[Level],
    method: str,
    more: Mapping[str, Any],
    name: str,
    version: str,
) -> dict[str, Any]:
    """Return the metadata of the group."""
    datasets = [
        {
            "path": str(number),
            "coordinateTransformations": [
                {"type": "scale", "scale": [float(s) for s in level.scale]},
                {"type": "translation", "translation": [float(t) for t in level.translate]},
            ],
        }
        for number, level in enumerate(levels)
    ]
    entries = [
        {
            "name": axis.name,
            "type": _KINDS.get(axis.kind, "space"),
            **({"unit": axis.unit} if axis.unit else {}),
        }
        for axis in axes
    ]
    multiscale: dict[str, Any] = {"name": name, "axes": entries, "datasets": datasets}
    multiscale["type"] = method
    if version == "0.4":
        return {"multiscales": [{"version": version, **multiscale}], **more}
    return {"ome": {"version": version, "multiscales": [multiscale], **more}}


def _create_array(
    group: zarr.Group,
    path: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    axes: Sequence[Axis],
    layout: Layout,
) -> zarr.Array[Any]:
    """Make the array of a level."""
    chunks = chunks_of(shape, axes, layout)
    shuffle: Literal["shuffle", "bitshuffle"] = "shuffle" if dtype.itemsize > 1 else "bitshuffle"
    options: dict[str, Any]
    if layout.version == "0.4":
        from numcodecs import Blosc  # type: ignore[import-untyped]

        code = Blosc.SHUFFLE if shuffle == "shuffle" else Blosc.BITSHUFFLE
        options = {
            "compressors": Blosc(cname="zstd", clevel=3, shuffle=code),
            "chunk_key_encoding": {"name": "v2", "separator": "/"},
        }
    else:
        from zarr.codecs import BloscCodec, Crc32cCodec

        packed = BloscCodec(cname="zstd", clevel=3, shuffle=shuffle, typesize=dtype.itemsize)
        options = {
            # Without a checksum a damaged chunk may be read as if it were not.
            "compressors": (packed, Crc32cCodec()),
            "dimension_names": [axis.name for axis in axes],
            "shards": shards_of(shape, chunks, dtype.itemsize, axes, layout),
        }
    return group.create_array(
        path, shape=shape, dtype=dtype.newbyteorder("<"), chunks=chunks, fill_value=0, **options
    )


def _voxels(block: Sequence[slice]) -> int:
    """Return the number of voxels of a block."""
    return math.prod(part.stop - part.start for part in block)
