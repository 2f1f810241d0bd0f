"""Reading and writing images by the extension of their name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.atomic import explain, replace_file
from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.volumes.hdf5 import read_hdf5, split_hdf5
from napari_implicitseg.volumes.ome_zarr import is_zarr, read_zarr
from napari_implicitseg.volumes.outputs import TIFF, output_kind
from napari_implicitseg.volumes.picture_stack import holds_pictures, read_picture_stack
from napari_implicitseg.volumes.pictures import read_picture, write_png
from napari_implicitseg.volumes.stores import is_url
from napari_implicitseg.volumes.tiff import read_tiff, write_tiff
from napari_implicitseg.volumes.volume import check_no_time, check_space_time
from napari_implicitseg.volumes.zarr_labels import write_zarr_labels

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_implicitseg._types import TimeChoice
    from napari_implicitseg.volumes.volume import Grid, Volume

__all__ = [
    "open_volume",
    "place_of",
    "read_image",
    "read_labels",
    "read_probability",
    "write_labels",
]

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
_LOSSY = (".jpg", ".jpeg")
_READABLE = (
    ".tif, .tiff, .png, .jpg, .jpeg, .bmp, .h5, .hdf5, a .zarr folder or a folder of pictures"
)


def read_image(
    path: str | os.PathLike[str],
    *,
    level: int = 0,
    channel_axis: int | None = None,
    time: TimeChoice = None,
    name: str = "image",
) -> Volume:
    """Open an image; large TIFF, HDF5 and zarr arrays stay in their file.

    Axes of length 1 that are not y or x are left out.

    Parameters
    ----------
    path : path
        TIFF, PNG, JPEG, BMP, HDF5, a folder of such pictures, or the folder or URL of an
        OME-Zarr image or zarr array.
        `FILE.h5/NAME` or `FILE.h5:NAME` is a dataset of an HDF5 file, which has to be named
        only if there are several.
    level : int
        Level of a multiscale image, 0 is full resolution.
    channel_axis : int, optional
        Which axis of the array in the file holds channels. By default what
        the file says.
    time : int or "all", optional
        Which time point to take, needed if there are several; all make time an axis like
        those of space, which then may be two.
    name : str
        What to call it in messages.

    Returns
    -------
    Volume

    Raises
    ------
    FileError
        If the file is missing, empty, damaged, cut off or of an unknown kind.
    InputError
        If `level`, `channel_axis` or `time` is out of range.
    """
    return _read(place_of(path), level, channel_axis, time, name, labels=False)


def read_labels(
    path: str | os.PathLike[str],
    *,
    level: int = 0,
    time: TimeChoice = None,
    name: str = "labels",
) -> Volume:
    """Open a label image: one integer per voxel.

    Of a palette the indices are taken, of grey saved as colours one channel.

    Parameters
    ----------
    path, level, time, name
        See `read_image`.

    Returns
    -------
    Volume
        `data` is of integers or bool.

    Raises
    ------
    FileError
        As for `read_image`, and if the file holds colours or fractions.
    """
    path = place_of(path)
    if isinstance(path, Path) and path.suffix.lower() in _LOSSY:
        raise FileError(
            f"The {name} '{path}' are a JPEG, which changes ids. Save them as .png or .tif."
        )
    volume = _read(path, level, None, time, name, labels=True)
    axis = volume.channel_axis
    if axis is not None:
        volume = _one_channel(volume, axis, name)
    if volume.data.dtype.kind not in "iub":
        values = volume.data if isinstance(volume.data, np.ndarray) else None
        if (
            values is None
            or values.dtype.kind != "f"
            or not np.array_equal(values, np.rint(values))
        ):
            raise FileError(
                f"The {name} '{path}' have dtype {volume.data.dtype}; labels are whole numbers. "
                "Save them as an integer label image."
            )
        if values.size and (values.min() < -(2.0**62) or values.max() > 2.0**62):
            raise FileError(f"The {name} '{path}' have ids beyond 2^62. Give them smaller ids.")
        volume = replace(volume, data=values.astype(np.int64))
    return volume


def read_probability(
    path: str | os.PathLike[str],
    *,
    level: int = 0,
    time: TimeChoice = None,
) -> NDArray[np.float32]:
    """Read a map of the probability that a voxel is object.

    Parameters
    ----------
    path, level, time
        See `read_image`. Integers are divided by the largest value of their
        type (255, 65535), bool is 0 or 1, fractions are taken as they are.

    Returns
    -------
    ndarray of float32
    """
    volume = _read(place_of(path), level, None, time, "evidence", labels=True)
    if volume.channel_axis is not None:
        volume = _one_channel(volume, volume.channel_axis, "evidence")
    data = np.asarray(volume.data)
    if data.dtype.kind in "iu":
        return np.asarray(data / np.float64(np.iinfo(data.dtype).max), dtype=np.float32)
    return data.astype(np.float32)


def write_labels(
    path: str | os.PathLike[str],
    labels: NDArray[Any],
    grid: Grid,
    *,
    overwrite: bool = False,
    version: str = "0.5",
    properties: Mapping[int, Mapping[str, Any]] | None = None,
) -> None:
    """Write a label image; if that fails, an old file is left as it was.

    Parameters
    ----------
    path : path
        `.tif` or `.tiff` (zlib, with ImageJ's metadata; `.ome.tif` with OME's),
        `.png` (16-bit, 2D) or `.zarr` (OME-Zarr), or `IMAGE/labels/NAME` in an
        OME-Zarr image.
    labels : ndarray of integers
    grid : Grid
        Axes, voxel size, position and units.
    overwrite : bool
        Replace an existing output.
    version : {"0.5", "0.4"}
        OME-Zarr version; inside an image the image's own.
    properties : mapping of int to mapping, optional
        What to say about each id in OME-Zarr's `image-label` metadata.

    Raises
    ------
    OutputExistsError
        If `path` exists and `overwrite` is false.
    FileError
        If the labels do not fit the format, or the disk is full or read-only.
    """
    path = Path(path)
    kind = output_kind(path)
    if labels.dtype.kind == "b":
        labels = labels.astype(np.uint8)
    if labels.dtype.kind not in "iu" or labels.ndim != grid.ndim:
        raise InputError(
            f"Cannot write {labels.dtype} labels of shape {labels.shape} with the axes "
            f"{grid.axes} to '{path}'. Give integers and one axis name per axis."
        )
    if kind == "zarr":
        write_zarr_labels(
            path, labels, grid, overwrite=overwrite, version=version, properties=properties
        )
        return
    with replace_file(path, overwrite=overwrite) as temporary:
        if kind == "png":
            write_png(temporary, labels)
        else:
            write_tiff(temporary, labels, grid, ome=".ome." in path.name.lower())


def _read(
    path: Path | str,
    level: int,
    channel_axis: int | None,
    time: TimeChoice,
    name: str,
    *,
    labels: bool,
) -> Volume:
    """Open a file or folder by what it is."""
    volume = open_volume(path, level, channel_axis, time, name, labels=labels)
    if time == "all":
        check_space_time(volume)
    return volume


def place_of(path: str | os.PathLike[str]) -> Path | str:
    """Return a path, or a URL as it is."""
    return str(path) if is_url(path) else Path(path)


def open_volume(
    path: Path | str,
    level: int = 0,
    channel_axis: int | None = None,
    time: TimeChoice = None,
    name: str = "image",
    *,
    labels: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Volume:
    """Open a file, folder or URL by what it is; time may be an axis beside three of space.

    See `read_image`; `options` are what fsspec needs for a URL.
    """
    if isinstance(path, str):
        return read_zarr(path, level=level, channel_axis=channel_axis, time=time, options=options)
    hdf5 = split_hdf5(path)
    _check_input(hdf5[0] if hdf5 else path, name)
    if hdf5:
        file, dataset = hdf5
        return read_hdf5(
            file, dataset, level=level, channel_axis=channel_axis, time=time, labels=labels
        )
    stack = path.is_dir() and not is_zarr(path) and holds_pictures(path)
    if path.is_dir() and not stack:
        return read_zarr(path, level=level, channel_axis=channel_axis, time=time)
    suffix = path.suffix.lower()
    if suffix in TIFF:
        return read_tiff(path, level=level, channel_axis=channel_axis, time=time, labels=labels)
    if not stack and suffix not in _PICTURES:
        raise FileError(
            f"The {name} '{path}' has the extension '{suffix}'; needed is {_READABLE}. "
            "Save it as one of these."
        )
    if level:
        raise InputError(f"level is {level} but '{path}' has only level 0.")
    check_no_time(time, path)
    read = read_picture_stack if stack else read_picture
    return read(path, channel_axis=channel_axis, labels=labels)


def _check_input(path: Path, name: str) -> None:
    """Refuse a path that is missing, empty or not readable."""
    try:
        size = path.stat().st_size
    except FileNotFoundError as error:
        raise FileError(f"The {name} file '{path}' does not exist. Check the path.") from error
    except OSError as error:
        raise explain(error, path, "read") from error
    if not path.is_dir() and size == 0:
        raise FileError(f"The {name} '{path}' is empty (0 bytes). Save or copy it again.")


def _check_labels_inside(volume: Volume, name: str) -> None:
    """Refuse an image, or affinities, that the labels wanted lie beside."""
    from napari_implicitseg.volumes.affinity_files import is_affinities

    path = volume.path
    if not isinstance(path, Path) or not path.is_dir():
        return
    folder = path / "labels"
    inside = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
    if not inside and not is_affinities(path):
        return
    what = "affinities" if is_affinities(path) else "an image"
    mend = (
        f"Name the labels in it, such as '{folder / inside[0]}'."
        if inside
        else "Segment them first (napari-implicitseg segment)."
    )
    raise FileError(f"The {name} '{path}' are {what}, not one number per voxel. {mend}")


def _one_channel(volume: Volume, axis: int, name: str) -> Volume:
    """Reduce equal channels, as of grey saved as colours, to one."""
    _check_labels_inside(volume, name)
    data = np.moveaxis(np.asarray(volume.data), axis, 0)
    if not all(np.array_equal(data[0], other) for other in data[1:]):
        raise FileError(
            f"The {name} '{volume.path}' has {len(data)} different channels; needed is one number "
            "per voxel. Save it as a grey or label image, not as colours."
        )
    return replace(volume, data=data[0], axes=volume.axes[:axis] + volume.axes[axis + 1 :])
