"""A folder of pictures as a stack: one section per file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import FileError
from napari_implicitseg.volumes.pictures import read_picture
from napari_implicitseg.volumes.volume import Axis, Volume, arrange

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["holds_pictures", "read_picture_stack"]

_PICTURES = (".png", ".jpg", ".jpeg", ".bmp")


def holds_pictures(folder: Path) -> bool:
    """Whether a folder holds pictures."""
    return folder.is_dir() and bool(_sections(folder))


def read_picture_stack(
    folder: Path, *, channel_axis: int | None = None, labels: bool = False
) -> Volume:
    """Read the pictures of a folder, in the order of the numbers in their names.

    Parameters
    ----------
    folder : Path
    channel_axis : int, optional
        Which axis of the stack holds channels.
    labels : bool
        Whether the files hold labels.

    Returns
    -------
    Volume
        Sections first.

    Raises
    ------
    FileError
        If a picture is damaged, or of another size or kind than the first.
    """
    paths = _sections(folder)
    planes: list[NDArray[Any]] = []
    for path in paths:
        plane = np.asarray(read_picture(path, labels=labels).data)
        if planes and (plane.shape, plane.dtype) != (planes[0].shape, planes[0].dtype):
            raise FileError(
                f"'{path}' has shape {plane.shape} and dtype {plane.dtype}, but '{paths[0].name}' "
                f"has {planes[0].shape} and {planes[0].dtype}. The sections of a stack must agree."
            )
        planes.append(plane)
    names = (("z", "space"), ("y", "space"), ("x", "space"), ("c", "channel"))
    stack = np.stack(planes)
    axes = [Axis(name=name, kind=kind) for name, kind in names[: stack.ndim]]
    return arrange(stack, axes, path=folder, kind="picture", channel_axis=channel_axis)


def _sections(folder: Path) -> list[Path]:
    """Pictures of a folder, "9" before "10"; of the kind there are most of."""
    found = [p for p in folder.iterdir() if p.suffix.lower() in _PICTURES and p.is_file()]
    found = [p for p in found if not p.name.startswith(".")]
    kinds = [p.suffix.lower() for p in found]
    chosen = max(_PICTURES, key=kinds.count)
    return sorted((p for p in found if p.suffix.lower() == chosen), key=_natural)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Key by which numbers count as numbers."""
    parts = re.split(r"(\d+)", path.stem)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts if part]
