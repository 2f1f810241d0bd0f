"""Scores of classes, against masks and a dense confusion matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_implicitseg.class_scores import class_accuracy, class_ious, mean_iou
from napari_implicitseg.errors import InputError
from napari_implicitseg.metrics import contingency

PAIRS = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*[arrays(np.int64, n, elements=st.integers(-1, 5))] * 2)
)


@settings(deadline=None)
@given(PAIRS, st.sampled_from([None, 0, 3]))
def test_figures_are_those_of_masks(pair, ignore):
    labels, truth = pair
    table = contingency(labels, truth, ignore=ignore)
    kept = truth != ignore if ignore is not None else np.ones(truth.shape, bool)
    labels, truth = labels[kept], truth[kept]
    if not truth.size:
        assert class_ious(table) == {}
        for score in (mean_iou, class_accuracy):
            with pytest.raises(InputError, match="no voxel to compare"):
                score(table)
        return
    expected = {
        int(i): ((labels == i) & (truth == i)).sum() / ((labels == i) | (truth == i)).sum()
        for i in np.unique(truth)
    }
    assert class_ious(table) == pytest.approx(expected)
    assert list(class_ious(table)) == sorted(expected)
    assert mean_iou(table) == pytest.approx(np.mean(list(expected.values())))
    assert class_accuracy(table) == pytest.approx((labels == truth).mean())


@settings(deadline=None)
@given(PAIRS, st.permutations(range(7)))
def test_classes_may_be_renamed_on_both_sides_together(pair, ids):
    labels, truth = (side + 1 for side in pair)
    names = np.array(ids) * 10**14
    table = contingency(labels, truth, ignore=None)
    renamed = contingency(names[labels], names[truth], ignore=None)
    assert mean_iou(renamed) == pytest.approx(mean_iou(table))
    assert class_accuracy(renamed) == class_accuracy(table)


def test_ids_of_64_bits_are_not_taken_for_their_neighbours():
    """As floats, and as bits of another sign, these are the same."""
    labels = np.array([2**64 - 1, 2**63, 5, 2**53 + 1], np.uint64)
    truth = np.array([-1, 2**62, 5, 2**53], np.int64)
    table = contingency(labels, truth)
    assert class_accuracy(table) == 0.25
    assert class_ious(table) == {-1: 0, 5: 1, 2**53: 0, 2**62: 0}
