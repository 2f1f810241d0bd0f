"""Cuts of a hierarchy, and what a hierarchy made by hand has to be."""

from __future__ import annotations

from dataclasses import replace

import higra as hg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.affinities.ops import Affinities
from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy.building import build_hierarchy
from napari_implicitseg.hierarchy.components import threshold_labels
from napari_implicitseg.hierarchy.tree import Hierarchy

from .fragment_cases import CASES, plain, random_affinities
from .hierarchy_cases import (
    AFFINITY_LINKAGES,
    LINKAGES,
    VOLUMES,
    bare,
    cut_literally,
    hierarchy_of,
    partition,
)

THRESHOLDS = [0.0, 0.125, 0.25, 1 / 3, 0.5, 0.9, 1.0]


def by_hand(**changed):
    """Three fragments in a row: the first two merge at 0.25, all at 0.5."""
    parts = {
        "fragments": np.array([[1, 1, 2, 3]], np.uint32),
        "tree": hg.Tree(np.array([3, 3, 4, 4, 4])),
        "altitudes": np.array([0, 0, 0, 0.25, 0.5]),
    }
    return Hierarchy(**(parts | changed))


def levels(hierarchy):
    """Thresholds to cut at: those that matter, and some between and beyond."""
    if hierarchy.by_affinity:
        return [*THRESHOLDS, *np.unique(1 - hierarchy.altitudes[np.isfinite(hierarchy.altitudes)])]
    found = np.unique(hierarchy.altitudes[np.isfinite(hierarchy.altitudes)])
    return [*found, *(found[1:] + found[:-1]) / 2, 1e9, np.inf]


@settings(deadline=None, max_examples=120)
@given(VOLUMES, st.sampled_from(LINKAGES))
def test_a_cut_is_the_merges_below_the_threshold(case, linkage):
    hierarchy = hierarchy_of(case, linkage)
    for threshold in levels(hierarchy):
        labels = hierarchy.cut(threshold)
        assert labels.dtype == np.uint32
        np.testing.assert_array_equal(labels, cut_literally(hierarchy, threshold))
        np.testing.assert_array_equal(
            hierarchy.painted(hierarchy.fragment_labels(threshold)), labels
        )


@settings(deadline=None, max_examples=80)
@given(VOLUMES, st.sampled_from(LINKAGES))
def test_cuts_are_nested(case, linkage):
    hierarchy = hierarchy_of(case, linkage)
    order = sorted(levels(hierarchy), reverse=hierarchy.by_affinity)
    finer = hierarchy.fragment_labels(order[0])
    for threshold in order[1:]:
        coarser = hierarchy.fragment_labels(threshold)
        pairs = {*zip(finer.tolist(), coarser.tolist(), strict=True)}
        assert len(pairs) == len(set(finer.tolist()))
        finer = coarser


@settings(deadline=None, max_examples=120)
@given(CASES)
def test_single_linkage_of_voxels_is_thresholding(case):
    affinities = random_affinities(case)
    hierarchy = build_hierarchy(affinities, linkage="single", fragments="voxels")
    direct = affinities.data[affinities.known]
    for threshold in [*THRESHOLDS, *np.unique(direct[np.isfinite(direct)])[:20].tolist()]:
        np.testing.assert_array_equal(
            hierarchy.cut(threshold), threshold_labels(affinities, threshold)
        )


@settings(deadline=None, max_examples=80)
@given(VOLUMES, st.sampled_from(LINKAGES))
def test_cutting_into_a_number_gives_it_or_the_next_smaller_one(case, linkage):
    hierarchy = hierarchy_of(case, linkage)
    apart = 1 + np.isinf(hierarchy.altitudes).sum()
    heights = hierarchy.altitudes[hierarchy.size :]
    there = {int(hierarchy.size - (heights <= h).sum()) for h in heights[np.isfinite(heights)]}
    there.add(hierarchy.size)
    for wanted in range(1, hierarchy.size + 3):
        labels = hierarchy.cut_into(wanted)
        count = labels.max()
        smaller = {n for n in there if n <= wanted}
        assert count == (max(smaller) if smaller else apart)
        assert len(np.unique(labels[labels > 0])) == count


@pytest.mark.parametrize("wanted", [0, -1, 1.5, True, "two", None, np.nan])
def test_numbers_of_objects_that_are_none_are_refused(wanted):
    with pytest.raises(InputError, match="objects is .*whole number from 1"):
        by_hand().cut_into(wanted)


