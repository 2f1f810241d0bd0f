"""Which part of the evidence belongs to an object: what its strokes reach, up to a neck.

Evidence of touching objects of one kind runs together into a clump. A convex
object cannot have a narrow neck, so the clump is cut where it is clearly
narrower than on both sides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray

__all__ = ["at_level", "closed_depth", "own_part", "stroke_component"]

# A neck narrower than this share of the object's inscribed radius is a cut.
NECK = 0.75
# Ups and downs of the depth along a ridge, in cells.
_RIPPLE = 0.5


def at_level(probability: NDArray[np.float32], level: float) -> NDArray[np.float32]:
    """Take log odds off a probability, so that less of it is above one half."""
    if level == 0:
        return probability
    odds = probability / np.maximum(1 - probability, np.float32(1e-6)) * np.float32(np.exp(-level))
    return np.asarray(odds / (1 + odds), np.float32)


def stroke_component(mask: BoolArray, cells: NDArray[np.int64]) -> BoolArray:
    """Part of a mask that hangs together with stroke cells (N, D), the cells included."""
    joined = mask.copy()
    joined[tuple(cells.T)] = True
    labels, _ = ndimage.label(joined)
    wanted = np.zeros(labels.max() + 1, bool)
    wanted[labels[tuple(cells.T)]] = True
    return np.asarray(wanted[labels])


def own_part(component: BoolArray, cells: NDArray[np.int64], pitch: tuple[float, ...]) -> BoolArray:
    """Cut a clump at its necks and keep the part the strokes lie in.

    Parameters
    ----------
    component : ndarray of bool
        Evidence that hangs together with the strokes.
    cells : ndarray of int, shape (N, D)
        Stroke cells.
    pitch : tuple of float
        Cell size per axis.

    Returns
    -------
    ndarray of bool
        The component, less what lies behind a neck.
    """
    filled = ndimage.binary_fill_holes(component)
    depth = _depth(filled, pitch)
    least = NECK * _inscribed_radius(depth, cells, pitch)
    # Diagonal steps join: the ridge of a turned shape is one voxel wide in places.
    cores, count = ndimage.label(depth > least, np.ones((3,) * depth.ndim))
    if count < 2:
        return component
    peaks = np.append(0.0, ndimage.maximum(depth, cores, np.arange(1, count + 1)))
    # The ridge of a tapering shape ripples with the grid: its crests are no bodies.
    bodies = peaks > least + _RIPPLE * max(pitch)
    if np.count_nonzero(bodies) < 2:
        return component
    from skimage.segmentation import watershed

    parts = watershed(-depth, np.where(bodies[cores], cores, 0), mask=filled)
    own = np.zeros(count + 1, bool)
    own[parts[tuple(cells.T)]] = True
    return np.asarray(component & own[parts]) | _at(cells, component.shape)


def closed_depth(mask: BoolArray, pitch: Sequence[float] | None = None) -> NDArray[np.float64]:
    """Distance of inside voxels to the outside; beyond the border of the array is outside."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=pitch)
    return np.asarray(depth[(slice(1, -1),) * mask.ndim])


def _depth(mask: BoolArray, pitch: tuple[float, ...]) -> NDArray[np.float64]:
    """Distance of inside voxels to the outside; the window's border does not count as outside."""
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=pitch))


def _inscribed_radius(
    depth: NDArray[np.float64], cells: NDArray[np.int64], pitch: tuple[float, ...]
) -> float:
    """Largest depth near the strokes: climbs from the deepest stroke cell within its ball."""
    values = depth[tuple(cells.T)]
    at = cells[int(values.argmax())]
    best = float(values.max())
    for _ in range(3):
        reach = np.maximum((best / np.asarray(pitch)).astype(int), 1)
        low = np.maximum(at - reach, 0)
        box = tuple(slice(a, b) for a, b in zip(low, at + reach + 1, strict=True))
        local = depth[box]
        if local.max() <= best:
            break
        best = float(local.max())
        at = low + np.array(np.unravel_index(int(local.argmax()), local.shape))
    return best


def _at(cells: NDArray[np.int64], shape: tuple[int, ...]) -> BoolArray:
    """Mask of the given cells."""
    out = np.zeros(shape, bool)
    out[tuple(cells.T)] = True
    return out
