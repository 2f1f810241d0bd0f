"""HDF5: one dataset of a file, read lazily, with the voxel size where the file has one."""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.volumes.lazy import DECODE_ERRORS, unreadable
from napari_implicitseg.volumes.volume import Axis, Volume, arrange, unit_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    import h5py

    from napari_implicitseg._types import TimeChoice

__all__ = ["read_hdf5", "split_hdf5"]

_KIND = "HDF5"
_PATH = re.compile(r"\.(?:h5|hdf5|hdf)(?=[:/\\]|$)", re.IGNORECASE)
_IMAGES = ("volumes/raw", "raw", "image", "main", "stack", "data", "exported_data")
_LABELS = (
    "volumes/labels/neuron_ids",
    "neuron_ids",
    "labels",
    "label",
    "main",
    "stack",
    "exported_data",
)
_AXES = {
    "x": ("x", "space"),
    "y": ("y", "space"),
    "z": ("z", "space"),
    "t": ("t", "time"),
    "c": ("c", "channel"),
}
_NUMBERS = "biuf"
_SHOWN = 8


def split_hdf5(path: Path) -> tuple[Path, str] | None:
    """Split a path into a file and the name of a dataset in it.

    Parameters
    ----------
    path : Path
        `FILE.h5`, `FILE.h5/group/dataset` or `FILE.h5:group/dataset`; `.hdf5` and `.hdf`
        as well.

    Returns
    -------
    file : Path
    name : str
        Of the dataset, "" if none is named.
        None instead of both if the path is of something else.
    """
    text = os.fspath(path)
    ends = [found.end() for found in _PATH.finditer(text)]
    for end in ends:
        if Path(text[:end]).is_file():
            return Path(text[:end]), text[end:].lstrip(":/\\").replace("\\", "/")
    if not ends or path.exists():
        return None
    return Path(text[: ends[-1]]), text[ends[-1] :].lstrip(":/\\")


def read_hdf5(
    path: Path,
    name: str = "",
    *,
    level: int = 0,
    channel_axis: int | None = None,
    time: TimeChoice = None,
    labels: bool = False,
) -> Volume:
    """Open a dataset of an HDF5 file.

    The voxel size is that of the attributes `resolution` (as in CREMI's files, in
    nanometres if `units` does not say otherwise; `offset` is the position) or
    `element_size_um` (as Fiji writes it); which axis is which, of `axistags`, as ilastik
    writes it, or of the names of the dimensions.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        The dataset, or a group with one. If it is empty, the only dataset of two or more axes,
        or the one with a usual name such as `volumes/raw`, `main` or `stack`.
    level : int
        There is only level 0.
    channel_axis : int, optional
    time : int or "all", optional
        See `napari_implicitseg.volumes.read_image`.
    labels : bool
        Whether labels are looked for: that settles which of several datasets is taken.

    Returns
    -------
    Volume

    Raises
    ------
    FileError
        If the file is damaged or no HDF5, if the dataset is missing, packed with a
        filter that is not installed or holds no numbers, or if there are several and
        none was named.
    InputError
        If `level` is not 0.
    """
    import h5py

    if level:
        raise InputError(f"level is {level} but '{path}' has only level 0.")
    try:
        file = h5py.File(path, "r")
    except DECODE_ERRORS as error:
        raise unreadable(path, error, _KIND) from error
    try:
        dataset = _find_dataset(file, path, name, labels=labels)
        _check_dataset(dataset, path)
        volume = arrange(
            dataset,
            _axes(dataset),
            path=path,
            kind=_KIND,
            channel_axis=channel_axis,
            time=time,
            close=file.close,
        )
    except (FileError, InputError):
        file.close()
        raise
    except DECODE_ERRORS as error:
        file.close()
        raise unreadable(path, error, _KIND) from error
    if isinstance(volume.data, np.ndarray):
        file.close()
    return volume


def _find_dataset(file: h5py.File, path: Path, name: str, *, labels: bool) -> h5py.Dataset:
    """Return the dataset that is meant."""
    import h5py

    found = file.get(name) if name.strip("/") else file
    if isinstance(found, h5py.Dataset):
        return found
    if found is None:
        raise FileError(
            f"'{path}' has no dataset '{name}'; it has {_listed(_datasets(file, least=0))}. "
            f"Name one of them: {path.name}/NAME."
        )
    if not isinstance(found, h5py.Group):
        raise FileError(f"'{name}' in '{path}' is no dataset. Name a dataset: {path.name}/NAME.")
    inside = _datasets(found)
    chosen = _usual(inside, _LABELS if labels else _IMAGES)
    if chosen is None:
        where = f"group '{name}' of '{path}'" if name.strip("/") else f"'{path}'"
        if not inside:
            raise FileError(
                f"{where} holds no image: it has {_listed(_datasets(found, least=0))}. Name a "
                "file with a dataset of two or more axes."
            )
        first = next(iter(inside.values())).name
        raise FileError(
            f"{where} has several datasets: {_listed(inside)}. Name one of them: "
            f"{path.name}{first}."
        )
    return chosen


def _datasets(group: h5py.Group, least: int = 2) -> dict[str, h5py.Dataset]:
    """Find the datasets of numbers below a group, with at least so many axes."""
    import h5py

    found: dict[str, h5py.Dataset] = {}

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and (least == 0 or _is_image(node, least)):
            found[name] = node

    group.visititems(visit)
    return found