def test_a_threshold_is_exclusive_for_affinities_and_inclusive_for_altitudes():
    assert by_hand().cut(0.75).tolist() == [[1, 1, 2, 3]]
    assert by_hand().cut(0.7499999).tolist() == [[1, 1, 1, 2]]
    area = by_hand(linkage="area", altitudes=np.array([0, 0, 0, 2, 5]))
    assert area.cut(1.9).tolist() == [[1, 1, 2, 3]]
    assert area.cut(2).tolist() == [[1, 1, 1, 2]]
    assert area.cut(np.inf).tolist() == [[1, 1, 1, 1]]


def test_a_threshold_is_as_precise_as_affinities():
    """0.3 as float32 is a little more than 0.3; it is not above itself."""
    voxels = build_hierarchy(plain([[[0, 0.3]]], ((0, -1),)), fragments="voxels")
    assert voxels.cut(0.3).tolist() == [[1, 2]]
    assert voxels.cut(0.2999).tolist() == [[1, 1]]


def test_what_never_touches_is_never_joined():
    hierarchy = by_hand(altitudes=np.array([0, 0, 0, 0.25, np.inf]))
    assert hierarchy.cut(0).tolist() == hierarchy.cut_into(1).tolist() == [[1, 1, 1, 2]]
    area = by_hand(altitudes=np.array([0, 0, 0, 3, np.inf]), linkage="area")
    assert area.cut(np.inf).tolist() == [[1, 1, 1, 2]]


@pytest.mark.parametrize("linkage", LINKAGES)
def test_one_fragment_is_a_hierarchy(linkage):
    affinities = plain(np.ones((2, 2, 3)))
    hierarchy = build_hierarchy(affinities, fragments=np.ones((2, 3), int), linkage=linkage)
    assert hierarchy.size == 1
    for labels in (hierarchy.cut(0.5), hierarchy.cut_into(1), hierarchy.cut_optimal()):
        assert labels.tolist() == [[1] * 3] * 2
    seeds = np.zeros((2, 3), int)
    seeds[1, 1] = 7
    assert (hierarchy.cut_with_seeds(seeds) == 7).all()


def test_voxels_of_no_fragment_are_of_no_object():
    hierarchy = by_hand(fragments=np.array([[0, 1, 2, 3], [0, 0, 0, 3]]))
    assert hierarchy.cut(0).tolist() == [[0, 1, 1, 1], [0, 0, 0, 1]]
    assert hierarchy.cut(1).tolist() == [[0, 1, 2, 3], [0, 0, 0, 3]]


@pytest.mark.parametrize("threshold", [-0.1, 1.1, np.nan, "half", None])
def test_thresholds_out_of_range_are_refused(threshold):
    for cut in (by_hand().cut, by_hand().cut_optimal, by_hand().fragment_labels):
        with pytest.raises(InputError, match="[tT]hreshold is|no region graph"):
            cut(threshold)


@pytest.mark.parametrize("threshold", [-0.1, np.nan, "half", None])
def test_altitudes_to_cut_at_are_not_negative(threshold):
    with pytest.raises(InputError, match="threshold is .*(give a number|not negative)"):
        by_hand(linkage="ward").cut(threshold)


@pytest.mark.parametrize(
    "lookup", [[0, 1, 2], [0, 1, 2, 3, 4], [[0, 1, 2, 3]], [0.0, 1, 2, 3], 5, ["a"] * 4]
)
def test_labels_that_do_not_fit_the_fragments_are_refused(lookup):
    with pytest.raises(InputError, match="whole numbers for the 3 fragments.*4 in all"):
        by_hand().painted(np.array(lookup))


# What a hierarchy has to be


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, np.uint64, ">i4"])
def test_fragments_of_any_integers_and_layout_are_taken(kind):
    fragments = np.asfortranarray(np.array([[1, 1], [2, 3]], kind))
    hierarchy = by_hand(fragments=fragments)
    assert hierarchy.fragments.dtype == np.uint32
    assert hierarchy.fragments.flags.c_contiguous
    assert hierarchy.cut(0.6).tolist() == [[1, 1], [1, 2]]


def test_fragments_and_altitudes_that_fit_are_not_copied():
    hierarchy = by_hand()
    again = replace(hierarchy, linkage="single")
    assert again.fragments is hierarchy.fragments
    assert again.altitudes is hierarchy.altitudes
    assert repr(hierarchy) == "Hierarchy(3 fragments of (1, 4), by mean)"


