"""Components of a volume above a threshold, and the edges between them.

Checks of what users give, and calls of the kernels of `_unions.py` over the axes.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_implicitseg.affinities.ops import Affinities, edge_slices
from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy._unions import boundary_edges, join_axis, number_trees

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Axis",
    "Edges",
    "as_affinities",
    "boundary",
    "check_values",
    "checked_size",
    "checked_threshold",
    "components_above",
    "direct_edges",
    "own_objects",
]

_BITS_OF_ONE = 0x3F800000
_PLACE_BITS = 33


class Axis(NamedTuple):
    """Edges along one axis, as the kernels of `_unions` take them."""

    values: NDArray[np.float32]
    first: int


class Edges(NamedTuple):
    """Edges between components."""

    sources: NDArray[Any]
    targets: NDArray[Any]
    weights: NDArray[np.float32]

    def order(self) -> NDArray[np.int64]:
        """Descending by weight, equal ones as they come."""
        # The bits of floats from 0 to 1 are in their order, those of 1 being the largest. They
        # leave 33 bits for the place, and sorting one array is faster than `argsort`.
        keys = (_BITS_OF_ONE - self.weights.view(np.int32).astype(np.int64)) << _PLACE_BITS
        keys |= np.arange(len(keys))
        keys.sort()
        keys &= (1 << _PLACE_BITS) - 1
        return keys

    def taken(self, places: NDArray[np.int64]) -> Edges:
        """Return some of them."""
        return Edges(self.sources[places], self.targets[places], self.weights[places])


def direct_edges(
    affinities: Affinities | ArrayLike, offsets: Any
) -> tuple[tuple[int, ...], list[Axis]]:
    """Check affinities; return the shape of the volume and its direct edges, axis by axis."""
    affinities = as_affinities(affinities, offsets)
    shape, axes = affinities.shape, []
    for k, offset in enumerate(affinities.offsets):
        if sum(abs(o) for o in offset) != 1:
            continue
        axis = int(np.flatnonzero(offset)[0])
        values = np.ascontiguousarray(affinities.data[k])
        known = None if affinities.mask is None else affinities.mask[k]
        inside = edge_slices(shape, offset)[0]
        check_values(values[inside], None if known is None else known[inside])
        if known is not None:
            values = np.where(known, values, np.float32(-1))
        rows = values.reshape(math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :]))
        axes.append(Axis(rows, 1 if offset[axis] < 0 else 0))
    if not axes:
        raise InputError(
            f"The affinities have no direct offset among {affinities.offsets}; one voxel along "
            "one axis is needed, such as (0, -1)."
        )
    return shape, axes


def as_affinities(values: Affinities | ArrayLike, offsets: Any) -> Affinities:
    """Return affinities as they are, or an array with its offsets, by default the direct ones."""
    if isinstance(values, Affinities):
        if offsets is not None:
            raise InputError(
                "offsets are given twice: those of the affinities count, leave it out."
            )
        return values
    data = np.asarray(values)
    if data.dtype.kind not in "fiub":
        raise InputError(f"The affinities are of type {data.dtype}; give numbers from 0 to 1.")
    ndim = data.ndim - 1
    if offsets is None:
        if ndim not in (2, 3) or len(data) != ndim:
            raise InputError(
                f"The affinities have shape {data.shape}; without offsets they need (2, y, x) or "
                "(3, z, y, x). Give the offsets of the channels."
            )
        offsets = -np.eye(ndim, dtype=int)
    return Affinities(
        data=data.astype(np.float32, copy=False), offsets=offsets, spacing=(1.0,) * max(1, ndim)
    )


def check_values(values: NDArray[np.float32], known: NDArray[np.bool_] | None) -> None:
    """Refuse NaN and values outside 0 to 1 where there is an edge."""
    edges = values if known is None else values[known]
    if not edges.size:
        return
    low, high = float(edges.min()), float(edges.max())
    if math.isnan(low):
        raise InputError("The affinities hold NaN; give numbers from 0 to 1.")
    if low < 0 or high > 1:
        raise InputError(
            f"The affinities range from {low:g} to {high:g}; they need 0 to 1. Give logits "
            "through a sigmoid first."
        )


def checked_threshold(value: Any, name: str = "The threshold") -> np.float32:
    """Return a threshold in the precision of the affinities, which it is compared with."""
    try:
        threshold = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is {value!r}; give a number from 0 to 1.") from error
    if not 0 <= threshold <= 1:
        raise InputError(f"{name} is {threshold:g}; it needs to be from 0 to 1.")
    return np.float32(threshold)


def checked_size(value: Any) -> int:
    try:
        size = operator.index(value)
    except TypeError as error:
        raise InputError(f"min_size is {value!r}; give a whole number of voxels.") from error
    if size < 0:
        raise InputError(f"min_size is {size}; give a number of voxels from 0.")
    return size


def components_above(
    axes: list[Axis], voxels: int, threshold: np.float32
) -> tuple[NDArray[Any], int]:
    """Component of every voxel above a threshold, numbered from 0, and how many there are."""
    parent = np.arange(voxels, dtype=np.int32 if voxels < 2**31 else np.int64)
    for axis in axes:
        join_axis(parent, axis.values, axis.first, threshold)
    return parent, number_trees(parent)


def boundary(
    axes: list[Axis],
    components: NDArray[Any],
    fixed: NDArray[np.bool_],
    lowest: np.float32 | float,
) -> Edges:
    """Edges above `lowest` between components that are not both fixed."""
    kinds = (components.dtype, components.dtype, np.float32)
    parts = []
    for axis in axes:
        room = [np.empty(0, kind) for kind in kinds]
        number = boundary_edges(
            components, axis.values, axis.first, np.float32(lowest), fixed, *room
        )
        if number:
            room = [np.empty(number, kind) for kind in kinds]
            boundary_edges(components, axis.values, axis.first, np.float32(lowest), fixed, *room)
        parts.append(room)
    return Edges(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def own_objects(sizes: NDArray[np.int64], least: int) -> NDArray[np.int64]:
    """Object of each component: one of its own from 1, or 0 if it is too small."""
    return np.where(sizes >= least, np.arange(1, len(sizes) + 1), 0)
