"""The voxels near the borders between objects, section by section, as in the CREMI challenge."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.voxel_sizes import checked_spacing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray

__all__ = ["BorderZone"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BorderZone:
    """How far from a border voxels are left out, in the sections of a volume.

    Sections are the planes of the last two axes.

    Attributes
    ----------
    reach : ndarray of int64, shape (R,), R at least 1
        For a distance of so many rows, the columns up to which a voxel is near.
    shape : tuple of int
        Of the volume.
    """

    reach: NDArray[np.int64]
    shape: tuple[int, ...]

    @classmethod
    def of(
        cls, border: float, spacing: Sequence[float] | None, shape: tuple[int, ...]
    ) -> BorderZone:
        """Make it of a distance.

        Parameters
        ----------
        border : float
            At least 0, in the unit of `spacing`.
        spacing : sequence of float, optional
            Size of a voxel along each axis; 1 by default.
        shape : tuple of int
            Of the volume.

        Raises
        ------
        InputError
            If the distance or the spacing is none, or the volume has no sections.
        """
        far = _checked_border(border)
        if len(shape) < 2:
            raise InputError(
                f"border is {border:g}, but the volume of shape {shape} has no sections; give two "
                "axes or more, or border=None."
            )
        size = checked_spacing(spacing, len(shape))[-2:]
        # A row more than can be near, should the division have rounded down.
        rows, columns = (
            np.arange(min(n, math.ceil(min(far / s, n)) + 1)) * s
            for n, s in zip(shape[-2:], size, strict=True)
        )
        near = np.sqrt(rows[:, None] ** 2 + columns**2) <= far
        return cls(reach=near.sum(1)[: int(near.any(1).sum())] - 1, shape=shape)

    def around(self, box: tuple[slice, ...]) -> tuple[slice, ...]:
        """Return what has to be seen to tell which voxels of a block are near."""
        # One more, as a border is where two voxels differ.
        halo = {-2: len(self.reach), -1: int(self.reach[0]) + 1}
        axes = range(-len(box), 0)
        return tuple(
            slice(max(0, part.start - halo.get(axis, 0)), min(n, part.stop + halo.get(axis, 0)))
            for axis, part, n in zip(axes, box, self.shape, strict=True)
        )

    def near(self, labels: NDArray[Any]) -> BoolArray:
        """Whether each voxel of some sections is near a border; their edges are none.

        Parameters
        ----------
        labels : ndarray of int or bool, shape (..., Y, X)

        Returns
        -------
        ndarray of bool, shape (..., Y, X)
        """
        found = np.zeros(labels.shape, np.bool_)
        sections = (math.prod(labels.shape[:-2]), *labels.shape[-2:])
        _spread(_differing(labels).reshape(sections), self.reach, found.reshape(sections))
        return found


def _differing(labels: NDArray[Any]) -> BoolArray:
    """Whether one of the four neighbours of a voxel in its section has another label."""
    marks = np.zeros(labels.shape, np.bool_)
    down = labels[..., 1:, :] != labels[..., :-1, :]
    marks[..., 1:, :] |= down
    marks[..., :-1, :] |= down
    right = labels[..., 1:] != labels[..., :-1]
    marks[..., 1:] |= right
    marks[..., :-1] |= right
    return marks


@numba.njit(cache=True, nogil=True)
def _spread(marks, reach, near):  # type: ignore[no-untyped-def]
    """Find the voxels that have a marked one within reach, in each section."""
    sections, rows, columns = marks.shape
    cap = reach[0] + 1
    across = np.empty((rows, columns), np.int32)
    for n in range(sections):
        for y in range(rows):
            steps = cap
            for x in range(columns):
                steps = 0 if marks[n, y, x] else min(steps + 1, cap)
                across[y, x] = steps
            for x in range(columns - 1, -1, -1):
                steps = min(across[y, x], steps + 1)
                across[y, x] = steps
        for y in range(rows):
            for other in range(max(0, y - reach.size + 1), min(rows, y + reach.size)):
                most = reach[abs(other - y)]
                for x in range(columns):
                    near[n, y, x] |= across[other, x] <= most


def _checked_border(border: Any) -> float:
    """Return a distance as a float."""
    try:
        far = float(border)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"border is {border!r}; give a distance from 0, in the unit of spacing, or None."
        ) from error
    if isinstance(border, bool | str) or not (math.isfinite(far) and far >= 0):
        raise InputError(
            f"border is {border!r}; give a distance from 0, in the unit of spacing, or None."
        )
    return far