@pytest.mark.parametrize(
    ("fragments", "message"),
    [
        (np.array([[1, 2, 3, 4]], np.uint32), "range up to 4, but the tree has 3 leaves"),
        (np.array([[1, 2, 3, 2**32 - 1]], np.uint32), "range up to 4294967295"),
        (np.array([[1, 2, 3, 4]]), "range from 1 to 4, but"),
        (np.array([[-1, 1, 2, 3]]), "range from -1 to 3"),
        (np.array([[1, 3]], np.uint32), "No voxel is in fragment 2"),
        (np.array([[0, 0]]), "No voxel is in fragment 1"),
        (np.array([[1.0, 2.0]]), "type float64; give an array of integers"),
        (np.array([[True]]), "type bool"),
        ([[1, 2, 3]], "type list"),
        (np.array([1, 2, 3]), r"shape \(3,\); give \(y, x\)"),
        (np.zeros((0, 3), np.uint32), r"shape \(0, 3\)"),
        (np.ones((1, 1, 1, 1), np.uint32), r"shape \(1, 1, 1, 1\)"),
    ],
)
def test_fragments_that_are_not_the_leaves_are_refused(fragments, message):
    with pytest.raises(InputError, match=message):
        by_hand(fragments=fragments)


@pytest.mark.parametrize(
    ("altitudes", "message"),
    [
        ([0, 0, 0, 0.25], r"float64 \(4,\); give a number for each of the 5 nodes"),
        ([0, 0, 0, 0.5, 0.25], "fall from a node to its parent"),
        ([0, 0, 0, np.nan, 0.5], "negative or NaN"),
        ([0, 0, 0, -0.5, 0.5], "negative or NaN"),
        ([0, 0, 0, 2, 5], 'up to 5; .*linkage="area"'),
        (["a"] * 5, "give a number for each"),
    ],
)
def test_altitudes_that_do_not_rise_are_refused(altitudes, message):
    with pytest.raises(InputError, match=message):
        by_hand(altitudes=np.array(altitudes))


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        (None, "type NoneType; give a higra.Tree"),
        (np.array([3, 3, 4, 4, 4]), "type ndarray"),
        (hg.Tree(np.array([3, 3, 3, 3])), "3 leaves and 1 other nodes.*join two nodes"),
        (hg.Tree(np.array([4, 4, 3, 5, 5, 5])), "join two nodes"),
    ],
)
def test_trees_of_other_than_two_children_are_refused(tree, message):
    with pytest.raises(InputError, match=message):
        by_hand(tree=tree)


def test_linkages_graphs_and_affinities_have_to_fit():
    with pytest.raises(InputError, match="linkage is 'median'; choose one of single"):
        by_hand(linkage="median")
    graph = build_hierarchy(plain(np.zeros((2, 1, 4))), fragments="voxels").graph
    with pytest.raises(InputError, match="4 nodes and 3 edges.* the 3 fragments"):
        by_hand(graph=graph)
    beyond = replace(graph, sizes=np.ones(3, np.int64))
    with pytest.raises(InputError, match="3 nodes and 3 edges"):
        by_hand(graph=beyond)
    affinities = Affinities(
        data=np.zeros((1, 2, 2), np.float32), offsets=((0, -1),), spacing=(1, 1)
    )
    with pytest.raises(InputError, match=r"volume of \(2, 2\), the fragments of \(1, 4\)"):
        by_hand(affinities=affinities)


@pytest.mark.parametrize("i", [4, 5, 2**32 - 1])
def test_ids_written_later_are_never_looked_up_beyond_the_end(i):
    hierarchy = by_hand()
    hierarchy.fragments[0, 2] = i
    with pytest.raises(InputError, match="ids beyond 3, .*Make a new one"):
        hierarchy.cut(0.5)


@pytest.mark.parametrize("linkage", AFFINITY_LINKAGES)
def test_a_hierarchy_by_hand_cuts_as_the_one_it_is_made_of(linkage):
    hierarchy = hierarchy_of(((3, 4, 4), 0, 8, 0.2, 3), linkage)
    for threshold in THRESHOLDS:
        np.testing.assert_array_equal(bare(hierarchy).cut(threshold), hierarchy.cut(threshold))


def test_ids_are_in_the_order_of_the_fragments():
    hierarchy = hierarchy_of(((5, 6), 0, 8, 0.2, 5))
    lookup = hierarchy.fragment_labels(0.6)[1:]
    np.testing.assert_array_equal(partition(lookup), lookup)
    assert 1 < lookup.max() < hierarchy.size
