"""Planes of convex polytopes by batched Gauss-Newton with Levenberg-Marquardt damping.

All objects are solved at once; each has its own damping and accepts or refuses
each step on its own. The loss is bounded: ``sum w (sigma(-s G) - t)^2``, so far
points on the wrong side cost no more than near ones (a convex level has to
grow linearly, and cross-entropy would punish that without bound).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_implicitseg.fitting.points import PointBatch

__all__ = [
    "SHARP_STAGES",
    "SOFT_STAGES",
    "WARM_STAGES",
    "Planes",
    "Stage",
    "fit_planes",
    "spread_directions",
]


@dataclass(frozen=True, slots=True)
class Stage:
    """One sharpness of the schedule.

    Attributes
    ----------
    sharpness : float
        Slope s of the boundary, per whitened unit.
    kappa : float
        Sharpness of the edges between planes.
    steps : int
        Gauss-Newton steps.
    """

    sharpness: float
    kappa: float
    steps: int


# Shares below exp(-60) change nothing.
_LEAST_EXPONENT = -60.0

SOFT_STAGES = (Stage(10.0, 25.0, 6), Stage(20.0, 30.0, 5))
SHARP_STAGES = (Stage(40.0, 40.0, 5), Stage(80.0, 80.0, 4))
# From the shape of an earlier fit there is less to go.
WARM_STAGES = (Stage(40.0, 40.0, 3), Stage(80.0, 80.0, 3))


@dataclass(frozen=True, slots=True)
class Planes:
    """Planes of several polytopes in whitened coordinates.

    Attributes
    ----------
    normals : Tensor, shape (B, P, D)
        Unit normals.
    offsets : Tensor, shape (B, P)
    """

    normals: Tensor
    offsets: Tensor

    def where(self, chosen: Tensor, other: Planes) -> Planes:
        """Take these planes for the chosen objects (B,), the other's elsewhere."""
        return Planes(
            torch.where(chosen[:, None, None], self.normals, other.normals),
            torch.where(chosen[:, None], self.offsets, other.offsets),
        )

    def moved(self, step: Tensor) -> Planes:
        """Planes after a step (B, P * D): offsets first, then turns along the tangents."""
        batch, count, ndim = self.normals.shape
        offsets = self.offsets + step[:, :count]
        turn = step[:, count:].reshape(batch, ndim - 1, count).mT
        normals = self.normals + (_tangents(self.normals) * turn[..., None, :]).sum(-1)
        return Planes(normals / normals.norm(dim=-1, keepdim=True), offsets)


def spread_directions(count: int, ndim: int) -> NDArray[np.float64]:
    """Spread unit vectors evenly over the sphere, shape (count, ndim).

    Equal angles in 2D, a Fibonacci lattice in 3D.
    """
    if ndim == 2:
        angle = 2 * np.pi * (np.arange(count, dtype=np.float64) + 0.5) / count
        return np.stack([np.sin(angle), np.cos(angle)], 1)
    height = 1 - (2 * np.arange(count) + 1) / count
    angle = np.pi * (1 + 5**0.5) * np.arange(count, dtype=np.float64)
    radius = np.sqrt(1 - height**2)
    return np.stack([height, radius * np.sin(angle), radius * np.cos(angle)], 1)


def _tangents(normals: Tensor) -> Tensor:
    """Orthonormal basis of the plane across each unit normal, shape (..., D, D - 1).

    Columns of a Householder reflection that takes the normal to an axis: works
    in any dimension.
    """
    ndim = normals.shape[-1]
    vector = normals.clone()
    vector[..., 0] += torch.where(normals[..., 0] < 0, -1.0, 1.0)
    scale = 2 / (vector * vector).sum(-1, keepdim=True)
    identity = torch.eye(ndim, dtype=normals.dtype, device=normals.device)
    reflection = identity - (scale * vector)[..., :, None] * vector[..., None, :]
    return reflection[..., 1:]


