"""Agglomeration against what it says: each merge is the best that there is."""

from __future__ import annotations

from dataclasses import replace

import higra as hg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from napari_implicitseg.hierarchy._merging_edges import MAXIMUM, MEAN
from napari_implicitseg.hierarchy.linkages import agglomerate, edges_of, merged

from .hierarchy_cases import (
    AFFINITY_LINKAGES,
    GRAPHS,
    children_of,
    graph_of,
    literal_score,
    members_of,
    random_graph,
)


def check_literally(graph, linkage, seeds, share=0.5):
    """Follow the merges, and look at all regions there are before each of them."""
    number = len(graph.sizes)
    parents, altitudes = agglomerate(graph, linkage, quantile=share, seeds=seeds)
    assert len(parents) == len(altitudes) == 2 * number - 1
    assert (altitudes[:number] == 0).all()
    region_of = np.arange(number)
    lowest = np.inf
    for k, (a, b) in enumerate(children_of(parents, number)):
        node = number + k
        best = -np.inf
        own = {}
        for row in range(len(graph.edges)):
            ends = tuple(sorted(region_of[graph.edges[row]].tolist()))
            own.setdefault(ends, []).append(row)
        for ends, rows in own.items():
            kinds = {int(s) for s in seeds[np.isin(region_of, ends)]} - {0}
            if ends[0] != ends[1] and len(kinds) < 2:
                score = literal_score(linkage, graph, rows, share)
                best = max(best, score)
                if ends == (min(a, b), max(a, b)):
                    merged = score
        if not np.isfinite(altitudes[node]):
            # All the rest must not, or cannot, be joined.
            assert best == -np.inf
            assert np.isinf(altitudes[node:]).all()
            break
        assert merged >= best - 1e-12
        lowest = min(lowest, merged)
        assert altitudes[node] == pytest.approx(1 - lowest, abs=1e-12)
        region_of[np.isin(region_of, (a, b))] = node
    return parents, altitudes


@settings(deadline=None, max_examples=250)
@given(GRAPHS, st.sampled_from(AFFINITY_LINKAGES), st.sampled_from([0, 0.3, 0.5, 0.75, 1]))
def test_each_merge_is_the_best_there_is(case, linkage, share):
    graph, _ = random_graph(case)
    parents, altitudes = check_literally(graph, linkage, np.zeros(case[0], int), share)
    # Whatever their order, the same regions remain apart.
    matrix = coo_matrix((np.ones(len(graph.edges)), graph.edges.T), (case[0], case[0]))
    parts, _ = connected_components(matrix, directed=False)
    assert np.isinf(altitudes).sum() == parts - 1
    assert (np.diff(altitudes[case[0] :][np.isfinite(altitudes[case[0] :])]) >= 0).all()
    assert (parents[:-1] > np.arange(len(parents) - 1)).all()


@settings(deadline=None, max_examples=250)
@given(GRAPHS, st.sampled_from(AFFINITY_LINKAGES), st.integers(1, 4), st.booleans())
def test_regions_of_different_seeds_never_meet(case, linkage, kinds, crowded):
    graph, _ = random_graph(case)
    rng = np.random.default_rng(case[-1])
    seeds = rng.integers(0, kinds + 1, case[0]) * (crowded or rng.random(case[0]) < 0.5)
    parents, altitudes = check_literally(graph, linkage, seeds)
    below = [{int(s)} - {0} for s in seeds]
    for node, (a, b) in enumerate(children_of(parents, case[0]), case[0]):
        below.append(below[a] | below[b])
        assert len(below[node]) < 2 or np.isinf(altitudes[node])


@settings(deadline=None, max_examples=250)
@given(GRAPHS, st.sampled_from(["mean", "single"]), st.integers(0, 4), st.integers(0, 2))
def test_regions_merged_where_they_lie_come_to_the_tree_of_the_heap(case, linkage, few, kinds):
    number, share, _, seed = case
    # Scores that are equal may go either way.
    graph, _ = random_graph((number, share, 2**20, seed))
    seeds = np.random.default_rng(seed).integers(0, kinds + 1, number)
    mode = {"mean": MEAN, "single": MAXIMUM}[linkage]
    trees = []
    for neighbours in (-1, few, 1000):
        edges = edges_of(graph, linkage, True)
        bins = np.zeros((0, 0), np.uint32)
        parents, altitudes = merged(edges, bins, mode, 0.5, seeds, neighbours)
        members = map(frozenset, members_of(parents, number))
        heights = zip(members, altitudes.round(12).tolist(), strict=True)
        trees.append({m: h for m, h in heights if np.isfinite(h)})
    assert trees[0] == trees[1] == trees[2]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([0.05, 0.2, 1.0]))
