"""Cuts by seeds: what they promise, whatever the fragments, the seeds and the graph."""

from __future__ import annotations

import higra as hg
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from napari_implicitseg.affinities.ops import edge_slices
from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy.building import build_hierarchy
from napari_implicitseg.hierarchy.region_graph import region_graph
from napari_implicitseg.hierarchy.seeded import contact_graph
from napari_implicitseg.hierarchy.tree import Hierarchy

from .fragment_cases import CASES, direct_edges, plain, random_affinities
from .hierarchy_cases import (
    AFFINITY_LINKAGES,
    LINKAGES,
    VOLUMES,
    bare,
    hierarchy_of,
    partition,
)

SEEDS = st.tuples(st.integers(1, 4), st.sampled_from([0.02, 0.2, 0.7]), st.integers(0, 10**6))


def random_seeds(shape, case):
    """Seeds of a few ids at random voxels, one at least."""
    kinds, share, seed = case
    rng = np.random.default_rng(seed)
    ids = np.append(0, rng.choice(np.arange(1, 100), kinds, replace=False))
    seeds = np.where(rng.random(shape) < share, ids[rng.integers(1, kinds + 1, shape)], 0)
    seeds.reshape(-1)[rng.integers(seeds.size)] = ids[1]
    return seeds


def reaches(labels, seeds, wanted, sources, targets):
    """Whether each piece of the objects of some ids holds a seed, by some edges."""
    flat = labels.reshape(-1)
    same = flat[sources] == flat[targets]
    ends = (sources[same], targets[same])
    graph = coo_matrix((np.ones(len(ends[0])), ends), (flat.size, flat.size))
    _, piece = connected_components(graph, directed=False)
    inside = np.isin(flat, wanted)
    return np.isin(piece[inside], piece[seeds.reshape(-1) > 0]).all()


def faces(shape):
    """All neighbours along an axis, as places in C order."""
    index = np.arange(int(np.prod(shape))).reshape(shape)
    pairs = [
        [
            index[s].ravel()
            for s in edge_slices(shape, tuple(-(a == axis) for a in range(len(shape))))
        ]
        for axis in range(len(shape))
    ]
    return np.concatenate(pairs, axis=1)


def check_promises(hierarchy, seeds, labels):
    """Seeds keep their ids, and there is nothing but objects of seeds."""
    inside = hierarchy.fragments > 0
    here = (seeds > 0) & inside
    assert labels.dtype == np.uint32
    assert (labels[~inside] == 0).all()
    np.testing.assert_array_equal(labels[here], seeds[here])
    assert set(np.unique(labels)) - {0} <= set(np.unique(seeds))


@settings(deadline=None, max_examples=200)
@given(VOLUMES, SEEDS, st.sampled_from(LINKAGES))
def test_seeds_keep_their_ids_and_every_object_is_connected_to_one(case, kinds, linkage):
    hierarchy = hierarchy_of(case, linkage)
    seeds = random_seeds(hierarchy.fragments.shape, kinds)
    assume(((seeds > 0) & (hierarchy.fragments > 0)).any())
    labels = hierarchy.cut_with_seeds(seeds)
    check_promises(hierarchy, seeds, labels)
    _, sources, targets = direct_edges(hierarchy.affinities)
    assert reaches(labels, seeds, np.unique(seeds[seeds > 0]), sources, targets)
    # What is left has no contact with an object.
    flat = labels.reshape(-1)
    both = (hierarchy.fragments.reshape(-1)[[sources, targets]] > 0).all(axis=0)
    assert not ((flat[sources] == 0) != (flat[targets] == 0))[both].any()


@settings(deadline=None, max_examples=200)
@given(VOLUMES, SEEDS, st.sampled_from(LINKAGES), st.booleans(), st.booleans())
def test_a_hierarchy_made_by_hand_keeps_the_promises(case, kinds, linkage, graph, affinities):
    hierarchy = bare(hierarchy_of(case, linkage), graph=graph, affinities=affinities)
    seeds = random_seeds(hierarchy.fragments.shape, kinds)
    assume(((seeds > 0) & (hierarchy.fragments > 0)).any())
    labels = hierarchy.cut_with_seeds(seeds)
    check_promises(hierarchy, seeds, labels)
    assert reaches(labels, seeds, np.unique(seeds[seeds > 0]), *faces(labels.shape))


