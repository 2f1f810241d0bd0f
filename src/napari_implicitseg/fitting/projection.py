"""Problems whose evidence is a mask: what `project_labels` fits shapes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_implicitseg.block_means import finite_mean
from napari_implicitseg.features import Window, window_step
from napari_implicitseg.fitting.parts import closed_depth
from napari_implicitseg.fitting.points import Whitening
from napari_implicitseg.fitting.problem import Cells, Problem
from napari_implicitseg.shapes.certificate import crop_box, digital_hull

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.fitting.problem import Geometry

__all__ = ["Found", "find_objects", "pose_mask"]

# A window is this much larger on each side than the object's box, and at least so many voxels.
_MARGIN = 0.15
_LEAST_MARGIN = 2
# Least cells of a window, and how many more than from strokes: masks are sharper than evidence.
_LEAST_CELLS = {2: 32**2, 3: 18**3}
_FINER = 2
# Pieces of at least this share of the main one are parts of the object, smaller ones spurious;
# and they are far apart if the gap is this share of the main one's longest side.
_PART = 0.2
_FAR = 0.25
# What a ball of this share of the inscribed one does not reach may be a blob that is attached. What
# is missing of the hull of the rest or, if the shape may bend, what a ball outside of it does not
# reach, may be a chunk that is lost. Such cells weigh less.
_BALL = 0.3
_OUTER_BALL = 0.5
_ATTACHED_WEIGHT = 0.7
_LOST_WEIGHT = 0.05


@dataclass(frozen=True, slots=True)
class Found:
    """An object of a label image.

    Attributes
    ----------
    label : int
    box : tuple of slice
        Smallest box that holds it.
    """

    label: int
    box: tuple[slice, ...]


def find_objects(labels: NDArray[Any]) -> list[Found]:
    """Find the objects of a label image, by ascending id; ids may have holes and be large."""
    low: dict[int, NDArray[np.int64]] = {}
    high: dict[int, NDArray[np.int64]] = {}
    # Slab by slab: what a whole volume would need in between is many times its size.
    for z in range(labels.shape[0]):
        slab = labels[z]
        ids = np.unique(slab)
        ids = ids[ids != 0]
        if not len(ids):
            continue
        places = (np.searchsorted(ids, slab) + 1).astype(np.int32)
        places[slab == 0] = 0
        for label, box in zip(ids.tolist(), ndimage.find_objects(places), strict=True):
            first = np.array([z, *(s.start for s in box)])
            last = np.array([z + 1, *(s.stop for s in box)])
            low[label] = np.minimum(low.get(label, first), first)
            high[label] = np.maximum(high.get(label, last), last)
    return [
        Found(k, tuple(slice(int(a), int(b)) for a, b in zip(low[k], high[k], strict=True)))
        for k in sorted(low)
    ]


def pose_mask(
    found: Found, values: NDArray[Any], grid: Geometry, *, convex: bool
) -> tuple[Problem, bool]:
    """Pose the problem of one object.

    Parameters
    ----------
    found : Found
    values : ndarray
        Labels, or a probability map of one object.
    grid : Geometry
    convex : bool
        Whether the shape will be.

    Returns
    -------
    problem : Problem
    apart : bool
        Whether the object is in pieces far apart.
    """
    low = np.array([s.start for s in found.box])
    high = np.array([s.stop for s in found.box])
    pad = np.maximum(np.ceil(_MARGIN * (high - low)), _LEAST_MARGIN)
    start = np.maximum(low - pad, 0).astype(int)
    stop = np.minimum(high + pad, grid.shape).astype(int)
    cells = max(grid.effort.cells, _LEAST_CELLS[len(grid.shape)])
    size = tuple((stop - start).tolist())
    box = tuple(start.tolist()), tuple(stop.tolist())
    window = Window(*box, window_step(size, grid.spacing, cells))
    fine = Window(*box, window_step(size, grid.spacing, max(_FINER * grid.effort.fine, cells)))
    crop = values[window.slices]
    share = crop.astype(np.float32) if crop.dtype.kind == "f" else crop == found.label
    coarse, finer = (_mean(share, w.step) for w in (window, fine))
    pieces = _parts(finer > 0.5, fine)
    middles = fine.cells_of(window)
    whole = pieces.mask[middles]
    if not whole.any():
        whole = coarse >= coarse.max()
    empty = np.zeros((0, len(grid.shape)), np.int64)
    problem = Problem(
        label=found.label,
        grid=grid,
        cells=_cells(window, coarse, whole, pieces.between[middles], convex=convex),
        fine=_cells(fine, finer, pieces.mask, pieces.between, convex=convex),
        level=0.0,
        probability=finer,
        core=whole,
        voxels=empty,
        own=np.zeros(0, bool),
        boost=np.ones(0, np.float32),
        hopeless=np.zeros(0, bool),
        whitening=Whitening.of(
            grid.cell_centres(window, whole), float((grid.pitch * window.step).max()) / 2
        ),
    )
    return problem, pieces.apart


@dataclass(frozen=True, slots=True)
class _Pieces:
    """The parts of an object, without spurious pieces."""

    mask: BoolArray
    between: BoolArray
    apart: bool


def _parts(mask: BoolArray, window: Window) -> _Pieces:
    """Tell the parts of an object from spurious pieces."""
    none = np.zeros(mask.shape, bool)
    labels, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    if count < 2:
        return _Pieces(mask, none, False)
    sizes = np.bincount(labels.ravel())[1:]
    main = int(sizes.argmax()) + 1
    kept = np.flatnonzero(sizes >= _PART * sizes.max()) + 1
    parts = np.isin(labels, kept)
    if len(kept) < 2:
        return _Pieces(parts, none, False)
    away = ndimage.distance_transform_edt(labels != main, sampling=window.step)
    gap = max(float(away[labels == k].min()) for k in kept if k != main)
    box = crop_box(labels == main)
    longest = max((b.stop - b.start) * s for b, s in zip(box, window.step, strict=True))
    if gap <= max(_FAR * longest, 3 * max(window.step)):
        return _Pieces(parts, none, False)
    return _Pieces(parts, digital_hull(parts) & ~parts, True)


def _opened(mask: BoolArray, pitch: tuple[int, ...]) -> BoolArray:
    """Keep what a ball within the mask reaches; its radius is a share of the largest one's."""
    depth = closed_depth(mask, pitch)
    radius = _BALL * float(depth.max())
    return np.asarray(
        mask & (ndimage.distance_transform_edt(depth < radius, sampling=pitch) < radius)
    )


