"""The kernels of MALIS: numbers of 512^3 voxels, numbering, sorting, compiling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.affinities import _between, _dense, _edges, _objects, _passes, _tree
from napari_implicitseg.affinities._sample import Sample, check_size
from napari_implicitseg.affinities.malis import malis_pair_counts
from napari_implicitseg.affinities.ops import neighbourhood
from napari_implicitseg.errors import InputError

MODES = (None, "positive", "negative")


@pytest.mark.parametrize("shape", [(1, 3, 90_000), (3, 300, 300)])
def test_parts_of_the_edges_are_cut_from_a_sample_of_rows(monkeypatch, shape):
    rng = np.random.default_rng(0)
    affinities, labels = rng.random((3, *shape), np.float32), rng.integers(0, 3, shape)
    # Objects in some rows only, which a sample may miss.
    labels[:, 1:] = 1
    offsets = neighbourhood()
    whole = [malis_pair_counts(affinities, labels, offsets, constrained=m) for m in MODES]
    monkeypatch.setattr(_passes, "_SAMPLED_EDGES", 100)
    monkeypatch.setattr(Sample, "edges_at_once", property(lambda _: 50_000))
    for mode, expected in zip(MODES, whole, strict=True):
        found = malis_pair_counts(affinities, labels, offsets, constrained=mode)
        np.testing.assert_array_equal(found.positive, expected.positive)
        np.testing.assert_array_equal(found.negative, expected.negative)


def test_labels_are_batched_by_their_edges_and_large_ones_are_alone():
    totals = np.array([0, 3, 4, 9, 0, 2, 2, 3, 3, 0])
    assert _passes._batches(totals, 7) == [(1, 2), (3, 3), (4, 7), (8, 9)]
    assert _passes._batches(np.zeros(5, int), 7) == []
    assert _passes._batches(np.array([0, 8, 8]), 7) == [(1, 1), (2, 2)]


HALF = 2**26  # of the voxels of a volume of 512^3


def test_volumes_with_too_many_edges_to_tell_apart_are_refused():
    check_size(512**3, 32)
    with pytest.raises(InputError, match="Cut the volume into blocks"):
        check_size(512**3, 33)
    with pytest.raises(InputError, match="Cut the volume into blocks"):
        check_size(2**31 + 1, 1)


def test_pairs_of_one_label_do_not_overflow_at_512_cubed():
    # Voxels 0 and 1 stand for sets of half the volume each.
    parent, pairs = np.full(2, -HALF, np.int32), np.zeros(2, np.int64)
    edge = np.array([1], np.int64)
    _objects.join_inside(edge, 1, parent, np.array([-1]), 1, pairs)
    assert pairs.tolist() == [0, HALF**2]
    assert sorted(parent.tolist()) in ([-2 * HALF, 0], [-2 * HALF, 1])


@pytest.mark.parametrize("label", [1, 2])
def test_pairs_in_one_tree_do_not_overflow_at_512_cubed(label):
    weights = np.full(2, HALF, np.int64)
    parent = np.full(2, -1, np.int32)
    tails, follow = np.arange(2, dtype=np.int32), np.arange(2, dtype=np.int32)
    walls, nodes = np.empty(2, np.int32), np.arange(2, dtype=np.int32)
    names, products = np.zeros(2, np.int64), np.zeros(2, np.int64)
    joins = _tree.join_nodes(
        np.array([1]), 1, nodes, np.array([-1]), 1, parent, weights.copy(), tails, follow, walls,
        names, products, 0,
    )  # fmt: skip
    same = _tree.pairs_of_one_label(
        np.array([1, label], np.int32), 2, weights, parent, tails, follow, walls, joins
    )
    assert joins == 1
    assert products[0] == HALF**2
    assert same[0] == (HALF**2 if label == 1 else 0)


def test_labels_are_numbered_in_order_of_appearance_however_many():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2**63, 5000).astype(np.uint64).repeat(2).reshape(100, 100)
    labels[::7] = 0
    numbers, count = _dense.dense_labels(labels)
    ids, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(ids), int)
    rank[np.argsort(np.where(ids == 0, -1, first))] = np.arange(len(ids))
    np.testing.assert_array_equal(numbers, rank[inverse].ravel())
    assert count == len(ids) - 1


@settings(deadline=None)
@given(st.lists(st.floats(0, 1, width=32) | st.sampled_from([0.0, 0.5, 1.0]), max_size=300))
def test_edges_are_sorted_stably_from_the_highest_affinity_down(values):
    values = np.array(values, np.float32)
    ones = np.uint32(0x3F800000) - values.view(np.uint32).astype(np.int64)
    edges = (ones << 32) | np.arange(len(values))
    spare = np.empty_like(edges)
    found = spare if _edges.sort_edges(edges, spare, len(edges)) else edges
    order = np.argsort(-values, kind="stable")
    np.testing.assert_array_equal(found & 0xFFFFFFFF, order)


def test_kernels_compile_once_for_all_kinds_of_input_and_release_the_interpreter():
    rng = np.random.default_rng(0)
    for shape, size, kind in (((5, 6), 2, "f2"), ((3, 4, 5), 9, "f4"), ((1, 2, 70), 3, "f8")):
        offsets = [(0,) * (len(shape) - 1) + (-1,), (-1,) * len(shape)]
        affinities = rng.random((2, *shape)).astype(kind)
        affinities.flags.writeable = False
        for labels in (rng.integers(0, size, shape), rng.random(shape) < 0.5):
            for mode in MODES:
                for mask in (None, affinities > 0.1):
                    malis_pair_counts(affinities, labels, offsets, constrained=mode, mask=mask)
    kernels = [
        k
        for module in (_between, _dense, _edges, _objects, _tree)
        for k in vars(module).values()
        if hasattr(k, "signatures") and k.targetoptions.get("nogil")
    ]
    assert len(kernels) >= 12
    assert all(len(k.signatures) <= 1 for k in kernels), [
        (k.__name__, k.signatures) for k in kernels if len(k.signatures) > 1
    ]
