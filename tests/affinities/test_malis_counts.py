"""Pair counts against the definition, pair by pair, and against laws they have to keep."""

from __future__ import annotations

import math
from dataclasses import dataclass

import higra as hg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_implicitseg.affinities._sample import Sample
from napari_implicitseg.affinities.malis import malis_pair_counts
from napari_implicitseg.affinities.ops import Affinities, edges_inside, neighbourhood
from napari_implicitseg.errors import InputError

MODES = (None, "positive", "negative")


@dataclass
class Case:
    affinities: np.ndarray
    labels: np.ndarray
    offsets: list
    mask: np.ndarray | None

    @classmethod
    def random(cls, seed):
        """Few voxels; any offsets, ties, masks, labels with zeros, thin volumes."""
        rng = np.random.default_rng(seed)
        ndim = int(rng.integers(2, 4))
        shape = tuple(rng.integers(1, 7 if ndim == 2 else 4, ndim).tolist())
        offsets = [tuple(-int(a == b) for b in range(ndim)) for a in range(ndim)]
        if rng.random() < 0.6:
            count = rng.integers(1, 6)
            offsets = []
            while len(offsets) < count:
                o = tuple(rng.integers(-3, 4, ndim).tolist())
                if any(o) and o not in offsets and tuple(-v for v in o) not in offsets:
                    offsets.append(o)
        levels = rng.choice([1, 2, 4, 1000])
        affinities = rng.integers(0, levels + 1, (len(offsets), *shape)) / levels
        if rng.random() < 0.5:
            labels = rng.integers(0, rng.integers(2, 6), shape)
        else:
            labels = ndimage.zoom(rng.integers(0, 4, (2,) * ndim), 4, order=0)
            labels = labels[tuple(slice(0, n) for n in shape)]
        mask = rng.random(affinities.shape) < 0.8 if rng.random() < 0.4 else None
        return cls(affinities.astype(np.float32), labels, offsets, mask)

    def counts(self, mode):
        return malis_pair_counts(
            self.affinities, self.labels, self.offsets, constrained=mode, mask=self.mask
        )

    @property
    def usable(self):
        inside = edges_inside(self.labels.shape, self.offsets)
        return inside if self.mask is None else inside & self.mask

    @property
    def ends(self):
        """Flat index of either end of all edges, (2, K, *S); edges outside lead anywhere."""
        here = np.arange(self.labels.size).reshape(self.labels.shape)
        there = [np.roll(here, [-v for v in o], range(here.ndim)) for o in self.offsets]
        return np.stack([np.broadcast_to(here, (len(there), *here.shape)), np.stack(there)])

    def constrained(self, mode):
        """Affinities with edges set to their truth, and which edges count at all."""
        ids = self.labels.ravel()[self.ends]
        inside = (ids[0] == ids[1]) & (ids[0] != 0)
        if mode == "positive":
            return self.affinities, self.usable & inside
        if mode == "negative":
            # More than 1, so that the truth comes before a prediction of 1.
            return np.where(inside, 2, self.affinities), self.usable
        return self.affinities, self.usable


def maximin(order, usable, ends, size):
    """Lowest `order` from which on edges up to it connect each pair of voxels, (N, N).

    By the algorithm of Floyd and Warshall, so that nothing is taken from a spanning tree.
    """
    worst = np.full((size, size), np.inf)
    a, b = ends[:, usable]
    np.minimum.at(worst, (a, b), order[usable])
    np.minimum.at(worst, (b, a), order[usable])
    for v in range(size):
        np.minimum(worst, np.maximum(worst[:, v, None], worst[None, v]), out=worst)
    return worst


def literal(case, mode):
    """Pairs by their maximin edge, found for each pair on its own."""
    values, usable = case.constrained(mode)
    order = np.empty(values.size)
    order[np.argsort(-values.ravel(), kind="stable")] = np.arange(values.size)
    worst = maximin(order.reshape(values.shape), usable, case.ends, case.labels.size)
    place = np.argsort(order)
    found = [np.zeros(values.size, np.int64) for _ in range(2)]
    ids = case.labels.ravel()
    for x in range(ids.size):
        for y in range(x):
            if ids[x] and ids[y] and worst[x, y] < np.inf:
                found[int(ids[x] != ids[y])][place[int(worst[x, y])]] += 1
    positive, negative = (f.reshape(values.shape) for f in found)
    return positive * (mode != "negative"), negative * (mode != "positive")


