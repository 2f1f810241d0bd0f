"""What is learned when, and by which edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_implicitseg import TrainConfig, malis_loss
from napari_implicitseg.affinities.losses import affinity_cross_entropy, affinity_targets
from napari_implicitseg.affinities.ops import neighbourhood
from napari_implicitseg.training.batches import Batch
from napari_implicitseg.training.objective import Objective

DIRECT = ((-1, 0), (0, -1))


def _batch(size: int = 12) -> Batch:
    labels = np.ones((1, size, size), np.int32)
    labels[:, :, size // 2 :] = 2
    labels[:, :2] = 0
    tensor = torch.from_numpy(labels)
    return Batch(
        step=0, raw=torch.zeros(1, 1, size, size), labels=tensor, known=torch.from_numpy(labels > 0)
    )


def _logits(channels: int, size: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, channels, size, size, generator=generator, requires_grad=True)


def test_the_start_is_cross_entropy_alone():
    objective = Objective(TrainConfig(steps=10), DIRECT, (1.0, 1.0))
    batch, logits = _batch(), _logits(2)
    target, mask = affinity_targets(batch.labels, DIRECT, known=batch.known)
    wanted = affinity_cross_entropy(logits, target, mask)
    for step in (0, 4):
        assert objective(logits, batch, step).item() == pytest.approx(wanted.item())
    assert objective(logits, batch, 5).item() > wanted.item()


def test_then_malis_is_added_by_weight():
    config = TrainConfig(steps=10, start_steps=0, start_weight=0.0, positive_weight=0.3)
    batch, logits = _batch(), _logits(2)
    wanted = malis_loss(torch.sigmoid(logits), batch.labels, DIRECT, positive_weight=0.3)
    got = Objective(config, DIRECT, (1.0, 1.0))(logits, batch, 0)
    assert got.item() == pytest.approx(wanted.item())


def test_edges_of_long_reach_are_not_joined_by_malis():
    offsets = neighbourhood("direct+long-range", ndim=2)
    config = TrainConfig(steps=10, start_steps=0, start_weight=0.0)
    logits = _logits(len(offsets))
    Objective(config, offsets, (1.0, 1.0))(logits, _batch(), 3).backward()
    assert logits.grad[:, :2].abs().sum() > 0
    assert logits.grad[:, 2:].abs().sum() == 0


def test_descriptors_are_learned_beside_affinities():
    config = TrainConfig(steps=10, descriptors=True)
    logits = _logits(2 + 6)
    Objective(config, DIRECT, (1.0, 1.0))(logits, _batch(), 0).backward()
    assert logits.grad[:, 2:].abs().sum() > 0


def test_an_infinite_logit_where_nothing_is_known_does_no_harm():
    batch, logits = _batch(), _logits(2).detach()
    logits[0, :, 0] = float("inf")
    loss = Objective(TrainConfig(steps=10), DIRECT, (1.0, 1.0))(logits, batch, 0)
    assert torch.isfinite(loss)
