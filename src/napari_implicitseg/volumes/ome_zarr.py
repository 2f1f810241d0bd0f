"""OME-Zarr 0.4 and 0.5, and plain zarr arrays, of zarr formats 2 and 3."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.volumes.lazy import DECODE_ERRORS, decode_errors, unreadable
from napari_implicitseg.volumes.stores import remote_error, url_store
from napari_implicitseg.volumes.volume import Axis, Volume, arrange, unit_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import zarr

    from napari_implicitseg._types import TimeChoice

__all__ = [
    "METADATA_FILES",
    "holds_data",
    "image_axes",
    "is_zarr",
    "multiscale_of",
    "open_node",
    "read_zarr",
    "zarr_attributes",
]

METADATA_FILES = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
_KIND = "zarr"
_TYPES = {"space": "space", "channel": "channel", "time": "time"}
_BY_NAME = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}


def is_zarr(path: Path) -> bool:
    """Whether a folder is a zarr array or group."""
    return path.is_dir() and any((path / name).is_file() for name in METADATA_FILES)


def zarr_attributes(place: Path | str, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the attributes of a zarr, those of OME-Zarr 0.5 among the others; else none."""
    if isinstance(place, Path) and not is_zarr(place):
        return {}
    found = dict(open_node(place, options).attrs)
    ome = found.get("ome")
    return {**found, **ome} if isinstance(ome, dict) else found


def holds_data(path: Path) -> bool:
    """Whether a folder is a zarr with something in it.

    Some programs leave an empty group in the folder *around* a zarr they open;
    that makes it no zarr in which ordinary files have no place.
    """
    if not is_zarr(path):
        return False
    if path.suffix.lower() == ".zarr" or (path / ".zarray").exists():
        return True
    try:
        if (path / ".zattrs").exists():
            return bool(json.loads((path / ".zattrs").read_text(encoding="utf-8")))
        document = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return document.get("node_type") == "array" or bool(document.get("attributes"))


def read_zarr(
    path: Path | str,
    *,
    level: int = 0,
    channel_axis: int | None = None,
    time: TimeChoice = None,
    options: Mapping[str, Any] | None = None,
) -> Volume:
    """Open a level of an OME-Zarr image or label image, or a zarr array.

    Parameters
    ----------
    path : Path or str
        An OME-Zarr group, a group of bioformats2raw (its first image is
        taken), or an array; an array of an OME-Zarr image gets its axes. A URL is text.
    level : int
        Level of the pyramid, 0 is full resolution.
    channel_axis : int, optional
    time : int or "all", optional
        See `napari_implicitseg.volumes.read_image`.
    options : mapping, optional
        What fsspec needs for a URL.

    Returns
    -------
    Volume

    Raises
    ------
    FileError
        If the folder is no zarr, or a group without an image.
    InputError
        If there is no such level.
    """
    node = open_node(path, options)
    try:
        array, axes = _find_array(node, path, level, options)
    except (FileError, InputError):
        raise
    except decode_errors() as error:
        raise unreadable(path, error, _KIND) from error
    if array.size == 0:
        raise FileError(f"'{path}' holds no image: its shape is {array.shape}. Write it again.")
    return arrange(array, axes, path=path, kind=_KIND, channel_axis=channel_axis, time=time)


def open_node(
    path: Path | str, options: Mapping[str, Any] | None = None
) -> zarr.Array[Any] | zarr.Group:
    """Open a zarr array or group for reading, in a folder or at a URL."""
    import zarr

    if isinstance(path, str):
        return _open_url(path, options)
    if not is_zarr(path):
        raise FileError(
            f"'{path}' is a folder but no zarr: it has neither zarr.json nor .zgroup or .zarray. "
            "Name the folder of the zarr array or group itself."
        )
    try:
        with warnings.catch_warnings():
            # Foreign files in the folder and the like are none of the user's business.
            warnings.simplefilter("ignore")
            return zarr.open(path, mode="r")
    except DECODE_ERRORS as error:
        raise unreadable(path, error, _KIND) from error


def _open_url(url: str, options: Mapping[str, Any] | None) -> zarr.Array[Any] | zarr.Group:
    """Open a zarr at a URL."""
    import zarr

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return zarr.open(url_store(url, options), mode="r")
    except decode_errors() as error:
        raise remote_error(url, error, "read") from error


def multiscale_of(group: zarr.Group) -> Mapping[str, Any] | None:
    """Return the first multiscale image a group describes, or None."""
    attributes = group.attrs.asdict()
    ome = attributes.get("ome", attributes)
    images = ome.get("multiscales") if isinstance(ome, dict) else None
    if isinstance(images, list) and images and isinstance(images[0], dict):
        return images[0]
    return None


def _first_inside(node: zarr.Group) -> str:
    """Return the name of what is most likely meant inside a group: the first of its labels."""
    import zarr

    labels = node.get("labels")
    names = sorted(dict(labels.members())) if isinstance(labels, zarr.Group) else []
    return f"labels/{names[0]}" if names else "NAME"


