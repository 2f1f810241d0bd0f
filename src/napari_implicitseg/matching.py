"""Which objects of a segmentation are objects of the truth, and the scores that follow.

>>> from napari_implicitseg.metrics import contingency
>>> table = contingency([1, 1, 1, 2, 3], [7, 7, 7, 7, 8])
>>> found = match_objects(table, [0.5])[0.5]
>>> found.tp, found.fp, found.fn
(2, 1, 0)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from napari_implicitseg._contingency import Contingency

__all__ = ["IOU_THRESHOLDS", "Matches", "match_objects", "mean_average_precision"]

IOU_THRESHOLDS = tuple(k / 20 for k in range(10, 20))
"""0.5 to 0.95 in steps of 0.05."""

# From here on no object has two matches, but for ties.
_UNIQUE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matches:
    """Objects of a segmentation and objects of the truth, matched one to one.

    Attributes
    ----------
    threshold : float
        The least IoU of a match.
    labels, truth : ndarray of int64 or uint64, shape (M,)
        Ids of the objects that are matched.
    ious : ndarray of float64, shape (M,)
        Their IoU.
    fp : int
        False positives: objects of the segmentation without a match.
    fn : int
        False negatives: objects of the truth without a match.
    """

    threshold: float
    labels: NDArray[Any]
    truth: NDArray[Any]
    ious: NDArray[np.float64]
    fp: int
    fn: int

    @property
    def tp(self) -> int:
        """True positives: the matches."""
        return len(self.ious)

    @property
    def precision(self) -> float:
        """Share of the objects of the segmentation that are matched; 1 if there are none."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Share of the objects of the truth that are matched; 1 if there are none."""
        return _share(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 if there are no objects."""
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def average_precision(self) -> float:
        """TP / (TP + FP + FN), as the Data Science Bowl 2018 has it; 1 if there are no objects."""
        return _share(self.tp, self.tp + self.fp + self.fn)

    @property
    def panoptic_quality(self) -> float:
        """Sum of the IoU of the matches over TP + (FP + FN) / 2; 1 if there are no objects."""
        return _share(float(self.ious.sum()), self.tp + (self.fp + self.fn) / 2)

    def __repr__(self) -> str:
        """Give the figures; the arrays may be long."""
        return (
            f"Matches(threshold={self.threshold:g}, tp={self.tp}, fp={self.fp}, fn={self.fn}, "
            f"precision={self.precision:.4f}, recall={self.recall:.4f}, f1={self.f1:.4f}, "
            f"panoptic_quality={self.panoptic_quality:.4f})"
        )

    def as_dict(self) -> dict[str, float | int]:
        """Return the figures by name, without the ids."""
        names = ("tp", "fp", "fn", "precision", "recall", "f1")
        return {n: getattr(self, n) for n in (*names, "average_precision", "panoptic_quality")}


def match_objects(
    table: Contingency,
    thresholds: Iterable[float] = IOU_THRESHOLDS,
    *,
    background: int | None = 0,
) -> dict[float, Matches]:
    """Match objects one to one, as many as reach an IoU.

    From a threshold of 0.5 no object can reach it with two others, but for halves of equal size.
    Below, the most matches are taken, and of these the ones with the largest sum of IoU.

    Objects are what the table holds: where the background of the truth is left out of it, objects
    of the segmentation that lie there altogether are no false positives, and the others have only
    the voxels that are compared. For the figures of StarDist and the Data Science Bowl 2018, make
    the table with ``ignore=None``.

    Parameters
    ----------
    table : Contingency
    thresholds : iterable of float
        Least IoU of a match, over 0 and up to 1.
    background : int, optional
        Label that is no object, on either side; None if there is none.

    Returns
    -------
    dict of float to Matches
        By threshold, in the order they were asked for.

    Raises
    ------
    InputError
        If a threshold is out of range.

    References
    ----------
    J. C. Caicedo et al., "Nucleus segmentation across imaging experiments: the 2018 Data Science
    Bowl", Nature Methods 16 (2019), 1247-1253. A. Kirillov et al., "Panoptic segmentation", CVPR
    2019.
    """
    levels = [_checked_threshold(t) for t in thresholds]
    labels, truth = table.label_ids != background, table.truth_ids != background
    pairs = np.flatnonzero(labels[table.rows] & truth[table.columns])
    rows, columns = table.rows[pairs], table.columns[pairs]
    shared = table.counts[pairs]
    ious = shared / (table.label_sizes[rows] + table.truth_sizes[columns] - shared)
    found = {}
    for level in levels:
        near = np.flatnonzero(ious >= level)
        choose = _only if level >= _UNIQUE else _best
        kept = near[choose(rows[near], columns[near], ious[near])]
        found[level] = Matches(
            threshold=level,
            labels=table.label_ids[rows[kept]],
            truth=table.truth_ids[columns[kept]],
            ious=ious[kept],
            fp=int(np.count_nonzero(labels)) - len(kept),
            fn=int(np.count_nonzero(truth)) - len(kept),
        )
    return found


def mean_average_precision(matches: Mapping[float, Matches]) -> float:
    """Mean of the average precisions at some thresholds.

    Parameters
    ----------
    matches : mapping of float to Matches
        As `match_objects` returns it, for one threshold at least.

    Returns
    -------
    float
        0 to 1; 1 is perfect.
    """
    return float(np.mean([one.average_precision for one in matches.values()]))


def _only(
    rows: NDArray[np.int64], columns: NDArray[np.int64], ious: NDArray[np.float64]
) -> NDArray[Any]:
    """Choose one pair of each object, where only equal halves of an object have a choice."""
    first = np.unique(rows, return_index=True)[1]
    return first[np.unique(columns[first], return_index=True)[1]]


def _best(
    rows: NDArray[np.int64], columns: NDArray[np.int64], ious: NDArray[np.float64]
) -> NDArray[Any]:
    """Choose the most pairs without a common object, and of these the largest sum of IoU."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    if not rows.size:
        return rows
    own_rows, row = np.unique(rows, return_inverse=True)
    own_columns, column = np.unique(columns, return_inverse=True)
    # All IoU together weigh half a match. A row may take a column of its own, which is none.
    costs = 2 - 0.5 * ious / min(len(own_rows), len(own_columns))
    every = np.arange(len(own_rows))
    graph = coo_array(
        (
            np.concatenate([costs, np.full(len(every), 3.0)]),
            (np.concatenate([row, every]), np.concatenate([column, len(own_columns) + every])),
        )
    )
    taken_rows, taken = min_weight_full_bipartite_matching(graph.tocsr())
    chosen = np.full(len(own_rows), -1)
    chosen[taken_rows] = taken
    return np.flatnonzero(chosen[row] == column)


def _checked_threshold(threshold: Any) -> float:
    """Return a threshold as a float."""
    try:
        level = float(threshold)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"The threshold of the IoU is {threshold!r}; give numbers over 0 and up to 1."
        ) from error
    if not (math.isfinite(level) and 0 < level <= 1):
        raise InputError(f"The threshold of the IoU is {level:g}; give numbers over 0 and up to 1.")
    return level


def _share(part: float, whole: float) -> float:
    """Return a share of what may be nothing, of which nothing is missing."""
    return part / whole if whole else 1.0
