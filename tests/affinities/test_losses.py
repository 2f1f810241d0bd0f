"""Targets against the conversion in numpy; losses against their formulas voxel by voxel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_implicitseg.affinities.losses import (
    affinity_cross_entropy,
    affinity_dice,
    affinity_targets,
    descriptor_loss,
)
from napari_implicitseg.affinities.ops import labels_to_affinities
from napari_implicitseg.errors import InputError

DIRECT = ((-1, 0, 0), (0, -1, 0), (0, 0, -1))
FAR = (*DIRECT, (-2, 0, 0), (0, -3, 1), (0, 0, -9), (1, 2, -1))


def case(seed=0, size=(2, 3, 4, 5), *, share=0.7):
    """Logits in double precision, targets and a mask, random."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(size, generator=g, dtype=torch.float64) * 2
    target = (torch.rand(size, generator=g) < 0.6).float()
    mask = torch.rand(size, generator=g) < share
    return logits, target, mask


@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=3),
    seed=st.integers(0, 2**16),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_targets_are_those_of_labels_to_affinities(shape, seed, data):
    step = st.tuples(*[st.integers(-4, 4)] * len(shape)).filter(any)
    offsets = data.draw(
        st.lists(step, min_size=1, max_size=4, unique_by=lambda o: max(o, tuple(-i for i in o)))
    )
    labels = np.random.default_rng(seed).integers(0, 4, (2, *shape))
    for unlabelled, known in ((None, None), (0, torch.from_numpy(labels != 0))):
        target, mask = affinity_targets(torch.from_numpy(labels), offsets, known=known)
        assert target.dtype == torch.float32
        for b in range(2):
            expected = labels_to_affinities(labels[b], offsets, unlabelled=unlabelled)
            np.testing.assert_array_equal(target[b].numpy() * mask[b].numpy(), expected.data)
            np.testing.assert_array_equal(mask[b].numpy(), expected.mask)


def test_targets_voxel_by_voxel():
    labels = torch.randint(0, 3, (2, 3, 4, 5), generator=torch.Generator().manual_seed(1))
    known = torch.rand(labels.shape, generator=torch.Generator().manual_seed(2)) < 0.8
    target, mask = affinity_targets(labels, FAR, known=known)
    for b, k, *p in np.ndindex(2, len(FAR), 3, 4, 5):
        q = [a + o for a, o in zip(p, FAR[k], strict=True)]
        inside = all(0 <= a < n for a, n in zip(q, (3, 4, 5), strict=True))
        here, there = (b, *p), (b, *q)
        assert mask[b, k, *p] == (inside and bool(known[here]) and bool(known[there]))
        same = inside and labels[here] == labels[there] != 0
        assert target[b, k, *p] == float(same)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.uint64])
def test_targets_take_any_integer_and_huge_ids(dtype):
    top = np.iinfo(dtype).max
    labels = torch.from_numpy(np.array([[[top, top, top - 1, 0, 0]]], dtype))
    target, _ = affinity_targets(labels, [(0, -1)])
    assert target[0, 0, 0].tolist() == [0, 1, 0, 0, 0]


def test_targets_refuse_what_does_not_fit():
    labels = torch.zeros(1, 4, 4, dtype=torch.int64)
    with pytest.raises(InputError, match=r"\(1, 4\)"):
        affinity_targets(labels, [(0, -1)], known=torch.ones(1, 4, dtype=torch.bool))
    with pytest.raises(InputError):
        affinity_targets(labels, [(-1, 0, 0)])


def test_cross_entropy_without_balance_is_the_mean_over_known_edges():
    logits, target, mask = case()
    p = torch.sigmoid(logits)
    each = -(target * p.log() + (1 - target) * (1 - p).log())
    loss = affinity_cross_entropy(logits, target, mask, balance=False)
    torch.testing.assert_close(loss, each[mask].mean())


def test_balanced_cross_entropy_by_sample_and_channel():
    logits, target, mask = case(3)
    total = 0.0
    for b in range(2):
        for c in range(3):
            known = mask[b, c]
            for is_class in (target[b, c] > 0.5, target[b, c] < 0.5):
                odds = logits[b, c][known & is_class]
                sign = -1 if bool(is_class.any() and target[b, c][is_class][0]) else 1
                total += 0.5 * int(known.sum()) * float(torch.log1p((sign * odds).exp()).mean())
    loss = affinity_cross_entropy(logits, target, mask)
    assert float(loss) == pytest.approx(total / int(mask.sum()))


