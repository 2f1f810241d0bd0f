"""Scores of many cuts from one table of fragments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import adapted_rand_error, variation_of_information

from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy.lookup_curve import score_lookups
from napari_implicitseg.metrics import contingency, rand_index

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
