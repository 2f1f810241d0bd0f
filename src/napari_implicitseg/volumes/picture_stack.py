"""A folder of pictures as a stack: one section per file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import FileError
from napari_implicitseg.volumes.pictures import read_picture
from napari_implicitseg.volumes.tiff import read_tiff
from napari_implicitseg.volumes.volume import Axis, Volume, arrange

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["holds_pictures", "read_picture_stack"]

_TIFF = (".tif", ".tiff")
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", *_TIFF)


def holds_pictures(folder: Path) -> bool:
    """Whether a folder holds pictures."""
    return folder.is_dir() and bool(_sections(folder))


def read_picture_stack(
    folder: Path, *, channel_axis: int | None = None, labels: bool = False
) -> Volume:
    """Open the pictures of a folder, in the order of the numbers in their names.

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
        Sections first; those of a large stack are read when they are asked for.

    Raises
    ------
    FileError
        If a picture is damaged, or of another size or kind than the first.
    """
    stack = _Sections(_sections(folder), labels)
    return arrange(stack, stack.axes, path=folder, kind="picture", channel_axis=channel_axis)


class _Sections:
    """The pictures of a stack as one array."""

    def __init__(self, paths: list[Path], labels: bool) -> None:
        self._paths, self._labels = paths, labels
        first = _read_section(paths[0], labels)
        self._plane = np.asarray(first.data)
        self.axes = [Axis(name="z", kind="space"), *first.axes]
        self.dtype = self._plane.dtype
        self.shape = (len(paths), *self._plane.shape)
        self.chunks = (1, *self._plane.shape)

    def __getitem__(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        """Read the sections of a window, and cut it out of them."""
        if not isinstance(key[0], slice):
            return self._section(int(key[0]))[key[1:]]
        numbers = range(*key[0].indices(len(self._paths)))
        return np.stack([self._section(i)[key[1:]] for i in numbers])

    def _section(self, number: int) -> NDArray[Any]:
        """Read a section."""
        if number == 0:
            return self._plane
        path = self._paths[number]
        plane = np.asarray(_read_section(path, self._labels).data)
        if (plane.shape, plane.dtype) != (self.shape[1:], self.dtype):
            raise FileError(
                f"'{path}' has shape {plane.shape} and dtype {plane.dtype}, but "
                f"'{self._paths[0].name}' has {self.shape[1:]} and {self.dtype}. The sections of "
                "a stack must agree."
            )
        return plane


def _read_section(path: Path, labels: bool) -> Volume:
    """Read one picture."""
    if path.suffix.lower() in _TIFF:
        return read_tiff(path, labels=labels)
    return read_picture(path, labels=labels)


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
