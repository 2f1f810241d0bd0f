"""Images and label images of any file to OME-Zarr: what `convert` does."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.atomic import replace_folder
from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.volumes.conversion_axes import ordered_axes, scaled_axes
from napari_implicitseg.volumes.copying import Source, copy_array
from napari_implicitseg.volumes.files import open_volume, place_of
from napari_implicitseg.volumes.hdf5 import split_hdf5
from napari_implicitseg.volumes.layout import Layout
from napari_implicitseg.volumes.ome_zarr import zarr_attributes
from napari_implicitseg.volumes.outputs import check_output
from napari_implicitseg.volumes.stores import replace_remote
from napari_implicitseg.volumes.volume import Grid
from napari_implicitseg.volumes.zarr_labels import (
    LabelPlace,
    axes_of_image,
    image_of_labels,
    label_place,
)
from napari_implicitseg.volumes.zarr_write import Multiscale, create_image, create_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_implicitseg._types import Progress
    from napari_implicitseg.volumes.volume import Axis, Volume

__all__ = ["Conversion", "convert", "convert_file"]

_ABOUT = "napari-implicitseg"
_LABEL_WORDS = ("label", "seg", "neuron_ids", "clefts", "mask")
_COPIED = 0.7
"""Share of the work until level 0 is copied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What was written.

    Attributes
    ----------
    kind : {"image", "labels"}
    axes : str
        Names of the axes.
    shape : tuple of int
    dtype : str
    levels : int
    chunks, shards : tuple of int or None
        Of level 0.
    """

    kind: str
    axes: str
    shape: tuple[int, ...]
    dtype: str
    levels: int
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    spacing: Sequence[float] | None = None,
    unit: str | None = None,
    axes: str | None = None,
    kind: str | None = None,
    layout: Layout | None = None,
    storage_options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Convert an image or label image to OME-Zarr, with a pyramid for viewing.

    Little of it is in memory at a time, whatever its size. The target appears when all of it
    is written.

    Parameters
    ----------
    source : path
        TIFF, HDF5 (``FILE.h5/DATASET``), PNG, JPEG, a folder of sections, or the folder or URL
        of an OME-Zarr image or zarr array.
    target : path
        ``NAME.zarr``, ``IMAGE.zarr/labels/NAME`` to add labels to an OME-Zarr image, or a
        URL such as ``s3://bucket/NAME.zarr``.
    spacing : sequence of float, optional
        Voxel size per axis of space, or one for all; by default the file's.
    unit : str, optional
        Its unit, such as "nm"; by default the file's.
    axes : str, optional
        A letter of "tczyx" for each axis of the source that is longer than 1, where the file
        does not name them.
    kind : {"image", "labels"}, optional
        Coarser levels of images are means, of labels the most frequent ids. By default what
        the file says; where it says nothing, integers of 32 and 64 bits and booleans are
        labels.
    layout : Layout, optional
        Version, chunks and shards.
    storage_options : mapping, optional
        What fsspec needs for URLs.
    overwrite : bool
        Replace what is there.
    progress : callable, optional
        Called as ``progress(fraction, message)``; may raise `Cancelled`.

    Raises
    ------
    OutputExistsError
        If the target exists and `overwrite` is false.
    FileError
        If the source cannot be read, or the target not be written; what was there stays.
    InputError
        If options do not fit the source, or labels are negative or fractions.
    """
    convert_file(
        source,
        target,
        spacing=spacing,
        unit=unit,
        axes=axes,
        kind=kind,
        layout=layout,
        storage_options=storage_options,
        overwrite=overwrite,
        progress=progress,
    )


def convert_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    spacing: Sequence[float] | None = None,
    unit: str | None = None,
    axes: str | None = None,
    kind: str | None = None,
    layout: Layout | None = None,
    storage_options: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Conversion:
    """Do what `convert` does, and tell what was written."""
    place, goal = place_of(source), place_of(target)
    if kind not in (None, "image", "labels"):
        raise InputError(f"kind is {kind!r}; choose image or labels, or leave it out.")
    _check_goal(place, goal, overwrite)
    image = image_of_labels(goal) if isinstance(goal, Path) else None
    if image is not None:
        kind = kind or "labels"
    volume = _opened(place, kind == "labels", storage_options)
    kind = kind or _kind_of(place, volume, storage_options)
    if kind == "image" and image is not None:
        raise InputError(f"'{goal}' is a place for labels. Write an image to a name of its own.")
    order, named = ordered_axes(volume, axes)
    if image is not None and spacing is None and not any(axis.unit for axis in named):
        # Of itself the source says nothing of its voxels: they are those of the image.
        known = {axis.name: axis for axis in axes_of_image(image)}
        named = [known.get(axis.name, axis) for axis in named]
    named = scaled_axes(named, spacing, unit)
    data = Source(volume.data, order, _dtype(volume, kind), os.fspath(place))
    about = _about(place, storage_options)
    with _made(goal, data, named, kind, layout, storage_options, overwrite, about) as made:
        scratch = goal.parent if isinstance(goal, Path) else None
        copy_array(data, made.arrays[0], scratch=scratch, progress=_part(progress, 0, _COPIED))
        made.fill_coarser(_part(progress, _COPIED, 1))
        made.publish()
    return Conversion(
        kind=kind,
        axes="".join(axis.name for axis in named),
        shape=data.shape,
        dtype=str(data.dtype),
        levels=len(made.arrays),
        chunks=tuple(made.arrays[0].chunks),
        shards=None if made.arrays[0].shards is None else tuple(made.arrays[0].shards),
    )


