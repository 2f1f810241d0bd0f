"""Symmetric shapes under fit: a family in coordinates whose centre and axes are fitted, too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from napari_implicitseg.fitting.flow_model import FlowModel
from napari_implicitseg.fitting.free_model import FreeModel, reach_of
from napari_implicitseg.fitting.models import BatchModel, FitModel, PlanesModel
from napari_implicitseg.fitting.points import Whitening
from napari_implicitseg.fitting.problem import Cells, background_sides
from napari_implicitseg.fitting.star_model import StarModel
from napari_implicitseg.shapes.symmetric import SymmetricShape, fold, group_elements
from napari_implicitseg.shapes.symmetries import find_symmetry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from torch import Tensor

    from napari_implicitseg.config import FitConfig
    from napari_implicitseg.fitting.problem import Problem
    from napari_implicitseg.shapes.base import ImplicitShape

__all__ = ["SymmetricModel"]

# The box of a folded flow is this much larger than what was found of the object.
_ROOM = 1.4


class SymmetricModel(FitModel):
    """A batch of one family made symmetric.

    Parameters
    ----------
    problems : sequence of Problem
    frames : sequence of Whitening
        Moves and scales, the same along all axes.
    config : FitConfig
        Family that is made symmetric, kind and order of the symmetry.
    generator : torch.Generator
    plain : bool
        Whether the shapes show little detail.
    """

    makes = SymmetricShape
    steps, plain_steps = 200, 120

    def __init__(
        self,
        problems: Sequence[Problem],
        frames: Sequence[Whitening],
        config: FitConfig,
        *,
        generator: torch.Generator,
        plain: bool = False,
    ) -> None:
        super().__init__()
        self._group, self._order = config.symmetry, config.symmetry_order
        ndim = len(frames[0].centre)
        self._elements = group_elements(self._group, self._order, ndim).float()
        self._found = [_found(p, config) for p in problems]
        centres = np.stack([f(c[None])[0] for f, (c, _) in zip(frames, self._found, strict=True)])
        axes = np.stack([a for _, a in self._found])
        self.centres = nn.Parameter(torch.from_numpy(centres).float())
        self.turns = nn.Parameter(torch.zeros((len(problems), ndim * (ndim - 1) // 2)))
        self.axes: Tensor
        self.register_buffer("axes", torch.from_numpy(axes).float())
        self._boxes = [
            self._box(p, f, c, a)
            for p, f, c, a in zip(problems, frames, centres, axes, strict=True)
        ]
        self._reaches = np.array(
            [
                reach_of(p, f) + np.linalg.norm(c)
                for p, f, c in zip(problems, frames, centres, strict=True)
            ]
        )
        self.folds = config.symmetric_family in ("connected", "free")
        self.base = self._make_base(config, generator, plain=plain)
        self.sharpness = self.base.sharpness

    @classmethod
    def begin(
        cls,
        problems: Sequence[Problem],
        frames: Sequence[Whitening],
        config: FitConfig,
        *,
        generator: torch.Generator,
        plain: bool,
    ) -> Self:
        """Start with the best axes of what there is of the objects; see `FitModel`."""
        return cls(problems, frames, config, generator=generator, plain=plain)

    @classmethod
    def frame(cls, problem: Problem) -> Whitening:
        """Return the map that moves, and scales all axes alike."""
        ndim = len(problem.whitening.centre)
        spread = float(np.linalg.det(problem.whitening.matrix)) ** (1 / ndim)
        return Whitening(problem.whitening.centre, np.eye(ndim) * spread)

    @classmethod
    def continues(cls, shape: ImplicitShape, config: FitConfig, *, plain: bool) -> bool:
        """Return False: axes are found anew, and with them all that depends on them."""
        return False

    def posed(self, problems: Sequence[Problem]) -> Sequence[Problem]:
        """Return the problems with the mean of all images in the place of the evidence.

        Where images disagree no symmetric set is better than another, and a fit
        would draw any line through them. The mean of their distances has one.
        """
        elements = self._elements.double().numpy()
        return [
            replace(p, fine=_averaged(p, centre, [axes.T @ e @ axes for e in elements]))
            for p, (centre, axes) in zip(problems, self._found, strict=True)
        ]

    def _make_base(
        self, config: FitConfig, generator: torch.Generator, *, plain: bool
    ) -> BatchModel:
        """Make the family that is made symmetric, in the coordinates of the axes."""
        ndim = self.centres.shape[1]
        zeros = np.zeros(tuple(self.centres.shape))
        if config.symmetric_family == "convex":
            return PlanesModel(zeros, 2.0, sharpness=(6.0, 40.0))
        if config.symmetric_family == "star":
            return StarModel(zeros, fixed=True, plain=plain)
        if config.symmetric_family == "free":
            return FreeModel(self._reaches, ndim, generator=generator, plain=plain)
        anchors = np.stack([box(np.zeros((1, ndim)))[0] for box in self._boxes])
        return FlowModel(
            anchors, flow=config.flow, generator=generator, plain=plain, anchors=anchors
        )

    def _box(
        self, problem: Problem, frame: Whitening, centre: np.ndarray, axes: np.ndarray
    ) -> Whitening:
        """Map from folded coordinates to the unit box of a flow."""
        cells = frame(problem.grid.cell_centres(problem.window, problem.core))
        turned = torch.from_numpy((cells - centre) @ axes.T)
        folded = fold(turned, self._group, self._order).numpy()
        reach = _ROOM * np.abs(folded).max(axis=0) + 1e-6
        low = -reach
        if self._group == "mirror":
            low[0] = 0.0
        return Whitening(low, np.diag(1 / (reach - low)))

    def _rotation(self) -> Tensor:
        """Axes as they are now, (B, D, D)."""
        ndim = self.axes.shape[-1]
        skew = torch.zeros_like(self.axes)
        rows, columns = np.triu_indices(ndim, 1)
        skew[:, rows, columns] = self.turns
        skew[:, columns, rows] = -self.turns
        turn: Tensor = torch.linalg.matrix_exp(skew)
        return turn @ self.axes

    def level(self, points: Tensor, /) -> Tensor:
        """Level of points (B, M, D), (B, M)."""
        turned = (points - self.centres[:, None]) @ self._rotation().mT
        if self.folds:
            return self.base.level(self._boxed(fold(turned, self._group, self._order)))
        images = torch.cat([turned @ e.T.to(turned) for e in self._elements], 1)
        level = self.base.level(images)
        return level.reshape(len(level), len(self._elements), -1).amax(1)

    def _boxed(self, points: Tensor) -> Tensor:
        """Map to the boxes of the flows, where the base is one."""
        if not isinstance(self.base, FlowModel):
            return points
        low = torch.from_numpy(np.stack([b.centre for b in self._boxes])).to(points)
        scale = torch.from_numpy(np.stack([np.diag(b.matrix) for b in self._boxes])).to(points)
        return (points - low[:, None]) * scale[:, None]

    def groups(self) -> list[dict[str, Any]]:
        """Parameters and their peak rates."""
        own = [{"params": [self.centres], "lr": 0.02}, {"params": [self.turns], "lr": 0.02}]
        return own + self.base.groups()

    def shape(self, row: int, frame: Whitening, extent: Sequence[float]) -> SymmetricShape:
        """Return one of the shapes."""
        scale = float(frame.matrix[0, 0])
        ndim = len(frame.centre)
        box = self._boxes[row] if isinstance(self.base, FlowModel) else None
        inner = box or Whitening(np.zeros(ndim), np.eye(ndim))
        # The base is fitted in scaled coordinates, the shape turns and moves in those of the image.
        base_frame = Whitening(inner.centre / scale, inner.matrix * scale)
        base = self.base.shape(row, base_frame, extent)
        centre = self.centres[row].detach().cpu().double().numpy() / scale + frame.centre
        # Orthonormal to the last digit: a mirror has to be one.
        left, _, right = torch.linalg.svd(self._rotation()[row].detach().cpu().double())
        axes = left @ right
        return SymmetricShape(
            base,
            torch.from_numpy(centre),
            axes,
            group=self._group,
            order=self._order,
            folds=self.folds,
            extent=extent,
        )

    def adopt(self, row: int, shape: ImplicitShape) -> None:
        """Leave a row at its own start; see `continues`."""


def _averaged(problem: Problem, centre: np.ndarray, turns: Sequence[np.ndarray]) -> Cells:
    """Cells of a problem whose targets are those of the mean distance over all images."""
    fine, grid = problem.fine, problem.grid
    window = fine.window
    target = fine.target.reshape(window.shape)
    weight = fine.weight.reshape(window.shape)
    pitch = grid.pitch * window.step
    if not target.any() or target.all():
        return fine
    distance = ndimage.distance_transform_edt(~target, sampling=pitch)
    distance -= ndimage.distance_transform_edt(target, sampling=pitch)
    middles = grid.cell_centres(window, np.arange(target.size)) - centre
    total, mass, count = (np.zeros(target.size) for _ in range(3))
    for turn in turns:
        points = middles @ turn.T + centre
        known = ((points >= 0) & (points <= grid.extent)).all(axis=1)  # In the image.
        at = ((points[known] / grid.pitch - window.start) / window.step - 0.5).T
        total[known] += ndimage.map_coordinates(distance, at, order=1, mode="nearest")
        mass[known] += ndimage.map_coordinates(weight, at, order=1, mode="nearest")
        count[known] += 1
    return Cells(window, total <= 0, (mass / np.maximum(count, 1)).astype(weight.dtype))


def _found(problem: Problem, config: FitConfig) -> tuple[np.ndarray, np.ndarray]:
    """Centre in shape coordinates, and axes, of the best symmetry of what the strokes reach."""
    window = problem.window
    target = problem.cells.target.reshape(window.shape) & problem.core
    mask = target if target.any() else problem.core
    sides = background_sides(window, problem.grid, mask.shape)
    mask = np.pad(mask, sides)
    spacing = problem.grid.pitch * window.step
    found = find_symmetry(
        mask, tuple(spacing.tolist()), kind=config.symmetry, order=config.symmetry_order
    )
    moved = np.asarray(found.centre) - np.array([before for before, _ in sides]) * spacing
    centre = moved + np.asarray(window.start) * problem.grid.pitch
    return centre, np.asarray(found.axes)
