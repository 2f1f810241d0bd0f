"""Offsets: the vectors from a voxel to the other ends of its edges."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.voxel_sizes import checked_spacing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_implicitseg._types import BoolArray

__all__ = [
    "Offsets",
    "checked_offsets",
    "edge_slices",
    "edge_step",
    "edges_inside",
    "neighbourhood",
]

Offsets = tuple[tuple[int, ...], ...]
"""Vectors from a voxel to the other end of its edges, in voxels and axis order."""

_LONGEST = (1 << 31) - 1
# In voxels of the finest axis.
_REACHES = (3, 9, 27)


def checked_offsets(offsets: Any, ndim: int) -> Offsets:
    """Return offsets as tuples of int.

    Parameters
    ----------
    offsets : sequence of sequences of int
    ndim : int
        Number of axes of the volume.

    Raises
    ------
    InputError
        If there is none, or one has not `ndim` whole numbers, is the zero vector, or is there
        twice; the opposite of an offset is the same edge.
    """
    try:
        vectors = tuple(tuple(operator.index(v) for v in offset) for offset in offsets)
    except TypeError as error:
        raise InputError(
            f"offsets is {offsets!r}; give vectors of whole numbers such as [(-1, 0), (0, -1)]."
        ) from error
    if not vectors:
        raise InputError("There are no offsets; give one at least, or take neighbourhood().")
    seen: set[tuple[int, ...]] = set()
    for offset in vectors:
        if len(offset) != ndim:
            raise InputError(
                f"The offset {offset} has {len(offset)} numbers, but the volume has {ndim} axes; "
                "give one number per axis."
            )
        if max(map(abs, offset)) > _LONGEST:
            raise InputError(f"The offset {offset} is longer than any volume; leave it out.")
        if not any(offset):
            raise InputError(f"The offset {offset} joins a voxel to itself; leave it out.")
        if offset in seen:
            raise InputError(
                f"The offset {offset} is there twice, as itself or as its opposite; an edge has "
                "one affinity."
            )
        seen |= {offset, tuple(-v for v in offset)}
    return vectors


def neighbourhood(
    name: str = "direct", *, ndim: int | None = None, spacing: Sequence[float] | None = None
) -> Offsets:
    """Offsets of a preset.

    Parameters
    ----------
    name : {"direct", "direct+long-range"}
        `"direct"` are the negative unit vectors, in axis order. `"direct+long-range"` adds, along
        each axis, edges of 3, 9 and 27 voxels of the finest axis. Along a coarser axis they span
        the same distance in fewer voxels; those that would be shorter than 2 are left out.
    ndim : int, optional
        2 or 3; by default as long as `spacing`, or 3.
    spacing : sequence of float, optional
        Size of a voxel along each axis; isotropic by default.

    Returns
    -------
    tuple of tuples of int
        The direct ones first, then by reach, and by axis within one reach.

    Raises
    ------
    InputError
        If there is no such preset, or the options do not fit together.

    Examples
    --------
    >>> neighbourhood("direct", ndim=2)
    ((-1, 0), (0, -1))
    >>> neighbourhood("direct+long-range", spacing=(40, 4, 4))[3:]
    ((0, -3, 0), (0, 0, -3), (0, -9, 0), (0, 0, -9), (-3, 0, 0), (0, -27, 0), (0, 0, -27))
    """
    if name not in ("direct", "direct+long-range"):
        raise InputError(
            f'The neighbourhood is {name!r}; there are "direct" and "direct+long-range".'
        )
    if ndim is None:
        ndim = 3 if spacing is None else len(spacing)
    if ndim not in (2, 3):
        raise InputError(f"A neighbourhood has 2 or 3 axes, not {ndim}.")
    size = checked_spacing(spacing, ndim)
    reaches = [(1,) * ndim]
    if name == "direct+long-range":
        reaches += [tuple(round(r * min(size) / s) for s in size) for r in _REACHES]
    offsets: list[tuple[int, ...]] = []
    for row, reach in enumerate(reaches):
        for axis, length in enumerate(reach):
            offset = tuple(-length if a == axis else 0 for a in range(ndim))
            if offset not in offsets and (row == 0 or length > 1):
                offsets.append(offset)
    return tuple(offsets)


def edge_slices(
    shape: Sequence[int], offset: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of the voxels an offset starts from and of those it leads to, edge by edge."""
    pairs = [
        (slice(max(0, -o), max(0, min(n, n - o))), slice(max(0, o), max(0, min(n, n + o))))
        for n, o in zip(shape, offset, strict=True)
    ]
    return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)


def edges_inside(shape: Sequence[int], offsets: Any) -> BoolArray:
    """Whether each edge lies inside the volume.

    Parameters
    ----------
    shape : sequence of int
        Shape S of the volume.
    offsets : sequence of K sequences of int

    Returns
    -------
    ndarray of bool, shape (K, *S)
    """
    vectors = checked_offsets(offsets, len(shape))
    inside = np.zeros((len(vectors), *shape), np.bool_)
    for k, offset in enumerate(vectors):
        inside[k][edge_slices(shape, offset)[0]] = True
    return inside


def edge_step(shape: Sequence[int], offset: Sequence[int]) -> int:
    """Distance in C order between the ends of an edge."""
    return sum(o * math.prod(shape[a + 1 :]) for a, o in enumerate(offset))
