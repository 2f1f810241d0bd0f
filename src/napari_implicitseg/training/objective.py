"""What a training makes small, and when."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_implicitseg.affinities.losses import (
    affinity_cross_entropy,
    affinity_dice,
    affinity_targets,
    descriptor_loss,
)
from napari_implicitseg.affinities.malis import malis_loss

if TYPE_CHECKING:
    from torch import Tensor

    from napari_implicitseg.config import TrainConfig
    from napari_implicitseg.training.patches import Batch
    from napari_implicitseg.training.task import LoopOptions

__all__ = ["Objective", "learning_rate"]

# Sheridan et al. take about 80 nm; in voxels of the finest axis where the unit is unknown.
_DESCRIPTOR_NANOMETRES, _SIGMA = 80.0, 8.0
_LEAST_SIGMA, _LARGEST_SIGMA = 4.0, 20.0
_WARM_STEPS = 100


def learning_rate(config: LoopOptions, step: int) -> float:
    """Return the rate of a step, from 0: a linear rise, then a cosine's fall to a hundredth."""
    warm = min(_WARM_STEPS, max(1, config.steps // 10))
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    share = (step - warm) / max(1, config.steps - warm)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


class Objective:
    """Loss of a batch: cross-entropy of each edge first, then what the options ask for.

    Parameters
    ----------
    config : TrainConfig
    offsets : tuple of tuple of int
        Edges the first outputs of the network predict.
    spacing : tuple of float
        Of the network's axes.
    """

    def __init__(
        self,
        config: TrainConfig,
        offsets: tuple[tuple[int, ...], ...],
        spacing: tuple[float, ...],
    ) -> None:
        self._config = config
        self._offsets = offsets
        near = [k for k, offset in enumerate(offsets) if sum(map(abs, offset)) == 1]
        self._direct = near or list(range(len(offsets)))
        self._spacing = tuple(s / min(spacing) for s in spacing)
        sigma = _DESCRIPTOR_NANOMETRES / min(spacing) if config.unit == "nanometer" else _SIGMA
        self._sigma = min(_LARGEST_SIGMA, max(_LEAST_SIGMA, sigma))
        start = config.start_steps
        self._start = config.steps // 2 if start is None else start
        if config.loss == "cross-entropy":
            self._start = config.steps

    def __call__(self, logits: Tensor, batch: Batch, step: int) -> Tensor:
        """Loss of a step.

        Parameters
        ----------
        logits : Tensor, shape (B, K + D, *P)
        batch : Batch
            On the device of the logits.
        step : int
            From 0.
        """
        count = len(self._offsets)
        edges = logits[:, :count].float()
        target, mask = affinity_targets(batch.labels, self._offsets, known=batch.known)
        weight = 1.0 if step < self._start else self._config.start_weight
        loss = edges.new_zeros(())
        if weight:
            loss = loss + weight * affinity_cross_entropy(edges, target, mask)
        if step >= self._start:
            loss = loss + self._wanted(edges, target, mask, batch, step)
        if self._config.descriptors:
            loss = loss + self._descriptors(logits[:, count:].float(), batch)
        return loss

    def _wanted(
        self, edges: Tensor, target: Tensor, mask: Tensor, batch: Batch, step: int
    ) -> Tensor:
        """Return the loss the options name."""
        config = self._config
        if config.loss == "dice":
            return affinity_dice(edges, target, mask)
        # Edges of long reach would join what lies apart; they learn by cross-entropy alone.
        return malis_loss(
            torch.sigmoid(edges[:, self._direct]),
            batch.labels,
            [self._offsets[k] for k in self._direct],
            pair_loss=config.pair_loss,
            positive_weight=config.positive_weight,
            pairwise=config.loss == "pairwise-malis",
            seed=int(np.random.SeedSequence([config.seed, step]).generate_state(1)[0]),
        )

    def _descriptors(self, logits: Tensor, batch: Batch) -> Tensor:
        """Loss of the auxiliary target."""
        from napari_implicitseg.affinities.descriptors import local_shape_descriptors

        truth = np.stack(
            [
                local_shape_descriptors(labels, sigma=self._sigma, spacing=self._spacing)
                for labels in batch.labels.cpu().numpy()
            ]
        )
        descriptors = torch.from_numpy(truth).to(logits.device)
        return descriptor_loss(torch.sigmoid(logits), descriptors, batch.labels != 0)
