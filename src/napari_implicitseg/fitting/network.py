"""Input-convex networks for all objects of an image at once, by gradient descent.

References
----------
Amos, Xu, Kolter 2017, "Input Convex Neural Networks".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from napari_implicitseg.descent_steps import Adam, torch_threads
from napari_implicitseg.fitting.planes import spread_directions
from napari_implicitseg.fitting.points import PointBatch, gather
from napari_implicitseg.shapes.convex import ConvexNetwork

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from napari_implicitseg.config import FitConfig
    from napari_implicitseg.fitting.problem import Geometry, Problem
    from napari_implicitseg.shapes.base import ImplicitShape

__all__ = ["NetworkSolver"]

# Slope of the boundary at the first and the last step, per whitened unit.
_SHARPNESS = (6.0, 40.0)
# From a distance only a soft boundary feels the strokes that an earlier fit missed.
_SOFT_SHARPNESS = 1.5
# A warm start needs only the last part of the schedule.
_WARM_SHARE = 0.4
_NOISE = 0.05
_STEPS = 120
# Radius of the ball the network starts as, in whitened units.
_RADIUS = 2.0
# Where the half-waves of the start begin, as a share of the radius: near the
# border each direction has a face of its own there, and corners come out soon.
_ONSET = 0.85
# Directions over which the gain of the start is averaged.
_PROBES = 500


class NetworkSolver:
    """Fits input-convex networks to the problems of several objects in one batch.

    Parameters
    ----------
    config : FitConfig
        Layers, width, steps and learning rate.
    seed : int
    grid : Geometry
    device : torch.device
    check : callable
        Called before each step; may raise to cancel.
    """

    is_convex = True

    def __init__(
        self,
        config: FitConfig,
        *,
        seed: int,
        grid: Geometry,
        device: torch.device,
        check: Callable[[], None],
    ) -> None:
        self._config = config
        self._steps = config.steps or _STEPS
        self._seed = seed
        self._grid = grid
        self._device = device
        self._check = check

    def accepts(self, shape: ImplicitShape) -> bool:
        """Whether a shape of an earlier fit is a network of the same size."""
        base = shape.uncut
        sizes = (self._config.layers, self._config.width)
        return isinstance(base, ConvexNetwork) and (len(base.hidden), len(base.bias[0])) == sizes

    def solve(
        self, problems: Sequence[Problem], previous: Sequence[ImplicitShape | None]
    ) -> tuple[list[ConvexNetwork], list[list[float]]]:
        """Fit all problems; fewer steps if every one has a previous shape.

        Returns
        -------
        shapes : list of ConvexNetwork
        losses : list of list of float
            Loss of every step, per object.
        """
        points = [gather(p, p.fine, self._grid.effort.sharp) for p in problems]
        lacking = [bool((p.boost > 1).any()) for p in problems]
        missed = any(lacking)
        # Only the slope of a cone reaches strokes far out that an earlier fit missed.
        weights = self._initial([0.0 if far else _ONSET for far in lacking])
        for row, (shape, far) in enumerate(zip(previous, lacking, strict=True)):
            if shape is not None and not far:
                _insert(weights, row, shape)
        fresh = missed or any(shape is None for shape in previous)
        begin = 0.0 if fresh else 1 - _WARM_SHARE
        first = _SOFT_SHARPNESS if missed else _SHARPNESS[0]
        size = sum(len(p.coords) for p in points) * self._config.width
        with torch_threads(size):
            batch = PointBatch.pack(points, self._device)
            losses = self._descend(weights, batch, begin, first)
        return [self._shape(p, weights, row) for row, p in enumerate(problems)], losses

    def _initial(self, onsets: Sequence[float]) -> dict[str, list[Tensor]]:
        """Weights of about ``|y| - radius`` near the border, one row per onset.

        They are the mean of half-waves in all directions that begin at the
        onset. Hidden weights are kept times the width, so that a gradient step
        is as small a share of them as of the others.
        """
        made = {onset: self._ball(onset) for onset in set(onsets)}
        return {
            name: [
                torch.stack(parts).to(self._device).requires_grad_()
                for parts in zip(*(made[onset][name] for onset in onsets), strict=True)
            ]
            for name in ("hidden", "skip", "bias")
        }

    def _ball(self, onset: float) -> dict[str, list[Tensor]]:
        """Weights of one network that is a ball of `_RADIUS`."""
        layers, width, ndim = self._config.layers, self._config.width, len(self._grid.shape)
        generator = torch.Generator().manual_seed(self._seed)

        def noise(*shape: int) -> Tensor:
            return _NOISE * torch.randn(shape, generator=generator)

        directions = torch.from_numpy(spread_directions(width, ndim)).float()
        probes = torch.from_numpy(spread_directions(_PROBES, ndim)).float()
        cosines = probes @ directions.T
        beyond = torch.relu(cosines - onset)
        gain = 1 / float((cosines * (beyond > 0)).mean())
        hidden = [
            gain ** (i == 0) * (1 + noise(width if i < layers - 1 else 1, width))
            for i in range(layers)
        ]
        skip = [directions, *(noise(width if i < layers - 1 else 1, ndim) for i in range(layers))]
        bias = [torch.zeros(width if i < layers else 1) for i in range(layers + 1)]
        bias[0] -= onset * _RADIUS
        bias[-1] -= gain * _RADIUS * float(beyond.mean())
        return {"hidden": hidden, "skip": skip, "bias": bias}

    def _descend(
        self, weights: dict[str, list[Tensor]], points: PointBatch, begin: float, soft: float
    ) -> list[list[float]]:
        """Run the schedule from the share `begin` on; returns losses per object."""
        parameters = [t for parts in weights.values() for t in parts]
        optimiser = Adam([{"params": parameters, "lr": self._config.learning_rate}])
        low, high = math.log(soft), math.log(_SHARPNESS[1])
        first = int(begin * self._steps)
        history = []
        for step in range(first, self._steps):
            self._check()
            done = step / self._steps
            with torch.enable_grad():
                sharpness = math.exp(low + (high - low) * done)
                inside = torch.sigmoid(-sharpness * _level(weights, points.coords))
                loss = (points.weight * (inside - points.target) ** 2).sum(-1)
                grads = torch.autograd.grad(loss.sum(), parameters)
            optimiser.step(grads, 0.5 * (1 + math.cos(math.pi * done)))
            _clamp(weights)
            history.append(loss.detach())
        return torch.stack(history, dim=1).tolist()

    def _shape(self, problem: Problem, weights: dict[str, list[Tensor]], row: int) -> ConvexNetwork:
        """Wrap the weights of one object; the last layer carries the final sharpness."""
        parts = {k: [t[row].detach().cpu().clone() for t in v] for k, v in weights.items()}
        for tensors in parts.values():
            tensors[-1] *= _SHARPNESS[1]
        parts["hidden"] = [t / self._config.width for t in parts["hidden"]]
        return ConvexNetwork(
            parts["hidden"],
            parts["skip"],
            parts["bias"],
            torch.from_numpy(problem.whitening.matrix),
            torch.from_numpy(problem.whitening.centre),
            extent=self._grid.extent,
        )


def _level(weights: dict[str, list[Tensor]], coords: Tensor) -> Tensor:
    """Level of points (B, M, D) under B networks, (B, M)."""
    z = torch.relu(torch.baddbmm(weights["bias"][0][:, None], coords, weights["skip"][0].mT))
    last = len(weights["hidden"]) - 1
    for i, hidden in enumerate(weights["hidden"]):
        skipped = torch.baddbmm(weights["bias"][i + 1][:, None], coords, weights["skip"][i + 1].mT)
        z = torch.baddbmm(skipped, z, hidden.mT, alpha=1 / hidden.shape[-1])
        if i < last:
            z = torch.relu(z)
    return z[..., 0]


def _clamp(weights: dict[str, list[Tensor]]) -> None:
    """Keep the networks input-convex."""
    with torch.no_grad():
        for hidden in weights["hidden"]:
            hidden.clamp_(min=0)


def _insert(weights: dict[str, list[Tensor]], row: int, shape: ImplicitShape) -> None:
    """Copy the weights of an earlier fit into one row of the batch."""
    shape = shape.uncut
    assert isinstance(shape, ConvexNetwork)
    with torch.no_grad():
        for name in ("hidden", "skip", "bias"):
            kept = list(getattr(shape, name))
            for i, (target, tensor) in enumerate(zip(weights[name], kept, strict=True)):
                scale = 1 / _SHARPNESS[1] if i == len(kept) - 1 else 1.0
                if name == "hidden":
                    scale *= tensor.shape[-1]
                target[row] = (tensor * scale).float().to(target.device)