def test_mean_is_the_average_linkage_of_higra(seed, share):
    rng = np.random.default_rng(seed)
    number = 30
    graph, _ = random_graph((number, share, 2**20, seed))
    # A path makes it connected.
    path = [(i, i + 1) for i in range(number - 1)]
    known = set(map(tuple, graph.edges.tolist()))
    pairs = sorted(known | set(path))
    graph = graph_of(number, pairs, [rng.random(rng.integers(1, 9)) for _ in pairs])
    parents, altitudes = agglomerate(graph, "mean")
    peer = hg.UndirectedGraph(number)
    peer.add_edges(*graph.edges.T)
    tree, heights = hg.binary_partition_tree_average_linkage(
        peer, 1 - graph.means, graph.counts.astype(float)
    )
    np.testing.assert_allclose(np.sort(altitudes), np.sort(heights), atol=1e-12)
    one, two = np.triu_indices(number, 1)
    ours = altitudes[hg.Tree(parents).lowest_common_ancestor(one, two)]
    theirs = heights[tree.lowest_common_ancestor(one, two)]
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("linkage", AFFINITY_LINKAGES)
def test_many_regions_and_a_hub(linkage):
    """The table of edges grows and forgets; one region touches all others."""
    number, rng = 1500, np.random.default_rng(0)
    ends = np.sort(rng.integers(0, number, (6000, 2)), axis=1)
    hub = np.stack([np.zeros(number - 1, int), np.arange(1, number)], axis=1)
    pairs = np.unique(np.concatenate([ends[ends[:, 0] < ends[:, 1]], hub]), axis=0)
    lists = rng.random((len(pairs), 2)).astype(np.float32)
    graph = graph_of(number, pairs, list(lists))
    parents, altitudes = agglomerate(graph, linkage)
    assert np.isfinite(altitudes).all()
    assert (np.diff(altitudes[number:]) >= 0).all()
    if linkage != "quantile":
        peer = hg.UndirectedGraph(number)
        peer.add_edges(*graph.edges.T)
        if linkage == "mean":
            weights = (1 - graph.means, graph.counts.astype(float))
            tree, heights = hg.binary_partition_tree_average_linkage(peer, *weights)
        else:
            tree, heights = hg.bpt_canonical(peer, 1 - graph.maxima.astype(float))
        one, two = rng.integers(0, number, (2, 4000))
        np.testing.assert_allclose(
            altitudes[hg.Tree(parents).lowest_common_ancestor(one, two)],
            heights[tree.lowest_common_ancestor(one, two)],
            atol=1e-12,
        )


@pytest.mark.parametrize("value", [0.35, 0.7])
def test_rounding_makes_no_score_rise(value):
    """The sum of many affinities, divided by their number, may be a little more than each."""
    rng = np.random.default_rng(1)
    number = 200
    pairs = [(a, b) for a in range(number) for b in range(a + 1, number) if rng.random() < 0.2]
    graph = graph_of(number, pairs, [np.full(rng.integers(1, 7), value) for _ in pairs])
    assert len(np.unique(graph.means)) > 1
    for linkage in AFFINITY_LINKAGES:
        _, altitudes = agglomerate(graph, linkage, quantile=1 / 3)
        assert (np.diff(altitudes[number:]) >= 0).all()


def test_ties_go_by_the_order_of_the_edges_and_are_the_same_each_time():
    pairs = [(0, 1), (0, 3), (1, 2), (2, 3)]
    graph = graph_of(4, pairs, [[0.5]] * 4)
    parents, altitudes = agglomerate(graph, "mean")
    assert children_of(parents, 4)[0] == [0, 1]
    assert altitudes.tolist() == [0] * 4 + [0.5] * 3
    for linkage in AFFINITY_LINKAGES:
        runs = [agglomerate(graph, linkage)[0].tolist() for _ in range(2)]
        assert runs[0] == runs[1]


@pytest.mark.parametrize("linkage", AFFINITY_LINKAGES)
def test_regions_that_never_touch_are_joined_last_and_at_infinity(linkage):
    graph = graph_of(5, [(0, 1), (2, 3)], [[0.9], [0.1]])
    parents, altitudes = agglomerate(graph, linkage, quantile=1)
    assert np.isinf(altitudes[-2:]).all()
    assert np.isfinite(altitudes[:-2]).all()
    assert parents[-1] == 8
    alone, heights = agglomerate(graph_of(1, [], []), linkage)
    assert (alone.tolist(), heights.tolist()) == ([0], [0])
    none, heights = agglomerate(graph_of(0, [], []), linkage)
    assert (none.tolist(), heights.tolist()) == ([], [])


def test_long_range_affinities_count_in_the_mean_alone():
    graph = replace(
        graph_of(3, [(0, 1), (1, 2)], [[0.9], [0.5]]),
        far_counts=np.array([9, 0]),
        far_sums=np.array([0.9, 0.0]),
    )
    assert agglomerate(graph, "mean")[1][3:].tolist() == [0.5, pytest.approx(0.82)]
    assert agglomerate(graph, "mean", long_range=False)[1][3] == pytest.approx(0.1)
    assert agglomerate(graph, "single")[1][3] == pytest.approx(0.1)
    # The graph itself is left as it is.
    assert graph.counts.tolist() == [1, 1]
    assert graph.sums.tolist() == [0.9, 0.5]


def test_the_least_affinity_is_above_the_threshold_zero():
    graph = graph_of(3, [(0, 1), (1, 2)], [[np.float32(1e-30)], [0.0]])
    _, altitudes = agglomerate(graph, "single")
    assert altitudes[3] < altitudes[4] == 1