def check_literally(seeds):
    for seed in seeds:
        case = Case.random(seed)
        for mode in MODES:
            counts, expected = case.counts(mode), literal(case, mode)
            message = f"seed {seed}, constrained={mode!r}"
            np.testing.assert_array_equal(counts.positive, expected[0], message)
            np.testing.assert_array_equal(counts.negative, expected[1], message)


def test_counts_are_the_definition_pair_by_pair():
    check_literally(range(600))


@pytest.mark.slow
def test_counts_are_the_definition_on_thousands_of_graphs():
    check_literally(range(1000, 7000))


@pytest.mark.parametrize("most", [1, 5, 40])
def test_counts_do_not_depend_on_how_many_edges_are_held_at_once(monkeypatch, most):
    whole = {(s, m): Case.random(s).counts(m) for s in range(150) for m in MODES}
    monkeypatch.setattr(Sample, "edges_at_once", property(lambda _: most))
    for (seed, mode), expected in whole.items():
        counts = Case.random(seed).counts(mode)
        np.testing.assert_array_equal(counts.positive, expected.positive)
        np.testing.assert_array_equal(counts.negative, expected.negative)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(MODES))
def test_pairs_of_each_affinity_are_those_whose_maximin_affinity_it_is(seed, mode):
    # Without any order among ties.
    case = Case.random(seed)
    values, usable = case.constrained(mode)
    worst = maximin(-values, usable, case.ends, case.labels.size)
    counts = case.counts(mode)
    ids = case.labels.ravel()
    x, y = np.tril_indices(ids.size, -1)
    labelled = (ids[x] != 0) & (ids[y] != 0)
    for is_same, found in ((True, counts.positive), (False, counts.negative)):
        pairs = worst[x, y][labelled & ((ids[x] == ids[y]) == is_same)]
        for level in np.unique(values):
            if mode is None or is_same == (mode == "positive"):
                assert found[values == level].sum() == (pairs == -level).sum()


shapes = st.lists(st.integers(1, 9), min_size=2, max_size=3)


@settings(deadline=None)
@given(shapes, st.integers(0, 2**32), st.integers(1, 6))
def test_sums_are_those_of_the_contingency_table(shape, seed, most):
    rng = np.random.default_rng(seed)
    labels, affinities = rng.integers(0, most + 1, shape), rng.random((len(shape), *shape))
    offsets = neighbourhood(ndim=len(shape))
    sizes = np.bincount(labels.ravel())[1:]
    positive = sum(math.comb(int(n), 2) for n in sizes)
    negative = math.comb(int(sizes.sum()), 2) - positive
    one_tree = malis_pair_counts(affinities, labels, offsets)
    assert (one_tree.positive.sum(), one_tree.negative.sum()) == (positive, negative)
    contracted = malis_pair_counts(affinities, labels, offsets, constrained="negative")
    assert contracted.negative.sum() == negative
    parts = 0
    for label in range(1, most + 1):
        pieces = np.bincount(ndimage.label(labels == label)[0].ravel())[1:]
        parts += sum(math.comb(int(n), 2) for n in pieces)
    inside = malis_pair_counts(affinities, labels, offsets, constrained="positive")
    assert inside.positive.sum() == parts
    assert not inside.negative.any()
    assert not contracted.positive.any()


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_counted_edges_are_edges_of_a_forest(seed):
    case = Case.random(seed)
    counts = case.counts(None)
    used = (counts.positive + counts.negative) > 0
    assert not used[~case.usable].any()
    worst = maximin(np.zeros(used.shape), used, case.ends, case.labels.size)
    np.fill_diagonal(worst, 0)
    assert used.sum() == case.labels.size - len(np.unique(worst, axis=0))


