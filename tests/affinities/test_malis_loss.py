"""The loss against the definition, its gradient against finite differences, and what it takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_implicitseg.affinities import malis
from napari_implicitseg.affinities._pairwise import pairwise_malis
from napari_implicitseg.affinities.malis import malis_loss, malis_pair_counts
from napari_implicitseg.affinities.ops import labels_to_affinities, neighbourhood
from napari_implicitseg.errors import InputError

OFFSETS = ((-1, 0), (0, -1), (0, -3))
LOSSES = {"squared": lambda a: (1 - a) ** 2, "cross-entropy": lambda a: -np.log(a)}


def batch(count=2, shape=(5, 6), seed=0, dtype=torch.float64):
    """Distinct affinities away from 0 and 1, and labels with zeros."""
    rng = np.random.default_rng(seed)
    size = (count, len(OFFSETS), *shape)
    values = 0.05 + 0.9 * rng.permutation(np.prod(size)).reshape(size) / np.prod(size)
    labels = rng.integers(0, 4, (count, *shape))
    return torch.from_numpy(values).to(dtype), torch.from_numpy(labels)


def weakest_links(values, usable):
    """Maximin affinity of each pair of voxels, 0 where none; (N, N)."""
    size = values[0].size
    best = np.zeros((size, size))
    for k, (dy, dx) in enumerate(OFFSETS):
        for y, x in np.ndindex(*values[0].shape):
            if 0 <= y + dy < values.shape[1] and 0 <= x + dx < values.shape[2] and usable[k, y, x]:
                a = y * values.shape[2] + x
                b = a + dy * values.shape[2] + dx
                best[a, b] = best[b, a] = values[k, y, x]
    for v in range(size):
        best = np.maximum(best, np.minimum(best[:, v, None], best[None, v]))
    return best


def literal(values, labels, *, pair_loss, constrained, weight):
    """Mean over pairs of one label, and over those of two."""
    ids = [np.roll(labels, [-v for v in o], (0, 1)) for o in OFFSETS]
    inside = (np.stack(ids) == labels) & (labels != 0)
    everywhere = np.ones_like(inside)
    one = weakest_links(values, inside if constrained else everywhere)
    two = weakest_links(np.where(inside, 1, values) if constrained else values, everywhere)
    x, y = np.tril_indices(labels.size, -1)
    flat = labels.ravel()
    pairs = (flat[x] != 0) & (flat[y] != 0)
    same = flat[x] == flat[y]
    # Parts of an object that nothing inside it connects are no pair.
    positive = one[x, y][pairs & same]
    positive = LOSSES[pair_loss](positive[positive > 0])
    negative = LOSSES[pair_loss](1 - two[x, y][pairs & ~same])
    return weight * positive.mean() + (1 - weight) * negative.mean()


@pytest.mark.parametrize("constrained", [True, False])
@pytest.mark.parametrize("pair_loss", list(LOSSES))
def test_loss_is_the_mean_over_pairs_of_voxels(pair_loss, constrained):
    for seed in range(10):
        values, labels = batch(seed=seed)
        found = malis_loss(
            values,
            labels,
            OFFSETS,
            pair_loss=pair_loss,
            constrained=constrained,
            positive_weight=0.3,
        )
        expected = [
            literal(v, w, pair_loss=pair_loss, constrained=constrained, weight=0.3)
            for v, w in zip(values.numpy(), labels.numpy(), strict=True)
        ]
        assert float(found) == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize("constrained", [True, False])
@pytest.mark.parametrize("pair_loss", list(LOSSES))
def test_gradient_is_that_of_finite_differences(pair_loss, constrained):
    values, labels = batch(seed=3)
    values.requires_grad_()

    def loss(a):
        return malis_loss(a, labels, OFFSETS, pair_loss=pair_loss, constrained=constrained)

    assert torch.autograd.gradcheck(loss, values, eps=1e-6, atol=1e-6)
    loss(values).backward()
    assert (values.grad != 0).any()


def test_gradient_raises_affinities_within_objects_and_lowers_those_between():
    values, labels = batch(seed=1)
    values.requires_grad_()
    malis_loss(values, labels, OFFSETS).backward()
    for grad, ids in zip(values.grad, labels, strict=True):
        truth = labels_to_affinities(ids.numpy(), OFFSETS)
        grad = grad.numpy()
        assert (grad[(truth.data == 1)] <= 0).all()
        assert (grad[truth.mask & (truth.data == 0)] >= 0).all()


def test_a_batch_is_the_mean_of_its_samples():
    values, labels = batch(5)
    alone = [malis_loss(v, w, OFFSETS) for v, w in zip(values, labels, strict=True)]
    torch.testing.assert_close(malis_loss(values, labels, OFFSETS), torch.stack(alone).mean())


def test_volumes_are_taken_like_images():
    rng = np.random.default_rng(0)
    values, labels = torch.from_numpy(rng.random((3, 4, 5, 6))), rng.integers(0, 3, (4, 5, 6))
    offsets = neighbourhood()
    whole = malis_loss(values, labels, offsets)
    torch.testing.assert_close(malis_loss(values[None], labels[None], offsets), whole)
    positive = malis_pair_counts(values, labels, offsets, constrained="positive").positive
    negative = malis_pair_counts(values, labels, offsets, constrained="negative").negative
    a = values.numpy()
    expected = (positive * (1 - a) ** 2).sum() / positive.sum()
    expected += (negative * a**2).sum() / negative.sum()
    assert float(whole) == pytest.approx(expected / 2, rel=1e-5)


@pytest.mark.parametrize("kind", ["uint8", "bool", "uint64", "array", "list"])
def test_labels_are_a_tensor_or_an_array_of_any_type(kind):
    values, labels = batch()
    labels = labels.clamp(max=1)
    given = {
        "array": labels.numpy(),
        "list": labels.tolist(),
    }.get(kind)
    given = labels.to(getattr(torch, kind)) if given is None else given
    torch.testing.assert_close(
        malis_loss(values, given, OFFSETS), malis_loss(values, labels, OFFSETS)
    )


def test_a_mask_holds_for_one_sample_or_for_all():
    values, labels = batch()
    mask = np.random.default_rng(0).random(values.shape[1:]) < 0.7
    found = malis_loss(values, labels, OFFSETS, mask=mask)
    assert float(found) != float(malis_loss(values, labels, OFFSETS))
    both = torch.from_numpy(np.stack([mask, mask]))
    torch.testing.assert_close(malis_loss(values, labels, OFFSETS, mask=both), found)
    values.requires_grad_()
    malis_loss(values, labels, OFFSETS, mask=mask).backward()
    assert not values.grad[:, ~torch.from_numpy(mask)].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_low_precision_is_summed_in_float32(dtype):
    values, labels = batch(dtype=dtype)
    values.requires_grad_()
    loss = malis_loss(values, labels, OFFSETS)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    same = malis_loss(values.detach().double(), labels, OFFSETS)
    assert float(loss.detach()) == pytest.approx(float(same), rel=1e-5)
    loss.backward()
    assert values.grad.dtype == dtype


@pytest.mark.parametrize("pair_loss", list(LOSSES))
def test_saturated_affinities_have_a_finite_loss_and_still_a_slope(pair_loss):
    # Wrong with certainty: an object cut in two, and two objects joined.
    values = torch.tensor([[[0, 0.0, 1.0]]], requires_grad=True)
    loss = malis_loss(values, [[1, 1, 2]], [(0, -1)], pair_loss=pair_loss)
    loss.backward()
    assert torch.isfinite(loss)
    assert loss >= 1
    assert values.grad[0, 0, 1] < 0 < values.grad[0, 0, 2]
    assert torch.isfinite(values.grad).all()


@pytest.mark.parametrize("labels", [torch.zeros(2, 5, 6, dtype=int), torch.eye(5, 6).int()[None]])
@pytest.mark.parametrize("pair_loss", list(LOSSES))
def test_without_pairs_loss_and_gradient_are_zero(labels, pair_loss):
    values = batch(len(labels))[0].requires_grad_()
    # One labelled voxel, or none.
    single = labels * (torch.arange(6) < 1)
    loss = malis_loss(values, single, OFFSETS, pair_loss=pair_loss) * 3
    loss.backward()
    assert float(loss.detach()) == 0
    assert not values.grad.any()


def test_with_one_label_only_its_pairs_count():
    values, _ = batch(1)
    found = malis_loss(values, np.ones((1, 5, 6), int), OFFSETS)
    counts = malis_pair_counts(values[0], np.ones((5, 6), int), OFFSETS).positive
    expected = (counts * (1 - values[0].numpy()) ** 2).sum() / counts.sum() / 2
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_the_loss_teaches_affinities_to_cut_the_objects_out():
    labels = np.repeat(np.repeat([[1, 1, 2], [3, 2, 2]], 5, 0), 5, 1)
    labels[0, 0] = 0
    offsets = neighbourhood(ndim=2)
    logits = torch.randn(2, *labels.shape, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_()
    adam = torch.optim.Adam([logits], lr=0.1)
    for _ in range(150):
        adam.zero_grad()
        malis_loss(logits.sigmoid(), labels, offsets).backward()
        adam.step()
    joined = (logits > 0).numpy()
    grid = np.zeros((19, 29), bool)
    grid[::2, ::2] = True
    grid[1::2, ::2], grid[::2, 1::2] = joined[0, 1:], joined[1, :, 1:]
    found = ndimage.label(grid)[0][::2, ::2]
    pairs = {(a, b) for a, b in zip(labels.ravel(), found.ravel(), strict=True) if a}
    assert len(pairs) == 3
    assert len({b for _, b in pairs}) == 3


def test_pairwise_is_the_sampled_version():
    values, labels = batch()
    found = malis_loss(values, labels, OFFSETS, pairwise=True, seed=4, pair_loss="cross-entropy")
    expected = pairwise_malis(values, labels, OFFSETS, seed=4, pair_loss="cross-entropy")
    torch.testing.assert_close(found, expected)
    assert float(found) != float(malis_loss(values, labels, OFFSETS, pairwise=True, seed=5))
    single = malis_loss(values[0], labels[0], OFFSETS, pairwise=True, seed=4)
    torch.testing.assert_close(single, pairwise_malis(values[:1], labels[:1], OFFSETS, seed=4))


def test_threads_give_what_one_thread_gives(monkeypatch):
    values, labels = batch(7)
    expected = malis_loss(values, labels, OFFSETS)
    for threads in (None, 1, 3):
        monkeypatch.setattr(malis.os, "cpu_count", lambda threads=threads: threads)
        assert torch.equal(malis_loss(values, labels, OFFSETS), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_loss_and_gradient_are_the_same_on_a_device():
    values, labels = batch(dtype=torch.float32)
    grads = []
    for device in ("cpu", "cuda"):
        given = values.detach().to(device).requires_grad_()
        loss = malis_loss(given, labels.to(device), OFFSETS)
        assert loss.device.type == device
        loss.backward()
        grads.append(given.grad.cpu())
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"affinities": np.ones((3, 5, 6))}, "floating tensor"),
        ({"affinities": torch.ones(3, 5, 6).int()}, "int32"),
        ({"affinities": torch.full((3, 5, 6), float("nan"))}, "NaN"),
        ({"affinities": torch.full((3, 5, 6), 7.0)}, "sigmoid"),
        ({"affinities": torch.ones(2, 5, 6)}, r"\(3, 5, 6\)"),
        ({"affinities": torch.ones(5, 6)}, r"shape \(5, 6\)"),
        ({"labels": torch.ones(2, 5, 6).int()}, r"the labels \(1, 2, 5, 6\)"),
        ({"labels": torch.ones(5, 6)}, "float32"),
        ({"offsets": []}, "no offsets"),
        ({"offsets": 3}, "offsets is 3"),
        ({"offsets": [3]}, "whole numbers"),
        ({"pair_loss": "hinge"}, "'hinge'"),
        ({"positive_weight": 1.5}, "1.5"),
        ({"mask": torch.ones(5, 6).bool()}, "for all samples"),
        ({"mask": torch.ones(3, 5, 6)}, "float32"),
    ],
)
def test_input_that_does_not_fit_is_refused(changes, message):
    given = {"affinities": torch.ones(3, 5, 6), "labels": torch.ones(5, 6).int()}
    given |= {"offsets": OFFSETS} | changes
    with pytest.raises(InputError, match=message):
        malis_loss(given.pop("affinities"), given.pop("labels"), given.pop("offsets"), **given)


def test_a_batch_with_labels_of_another_number_is_refused():
    values, labels = batch()
    with pytest.raises(InputError, match=r"\(B, K, \*S\) and \(B, \*S\)"):
        malis_loss(values, labels[:1], OFFSETS)


def test_a_batch_without_samples_is_refused():
    with pytest.raises(InputError, match="one sample at least"):
        malis_loss(torch.ones(0, 3, 5, 6), torch.ones(0, 5, 6).int(), OFFSETS)


def test_bad_samples_of_a_batch_stop_it():
    values, labels = batch(9)
    values[::2] = float("nan")
    with pytest.raises(InputError, match="NaN"):
        malis_loss(values, labels, OFFSETS)