def _is_image(dataset: h5py.Dataset, least: int) -> bool:
    """Whether a dataset holds numbers along enough axes."""
    shape = dataset.shape
    return shape is not None and len(shape) >= least and dataset.dtype.kind in _NUMBERS


def _usual(datasets: dict[str, h5py.Dataset], names: Sequence[str]) -> h5py.Dataset | None:
    """Return the only dataset, or the one with the most usual name."""
    if len(datasets) == 1:
        return next(iter(datasets.values()))
    for name in names:
        if name in datasets:
            return datasets[name]
        ending = [key for key in datasets if key.endswith(f"/{name}")]
        if len(ending) == 1:
            return datasets[ending[0]]
    return None


def _listed(datasets: dict[str, h5py.Dataset]) -> str:
    """Name datasets with shape and type, for a message."""
    shown = [f"'{key}' {d.shape} {d.dtype}" for key, d in list(datasets.items())[:_SHOWN]]
    more = [f"and {len(datasets) - _SHOWN} more"] if len(datasets) > _SHOWN else []
    return ", ".join(shown + more) or "no datasets"


def _check_dataset(dataset: h5py.Dataset, path: Path) -> None:
    """Refuse what is no image, or cannot be unpacked."""
    shape = dataset.shape
    if dataset.dtype.kind not in _NUMBERS or shape is None or len(shape) < 2:
        raise FileError(
            f"'{dataset.name}' in '{path}' has dtype {dataset.dtype} and shape {shape}; an "
            "image has numbers along two or more axes. Name another dataset."
        )
    if math.prod(shape) == 0:
        raise FileError(f"'{dataset.name}' in '{path}' is empty: its shape is {shape}.")
    missing = _missing_filters(dataset)
    if not missing:
        return
    with contextlib.suppress(ImportError):
        importlib.import_module("hdf5plugin")  # It registers the filters it brings.
    try:
        dataset[(0,) * len(shape)]  # A filter may be optional, and not have been used.
    except DECODE_ERRORS as error:
        raise FileError(
            f"'{dataset.name}' in '{path}' is packed with {', '.join(missing)}, which cannot be "
            "unpacked here. Install hdf5plugin (pip install hdf5plugin), or save it with gzip."
        ) from error


def _missing_filters(dataset: h5py.Dataset) -> list[str]:
    """Name the filters of a dataset that are not installed."""
    import h5py

    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(i) for i in range(properties.get_nfilters())]
    return [
        name.decode(errors="replace") or f"filter {code}"
        for code, _, _, name in filters
        if not h5py.h5z.filter_avail(code)
    ]


def _axes(dataset: h5py.Dataset) -> list[Axis]:
    """Describe the axes of a dataset, as far as its attributes say."""
    axes = _named_axes(dataset)
    sizes, unit = _numbers(dataset, "resolution"), _unit(dataset)
    if not sizes:
        sizes, unit = _numbers(dataset, "element_size_um"), "micrometer"
    space = [i for i, axis in enumerate(axes) if axis.kind in ("space", "")]
    # Where nothing is said of channels, they come first.
    space = space[max(0, len(space) - len(sizes)) :]
    if not space or len(sizes) < len(space):
        return axes
    offsets = _numbers(dataset, "offset") or (0.0,) * len(sizes)
    names = "zyx"[-len(space) :] if len(space) <= 3 else ""
    for k, i in enumerate(space):
        axis = axes[i]
        if not axis.name and names:
            axis = replace(axis, name=names[k], kind="space")
        at = k - len(space)
        start = offsets[at] if len(offsets) == len(sizes) else 0.0
        axes[i] = replace(axis, scale=sizes[at], translate=start, unit=unit)
    return axes


def _named_axes(dataset: h5py.Dataset) -> list[Axis]:
    """Return the axes with the names that ilastik or the dimensions give them."""
    ndim = len(dataset.shape)
    keys = _axis_tags(dataset) or [str(d.label).lower() for d in dataset.dims]
    if len(keys) != ndim or not all(key in _AXES for key in keys) or len(set(keys)) < ndim:
        return [Axis() for _ in range(ndim)]
    return [Axis(name=name, kind=kind) for name, kind in (_AXES[key] for key in keys)]


def _axis_tags(dataset: h5py.Dataset) -> list[str]:
    """Read the keys of ilastik's description of axes; none if there is none."""
    try:
        described = json.loads(_text(dataset.attrs.get("axistags", "")))
        return [str(axis["key"]).lower() for axis in described["axes"]]
    except (ValueError, TypeError, LookupError):
        return []


def _numbers(dataset: h5py.Dataset, name: str) -> tuple[float, ...]:
    """Read an attribute of numbers; none if it is missing or something else."""
    try:
        values = tuple(float(v) for v in np.atleast_1d(dataset.attrs[name]).ravel())
    except (*DECODE_ERRORS, KeyError):
        return ()
    return values if name == "offset" or all(math.isfinite(v) and v > 0 for v in values) else ()


def _unit(dataset: h5py.Dataset) -> str:
    """Read the unit of `resolution`."""
    found = dataset.attrs.get("units", dataset.attrs.get("unit", "nm"))
    first = np.atleast_1d(np.asarray(found, dtype=object)).ravel()[:1]
    return unit_name(_text(first[0])) if first.size else ""


def _text(value: Any) -> str:
    """Return text that may be stored as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
