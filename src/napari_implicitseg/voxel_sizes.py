"""The size of a voxel as functions take it: one positive number per axis, or none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["checked_spacing"]


def checked_spacing(spacing: Sequence[float] | None, ndim: int) -> tuple[float, ...]:
    """Return the size of a voxel as floats; None stands for 1 along each axis.

    Raises
    ------
    InputError
        If it is not `ndim` positive numbers.
    """
    if spacing is None:
        return (1.0,) * ndim
    try:
        values = tuple(float(s) for s in spacing)
    except (TypeError, ValueError) as error:
        raise InputError(f"spacing is {spacing!r}; give {ndim} positive numbers.") from error
    if len(values) != ndim or not all(math.isfinite(s) and s > 0 for s in values):
        raise InputError(f"spacing is {values}; give {ndim} positive numbers, in axis order.")
    return values
