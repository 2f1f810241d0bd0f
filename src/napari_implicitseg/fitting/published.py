"""The training schedule of the paper on path-connectedness, with and without its teacher.

Adam at 1e-4, batches of 1500, 300 epochs; at each epoch 1200 random pixels without
a stroke join those with one. Shape and teacher learn the strokes by binary
cross-entropy. From epoch 30 on, the shape is also drawn by mean squared error to what
the teacher says of the pixels without a stroke, rounded, and from epoch 200 on as it is.

References
----------
Schneider et al. 2024, "Implicit representations for constrained image segmentation".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from napari_implicitseg.descent_steps import Adam, torch_threads
from napari_implicitseg.shapes.published import PublishedNetwork

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_implicitseg._types import BoolArray

__all__ = ["BATCH", "EPOCHS", "EXTRA", "RATE", "Published", "box_coordinates", "fit_published"]

EPOCHS = 300
BATCH = 1500
EXTRA = 1200
RATE = 1e-4
_ROUNDED, _UNROUNDED = 30, 200
_TEACHER = 130


@dataclass(slots=True)
class Published:
    """What the schedule came to.

    Attributes
    ----------
    network : PublishedNetwork
    teacher : ndarray of float32, shape S, or None
        What the teacher says of every voxel.
    losses : list of float
        Of the shape, mean of every epoch.
    teacher_losses : list of float
    """

    network: PublishedNetwork
    teacher: NDArray[np.float32] | None = None
    losses: list[float] = field(default_factory=list)
    teacher_losses: list[float] = field(default_factory=list)


def box_coordinates(shape: Sequence[int], spacing: Sequence[float] | None = None) -> Tensor:
    """Voxel centres, the longest axis over [-1, 1], (N, D)."""
    sizes = np.ones(len(shape)) if spacing is None else np.asarray(spacing, float)
    longest = max(n * s for n, s in zip(shape, sizes, strict=True))
    axes = [
        float(s) * (2 * torch.arange(n) + 1 - n) / longest
        for n, s in zip(shape, sizes, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(shape)).float()


def fit_published(
    features: NDArray[np.float32],
    is_object: BoolArray,
    is_background: BoolArray,
    *,
    flow: bool,
    teacher: bool,
    spacing: Sequence[float] | None = None,
    epochs: int = EPOCHS,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
) -> Published:
    """Train by the schedule.

    Parameters
    ----------
    features : ndarray of float32, shape (F, *S)
        What the teacher sees of every voxel.
    is_object, is_background : ndarray of bool, shape S
        The strokes.
    flow : bool
        Whether the shape is path-connected, or convex.
    teacher : bool
    spacing : sequence of float, optional
    epochs : int
        300 in the paper; fewer cut the schedule off.
    seed : int
    check : callable
        Called before every epoch; may raise to cancel.
    """
    points = box_coordinates(is_object.shape, spacing)
    looks = torch.from_numpy(features.reshape(len(features), -1).T.copy())
    painted = torch.from_numpy(np.flatnonzero(is_object | is_background))
    others = torch.from_numpy(np.flatnonzero(~(is_object | is_background)))
    target = torch.from_numpy(is_object.ravel()).float()
    with torch.random.fork_rng(devices=[]), torch_threads(0), torch.enable_grad():
        torch.manual_seed(seed)
        out = Published(PublishedNetwork(points.shape[1], flow=flow))
        guide = _Teacher(len(features)) if teacher else None
        steps = _Steps(points, looks, target, out, guide)
        for epoch in range(epochs):
            check()
            chosen = others[torch.randint(len(others), (EXTRA,))] if len(others) else others
            steps.epoch(epoch, painted, chosen)
        if guide is not None:
            with torch.no_grad():
                said = torch.sigmoid(guide(looks)).numpy().reshape(is_object.shape)
            out.teacher = np.asarray(said, np.float32)
    return out


class _Teacher(nn.Module):
    """Two hidden layers of 130: features (N, F) to log odds (N,)."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(count, _TEACHER),
            nn.ReLU(),
            nn.Linear(_TEACHER, _TEACHER),
            nn.ReLU(),
            nn.Linear(_TEACHER, 1),
        )

    def forward(self, looks: Tensor) -> Tensor:
        """Log odds of object."""
        return torch.squeeze(self.layers(looks), -1)


class _Steps:
    """The steps of an epoch."""

    def __init__(
        self,
        points: Tensor,
        looks: Tensor,
        target: Tensor,
        out: Published,
        teacher: _Teacher | None,
    ) -> None:
        self._points, self._looks, self._target = points, looks, target
        self._out, self._teacher = out, teacher
        self._shape = Adam([{"params": list(out.network.parameters()), "lr": RATE}])
        self._guide = None
        if teacher is not None:
            self._guide = Adam([{"params": list(teacher.parameters()), "lr": RATE}])

    def epoch(self, number: int, painted: Tensor, others: Tensor) -> None:
        """Go once through the strokes and the random voxels, shuffled together."""
        every = torch.cat([painted, others])
        has_stroke = torch.arange(len(every)) < len(painted)
        order = torch.randperm(len(every))
        losses = [
            self._step(number, every[batch], has_stroke[batch])
            for batch in torch.split(order, BATCH)
        ]
        self._out.losses.append(float(np.mean([shape for shape, _ in losses])))
        if self._teacher is not None:
            self._out.teacher_losses.append(float(np.nanmean([guide for _, guide in losses])))

    def _step(self, number: int, at: Tensor, has_stroke: Tensor) -> tuple[float, float]:
        """One step of the teacher and one of the shape; returns their losses."""
        strokes = at[has_stroke]
        guide = float("nan")
        if self._teacher is not None and self._guide is not None and len(strokes):
            guide = self._move(
                self._guide, _entropy(self._teacher(self._looks[strokes]), self._target[strokes])
            )
        odds = -self._out.network(self._points[at])
        loss = odds.sum() * 0
        if len(strokes):
            loss = loss + _entropy(odds[has_stroke], self._target[strokes])
        if self._teacher is not None and number >= _ROUNDED and not has_stroke.all():
            with torch.no_grad():
                said = torch.sigmoid(self._teacher(self._looks[at[~has_stroke]]))
            said = said if number >= _UNROUNDED else said.round()
            loss = loss + functional.mse_loss(torch.sigmoid(odds[~has_stroke]), said)
        value = self._move(self._shape, loss)
        self._out.network.clamp()
        return value, guide

    @staticmethod
    def _move(optimiser: Adam, loss: Tensor) -> float:
        """Take a step down; returns the loss."""
        optimiser.step(torch.autograd.grad(loss, optimiser.parameters), 1.0)
        return float(loss.detach())


def _entropy(odds: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of log odds."""
    return functional.binary_cross_entropy_with_logits(odds, target)
