"""Shapes of the other families for all objects of an image at once, by gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_implicitseg.descent_steps import torch_threads
from napari_implicitseg.fitting.descent import Pool, Schedule, descend
from napari_implicitseg.fitting.flow_model import FlowModel
from napari_implicitseg.fitting.free_model import FreeModel
from napari_implicitseg.fitting.points import Whitening
from napari_implicitseg.fitting.star_model import StarModel
from napari_implicitseg.fitting.symmetric_model import SymmetricModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_implicitseg.config import FitConfig
    from napari_implicitseg.fitting.models import BatchModel, FitModel
    from napari_implicitseg.fitting.problem import Geometry, Problem
    from napari_implicitseg.shapes.base import ImplicitShape

__all__ = ["MODELS", "GradientSolver"]

MODELS: dict[str, type[FitModel]] = {
    "connected": FlowModel,
    "star": StarModel,
    "symmetric": SymmetricModel,
    "free": FreeModel,
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
        self._family = MODELS[family]
        self._config = config
        self._seed = seed
        self._grid = grid
        self._device = device
        self._check = check

    def accepts(self, shape: ImplicitShape) -> bool:
        """Whether a shape of an earlier fit is of the same family and options."""
        family = self._family
        return isinstance(shape, family.makes) and family.continues(
            shape, self._config, plain=self._plain
        )

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
        shapes: list[ImplicitShape] = []
        losses: list[list[float]] = []
        for begin in range(0, len(problems), _BATCH):
            rows = slice(begin, begin + _BATCH)
            frames = [
                self._family.frame(p) if s is None else Whitening.of_shape(s)
                for p, s in zip(problems[rows], previous[rows], strict=True)
            ]
            part = _Part(problems[rows], previous[rows], frames)
            more, lost = self._solve_part(part)
            shapes += more
            losses += lost
        return shapes, losses

    def _solve_part(self, part: _Part) -> tuple[list[ImplicitShape], list[list[float]]]:
        """Fit objects together."""
        generator = torch.Generator().manual_seed(self._seed)
        model = self._family.begin(
            part.problems, part.frames, self._config, generator=generator, plain=self._plain
        )
        for row, shape in enumerate(part.previous):
            if shape is not None:
                model.adopt(row, shape)
        model.to(self._device)
        schedule = self._schedule(part, model)
        with torch_threads(len(part.problems) * schedule.points * _WIDTH):
            pool = Pool(model.posed(part.problems), part.frames, schedule.points, self._device)
            losses = descend(model, pool, schedule, generator=generator, check=self._check)
            extent = self._grid.extent
            shapes = [model.shape(i, frame, extent) for i, frame in enumerate(part.frames)]
        return shapes, losses

    def _schedule(self, part: _Part, model: BatchModel) -> Schedule:
        """Say how long to fit, and how sharply."""
        warm = all(shape is not None for shape in part.previous)
        family = self._family
        share = _PLAIN_POINTS if self._plain else 1.0
        points = int(share * _POINTS[len(self._grid.shape)] * self._grid.effort.soft)
        return Schedule(
            steps=self._config.steps or (family.plain_steps if self._plain else family.steps),
            points=max(points, _LEAST_POINTS),
            sharpness=model.sharpness,
            begin=_WARM_BEGIN if warm else 0.0,
        )

    @property
    def _plain(self) -> bool:
        """Whether there are so many objects that each is given less effort."""
        return self._grid.effort.is_plain
