"""Predictor and shape fitted together: each learns from the strokes and from the other.

Minimises ``BCE(N, strokes) + BCE(sigmoid(-G), strokes) + tie * |N - sigmoid(-G)|^2``
over the weights of the network behind the probability N and the parameters of the
shapes G. Both start where the sequential fit has left them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from napari_implicitseg.descent_steps import Adam, torch_threads
from napari_implicitseg.fitting.gradient import MODELS
from napari_implicitseg.fitting.models import PlanesModel
from napari_implicitseg.fitting.points import Whitening
from napari_implicitseg.fitting.polytope import PolytopeSolver
from napari_implicitseg.shapes.convex import Polytope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from napari_implicitseg.config import FitConfig
    from napari_implicitseg.fitting.models import BatchModel
    from napari_implicitseg.fitting.sequential import Fitted
    from napari_implicitseg.predictors.evidence import Evidence, Lesson
    from napari_implicitseg.predictors.networks import StrokeNetwork
    from napari_implicitseg.shapes.base import ImplicitShape

__all__ = ["JointDescent"]

_STEPS = 120
_ROUNDS = 3
_POINTS = 1500
# Rates of network and shapes, against those of a fit of their own.
_NETWORK_RATE = 0.15
_SHAPE_RATE = 0.3
_TIE = 1.0
# Slope of the boundary of convex shapes, in coordinates where they have about the radius 2.
_SHARPNESS = (10.0, 40.0)


@dataclass(frozen=True, slots=True)
class _Field:
    """Cells of one object.

    Attributes
    ----------
    features : Tensor, shape (1, F, *S)
    finer : float
        How many times finer the cells are than those the network began on.
    coords : Tensor, shape (N, D)
        In the coordinates of the shape.
    odds : Tensor, shape (N,)
        Log odds without the network.
    tied : Tensor of int64, shape (M,)
        Cells where network and shape have to agree.
    painted : Tensor of int64, shape (K,)
        Cells with strokes.
    targets, weights : Tensor, shape (2, K)
        Of these, for the network, to which all objects are objects, and for the shape,
        to which the others are background; both sides weigh one half each.
    """

    features: Tensor
    finer: float
    coords: Tensor
    odds: Tensor
    tied: Tensor
    painted: Tensor
    targets: Tensor
    weights: Tensor

    @classmethod
    def of(cls, item: Fitted, frame: Whitening, lesson: Lesson) -> _Field:
        """Collect what there is to learn about an object."""
        problem = item.problem
        cells = np.arange(lesson.odds.size)
        # What its strokes do not reach is another object of its kind, or none: nobody knows.
        counts = lesson.counts.ravel() & (problem.cells.weight > 0)
        masks = lesson.is_object, lesson.is_other, lesson.is_background
        painted = np.concatenate([np.flatnonzero(mask) for mask in masks])
        counted = [int(mask.sum()) for mask in masks]
        targets = np.stack([np.repeat(t, counted) for t in ((1.0, 1.0, 0.0), (1.0, 0.0, 0.0))])
        count = targets.sum(axis=1, keepdims=True)
        weights = np.where(targets > 0, 0.5 / count, 0.5 / np.maximum(len(painted) - count, 1))
        coords = frame(problem.grid.cell_centres(problem.window, cells))
        return cls(
            torch.from_numpy(lesson.features)[None],
            lesson.finer,
            torch.from_numpy(coords).float(),
            torch.from_numpy(lesson.odds).flatten(),
            torch.from_numpy(np.flatnonzero(counts)),
            torch.from_numpy(painted),
            torch.from_numpy(targets).float(),
            torch.from_numpy(weights).float(),
        )


class JointDescent:
    """Network and shapes of all objects under a joint fit.

    Parameters
    ----------
    evidence : Evidence
        With a `learner`.
    items : sequence of Fitted
        What the sequential fit has found.
    family : str
    config : FitConfig
    seed : int
    check : callable
        Called before every step; may raise to cancel.

    Attributes
    ----------
    losses : list of float
        Mean over the objects, at every step.
    """

    def __init__(
        self,
        evidence: Evidence,
        items: Sequence[Fitted],
        *,
        family: str,
        config: FitConfig,
        seed: int,
        check: Callable[[], None],
    ) -> None:
        learner = evidence.learner
        assert learner is not None
        self._learner: StrokeNetwork = learner
        self._items = items
        self._check = check
        self._generator = torch.Generator().manual_seed(seed)
        shapes = _started(items, family, check)
        self._frames = [Whitening.of_shape(s) for s in shapes]
        self._model = _model_of(items, shapes, self._frames, family, config, self._generator)
        self._fields = [
            _Field.of(item, frame, evidence.lesson(item.label, item.problem.window))
            for item, frame in zip(items, self._frames, strict=True)
        ]
        self.losses: list[float] = []

    def rounds(self) -> Iterator[list[ImplicitShape]]:
        """Take all steps; gives the shapes several times on the way, and at the end."""
        groups = [{"params": self._learner.parameters, "lr": self._learner.rate * _NETWORK_RATE}]
        groups += [{**g, "lr": g["lr"] * _SHAPE_RATE} for g in self._model.groups()]
        optimiser = Adam(groups)
        for begin in range(0, _STEPS, _STEPS // _ROUNDS):
            with torch_threads(0):
                for step in range(begin, begin + _STEPS // _ROUNDS):
                    self._check()
                    with torch.enable_grad():
                        loss = self._loss()
                        grads = torch.autograd.grad(loss, optimiser.parameters)
                    optimiser.step(grads, 0.5 * (1 + math.cos(math.pi * step / _STEPS)))
                    self.losses.append(float(loss.detach()))
            yield self._shapes()

    def _shapes(self) -> list[ImplicitShape]:
        """Return the shapes as they are now."""
        extent = self._items[0].problem.grid.extent
        return [self._model.shape(k, frame, extent) for k, frame in enumerate(self._frames)]

    def _loss(self) -> Tensor:
        """Loss at points drawn anew, and at all strokes; the mean over the objects."""
        drawn = [self._drawn(field) for field in self._fields]
        coords = [f.coords[at] for f, at in zip(self._fields, drawn, strict=True)]
        levels = self._model.level(nn.utils.rnn.pad_sequence(coords, batch_first=True))
        parts = []
        for field, at, level in zip(self._fields, drawn, levels, strict=True):
            odds = field.odds[at] + self._network(field, at)
            shape = -self._model.sharpness[1] * level[: len(at)]
            count = len(field.painted)
            parts += [
                functional.binary_cross_entropy_with_logits(
                    each[:count], target, weight, reduction="sum"
                )
                for each, target, weight in zip(
                    (odds, shape), field.targets, field.weights, strict=True
                )
            ]
            if len(field.tied):
                apart = torch.sigmoid(odds[count:]) - torch.sigmoid(shape[count:])
                parts.append(_TIE * apart.square().mean())
        return torch.stack(parts).sum() / len(self._fields) + self._learner.decay()

    def _drawn(self, field: _Field) -> Tensor:
        """Cells with strokes, and some of the others."""
        if not len(field.tied):
            return field.painted
        chosen = torch.randint(len(field.tied), (_POINTS,), generator=self._generator)
        return torch.cat([field.painted, field.tied[chosen]])

    def _network(self, field: _Field, at: Tensor) -> Tensor:
        """Log odds by the network at some cells."""
        if self._learner.is_local:
            return self._learner.odds(field.features.flatten(2)[:, :, at])[0]
        return self._learner.odds(field.features, field.finer).flatten()[at]


def _started(
    items: Sequence[Fitted], family: str, check: Callable[[], None]
) -> Sequence[ImplicitShape]:
    """Shapes to start from; planes stand in for a convex network."""
    shapes = [item.shape.uncut for item in items]
    if family != "convex" or all(isinstance(shape, Polytope) for shape in shapes):
        return shapes
    problems = [item.problem for item in items]
    grid, device = problems[0].grid, torch.device("cpu")
    solver = PolytopeSolver(None, grid=grid, device=device, check=check)
    return solver.solve(problems, [None] * len(problems))[0]


def _model_of(
    items: Sequence[Fitted],
    shapes: Sequence[ImplicitShape],
    frames: Sequence[Whitening],
    family: str,
    config: FitConfig,
    generator: torch.Generator,
) -> BatchModel:
    """Shapes to move, as they were fitted."""
    model: BatchModel
    if family == "convex":
        count = max(len(s.normals) for s in shapes if isinstance(s, Polytope))
        centres = np.zeros((len(shapes), shapes[0].ndim))
        model = PlanesModel(centres, 2.0, sharpness=_SHARPNESS, planes=count)
    else:
        plain = items[0].problem.grid.effort.is_plain
        model = MODELS[family].begin(
            [item.problem for item in items], frames, config, generator=generator, plain=plain
        )
    for row, shape in enumerate(shapes):
        model.adopt(row, shape)
    return model