def _find_array(
    node: zarr.Array[Any] | zarr.Group,
    path: Path | str,
    level: int,
    options: Mapping[str, Any] | None,
) -> tuple[zarr.Array[Any], list[Axis]]:
    """Return the array a path means and its axes."""
    import zarr

    if isinstance(node, zarr.Array):
        return node, _array_axes(node, path, options)
    image = multiscale_of(node)
    if image is None and "bioformats2raw.layout" in str(node.attrs.asdict()) and "0" in node:
        inner = node["0"]
        node = inner if isinstance(inner, zarr.Group) else node
        image = multiscale_of(node)
    if image is None:
        raise FileError(
            f"'{path}' is a zarr group without an OME-Zarr image; it has {_members(node)}. "
            f"Name an image or array inside, such as '{path}/{_first_inside(node)}'."
        )
    datasets = image["datasets"]
    if not 0 <= level < len(datasets):
        count = len(datasets)
        choice = "1 level only: choose 0" if count == 1 else f"{count}: choose 0 to {count - 1}"
        raise InputError(f"level is {level} but '{path}' has {choice}.")
    array = node[str(datasets[level]["path"])]
    if not isinstance(array, zarr.Array):
        raise FileError(f"'{path}': level {level} is a group, not an array. Write it again.")
    return array, image_axes(image, level, array.ndim, path)


def _members(group: zarr.Group) -> str:
    """Name what is in a group, for a message."""
    names = sorted(group.keys())
    shown = ", ".join(f"'{name}'" for name in names[:8])
    return (shown + (", ..." if len(names) > 8 else "")) or "nothing in it"


def _array_axes(
    array: zarr.Array[Any], path: Path | str, options: Mapping[str, Any] | None
) -> list[Axis]:
    """Return the axes of an array named directly, from its OME-Zarr parent if it has one."""
    group, name = _parent(path, options)
    image = None if group is None else multiscale_of(group)
    for level, dataset in enumerate((image or {}).get("datasets", ())):
        if image is not None and str(dataset.get("path")) == name:
            return image_axes(image, level, array.ndim, path)
    names: Sequence[str | None] = getattr(array.metadata, "dimension_names", None) or ()
    if len(names) == array.ndim and all(name in _BY_NAME for name in names):
        return [Axis(name=str(name), kind=_BY_NAME[str(name)]) for name in names]
    return [Axis() for _ in range(array.ndim)]


def _parent(path: Path | str, options: Mapping[str, Any] | None) -> tuple[zarr.Group | None, str]:
    """Return the group an array lies in, if there is one, and the array's name."""
    import zarr

    above: Path | str
    if isinstance(path, str):
        above, _, name = path.rstrip("/").rpartition("/")
        try:
            group = _open_url(above, options)
        except FileError:
            return None, name
    else:
        above, name = path.resolve().parent, path.resolve().name
        if not is_zarr(above):
            return None, name
        group = open_node(above)
    return (group if isinstance(group, zarr.Group) else None), name


def image_axes(image: Mapping[str, Any], level: int, ndim: int, path: Path | str) -> list[Axis]:
    """Return the axes of a level of a multiscale image.

    Parameters
    ----------
    image : mapping
        An entry of the `multiscales` metadata, version 0.1 to 0.5.
    level : int
    ndim : int
        Number of axes of the array.
    path : Path
        For messages.

    Raises
    ------
    FileError
        If metadata and array do not agree.
    """
    entries = image.get("axes") or [{"name": n} for n in "tczyx"[-ndim:]]
    if len(entries) != ndim:
        raise FileError(
            f"'{path}' names {len(entries)} axes but its array has {ndim}. "
            "Mend the multiscales metadata, or name the array itself."
        )
    axes = [_axis(entry, path) for entry in entries]
    steps = [
        *image["datasets"][level].get("coordinateTransformations", ()),
        *(image.get("coordinateTransformations") or ()),
    ]
    for step in steps:
        values = step.get(step.get("type"))
        if isinstance(values, list) and len(values) == ndim:
            axes = [
                _transform(axis, str(step["type"]), float(v))
                for axis, v in zip(axes, values, strict=True)
            ]
    return axes


def _axis(entry: Any, path: Path | str) -> Axis:
    """Read an axis entry: a mapping since version 0.4, a name in 0.3."""
    if not isinstance(entry, dict):
        entry = {"name": entry}
    name = str(entry.get("name") or "").lower()
    told = str(entry.get("type") or "")
    kind = _TYPES.get(told, _BY_NAME.get(name, ""))
    if not kind and (told or name):
        raise FileError(
            f"'{path}' has the axis '{name}'{f' of type {told}' if told else ''}; known are "
            "axes of space (z, y, x), c (channel) and t (time). Mend the multiscales metadata, or "
            "name the array itself."
        )
    return Axis(name=name, kind=kind, unit=unit_name(str(entry.get("unit") or "")))


def _transform(axis: Axis, kind: str, value: float) -> Axis:
    """Apply a scale or translation to an axis."""
    if kind == "scale":
        return replace(axis, scale=axis.scale * value, translate=axis.translate * value)
    if kind == "translation":
        return replace(axis, translate=axis.translate + value)
    return axis
