"""Voxels that two objects claim: the lower level wins, and touching objects stay convex.

Two disjoint convex sets can always be parted by a plane. Where two masks
overlap, the plane that best follows "the lower level wins" is added to both
shapes; what no plane settles goes to the lower level voxel by voxel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_implicitseg.shapes.clipped import ClippedShape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg.fitting.problem import Geometry
    from napari_implicitseg.fitting.sequential import Fitted

__all__ = ["part_overlaps"]


def part_overlaps(items: Sequence[Fitted], grid: Geometry) -> None:
    """Clip overlapping shapes by a plane between them, in place.

    Parameters
    ----------
    items : sequence of Fitted
        Their shapes and masks are replaced where they overlap another's.
    grid : Geometry
    """
    cuts: dict[int, list[tuple[NDArray[np.float64], float]]] = {}
    for i, j in _overlapping(items):
        normal, bound = _parting_plane(items[i], items[j], grid)
        cuts.setdefault(i, []).append((normal, bound))
        cuts.setdefault(j, []).append((-normal, -bound))
    for index, planes in cuts.items():
        item = items[index]
        normals = torch.from_numpy(np.array([n for n, _ in planes]))
        bounds = torch.tensor([b for _, b in planes], dtype=torch.float64)
        slope = 1 / float(grid.pitch.min())
        item.shape = ClippedShape(item.shape, normals, bounds, slope=slope)
        item.mask = item.shape.rasterize(grid.shape, region=item.window.slices)


def _overlapping(items: Sequence[Fitted]) -> list[tuple[int, int]]:
    """Pairs of items whose masks share a voxel."""
    pairs: list[tuple[int, int]] = []
    starts = np.array([item.window.start for item in items])
    stops = np.array([item.window.stop for item in items])
    for i in range(len(items)):
        near = (starts[i + 1 :] < stops[i]).all(axis=1) & (stops[i + 1 :] > starts[i]).all(axis=1)
        others = (np.flatnonzero(near) + i + 1).tolist()
        pairs += [(i, j) for j in others if _shared(items[i], items[j]).size]
    return pairs


def _shared(a: Fitted, b: Fitted) -> NDArray[np.int64]:
    """Voxels inside both masks, (N, D)."""
    low = np.maximum(a.window.start, b.window.start)
    high = np.minimum(a.window.stop, b.window.stop)
    crops = [
        item.mask[
            tuple(
                slice(lo - s, hi - s)
                for lo, hi, s in zip(low, high, item.window.start, strict=True)
            )
        ]
        for item in (a, b)
    ]
    return np.asarray(np.argwhere(crops[0] & crops[1]) + low, dtype=np.int64)


def _parting_plane(a: Fitted, b: Fitted, grid: Geometry) -> tuple[NDArray[np.float64], float]:
    """Plane ``n . x = c`` with a's side below and b's above, between voxel centres.

    The normal joins the middles of what each wins of the overlap (or of the
    whole masks if one wins it all); the bound makes the fewest mistakes there.
    """
    shared = _shared(a, b)
    points = (shared + 0.5) * grid.pitch
    coords = torch.from_numpy(points)
    with torch.no_grad():
        first = np.asarray(a.shape.level(coords) <= b.shape.level(coords))
    if first.all() or not first.any():
        ends = [_middle(item, grid) for item in (a, b)]
    else:
        ends = [points[first].mean(axis=0), points[~first].mean(axis=0)]
    normal = ends[1] - ends[0]
    length = float(np.linalg.norm(normal))
    normal = normal / length if length > 0 else np.eye(len(normal))[0]
    along = points @ normal
    order = np.argsort(along, kind="stable")
    # Mistakes of a bound after k voxels: b's among them, and a's beyond them.
    mine = first[order]
    mistakes = np.append(0, np.cumsum(~mine)) + np.append(np.cumsum(mine[::-1])[::-1], 0)
    k = int(mistakes.argmin())
    sorted_along = along[order]
    gap = float(grid.pitch.min()) * 1e-3
    if k == 0:
        bound = float(sorted_along[0]) - gap
    elif k == len(sorted_along):
        bound = float(sorted_along[-1]) + gap
    else:
        bound = float(sorted_along[k - 1] + sorted_along[k]) / 2
    return normal, bound


def _middle(item: Fitted, grid: Geometry) -> NDArray[np.float64]:
    """Mean position of a mask."""
    cells = np.argwhere(item.mask).mean(axis=0) + np.asarray(item.window.start)
    return np.asarray((cells + 0.5) * grid.pitch)
