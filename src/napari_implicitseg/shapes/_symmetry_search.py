"""The search for the symmetry a mask is closest to."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_implicitseg.shapes.hull import crop_box
from napari_implicitseg.shapes.symmetries import group_matrices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray

    Pose = tuple[NDArray[np.float64], NDArray[np.float64]]

__all__ = ["best_axes"]

# Images to look at: when ranking directions, refining them, and at last. And the least number of
# voxels whose images these are.
_RANKED, _REFINED, _LAST, _LEAST = 400, 2000, 20_000, 150
# Directions of the fans in 2D and 3D; how many are refined.
_ANGLES, _DIRECTIONS, _KEPT = 48, 200, 8
# Costs, in radii of gyration: the most that one image costs, an image outside the grid, and what
# is more than its share of all images outside.
_CAP, _OUTSIDE, _SHARE = 0.5, 0.01, 0.4


@dataclass(frozen=True, slots=True)
class _Overlap:
    """How far the images of a mask lie outside it.

    Attributes
    ----------
    distance : ndarray of float32
        To the mask, capped, of the voxels around it, in physical units.
    low : ndarray of float, shape (D,)
        Index in the grid of the first voxel of distance.
    shape : tuple of int
        Of the grid.
    points : ndarray of float, shape (N, D)
        Voxels of the mask in random order, every other one of its boundary, in physical units.
    size : ndarray of float, shape (D,)
        Voxel size.
    radius : float
        Radius of gyration.
    """

    distance: NDArray[np.float32]
    low: NDArray[np.float64]
    shape: tuple[int, ...]
    points: NDArray[np.float64]
    size: NDArray[np.float64]
    radius: float

    def cost(self, pose: Pose, kind: str, order: int, most: int) -> float:
        """Mean distance to the mask of about so many images of the first points."""
        centre, axes = pose
        elements = group_matrices(kind, order, axes)
        away = self.points[: max(_LEAST, most // len(elements))] - centre
        images = np.concatenate([away @ e.T for e in elements]) + centre
        at = np.floor(images / self.size)
        outside = ((at < 0) | (at >= self.shape)).any(axis=1)
        # Indices beyond the array read its rim, which is as far from the mask as counts.
        at = np.clip(at - self.low, 0, np.array(self.distance.shape) - 1).astype(np.intp)
        values = self.distance[tuple(at.T)]
        share = float(outside.mean())
        far = float(values[~outside].sum()) / len(values)
        return far + self.radius * (_OUTSIDE * share + max(0.0, share - _SHARE))


def best_axes(inside: BoolArray, size: NDArray[np.float64], kind: str, order: int) -> Pose:
    """Centre and axes of the symmetry that a mask is closest to.

    Parameters
    ----------
    inside : ndarray of bool, 2D or 3D
        Not empty.
    size : ndarray of float64, shape (D,)
        Voxel size.
    kind : {"mirror", "rotation"}
    order : int

    Returns
    -------
    centre : ndarray of float64, shape (D,)
    axes : ndarray of float64, shape (D, D)
    """
    box = crop_box(inside)
    voxels = (np.argwhere(inside[box]) + [s.start + 0.5 for s in box]) * size
    centre = voxels.mean(axis=0)
    away = voxels - centre
    moments = np.linalg.eigh(away.T @ away / len(away))
    overlap = _overlap(inside, box, voxels, size, float(np.sqrt(moments[0].clip(0).sum())))

    def rank(poses: list[Pose], keep: int) -> list[Pose]:
        costs = [overlap.cost(p, kind, order, _RANKED) for p in poses]
        return [poses[i] for i in np.argsort(costs, kind="stable")[:keep]]

    found = rank([(centre, axes) for axes in _fan(moments[1].T, kind, order)], 10 * _KEPT)
    if any(s.start == 0 or s.stop == n for s, n in zip(box, inside.shape, strict=True)):
        # The centroid of what the border left is not that of the object.
        found = rank(list(_shifted(found, overlap.radius, kind, order)), 2 * _KEPT)
    refined = [_refine(overlap, p, kind, order, _REFINED, 0.1) for p in found[:_KEPT]]
    best = min(refined, key=lambda r: r[0])[1]
    return _refine(overlap, best, kind, order, _LAST, 0.02)[1]


def _overlap(
    inside: BoolArray,
    box: tuple[slice, ...],
    voxels: NDArray[np.float64],
    size: NDArray[np.float64],
    radius: float,
) -> _Overlap:
    """Measure distances to a mask and draw a sample of its voxels."""
    radius = max(radius, float(size.min()))
    margin = np.ceil(_CAP * radius / size).astype(int) + 1
    low = [max(0, s.start - m) for s, m in zip(box, margin, strict=True)]
    high = [s.stop + m for s, m in zip(box, margin, strict=True)]
    around = inside[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    distance = ndimage.distance_transform_edt(~around, sampling=size)
    capped = np.minimum(distance, _CAP * radius).astype(np.float32)
    # The border of the grid is no boundary: the object may go on behind it.
    inner = ndimage.binary_erosion(inside[box], border_value=1)
    edge = np.flatnonzero(~inner[inside[box]])
    rng = np.random.default_rng(0)
    every = rng.permutation(len(voxels))[:_LAST]
    if len(edge):
        every = np.column_stack([every, rng.choice(edge, len(every))]).ravel()[:_LAST]
    return _Overlap(capped, np.array(low, float), inside.shape, voxels[every], size, radius)


def _fan(moments: NDArray[np.float64], kind: str, order: int) -> Iterator[NDArray[np.float64]]:
    """Axes to begin with: those of the moments, and directions all around."""
    ndim = len(moments)
    simple = kind == "mirror" and order == 1
    # In 3D the axis of several mirrors and of rotations comes last, the normal of one mirror first.
    frames = [np.roll(moments, i, axis=0) for i in range(ndim)]
    if ndim == 3:
        frames += [_frame(d, 0 if simple else 2) for d in _half_sphere(_DIRECTIONS)]
    if ndim == 3 and (simple or kind == "rotation"):
        yield from frames
        return
    yield from frames[:ndim]
    turns = _ANGLES if ndim == 2 else _ANGLES // 4
    turns = 1 if kind == "rotation" else max(4, turns // order)
    for frame in frames[:1] if ndim == 2 else frames:
        for i in range(turns):
            yield _turned(frame, 0, 1, np.pi * i / (order * turns))


def _half_sphere(count: int) -> NDArray[np.float64]:
    """Directions spread evenly over half a sphere, (N, 3), by the golden angle."""
    i = np.arange(count)
    z = (i + 0.5) / count
    turn = i * np.pi * (3 - np.sqrt(5))
    flat = np.sqrt(1 - z**2)
    return np.column_stack([z, flat * np.cos(turn), flat * np.sin(turn)])


def _frame(direction: NDArray[np.float64], row: int) -> NDArray[np.float64]:
    """Orthonormal rows, one of which is a given direction."""
    helper = np.eye(3)[np.argmin(np.abs(direction))]
    first = np.cross(direction, helper)
    first /= np.linalg.norm(first)
    return np.roll(np.stack([direction, first, np.cross(direction, first)]), row, axis=0)


def _turned(axes: NDArray[np.float64], i: int, j: int, angle: float) -> NDArray[np.float64]:
    """Axes with the rows i and j turned in their plane."""
    out = axes.copy()
    out[i] = np.cos(angle) * axes[i] + np.sin(angle) * axes[j]
    out[j] = np.cos(angle) * axes[j] - np.sin(angle) * axes[i]
    return out


def _shift_rows(kind: str, order: int) -> tuple[int, ...]:
    """Rows along which it matters where the centre is."""
    return (0,) if kind == "mirror" and order == 1 else (0, 1)


def _shifted(poses: list[Pose], radius: float, kind: str, order: int) -> Iterator[Pose]:
    """Poses with their centres moved about."""
    rows = _shift_rows(kind, order)
    for centre, axes in poses:
        for steps in product((0, 0.3, -0.3, 0.6, -0.6), repeat=len(rows)):
            yield centre + radius * np.array(steps) @ axes[list(rows)], axes


def _refine(
    overlap: _Overlap, pose: Pose, kind: str, order: int, most: int, step: float
) -> tuple[float, Pose]:
    """Cost and pose of a nearby minimum, by the simplex method of Nelder and Mead."""
    from scipy.optimize import minimize

    centre, axes = pose
    rows = list(_shift_rows(kind, order))
    planes = {2: [(0, 1)], 3: [(0, 1), (0, 2), (1, 2)]}[len(axes)]
    if kind == "rotation":
        planes = [p for p in planes if p != (0, 1)]
    elif order == 1:
        planes = [p for p in planes if p != (1, 2)]

    def at(x: NDArray[np.float64]) -> Pose:
        turned = axes
        for (i, j), angle in zip(planes, x[len(rows) :], strict=True):
            turned = _turned(turned, i, j, float(angle))
        return centre + overlap.radius * x[: len(rows)] @ axes[rows], turned

    free = len(rows) + len(planes)
    corners = np.concatenate([np.zeros((1, free)), step * np.eye(free)])
    found = minimize(
        lambda x: overlap.cost(at(x), kind, order, most),
        corners[0],
        method="Nelder-Mead",
        options={
            "initial_simplex": corners,
            "maxfev": 30 * free,
            "xatol": 0.02 * float(overlap.size.min()) / overlap.radius,
            "fatol": 0.0,
        },
    )
    centre, axes = at(found.x)
    # Rounding of many small turns.
    left, _, right = np.linalg.svd(axes)
    return float(found.fun), (centre, left @ right)
