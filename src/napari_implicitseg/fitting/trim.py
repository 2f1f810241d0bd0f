"""Cutting strokes of others off a mask, by planes: what a fit could not be made to leave out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_implicitseg.shapes.clipped import ClippedShape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.fitting.problem import Geometry
    from napari_implicitseg.fitting.sequential import Fitted

__all__ = ["trimmed"]

# Strokes of others nearer than this to the hull of an object's own, in voxels, stay in.
_LEAST_GAP = 1e-3
# Where the plane lies between the hull and the stroke. No fraction: no voxel lies on the plane,
# where rounding would decide.
_SHARE = (5**0.5 - 1) / 2


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
    for point in (item.problem.voxels[wrong] + 0.5) * grid.pitch:
        if any(n @ point > b for n, b in zip(normals, bounds, strict=True)):
            continue
        away = point - _nearest_in_hull(own, point, size)
        length = float(np.linalg.norm(away))
        if length < _LEAST_GAP * size:
            continue  # Among the object's own strokes.
        away /= length
        normals.append(away)
        nearest = float((own @ away).max())
        bounds.append(nearest + _SHARE * (float(away @ point) - nearest))
    if not normals:
        return item
    planes = torch.from_numpy(np.array(normals)), torch.tensor(bounds, dtype=torch.float64)
    shape = ClippedShape.cut(item.shape, *planes, slope=1 / size)
    mask = item.mask & shape.rasterize(grid.shape, region=item.window.slices)
    return replace(item, shape=shape, mask=mask)


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
