"""Gradient descent over points drawn anew at every step, for all objects at once.

Half of the points lie anywhere, half near the boundary of what the evidence
says. A first part of the steps sees blurred evidence: details come after the
whole. The loss is the bounded one of the other solvers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from scipy import ndimage

from napari_implicitseg.descent_steps import Adam
from napari_implicitseg.fitting.points import padded, weigh_strokes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_implicitseg.fitting.points import Whitening
    from napari_implicitseg.fitting.problem import Problem

__all__ = ["Pool", "Schedule", "descend"]

# Widths of the blurs of the first steps, and of the collar about the boundary, in sides of the
# window.
_BLURS = (0.04, 0.015)
_COLLAR = 0.03
# Shares of the steps after which the next finer evidence is seen.
_BLURRED = (0.16, 0.33)


class Model(Protocol):
    """A batch of shapes under fit."""

    def level(self, points: Tensor, /) -> Tensor:
        """Level of points (B, M, D), (B, M)."""

    def groups(self) -> list[dict[str, Any]]:
        """Parameters and their peak rates (`lr`), as torch's optimisers take them."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how sharply a model is fitted.

    Attributes
    ----------
    steps : int
    points : int
        Points per object and step.
    sharpness : tuple of float
        Slope of the boundary at the first and the last step.
    begin : float
        Share of the steps that a warm start leaves out.
    """

    steps: int
    points: int
    sharpness: tuple[float, float]
    begin: float = 0.0


@dataclass(frozen=True, slots=True)
class _Field:
    """All points of one object."""

    coords: NDArray[np.float32]
    targets: NDArray[np.float32]
    weight: NDArray[np.float32]
    near: NDArray[np.int64]
    strokes: NDArray[np.float32]

    def cells(self, blur: int) -> NDArray[np.float32]:
        """Coordinates, target and weight of each cell, (N, D + 2)."""
        return np.column_stack([self.coords, self.targets[blur], self.weight])


class Pool:
    """Points of several objects to draw from.

    Parameters
    ----------
    problems : sequence of Problem
    frames : sequence of Whitening
        Map to the coordinates of the model, per object.
    points : int
        Points per object that will be drawn at a step.
    device : torch.device
    """

    def __init__(
        self,
        problems: Sequence[Problem],
        frames: Sequence[Whitening],
        points: int,
        device: torch.device,
    ) -> None:
        fields = [_field(p, f, points) for p, f in zip(problems, frames, strict=True)]
        # Coordinates, target and weight of a point lie together, once per blur: one look-up each.
        self._cells = [padded([f.cells(blur) for f in fields], device) for blur in range(3)]
        self._strokes = padded([f.strokes for f in fields], device)
        self._near = padded([f.near for f in fields], device)
        self._sizes = torch.tensor(
            [[len(f.near), len(f.coords)] for f in fields], device=device
        ).repeat_interleave(torch.tensor([points // 2, points - points // 2]), 1)
        self._half = points // 2

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self._sizes)

    def draw(self, blur: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw points of each object, and all strokes; targets of blur 0, 1 or none (2).

        Returns
        -------
        coords : Tensor, shape (B, M, D)
        targets, weights : Tensor, shape (B, M)
        """
        chance = torch.rand(self._sizes.shape, generator=generator).to(self._sizes.device)
        index = (chance * self._sizes).long()
        near = self._near.gather(1, index[:, : self._half])
        index = torch.cat([near, index[:, self._half :]], 1)
        cells = self._cells[blur]
        # Whole rows of all objects in one table: far quicker than to gather number by number.
        first = torch.arange(len(cells), device=cells.device)[:, None] * cells.shape[1]
        drawn = cells.flatten(0, 1).index_select(0, (index + first).flatten())
        points = torch.cat([drawn.view(*index.shape, -1), self._strokes], 1)
        return points[..., :-2], points[..., -2], points[..., -1]


def descend(
    model: Model,
    pool: Pool,
    schedule: Schedule,
    *,
    generator: torch.Generator,
    check: Callable[[], None],
) -> list[list[float]]:
    """Fit a model in place; returns the loss of every step, per object."""
    optimiser = Adam(model.groups(), beta2=0.99)
    low, high = (math.log(s) for s in schedule.sharpness)
    history = []
    for step in range(int(schedule.begin * schedule.steps), schedule.steps):
        check()
        done = step / schedule.steps
        sharpness = math.exp(low + (high - low) * min(1.0, 1.2 * done))
        blur = sum(done >= share for share in _BLURRED)
        coords, target, weight = pool.draw(blur, generator)
        with torch.enable_grad():
            inside = torch.sigmoid(-sharpness * model.level(coords))
            loss = (weight * (inside - target) ** 2).sum(-1) / weight.sum(-1).clamp(min=1e-9)
            grads = torch.autograd.grad(loss.sum(), optimiser.parameters)
        optimiser.step(_clipped(grads), _rate(done))
        history.append(loss.detach())
    return torch.stack(history, dim=1).tolist() if history else [[] for _ in range(len(pool))]


def _rate(done: float) -> float:
    """Share of the peak rate: up over the first quarter, then down by a cosine."""
    rise = 0.25
    if done < rise:
        return 0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * done / rise))
    return 0.5 * (1 + math.cos(math.pi * (done - rise) / (1 - rise)))


def _clipped(grads: Sequence[Tensor], most: float = 0.01) -> list[Tensor]:
    """Bound the gradient of each object: one bad step of a flow is hard to undo."""
    norm = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()
    share = (most / norm.clamp(min=1e-12)).clamp(max=1)
    return [g * share.view(-1, *(1,) * (g.ndim - 1)) for g in grads]


def _field(problem: Problem, frame: Whitening, points: int) -> _Field:
    """Collect all fine cells of a problem, and its strokes."""
    window = problem.fine.window
    target = problem.fine.target.reshape(window.shape).astype(np.float32)
    weight = problem.fine.weight.reshape(window.shape)
    side = max(window.shape)
    targets = [_blurred(target, weight, share * side) for share in _BLURS]
    distance = ndimage.distance_transform_edt(target > 0.5)
    distance += ndimage.distance_transform_edt(target <= 0.5)
    near = np.flatnonzero(distance <= max(_COLLAR * side, 1.5))
    every = np.arange(target.size)
    if not len(near):
        near = every
    chosen, mass = weigh_strokes(problem, weight, points, points)
    return _Field(
        coords=frame(problem.grid.cell_centres(window, every)).astype(np.float32),
        targets=np.stack([*targets, target]).reshape(3, -1),
        weight=weight.reshape(-1),
        near=near,
        strokes=np.column_stack([frame(problem.strokes[chosen]), problem.own[chosen], mass]).astype(
            np.float32
        ),
    )


def _blurred(
    target: NDArray[np.float32], weight: NDArray[np.float32], sigma: float
) -> NDArray[np.float32]:
    """Blur targets, each cell with its weight."""
    total, count = (
        ndimage.gaussian_filter(a, sigma, mode="nearest", truncate=3.0)
        for a in (target * weight, weight + np.float32(1e-6))
    )
    return np.asarray(total / count, np.float32)
