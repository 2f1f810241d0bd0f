"""Shapes of the other families for all objects of an image at once, by gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage

from napari_implicitseg.fitting.descent import Pool, Schedule, descend
from napari_implicitseg.fitting.free_model import FreeModel, free_width
from napari_implicitseg.fitting.models import FlowModel, flow_sizes, has_flow
from napari_implicitseg.fitting.parts import closed_depth
from napari_implicitseg.fitting.points import Whitening, torch_threads
from napari_implicitseg.fitting.problem import Effort
from napari_implicitseg.fitting.star_model import StarModel, star_directions
from napari_implicitseg.fitting.symmetric_model import SymmetricModel, reach_of
from napari_implicitseg.shapes.connected import ConnectedShape
from napari_implicitseg.shapes.free import FreeShape
from napari_implicitseg.shapes.star import StarShape
from napari_implicitseg.shapes.symmetric import SymmetricShape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_implicitseg.config import FitConfig
    from napari_implicitseg.fitting.models import BatchModel
    from napari_implicitseg.fitting.problem import Geometry, Problem
    from napari_implicitseg.shapes.base import ImplicitShape

__all__ = ["GradientSolver"]

_STEPS = {"connected": 480, "star": 120, "symmetric": 200, "free": 200}
# Many small objects show less detail: their models are smaller, and found sooner.
_PLAIN_EFFORT = 0.5
_PLAIN_STEPS = {"connected": 140, "star": 80, "symmetric": 120, "free": 120}
_SHAPES: dict[str, type[ImplicitShape]] = {
    "connected": ConnectedShape,
    "star": StarShape,
    "symmetric": SymmetricShape,
    "free": FreeShape,
}
# A warm start needs only the last part of the schedule.
_WARM_BEGIN = 0.6
# Points per step against those of the first stages of a polytope; they are drawn anew each time.
_POINTS = {2: 2.0, 3: 1.6}
_PLAIN_POINTS = 0.6
_LEAST_POINTS = 500
# Objects that are fitted together: more take more memory and no less time.
_BATCH = 64
# Numbers per point that a step goes through, about.
_WIDTH = 100


@dataclass(frozen=True, slots=True)
class _Part:
    """Objects that are fitted together."""

    problems: Sequence[Problem]
    previous: Sequence[ImplicitShape | None]
    frames: Sequence[Whitening]


class GradientSolver:
    """Fits connected, star-shaped, symmetric or free shapes to several problems.

    Parameters
    ----------
    family : {"connected", "star", "symmetric", "free"}
    config : FitConfig
        Flow, symmetry and steps.
    seed : int
    grid : Geometry
    device : torch.device
    check : callable
        Called before each step; may raise to cancel.
    """

    is_convex = False

    def __init__(
        self,
        family: str,
        config: FitConfig,
        *,
        seed: int,
        grid: Geometry,
        device: torch.device,
        check: Callable[[], None],
    ) -> None:
        self._family = family
        self._config = config
        self._seed = seed
        self._grid = grid
        self._device = device
        self._check = check

    def accepts(self, shape: ImplicitShape) -> bool:
        """Whether a shape of an earlier fit is of the same family and options."""
        if not isinstance(shape, _SHAPES[self._family]):
            return False
        if isinstance(shape, ConnectedShape):
            sizes = flow_sizes(len(self._grid.shape), plain=self._plain)
            return has_flow(shape, self._config.flow, sizes)
        if isinstance(shape, StarShape):
            return len(shape.weights) == star_directions(len(self._grid.shape), plain=self._plain)
        if isinstance(shape, FreeShape):
            return len(shape.biases[0][0, 0]) == free_width(plain=self._plain)
        # The axes of a symmetry are found anew, and with them all that depends on them.
        return False

    def solve(
        self, problems: Sequence[Problem], previous: Sequence[ImplicitShape | None]
    ) -> tuple[list[ImplicitShape], list[list[float]]]:
        """Fit all problems; fewer steps if every one has a previous shape.

        Returns
        -------
        shapes : list of ImplicitShape
        losses : list of list of float
            Loss of every step, per object.
        """
        if self._family == "symmetric":
            previous = [None] * len(problems)
        shapes: list[ImplicitShape] = []
        losses: list[list[float]] = []
        for begin in range(0, len(problems), _BATCH):
            rows = slice(begin, begin + _BATCH)
            frames = [
                self._frame(p, s) for p, s in zip(problems[rows], previous[rows], strict=True)
            ]
            part = _Part(problems[rows], previous[rows], frames)
            more, lost = self._solve_part(part)
            shapes += more
            losses += lost
        return shapes, losses

    def _solve_part(self, part: _Part) -> tuple[list[ImplicitShape], list[list[float]]]:
        """Fit objects together."""
        generator = torch.Generator().manual_seed(self._seed)
        model = self._model(part, generator)
        for row, shape in enumerate(part.previous):
            if shape is not None:
                model.adopt(row, shape)
        model.to(self._device)
        schedule = self._schedule(part, model)
        with torch_threads(len(part.problems) * schedule.points * _WIDTH):
            pool = Pool(part.problems, part.frames, schedule.points, self._device)
            losses = descend(model, pool, schedule, generator=generator, check=self._check)
            extent = self._grid.extent
            shapes = [model.shape(i, frame, extent) for i, frame in enumerate(part.frames)]
        return shapes, losses

    def _schedule(self, part: _Part, model: BatchModel) -> Schedule:
        """Say how long to fit, and how sharply."""
        warm = all(shape is not None for shape in part.previous)
        share = _PLAIN_POINTS if self._plain else 1.0
        points = int(share * _POINTS[len(self._grid.shape)] * self._grid.effort.soft)
        return Schedule(
            steps=self._config.steps or (_PLAIN_STEPS if self._plain else _STEPS)[self._family],
            points=max(points, _LEAST_POINTS),
            sharpness=model.sharpness,
            begin=_WARM_BEGIN if warm else 0.0,
        )

    @property
    def _plain(self) -> bool:
        """Whether there are so many objects that each is given little effort."""
        full = Effort.for_objects(1, len(self._grid.shape))
        return self._grid.effort.soft < _PLAIN_EFFORT * full.soft

    def _frame(self, problem: Problem, previous: ImplicitShape | None) -> Whitening:
        """Return the map to the coordinates a model works in."""
        if previous is not None:
            return Whitening.of_shape(previous)
        if self._family == "connected":
            low = np.asarray(problem.window.start) * self._grid.pitch
            high = np.asarray(problem.window.stop) * self._grid.pitch
            return Whitening(low, np.diag(1 / (high - low)))
        if self._family == "symmetric":
            spread = float(np.linalg.det(problem.whitening.matrix)) ** (1 / len(self._grid.shape))
            return Whitening(problem.whitening.centre, np.eye(len(self._grid.shape)) * spread)
        return problem.whitening

    def _model(self, part: _Part, generator: torch.Generator) -> BatchModel:
        """Make the batch of shapes that are fitted."""
        pairs = list(zip(part.problems, part.frames, strict=True))
        if self._family == "connected":
            starts = np.stack([f(p.whitening.centre[None])[0] for p, f in pairs])
            return FlowModel(starts, flow=self._config.flow, generator=generator, plain=self._plain)
        if self._family == "star":
            hearts = np.stack([self._deepest(p, f) for p, f in pairs])
            return StarModel(hearts, plain=self._plain)
        if self._family == "symmetric":
            return SymmetricModel(
                part.problems, part.frames, self._config, generator=generator, plain=self._plain
            )
        bounds = np.array([reach_of(p, f) for p, f in pairs])
        ndim = len(self._grid.shape)
        return FreeModel(bounds, ndim, generator=generator, plain=self._plain)

    def _deepest(self, problem: Problem, frame: Whitening) -> np.ndarray:
        """Find the point of an object furthest from its outside, where a fit starts."""
        core = ndimage.binary_fill_holes(problem.core)
        pitch = (self._grid.pitch * problem.window.step).tolist()
        at = np.array([int(closed_depth(core, pitch).argmax())])
        return np.asarray(frame(self._grid.cell_centres(problem.window, at))[0])
