"""The strokes that fits were asked for, to notice what napari does not tell of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.widgets._scribble_inputs import WATCHED_VOXELS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Labels
    from numpy.typing import NDArray

    from napari_implicitseg.widgets._layers import Region
    from napari_implicitseg.widgets._preview import Index
    from napari_implicitseg.widgets._scribble_fit import FitRequest

__all__ = ["Asked"]


class Asked:
    """The strokes of each region as of the last fit asked for."""

    def __init__(self) -> None:
        self._labels: dict[Index, NDArray[Any]] = {}
        self._history = (0, 0)

    def remember(self, request: FitRequest) -> None:
        """Keep the strokes of a request; they are a copy, or too large to be compared."""
        if isinstance(request.labels, np.ndarray):
            self._labels[request.region.index] = request.labels

    def forget(self) -> None:
        """Forget all strokes."""
        self._labels.clear()

    def differ(self, region: Region, scribbles: Labels) -> bool:
        """Whether the strokes of a region have changed since; new ones count."""
        now = region.take(scribbles.data)
        if isinstance(now, np.ndarray) and now.size <= WATCHED_VOXELS:
            seen = self._labels.get(region.index)
            return bool(now.any()) if seen is None else not np.array_equal(seen, now)
        # Too large to compare while the user scrolls: the undo history tells as much.
        history = (len(scribbles._undo_history), len(scribbles._redo_history))
        changed, self._history = history != self._history, history
        return changed

    def stale(self, regions: Iterable[Region], scribbles: Labels) -> list[Region]:
        """Return those of the regions asked for whose strokes have changed since."""
        return [
            region
            for region in regions
            if region.index in self._labels
            and not np.array_equal(self._labels[region.index], region.take(scribbles.data))
        ]
