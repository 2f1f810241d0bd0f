"""Cutting strokes of others off a mask, by planes: what a fit could not be made to leave out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_implicitseg.scribbles import stroke_numbers
from napari_implicitseg.shapes.certificate import digital_hull
from napari_implicitseg.shapes.clipped import ClippedShape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.fitting.problem import Geometry, Problem
    from napari_implicitseg.fitting.sequential import Fitted
    from napari_implicitseg.shapes.base import ImplicitShape

__all__ = ["contradicting", "grown", "trimmed"]

# A mask may grow by a tenth to hold a stroke; what lies further out was left out for a reason.
_MOST_GROWTH = 1.1
# Strokes of others nearer than this to the hull of an object's own, in voxels, stay in.
_LEAST_GAP = 1e-3
# How far before the stroke the plane lies, in voxels or in gaps to the object's own strokes. No
# fraction: no voxel lies on the plane, where rounding would decide.
_SHARE = 2**0.5 - 1


def grown(item: Fitted, grid: Geometry) -> Fitted:
    """Grow a shape by the little it lacks to hold its own strokes, if it is little.

    Returns
    -------
    Fitted
        The item itself if a stroke lies too far outside.
    """
    strokes = torch.from_numpy((item.strokes + 0.5) * grid.pitch)
    with torch.no_grad():
        lacking = float(item.shape.level(strokes).max())
    if lacking <= 0:
        return item
    shape = item.shape.lifted(lacking * (1 + _LEAST_GAP))
    mask = shape.rasterize(grid.shape, region=item.window.slices)
    if mask.sum() > _MOST_GROWTH * item.mask.sum():
        return item
    return replace(item, shape=shape, mask=mask)


def contradicting(problem: Problem) -> BoolArray:
    """Find strokes of others that no convex mask with all of the object's own leaves out, (K,).

    A stroke counts as a whole: where a part of it lies within the hull of the
    object's own, it is no help to satisfy the rest.
    """
    out = np.zeros(len(problem.voxels), bool)
    own, others = problem.voxels[problem.own], problem.voxels[~problem.own]
    if not len(own) or not len(others):
        return out
    low, high = own.min(axis=0), own.max(axis=0)
    painted = np.zeros(high - low + 1, bool)
    painted[tuple((own - low).T)] = True
    hull = digital_hull(painted)
    inside = ((others >= low) & (others <= high)).all(axis=1)
    inside[inside] = hull[tuple((others[inside] - low).T)]
    if inside.any():
        numbers = stroke_numbers(others)
        out[~problem.own] = np.isin(numbers, numbers[inside])
    return out


def trimmed(item: Fitted, wrong: BoolArray, grid: Geometry) -> Fitted:
    """Cut strokes of others off a mask where a plane parts them from the object's own.

    Parameters
    ----------
    item : Fitted
        Its mask holds all of its own strokes.
    wrong : ndarray of bool, shape (K,)
        Stroke voxels of the window to cut off.
    grid : Geometry

    Returns
    -------
    Fitted
        The item itself if nothing can be cut off.
    """
    size = float(grid.pitch.min())
    own = (item.strokes + 0.5) * grid.pitch
    normals: list[NDArray[np.float64]] = []
    bounds: list[float] = []
    points = (item.problem.voxels[wrong] + 0.5) * grid.pitch
    for point, outwards in zip(points, _slopes(item.shape, points), strict=True):
        if any(n @ point > b for n, b in zip(normals, bounds, strict=True)):
            continue
        # The cap that the slope cuts off is small; but it may hold own strokes.
        for normal in (outwards, _unit(point - _nearest_in_hull(own, point, size))):
            gap = float(normal @ point - (own @ normal).max())
            if gap > _LEAST_GAP * size:
                normals.append(normal)
                bounds.append(float(normal @ point) - _SHARE * min(size, gap))
                break
    if not normals:
        return item
    planes = torch.from_numpy(np.array(normals)), torch.tensor(bounds, dtype=torch.float64)
    shape = ClippedShape.cut(item.shape, *planes, slope=1 / size)
    mask = item.mask & shape.rasterize(grid.shape, region=item.window.slices)
    return replace(item, shape=shape, mask=mask)


def _slopes(shape: ImplicitShape, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Directions in which the level of a shape rises at points (K, D), unit length."""
    coords = torch.from_numpy(points).requires_grad_()
    with torch.enable_grad():
        (slopes,) = torch.autograd.grad(shape.level(coords).sum(), coords)
    return np.array([_unit(slope) for slope in slopes.numpy()]).reshape(points.shape)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale a vector to unit length; none stays none."""
    return vector / max(float(np.linalg.norm(vector)), 1e-300)


def _nearest_in_hull(
    points: NDArray[np.float64], to: NDArray[np.float64], size: float
) -> NDArray[np.float64]:
    """Point of the convex hull of points (K, D) that is nearest to another."""
    from scipy.optimize import nnls

    # Shares of the points that sum to 1, which a heavy last row stands for.
    heavy = 1e3
    rows = np.vstack([(points - to).T / size, np.full(len(points), heavy)])
    shares = nnls(rows, np.append(np.zeros(len(to)), heavy))[0]
    return np.asarray(shares @ points / shares.sum())