@settings(deadline=None, max_examples=100)
@given(CASES, SEEDS, st.sampled_from(["watershed", "distance", "voxels"]), st.integers(0, 6))
def test_fragments_of_every_kind_keep_the_promises(case, kinds, method, size):
    affinities = random_affinities(case)
    hierarchy = build_hierarchy(
        affinities, fragments=method, min_size=0 if method == "voxels" else size
    )
    seeds = random_seeds(affinities.shape, kinds)
    labels = hierarchy.cut_with_seeds(seeds)
    check_promises(hierarchy, seeds, labels)
    _, sources, targets = direct_edges(affinities)
    assert reaches(labels, seeds, np.unique(seeds[seeds > 0]), sources, targets)


@settings(deadline=None, max_examples=150)
@given(VOLUMES, SEEDS, st.sampled_from(AFFINITY_LINKAGES), st.sampled_from([0, 0.3, 0.6, 1]))
def test_with_a_threshold_the_rest_are_objects_of_new_ids(case, kinds, linkage, threshold):
    hierarchy = hierarchy_of(case, linkage)
    seeds = random_seeds(hierarchy.fragments.shape, kinds)
    assume(((seeds > 0) & (hierarchy.fragments > 0)).any())
    labels = hierarchy.cut_with_seeds(seeds, threshold)
    inside = hierarchy.fragments > 0
    assert ((labels > 0) == inside).all()
    here = (seeds > 0) & inside
    np.testing.assert_array_equal(labels[here], seeds[here])
    fresh = set(np.unique(labels)) - {0} - set(np.unique(seeds[here]))
    assert fresh.isdisjoint(np.unique(seeds))
    # With seeds of one id nothing keeps what the threshold joins apart.
    one = hierarchy.cut_with_seeds((seeds > 0).astype(int), threshold)
    plain_cut = hierarchy.cut(threshold)
    for i in set(np.unique(one)) - {0, 1}:
        assert len(np.unique(plain_cut[one == i])) == 1
    touched = np.isin(plain_cut, plain_cut[here])
    np.testing.assert_array_equal(one == 1, touched & inside)


def test_new_ids_are_none_of_the_seeds_and_fit():
    affinities = plain(np.zeros((2, 1, 5)))
    hierarchy = build_hierarchy(affinities, fragments=np.array([[1, 2, 3, 0, 4]]))
    # The largest id lies outside all fragments.
    assert hierarchy.cut_with_seeds([[0, 5, 0, 6, 0]], 0.5).tolist() == [[7, 5, 8, 0, 9]]
    last = 2**32 - 1
    seeds = np.array([[0, last, 0, 0, 2]], np.uint32)
    assert hierarchy.cut_with_seeds(seeds, 0.5).tolist() == [[1, last, 3, 0, 2]]


def test_voxels_go_to_the_seed_with_the_higher_affinity():
    row = plain([[[0, 0.9, 0.4, 0.3, 0.8]]], ((0, -1),))
    hierarchy = build_hierarchy(row, fragments="voxels")
    assert hierarchy.cut_with_seeds([[4, 0, 0, 0, 9]]).tolist() == [[4, 4, 4, 9, 9]]
    whole = build_hierarchy(row, fragments=np.ones((1, 5), int))
    assert whole.cut_with_seeds([[4, 0, 0, 0, 9]]).tolist() == [[4, 4, 4, 9, 9]]
    assert whole.cut_with_seeds([[4, 9, 0, 0, 4]]).tolist() == [[4, 9, 9, 4, 4]]
    # Without affinities, to the one near by.
    assert bare(whole).cut_with_seeds([[4, 0, 0, 0, 9]])[0, [1, 3]].tolist() == [4, 9]


def test_what_no_seed_reaches_is_zero():
    affinities = plain(np.full((2, 1, 5), 0.5))
    hierarchy = build_hierarchy(affinities, fragments=np.array([[1, 2, 0, 3, 4]]))
    assert hierarchy.cut_with_seeds([[0, 7, 0, 0, 0]]).tolist() == [[7, 7, 0, 0, 0]]


def test_a_tree_by_hand_decides_where_seeds_leave_it_open():
    """Fragment 2 merges with 3 first, though it touches 1, too."""
    hierarchy = Hierarchy(
        fragments=np.array([[1, 2, 3, 4]], np.uint32),
        tree=hg.Tree(np.array([5, 4, 4, 6, 5, 6, 6])),
        altitudes=np.array([0, 0, 0, 0, 0.2, 0.4, 0.6]),
    )
    assert hierarchy.cut_with_seeds([[8, 0, 0, 3]]).tolist() == [[8, 8, 8, 3]]
    assert hierarchy.cut_with_seeds([[8, 0, 3, 0]]).tolist() == [[8, 3, 3, 3]]
    with pytest.raises(InputError, match="neither affinities nor a region graph.*leave it out"):
        hierarchy.cut_with_seeds([[8, 0, 0, 3]], 0.5)


