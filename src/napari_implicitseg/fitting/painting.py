"""Writing fitted masks into one label image, where no voxel can be of two objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray, LabelArray
    from napari_implicitseg.fitting.problem import Geometry
    from napari_implicitseg.fitting.sequential import Fitted

__all__ = ["paint"]


# An object of which so much lies within another one keeps its voxels.
_WITHIN = 0.9


def paint(
    labels: LabelArray,
    items: Sequence[Fitted],
    grid: Geometry,
    *,
    before: NDArray[Any] | None = None,
) -> None:
    """Write masks into labels; of voxels that two claim each goes to one of them.

    The one that held it `before` gets it, if there was one; else the smaller of two
    objects of which one lies within the other; else the one with the lower level.
    What the labels hold of objects that are not among the items stays.

    Parameters
    ----------
    labels : ndarray of uint32
        Of the whole image; written in place.
    items : sequence of Fitted
    grid : Geometry
    before : ndarray of integer, optional
        Labels of the image that are repaired.
    """
    by_label = {item.label: item for item in items}
    for item in items:
        box = item.window.slices
        crop = labels[box]
        won = item.mask & (crop == 0)
        taken = item.mask & (crop != 0)
        for label in np.unique(crop[taken]).tolist():
            if label not in by_label:
                continue
            contested = np.argwhere(taken & (crop == label))
            wins = _wins(item, by_label[label], contested, grid)
            if before is not None:
                held = before[box][tuple(contested.T)]
                wins = np.where(held == item.label, True, wins & (held != label))
            won[tuple(contested[wins].T)] = True
        crop[won] = item.label


def _wins(item: Fitted, other: Fitted, voxels: NDArray[np.int64], grid: Geometry) -> BoolArray:
    """Whether an object gets the voxels (N, D) of its window that another claims, too."""
    sizes = int(item.mask.sum()), int(other.mask.sum())
    if len(voxels) >= _WITHIN * min(sizes):
        return np.full(len(voxels), sizes[0] < sizes[1])
    points = torch.from_numpy((voxels + np.asarray(item.window.start) + 0.5) * grid.pitch)
    with torch.no_grad():
        own, level = (np.asarray(one.shape.level(points)) for one in (item, other))
    return np.asarray(own < level)