def _closed(body: BoolArray, mask: BoolArray, pitch: tuple[int, ...]) -> BoolArray:
    """Fill what a ball outside a body does not reach; its radius is a share of the largest's."""
    radius = _OUTER_BALL * float(closed_depth(mask, pitch).max())
    sides = int(np.ceil(radius / min(pitch))) + 1
    far = ndimage.distance_transform_edt(np.pad(~body, sides, constant_values=True), sampling=pitch)
    reached = ndimage.distance_transform_edt(far < radius, sampling=pitch) < radius
    return np.asarray(~reached[(slice(sides, -sides),) * body.ndim])


def _mean(share: NDArray[Any], step: tuple[int, ...]) -> NDArray[np.float32]:
    """Share of each cell that is the object's."""
    mean = finite_mean(share[None].astype(np.float32), step)[0]
    return np.asarray(mean[0], np.float32)


def _cells(
    window: Window,
    share: NDArray[np.float32],
    parts: BoolArray,
    between: BoolArray,
    *,
    convex: bool,
) -> Cells:
    """Targets and weights: spurious pieces say nothing, nor what lies between far pieces."""
    target = share > 0.5
    weight = np.abs(2 * share - 1)
    weight[target & ~parts] = 0
    target &= parts
    body = _opened(target, window.step)
    weight[target & ~body] *= _ATTACHED_WEIGHT
    lost = digital_hull(body) if convex else _closed(body, target, window.step)
    weight[lost & ~target] *= _LOST_WEIGHT
    if convex:
        weight[between] = 0
    return Cells(window, target.reshape(-1), weight.reshape(-1))