@given(seed=st.integers(0, 2**16), borders=st.integers(5, 95))
@settings(max_examples=30, deadline=None)
def test_balanced_gradients_of_both_classes_cancel_at_undecided(seed, borders):
    order = torch.randperm(100, generator=torch.Generator().manual_seed(seed))
    target = (order >= borders).double().view(1, 1, 10, 10)
    logits = torch.zeros_like(target, requires_grad=True)
    affinity_cross_entropy(logits, target, torch.ones_like(target, dtype=torch.bool)).backward()
    assert abs(float(logits.grad.sum())) < 1e-12
    assert float(logits.grad.abs().sum()) == pytest.approx(0.5)


def test_a_single_border_does_not_explode():
    target = torch.ones(1, 1, 100, 100, dtype=torch.float64)
    target[..., 5, 5] = 0
    logits = torch.zeros_like(target, requires_grad=True)
    mask = torch.ones_like(target, dtype=torch.bool)
    affinity_cross_entropy(logits, target, mask, least_share=0.01).backward()
    plain = 0.5 / 10_000
    assert float(logits.grad[0, 0, 5, 5]) == pytest.approx(50 * plain)
    assert float(-logits.grad[0, 0, 0, 0]) == pytest.approx(0.5 * plain, rel=1e-3)


def test_dice_is_its_formula_on_borders():
    logits, target, mask = case(5)
    losses = []
    for c in range(3):
        p, t = 1 - torch.sigmoid(logits[:, c])[mask[:, c]], 1 - target[:, c][mask[:, c]]
        losses.append(1 - (2 * (p * t).sum() + 1) / ((p**2).sum() + (t**2).sum() + 1))
    torch.testing.assert_close(affinity_dice(logits, target, mask), torch.stack(losses).mean())


def test_dice_is_0_for_the_truth_and_1_for_its_opposite():
    _, target, mask = case(6, (2, 3, 20, 20))
    sure = (target * 2 - 1).double() * 50
    assert float(affinity_dice(sure, target, mask)) == pytest.approx(0, abs=1e-9)
    assert float(affinity_dice(-sure, target, mask)) == pytest.approx(1, abs=0.01)
    nothing = torch.ones_like(target)
    assert float(affinity_dice(nothing * 50, nothing, mask)) == pytest.approx(0, abs=1e-9)


def test_dice_leaves_channels_without_known_edges_out_of_the_mean():
    logits, target, mask = case(7)
    mask[:, 1] = False
    rest = [0, 2]
    expected = affinity_dice(logits[:, rest], target[:, rest], mask[:, rest])
    torch.testing.assert_close(affinity_dice(logits, target, mask), expected)


def test_descriptor_loss_is_the_mean_square_over_the_mask():
    prediction, _, _ = case(8, (2, 6, 4, 5))
    descriptors, _, _ = case(9, (2, 6, 4, 5))
    mask = torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(0)) < 0.5
    squares = (prediction - descriptors).square().movedim(1, -1)[mask]
    loss = descriptor_loss(prediction, descriptors, mask)
    torch.testing.assert_close(loss, squares.mean())
    with pytest.raises(InputError, match="shapes"):
        descriptor_loss(prediction, descriptors, mask[:1, :2])


LOSSES = [
    affinity_cross_entropy,
    affinity_dice,
    descriptor_loss,
    lambda *a: affinity_cross_entropy(*a, balance=False),
]


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_those_of_finite_differences(loss):
    logits, target, mask = case(4, (2, 2, 3, 3))
    assert torch.autograd.gradcheck(lambda x: loss(x, target, mask), logits.requires_grad_())


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_not_known_does_not_matter(loss):
    logits, target, mask = case(10)
    expected = loss(logits, target, mask)
    logits[~mask], target[~mask] = math.nan, math.nan
    logits.requires_grad_()
    value = loss(logits, target, mask)
    value.backward()
    torch.testing.assert_close(value, expected)
    assert bool((logits.grad[~mask] == 0).all())


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_known_costs_nothing_and_has_a_gradient(loss):
    logits, target, mask = case(11, share=0)
    value = loss(logits.requires_grad_(), target, mask)
    value.backward()
    assert float(value.detach()) == 0
    assert bool((logits.grad == 0).all())


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_is_summed_in_single(loss):
    logits, target, mask = case(12, (1, 2, 200, 200))
    half = loss(logits.half(), target, mask)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.double(), loss(logits, target, mask), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_shapes_have_to_be_the_same(loss):
    logits, target, mask = case(13)
    with pytest.raises(InputError, match=r"\(2, 2, 4, 5\).*as many outputs"):
        loss(logits[:, :2], target, mask)


@pytest.mark.parametrize("loss", LOSSES[:2])
def test_descent_finds_the_target(loss):
    _, target, mask = case(14, (1, 2, 8, 8))
    logits = torch.zeros(target.shape, requires_grad=True)
    optimiser = torch.optim.SGD([logits], lr=50.0)
    for _ in range(100):
        optimiser.zero_grad()
        loss(logits, target, mask).backward()
        optimiser.step()
    assert bool(((logits > 0) == (target > 0.5))[mask].all())
