"""Region graphs and hierarchies to test, and what is literally meant by them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from napari_implicitseg.affinities.ops import Affinities
from napari_implicitseg.hierarchy.building import build_hierarchy
from napari_implicitseg.hierarchy.region_graph import RegionGraph
from napari_implicitseg.hierarchy.tree import Hierarchy

from .fragment_cases import OFFSETS, direct_edges, plain

BINS = 8
AFFINITY_LINKAGES = ("single", "mean", "quantile")
THRESHOLDS = [0.0, 0.2, 0.5, 0.8, 1.0]
LINKAGES = (*AFFINITY_LINKAGES, "ward", "area", "dynamics", "volume")
# Nodes, probability of an edge, number of different affinities, seed.
GRAPHS = st.tuples(
    st.integers(1, 9),
    st.sampled_from([0.2, 0.5, 1.0]),
    st.sampled_from([1, 2, 5, 2**20]),
    st.integers(0, 10**6),
)
# Shape, offsets, number of different affinities, share of voxels of no fragment, seed.
VOLUMES = st.tuples(
    st.sampled_from([(5, 6), (1, 9), (7, 1), (1, 1), (3, 4, 4), (2, 5, 3)]),
    st.integers(0, 1),
    st.sampled_from([2, 8, 2**20]),
    st.sampled_from([0, 0, 0.2]),
    st.integers(0, 10**6),
)


def random_graph(case):
    """A region graph and, for each edge, the affinities of its voxel edges."""
    number, share, values, seed = case
    rng = np.random.default_rng(seed)
    pairs = [(a, b) for a in range(number) for b in range(a + 1, number) if rng.random() < share]
    lists = [rng.integers(0, values + 1, rng.integers(1, 5)) / values for _ in pairs]
    return graph_of(number, pairs, [v.astype(np.float32) for v in lists]), lists


def graph_of(number, pairs, lists):
    """Region graph of the affinities between some nodes."""
    count = len(pairs)
    bins = [np.minimum((np.asarray(v, float) * BINS).astype(int), BINS - 1) for v in lists]
    return RegionGraph(
        sizes=np.arange(1, number + 1),
        edges=np.array(pairs, np.int32).reshape(-1, 2),
        counts=np.array([len(v) for v in lists], np.int64),
        sums=np.array([np.sum(v, dtype=float) for v in lists], float),
        maxima=np.array([np.max(v) for v in lists], np.float32),
        places=np.zeros(count, np.int64),
        histograms=np.array([np.bincount(b, minlength=BINS) for b in bins], np.uint32).reshape(
            count, BINS
        ),
    )


def literal_score(linkage, graph, rows, share):
    """Score of the contact that some edges of a graph make."""
    if linkage == "single":
        return float(graph.maxima[rows].max())
    if linkage == "mean":
        return float(graph.sums[rows].sum() / graph.counts[rows].sum())
    histogram = graph.histograms[rows].sum(axis=0, dtype=np.uint32)[None]
    one = replace(graph, histograms=histogram, counts=histogram.sum(axis=1, dtype=np.int64))
    return float(one.quantiles(share)[0])


def children_of(parents, number):
    """The two children of each merge, in order."""
    pairs = [[] for _ in range(number - 1)]
    for node, parent in enumerate(parents[:-1].tolist()):
        pairs[parent - number].append(node)
    assert all(len(pair) == 2 for pair in pairs)
    return pairs


def members_of(parents, number):
    """Leaves below each node."""
    members = [{leaf} for leaf in range(number)]
    for a, b in children_of(parents, number):
        members.append(members[a] | members[b])
    return members


def volume_case(case):
    """Random affinities, and fragments of random voxels: perhaps in pieces, perhaps with 0."""
    shape, choice, values, outside, seed = case
    rng = np.random.default_rng(seed)
    offsets = OFFSETS[len(shape)][choice]
    data = (rng.integers(0, values + 1, (len(offsets), *shape)) / values).astype(np.float32)
    affinities = Affinities(data=data, offsets=offsets, spacing=(1.0,) * len(shape))
    # Blocks of few voxels, so that fragments have some inside.
    ids = rng.integers(0, 8, shape)
    ids[tuple(slice(0, None, 2) for _ in shape)] = 3
    fragments = 1 + connected(affinities, ids.reshape(-1)).reshape(shape)
    fragments[rng.random(shape) < outside] = 0
    fragments.reshape(-1)[0] = max(1, int(fragments.reshape(-1)[0]))
    return affinities, fragments


def connected(affinities, ids):
    """Pieces of voxels of one id that known direct edges connect, flat, from 0."""
    _, sources, targets = direct_edges(affinities)
    same = ids[sources] == ids[targets]
    ends = (sources[same], targets[same])
    graph = coo_matrix((np.ones(len(ends[0])), ends), shape=(ids.size, ids.size))
    return connected_components(graph, directed=False)[1]


def hierarchy_of(case, linkage="mean", **options):
    """Hierarchy of a random volume whose fragments are connected."""
    affinities, fragments = volume_case(case)
    pieces = connected(affinities, fragments.reshape(-1)).reshape(fragments.shape) + 1
    return build_hierarchy(
        affinities, fragments=np.where(fragments > 0, pieces, 0), linkage=linkage, **options
    )


def bare(hierarchy, *, graph=False, affinities=False):
    """The hierarchy as a user builds it, without its graph or its affinities."""
    return Hierarchy(
        fragments=hierarchy.fragments,
        tree=hierarchy.tree,
        altitudes=hierarchy.altitudes,
        linkage=hierarchy.linkage,
        graph=hierarchy.graph if graph else None,
        affinities=hierarchy.affinities if affinities else None,
    )


def partition(labels):
    """Labels numbered from 1 in the order of their first voxels; 0 stays."""
    numbers = {0: 0}
    flat = np.asarray(labels).ravel().tolist()
    return np.array([numbers.setdefault(v, len(numbers)) for v in flat], np.int64)


def cut_literally(hierarchy, threshold):
    """Labels of the fragments after all merges the threshold allows, one after the other."""
    group = {leaf: {leaf} for leaf in range(hierarchy.size)}
    members = members_of(hierarchy.parents, hierarchy.size)
    for node in range(hierarchy.size, len(members)):
        height = hierarchy.altitudes[node]
        if hierarchy.by_affinity:
            done = height < 1 - float(np.float32(threshold))
        else:
            done = height <= threshold
        if done and np.isfinite(height):
            for leaf in members[node]:
                group[leaf] = members[node]
    first = np.array([0, *(1 + min(group[leaf]) for leaf in range(hierarchy.size))])
    return partition(first)[hierarchy.fragments]


def row_of(affinities, fragments=None, **options):
    """Hierarchy of one row of voxels, each of them a fragment by default."""
    given = plain([[[0, *affinities]]], ((0, -1),))
    fragments = "voxels" if fragments is None else np.array([fragments])
    return build_hierarchy(given, fragments=fragments, **options)


def levels(hierarchy):
    """Thresholds to look at."""
    if hierarchy.by_affinity:
        return THRESHOLDS
    return [0, *np.quantile(hierarchy.altitudes[np.isfinite(hierarchy.altitudes)], [0.5, 0.8, 1])]
