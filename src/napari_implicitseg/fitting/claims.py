"""Voxels that two objects claim: each goes to one, and touching objects stay convex.

Two disjoint convex sets can always be parted by a plane. Where two masks
overlap, the plane that best follows the strokes of both and then "the lower
level wins", or in a repair "who held it keeps it", is added to both shapes; what
no plane settles goes to the lower level voxel by voxel. Where the strokes cannot
be parted one object lies within the other; the smaller one then keeps its voxels,
or it would have none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_implicitseg.shapes.clipped import ClippedShape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.fitting.problem import Geometry
    from napari_implicitseg.fitting.sequential import Fitted

__all__ = ["part_overlaps"]

_MOST_VOXELS = 2000
_MOST_SHARED = 20000
_NEWTON_STEPS = 12
_RIDGE = 0.1
# Share of an object's strokes on the wrong side of a plane that makes the plane useless.
_MOST_STROKES_LOST = 0.5


def part_overlaps(
    items: Sequence[Fitted],
    grid: Geometry,
    *,
    before: NDArray[Any] | None = None,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Clip overlapping shapes by a plane between them, in place.

    Parameters
    ----------
    items : sequence of Fitted
        Their shapes and masks are replaced where they overlap another's.
    grid : Geometry
    before : ndarray of integer, optional
        Labels of the image that are repaired: who held a voxel has a claim to it.
    check : callable
        Called before each pair of objects is looked at; may raise to cancel.
    """
    body = [_thinned(_voxels(item)) for item in items]
    cuts: dict[int, list[tuple[NDArray[np.float64], float]]] = {}
    for i, j in _overlapping(items):
        check()
        plane = _parting_plane((items[i], items[j]), (body[i], body[j]), grid, before)
        if plane is None:
            _carve(*sorted((items[i], items[j]), key=lambda item: int(item.mask.sum())))
            continue
        normal, bound = plane
        cuts.setdefault(i, []).append((normal, bound))
        cuts.setdefault(j, []).append((-normal, -bound))
    for index, planes in cuts.items():
        item = items[index]
        normals = torch.from_numpy(np.array([n for n, _ in planes]))
        bounds = torch.tensor([b for _, b in planes], dtype=torch.float64)
        slope = 1 / float(grid.pitch.min())
        item.shape = ClippedShape.cut(item.shape, normals, bounds, slope=slope)
        item.mask &= item.shape.rasterize(grid.shape, region=item.window.slices)


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


def _carve(inner: Fitted, outer: Fitted) -> None:
    """Take the voxels of one mask away from another."""
    at = tuple((_shared(inner, outer) - np.asarray(outer.window.start)).T)
    outer.mask[at] = False


def _parting_plane(
    pair: tuple[Fitted, Fitted],
    own: tuple[NDArray[np.int64], NDArray[np.int64]],
    grid: Geometry,
    before: NDArray[Any] | None,
) -> tuple[NDArray[np.float64], float] | None:
    """Plane ``n . x = c`` with a's side below and b's above, between voxel centres.

    A logistic regression of who owns the voxels of both masks, of which some are
    given as `own`. Of the shared ones it is who held them before, or the lower
    level; the bound then makes the fewest mistakes. A
    stroke counts more than any number of voxels. None if the plane would take
    most of an object's strokes away.
    """
    a, b = pair
    shared = _thinned(_shared(a, b), _MOST_SHARED)
    with torch.no_grad():
        coords = torch.from_numpy((shared + 0.5) * grid.pitch)
        is_b = np.asarray(a.shape.level(coords) > b.shape.level(coords))
    if before is not None:
        held = before[tuple(shared.T)]
        is_b = np.where(np.isin(held, (a.label, b.label)), held == b.label, is_b)
    strokes = [a.anchors, b.anchors]
    points = (np.concatenate([shared, *own, *strokes]) + 0.5) * grid.pitch
    # A mask's own voxels come twice where they are shared; what the level says of those counts.
    sides = [np.full(len(part), k % 2 == 1) for k, part in enumerate((*own, *strokes))]
    owner = np.concatenate([is_b, *sides])
    weight = np.ones(len(points))
    if before is not None:
        # A share of an object counts, not its voxels: the small ones would lose to the large.
        weight = np.where(owner, 1 / max(1, len(strokes[1])), 1 / max(1, len(strokes[0])))
    else:
        count = sum(len(part) for part in strokes)
        weight[len(points) - count :] = len(points)
    normal = _logistic_normal(points, owner, weight / weight.mean())
    bound = _best_bound(points @ normal, owner, float(grid.pitch.min()) * 1e-3, weight)
    for part, above in zip(strokes, (False, True), strict=True):
        wrong = ((part + 0.5) * grid.pitch @ normal > bound) != above
        if len(wrong) and wrong.mean() > _MOST_STROKES_LOST:
            return None
    return normal, bound


def _voxels(item: Fitted) -> NDArray[np.int64]:
    """Voxels of a mask, (N, D)."""
    return np.asarray(np.argwhere(item.mask) + np.asarray(item.window.start), np.int64)


def _thinned(voxels: NDArray[np.int64], most: int = _MOST_VOXELS) -> NDArray[np.int64]:
    """At most about so many voxels, evenly picked."""
    return voxels[:: max(1, len(voxels) // most)]


def _logistic_normal(
    points: NDArray[np.float64], owner: BoolArray, weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Find the unit normal of the plane that best parts two sets of points (Newton's method)."""
    middle, spread = points.mean(axis=0), points.std(axis=0).max() + 1e-12
    design = np.column_stack([(points - middle) / spread, np.ones(len(points))])
    weights = np.zeros(design.shape[1])
    for _ in range(_NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        # The ridge keeps separable sets from asking for an endless slope.
        slope = design.T @ (weight * (chance - owner)) + _RIDGE * weights
        curve = (design * (weight * chance * (1 - chance))[:, None]).T @ design
        weights -= np.linalg.solve(curve + _RIDGE * np.eye(len(weights)), slope)
    length = float(np.linalg.norm(weights[:-1]))
    if length < 1e-9:
        return np.asarray(np.eye(points.shape[1])[0], np.float64)
    return np.asarray(weights[:-1] / length, np.float64)


def _best_bound(
    along: NDArray[np.float64], owner: BoolArray, gap: float, weight: NDArray[np.float64]
) -> float:
    """Bound between the points of two owners along a line that makes the fewest mistakes."""
    order = np.argsort(along, kind="stable")
    ranked, of_b = along[order], np.where(owner, weight, 0)[order]
    of_a = weight[order] - of_b
    # Mistakes of a bound after k points: b's among them, and a's beyond them.
    mistakes = np.append(0, np.cumsum(of_b)) + np.append(np.cumsum(of_a[::-1])[::-1], 0)
    # No bound fits between points on one plane; shared voxels come several times.
    mistakes[1:-1][np.diff(ranked) < gap * 1e-3] = np.inf
    k = int(mistakes.argmin())
    if k == 0:
        return float(ranked[0]) - gap
    if k == len(ranked):
        return float(ranked[-1]) + gap
    return float(ranked[k - 1] + ranked[k]) / 2
