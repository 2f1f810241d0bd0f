"""How masks are scored in the reproductions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_implicitseg.reproduction.cases import Case

__all__ = ["ious", "overlap", "pieces", "timed", "under_strokes"]


def timed(function: Callable[..., Any], *args: Any, **options: Any) -> tuple[Any, float]:
    """Call a function; return its result and the CPU seconds it took."""
    begin = time.process_time()
    result = function(*args, **options)
    return result, time.process_time() - begin


def overlap(
    mask: NDArray[np.bool_], truth: NDArray[np.bool_], ignore: NDArray[np.bool_] | None = None
) -> float:
    """Intersection over union, without the ignored pixels; 1 of two empty masks."""
    if ignore is not None:
        mask, truth = mask & ~ignore, truth & ~ignore
    union = int((mask | truth).sum())
    return float((mask & truth).sum() / union) if union else 1.0


def ious(labels: NDArray[np.integer[Any]], case: Case) -> list[float]:
    """IoU of every object of a case."""
    return [overlap(labels == k, case.truth == k, case.ignore) for k in np.unique(case.truth) if k]


def pieces(mask: NDArray[np.bool_]) -> int:
    """Components of a mask, full connectivity."""
    return int(ndimage.label(mask, np.ones((3,) * mask.ndim))[1])


def under_strokes(mask: NDArray[np.bool_], case: Case) -> NDArray[np.int32]:
    """Components of a mask that an object's strokes lie on, with the object's id."""
    labels, _ = ndimage.label(mask)
    out = np.zeros(mask.shape, np.int32)
    for label in np.unique(case.truth)[1:]:
        touched = np.unique(labels[(case.scribbles == label) & mask])
        out[np.isin(labels, touched[touched > 0])] = label
    return out
