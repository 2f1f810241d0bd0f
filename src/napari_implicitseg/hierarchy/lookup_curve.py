"""Scores of all cuts of a hierarchy from one table of its fragments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy.components import ThresholdCurve
from napari_implicitseg.metrics import adapted_rand, rand_index, voi

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    from napari_implicitseg.metrics import Contingency

__all__ = ["score_lookups"]


def score_lookups(table: Contingency, lookups: Iterable[tuple[float, ArrayLike]]) -> ThresholdCurve:
    """Score segmentations that join fragments, without looking at a voxel again.

    Parameters
    ----------
    table : Contingency
        Of the fragments and the truth.
    lookups : iterable of (float, array_like of int, shape (N + 1,))
        A threshold, and the label of each fragment by its id; that of id 0 first. They may be
        made one by one.

    Returns
    -------
    ThresholdCurve
        Scores in the order of the lookups. Objects are counted over all fragments, whether the
        truth knows their voxels or not.

    Raises
    ------
    InputError
        If there is no lookup or no voxel to compare, or a fragment of the table has no label.

    Examples
    --------
    >>> from napari_implicitseg.metrics import contingency
    >>> table = contingency([1, 1, 2, 2, 3, 3], [7, 7, 7, 7, 8, 8])
    >>> curve = score_lookups(table, [(0.1, [0, 1, 2, 3]), (0.5, [0, 1, 1, 2])])
    >>> curve.voi.round(3).tolist(), curve.best().threshold
    ([0.667, 0.0], 0.5)
    """
    points = [_scored(table, float(threshold), labels) for threshold, labels in lookups]
    if not points:
        raise InputError("There are no lookups; give one at least, with its threshold.")
    columns = np.array(points).T
    return ThresholdCurve(
        thresholds=columns[0],
        voi_split=columns[1],
        voi_merge=columns[2],
        adapted_rand_error=columns[3],
        rand_index=columns[4],
        objects=columns[5].astype(np.int64),
    )


def _scored(table: Contingency, threshold: float, labels: ArrayLike) -> tuple[float, ...]:
    """Threshold, split and merge VOI, adapted Rand error, Rand index and number of objects."""
    lookup = _checked(table, threshold, np.asarray(labels))
    cut = table.relabelled(lookup[table.label_ids])
    information = voi(cut)
    joined = lookup[1:]
    return (
        threshold,
        information.split,
        information.merge,
        adapted_rand(cut).error,
        rand_index(cut),
        len(np.unique(joined[joined != 0])),
    )


def _checked(table: Contingency, threshold: float, lookup: NDArray[Any]) -> NDArray[Any]:
    """Refuse a lookup without a label for each fragment of the table."""
    ids = table.label_ids
    low, high = (int(ids[0]), int(ids[-1])) if len(ids) else (0, 0)
    if lookup.ndim != 1 or lookup.dtype.kind not in "iub" or not 0 <= low <= high < len(lookup):
        raise InputError(
            f"The lookup of threshold {threshold:g} is {lookup.dtype} {lookup.shape}, and the "
            f"table has fragments from {low} to {high}; give a label for each, by id from 0."
        )
    return lookup
