"""Which voxels lie in the convex hull of a mask, in integers; and the box it lies in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray

__all__ = ["as_mask", "crop_box", "digital_hull"]


def as_mask(mask: NDArray[Any]) -> BoolArray:
    """View a 2D or 3D array as a mask: non-zero voxels are inside.

    Parameters
    ----------
    mask : array_like, 2D or 3D

    Returns
    -------
    ndarray of bool, shape of the mask
        The mask itself if it is boolean.

    Raises
    ------
    InputError
        If the mask is not 2D or 3D.
    """
    try:
        mask = np.asarray(mask.filled(0) if isinstance(mask, np.ma.MaskedArray) else mask)
    except ValueError as error:
        raise InputError("The rows of a list are of different lengths; give an array.") from error
    if mask.ndim not in (2, 3):
        raise InputError(f"The mask has {mask.ndim} axes; give a 2D or 3D mask.")
    return mask if mask.dtype == bool else np.asarray(mask != 0)


def crop_box(mask: BoolArray) -> tuple[slice, ...]:
    """Smallest box that holds all true voxels; empty slices if there are none."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(a for a in range(mask.ndim) if a != axis)
        found = np.flatnonzero(mask.any(axis=others))
        box.append(slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 0))
    return tuple(box)


def digital_hull(mask: BoolArray) -> BoolArray:
    """All voxels whose centre lies in the convex hull of the mask's voxel centres.

    Parameters
    ----------
    mask : ndarray of bool, 2D or 3D

    Returns
    -------
    ndarray of bool, shape of the mask
    """
    out = np.zeros_like(mask)
    box = crop_box(mask)
    inner = mask[box]
    if inner.size:
        out[box] = _hull_2d(inner) if mask.ndim == 2 else _hull_3d(inner)
    return out


def _hull_2d(mask: BoolArray) -> BoolArray:
    """Digital hull of a mask cropped to its box."""
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask.argmax(axis=1)[rows]
    last = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)[rows]
    every = np.arange(mask.shape[0])
    left = -_upper_chain(rows, -first, every)
    right = _upper_chain(rows, last, every)
    columns = np.arange(mask.shape[1])
    return np.asarray((columns >= left[:, None]) & (columns <= right[:, None]))


def _upper_chain(
    rows: NDArray[np.int64], values: NDArray[np.int64], every: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Largest integers under the concave hull of (rows, values), at every row."""
    chain: list[tuple[int, int]] = []
    for r, v in zip(rows.tolist(), values.tolist(), strict=True):
        while len(chain) > 1:
            (r0, v0), (r1, v1) = chain[-2:]
            if (v1 - v0) * (r - r0) > (v - v0) * (r1 - r0):
                break
            chain.pop()
        chain.append((r, v))
    r_chain, v_chain = (np.array(x) for x in zip(*chain, strict=True))
    if len(chain) == 1:
        return np.full(len(every), v_chain[0])
    piece = np.clip(np.searchsorted(r_chain, every, side="right") - 1, 0, len(chain) - 2)
    rise = v_chain[piece + 1] - v_chain[piece]
    run = r_chain[piece + 1] - r_chain[piece]
    return np.asarray(v_chain[piece] + rise * (every - r_chain[piece]) // run)


def _hull_3d(mask: BoolArray) -> BoolArray:
    """Digital hull of a mask cropped to its box, by exact half-spaces."""
    points = _column_ends(mask)
    normal = _common_plane(points)
    if normal is not None:
        return _flat_hull(mask, points, normal)
    from scipy.spatial import ConvexHull

    triangles = points[ConvexHull(points).simplices]
    edges = triangles[:, 1:] - triangles[:, :1]
    normals = np.cross(edges[:, 0], edges[:, 1])
    bounds = (normals * triangles[:, 0]).sum(axis=1)
    # Orient outwards by a point strictly inside, in integers: the mean, times the count.
    inner = points.sum(axis=0)
    side = normals @ inner - bounds * len(points)
    normals[side > 0] *= -1
    bounds[side > 0] *= -1
    planes = np.unique(_reduced(np.column_stack([normals, bounds])[side != 0]), axis=0)
    return _below_planes(planes, mask.shape)


def _column_ends(mask: BoolArray) -> NDArray[np.int64]:
    """First and last voxel of every column along the last axis: they span the hull, (N, D)."""
    filled = mask.any(axis=-1)
    columns = np.argwhere(filled)
    lines = mask[filled]
    first = lines.argmax(axis=1)
    last = mask.shape[-1] - 1 - lines[:, ::-1].argmax(axis=1)
    ends = np.concatenate([np.column_stack([columns, e]) for e in (first, last)])
    return np.asarray(np.unique(ends, axis=0), dtype=np.int64)


def _reduced(planes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Divide integer plane equations by their common divisor."""
    divisor = np.gcd.reduce(planes, axis=1, keepdims=True)
    return planes // np.maximum(divisor, 1)


def _below_planes(planes: NDArray[np.int64], shape: tuple[int, ...]) -> BoolArray:
    """Voxels with ``normal . voxel <= bound`` for every plane.

    Each plane bounds the last axis per column, so the work is columns times
    planes, not voxels times planes.
    """
    rows = [np.arange(n) for n in shape[:-1]]
    grid = np.meshgrid(*rows, indexing="ij")
    low = np.zeros(shape[:-1], np.int64)
    high = np.full(shape[:-1], shape[-1] - 1, np.int64)
    for *normal, along, bound in planes.tolist():
        rest = bound - sum(n * g for n, g in zip(normal, grid, strict=True))
        if along > 0:
            np.minimum(high, rest // along, out=high)
        elif along < 0:
            np.maximum(low, -(rest // -along), out=low)
        else:
            high[rest < 0] = -1
    last = np.arange(shape[-1])
    return np.asarray((last >= low[..., None]) & (last <= high[..., None]))


def _common_plane(points: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Integer normal of a plane that holds all points, or None if they span the space."""
    steps = points - points[0]
    longest = steps[np.argmax((steps**2).sum(axis=1))]
    crosses = np.cross(longest, steps)
    best = crosses[np.argmax((crosses**2).sum(axis=1))]
    if not best.any():
        # All on one line: any plane through the line will do, but not one along it.
        axis = np.eye(3, dtype=np.int64)[np.argmin(np.abs(longest))]
        best = np.cross(longest, axis) if longest.any() else axis
    return None if (steps @ best).any() else _reduced(best[None])[0]


def _flat_hull(mask: BoolArray, points: NDArray[np.int64], normal: NDArray[np.int64]) -> BoolArray:
    """Digital hull of voxels that lie in one plane, by projecting them along an axis."""
    drop = int(np.argmax(np.abs(normal)))
    keep = [a for a in range(3) if a != drop]
    bound = int(normal @ points[0])
    shadow = np.zeros([mask.shape[a] for a in keep], bool)
    shadow[tuple(points[:, keep].T)] = True
    inside = np.argwhere(digital_hull(shadow))
    rest = bound - inside @ normal[keep]
    # Only the voxels of the projected hull whose lift is a whole number are voxel centres.
    whole = rest % normal[drop] == 0
    lifted = np.empty((int(whole.sum()), 3), np.int64)
    lifted[:, keep] = inside[whole]
    lifted[:, drop] = rest[whole] // normal[drop]
    out = np.zeros_like(mask)
    out[tuple(lifted.T)] = True
    return out
