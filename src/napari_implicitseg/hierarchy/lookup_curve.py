"""Scores of all cuts of a hierarchy from one table of its fragments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy.components import ThresholdCurve
from napari_implicitseg.metrics import adapted_rand, rand_index, voi
from napari_implicitseg.progress import silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import ArrayLike, NDArray

    from napari_implicitseg._types import Progress
    from napari_implicitseg.hierarchy.tree import Hierarchy
    from napari_implicitseg.metrics import Contingency

__all__ = ["default_thresholds", "hierarchy_curve", "score_lookups"]

_STEPS = 50
_NUMBERS = 48


def default_thresholds(hierarchy: Hierarchy) -> NDArray[np.float64]:
    """Thresholds that show all a hierarchy holds, about a hundred or fewer, in ascending order.

    Of linkages by affinity those of an even grid from 0 to 1; of all linkages those that leave
    numbers of objects on an even logarithmic scale, so that neither few large objects nor many
    small ones fall between two of them.

    Parameters
    ----------
    hierarchy : Hierarchy

    Returns
    -------
    ndarray of float64, shape (T,)
        As `Hierarchy.cut` takes them.
    """
    merges = np.sort(hierarchy.altitudes[hierarchy.size :])
    merges = merges[np.isfinite(merges)]
    # Of so many merges all but the last n - 1 are done where n objects are left.
    left = np.geomspace(1, len(merges) + 1, _NUMBERS).round().astype(np.int64)
    done = len(merges) + 1 - np.unique(left)
    levels = merges[done[done > 0] - 1]
    if not hierarchy.by_affinity:
        return np.unique(np.concatenate([[0.0], levels]))
    # A merge is done below its own affinity only, and affinities have 32 bits.
    below = np.nextafter((1 - levels).astype(np.float32), np.float32(0)).astype(np.float64)
    grid = np.linspace(0, 1, _STEPS + 1)
    return np.unique(np.clip(np.concatenate([grid, below]), 0, 1))


def hierarchy_curve(
    hierarchy: Hierarchy,
    table: Contingency,
    thresholds: ArrayLike | None = None,
    *,
    progress: Progress | None = None,
) -> ThresholdCurve:
    """Score cuts of a hierarchy from the table of its fragments; see `Hierarchy.curve`.

    Parameters
    ----------
    hierarchy : Hierarchy
    table : Contingency
        Of its fragments and the truth.
    thresholds : array_like of float, shape (T,), optional
        As of `Hierarchy.cut`; by default `default_thresholds`.
    progress : Progress, optional
        Hears of each threshold, and may cancel.

    Returns
    -------
    ThresholdCurve

    Raises
    ------
    InputError
        If a threshold is none or out of range, there is none, or no voxel to compare.
    """
    levels = _checked_thresholds(hierarchy, thresholds)
    say = silent if progress is None else progress

    def lookups() -> Iterator[tuple[float, NDArray[np.uint32]]]:
        for i, level in enumerate(levels):
            say(i / len(levels), f"Scoring threshold {i + 1} of {len(levels)}")
            yield level, hierarchy.fragment_labels(level)

    return score_lookups(table, lookups())


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


def _checked_thresholds(hierarchy: Hierarchy, thresholds: ArrayLike | None) -> list[float]:
    """Return thresholds, the default ones if none are given."""
    if thresholds is None:
        return [float(level) for level in default_thresholds(hierarchy)]
    try:
        levels = np.asarray(thresholds, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The thresholds are {thresholds!r}; give numbers, as of Hierarchy.cut."
        ) from error
    if levels.ndim != 1 or not levels.size:
        raise InputError(
            f"The thresholds have shape {levels.shape}; give a list of one or more numbers."
        )
    found: list[float] = levels.tolist()
    for level in found:
        hierarchy.level_of(level)
    return found


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
