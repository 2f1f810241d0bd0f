"""Writing fitted masks into one label image, where no voxel can be of two objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_implicitseg._types import LabelArray
    from napari_implicitseg.fitting.problem import Geometry
    from napari_implicitseg.fitting.sequential import Fitted

__all__ = ["paint"]


def paint(labels: LabelArray, items: Sequence[Fitted], grid: Geometry) -> None:
    """Write masks into labels; of voxels that two claim the lower level wins.

    What the labels hold of objects that are not among the items stays.
    """
    by_label = {item.label: item for item in items}
    for item in items:
        crop = labels[item.window.slices]
        taken = crop != 0
        won = item.mask & ~taken
        contested = np.argwhere(item.mask & taken) if taken.any() else np.empty((0, 0), np.int64)
        if contested.size:
            coords = (contested + np.asarray(item.window.start) + 0.5) * grid.pitch
            points = torch.from_numpy(coords)
            holders = crop[tuple(contested.T)]
            with torch.no_grad():
                own = np.asarray(item.shape.level(points))
                for label in np.intersect1d(holders, list(by_label)).tolist():
                    here = holders == label
                    lower = own[here] < np.asarray(by_label[label].shape.level(points[here]))
                    won[tuple(contested[here][lower].T)] = True
        crop[won] = item.label
