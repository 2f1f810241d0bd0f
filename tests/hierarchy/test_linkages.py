"""Trees over region graphs: options, and the hierarchies of higra part by part."""

from __future__ import annotations

from dataclasses import replace

import higra as hg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy.linkages import agglomerate, merge_order

from .hierarchy_cases import GRAPHS, children_of, graph_of, members_of, random_graph

BY_HIGRA = ("ward", "area", "dynamics", "volume")


def by_higra(graph, linkage, features):
    """The hierarchy of a connected graph as higra gives it."""
    peer = hg.UndirectedGraph(len(graph.sizes))
    peer.add_edges(*graph.edges.T)
    weights, sizes = 1 - graph.means, graph.sizes.astype(float)
    if linkage == "ward":
        return hg.binary_partition_tree_ward_linkage(peer, features, sizes)
    if linkage == "dynamics":
        return hg.watershed_hierarchy_by_dynamics(peer, weights, canonize_tree=False)
    make = getattr(hg, f"watershed_hierarchy_by_{linkage}")
    return make(peer, weights, vertex_area=sizes, canonize_tree=False)


def check_tree(parents, altitudes, number):
    """Each merge joins two nodes before it, at no lower altitude."""
    children_of(parents, number)
    assert (parents[:-1] > np.arange(len(parents) - 1)).all()
    assert parents[-1] == len(parents) - 1
    assert (altitudes[parents] >= altitudes).all()
    assert (altitudes[:number] == 0).all()


@settings(deadline=None, max_examples=120)
@given(GRAPHS, st.sampled_from(BY_HIGRA))
def test_parts_of_a_graph_have_the_trees_they_have_alone(case, linkage):
    """Two copies of a graph beside each other, their nodes mixed."""
    number = case[0]
    graph, lists = random_graph((number, 1.0, *case[2:]))
    rng = np.random.default_rng(case[-1])
    features = rng.random((number, 2))
    place = rng.permutation(2 * number)
    both = np.concatenate([graph.edges, graph.edges + number])
    pairs = np.sort(place[both], axis=1).reshape(-1, 2)
    order = np.lexsort(pairs.T[::-1])
    double = graph_of(2 * number, pairs[order], [(lists * 2)[k] for k in order])
    sizes = np.empty(2 * number, np.int64)
    sizes[place] = np.tile(graph.sizes, 2)
    double.sizes[:] = sizes
    wide = np.empty((2 * number, 2))
    wide[place] = np.tile(features, (2, 1))
    parents, altitudes = merge_order(double, linkage, features=wide)
    check_tree(parents, altitudes, 2 * number)
    assert np.isinf(altitudes).sum() == 1
    if number == 1:
        return
    _, heights = by_higra(graph, linkage, features)
    found = np.sort(altitudes[2 * number : -1])
    values = len({v for values in lists for v in values.tolist()})
    if values == sum(len(v) for v in lists):
        np.testing.assert_allclose(found, np.sort(np.tile(heights[number:], 2)), atol=1e-12)
    members = members_of(parents, 2 * number)
    for half in (place[:number], place[number:]):
        assert set(half.tolist()) in members


@settings(deadline=None, max_examples=60)
@given(GRAPHS, st.sampled_from(BY_HIGRA))
def test_graphs_in_many_parts_make_a_tree(case, linkage):
    graph, _ = random_graph(case)
    features = np.random.default_rng(0).random((case[0], 3))
    parents, altitudes = merge_order(graph, linkage, features=features)
    check_tree(parents, altitudes, case[0])
    apart, heights = agglomerate(graph, "mean")
    assert np.isinf(altitudes).sum() == np.isinf(heights).sum()
    members, peer = members_of(parents, case[0]), members_of(apart, case[0])
    joined = [m for m, a in zip(members, altitudes, strict=True) if np.isfinite(a)]
    for part, height in zip(peer, heights, strict=True):
        if np.isfinite(height):
            assert any(part <= other for other in joined)


def test_area_is_that_of_the_smaller_basin_where_two_meet():
    # Regions of 1 to 4 voxels in a row: the basins of the first two and of the others.
    graph = graph_of(4, [(0, 1), (1, 2), (2, 3)], [[0.9], [0.1], [0.8]])
    _, altitudes = merge_order(graph, "area")
    assert altitudes.tolist() == [0] * 6 + [3]


def test_ward_joins_what_is_alike_first():
    graph = graph_of(4, [(0, 1), (1, 2), (2, 3)], [[0.5]] * 3)
    features = np.array([[0.0], [0.1], [5.0], [5.0]])
    parents, altitudes = merge_order(graph, "ward", features=features)
    assert children_of(parents, 4)[0] == [2, 3]
    assert altitudes[4] == 0
    assert children_of(parents, 4)[1] == [0, 1]


@pytest.mark.parametrize("q", [-0.1, 1.5, np.nan, "half", None, True])
def test_quantiles_out_of_range_are_refused(q):
    with pytest.raises(InputError, match="quantile is .*give a number from 0 to 1"):
        agglomerate(graph_of(2, [(0, 1)], [[0.5]]), "quantile", quantile=q)


@pytest.mark.parametrize("linkage", ["ward", "median", None])
def test_linkages_without_an_affinity_are_refused(linkage):
    with pytest.raises(InputError, match="linkage is .*choose one of single, mean, quantile"):
        agglomerate(graph_of(2, [(0, 1)], [[0.5]]), linkage)


@pytest.mark.parametrize("linkage", ["mean", "median", None])
def test_linkages_that_higra_does_not_have_are_refused(linkage):
    with pytest.raises(InputError, match="linkage is .*choose one of ward, area"):
        merge_order(graph_of(2, [(0, 1)], [[0.5]]), linkage)


def test_quantiles_need_histograms():
    graph = replace(random_graph((4, 1.0, 5, 0))[0], histograms=None)
    with pytest.raises(InputError, match="no histograms; build it with bins=256"):
        agglomerate(graph, "quantile")


@pytest.mark.parametrize("seeds", [[1], [1, 2, 3], [-1, 0], [0.5, 1], ["a", "b"], [[1, 2]]])
def test_seeds_that_do_not_fit_the_regions_are_refused(seeds):
    with pytest.raises(InputError, match="seeds of regions are .*give 2 whole numbers"):
        agglomerate(graph_of(2, [(0, 1)], [[0.5]]), "mean", seeds=np.array(seeds))


@pytest.mark.parametrize("features", [None, np.zeros((3, 1))])
def test_ward_needs_features_of_each_region(features):
    with pytest.raises(InputError, match=r"needs features of 2 regions; give an array \(N, F\)"):
        merge_order(graph_of(2, [(0, 1)], [[0.5]]), "ward", features=features)


def test_more_edges_than_can_be_numbered_are_refused(monkeypatch):
    from napari_implicitseg.hierarchy import linkages

    monkeypatch.setattr(linkages, "_MOST_EDGES", 1)
    graph = graph_of(3, np.array([[0, 1], [1, 2]]), [[0.5], [0.6]])
    with pytest.raises(InputError, match="edges, more than the 1 that are merged at a time"):
        agglomerate(graph)
