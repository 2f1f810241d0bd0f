"""Reading what commands work on, and telling early what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from scipy import ndimage

from napari_implicitseg.errors import FileError, InputError
from napari_implicitseg.ids import MAX_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_implicitseg._types import TimeChoice
    from napari_implicitseg.volumes import Grid

__all__ = ["Objects", "corrected_grid", "read_matching", "read_objects"]

_T = TypeVar("_T")

# The grey levels of an image lie all over it; of many objects few reach so far.
_MANY_OBJECTS = 30
_WIDE = 0.6
_USUAL_CHANNELS = 4


@dataclass(frozen=True, slots=True)
class Objects:
    """What there is to repair.

    Attributes
    ----------
    values : ndarray, 2D or 3D
        Ids, or probabilities of one object.
    grid : Grid
        As the file has it.
    dropped : int
        How many axes of length 1 were left out.
    warnings : tuple of str
        What there is to say about the file.
    """

    values: NDArray[Any]
    grid: Grid
    dropped: int
    warnings: tuple[str, ...]


def read_matching(read: Callable[..., _T], level: int, time: TimeChoice) -> _T:
    """Read a file at the image's level and time point, or as it is if it has no such."""
    for choice in ((level, time), (level, None), (0, time)):
        try:
            return read(level=choice[0], time=choice[1])
        except InputError:
            continue
    return read()


def corrected_grid(
    grid: Grid, spacing: tuple[float, ...] | None, unit: str | None, *, dropped: int
) -> Grid:
    """Return a grid with the voxel size the user gave.

    Parameters
    ----------
    grid : Grid
        That of the file.
    spacing, unit
        As given, or None.
    dropped : int
        How many axes of length 1 were left out of the file's array.
    """
    if spacing is not None and 1 < len(spacing) == grid.ndim + dropped:
        spacing = spacing[-grid.ndim :]  # An axis of length 1 was left out.
    if spacing is None and unit is None:
        return grid
    return grid.with_spacing(spacing or grid.spacing or grid.scale, unit)


def read_objects(path: Path, *, level: int, time: TimeChoice) -> Objects:
    """Read a label image, or the probability map of one object.

    Parameters
    ----------
    path : Path
        Integers are ids, 0 is background; fractions are probabilities.
    level, time
        See `read_image`.

    Raises
    ------
    FileError
        If the file cannot be read or holds neither.
    """
    from napari_implicitseg.volumes import read_image, read_labels

    volume = read_image(path, level=level, time=time, name="labels")
    warnings = []
    axis = volume.channel_axis
    stacked = axis is not None and volume.shape[axis] > _USUAL_CHANNELS
    if stacked:  # Stacks are often saved with their slices called channels.
        warnings.append(
            f"Axis {axis} of '{path}', of length {volume.shape[axis or 0]}, is called channels and "
            "taken for slices."
        )
    elif volume.data.dtype.kind != "f":
        volume = read_labels(path, level=level, time=time)
    elif axis is not None:
        raise FileError(
            f"The labels '{path}' have shape {volume.shape} with channels along axis {axis}; "
            "needed is one number per voxel. Save one channel."
        )
    values = np.asarray(volume.data)
    if values.ndim not in (2, 3):
        raise FileError(
            f"The labels '{path}' have {values.ndim} axes, of shape {values.shape}; a repair "
            "takes 2 or 3. Save one image or one volume."
        )
    if values.dtype.kind == "f":
        values = _fractions(values, path)
    if values.dtype.kind in "iu":
        _check_ids(values, path)
    return Objects(values, volume.grid(), volume.dropped, tuple(warnings))


def _fractions(values: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return floating-point numbers as probabilities, or as ids if all are whole."""
    bad = values.size - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise FileError(
            f"The labels '{path}' hold {bad} NaN or infinite voxels; needed is a number from 0 to "
            "1 everywhere. Replace them, by 0 where nothing is known."
        )
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if low >= 0 and high <= 1:
        return values
    if np.array_equal(values, np.rint(values)) and low >= -MAX_ID and high <= 2 * MAX_ID:
        return values.astype(np.int64)
    raise FileError(
        f"The labels '{path}' have dtype {values.dtype} and range from {low:g} to {high:g}; needed "
        "are whole numbers, or a probability map from 0 to 1. Save them as an integer label "
        "image, or scale the map to 0 to 1."
    )


def _check_ids(values: NDArray[Any], path: Path) -> None:
    """Refuse ids that no object can have, and grey levels in the place of ids."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < 0:
        raise FileError(
            f"The labels '{path}' hold {low}; ids are positive, and 0 is background. "
            "Relabel what is negative, or set it to 0."
        )
    if high > MAX_ID:
        raise FileError(
            f"The labels '{path}' hold {high}; the largest id is {MAX_ID}. Relabel them."
        )
    plane = values if values.ndim == 2 else values[len(values) // 2]
    ids, places = np.unique(plane, return_inverse=True)
    count = int(np.count_nonzero(ids))
    if count < _MANY_OBJECTS:
        return
    numbers = places.reshape(plane.shape).astype(np.int32) + int(ids[0] != 0)
    boxes = [box for box in ndimage.find_objects(numbers) if box is not None]
    if np.median([_reach(box, plane.shape) for box in boxes]) > _WIDE:
        raise FileError(
            f"The labels '{path}' hold {count} ids, most of them spread all over the image: that "
            "looks like an image, not like labels. Give a label image, one id per object."
        )


def _reach(box: tuple[slice, ...], shape: Sequence[int]) -> float:
    """Share of the image that an object's box spans, along the axis where it is least."""
    return min(float(part.stop - part.start) / n for part, n in zip(box, shape, strict=True))
