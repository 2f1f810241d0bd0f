"""Scores of semantic label images, in which an id means the same class on both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg._contingency import compared_voxels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._contingency import Contingency

__all__ = ["class_accuracy", "class_ious", "mean_iou"]


def class_ious(table: Contingency) -> dict[int, float]:
    """Intersection over union of each class of the truth.

    Voxels that are left out of the table count on neither side: with the background of the truth
    left out, what a class claims there does not harm it.

    Parameters
    ----------
    table : Contingency

    Returns
    -------
    dict of int to float
        By id, in ascending order, 0 to 1; 0 for a class the labels do not have. Classes that only
        the labels have are not there: their voxels are missing in those of the truth.

    References
    ----------
    P. Jaccard, "The distribution of the flora in the alpine zone", New Phytologist 11 (1912),
    37-50.
    """
    same = _same(table)
    shared = np.zeros(len(table.truth_ids), np.int64)
    shared[table.columns[same]] = table.counts[same]
    # In Python, where int64 and uint64 compare as numbers.
    sizes = dict(zip(table.label_ids.tolist(), table.label_sizes.tolist(), strict=True))
    ids = table.truth_ids.tolist()
    claimed = np.array([sizes.get(i, 0) for i in ids], np.int64)
    ious = shared / (table.truth_sizes + claimed - shared)
    return dict(zip(ids, ious.tolist(), strict=True))


def mean_iou(table: Contingency) -> float:
    """Mean of `class_ious` over the classes of the truth, each of equal weight.

    Parameters
    ----------
    table : Contingency

    Returns
    -------
    float
        0 to 1; 1 is perfect.

    Raises
    ------
    InputError
        If no voxel was compared.
    """
    compared_voxels(table)
    return float(np.mean(list(class_ious(table).values())))


def class_accuracy(table: Contingency) -> float:
    """Share of the voxels that have the label of the truth: trace over sum of the confusion matrix.

    Parameters
    ----------
    table : Contingency

    Returns
    -------
    float
        0 to 1; 1 is perfect.

    Raises
    ------
    InputError
        If no voxel was compared.
    """
    return int(table.counts[_same(table)].sum()) / compared_voxels(table)


def _same(table: Contingency) -> NDArray[Any]:
    """Whether both objects of an entry have the same id."""
    same: NDArray[Any] = table.label_ids[table.rows] == table.truth_ids[table.columns]
    return same
