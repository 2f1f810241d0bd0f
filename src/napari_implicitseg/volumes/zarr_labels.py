"""Writing a label image as OME-Zarr, on its own or into the `labels` of an image."""

from __future__ import annotations

import contextlib
import json
import warnings
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.atomic import explain, replace_file, replace_folder
from napari_implicitseg.errors import FileError
from napari_implicitseg.volumes.lazy import DECODE_ERRORS, unreadable
from napari_implicitseg.volumes.ome_zarr import image_axes, is_zarr, multiscale_of, open_node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_implicitseg.volumes.volume import Grid

__all__ = ["image_of_labels", "write_zarr_labels"]

_TYPES = {"t": "time"}
_COARSEST = 512
_CHUNKS = {1: (65536,), 2: (1024, 1024), 3: (32, 256, 256)}


def image_of_labels(path: Path) -> Path | None:
    """Return the zarr group `path` would be a label image of (`IMAGE/labels/NAME`), or None."""
    folder = path.parent
    if folder.name == "labels" and is_zarr(folder.parent):
        return folder.parent
    return None


def write_zarr_labels(
    path: Path,
    labels: NDArray[Any],
    grid: Grid,
    *,
    overwrite: bool = False,
    version: str = "0.5",
    properties: Mapping[int, Mapping[str, Any]] | None = None,
) -> None:
    """Write a label image with a pyramid of nearest voxels.

    Below `IMAGE/labels/` it takes the zarr format and the levels of the image
    and is listed there; elsewhere it is a group on its own.

    Parameters
    ----------
    path : Path
        The group to make.
    labels : ndarray of integers
    grid : Grid
        Axes, scale, translation and units; they are written as they are.
    overwrite : bool
        Replace an existing group.
    version : {"0.4", "0.5"}
        OME-Zarr version of a group on its own.
    properties : mapping of int to mapping, optional
        What to say about each id in the `image-label` metadata.

    Raises
    ------
    OutputExistsError
        If `path` exists and `overwrite` is false.
    FileError
        If the disk is full or read-only, or the image has other levels.
    """
    image = image_of_labels(path)
    levels = list(_own_levels(labels.shape, grid))
    if image is not None:
        version, levels = _levels_of(image, labels.shape, grid)
    label: dict[str, Any] = {"version": version}
    if properties:
        label["properties"] = [{"label-value": i, **p} for i, p in sorted(properties.items())]
    if image is not None:
        label["source"] = {"image": "../../"}
    with ExitStack() as undo:
        if image is not None and not path.parent.exists():
            _make_folder(path)
            undo.callback(_remove_empty, path.parent)
        with replace_folder(path, overwrite=overwrite) as folder:
            _write_group(folder, labels, grid, levels, label, version, path.name)
        if image is not None:
            _register(path, version)
        undo.pop_all()
    if image is not None:
        _consolidate(image)


Level = tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]
"""Shape, scale and translation of a level of a pyramid."""