def scene(shape=(24, 30, 26), seed=0):
    """Blobs that touch, some voxels unlabelled, noisy affinities without ties."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(5, *shape)), (0, 3, 3, 3))
    labels = ndimage.label(np.ones(shape))[0] * (field.argmax(0) + 1)
    labels[rng.random(shape) < 0.05] = 0
    offsets = ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, -4, 0))
    ids = [np.roll(labels, [-v for v in o], range(3)) for o in offsets]
    truth = (np.stack(ids) == labels) * 0.3
    ranks = rng.permutation(truth.size).reshape(truth.shape) / truth.size
    return (truth + 0.7 * ranks).astype(np.float32), labels, offsets


def by_higra(case, mode):
    """Counts from higra's tree, with the number of voxels of each label in each node."""
    values, usable = case.constrained(mode)
    a, b = case.ends[:, usable]
    weights = -values[usable].astype(np.float64)
    # One voxel more, to which all are connected last.
    n = case.labels.size
    a, b = np.concatenate([a, np.arange(n)]), np.concatenate([b, np.full(n, n)])
    weights = np.concatenate([weights, np.full(n, 9.0)])
    tree, _ = hg.bpt_canonical((a, b, n + 1), weights)
    names = hg.get_attribute(tree, "mst_edge_map")
    ids = np.append(case.labels.ravel(), 0)
    per_label = np.ascontiguousarray(np.eye(ids.max() + 1)[ids][:, 1:])
    inner = hg.accumulate_sequential(tree, per_label, hg.Accumulators.sum)
    same = hg.accumulate_parallel(tree, inner, hg.Accumulators.prod).sum(1)
    pairs = hg.accumulate_parallel(tree, np.ascontiguousarray(inner.sum(1)), hg.Accumulators.prod)
    places = np.flatnonzero(usable)
    found = [np.zeros(values.size, np.int64) for _ in range(2)]
    real = names < len(places)
    found[0][places[names[real]]] = same[n + 1 :][real]
    found[1][places[names[real]]] = (pairs - same)[n + 1 :][real]
    return [f.reshape(values.shape) for f in found]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("most", [None, 3000])
def test_counts_are_those_of_higra_on_a_volume(monkeypatch, mode, most):
    if most:
        monkeypatch.setattr(Sample, "edges_at_once", property(lambda _: most))
    affinities, labels, offsets = scene()
    mask = np.random.default_rng(1).random(affinities.shape) < 0.9
    case = Case(affinities, labels, offsets, mask)
    counts, (positive, negative) = case.counts(mode), by_higra(case, mode)
    if mode != "negative":
        np.testing.assert_array_equal(counts.positive, positive)
    if mode != "positive":
        np.testing.assert_array_equal(counts.negative, negative)


def test_constrained_passes_are_one_tree_with_edges_set_to_their_truth():
    affinities, labels, offsets = scene((12, 14, 13))
    case = Case(affinities * 0.99, labels, offsets, None)
    positive, negative = case.counts("positive").positive, case.counts("negative").negative
    set_, _ = case.constrained("negative")
    raised = malis_pair_counts(np.minimum(set_, 1), labels, offsets)
    np.testing.assert_array_equal(negative, raised.negative)
    only_inside = malis_pair_counts(
        affinities * 0.99, labels, offsets, mask=case.constrained("positive")[1]
    )
    np.testing.assert_array_equal(positive, only_inside.positive)


def test_an_object_in_two_parts_is_joined_through_others_only_when_not_constrained():
    # 1 and 1 meet through 2 at the weaker of the two edges.
    affinities, labels = [[[0, 0.8, 0.6]]], [[1, 2, 1]]
    found = {m: malis_pair_counts(affinities, labels, [(0, -1)], constrained=m) for m in MODES}
    assert found[None].positive.tolist() == [[[0, 0, 1]]]
    assert found[None].negative.tolist() == [[[0, 1, 1]]]
    assert not found["positive"].positive.any()
    assert found["negative"].negative.tolist() == [[[0, 1, 1]]]


def test_unlabelled_voxels_connect_but_are_in_no_pair():
    affinities, labels = [[[0, 0.8, 0.6, 0.9]]], [[1, 0, 0, 2]]
    found = malis_pair_counts(affinities, labels, [(0, -1)], constrained="negative")
    assert found.negative.tolist() == [[[0, 0, 1, 0]]]
    assert not malis_pair_counts(
        affinities, labels, [(0, -1)], constrained="positive"
    ).positive.any()


def test_ties_go_by_channel_and_then_in_order_of_the_voxels():
    counts = malis_pair_counts(np.ones((2, 2, 2)), np.ones((2, 2), int), [(0, -1), (-1, 0)])
    assert counts.positive.tolist() == [[[0, 1], [0, 1]], [[0, 0], [4, 0]]]


@pytest.mark.parametrize(
    "labels", [np.zeros((3, 4), int), np.eye(1, 12, 5, dtype=int).reshape(3, 4)]
)
@pytest.mark.parametrize("mode", MODES)
def test_volumes_without_pairs_have_no_counts(labels, mode):
    counts = malis_pair_counts(np.ones((2, 3, 4)), labels, neighbourhood(ndim=2), constrained=mode)
    assert counts.positive.dtype == counts.negative.dtype == np.int64
    assert not counts.positive.any()
    assert not counts.negative.any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 1, 1), (1, 1, 6), (6, 1)])
