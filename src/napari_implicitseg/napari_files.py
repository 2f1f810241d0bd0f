"""What napari opens and saves by this package: affinities, lists of edits, labels as OME-Zarr.

Images and labels in TIFF or OME-Zarr are left to napari's other readers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_implicitseg.volumes import Grid

__all__ = ["read_affinity_layers", "read_edit_layers", "reader_of", "write_label_layer"]

LayerData = tuple[Any, dict[str, Any], str]

AFFINITIES_OF = "napari_implicitseg:affinities"
"""Key of `layer.metadata` under which a layer of affinities keeps their offsets."""
EDITS_OF = "napari_implicitseg:edits"
"""Key of `layer.metadata` under which points keep the file of edits they were read from."""

_HDF5 = (".h5", ".hdf5", ".hdf")
_ABOUT = "napari-implicitseg"
_ENOUGH = 4096
"""Characters of a JSON file among which its format stands."""


def reader_of(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return the function that opens a path, or None if it is nothing of this package's."""
    if not isinstance(path, str):
        return None
    place = Path(path)
    if place.suffix.lower() == ".json":
        return read_edit_layers if _holds_edits(place) else None
    return read_affinity_layers if _holds_affinities(place) else None


def _holds_edits(path: Path) -> bool:
    """Whether a JSON file begins as a list of edits does."""
    try:
        with path.open(encoding="utf-8") as file:
            return f"{_ABOUT}/edits/" in file.read(_ENOUGH)
    except (OSError, ValueError):
        return False


def _holds_affinities(path: Path) -> bool:
    """Whether a zarr or HDF5 file says that it holds affinities."""
    if path.suffix.lower() in _HDF5:
        return _hdf5_holds_affinities(path)
    for name in ("zarr.json", ".zattrs"):
        try:
            document = json.loads((path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        about = document.get("attributes", document).get(_ABOUT)
        return isinstance(about, dict) and "offsets" in about
    return False


def _hdf5_holds_affinities(path: Path) -> bool:
    """Whether a dataset "affinities" says what it is."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return "affinities" in file and _ABOUT in file["affinities"].attrs
    except OSError:
        return False


def read_affinity_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Open affinities as an image with the neighbours along its first axis.

    Raises
    ------
    FileError
        If the file is damaged.
    """
    from napari_implicitseg.volumes.affinity_files import read_affinities, read_grid

    affinities, grid = read_affinities(str(path)), read_grid(str(path))
    options = {
        "name": Path(str(path)).stem,
        "contrast_limits": (0, 1),
        "metadata": {AFFINITIES_OF: affinities.offsets},
        "axis_labels": ("neighbour", *grid.axes),
        "scale": (1.0, *grid.scale),
        "translate": (0.0, *grid.translate),
        "units": ("pixel", *(unit or "pixel" for unit in grid.units)),
    }
    return [(affinities.data, options, "image")]


def read_edit_layers(path: str | Sequence[str]) -> list[LayerData]:
    """Open a list of edits as points, one per voxel that an edit names.

    Raises
    ------
    FileError
        If it is no such list.
    """
    from napari_implicitseg.hierarchy.edits import read_edits, strokes_of

    document = read_edits(str(path))
    rows = [
        (voxel, number, edit.kind, group)
        for number, edit in enumerate(document.edits)
        for group, stroke in enumerate(strokes_of(edit))
        for voxel in stroke
    ]
    points: NDArray[np.float64] = np.array([row[0] for row in rows], float)
    options = {
        "name": Path(str(path)).stem,
        "features": {
            "edit": np.array([row[1] for row in rows], int),
            "kind": np.array([row[2] for row in rows], str),
            "stroke": np.array([row[3] for row in rows], int),
        },
        "metadata": {EDITS_OF: str(path)},
        "size": 3,
    }
    return [(points.reshape(-1, len(document.shape)), options, "points")]


def write_label_layer(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Save a Labels layer as OME-Zarr with its scale, position and units.

    Parameters
    ----------
    path : str
        ``NAME.zarr``.
    data : array of integer
    attributes : dict
        Of the layer, as napari gives them.

    Returns
    -------
    list of str
        What was written.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    from napari_implicitseg.volumes import write_labels

    labels = np.asarray(data[0] if attributes.get("multiscale") else data)
    write_labels(path, labels, _grid(labels.ndim, attributes), overwrite=True)
    return [path]


def _grid(ndim: int, attributes: dict[str, Any]) -> Grid:
    """Return where the voxels of a layer lie."""
    from napari_implicitseg.volumes import Grid, unit_name

    plain = Grid.plain(ndim)
    names = tuple(str(name) for name in attributes.get("axis_labels") or ())
    known = len(names) == ndim and set(names) <= set("tzyx") and len(set(names)) == ndim
    units = tuple(unit_name(str(unit)) for unit in attributes.get("units") or plain.units)
    return Grid(
        axes=names if known else plain.axes,
        scale=tuple(abs(float(s)) for s in attributes.get("scale", plain.scale)),
        translate=tuple(float(t) for t in attributes.get("translate", plain.translate)),
        units=units,
    )
