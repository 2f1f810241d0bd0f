"""Polytopes for all objects of an image at once: the solver for live use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_implicitseg.descent_steps import torch_threads
from napari_implicitseg.fitting.planes import (
    SHARP_STAGES,
    SOFT_STAGES,
    WARM_STAGES,
    Planes,
    Stage,
    fit_planes,
    spread_directions,
)
from napari_implicitseg.fitting.points import PointBatch, gather
from napari_implicitseg.shapes.convex import Polytope

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.fitting.points import Points
    from napari_implicitseg.fitting.problem import Geometry, Problem
    from napari_implicitseg.shapes.base import ImplicitShape

__all__ = ["PolytopeSolver"]

_PLANES = {2: 16, 3: 40}
# Half width of the collar the sharp stages look at, in whitened units (the radius is about 2).
_COLLAR = 0.7
# Distance from a stroke that a plane is moved to, in whitened units.
_CLEARANCE = 0.05


class PolytopeSolver:
    """Fits polytopes to the problems of several objects in one batch.

    Parameters
    ----------
    planes : int or None
        Planes per object; None takes 16 in 2D and 40 in 3D.
    grid : Geometry
    device : torch.device
    check : callable
        Called before each step; may raise to cancel.
    """

    is_convex = True

    def __init__(
        self,
        planes: int | None,
        *,
        grid: Geometry,
        device: torch.device,
        check: Callable[[], None],
    ) -> None:
        self._count = planes or _PLANES[len(grid.shape)]
        self._grid = grid
        self._device = device
        self._check = check

    def accepts(self, shape: ImplicitShape) -> bool:
        """Whether a shape of an earlier fit is a polytope of as many planes."""
        base = shape.uncut
        return isinstance(base, Polytope) and len(base.offsets) == self._count

    def solve(
        self, problems: Sequence[Problem], previous: Sequence[ImplicitShape | None]
    ) -> tuple[list[Polytope], list[list[float]]]:
        """Fit all problems; where there is a previous shape only the sharp stages run.

        Returns
        -------
        shapes : list of Polytope
        losses : list of list of float
            Loss of every step, per object.
        """
        losses: list[list[float]] = [[] for _ in problems]
        planes: list[Planes | None] = [
            None if shape is None else self._continued(shape, problem)
            for shape, problem in zip(previous, problems, strict=True)
        ]
        fresh = [i for i, start in enumerate(planes) if start is None]
        if fresh:
            most = self._grid.effort.soft
            points = [gather(problems[i], problems[i].cells, most) for i in fresh]
            start = _joined([self._start(problems[i]) for i in fresh], self._device)
            fitted = self._run(start, points, SOFT_STAGES, losses, fresh)
            for row, i in enumerate(fresh):
                planes[i] = Planes(fitted.normals[row : row + 1], fitted.offsets[row : row + 1])
        known = [p for p in planes if p is not None]
        points = [
            self._collar(problem, start) for problem, start in zip(problems, known, strict=True)
        ]
        every = list(range(len(problems)))
        final = self._run(
            _joined(known, self._device),
            points,
            SHARP_STAGES if fresh else WARM_STAGES,
            losses,
            every,
        )
        return [self._shape(p, final, i) for i, p in enumerate(problems)], losses

    def _run(
        self,
        start: Planes,
        points: list[Points],
        stages: Sequence[Stage],
        losses: list[list[float]],
        rows: list[int],
    ) -> Planes:
        """Run stages and note the losses of the objects in `rows`."""
        history: list[Tensor] = []
        size = sum(len(p.coords) for p in points) * self._count
        with torch_threads(size), torch.no_grad():
            batch = PointBatch.pack(points, self._device)
            planes = fit_planes(start, batch, stages, history=history, check=self._check)
        for step in torch.stack(history).tolist():
            for row, loss in zip(rows, step, strict=True):
                losses[row].append(loss)
        return planes

    def _start(self, problem: Problem) -> Planes:
        """Planes around the evidence the strokes reach: its support function."""
        directions = spread_directions(self._count, len(self._grid.shape))
        core = self._grid.cell_centres(problem.window, problem.core)
        reach = problem.whitening(core) @ directions.T
        # LSE rounds the corners off inwards: start a little outside.
        offsets = np.quantile(reach, 0.99, axis=0) + 0.02
        return Planes(
            torch.from_numpy(directions[None].astype(np.float32)),
            torch.from_numpy(offsets[None].astype(np.float32)),
        )

    def _continued(self, shape: ImplicitShape, problem: Problem) -> Planes:
        """Planes of a shape that was accepted or that `solve` has returned."""
        shape = shape.uncut
        assert isinstance(shape, Polytope)
        normals, offsets = shape.normals.detach().numpy(), shape.offsets.detach().numpy().copy()
        missed = problem.boost > 1
        if missed.any():
            _push(offsets, problem.whitening(problem.strokes) @ normals.T, problem.own, missed)
        return Planes(*(torch.from_numpy(a[None]).float() for a in (normals, offsets)))

    def _collar(self, problem: Problem, start: Planes) -> Points:
        """Fine cells near the boundary so far, and all strokes."""
        window, fine = problem.window, problem.fine.window
        every = np.arange(len(problem.cells.target))
        whitened = problem.whitening(self._grid.cell_centres(window, every)).astype(np.float32)
        normals, offsets = start.normals[0].cpu().numpy(), start.offsets[0].cpu().numpy()
        nearest = (whitened @ normals.T - offsets).max(axis=-1)
        near = (np.abs(nearest) < _COLLAR).reshape(window.shape)
        index = np.flatnonzero(near[window.cells_of(fine)])
        return gather(problem, problem.fine, self._grid.effort.sharp, index)

    def _shape(self, problem: Problem, planes: Planes, row: int) -> Polytope:
        """Wrap the planes of one object."""
        return Polytope(
            planes.normals[row].cpu(),
            planes.offsets[row].cpu(),
            torch.from_numpy(problem.whitening.matrix),
            torch.from_numpy(problem.whitening.centre),
            kappa=SHARP_STAGES[-1].kappa,
            sharpness=SHARP_STAGES[-1].sharpness,
            extent=self._grid.extent,
        )


def _push(
    offsets: NDArray[np.float64],
    along: NDArray[np.float64],
    own: BoolArray,
    missed: BoolArray,
) -> None:
    """Move planes past strokes that an earlier fit missed, which no gradient reaches.

    Parameters
    ----------
    offsets : ndarray of float64, shape (P,)
        Changed in place.
    along : ndarray of float64, shape (K, P)
        Position of each stroke voxel along each normal.
    own, missed : ndarray of bool, shape (K,)
        Whether it is the object's, and whether it was missed.
    """
    if (own & missed).any():
        np.maximum(offsets, along[own & missed].max(axis=0) + _CLEARANCE, out=offsets)
    kept = along[own].max(axis=0) if own.any() else np.full_like(offsets, -np.inf)
    # A stroke within the object's own can never be got past; one that is out stays out.
    wrong = along[~own & missed]
    wrong = wrong[(wrong > kept).any(axis=1)]
    for _ in range(2 * len(offsets)):
        inside = wrong[(wrong < offsets).all(axis=1)]
        # Planes that can be moved past a stroke without taking away any of the object's.
        cut = np.where(inside > kept, offsets - inside, np.inf)
        reachable = np.isfinite(cut).any(axis=1)
        if not reachable.any():
            break
        inside, cut = inside[reachable], cut[reachable]
        wrong = inside
        # The deepest stroke first, by the plane that takes the least away.
        deepest = int(np.argmax((offsets - inside).min(axis=1)))
        plane = int(cut[deepest].argmin())
        at = inside[deepest, plane]
        offsets[plane] = max(at - _CLEARANCE, (kept[plane] + at) / 2)


def _joined(planes: Sequence[Planes], device: torch.device) -> Planes:
    """Stack the planes of several objects."""
    return Planes(
        torch.cat([p.normals for p in planes]).to(device),
        torch.cat([p.offsets for p in planes]).to(device),
    )
