"""Whether an output can be written, told before work is done for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from napari_implicitseg.atomic import check_permission, exists_error, probe_folder
from napari_implicitseg.errors import FileError
from napari_implicitseg.volumes.hdf5 import split_hdf5
from napari_implicitseg.volumes.ome_zarr import holds_data, is_zarr
from napari_implicitseg.volumes.pictures import PNG_MAX
from napari_implicitseg.volumes.zarr_labels import image_of_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["TIFF", "check_output", "output_kind"]

TIFF = (".tif", ".tiff")
_WRITABLE = ".tif, .tiff, .png or .zarr"


def check_output(
    path: str | os.PathLike[str],
    *,
    inputs: Sequence[str | os.PathLike[str]] = (),
    overwrite: bool = False,
    ndim: int | None = None,
    largest: int | None = None,
    any_extension: bool = False,
) -> None:
    """Refuse an output that cannot be written, before work is done for it.

    Parameters
    ----------
    path : path
        Where labels are to be written.
    inputs : sequence of path
        Files that are read; the output must not be or contain one of them.
    overwrite : bool
        Whether an existing output may be replaced.
    ndim : int, optional
        Number of axes of what will be written.
    largest : int, optional
        Its largest id.
    any_extension : bool
        The output is no image; its extension does not matter.

    Raises
    ------
    OutputExistsError
        If it exists and `overwrite` is false.
    FileError
        If it is an input, has an unknown extension, or its folder is missing
        or not writable.
    """
    path = Path(path)
    kind = "file" if any_extension else output_kind(path)
    _check_not_input(path, inputs)
    _check_place(path, kind)
    if os.path.lexists(path):
        if not overwrite:
            raise exists_error(path)
        _check_replaceable(path, kind)
        check_permission(path)
    if kind == "png" and ndim not in (None, 2):
        raise FileError(f"'{path}': a PNG holds 2 axes, the result has {ndim}. Use .tif or .zarr.")
    if kind == "png" and largest is not None and largest > PNG_MAX:
        raise FileError(
            f"'{path}': a PNG holds ids up to {PNG_MAX}, the largest is {largest}. "
            "Use .tif or .zarr."
        )


def output_kind(path: Path) -> str:
    """Return "tiff", "png" or "zarr"."""
    suffix = path.suffix.lower()
    if suffix in TIFF:
        return "tiff"
    if suffix == ".png":
        return "png"
    if suffix == ".zarr" or image_of_labels(path) is not None:
        return "zarr"
    raise FileError(
        f"Output '{path}' has the extension '{suffix}'; labels are written to {_WRITABLE}. "
        "Give it one of these."
    )


def _check_not_input(path: Path, inputs: Sequence[str | os.PathLike[str]]) -> None:
    """Refuse an output that would replace what is read."""
    target = Path(os.path.realpath(path))
    for other in inputs:
        hdf5 = split_hdf5(Path(other))
        source = Path(os.path.realpath(hdf5[0] if hdf5 else other))
        same = target == source or target in source.parents
        if not same and target.exists() and source.exists():
            same = os.path.samefile(target, source)
        if same:
            raise FileError(
                f"Output '{path}' would replace the input '{os.fspath(other)}'. "
                "Give the output another name."
            )


def _check_place(path: Path, kind: str) -> None:
    """Refuse a folder that is missing, not writable, or inside a zarr."""
    target = Path(os.path.realpath(path))
    image = image_of_labels(target) if kind == "zarr" else None
    folder = target.parent
    if image is not None and not folder.exists():
        folder = image
    if not folder.is_dir():
        raise FileError(f"The folder of output '{path}' does not exist. Make it: '{folder}'.")
    if image is None and any(holds_data(parent) for parent in target.parents):
        raise FileError(
            f"Output '{path}' lies inside a zarr. Labels belong to IMAGE.zarr/labels/NAME; "
            "anything else goes outside."
        )
    probe_folder(folder, path)


def _check_replaceable(path: Path, kind: str) -> None:
    """Refuse to replace a folder by a file, or a folder that is no zarr."""
    if kind != "zarr" and path.is_dir():
        raise FileError(f"Output '{path}' is a folder. Give the name of a file.")
    if kind == "zarr" and not is_zarr(path) and (not path.is_dir() or any(path.iterdir())):
        raise FileError(
            f"Output '{path}' exists and is no zarr, so it is not replaced. Give another name."
        )