def _check_goal(place: Path | str, goal: Path | str, overwrite: bool) -> None:
    """Refuse a target that cannot be written to, or that is or lies in the source."""
    if isinstance(goal, str):
        if not goal.rstrip("/").lower().endswith(".zarr"):
            raise FileError(f"Output '{goal}' must end in .zarr.")
        same = isinstance(place, str) and f"{goal.rstrip('/')}/".startswith(place.rstrip("/") + "/")
        if same or (isinstance(place, str) and place.startswith(goal.rstrip("/") + "/")):
            raise FileError(f"Output '{goal}' and input '{place}' overlap. Give another name.")
        return
    if goal.suffix.lower() != ".zarr" and image_of_labels(goal) is None:
        raise FileError(
            f"Output '{goal}' is no OME-Zarr: give a name that ends in .zarr, or "
            "IMAGE.zarr/labels/NAME."
        )
    check_output(goal, inputs=[place] if isinstance(place, Path) else (), overwrite=overwrite)
    if isinstance(place, Path) and place.is_dir() and image_of_labels(goal) is None:
        within = Path(os.path.realpath(place))
        if within in Path(os.path.realpath(goal)).parents:
            raise FileError(f"Output '{goal}' lies inside the input '{place}'. Write elsewhere.")


def _opened(place: Path | str, labels: bool, options: Mapping[str, Any] | None) -> Volume:
    """Open the source with all its time points."""
    try:
        return open_volume(place, time="all", labels=labels, options=options)
    except InputError:  # It has no axis of time.
        return open_volume(place, labels=labels, options=options)


def _kind_of(place: Path | str, volume: Volume, options: Mapping[str, Any] | None) -> str:
    """Return whether a source holds labels, as far as can be seen."""
    if volume.data.dtype.kind not in "iub" or volume.channel_axis is not None:
        return "image"
    if "image-label" in zarr_attributes(place, options):
        return "labels"
    hdf5 = split_hdf5(place) if isinstance(place, Path) else None
    named = hdf5 is not None and any(word in hdf5[1].lower() for word in _LABEL_WORDS)
    wide = volume.data.dtype.kind == "b" or volume.data.dtype.itemsize >= 4
    return "labels" if wide or named else "image"


def _about(place: Path | str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what this package wrote about a zarr, such as the offsets of affinities."""
    about = zarr_attributes(place, options).get(_ABOUT)
    return {} if about is None else {_ABOUT: about}


def _dtype(volume: Volume, kind: str) -> np.dtype[Any]:
    """Return the type to write: unsigned for labels."""
    dtype: np.dtype[Any] = np.dtype(volume.data.dtype).newbyteorder("=")
    if dtype.kind not in "biuf":
        raise InputError(f"'{volume.path}' has dtype {dtype}; an image has real numbers.")
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if kind == "image":
        return dtype
    if dtype.kind == "f" or volume.channel_axis is not None:
        what = f"dtype {dtype}" if dtype.kind == "f" else "channels"
        raise InputError(
            f"'{volume.path}' has {what}; labels are one whole number per voxel. Convert it as "
            "an image (--image), or save it as a label image."
        )
    return np.dtype(f"u{dtype.itemsize}")


@contextmanager
def _made(
    goal: Path | str,
    data: Source,
    axes: Sequence[Axis],
    kind: str,
    layout: Layout | None,
    options: Mapping[str, Any] | None,
    overwrite: bool,
    about: Mapping[str, Any],
) -> Iterator[Multiscale]:
    """Make the arrays of the target, still without what makes them an image."""
    layout = layout or Layout()
    name = os.fspath(goal).rstrip("/").rpartition("/")[2].split(".")[0]
    shape, dtype = data.shape, data.dtype
    if kind == "image" or isinstance(goal, str):
        create = create_image if kind == "image" else create_labels
        more: dict[str, Any] = {"about": about} if kind == "image" else {}
        opened = (
            replace_remote(goal, options, overwrite=overwrite)
            if isinstance(goal, str)
            else replace_folder(goal, overwrite=overwrite)
        )
        with opened as store:
            yield create(store, shape, dtype, axes, name=name, layout=layout, publish=False, **more)
        return
    grid = _grid(axes)
    with label_place(goal, shape, grid, overwrite=overwrite, version=layout.version) as place:
        yield _labels_at(place, data, axes, name, layout)


def _labels_at(
    place: LabelPlace, data: Source, axes: Sequence[Axis], name: str, layout: Layout
) -> Multiscale:
    """Make the arrays of a label image."""
    return create_labels(
        place.folder,
        data.shape,
        data.dtype,
        axes,
        name=name,
        layout=replace(layout, version=place.version),
        levels=place.levels,
        inside=place.levels is not None,
        publish=False,
    )


def _grid(axes: Sequence[Axis]) -> Grid:
    """Return the axes as a grid."""
    return Grid(
        axes=tuple(axis.name for axis in axes),
        scale=tuple(axis.scale for axis in axes),
        translate=tuple(axis.translate for axis in axes),
        units=tuple(axis.unit for axis in axes),
    )


def _part(progress: Progress | None, start: float, stop: float) -> Progress | None:
    """Return a callback for a part of the work."""
    if progress is None:
        return None

    def report(fraction: float, message: str, /) -> None:
        progress(start + (stop - start) * min(fraction, 1.0), message)

    return report
