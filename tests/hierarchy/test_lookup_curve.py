"""Scores of many cuts from one table of fragments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import adapted_rand_error, variation_of_information

from napari_implicitseg.errors import Cancelled, InputError
from napari_implicitseg.evaluation import evaluate
from napari_implicitseg.hierarchy.lookup_curve import (
    default_thresholds,
    hierarchy_curve,
    score_lookups,
)
from napari_implicitseg.metrics import contingency, rand_index

from .hierarchy_cases import AFFINITY_LINKAGES, LINKAGES, VOLUMES, hierarchy_of, levels, row_of

FRAGMENTS = st.integers(2, 40).flatmap(
    lambda n: st.tuples(*[arrays(np.int64, n, elements=st.integers(0, 6))] * 2)
)


@settings(deadline=None)
@given(FRAGMENTS, st.lists(arrays(np.uint32, 7, elements=st.integers(0, 4)), min_size=1))
def test_scores_are_those_of_the_relabelled_voxels(pair, tables):
    fragments, truth = pair
    truth[0] = 1
    table = contingency(fragments, truth)
    curve = score_lookups(table, ((k / 10, lookup) for k, lookup in enumerate(tables)))
    assert len(curve) == len(tables)
    for k, lookup in enumerate(tables):
        labels = lookup[fragments]
        split, merge = variation_of_information(truth, labels, ignore_labels=(0,))
        assert curve[k].threshold == k / 10
        assert curve[k].voi_split == pytest.approx(split, abs=1e-9)
        assert curve[k].voi_merge == pytest.approx(merge, abs=1e-9)
        assert curve[k].rand_index == rand_index(contingency(labels, truth))
        assert curve[k].objects == len(set(lookup[1:].tolist()) - {0})
        if len(set(truth[truth > 0])) < (truth > 0).sum():
            with np.errstate(invalid="ignore"):  # Where no label has two voxels.
                expected = adapted_rand_error(truth, labels.astype(int))[0]
            assert curve[k].adapted_rand_error == pytest.approx(expected)


def test_the_best_cut_is_found():
    truth = np.repeat([1, 2, 3], 8)
    fragments = np.repeat(np.arange(1, 7), 4)
    nested = [(0, range(7)), (0.4, [0, 1, 1, 2, 2, 3, 3]), (1, [0] + [1] * 6)]
    curve = score_lookups(contingency(fragments, truth), nested)
    assert curve.best().threshold == curve.best("adapted_rand_error").threshold == 0.4
    assert curve.voi.tolist() == pytest.approx([1, 0, np.log2(3)])
    assert curve.objects.tolist() == [6, 3, 1]


@pytest.mark.parametrize("lookup", [[0, 1], [[0, 1, 2, 3]], [0.0, 1.0, 2.0, 3.0], [], ["a"] * 4])
def test_a_lookup_needs_a_label_for_each_fragment(lookup):
    table = contingency([1, 2, 3], [1, 1, 1])
    with pytest.raises(InputError, match="lookup of threshold 0.5 .* fragments from 1 to 3"):
        score_lookups(table, [(0.5, lookup)])


def test_there_has_to_be_a_lookup_and_a_voxel():
    with pytest.raises(InputError, match="no lookups"):
        score_lookups(contingency([1], [1]), [])
    with pytest.raises(InputError, match="no voxel to compare"):
        score_lookups(contingency([1], [0]), [(0.5, [0, 1])])
    with pytest.raises(InputError, match="fragments from -1 to 2"):
        score_lookups(contingency([-1, 2], [1, 1]), [(0.5, [0, 1, 2])])


def truth_for(hierarchy, seed, low=0):
    """A random truth with voxels of 0, one at least not."""
    truth = np.random.default_rng(seed).integers(low, 4, hierarchy.fragments.shape)
    truth.reshape(-1)[-1] = 3
    return truth


@settings(deadline=None, max_examples=60)
@given(VOLUMES, st.sampled_from(LINKAGES), st.sampled_from([0, None, 3]))
def test_a_curve_has_the_scores_of_cutting_and_evaluating(case, linkage, ignore):
    hierarchy = hierarchy_of(case, linkage)
    truth = truth_for(hierarchy, case[-1])
    truth.reshape(-1)[0] = 2
    thresholds = levels(hierarchy)
    curve = hierarchy.curve(truth, thresholds, ignore=ignore)
    assert curve.thresholds.tolist() == pytest.approx([float(t) for t in thresholds])
    for k, threshold in enumerate(thresholds):
        labels = hierarchy.cut(threshold)
        found = evaluate(labels, truth, ignore=ignore)
        assert curve[k].voi_split == pytest.approx(found["voi_split"], abs=1e-12)
        assert curve[k].voi_merge == pytest.approx(found["voi_merge"], abs=1e-12)
        assert curve[k].adapted_rand_error == pytest.approx(found["adapted_rand_error"])
        assert curve[k].objects == len(set(labels.ravel().tolist()) - {0})


@settings(deadline=None, max_examples=60)
@given(VOLUMES, st.sampled_from(LINKAGES))
def test_the_default_thresholds_miss_no_number_of_objects_of_few(case, linkage):
    hierarchy = hierarchy_of(case, linkage)
    thresholds = default_thresholds(hierarchy)
    assert len(thresholds) <= 100
    assert (np.diff(thresholds) > 0).all()
    if linkage in AFFINITY_LINKAGES:
        assert {0.0, 0.5, 1.0} <= {*thresholds.tolist()}
    counts = {int(hierarchy.fragment_labels(t).max()) for t in thresholds}
    merges = hierarchy.altitudes[hierarchy.size :]
    merges = merges[np.isfinite(merges)]
    lowest = 0
    if linkage in AFFINITY_LINKAGES:
        lowest, merges = -1, merges[merges < 1]  # Nothing is joined by an affinity of 0.
    # Of equal merges all are done or none.
    every = {hierarchy.size - int((merges <= m).sum()) for m in [lowest, *merges]}
    assert {min(every), max(every)} <= counts <= every
    assert {n for n in every if n < min(every) + 10} <= counts
    curve = hierarchy.curve(truth_for(hierarchy, 1))
    assert curve.thresholds.tolist() == thresholds.tolist()


def test_the_default_thresholds_of_many_merges_are_few_and_spread():
    rng = np.random.default_rng(0)
    hierarchy = row_of(rng.uniform(0.98, 0.99, 3000), linkage="single")
    thresholds = default_thresholds(hierarchy)
    assert len(thresholds) <= 100
    counts = np.sort([int(hierarchy.fragment_labels(t).max()) for t in thresholds])
    assert (counts[0], counts[-1]) == (1, 3001)
    assert (counts[1:] / counts[:-1]).max() <= 2


def test_the_best_threshold_of_a_hierarchy_gives_the_truth_back():
    hierarchy = row_of([0.9, 0.8, 0.2, 0.7, 0.1, 0.95])
    curve = hierarchy.curve([[4, 4, 4, 9, 9, 2, 2]])
    assert curve.best().voi == 0
    assert 0.2 <= curve.best().threshold < 0.7


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ([[1, 1, 1]], r"truth has shape \(1, 3\), but the hierarchy is of \(1, 4\)"),
        ([[1.5, 1, 1, 1]], "truth are of type float64"),
        ([[0, 0, 0, 0]], "no voxel to compare: all 4 are left out"),
        ([[1, 1], [1]], "lists of different lengths"),
        (7, r"shape \(\)"),
    ],
)
def test_a_truth_that_does_not_fit_is_refused(truth, message):
    with pytest.raises(InputError, match=message):
        row_of([0.9, 0.2, 0.8]).curve(truth)


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [([], "one or more"), (0.5, "one or more"), (["a"], "give numbers"), ([0.5, 1.5], "1.5")],
)
def test_thresholds_that_are_none_are_refused(thresholds, message):
    with pytest.raises(InputError, match=message):
        row_of([0.9, 0.2, 0.8]).curve([[1, 1, 2, 2]], thresholds)


def test_a_curve_is_cancelled_between_thresholds():
    heard = []

    def progress(share, text):
        heard.append(share)
        if len(heard) == 3:
            raise Cancelled("enough")

    hierarchy = row_of([0.9, 0.2, 0.8])
    table = contingency(hierarchy.fragments, np.ones_like(hierarchy.fragments))
    with pytest.raises(Cancelled):
        hierarchy_curve(hierarchy, table, progress=progress)
    assert heard == sorted(heard)
    assert len(heard) == 3
