"""The watershed on edges against what defines it and against higra."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napari_implicitseg.hierarchy.fragments import make_fragments

from .fragment_cases import (
    CASES,
    direct_edges,
    distinct_affinities,
    pieces,
    plain,
    random_affinities,
)


def highest(affinities):
    """Highest affinity of the edges of each voxel, 0 without any."""
    best = np.zeros(int(np.prod(affinities.shape)), np.float32)
    weights, sources, targets = direct_edges(affinities)
    np.maximum.at(best, sources, weights)
    np.maximum.at(best, targets, weights)
    return best


def minima(affinities):
    """Number of each place higher than all that leads out of it, per voxel from 0; -1 elsewhere."""
    weights, sources, targets = direct_edges(affinities)
    best = highest(affinities)
    flat = (weights == best[sources]) & (weights == best[targets]) & (weights > 0)
    _, plateaus = pieces(affinities, flat)
    leads_away = np.zeros(plateaus.max() + 1, bool)
    for a, b in ((sources, targets), (targets, sources)):
        leads_away[plateaus[a[(weights == best[a]) & (weights < best[b]) & (weights > 0)]]] = True
    found = np.where(leads_away[plateaus], -1, plateaus)
    return np.unique(found, return_inverse=True)[1] - (1 if leads_away.any() else 0)


@settings(deadline=None, max_examples=200)
@given(CASES)
@example(((9, 8), 0, 1, False, 3))
def test_a_fragment_is_the_basin_of_one_minimum(case):
    """The drop of water: each voxel reaches the minimum of its fragment by best edges inside it."""
    affinities = random_affinities(case)
    labels = make_fragments(affinities).ravel()
    places = minima(affinities)
    inside = places >= 0
    pairs = np.unique(np.stack([places[inside], labels[inside]]), axis=1)
    assert pairs.shape[1] == labels.max() == places.max() + 1
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == labels.max()
    best = highest(affinities)
    weights, sources, targets = direct_edges(affinities)
    reached = inside.copy()
    for _ in range(len(labels)):
        for a, b in ((sources, targets), (targets, sources)):
            falls = (weights == best[a]) & (weights > 0) & (labels[a] == labels[b]) & reached[b]
            reached[a[falls]] = True
    assert reached.all()


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from([(7, 8), (1, 30), (40, 1), (5, 6, 7), (1, 9, 8), (10, 1, 1)]),
    st.integers(0, 1),
    st.integers(0, 10**6),
)
def test_without_ties_it_is_the_watershed_of_higra(shape, choice, seed):
    affinities = distinct_affinities(shape, choice, seed)
    ours = make_fragments(affinities)
    np.testing.assert_array_equal(ours, make_fragments(affinities, method="higra"))


@settings(deadline=None, max_examples=80)
@given(CASES)
def test_with_ties_there_are_as_many_basins_as_in_higra(case):
    affinities = random_affinities(case)
    places = minima(affinities)
    for method in ("watershed", "higra"):
        labels = make_fragments(affinities, method=method).ravel()
        assert labels.max() == places.max() + 1
        for label in range(1, labels.max() + 1):
            own = places[labels == label]
            assert len(np.unique(own[own >= 0])) == 1


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([(7, 8), (5, 6, 7)]), st.integers(0, 10**6))
def test_each_voxel_is_with_the_other_end_of_its_best_edge(shape, seed):
    affinities = distinct_affinities(shape, 0, seed)
    labels = make_fragments(affinities).ravel()
    weights, sources, targets = direct_edges(affinities)
    best = highest(affinities)
    steepest = (weights == best[sources]) | (weights == best[targets])
    assert (labels[sources[steepest]] == labels[targets[steepest]]).all()
    # The components of these edges are the fragments.
    assert pieces(affinities, steepest)[0] == labels.max()


def test_a_plateau_is_shared_by_nearness():
    row = plain([[[0, 0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.9]]], offsets=((0, -1),))
    assert make_fragments(row).tolist() == [[1, 1, 1, 1, 2, 2, 2, 2]]
    # Along the middle row it is as near to both, and the first way is taken.
    values = np.full((2, 7, 5), 0.5, np.float32)
    values[1, 0], values[1, -1] = 0.9, 0.8
    assert make_fragments(plain(values))[:, 2].tolist() == [1, 1, 1, 1, 2, 2, 2]


def test_of_equal_ways_the_first_is_taken():
    # The middle voxel has four best edges, none of which leads to a voxel of the same height.
    values = np.zeros((2, 5, 5), np.float32)
    values[0, 2:4, 2] = values[1, 2, 2:4] = 0.5
    values[0, [1, 4], 2] = values[1, 2, [1, 4]] = 0.9
    labels = make_fragments(plain(values))
    assert labels[2, 2] == labels[1, 2]
    assert len({int(labels[p]) for p in ((1, 2), (2, 1), (2, 3), (3, 2))}) == 4
