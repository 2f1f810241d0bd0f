"""Fragments by a watershed from seeds: the points that are farthest from any membrane."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.hierarchy._flooding import distances, flooded
from napari_implicitseg.hierarchy._unions import number_trees
from napari_implicitseg.hierarchy._watershed import add_edges, join_equal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import LabelArray, Progress
    from napari_implicitseg.hierarchy._components import Axis

__all__ = ["boundary_map", "seeded_fragments", "seeded_regions"]

# Of the Gaussian, in voxels of the finest axis: steps of the distance from voxel to voxel make
# many small maxima.
_SMOOTHING = 1.0


def boundary_map(axes: list[Axis], voxels: int) -> NDArray[np.float32]:
    """Probability of membrane: 1 less the mean of the known direct affinities of each voxel.

    Returns
    -------
    ndarray of float32, shape (voxels,)
        1 for voxels without any.
    """
    sums, counts = np.zeros(voxels, np.float32), np.zeros(voxels, np.uint8)
    for axis in axes:
        add_edges(sums, counts, axis.values, axis.first)
    sums /= np.maximum(counts, 1)
    # Sums of affinities of 1 are exact, so that this is not negative.
    return np.subtract(np.float32(1), sums, out=sums)


def seeded_regions(
    boundary: NDArray[np.float32],
    spacing: Sequence[float],
    threshold: float,
    seed_distance: float,
) -> NDArray[np.int32]:
    """Flood a boundary map from the points that are farthest from membranes.

    Parameters
    ----------
    boundary : ndarray of float32, shape S
    spacing : sequence of float
        Size of a voxel along each axis.
    threshold : float
        From here on a voxel is membrane.
    seed_distance : float
        In voxels of the finest axis, from 1.

    Returns
    -------
    ndarray of int32, shape S
        Regions from 1; 0 everywhere if there is nothing but membrane.
    """
    from scipy import ndimage

    inside = boundary < threshold
    if not inside.any():
        return np.zeros(boundary.shape, np.int32)
    size = [s / min(spacing) for s in spacing]
    if inside.all():
        distance = np.ones(boundary.shape, np.float32)
    else:
        distance = distances(inside, size)
        distance = ndimage.gaussian_filter(distance, [_SMOOTHING / s for s in size])
    box = [2 * math.floor(seed_distance / s) + 1 for s in size]
    highest = ndimage.maximum_filter(distance, box) == distance
    seeds = ndimage.label(highest & inside)[0]
    del inside, distance, highest
    return flooded(boundary, seeds)


def seeded_fragments(
    axes: list[Axis],
    shape: tuple[int, ...],
    spacing: Sequence[float],
    threshold: Any,
    seed_distance: float,
    by_section: bool,
    basins: Callable[[list[Axis], int], LabelArray],
    progress: Progress,
) -> LabelArray:
    """Label the regions around seeds, flat, from 1 by first voxel.

    Regions are split where no known edge connects them. A section, or volume, that is
    nothing but membrane is cut by `basins`, a function of the axes and the number of voxels.
    """
    voxels = math.prod(shape)
    boundary = boundary_map(axes, voxels).reshape(shape)
    labels: LabelArray = np.zeros(shape, np.uint32)
    parts: list[Any] = list(range(shape[0])) if by_section else [...]
    count, empty = 0, False
    for number, part in enumerate(parts):
        progress(0.1 + 0.6 * number / len(parts), "Flooding from seeds")
        inner = spacing[1:] if by_section else spacing
        regions = seeded_regions(boundary[part], inner, threshold, seed_distance)
        found = int(regions.max())
        empty |= not found
        if found:
            labels[part] = regions + count
        count += found
    flat = labels.reshape(-1)
    if empty:
        flat[flat == 0] = basins(axes, voxels)[flat == 0] + np.uint32(count)
    parent = np.arange(voxels, dtype=np.uint32)
    for axis in axes:
        join_equal(parent, flat, axis.values, axis.first)
    number_trees(parent)
    parent += 1
    return parent
