"""Keeping promises on the voxels: what rounding or neighbours broke is mended, then checked."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_implicitseg.fitting.problem import background_sides
from napari_implicitseg.shapes.certificate import Certificate, certify, crop_box, digital_hull
from napari_implicitseg.shapes.connected import ConnectedShape
from napari_implicitseg.shapes.joining import join_pieces, straight_link
from napari_implicitseg.shapes.rays import best_centre, fill_rays
from napari_implicitseg.shapes.star import StarShape
from napari_implicitseg.shapes.symmetric import SymmetricShape
from napari_implicitseg.shapes.symmetries import fill_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray, LabelArray
    from napari_implicitseg.fitting.problem import Geometry
    from napari_implicitseg.fitting.sequential import Fitted
    from napari_implicitseg.shapes.joining import Link

__all__ = ["keep_promise"]

# Joining pieces may break a symmetry, and the other way round.
_MOST_ROUNDS = 5
_SHORT = 2
_FIRST_SAMPLES, _MOST_SAMPLES = 64, 1 << 14


def keep_promise(labels: LabelArray, item: Fitted, family: str, grid: Geometry) -> Certificate:
    """Mend an object's voxels where its promise is broken on the grid, and certify them.

    Parameters
    ----------
    labels : ndarray of uint32
        Labels of the whole image; free voxels may be added to the object, and
        its own be given up, in place.
    item : Fitted
    family : {"convex", "connected", "star", "symmetric", "free"}
    grid : Geometry
    """
    if family == "convex":
        return _keep_convex(labels, item)
    if family == "connected":
        return _keep_connected(labels, item, grid)
    if family == "star":
        return _keep_star(labels, item, grid)
    if family == "symmetric":
        return _keep_symmetric(labels, item, grid)
    mask = labels[item.window.slices] == item.label
    return certify(mask, kind="none")


def _keep_convex(labels: LabelArray, item: Fitted) -> Certificate:
    """Fill free voxels of the hull that rounding left out."""
    box = item.window.slices
    mask = labels[box] == item.label
    inner = crop_box(mask)
    mask = mask[inner]
    certificate = certify(mask, kind="convex")
    if certificate.holds:
        return certificate
    crop = labels[box][inner]
    missing = digital_hull(mask) & ~mask
    taken = Counter(crop[missing].tolist())
    free = taken.pop(0, 0)
    if free and not taken:
        crop[missing] = item.label
        return replace(certify(mask | missing, kind="convex"), repaired=free)
    return replace(certificate, detail=_went_to(taken, "its convex hull"))


def _keep_connected(labels: LabelArray, item: Fitted, grid: Geometry) -> Certificate:
    """Obey the strokes, drop specks and join the pieces along paths within the shape."""
    crop = labels[item.window.slices]
    mask = crop == item.label
    painted = np.zeros(mask.shape, bool)
    strokes = tuple((item.strokes - np.asarray(item.window.start)).T)
    painted[strokes] = True
    blocked = (crop != 0) & ~mask
    others = item.problem.voxels[~item.problem.own] - np.asarray(item.window.start)
    blocked[tuple(others.T)] = True
    painted &= ~blocked
    wanted = (mask & ~blocked) | painted
    joined = join_pieces(wanted, _link(item, grid), blocked=blocked, wanted=painted)
    crop[mask] = 0
    crop[joined.mask] = item.label
    repaired = joined.added + int(np.count_nonzero(painted & ~mask))
    return replace(certify(joined.mask, kind="connected"), repaired=repaired)


def _link(item: Fitted, grid: Geometry) -> Link:
    """Paths within the fitted shape, in voxels of its window."""
    shape = item.shape
    if not isinstance(shape, ConnectedShape):
        return straight_link
    start = np.asarray(item.window.start)

    def link(first: NDArray[np.int64], last: NDArray[np.int64], /) -> NDArray[np.int64]:
        if np.abs(last - first).max() <= _SHORT:
            return straight_link(first, last)  # No path is shorter on the grid.
        begin, end = (torch.from_numpy((v + start + 0.5) * grid.pitch) for v in (first, last))
        count = _FIRST_SAMPLES
        while True:
            with torch.no_grad():
                points = shape.path(begin, end, count).numpy()
            voxels = np.floor(points / grid.pitch).astype(np.int64) - start
            voxels[0], voxels[-1] = first, last
            steps = np.abs(np.diff(voxels, axis=0)).max(axis=1)
            if steps.max() <= 1 or count >= _MOST_SAMPLES:
                break
            count *= 4
        gaps = [straight_link(voxels[i], voxels[i + 1]) for i in np.flatnonzero(steps > 1)]
        return np.unique(np.concatenate([voxels, *gaps]), axis=0)

    return link


def _keep_star(labels: LabelArray, item: Fitted, grid: Geometry) -> Certificate:
    """Fill free voxels of the rays from the centre that rounding left out."""
    crop = labels[item.window.slices]
    mask = crop == item.label
    if not mask.any():
        return certify(mask, kind="star")
    assert isinstance(item.shape, StarShape)
    point = item.shape.star_centre.numpy() / grid.pitch - 0.5 - np.asarray(item.window.start)
    centre = tuple(_within(point, mask).tolist())
    if item.is_traced:
        centre, _ = best_centre(mask)
    full = fill_rays(mask, centre)
    taken = Counter(crop[full & ~mask].tolist())
    free = taken.pop(0, 0)
    if taken:
        certificate = certify(mask, kind="star", centre=centre)
        return replace(certificate, detail=_went_to(taken, "the rays from its centre"))
    crop[full] = item.label
    return replace(certify(full, kind="star", centre=centre), repaired=free)


def _within(point: NDArray[np.float64], mask: BoolArray) -> NDArray[np.int64]:
    """Voxel of a point, moved into the array."""
    return np.asarray(np.clip(np.rint(point), 0, np.asarray(mask.shape) - 1), np.int64)


def _keep_symmetric(labels: LabelArray, item: Fitted, grid: Geometry) -> Certificate:
    """Add free voxels whose images are there, and compare the mask with its images."""
    window = item.window
    crop = labels[window.slices]
    mask = crop == item.label
    assert isinstance(item.shape, SymmetricShape)
    sides = background_sides(window, grid, [n // 2 for n in mask.shape])
    before = np.array([side for side, _ in sides])
    symmetry = item.shape.symmetry(1.0)
    moved = np.asarray(symmetry.centre) - (np.asarray(window.start) - before) * grid.pitch
    symmetry = replace(symmetry, centre=tuple(moved.tolist()))
    spacing = tuple(grid.pitch.tolist())
    inner = tuple(slice(a, a + n) for a, n in zip(before, mask.shape, strict=True))
    padded = np.pad(mask, sides)
    full = mask
    blocked = (crop != 0) & ~mask
    wanted: BoolArray | None = None
    for _ in range(_MOST_ROUNDS):
        before_round = full
        if isinstance(item.shape.base, ConnectedShape):
            # A speck goes once; what comes back as an image of something is none.
            full = join_pieces(full, straight_link, blocked=blocked, wanted=wanted).mask
        padded[inner] = full
        full = fill_images(padded, symmetry, spacing)[inner] & ~blocked
        if np.array_equal(full, before_round):
            break
        wanted = full
    crop[mask] = 0
    crop[full] = item.label
    padded[inner] = full
    certificate = certify(padded, kind="symmetric", symmetry=symmetry, spacing=spacing)
    certificate = replace(certificate, repaired=int(np.count_nonzero(full & ~mask)))
    held = fill_images(padded, symmetry, spacing)[inner] & blocked
    if certificate.holds or not held.any():
        return certificate
    return replace(certificate, detail=_went_to(Counter(crop[held].tolist()), "its images"))


def _went_to(taken: Counter[int], what: str) -> str:
    """Say which objects hold voxels that the promise would need."""
    others = ", ".join(str(i) for i in sorted(taken))
    count = sum(taken.values())
    return f"{count} voxel{'s' * (count != 1)} of {what} went to object {others}"
