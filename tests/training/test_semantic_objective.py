"""Losses of classes against their definitions; what is unlabelled never counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_implicitseg.semantic_config import SemanticConfig
from napari_implicitseg.training.semantic_objective import (
    class_cross_entropy,
    class_dice,
    class_loss,
    class_weights,
)


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, 3, 5, 6), generator=generator, requires_grad=True)
    labels = torch.randint(0, 4, (2, 5, 6), generator=generator, dtype=torch.int32)
    return logits, labels


def _mean_by_hand(logits, labels, weights=(1, 1, 1)) -> float:
    probability = torch.softmax(logits.detach(), 1).numpy()
    total, count = 0.0, 0
    for b, y, x in np.argwhere(labels.numpy() > 0):
        c = int(labels[b, y, x]) - 1
        total -= weights[c] * np.log(probability[b, c, y, x])
        count += 1
    return total / count


def test_cross_entropy_is_the_mean_over_labelled_pixels(case):
    logits, labels = case
    found = class_cross_entropy(logits, labels).item()
    assert found == pytest.approx(_mean_by_hand(*case), 1e-5)
    weights = torch.tensor([0.5, 1.0, 3.0])
    found = class_cross_entropy(logits, labels, weights).item()
    assert found == pytest.approx(_mean_by_hand(logits, labels, (0.5, 1, 3)), 1e-5)


@pytest.mark.parametrize("loss", [class_cross_entropy, class_dice])
def test_unlabelled_pixels_have_no_gradient(case, loss):
    logits, labels = case
    loss(logits, labels).backward()
    gradient = logits.grad.abs().sum(dim=1)
    assert float(gradient[labels == 0].max()) == 0
    assert float(gradient[labels > 0].min()) > 0


@pytest.mark.parametrize("loss", [class_cross_entropy, class_dice])
def test_without_a_label_the_loss_is_zero_and_its_gradient_too(case, loss):
    logits, _ = case
    value = loss(logits, torch.zeros((2, 5, 6), dtype=torch.int32))
    value.backward()
    assert value.item() == 0
    assert float(logits.grad.abs().max()) == 0


def test_dice_is_zero_where_all_is_right_and_counts_classes_that_are_there_alone():
    labels = torch.tensor([[[1, 1, 2, 2]]], dtype=torch.int32)
    right = torch.full((1, 3, 1, 4), -30.0)
    for x, label in enumerate((1, 1, 2, 2)):
        right[0, label - 1, 0, x] = 30.0
    assert float(class_dice(right, labels)) == pytest.approx(0, abs=1e-6)
    wrong = right.flip(3)
    # Of both classes that are there nothing is found: 1 - 1 / (2 + 2 + 1).
    assert float(class_dice(wrong, labels)) == pytest.approx(0.8, abs=1e-5)


def test_weights_follow_the_shares_and_have_mean_one():
    pixels = [900, 90, 10, 0]
    assert class_weights(pixels, 0.0) == (1, 1, 1, 1)
    whole = class_weights(pixels, 1.0)
    assert whole[0] * 900 == pytest.approx(whole[1] * 90) == pytest.approx(whole[2] * 10)
    half = class_weights(pixels, 0.5)
    assert np.dot(half, pixels) == pytest.approx(sum(pixels))
    assert 1 < half[2] / half[1] < whole[2] / whole[1]


def test_options_name_the_loss(case):
    logits, labels = case
    plain = SemanticConfig(loss="cross-entropy")
    both = SemanticConfig(dice=2.0)
    entropy, dice = class_cross_entropy(logits, labels), class_dice(logits, labels)
    assert class_loss(logits, labels, plain, None).item() == pytest.approx(entropy.item())
    found = class_loss(logits, labels, both, None).item()
    assert found == pytest.approx((entropy + 2 * dice).item())
