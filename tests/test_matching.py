"""Objects matched one to one, against an assignment over all pairs of objects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from napari_implicitseg.errors import InputError
from napari_implicitseg.matching import (
    IOU_THRESHOLDS,
    match_objects,
    mean_average_precision,
)
from napari_implicitseg.metrics import Contingency, contingency

PAIRS = st.integers(1, 60).flatmap(
    lambda n: st.tuples(*[arrays(np.int64, n, elements=st.integers(0, 7))] * 2)
)


def ious(labels, truth):
    """IoU of all pairs of objects, by their masks."""
    ids = [[int(i) for i in np.unique(side) if i != 0] for side in (labels, truth)]
    return np.array(
        [
            [((labels == a) & (truth == b)).sum() / ((labels == a) | (truth == b)).sum() for b in t]
            for a, t in ((a, ids[1]) for a in ids[0])
        ]
    ).reshape(len(ids[0]), len(ids[1]))


def assigned(labels, truth, threshold):
    """TP, FP, FN and sum of IoU: the most matches, and of these those of the largest sum."""
    scores = ious(labels, truth)
    good = scores >= threshold
    gain = good * (1 + scores / (2 * max(1, min(scores.shape))))
    rows, columns = linear_sum_assignment(-gain)
    matched = good[rows, columns]
    tp = int(matched.sum())
    total = scores[rows, columns][matched].sum()
    return tp, scores.shape[0] - tp, scores.shape[1] - tp, total


@settings(deadline=None, max_examples=150)
@given(PAIRS, st.sampled_from([0.05, 0.1, 0.2, 1 / 3, 0.4, *IOU_THRESHOLDS, 1.0]))
def test_matches_are_those_of_the_best_assignment(pair, threshold):
    labels, truth = pair
    found = match_objects(contingency(labels, truth, ignore=None), [threshold])[threshold]
    tp, fp, fn, total = assigned(labels, truth, threshold)
    assert (found.tp, found.fp, found.fn) == (tp, fp, fn)
    assert found.ious.sum() == pytest.approx(total)
    assert found.average_precision == pytest.approx(tp / (tp + fp + fn) if tp + fp + fn else 1)
    assert found.precision == pytest.approx(tp / (tp + fp) if tp + fp else 1)
    assert found.recall == pytest.approx(tp / (tp + fn) if tp + fn else 1)
    assert found.f1 == pytest.approx(2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1)
    quality = total / (tp + (fp + fn) / 2) if tp + fp + fn else 1
    assert found.panoptic_quality == pytest.approx(quality)


@settings(deadline=None)
@given(PAIRS, st.sampled_from([0.2, 0.5, 0.7]))
def test_no_object_is_matched_twice_and_each_match_reaches_the_threshold(pair, threshold):
    labels, truth = pair
    found = match_objects(contingency(labels, truth, ignore=None), [threshold])[threshold]
    assert len(set(found.labels.tolist())) == len(set(found.truth.tolist())) == found.tp
    assert 0 not in found.labels.tolist() + found.truth.tolist()
    for a, b, iou in zip(found.labels, found.truth, found.ious, strict=True):
        both, either = (labels == a) & (truth == b), (labels == a) | (truth == b)
        assert iou == both.sum() / either.sum() >= threshold


@settings(deadline=None)
@given(PAIRS, st.permutations(range(1, 8)))
def test_the_other_way_round_and_other_ids_change_no_more_than_the_sides(pair, ids):
    labels, truth = pair
    names = np.array([0, *ids])
    there = match_objects(contingency(labels, truth, ignore=None), [0.3, 0.5])
    back = match_objects(contingency(truth, names[labels] * 10**12, ignore=None), [0.3, 0.5])
    for level, one in there.items():
        assert (one.tp, one.fp, one.fn) == (back[level].tp, back[level].fn, back[level].fp)
        assert one.panoptic_quality == pytest.approx(back[level].panoptic_quality)


def test_two_equal_halves_are_one_match():
    """The only tie there is at 0.5."""
    halves = match_objects(contingency([1, 1, 2, 2], [5, 5, 5, 5]), [0.5])[0.5]
    assert (halves.tp, halves.fp, halves.fn) == (1, 1, 0)
    joined = match_objects(contingency([5, 5, 5, 5], [1, 1, 2, 2]), [0.5])[0.5]
    assert (joined.tp, joined.fp, joined.fn) == (1, 0, 1)


def test_below_a_half_a_greedy_choice_is_not_taken():
    """The best pair of all would leave two objects without a match."""
    table = Contingency.from_entries([1, 1, 2], [1, 2, 1], [30, 25, 20])
    found = match_objects(table, [0.2])[0.2]
    assert sorted(zip(found.labels.tolist(), found.truth.tolist(), strict=True)) == [(1, 2), (2, 1)]


def test_thresholds_are_reached_exactly():
    """3 of 5 voxels is an IoU of 0.6."""
    for k in range(10, 20):
        table = Contingency.from_entries([1, 1, 0], [1, 0, 1], [k, 20 - k, 1])
        shared = Contingency.from_entries([1, 0], [1, 1], [k, 20 - k])
        assert match_objects(shared, [k / 20])[k / 20].tp == 1
        assert match_objects(table, [k / 20])[k / 20].tp == 0
    assert IOU_THRESHOLDS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


def test_background_is_no_object_and_may_be_another_label():
    labels, truth = np.array([0, 0, 1, 3, 3]), np.array([0, 0, 2, 3, 3])
    by = {b: match_objects(contingency(labels, truth, ignore=None), [0.5], background=b)[0.5]
          for b in (0, 3, None)}  # fmt: skip
    assert [by[b].tp for b in (0, 3, None)] == [2, 2, 3]
    assert [by[b].fp for b in (0, 3, None)] == [0, 0, 0]


def test_what_the_truth_does_not_label_counts_only_where_it_is_not_ignored():
    labels, truth = np.array([1, 1, 2, 2]), np.array([1, 0, 0, 0])
    ignored = match_objects(contingency(labels, truth), [0.6])[0.6]
    assert (ignored.tp, ignored.fp, ignored.fn) == (1, 0, 0)
    counted = match_objects(contingency(labels, truth, ignore=None), [0.6])[0.6]
    assert (counted.tp, counted.fp, counted.fn) == (0, 2, 1)


def test_nothing_to_find_and_nothing_found_is_perfect():
    found = match_objects(contingency([0, 0], [0, 0], ignore=None))
    assert mean_average_precision(found) == 1
    assert found[0.5].as_dict() == {
        "tp": 0, "fp": 0, "fn": 0, "precision": 1, "recall": 1, "f1": 1,
        "average_precision": 1, "panoptic_quality": 1,
    }  # fmt: skip
    missed = match_objects(contingency([0, 0], [0, 1], ignore=None))
    assert mean_average_precision(missed) == 0
    assert "tp=0, fp=0, fn=1, precision=1.0000, recall=0.0000" in repr(missed[0.5])


def test_many_objects_take_no_dense_matrix():
    """At 50,000 objects that would be 20 GB."""
    ids = np.repeat(np.arange(1, 50_001), 10)
    labels = ids.copy()
    labels[::10] += 1
    found = match_objects(contingency(labels, ids), [0.4, 0.9])
    assert found[0.4].tp == 50_000
    assert found[0.9].tp == 1


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01, float("nan"), "half", None])
def test_thresholds_out_of_range_are_refused(threshold):
    with pytest.raises(InputError, match="threshold of the IoU is .*; give numbers over 0"):
        match_objects(contingency([1], [1]), [threshold])