def test_regions_that_do_not_touch_are_not_joined_by_a_tree_alone():
    hierarchy = Hierarchy(
        fragments=np.array([[1, 2, 3]], np.uint32),
        tree=hg.Tree(np.array([3, 4, 3, 4, 4])),
        altitudes=np.array([0, 0, 0, 0.1, 0.5]),
    )
    # 1 and 3 merge first, but only 2 is beside 3.
    assert hierarchy.cut_with_seeds([[5, 6, 0]]).tolist() == [[5, 6, 6]]


@settings(deadline=None, max_examples=80)
@given(VOLUMES, st.sampled_from(AFFINITY_LINKAGES))
def test_contacts_are_counted_from_affinities_or_told_by_the_tree(case, linkage):
    hierarchy = hierarchy_of(case, linkage)
    bins = 256 if linkage == "quantile" else 0
    expected = region_graph(hierarchy.affinities, hierarchy.fragments, bins=bins)
    assert contact_graph(hierarchy) is hierarchy.graph
    counted = contact_graph(bare(hierarchy, affinities=True))
    np.testing.assert_array_equal(counted.edges, expected.edges)
    np.testing.assert_array_equal(counted.sums, expected.sums)
    told = contact_graph(bare(hierarchy))
    np.testing.assert_array_equal(told.sizes, expected.sizes)
    # A pair is one object wherever its affinity is above the threshold.
    for threshold in (0.0, 0.25, 0.5, 0.75):
        lookup = hierarchy.fragment_labels(threshold)[1:]
        joined = lookup[told.edges[:, 0]] == lookup[told.edges[:, 1]]
        clear = np.abs(told.means - threshold) > 1e-9
        np.testing.assert_array_equal(joined[clear], (told.means > threshold)[clear])


def test_real_seeds_in_a_larger_volume():
    rng = np.random.default_rng(0)
    field = ndimage.gaussian_filter(rng.random((12, 40, 40)), 1.5)
    values = (field - field.min()) / np.ptp(field)
    hierarchy = build_hierarchy(plain(np.stack([values] * 3)), fragments="watershed")
    seeds = np.zeros(field.shape, np.int64)
    seeds.reshape(-1)[rng.choice(seeds.size, 400, replace=False)] = rng.integers(1, 40, 400)
    labels = hierarchy.cut_with_seeds(seeds)
    check_promises(hierarchy, seeds, labels)
    assert (labels > 0).all()
    again = hierarchy.cut_with_seeds(seeds.astype(np.uint8))
    np.testing.assert_array_equal(again, labels)
    assert partition(labels).max() == len(np.unique(seeds)) - 1


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([[0, 0, 0, 0]], "0 everywhere; paint at least one"),
        ([[0, -1, 0, 2]], "range from -1 to 2; use ids from 1"),
        ([[0, 2**32, 0, 2]], "range from 2 to 4294967296"),
        ([[0.0, 1.0, 0, 2]], r"float64 of shape \(1, 4\); give whole numbers"),
        ([[0, 1, 2]], r"shape \(1, 3\); give whole numbers of shape \(1, 4\)"),
        ([0, 1, 2, 0], r"shape \(4,\)"),
        ([["a", "b", "c", "d"]], "give whole numbers"),
        (None, "object of shape"),
        ([[3, 0, 0, 0]], "No seed lies in a fragment; paint inside"),
    ],
)
def test_seeds_that_do_not_fit_are_refused(seeds, message):
    hierarchy = build_hierarchy(plain(np.full((2, 1, 4), 0.5)), fragments=np.array([[0, 1, 2, 3]]))
    with pytest.raises(InputError, match=message):
        hierarchy.cut_with_seeds(seeds if seeds is None else np.array(seeds))


@pytest.mark.parametrize("threshold", [-0.1, 1.1, np.nan, "half"])
@pytest.mark.parametrize("linkage", ["mean", "ward"])
def test_thresholds_of_seeds_are_affinities(threshold, linkage):
    hierarchy = hierarchy_of(((5, 6), 0, 8, 0, 1), linkage)
    with pytest.raises(InputError, match="threshold is"):
        hierarchy.cut_with_seeds(np.ones((5, 6), int), threshold)


def test_nothing_of_the_hierarchy_is_changed_by_seeds():
    hierarchy = hierarchy_of(((3, 4, 4), 0, 8, 0, 2))
    before = [a.copy() for a in (hierarchy.fragments, hierarchy.graph.sums, hierarchy.graph.sizes)]
    hierarchy.cut_with_seeds(np.arange(48).reshape(3, 4, 4))
    for old, new in zip(
        before, (hierarchy.fragments, hierarchy.graph.sums, hierarchy.graph.sizes), strict=True
    ):
        np.testing.assert_array_equal(old, new)
