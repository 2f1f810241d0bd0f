"""The best partition of a tree against all there are, and borders against cuts."""

from __future__ import annotations

import higra as hg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.affinities.ops import edge_slices
from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy.cuts import edge_saliency, optimal_labels, saliency_map
from napari_implicitseg.hierarchy.linkages import agglomerate
from napari_implicitseg.hierarchy.tree import Hierarchy

from .hierarchy_cases import (
    AFFINITY_LINKAGES,
    GRAPHS,
    LINKAGES,
    VOLUMES,
    bare,
    children_of,
    hierarchy_of,
    members_of,
    partition,
    random_graph,
)


def all_cuts(hierarchy):
    """All partitions into regions of the tree: lists of nodes. No region holds what is apart."""
    children = children_of(hierarchy.parents, hierarchy.size)
    cuts = [[[leaf]] for leaf in range(hierarchy.size)]
    for node, (a, b) in enumerate(children, hierarchy.size):
        both = [one + two for one in cuts[a] for two in cuts[b]]
        cuts.append(both + [[node]] * bool(np.isfinite(hierarchy.altitudes[node])))
    return cuts[-1]


def cost_of(lookup, graph, threshold):
    """How far the affinities of all edges that are treated wrongly are from the threshold."""
    gains = graph.sums - np.float32(threshold).astype(float) * graph.counts
    same = lookup[graph.edges[:, 0] + 1] == lookup[graph.edges[:, 1] + 1]
    return -gains[same].sum()


@settings(deadline=None, max_examples=250)
@given(GRAPHS, st.sampled_from(AFFINITY_LINKAGES), st.sampled_from([0, 0.3, 0.5, 0.8, 1]))
def test_no_cut_of_the_tree_costs_less_than_the_optimal_one(case, linkage, threshold):
    number = case[0]
    graph, _ = random_graph(case)
    parents, altitudes = agglomerate(graph, linkage)
    hierarchy = Hierarchy(
        fragments=np.arange(1, number + 1).reshape(1, -1),
        tree=hg.Tree(parents),
        altitudes=altitudes,
        linkage=linkage,
        graph=graph,
    )
    lookup = optimal_labels(hierarchy, threshold)
    check_regions(hierarchy, lookup)
    members = members_of(hierarchy.parents, number)
    best = np.inf
    for cut in all_cuts(hierarchy):
        other = np.zeros(number + 1, np.int64)
        for i, node in enumerate(cut, 1):
            other[[leaf + 1 for leaf in members[node]]] = i
        best = min(best, cost_of(other, graph, threshold))
    assert cost_of(lookup, graph, threshold) == pytest.approx(best, abs=1e-9)


def check_regions(hierarchy, lookup):
    """Each object is a region of the tree, in one part; ids go by first fragments."""
    assert lookup[0] == 0
    np.testing.assert_array_equal(partition(lookup), lookup)
    members = members_of(hierarchy.parents, hierarchy.size)
    finite = np.isfinite(hierarchy.altitudes)
    whole = {frozenset(m) for m, f in zip(members, finite, strict=True) if f}
    assert {frozenset(np.flatnonzero(lookup[1:] == i).tolist()) for i in set(lookup[1:])} <= whole


@settings(deadline=None, max_examples=80)
@given(VOLUMES, st.sampled_from(LINKAGES), st.sampled_from([0, 0.3, 0.5, 0.8, 1]))
def test_optimal_cuts_of_volumes_are_regions_of_the_tree(case, linkage, threshold):
    hierarchy = hierarchy_of(case, linkage)
    lookup = optimal_labels(hierarchy, threshold)
    check_regions(hierarchy, lookup)
    np.testing.assert_array_equal(hierarchy.cut_optimal(threshold), lookup[hierarchy.fragments])
    # No cut at one level costs less.
    for level in np.unique(hierarchy.altitudes[np.isfinite(hierarchy.altitudes)]):
        if not hierarchy.by_affinity:
            other = hierarchy.fragment_labels(level)
            least = cost_of(other, hierarchy.graph, threshold)
            assert cost_of(lookup, hierarchy.graph, threshold) <= least + 1e-9


@settings(deadline=None, max_examples=100)
@given(VOLUMES, st.sampled_from(LINKAGES))
def test_borders_of_the_map_are_those_of_the_cuts(case, linkage):
    hierarchy = hierarchy_of(case, linkage)
    map_ = saliency_map(hierarchy)
    assert map_.dtype == np.float32
    heights = np.unique(hierarchy.altitudes[np.isfinite(hierarchy.altitudes)])
    # The map is float32: levels a little away from all heights.
    apart = np.flatnonzero(np.diff(heights) > 1e-4)
    for level in (heights[apart] + heights[apart + 1]) / 2:
        labels = hierarchy.cut(1 - level if hierarchy.by_affinity else level)
        np.testing.assert_array_equal(map_ > level, borders(labels))
    # Where nothing is joined, all borders of an altitude above 0 are there.
    assert not map_[~borders(hierarchy.fragments)].any()


def borders(labels):
    """Voxels beside another object."""
    border = np.zeros(labels.shape, bool)
    for axis in range(labels.ndim):
        here, there = edge_slices(labels.shape, tuple(-(a == axis) for a in range(labels.ndim)))
        other = (labels[here] != labels[there]) & (labels[here] > 0) & (labels[there] > 0)
        border[here] |= other
        border[there] |= other
    return border


def test_a_map_needs_no_graph():
    hierarchy = hierarchy_of(((3, 4, 4), 0, 8, 0.2, 1))
    np.testing.assert_array_equal(saliency_map(hierarchy), saliency_map(bare(hierarchy)))
    assert saliency_map(hierarchy).max() > 0


@settings(deadline=None, max_examples=60)
@given(VOLUMES, st.sampled_from(AFFINITY_LINKAGES))
def test_saliency_of_edges_is_where_cuts_join_their_ends(case, linkage):
    hierarchy = hierarchy_of(case, linkage)
    heights = edge_saliency(hierarchy)
    assert heights.shape == (len(hierarchy.graph.edges),)
    for threshold in (0, 0.2, 0.5, 0.7, 1):
        lookup = hierarchy.fragment_labels(threshold)[1:]
        joined = lookup[hierarchy.graph.edges[:, 0]] == lookup[hierarchy.graph.edges[:, 1]]
        np.testing.assert_array_equal(joined, heights < 1 - float(np.float32(threshold)))


def test_optimal_cuts_need_a_graph_and_a_threshold():
    hierarchy = hierarchy_of(((5, 6), 0, 8, 0, 1))
    with pytest.raises(InputError, match="no region graph; make it by build_hierarchy"):
        bare(hierarchy).cut_optimal()
    for threshold in (-0.1, 2, np.nan, "half"):
        with pytest.raises(InputError, match="threshold is"):
            hierarchy.cut_optimal(threshold)
