"""Maximin edges against brute force; which pairs are drawn, and what they teach."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.affinities._pairwise import maximin_edge, pairwise_malis
from napari_implicitseg.errors import InputError

PLANE = ((-1, 0), (0, -1))
SPACE = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))


def brute_maximin(affinities, known, steps, low, sides):
    """Maximin affinity of all pairs of voxels of a patch, as Floyd and Warshall would have it."""
    places = list(itertools.product(*[range(a, a + n) for a, n in zip(low, sides, strict=True)]))
    number = {p: i for i, p in enumerate(places)}
    best = np.full((len(places), len(places)), -np.inf)
    np.fill_diagonal(best, np.inf)
    for k, step in enumerate(steps):
        for p in places:
            q = tuple(int(a + b) for a, b in zip(p, step, strict=True))
            if q in number and known[k][p]:
                i, j = number[p], number[q]
                best[i, j] = best[j, i] = max(best[i, j], affinities[k][p])
    for middle in range(len(places)):
        np.maximum(best, np.minimum(best[:, middle, None], best[middle]), out=best)
    return best


def stripes(shape, width):
    """Objects side by side along the last axis."""
    return np.broadcast_to(np.arange(shape[-1]) // width + 1, shape).copy()


@given(seed=st.integers(0, 2**20), levels=st.sampled_from([3, 10_000]), masked=st.booleans())
@settings(max_examples=60, deadline=None)
def test_maximin_edges_are_those_of_brute_force(seed, levels, masked):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(2, 5, 3))
    steps = np.array([*SPACE, (0, 2, 1), (1, -1, 0)])[rng.permutation(5)[: rng.integers(1, 6)]]
    affinities = rng.integers(0, levels, (len(steps), *shape)).astype(np.float32) / levels
    known = rng.random(affinities.shape) < (0.6 if masked else 1)
    sides = np.array([rng.integers(1, n + 1) for n in shape])
    low = np.array([rng.integers(0, n - s + 1) for n, s in zip(shape, sides, strict=True)])
    best = brute_maximin(affinities, known, steps, low, sides)
    for start, goal in itertools.combinations(range(math.prod(sides)), 2):
        edge = maximin_edge(affinities, known, steps, low, sides, start, goal)
        if edge < 0:
            assert best[start, goal] == -np.inf
            continue
        assert affinities.reshape(-1)[edge] == best[start, goal]
        k, *p = np.unravel_index(edge, affinities.shape)
        for end in (np.array(p), np.array(p) + steps[k]):
            assert (end >= low).all()
            assert (end < low + sides).all()
        assert known.reshape(-1)[edge]


def test_equal_affinities_choose_the_same_edge_from_either_end():
    affinities = np.full((3, 3, 3, 3), 0.5, np.float32)
    known, steps = np.ones(affinities.shape, bool), np.array(SPACE)
    low, sides = np.zeros(3, int), np.full(3, 3)
    for start, goal in itertools.combinations(range(27), 2):
        there = maximin_edge(affinities, known, steps, low, sides, start, goal)
        assert there == maximin_edge(affinities, known, steps, low, sides, goal, start) >= 0


@pytest.mark.parametrize("shape", [(40, 40), (6, 16, 16)])
@pytest.mark.parametrize("width", [1, 5, 13])
def test_both_classes_count_the_same(shape, width):
    # All maximin affinities are 0.2: the mean tells how many pairs there are of each class.
    offsets = PLANE if len(shape) == 2 else SPACE
    affinities = torch.full((len(offsets), *shape), 0.2)
    loss = pairwise_malis(affinities, stripes(shape, width), offsets, patch=9)
    assert float(loss) == pytest.approx((0.8**2 + 0.2**2) / 2)


def test_a_small_object_does_not_upset_the_balance():
    labels = np.ones((64, 64), int)
    labels[30, 30:33] = 2
    loss = pairwise_malis(torch.full((2, 64, 64), 0.2), labels, PLANE)
    assert float(loss) == pytest.approx((0.8**2 + 0.2**2) / 2)


def test_one_object_gives_pairs_of_one_class_only():
    affinities = torch.full((2, 30, 30), 0.2)
    one = pairwise_malis(affinities, np.ones((30, 30), int), PLANE)
    assert float(one) == pytest.approx(0.8**2)
    specks = np.arange(1, 901).reshape(30, 30)
    assert float(pairwise_malis(affinities, specks, PLANE)) == pytest.approx(0.2**2)


@pytest.mark.parametrize("labelled", [0, 1])
def test_no_pair_costs_nothing_and_has_a_gradient(labelled):
    labels = np.zeros((2, 8, 8), int)
    labels[:, 4, :labelled] = 7
    affinities = torch.full((2, 2, 8, 8), 0.3, requires_grad=True)
    loss = pairwise_malis(affinities, labels, PLANE)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not affinities.grad.any()


def test_paths_lead_through_unlabelled_voxels_that_are_in_no_pair():
    labels = np.array([[1, 0, 0, 1]])
    affinities = torch.tensor([[[0.0, 0.9, 0.3, 0.8]]], requires_grad=True)
    loss = pairwise_malis(affinities, labels, [(0, -1)])
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.7**2)
    assert affinities.grad[0, 0].nonzero().tolist() == [[2]]


def test_pairs_that_no_path_joins_are_left_out():
    labels = np.array([[1, 1, 1, 1]])
    affinities = torch.tensor([[[0.0, 0.9, 0.3, 0.9]]])
    mask = torch.tensor([[[False, True, False, True]]])
    loss = pairwise_malis(affinities, labels, [(0, -1)], mask=mask)
    assert float(loss) == pytest.approx(0.1**2)


def test_objects_further_apart_than_a_patch_are_no_pair():
    labels = np.zeros((1, 40), int)
    labels[0, 0], labels[0, 20], labels[0, 39] = 1, 2, 2
    affinities = torch.full((1, 1, 40), 0.2)
    assert float(pairwise_malis(affinities, labels, [(0, -1)], patch=20)) == pytest.approx(0.8**2)
    both = pairwise_malis(affinities, labels, [(0, -1)], patch=21)
    assert float(both) == pytest.approx((0.8**2 + 0.2**2) / 2)


@pytest.mark.parametrize("pair_loss", ["squared", "cross-entropy"])
@pytest.mark.parametrize("shape", [(2, 2, 7, 8), (1, 3, 3, 5, 4)])
def test_gradients_are_those_of_finite_differences(shape, pair_loss):
    # Affinities far enough apart for a small change not to change the paths.
    order = torch.randperm(math.prod(shape), generator=torch.Generator().manual_seed(0))
    affinities = ((order.double() + 0.5) / len(order)).reshape(shape).requires_grad_()
    labels = stripes((shape[0], *shape[2:]), 3)
    offsets = PLANE if len(shape) == 4 else SPACE

    def loss(a):
        return pairwise_malis(a, labels, offsets, pair_loss=pair_loss, patch=4, pairs=20)

    assert torch.autograd.gradcheck(loss, affinities)
    loss(affinities).backward()
    assert 0 < int((affinities.grad != 0).sum()) <= 20 * shape[0]


def test_every_edge_is_drawn_at_some_time():
    rng = np.random.default_rng(0)
    affinities = torch.from_numpy(rng.random((2, 12, 12))).requires_grad_()
    labels = stripes((12, 12), 4)
    for step in range(40):
        pairwise_malis(affinities, labels, PLANE, patch=3, pairs=200, seed=(5, step)).backward()
    # The weakest edge around a voxel is taken by no path in a patch that offers a way around it.
    drawn = (affinities.grad != 0).numpy()
    assert drawn[0, 1:].mean() > 0.8
    assert drawn[1, :, 1:].mean() > 0.8
    assert not drawn[0, 0].any()
    assert not drawn[1, :, 0].any()


def test_descent_separates_objects_and_joins_each():
    labels = stripes((16, 16), 4)
    logits = torch.zeros(2, 16, 16, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.2)
    for step in range(150):
        optimiser.zero_grad()
        loss = pairwise_malis(torch.sigmoid(logits), labels, PLANE, patch=8, seed=step)
        loss.backward()
        optimiser.step()
    final = pairwise_malis(torch.sigmoid(logits.detach()), labels, PLANE, patch=8, seed=999)
    assert float(final) < 0.05
    across = torch.arange(1, 16) % 4 == 0
    assert float(logits.detach()[1, :, 1:][:, across].max()) < 0


def test_a_seed_gives_the_same_pairs_and_another_gives_others():
    affinities = torch.rand(2, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = stripes((2, 32, 32), 6)
    losses = [
        float(pairwise_malis(affinities, labels, PLANE, seed=seed)) for seed in (3, 3, 4, (3, 1))
    ]
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


def test_samples_of_a_batch_draw_their_own_pairs():
    one = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(0))
    twice = torch.stack([one, one]).requires_grad_()
    pairwise_malis(twice, stripes((2, 32, 32), 6), PLANE).backward()
    assert bool((twice.grad[0] != twice.grad[1]).any())


def test_one_sample_needs_no_axis_for_it():
    affinities = torch.rand(2, 20, 20, generator=torch.Generator().manual_seed(0))
    labels = stripes((20, 20), 6)
    expected = pairwise_malis(affinities[None], labels[None], PLANE)
    assert torch.equal(pairwise_malis(affinities, labels, PLANE), expected)
    assert torch.equal(pairwise_malis(affinities, torch.from_numpy(labels), PLANE), expected)
    huge = labels.astype(np.uint64) + np.uint64(2**64 - 100)
    assert torch.equal(pairwise_malis(affinities, huge, PLANE), expected)


def test_an_image_is_a_stack_of_one_section():
    affinities = torch.rand(2, 20, 20, generator=torch.Generator().manual_seed(0))
    labels = stripes((20, 20), 6)
    stack = pairwise_malis(affinities[:, None], labels[None], SPACE[1:])
    assert torch.equal(pairwise_malis(affinities, labels, PLANE), stack)


def test_patches_within_a_section_leave_edges_across_alone():
    affinities = torch.rand(3, 5, 20, 20, requires_grad=True)
    pairwise_malis(affinities, stripes((5, 20, 20), 6), SPACE, patch=(1, 21, 21)).backward()
    assert not affinities.grad[0].any()
    assert affinities.grad[1].any()
    assert affinities.grad[2].any()


def test_pair_losses_by_formula():
    affinities = torch.full((2, 20, 20), 0.4)
    labels = stripes((20, 20), 6)
    margin = pairwise_malis(affinities, labels, PLANE, margin=0.3)
    assert float(margin) == pytest.approx((0.3**2 + 0.1**2) / 2)
    entropy = pairwise_malis(affinities, labels, PLANE, pair_loss="cross-entropy")
    assert float(entropy) == pytest.approx(-(math.log(0.4) + math.log(0.6)) / 2)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_certain_affinities_have_finite_losses_and_gradients(value):
    affinities = torch.full((2, 20, 20), value, requires_grad=True)
    loss = pairwise_malis(affinities, stripes((20, 20), 6), PLANE, pair_loss="cross-entropy")
    loss.backward()
    assert bool(torch.isfinite(loss.detach()))
    assert bool(torch.isfinite(affinities.grad).all())


def test_half_precision_is_summed_in_single():
    affinities = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    loss = pairwise_malis(affinities, stripes((32, 32), 6), PLANE)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, pairwise_malis(affinities.float(), stripes((32, 32), 6), PLANE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": []}, "offsets"),
        ({"offsets": 3}, "offsets"),
        ({"offsets": SPACE}, r"shape \(2, 8, 8\).*3 channels"),
        ({"offsets": PLANE[:1]}, "1 channels"),
        ({"labels": np.ones((8, 7), int)}, r"labels.*\(8, 7\).*\(8, 8\)"),
        ({"labels": np.ones((8, 8))}, "labels.*float64.*integers"),
        ({"mask": np.ones((2, 8, 8), int)}, "mask.*int64.*bool"),
        ({"affinities": torch.full((2, 8, 8), math.nan)}, "NaN"),
        ({"affinities": torch.full((2, 8, 8), 2.5)}, "range from 2.5 to 2.5.*0 to 1"),
        ({"labels": -np.ones((8, 8), int)}, "labels hold -1"),
        ({"pair_loss": "hinge"}, "'hinge'.*cross-entropy"),
        ({"margin": 0.5}, "margin is 0.5"),
        ({"margin": 0.1, "pair_loss": "cross-entropy"}, "only the squared"),
        ({"patch": 1}, "patch is 1"),
        ({"patch": (3, 3, 3)}, "patch is"),
        ({"patch": 2.5}, "whole numbers"),
        ({"pairs": 1}, "pairs is 1"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_what_cannot_be_used_is_named(change, message):
    given_ = {"affinities": torch.rand(2, 8, 8), "labels": np.ones((8, 8), int), "offsets": PLANE}
    with pytest.raises(InputError, match=message):
        pairwise_malis(**(given_ | change))
