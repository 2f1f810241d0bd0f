"""Writing a label image as OME-Zarr, on its own or into the `labels` of an image."""

from __future__ import annotations

import contextlib
import json
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_implicitseg.atomic import explain, replace_file, replace_folder
from napari_implicitseg.errors import FileError
from napari_implicitseg.volumes.layout import Layout
from napari_implicitseg.volumes.lazy import DECODE_ERRORS, unreadable
from napari_implicitseg.volumes.ome_zarr import image_axes, is_zarr, multiscale_of, open_node
from napari_implicitseg.volumes.pyramid import Level
from napari_implicitseg.volumes.zarr_write import axes_of, create_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import zarr
    from numpy.typing import NDArray

    from napari_implicitseg.volumes.volume import Axis, Grid

__all__ = ["LabelPlace", "axes_of_image", "image_of_labels", "label_place", "write_zarr_labels"]


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
    """Write a label image with a pyramid by mode.

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
    with label_place(path, labels.shape, grid, overwrite=overwrite, version=version) as place:
        made = create_labels(
            place.folder,
            labels.shape,
            labels.dtype,
            axes_of(grid),
            name=path.name.split(".")[0],
            layout=Layout(version=place.version),
            levels=place.levels,
            properties=properties,
            inside=place.levels is not None,
        )
        made.arrays[0][...] = labels
        made.fill_coarser()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPlace:
    """Where a label image is to be written.

    Attributes
    ----------
    folder : Path
        An empty folder, moved into place when all is written.
    version : str
        Of OME-Zarr.
    levels : list of Level or None
        Those of the image it belongs to; None if it is on its own.
    """

    folder: Path
    version: str
    levels: list[Level] | None


@contextmanager
def label_place(
    path: Path, shape: Sequence[int], grid: Grid, *, overwrite: bool, version: str
) -> Iterator[LabelPlace]:
    """Make room for a label image; below `IMAGE/labels/` it is listed there when it is written.

    Parameters
    ----------
    path, grid, overwrite, version
        See `write_zarr_labels`.
    shape : sequence of int

    Yields
    ------
    LabelPlace
    """
    image = image_of_labels(path)
    levels = None
    if image is not None:
        version, levels = _levels_of(image, shape, grid)
    with ExitStack() as undo:
        if image is not None and not path.parent.exists():
            _make_folder(path)
            undo.callback(_remove_empty, path.parent)
        with replace_folder(path, overwrite=overwrite) as folder:
            yield LabelPlace(folder=folder, version=version, levels=levels)
        if image is not None:
            _register(path, version)
        undo.pop_all()
    if image is not None:
        _consolidate(image)


def axes_of_image(image: Path) -> list[Axis]:
    """Return the axes of an OME-Zarr image at full resolution.

    Raises
    ------
    FileError
        If the zarr is no image, or is damaged.
    """
    import zarr

    group, multiscale = _image_of(image)
    try:
        array = group[str(multiscale["datasets"][0]["path"])]
        assert isinstance(array, zarr.Array)
        return image_axes(multiscale, 0, array.ndim, image)
    except DECODE_ERRORS as error:
        raise unreadable(image, error, "OME-Zarr") from error


def _image_of(image: Path) -> tuple[zarr.Group, Mapping[str, Any]]:
    """Return the group of an OME-Zarr image, and what it says of the image."""
    import zarr

    group = open_node(image)
    multiscale = multiscale_of(group) if isinstance(group, zarr.Group) else None
    if multiscale is None or not isinstance(group, zarr.Group):
        raise FileError(
            f"'{image}' has no OME-Zarr image to which labels could be added. "
            "Write to a name that ends in .zarr instead."
        )
    return group, multiscale


def _levels_of(image: Path, shape: Sequence[int], grid: Grid) -> tuple[str, list[Level]]:
    """Return the OME-Zarr version of an image and its levels, reduced to the labels' axes."""
    import zarr

    group, multiscale = _image_of(image)
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
            translate = tuple(axes[i].translate for i in chosen)
            levels.append(Level(shape=sizes, scale=scale, translate=translate))
    except DECODE_ERRORS as error:
        raise unreadable(image, error, "OME-Zarr") from error
    if levels[0].shape != tuple(shape):
        raise FileError(
            f"The labels have shape {tuple(shape)} but '{image}' has {levels[0].shape} at level 0. "
            "Write to a name of its own that ends in .zarr."
        )
    return ("0.4" if group.metadata.zarr_format == 2 else "0.5"), levels


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
