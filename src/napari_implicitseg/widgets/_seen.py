"""Whether the masks of a layer have changed since they were read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_implicitseg.widgets._scribble_inputs import WATCHED_VOXELS

if TYPE_CHECKING:
    from napari.layers import Image
    from numpy.typing import NDArray

    from napari_implicitseg.widgets._layers import Region
    from napari_implicitseg.widgets._repair_run import RepairRequest

__all__ = ["Seen"]


class Seen:
    """What the masks of a layer were once, to tell whether they have changed.

    Parameters
    ----------
    masks : ndarray or None
        A copy; None of large ones, where the undo history has to tell.
    data : object
        The layer's array, by identity.
    history : tuple of int
    """

    def __init__(self, masks: NDArray[Any] | None, data: object, history: tuple[int, int]) -> None:
        self._masks, self._data, self._history = masks, data, history
        self._shape = _shape_of(data)

    @classmethod
    def nothing(cls) -> Seen:
        """Nothing seen yet."""
        return cls(None, None, (0, 0))

    @classmethod
    def of(cls, source: Labels | Image | None, request: RepairRequest) -> Seen:
        """Remember the masks a request takes."""
        labels = request.labels
        small = isinstance(labels, np.ndarray) and labels.size <= WATCHED_VOXELS
        data = None if source is None else source.data
        return cls(labels if small else None, data, _history(source))

    def again(self, source: Labels | Image, region: Region) -> Seen:
        """Remember the masks as they are now."""
        masks = None if self._masks is None else region.take(source.data).copy()
        return Seen(masks, source.data, _history(source))

    def differs(self, source: Labels | Image, region: Region) -> bool:
        """Whether the masks are not as they were."""
        if _shape_of(source.data) != self._shape:
            return True
        if self._masks is None:
            return source.data is not self._data or _history(source) != self._history
        now = region.take(source.data)
        return not np.array_equal(self._masks, now, equal_nan=now.dtype.kind == "f")


def _history(source: Labels | Image | None) -> tuple[int, int]:
    """Lengths of the undo and redo history."""
    if not isinstance(source, Labels):
        return (0, 0)
    return len(source._undo_history), len(source._redo_history)


def _shape_of(data: Any) -> tuple[int, ...]:
    """Return the shape of an array without reading it."""
    return tuple(getattr(data, "shape", ()))