def test_thin_volumes_are_counted(shape):
    counts = malis_pair_counts(
        np.full((len(shape), *shape), 0.5), np.ones(shape, int), neighbourhood(ndim=len(shape))
    )
    assert counts.positive.sum() == math.comb(math.prod(shape), 2)


def test_labels_and_affinities_of_any_type_and_layout_give_the_same():
    affinities, labels, offsets = scene((9, 8, 7))
    affinities = affinities.astype(np.float16)
    expected = malis_pair_counts(affinities.astype(np.float32), labels, offsets)
    huge = labels.astype(np.uint64) * (2**64 // 7)
    frozen = affinities.astype(np.float64)
    frozen.flags.writeable = False
    turned = np.asfortranarray(affinities.astype(np.float32))
    turned.flags.writeable = False
    for a, b in (
        (affinities, labels.astype(np.uint8)),
        (affinities, huge),
        (affinities, np.asfortranarray(labels.astype(">i2"))),
        (frozen, labels),
        (turned, labels.tolist()),
    ):
        counts = malis_pair_counts(a, b, offsets)
        np.testing.assert_array_equal(counts.positive, expected.positive)
        np.testing.assert_array_equal(counts.negative, expected.negative)
    either = malis_pair_counts(affinities, labels > 2, offsets)
    assert either.positive.sum() == math.comb(int((labels > 2).sum()), 2)


def test_minus_zero_is_zero():
    affinities = np.array([[[0, -0.0, 0.0, -0.0]]])
    counts = malis_pair_counts(affinities, np.ones((1, 4), int), [(0, -1)])
    assert counts.positive.tolist() == [[[0, 1, 2, 3]]]


def test_inputs_are_left_as_they_are():
    affinities, labels, offsets = scene((6, 6, 6))
    copies = affinities.copy(), labels.copy()
    for mode in MODES:
        malis_pair_counts(affinities, labels, offsets, constrained=mode)
    np.testing.assert_array_equal(affinities, copies[0])
    np.testing.assert_array_equal(labels, copies[1])


def test_affinities_bring_their_offsets_and_mask():
    affinities, labels, offsets = scene((6, 7, 6))
    rng = np.random.default_rng(0)
    own, other = (rng.random(affinities.shape) < 0.8 for _ in range(2))
    given = Affinities(data=affinities, offsets=offsets, spacing=(1, 1, 1), mask=own)
    found = malis_pair_counts(given, labels, mask=other)
    expected = malis_pair_counts(affinities, labels, offsets, mask=own & other)
    np.testing.assert_array_equal(found.positive, expected.positive)
    with pytest.raises(InputError, match="leave offsets out"):
        malis_pair_counts(given, labels, offsets[::-1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"affinities": np.full((2, 3, 4), np.nan)}, "hold NaN"),
        ({"affinities": np.full((2, 3, 4), 1.5)}, "range from 1.5 to 1.5"),
        ({"affinities": np.full((2, 3, 4), -0.1)}, "sigmoid"),
        ({"affinities": np.full((2, 3, 4), 1j)}, "complex128"),
        ({"affinities": np.ones((3, 3, 4))}, r"need \(2, 3, 4\)"),
        ({"affinities": np.ones((2, 4, 3))}, r"shape \(2, 4, 3\)"),
        ({"labels": np.ones((3, 4))}, "type float64"),
        ({"labels": np.full((3, 4), -1)}, "hold -1"),
        ({"labels": np.ones(12, int)}, r"\(12,\)"),
        ({"offsets": [(-1, 0), (1, 0)]}, "opposite"),
        ({"offsets": None}, "offsets is None"),
        ({"offsets": [(-1, 0, 0), (0, -1, 0)]}, "2 axes"),
        ({"constrained": "both"}, "'both'"),
        ({"mask": np.ones((3, 4), bool)}, r"bool \(2, 3, 4\)"),
        ({"mask": np.ones((2, 3, 4), int)}, "int64"),
    ],
)
def test_input_that_does_not_fit_is_refused(changes, message):
    given = {"affinities": np.ones((2, 3, 4)), "labels": np.ones((3, 4), int)}
    given |= {"offsets": [(-1, 0), (0, -1)]} | changes
    with pytest.raises(InputError, match=message):
        malis_pair_counts(
            given.pop("affinities"), given.pop("labels"), given.pop("offsets"), **given
        )