@dataclass(frozen=True, slots=True)
class _State:
    """Planes with what a step needs to know of them.

    Attributes
    ----------
    planes : Planes
    share : Tensor, shape (B, M, P)
        Share of each plane in the level.
    inside : Tensor, shape (B, M)
        Probability of object.
    loss : Tensor, shape (B,)
        Weighted squared error.
    """

    planes: Planes
    share: Tensor
    inside: Tensor
    loss: Tensor

    @classmethod
    def of(cls, planes: Planes, points: PointBatch, stage: Stage) -> _State:
        """Evaluate planes at points."""
        logits = torch.baddbmm(
            -stage.kappa * planes.offsets[:, None, :],
            points.coords,
            planes.normals.mT,
            alpha=stage.kappa,
        )
        top = logits.amax(-1, keepdim=True)
        # Clamped, because denormal numbers are slow.
        share = logits.sub_(top).clamp_(min=_LEAST_EXPONENT).exp_()
        total = share.sum(-1, keepdim=True)
        level = (top + total.log()).squeeze(-1) / stage.kappa
        inside = torch.sigmoid(-stage.sharpness * level)
        loss = (points.weight * (inside - points.target) ** 2).sum(-1)
        return cls(planes, share.div_(total), inside, loss)

    def where(self, chosen: Tensor, other: _State) -> _State:
        """Take this state for the chosen objects (B,), the other's elsewhere."""
        if bool(chosen.all()):
            return self
        return _State(
            self.planes.where(chosen, other.planes),
            torch.where(chosen[:, None, None], self.share, other.share),
            torch.where(chosen[:, None], self.inside, other.inside),
            torch.where(chosen, self.loss, other.loss),
        )

    def normal_equations(self, points: PointBatch, stage: Stage) -> tuple[Tensor, Tensor]:
        """Gauss-Newton matrix (B, N, N) and gradient (B, N)."""
        root = points.weight.sqrt()
        residual = root * (self.inside - points.target)
        slope = stage.sharpness * root * self.inside * (1 - self.inside)
        weighted = self.share * slope[..., None]
        batch, count, planes = weighted.shape
        ndim = points.coords.shape[-1]
        # Level falls with an offset and turns with a tangent: one block of columns for each.
        jacobian = weighted.new_empty(batch, count, planes * ndim)
        jacobian[..., :planes] = weighted
        tangents = _tangents(self.planes.normals)
        for k in range(ndim - 1):
            along = torch.bmm(points.coords, tangents[..., k].mT)
            block = slice(planes * (k + 1), planes * (k + 2))
            torch.mul(weighted, along.neg_(), out=jacobian[..., block])
        gradient = torch.bmm(residual[:, None, :], jacobian)[:, 0]
        return torch.bmm(jacobian.mT, jacobian), gradient


def fit_planes(
    planes: Planes,
    points: PointBatch,
    stages: Sequence[Stage],
    *,
    history: list[Tensor],
    check: Callable[[], None],
) -> Planes:
    """Fit planes to evidence, from soft to sharp.

    Parameters
    ----------
    planes : Planes
        Where to start, B polytopes.
    points : PointBatch
        Evidence in the same whitened coordinates.
    stages : sequence of Stage
        Sharpness schedule.
    history : list of Tensor
        Gets the loss (B,) of each step.
    check : callable
        Called before each step; may raise to cancel.

    Returns
    -------
    Planes
    """
    for stage in stages:
        damping = torch.full_like(planes.offsets[:, 0], 0.01)
        state = _State.of(planes, points, stage)
        for _ in range(stage.steps):
            check()
            history.append(state.loss)
            step = _damped_step(*state.normal_equations(points, stage), damping)
            trial = _State.of(state.planes.moved(step), points, stage)
            better = trial.loss < state.loss
            state = trial.where(better, state)
            damping = torch.where(better, damping / 3, damping * 8).clamp(1e-5, 1e4)
        planes = state.planes
    return planes


def _damped_step(matrix: Tensor, gradient: Tensor, damping: Tensor) -> Tensor:
    """Solve ``(A + damping (diag A + mean diag A)) step = -g`` per object."""
    diagonal = matrix.diagonal(dim1=1, dim2=2)
    floor = diagonal.mean(-1, keepdim=True) + 1e-9
    extra = damping[:, None] * (diagonal + floor) + 1e-6 * floor
    factor, failed = torch.linalg.cholesky_ex(matrix + torch.diag_embed(extra))
    step = torch.cholesky_solve(-gradient[..., None], factor)[..., 0]
    # No step longer than half the object's radius; none at all where the factor failed.
    limit = (1.0 / step.abs().amax(-1, keepdim=True).clamp(min=1e-9)).clamp(max=1.0)
    return torch.where(failed[:, None] == 0, torch.nan_to_num(step * limit), 0.0)
