"""Star shapes on the grid: what can be seen from a centre along digital segments.

The *digital segment* from a voxel c to a voxel v holds the voxels
``c + round((v - c) k / m)`` for ``k = 0, ..., m``, where m is the max-norm of
``v - c``. Half-integers are rounded towards c, in integers, so nothing depends
on the precision of floats and segments are mirrored with their ends.

A voxel v of a mask is *seen* from c if all voxels of the segment from c to v
are in the mask; a mask is *star-shaped on the grid* with respect to c if c sees
all of it. Stretching an axis keeps rays, so spacing does not matter.

A sampled star shape is not always star-shaped on the grid: where it narrows to
less than two voxels a rounded segment may step beside it. `fill_rays` mends that.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_implicitseg.errors import InputError
from napari_implicitseg.shapes.hull import as_mask, crop_box

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray, FloatArray

    Voxels = NDArray[np.int64]

__all__ = ["best_centre", "fill_rays", "find_centre", "hidden_voxels", "nearest_voxel"]

# Up to so many voxels every one is tried as the centre.
_FEW = 2000
# Voxels that stand for all while searching: of the boundary, and of the whole.
_SAMPLE = 4096
# Planes of the linear programme, and voxels to begin the search at.
_PLANES = 1024
_STARTS = 96
# Rounds in which voxels that the sample missed are added to it.
_ROUNDS = 6
# Rays of the last search over all voxels: about a second.
_LAST_RAYS = 2**24


@dataclass(frozen=True, slots=True)
class _View:
    """A mask cut to its box and padded by one voxel, as 3D arrays for the compiled walks.

    Attributes
    ----------
    depth : ndarray of int32, shape (Z, Y, X)
        Max-norm distance to the nearest voxel outside.
    voxels : ndarray of int64, shape (N, 3)
        The voxels inside.
    origin : ndarray of int64, shape (3,)
        Index in the mask of the first voxel of the arrays.
    ndim : int
        Axes of the mask; with 2, the first of the three is of length 1.
    """

    depth: NDArray[np.int32]
    voxels: Voxels
    origin: Voxels
    ndim: int

    @classmethod
    def of(cls, inside: BoolArray) -> _View:
        """View of a mask that is not empty."""
        box = crop_box(inside)
        # A 2D mask is not padded along the axis it lacks, or it would be one voxel deep.
        depth = ndimage.distance_transform_cdt(np.pad(inside[box], 1), metric="chessboard")
        depth = np.ascontiguousarray(depth, np.int32).reshape(
            (1,) * (3 - inside.ndim) + depth.shape
        )
        origin = np.array([0] * (3 - inside.ndim) + [s.start - 1 for s in box], np.int64)
        return cls(depth, np.ascontiguousarray(np.argwhere(depth)), origin, inside.ndim)

    def seat(self, centre: Voxels) -> Voxels | None:
        """Index of a voxel of the mask in these arrays; None if it is not inside the mask."""
        lifted = np.concatenate([np.zeros(3 - self.ndim, np.int64), centre]) - self.origin
        if (lifted < 0).any() or (lifted >= self.depth.shape).any() or not self.depth[*lifted]:
            return None
        return lifted

    def centre(self, seat: Voxels) -> tuple[int, ...]:
        """Voxel of the mask at an index of these arrays."""
        return tuple(int(i) for i in (seat + self.origin)[3 - self.ndim :])

    def hidden(self, seat: Voxels) -> BoolArray:
        """Which voxels cannot be seen from a seat, shape (N,)."""
        from napari_implicitseg.shapes._ray_walks import look

        out = np.empty(len(self.voxels), bool)
        look(self.depth, self.voxels, seat, out)
        return out


def nearest_voxel(centre: Sequence[float], ndim: int) -> NDArray[np.int64]:
    """Voxel a point lies in, half-integers rounded up; it need not be in any grid.

    Parameters
    ----------
    centre : sequence of float, length ndim
        Voxel index coordinates: integers are voxel centres.
    ndim : int

    Returns
    -------
    ndarray of int64, shape (ndim,)

    Raises
    ------
    InputError
        If there is not one finite number per axis.
    """
    try:
        values = np.asarray(centre, float)
    except (TypeError, ValueError):
        values = np.full(1, np.nan)
    if values.shape != (ndim,) or not np.isfinite(values).all():
        raise InputError(
            f"centre is {centre!r}; give one voxel index for each of the {ndim} axes of the mask."
        )
    # Further away than any grid is large, and within the range of integers.
    near = np.clip(values, -(2.0**40), 2.0**40)
    return np.asarray(np.floor(near + 0.5), np.int64)


def hidden_voxels(mask: NDArray[Any], centre: Sequence[float]) -> int:
    """Count the voxels of a mask that cannot be seen from a centre.

    Parameters
    ----------
    mask : ndarray, 2D or 3D
        Non-zero voxels are inside.
    centre : sequence of float, length D
        Voxel index coordinates; rounded to a voxel.

    Returns
    -------
    int
        0 if the mask is star-shaped on the grid with respect to the centre; all
        its voxels if the centre lies outside it.

    Raises
    ------
    InputError
        If the mask is not 2D or 3D or the centre does not have one finite
        number per axis.
    """
    inside = as_mask(mask)
    voxel = nearest_voxel(centre, inside.ndim)
    if not inside.any():
        return 0
    view = _View.of(inside)
    seat = view.seat(voxel)
    return len(view.voxels) if seat is None else int(np.count_nonzero(view.hidden(seat)))


def fill_rays(mask: NDArray[Any], centre: Sequence[float]) -> BoolArray:
    """Smallest superset of a mask that is star-shaped on the grid.

    The voxels missing on the segments from the centre are added, then those
    missing on the segments to the added ones, until none is missing.

    Parameters
    ----------
    mask : ndarray, 2D or 3D
        Non-zero voxels are inside.
    centre : sequence of float, length D
        Voxel index coordinates within the grid; rounded to a voxel, which is added too.

    Returns
    -------
    ndarray of bool, shape of the mask
        An empty mask stays empty.

    Raises
    ------
    InputError
        If the mask is not 2D or 3D or the centre does not lie in its grid.
    """
    from napari_implicitseg.shapes._ray_walks import fill

    out = as_mask(mask).copy()
    voxel = nearest_voxel(centre, out.ndim)
    if not out.any():
        return out
    if (voxel < 0).any() or (voxel >= out.shape).any():
        raise InputError(
            f"centre is {tuple(centre)}, outside of a mask of shape {out.shape}; "
            "give a point within it."
        )
    out[tuple(voxel)] = True
    view = _View.of(out)
    seat = view.seat(voxel)
    assert seat is not None
    begin = view.voxels[view.hidden(seat)]
    if not len(begin):
        return out
    inside = view.depth > 0
    # A voxel is added once, so all voxels outside and those to begin with fit at all times.
    stack = np.empty((inside.size - len(view.voxels) + len(begin), 3), np.int64)
    stack[: len(begin)] = begin
    fill(view.depth, inside, stack, len(begin), seat)
    core = inside.reshape(inside.shape[3 - out.ndim :])[(slice(1, -1),) * out.ndim]
    out[crop_box(out)] = core
    return out


def find_centre(mask: NDArray[Any]) -> tuple[int, ...] | None:
    """Find a voxel from which all of a mask can be seen.

    Parameters
    ----------
    mask : ndarray, 2D or 3D
        Non-zero voxels are inside.

    Returns
    -------
    tuple of int, or None
        None if none was found, or the mask is empty. With at most 2,000 voxels
        all were tried, so there is none; with more that is no proof (see
        `best_centre`).

    Raises
    ------
    InputError
        If the mask is not 2D or 3D.
    """
    inside = as_mask(mask)
    if not inside.any():
        return None
    centre, hidden = best_centre(inside)
    return None if hidden else centre


def best_centre(mask: NDArray[Any]) -> tuple[tuple[int, ...], int]:
    """Find the voxel from which the fewest voxels of a mask are hidden.

    Up to 2,000 voxels all are tried, deepest first, up to the first that sees
    everything. For more, a linear programme finds the point furthest behind all
    tangent planes of a smoothed boundary; from there and from voxels spread
    over the mask, neighbours that see more of a sample are followed. Voxels
    that only the count over all voxels finds are added to the sample.

    Parameters
    ----------
    mask : ndarray, 2D or 3D
        Non-zero voxels are inside.

    Returns
    -------
    centre : tuple of int
        A voxel of the mask.
    hidden : int
        Number of voxels that cannot be seen from it, counted over all. With
        more than 2,000 voxels there may be a centre with fewer.

    Raises
    ------
    InputError
        If the mask is not 2D or 3D, or empty.
    """
    inside = as_mask(mask)
    if not inside.any():
        raise InputError("The mask is empty; give one with a voxel inside to find its centre.")
    view = _View.of(inside)
    if len(view.voxels) <= _FEW:
        seat, hidden = _descend(view, view.voxels, _deepest_first(view), stride=0)
    else:
        seat, hidden = _search(view)
    return view.centre(seat), hidden


def _deepest_first(view: _View) -> Voxels:
    """Voxels sorted by depth, then by distance to the centroid."""
    depth = view.depth[tuple(view.voxels.T)]
    away = ((view.voxels - view.voxels.mean(axis=0)) ** 2).sum(axis=1)
    return np.asarray(view.voxels[np.lexsort((away, -depth))])


def _search(view: _View) -> tuple[Voxels, int]:
    """Seat that hides the fewest voxels found on samples, and their number among all."""
    sample = _sample(view)
    starts = _starts(view)
    stride = max(1, max(view.depth.shape) // 16)
    best, least = starts[0], len(view.voxels) + 1
    for _ in range(_ROUNDS):
        seat, _ = _descend(view, sample, starts, stride)
        hidden = view.hidden(seat)
        missed = int(np.count_nonzero(hidden))
        if missed < least:
            best, least = seat, missed
        # If many are hidden the sample knows of them.
        if missed == 0 or missed > 0.05 * len(hidden):
            break
        sample = np.concatenate([sample, _thinned(view.voxels[hidden], _SAMPLE)])
        starts, stride = np.concatenate([best[None], starts]), 2
    if least:
        rays = len(view.voxels) * 3**view.ndim
        best, least = _descend(view, view.voxels, best[None], 1, rounds=_LAST_RAYS // rays)
    return best, least


def _sample(view: _View) -> Voxels:
    """Voxels of the boundary, which are hidden first, and of the whole."""
    edge = view.voxels[view.depth[tuple(view.voxels.T)] == 1]
    return np.concatenate([_thinned(edge, _SAMPLE), _thinned(view.voxels, _SAMPLE)])


def _thinned(rows: Voxels, most: int) -> Voxels:
    """At most so many rows, evenly spread."""
    if len(rows) <= most:
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)])


def _starts(view: _View) -> Voxels:
    """Seats to begin with, the most promising first."""
    deepest = np.unravel_index(np.argmax(view.depth), view.depth.shape)
    middle = np.rint(view.voxels.mean(axis=0))
    kernel = _kernel_point(view)
    likely = [p for p in (kernel, middle, np.array(deepest)) if p is not None]
    top = np.array(view.depth.shape) - 1
    rounded = np.clip(np.rint(np.stack(likely)), 0, top).astype(np.int64)
    return np.concatenate([rounded, _thinned(view.voxels, _STARTS)])


def _kernel_point(view: _View) -> FloatArray | None:
    """Point furthest behind all tangent planes of the smoothed boundary, or least before one."""
    from scipy.optimize import linprog

    edge = _thinned(view.voxels[view.depth[tuple(view.voxels.T)] == 1], _PLANES)
    inside = np.minimum(view.depth, 1).astype(np.float32)
    normals = np.zeros((len(edge), 3))
    present = np.arange(3) >= 3 - view.ndim
    for axis in np.flatnonzero(present):
        order = (np.arange(3) == axis).astype(int).tolist()
        slope = ndimage.gaussian_filter(inside, 1.5 * present, order, mode="constant")
        normals[:, axis] = -slope[tuple(edge.T)]
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    # Walls and lines one voxel thin have no outer side.
    usable = length[:, 0] > 1e-3
    normals, edge = normals[usable] / length[usable], edge[usable]
    if not len(edge):
        return None
    found = linprog(
        [0, 0, 0, -1],
        A_ub=np.column_stack([normals, np.ones(len(edge))]),
        b_ub=(normals * edge).sum(axis=1),
        bounds=[*((0, n - 1) for n in view.depth.shape), (None, None)],
        method="highs",
    )
    return None if found.x is None else np.asarray(found.x[:3])


def _descend(
    view: _View, voxels: Voxels, seats: Voxels, stride: int, rounds: int = 1000
) -> tuple[Voxels, int]:
    """Best of some seats, then of its neighbours at a stride that halves; and what it hides."""
    from napari_implicitseg.shapes._ray_walks import best_seat

    index, least = best_seat(view.depth, voxels, seats, len(voxels) + 1)
    seat = seats[index]
    axes = [(0,)] * (3 - view.ndim) + [(-1, 0, 1)] * view.ndim
    steps = np.array([s for s in product(*axes) if any(s)], np.int64)
    top = np.array(view.depth.shape) - 1
    while stride and least and rounds > 0:
        around = np.clip(seat + stride * steps, 0, top)
        index, fewer = best_seat(view.depth, voxels, around, least)
        if fewer < least:
            seat, least = around[index], fewer
        else:
            stride //= 2
        rounds -= 1
    return seat, least
