"""Fragments that are cut: the graph has to be that of all fragments, counted anew."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_implicitseg.affinities.ops import Affinities, edge_slices
from napari_implicitseg.hierarchy.refine import (
    contracted,
    face_pairs,
    fragment_boxes,
    split_fragments,
)
from napari_implicitseg.hierarchy.region_graph import region_graph

from .hierarchy_cases import GRAPHS, VOLUMES, connected, random_graph, volume_case

COLUMNS = ("edges", "counts", "maxima", "places", "histograms", "far_counts")


def cut_case(case):
    """A volume with a graph, and seeds of several ids in some of its fragments."""
    affinities, fragments = volume_case(case)
    pieces = connected(affinities, fragments.reshape(-1)).reshape(fragments.shape) + 1
    pieces[fragments == 0] = 0
    fragments = np.searchsorted(np.unique(np.append(pieces, 0)), pieces).astype(np.uint32)
    rng = np.random.default_rng(case[-1])
    seeds = {}
    for fragment in range(1, int(fragments.max()) + 1):
        places = rng.permutation(np.flatnonzero(fragments == fragment))
        number = int(rng.integers(1, 4))
        if len(places) >= number > 1:
            groups = np.array_split(places[: rng.integers(number, len(places) + 1)], number)
            seeds[fragment] = {3 * k + 2: group for k, group in enumerate(groups)}
    return affinities, fragments, seeds


@settings(deadline=None, max_examples=200)
@given(VOLUMES, st.booleans())
def test_the_graph_of_cut_fragments_is_that_counted_anew(case, masked):
    affinities, fragments, seeds = cut_case(case)
    if masked:
        known = affinities.known & (np.random.default_rng(0).random(affinities.data.shape) < 0.9)
        affinities = Affinities(
            data=affinities.data,
            offsets=affinities.offsets,
            spacing=affinities.spacing,
            mask=known,
        )
    graph = region_graph(affinities, fragments, bins=4)
    new = fragments.copy()
    number = graph.nodes
    boxes = fragment_boxes(fragments, number)
    found, new_boxes, parts = split_fragments(new, graph, affinities, boxes, seeds)
    expected = region_graph(affinities, new, bins=4)
    for name in COLUMNS:
        one, two = getattr(found, name), getattr(expected, name)
        assert (one is None) == (two is None)
        if one is not None:
            np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(found.sizes, expected.sizes)
    np.testing.assert_allclose(found.sums, expected.sums)
    np.testing.assert_array_equal(new_boxes, fragment_boxes(new, found.nodes))
    # Nothing leaves its fragment, all seeds are in their parts, and new ids follow the old ones.
    ids = []
    for fragment, own in parts.items():
        assert own.keys() == seeds[fragment].keys()
        inside = new[fragments == fragment]
        assert set(inside.tolist()) == set(own.values())
        for seed, part in own.items():
            assert (new.reshape(-1)[seeds[fragment][seed]] == part).all()
        assert next(iter(own.values())) == fragment
        ids += list(own.values())[1:]
    assert ids == list(range(number + 1, found.nodes + 1))
    same = ~np.isin(fragments, list(parts))
    np.testing.assert_array_equal(new[same], fragments[same])


@settings(deadline=None, max_examples=100)
@given(VOLUMES)
def test_without_affinities_voxels_go_to_a_seed_near_by_and_contacts_stay_as_they_were(case):
    affinities, fragments, seeds = cut_case(case)
    graph = region_graph(affinities, fragments, bins=4)
    new = fragments.copy()
    boxes = fragment_boxes(fragments, graph.nodes)
    found, _, parts = split_fragments(new, graph, None, boxes, seeds)
    for fragment, own in parts.items():
        for seed, part in own.items():
            assert (new.reshape(-1)[seeds[fragment][seed]] == part).all()
            # Each piece of a part holds a seed of it.
            pieces, count = ndimage.label(new == part)
            assert set(pieces.reshape(-1)[seeds[fragment][seed]].tolist()) == {*range(1, count + 1)}
    old = np.arange(found.nodes)
    for fragment, own in parts.items():
        old[np.array(list(own.values())) - 1] = fragment - 1
    means = {tuple(e): m for e, m in zip(graph.edges.tolist(), graph.means, strict=True)}
    touching = {tuple(p) for p in (face_pairs(new).pairs - 1).tolist()}
    expected = {(a, b) for a, b in touching if tuple(sorted((int(old[a]), int(old[b])))) in means}
    edges = [tuple(e) for e in found.edges.tolist()]
    assert edges == sorted(expected)
    for (a, b), mean in zip(edges, found.means, strict=True):
        assert mean == pytest.approx(means[tuple(sorted((int(old[a]), int(old[b]))))])


@settings(deadline=None, max_examples=60)
@given(VOLUMES)
def test_face_pairs_are_the_faces_between_ids(case):
    _, fragments = volume_case(case)
    found = face_pairs(fragments.astype(np.uint32))
    pairs = {}
    index = np.arange(fragments.size).reshape(fragments.shape)
    for axis in range(fragments.ndim):
        here, there = edge_slices(
            fragments.shape, tuple(-(a == axis) for a in range(fragments.ndim))
        )
        columns = (fragments[here], fragments[there], index[there])
        for a, b, place in zip(*(c.ravel().tolist() for c in columns), strict=True):
            if a and b and a != b:
                pairs.setdefault((min(a, b), max(a, b)), []).append(place)
    assert [tuple(p) for p in found.pairs.tolist()] == sorted(pairs)
    for pair, count, place in zip(found.pairs.tolist(), found.counts, found.places, strict=True):
        assert count == len(pairs[tuple(pair)])
        assert place in pairs[tuple(pair)]


@settings(deadline=None, max_examples=100)
@given(GRAPHS, st.integers(1, 5))
def test_a_contracted_graph_adds_up_what_becomes_one(case, kinds):
    graph, lists = random_graph(case)
    rng = np.random.default_rng(case[-1])
    names = np.unique(rng.integers(0, kinds, case[0]), return_inverse=True)[1]
    found = contracted(graph, names)
    expected = {}
    for (a, b), values in zip(graph.edges.tolist(), lists, strict=True):
        pair = tuple(sorted((int(names[a]), int(names[b]))))
        if pair[0] != pair[1]:
            expected.setdefault(pair, []).extend(values.tolist())
    assert [tuple(e) for e in found.edges.tolist()] == sorted(expected)
    for row, pair in enumerate(sorted(expected)):
        values = np.array(expected[pair])
        assert found.counts[row] == len(values)
        assert found.sums[row] == pytest.approx(values.sum())
        assert found.maxima[row] == values.max().astype(np.float32)
        assert found.histograms[row].sum() == len(values)
    np.testing.assert_array_equal(found.sizes, np.bincount(names, graph.sizes))
