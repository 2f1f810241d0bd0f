"""Fragments of blocks put together: ids, contacts and joins, against the whole volume."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.affinities.ops import Affinities
from napari_implicitseg.batch.merging import merge_all
from napari_implicitseg.batch.stitch import (
    Contacts,
    block_contacts,
    chosen_leanings,
    joined_pieces,
    leaning_pieces,
    split_pieces,
)
from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy.building import build_hierarchy
from napari_implicitseg.hierarchy.region_graph import region_graph

from .batch_cases import LONG, cells, noisy

NOTHING = np.empty((0, 2), np.int64)


def contacts_of(labels: np.ndarray, affinities: Affinities, cuts: int, bins: bool) -> Contacts:
    """Sum of the contacts of slabs, each with the edges that begin in it."""
    parts = []
    edges = np.linspace(0, labels.shape[0], cuts + 1).astype(int)
    for a, b in itertools.pairwise(edges):
        mask = affinities.known.copy()
        mask[:, :a], mask[:, b:] = False, False
        own = Affinities(
            data=affinities.data, offsets=affinities.offsets, spacing=(1, 1, 1), mask=mask
        )
        parts.append(block_contacts(own, labels, np.arange(1, labels.max() + 1), bins=bins))
    return Contacts.added(parts)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), cuts=st.integers(1, 5), bins=st.booleans())
def test_contacts_of_parts_are_those_of_the_whole(seed, cuts, bins):
    labels = cells((6, 9, 8), 12, seed)
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.uint32) + 1
    affinities = noisy(labels, LONG, seed)
    whole = region_graph(affinities, labels, bins=256 if bins else 0)
    found = contacts_of(labels, affinities, cuts, bins)
    touch = found.counts > 0
    assert (found.pairs[touch] - 1 == whole.edges).all()
    assert (found.counts[touch] == whole.counts).all()
    assert np.allclose(found.sums[touch], whole.sums)
    assert (found.maxima[touch] == whole.maxima).all()
    assert (found.far_counts[touch] == whole.far_counts).all()
    assert np.allclose(found.far_sums[touch], whole.far_sums)
    if bins:
        assert (found.histograms[touch] == whole.histograms).all()


@pytest.mark.parametrize("linkage", ["mean", "single", "quantile"])
def test_the_hierarchy_of_all_contacts_is_that_of_the_whole(linkage):
    labels = cells((8, 12, 12), 30)
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.uint32) + 1
    affinities = noisy(labels, LONG)
    whole = build_hierarchy(affinities, fragments=labels, linkage=linkage)
    sizes = np.bincount(labels.reshape(-1))[1:]
    contacts = contacts_of(labels, affinities, 3, linkage == "quantile")
    found = merge_all(contacts, NOTHING, sizes, linkage=linkage, quantile=0.5)
    for threshold in (0.05, 0.2, 0.4):
        assert (found.lookup(threshold)[labels] == whole.cut(threshold)).all()


def test_joined_ids_are_one_node_with_the_contacts_of_both():
    labels = np.array([[[1, 1, 2, 3, 3]]], np.uint32)
    data = np.zeros((1, 1, 1, 5), np.float32)
    data[0, 0, 0] = [0, 1, 0.1, 0.4, 1]
    affinities = Affinities(data=data, offsets=((0, 0, -1),), spacing=(1, 1, 1))
    contacts = block_contacts(affinities, labels, np.array([1, 2, 3]), bins=False)
    sizes = np.array([2, 1, 2])
    found = merge_all(contacts, np.array([[1, 2]]), sizes, linkage="mean", quantile=0.5)
    assert found.lookup(0.5).tolist() == [0, 1, 1, 2]
    assert found.lookup(0.3).tolist() == [0, 1, 1, 1]
    apart = merge_all(contacts, NOTHING, sizes, linkage="mean", quantile=0.5)
    assert apart.lookup(0.3).tolist() == [0, 1, 2, 2]


def test_a_volume_of_one_fragment_or_none_has_a_hierarchy():
    none = Contacts(
        pairs=NOTHING,
        counts=np.zeros(0, np.int64),
        sums=np.zeros(0),
        maxima=np.zeros(0, np.float32),
        far_counts=np.zeros(0, np.int64),
        far_sums=np.zeros(0),
        histograms=np.zeros((0, 0), np.uint32),
    )
    for count in (0, 1, 2):
        sizes = np.ones(count, np.int64)
        found = merge_all(none, NOTHING, sizes, linkage="mean", quantile=0.5)
        assert found.lookup(0.5).tolist() == list(range(count + 1))


def test_a_fragment_that_falls_apart_in_its_block_is_several_pieces():
    fragments = np.array([[5, 5, 5], [7, 9, 5], [5, 5, 5]], np.uint32)
    pieces, origins = split_pieces(fragments, (slice(0, 3), slice(0, 2)))
    assert origins[pieces].tolist() == [[5, 5], [7, 9], [5, 5]]
    assert len(origins) == 5
    assert pieces[0, 0] != pieces[2, 0]
    assert sorted(np.unique(pieces)) == [1, 2, 3, 4]


def test_pieces_are_joined_where_both_blocks_see_the_same_fragment():
    # Fragments 10 and 11 before the face go on as 20 and 21 after it; 22 is seen as 11 by the
    # block before, but 11 is mostly 21.
    before = np.array([[1, 1, 1, 2, 2, 2]], np.uint32)
    after = np.array([[1, 1, 1, 2, 2, 3]], np.uint32)
    seen = np.array([[10, 10, 10, 11, 11, 11]], np.uint32)
    before_origins = np.array([0, 10, 11], np.uint32)
    after_origins = np.array([0, 20, 21, 22], np.uint32)
    found = joined_pieces(seen, before, after, before_origins, after_origins)
    assert found.tolist() == [[1, 1], [2, 2]]


def test_all_pieces_of_a_fragment_that_bends_beyond_the_face_are_joined():
    before = np.array([[1, 2, 2, 3]], np.uint32)
    seen = np.array([[10, 10, 10, 10]], np.uint32)
    after = np.array([[1, 1, 1, 1]], np.uint32)
    before_origins = np.array([0, 10, 12, 10], np.uint32)
    found = joined_pieces(seen, before, after, before_origins, np.array([0, 30], np.uint32))
    assert found.tolist() == [[1, 1], [3, 1]]


def test_a_remnant_goes_to_the_piece_that_most_of_its_voxels_name():
    own = np.array([[1, 1, 1, 2, 3, 3]], np.uint32)
    other = np.array([[4, 5, 5, 6, 7, 7]], np.uint32)
    seen = np.array([[10, 10, 10, 11, 99, 12]], np.uint32)
    origins = np.array([0, 10, 11, 12], np.uint32)
    remnants = np.array([False, True, False, True])
    found = leaning_pieces(seen, own, other, origins, remnants)
    # Piece 2 is no remnant, and where 99 is seen piece 3 ends.
    assert found.tolist() == [[1, 4, 1], [1, 5, 2], [3, 7, 1]]
    assert chosen_leanings(found, NOTHING, 7).tolist() == [[1, 5], [3, 7]]
    # What is joined already goes nowhere else, so that no remnant joins two others.
    assert chosen_leanings(found, np.array([[1, 6]]), 7).tolist() == [[3, 7]]
    assert chosen_leanings(found[:0], NOTHING, 7).tolist() == []


def test_of_several_faces_a_remnant_takes_one():
    leanings = np.array([[2, 9, 3], [2, 5, 3], [2, 7, 1], [4, 2, 1]])
    assert chosen_leanings(leanings, NOTHING, 9).tolist() == [[2, 5], [4, 2]]


def test_more_fragments_than_edges_can_name_are_refused(monkeypatch):
    from napari_implicitseg.batch import merging

    monkeypatch.setattr(merging, "_MOST_FRAGMENTS", 3)
    truth = cells((8, 12, 12), 5)
    contacts = contacts_of(truth, noisy(truth), 1, bins=False)
    with pytest.raises(InputError, match="5 fragments, more than the 3"):
        merge_all(contacts, NOTHING, np.ones(5, np.int64), linkage="mean", quantile=0.5)