def _own_levels(shape: Sequence[int], grid: Grid) -> Iterator[Level]:
    """Halve the finest axes of space until the image is small."""
    sizes, scale = list(shape), list(grid.scale)
    yield tuple(sizes), tuple(scale), grid.translate
    space = [axis for axis, name in enumerate(grid.axes) if name not in _TYPES]
    while max(sizes[axis] for axis in space) > _COARSEST:
        finest = min(scale[axis] for axis in space if sizes[axis] > 1)
        for axis in space:
            n = sizes[axis]
            if n > 1 and scale[axis] < 2 * finest:
                sizes[axis], scale[axis] = -(-n // 2), scale[axis] * 2
        yield tuple(sizes), tuple(scale), grid.translate


def _levels_of(image: Path, shape: Sequence[int], grid: Grid) -> tuple[str, list[Level]]:
    """Return the OME-Zarr version of an image and its levels, reduced to the labels' axes."""
    import zarr

    group = open_node(image)
    multiscale = multiscale_of(group) if isinstance(group, zarr.Group) else None
    if multiscale is None or not isinstance(group, zarr.Group):
        raise FileError(
            f"'{image}' has no OME-Zarr image to which labels could be added. "
            "Write to a name that ends in .zarr instead."
        )
    levels: list[Level] = []
    first: tuple[float, ...] = ()
    try:
        for number, dataset in enumerate(multiscale["datasets"]):
            array = group[str(dataset["path"])]
            assert isinstance(array, zarr.Array)
            axes = image_axes(multiscale, number, array.ndim, image)
            chosen = [i for i, axis in enumerate(axes) if axis.name in grid.axes]
            sizes = tuple(int(array.shape[i]) for i in chosen)
            found = tuple(axes[i].scale for i in chosen)
            first = found if not levels else first
            # The grid's own scale: the user may have corrected what the file says.
            scale = tuple(s * a / b for s, a, b in zip(grid.scale, found, first, strict=True))
            levels.append((sizes, scale, tuple(axes[i].translate for i in chosen)))
    except DECODE_ERRORS as error:
        raise unreadable(image, error, "OME-Zarr") from error
    if levels[0][0] != tuple(shape):
        raise FileError(
            f"The labels have shape {tuple(shape)} but '{image}' has {levels[0][0]} at level 0. "
            "Write to a name of its own that ends in .zarr."
        )
    return ("0.4" if group.metadata.zarr_format == 2 else "0.5"), levels


def _write_group(
    folder: Path,
    labels: NDArray[Any],
    grid: Grid,
    levels: Sequence[Level],
    label: Mapping[str, Any],
    version: str,
    name: str,
) -> None:
    """Write metadata and arrays into an empty folder."""
    import zarr

    axes = [
        {"name": name, "type": _TYPES.get(name, "space"), **({"unit": unit} if unit else {})}
        for name, unit in zip(grid.axes, grid.units, strict=True)
    ]
    datasets = [
        {
            "path": str(number),
            "coordinateTransformations": [
                {"type": "scale", "scale": list(scale)},
                {"type": "translation", "translation": list(translate)},
            ],
        }
        for number, (_, scale, translate) in enumerate(levels)
    ]
    multiscale = {"name": name.split(".")[0], "axes": axes, "datasets": datasets, "type": "nearest"}
    ome: dict[str, Any] = {"multiscales": [multiscale], "image-label": dict(label)}
    if version == "0.4":
        multiscale["version"] = version
    else:
        ome = {"ome": {"version": version, **ome}}
    group = zarr.create_group(folder, zarr_format=2 if version == "0.4" else 3, attributes=ome)
    for number, (shape, _, _) in enumerate(levels):
        data = _nearest(labels, shape)
        layout: dict[str, Any] = {"dimension_names": list(grid.axes)}
        if version == "0.4":
            layout = {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
        array = group.create_array(
            str(number),
            shape=data.shape,
            dtype=data.dtype,
            chunks=_chunks(data.shape),
            fill_value=0,
            **layout,
        )
        array[...] = data


def _chunks(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a chunk shape of at most about two million voxels."""
    best = _CHUNKS.get(len(shape)) or (1,) * (len(shape) - 3) + _CHUNKS[3]
    return tuple(min(c, n) for c, n in zip(best, shape, strict=True))


def _nearest(labels: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Resample to a coarser shape, taking one voxel of each block."""
    for axis, (n, m) in enumerate(zip(labels.shape, shape, strict=True)):
        if n != m:
            step = max(1, round(n / m))
            labels = labels.take(np.minimum(np.arange(m) * step, n - 1), axis=axis)
    return labels


def _make_folder(path: Path) -> None:
    """Make the `labels` folder of an image."""
    try:
        path.parent.mkdir()
    except OSError as error:
        raise explain(error, path, "write") from error


def _remove_empty(folder: Path) -> None:
    """Remove a `labels` folder made for a label image that could not be written."""
    # It may not be empty: somebody else may have put something into it.
    with contextlib.suppress(OSError):
        folder.rmdir()


def _register(path: Path, version: str) -> None:
    """List a label image in the metadata of its `labels` group, making that if needed."""
    folder = path.parent
    name = ".zattrs" if version == "0.4" else "zarr.json"
    default: dict[str, Any] = {}
    if version != "0.4":
        default = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    try:
        text = (folder / name).read_text(encoding="utf-8") if (folder / name).exists() else ""
        document = json.loads(text) if text else default
        holder = document
        if version != "0.4":
            holder = document.setdefault("attributes", {}).setdefault("ome", {"version": version})
        listed = holder.setdefault("labels", [])
    except DECODE_ERRORS as error:
        raise unreadable(folder / name, error, "zarr metadata") from error
    if path.name not in listed:
        listed.append(path.name)
        _write_json(folder / name, document)
    if version == "0.4" and not (folder / ".zgroup").exists():
        _write_json(folder / ".zgroup", {"zarr_format": 2})


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Replace a metadata file."""
    with replace_file(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(document, indent=2), encoding="utf-8")


def _consolidate(image: Path) -> None:
    """Refresh consolidated metadata, which would hide the new labels, where there is any."""
    import zarr

    root = image
    try:
        while is_zarr(root):
            if _is_consolidated(root):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    zarr.consolidate_metadata(root)
            root = root.parent
    except DECODE_ERRORS as error:
        raise unreadable(root, error, "consolidated zarr metadata") from error


def _is_consolidated(group: Path) -> bool:
    """Whether a group carries a copy of the metadata of all below it."""
    metadata = group / "zarr.json"
    if not metadata.exists():
        return (group / ".zmetadata").exists()
    return bool(json.loads(metadata.read_text(encoding="utf-8")).get("consolidated_metadata"))
