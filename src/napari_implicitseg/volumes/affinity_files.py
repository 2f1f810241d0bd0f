"""Affinities in files: OME-Zarr with the edges as channels, or HDF5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.affinities.ops import Affinities
from napari_implicitseg.atomic import explain, replace_file, replace_folder
from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.volumes.lazy import DECODE_ERRORS, unreadable
from napari_implicitseg.volumes.ome_zarr import open_node
from napari_implicitseg.volumes.outputs import check_output
from napari_implicitseg.volumes.pyramid import Level
from napari_implicitseg.volumes.volume import Axis, Grid
from napari_implicitseg.volumes.zarr_write import axes_of, create_image

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

__all__ = [
    "ABOUT",
    "FORMAT",
    "check_affinity_output",
    "is_affinities",
    "read_affinities",
    "read_grid",
    "write_affinities",
]

ABOUT = "napari-implicitseg"
"""Attribute of a group of affinities that says what they are."""
FORMAT = "napari-implicitseg/affinities/1"
_HDF5 = (".h5", ".hdf5", ".hdf")
_KEY = "affinities"
_HALF = "float16"
_NANOMETRE = "nanometer"


def is_affinities(path: Path) -> bool:
    """Whether a folder holds affinities as they are written here."""
    from napari_implicitseg.volumes.ome_zarr import is_zarr, open_node

    if not is_zarr(path):
        return False
    node: Any = open_node(path)
    about = node.attrs.asdict().get(ABOUT)
    return isinstance(about, dict) and about.get("format") == FORMAT


def check_affinity_output(path: Path, *, overwrite: bool, source: Path | None = None) -> None:
    """Refuse a name affinities cannot be written to.

    Parameters
    ----------
    path : Path
    overwrite : bool
        Whether what is there may be replaced.
    source : Path, optional
        What is read, which must not be replaced: nor may what holds it.

    Raises
    ------
    OutputExistsError, FileError
    """
    if path.suffix.lower() not in (".zarr", *_HDF5):
        raise FileError(
            f"Affinities cannot be written to '{path}': use a name that ends in .zarr or .h5."
        )
    inputs = () if source is None else (source,)
    is_file = path.suffix.lower() in _HDF5
    check_output(path, inputs=inputs, overwrite=overwrite, any_extension=is_file)


def write_affinities(
    path: str | os.PathLike[str],
    affinities: Affinities,
    grid: Grid,
    *,
    overwrite: bool = False,
    half: bool = False,
) -> None:
    """Write affinities so that viewers show them and `read_affinities` reads them.

    Parameters
    ----------
    path : path
        ``NAME.zarr``, OME-Zarr 0.5 with the edges as channels; or ``NAME.h5`` with a
        dataset "affinities".
    affinities : Affinities
    grid : Grid
        Axes, scale, translation and units of the volume.
    overwrite : bool
        Replace what is there.
    half : bool
        Store float16, which halves the size and keeps three digits.

    Raises
    ------
    OutputExistsError
        If `path` exists and `overwrite` is false.
    FileError
        If it cannot be written; what was there stays.
    """
    target = Path(path)
    check_affinity_output(target, overwrite=overwrite)
    dtype = _HALF if half else "float32"
    about = {"format": FORMAT, "offsets": [list(o) for o in affinities.offsets]}
    if target.suffix.lower() in _HDF5:
        with replace_file(target, overwrite=overwrite) as temporary:
            _write_hdf5(temporary, affinities, grid, about, dtype)
        return
    with replace_folder(target, overwrite=overwrite) as folder:
        _write_zarr(folder, target.stem, affinities, grid, about, dtype)


def _write_zarr(
    folder: Path, name: str, affinities: Affinities, grid: Grid, about: dict[str, Any], dtype: str
) -> None:
    """Write an OME-Zarr image of one level into an empty folder."""
    shape = affinities.data.shape
    axes = (Axis(name="c", kind="channel"), *axes_of(grid))
    level = Level(
        shape=shape,
        scale=tuple(axis.scale for axis in axes),
        translate=tuple(axis.translate for axis in axes),
    )
    made = create_image(folder, shape, dtype, axes, name=name, levels=[level], about={ABOUT: about})
    for number, data in enumerate(affinities.data):
        made.arrays[0][number] = data.astype(dtype)


def _write_hdf5(
    path: Path, affinities: Affinities, grid: Grid, about: dict[str, Any], dtype: str
) -> None:
    """Write a dataset with the voxel size as CREMI names it, in nanometres if it is a length."""
    import h5py

    size = grid.spacing_in(_NANOMETRE)
    factor = 1.0 if size is None else size[0] / grid.scale[0]

    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            _KEY, data=affinities.data.astype(dtype), compression="gzip", shuffle=True, chunks=True
        )
        data.attrs["resolution"] = size or grid.scale
        data.attrs["offset"] = [t * factor for t in grid.translate]
        data.attrs["unit"] = grid.unit if size is None else _NANOMETRE
        data.attrs[ABOUT] = json.dumps(about)


def read_affinities(path: str | os.PathLike[str]) -> Affinities:
    """Read what `write_affinities` wrote.

    Raises
    ------
    FileError
        If it is missing, damaged or holds no affinities.
    """
    source = Path(path)
    if not source.exists():
        raise FileError(f"'{source}' does not exist. Check the name and the folder.")
    read = _read_hdf5 if source.suffix.lower() in _HDF5 else _read_zarr
    data, about, spacing = read(source)
    try:
        if about.get("format") != FORMAT:
            raise InputError(f"its format is {about.get('format')!r}, not {FORMAT!r}")
        offsets = tuple(tuple(int(v) for v in offset) for offset in about["offsets"])
        values = data.astype(np.float32)
        if "scale" in about:  # What stands for 1, where blocks are kept as whole numbers.
            values /= np.float32(about["scale"])
        return Affinities(data=values, offsets=offsets, spacing=spacing)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(
            f"'{source}' holds no affinities of this package: {error}. Predict them anew, or give "
            "data and offsets to Affinities."
        ) from error


def read_grid(path: str | os.PathLike[str]) -> Grid:
    """Return axes, voxel size, position and units of what `write_affinities` wrote.

    Raises
    ------
    FileError
        If it is missing, damaged or holds no affinities.
    """
    from napari_implicitseg.volumes.files import read_image

    source = Path(path)
    if source.suffix.lower() not in _HDF5:
        return read_image(source).grid(0)
    import h5py

    try:
        with h5py.File(source, "r") as file:
            attrs = dict(file[_KEY].attrs)
        spacing = tuple(float(s) for s in attrs["resolution"])
    except (OSError, KeyError, ValueError) as error:
        raise unreadable(source, error, "affinities") from error
    count = len(spacing)
    return Grid(
        axes=("z", "y", "x")[-count:],
        scale=spacing,
        translate=tuple(float(v) for v in attrs.get("offset", (0.0,) * count)),
        units=(str(attrs.get("unit", "")),) * count,
    )


def _read_zarr(path: Path) -> tuple[NDArray[Any], dict[str, Any], tuple[float, ...]]:
    """Return data, description and voxel size of an OME-Zarr."""
    node: Any = open_node(path)
    try:
        scale = node.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]
        data = np.asarray(node["0"][...])
        return data, dict(node.attrs.get(ABOUT, {})), tuple(float(s) for s in scale["scale"][1:])
    except (*DECODE_ERRORS, AttributeError) as error:
        raise unreadable(path, error, "affinities") from error


def _read_hdf5(path: Path) -> tuple[NDArray[Any], dict[str, Any], tuple[float, ...]]:
    """Return data, description and voxel size of an HDF5 file."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            data = file[_KEY]
            about = json.loads(str(data.attrs.get(ABOUT, "{}")))
            return data[...], about, tuple(float(s) for s in data.attrs["resolution"])
    except (KeyError, ValueError) as error:
        raise unreadable(path, error, "affinities") from error
    except OSError as error:
        if error.errno is None:
            raise unreadable(path, error, "affinities") from error
        raise explain(error, path, "read") from error
