"""Evidence first, then the shapes: all objects of a scribble layer together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from napari_implicitseg.fitting.parts import stroke_component
from napari_implicitseg.fitting.points import Whitening
from napari_implicitseg.fitting.problem import (
    Problem,
    pose,
    touches_border,
    window_around,
    window_over,
)
from napari_implicitseg.fitting.reach import Scout
from napari_implicitseg.fitting.trim import contradicting, grown, trimmed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.features import Window
    from napari_implicitseg.fitting.problem import Geometry, Look
    from napari_implicitseg.predictors.evidence import Evidence
    from napari_implicitseg.scribbles import Samples
    from napari_implicitseg.shapes.base import ImplicitShape

__all__ = ["Earlier", "Fitted", "Fitter", "Solver"]

_MOST_GROWTHS = 8
_MOST_ENFORCEMENTS = 2
_BOOST = 8.0
# Strokes of others this deep in an earlier shape, against its centre, say that it is no good.
_DEEP = 0.4


class Solver(Protocol):
    """What fits shapes to problems, in one batch.

    Attributes
    ----------
    is_convex : bool
        Whether all shapes it fits are convex, so that planes may cut them.
    """

    is_convex: bool

    def accepts(self, shape: ImplicitShape) -> bool:
        """Whether it can continue from a shape of an earlier fit."""

    def solve(
        self, problems: Sequence[Problem], previous: Sequence[ImplicitShape | None]
    ) -> tuple[Sequence[ImplicitShape], list[list[float]]]:
        """Return a shape and the loss of every step for each problem."""


@dataclass(slots=True)
class Fitted:
    """A fitted object.

    Attributes
    ----------
    problem : Problem
    shape : ImplicitShape
    mask : ndarray of bool
        Voxels of the window, full resolution.
    losses : list of float
    beyond : Window, optional
        Larger window of a mask that reaches beyond that of the problem.
    is_traced : bool
        Whether the mask is that of the evidence, for which the shape is too coarse.
    """

    problem: Problem
    shape: ImplicitShape
    mask: BoolArray
    losses: list[float]
    beyond: Window | None = None
    is_traced: bool = False

    @property
    def label(self) -> int:
        """Id of the object."""
        return self.problem.label

    @property
    def window(self) -> Window:
        """Box of the mask."""
        return self.beyond or self.problem.window

    @property
    def earlier(self) -> Earlier:
        """What a later fit continues from."""
        return Earlier(self.shape, self.problem.look)

    def with_shape(self, shape: ImplicitShape) -> Fitted:
        """Return the same object with another shape and its mask."""
        mask = shape.rasterize(self.problem.grid.shape, region=self.problem.window.slices)
        return Fitted(self.problem, shape, mask, self.losses)

    @property
    def strokes(self) -> NDArray[np.int64]:
        """Voxels of the object's own strokes, (K, D)."""
        return self.problem.voxels[self.problem.own]

    @property
    def anchors(self) -> NDArray[np.int64]:
        """Voxels that are surely the object's, (K, D): its strokes, or what its evidence says."""
        if self.problem.own.any():
            return self.strokes
        cells, grid = self.problem.cells, self.problem.grid
        centres = grid.cell_centres(cells.window, cells.target & (cells.weight > 0))
        return np.asarray(centres / grid.pitch, np.int64)


@dataclass(frozen=True, slots=True)
class Earlier:
    """An object of an earlier fit.

    Attributes
    ----------
    shape : ImplicitShape
    look : Look
    """

    shape: ImplicitShape
    look: Look


class Fitter:
    """Fits the objects of one image to their evidence.

    Parameters
    ----------
    evidence : Evidence
    samples : Samples
    grid : Geometry
    solver : Solver
    previous : mapping of int to Earlier
        Objects of an earlier fit to continue from.
    check : callable
        Called before each object is looked at; may raise to cancel.
    """

    def __init__(
        self,
        evidence: Evidence,
        samples: Samples,
        *,
        grid: Geometry,
        solver: Solver,
        previous: Mapping[int, Earlier],
        check: Callable[[], None],
    ) -> None:
        self._evidence = evidence
        self._samples = samples
        self._grid = grid
        self._solver = solver
        self._previous = previous
        self._check = check
        self._scout = Scout(evidence, samples, grid, convex=solver.is_convex)

    def run(self) -> list[Fitted]:
        """Fit every object, look further where a mask reaches the edge of its window."""
        windows, starts = self._warm_windows()
        cold = [label for label in self._samples.objects if label not in starts]
        windows |= {label: self._cold_window(label) for label in cold}
        for _ in range(self._evidence.rounds):
            self._evidence.learn([self._region(k, w, starts.get(k)) for k, w in windows.items()])
        problems = [
            self._problem(
                label, window, self._previous[label].look.level if label in starts else None
            )
            for label, window in windows.items()
        ]
        fitted: dict[int, Fitted] = {}
        for _ in range(_MOST_GROWTHS):
            if not problems:
                break
            previous = [self._adopted(p, starts) for p in problems]
            for item in self._enforced(self._solved(problems, previous)):
                fitted[item.label] = item
            problems = []
            for item in list(fitted.values()):
                if self._wrong_start(item, starts):
                    del starts[item.label]
                    problems.append(self._problem(item.label, self._cold_window(item.label)))
                elif touches_border(item.mask, item.window, self._grid):
                    grown = self._grown(item.window)
                    problems.append(self._problem(item.label, grown, item.problem.level))
                    starts.pop(item.label, None)
        return [fitted[label] for label in self._samples.objects]

    def _warm_windows(self) -> tuple[dict[int, Window], dict[int, ImplicitShape]]:
        """Windows an earlier fit found its objects in, and their shapes."""
        windows, starts = {}, {}
        for label in self._samples.objects:
            earlier = self._previous.get(label)
            if earlier is not None and self._continues(label, earlier):
                first, last = (np.asarray(v) for v in (earlier.look.start, earlier.look.stop))
                windows[label] = window_over(first, last, self._grid, self._evidence.coarse)
                starts[label] = earlier.shape
        return windows, starts

    def _continues(self, label: int, earlier: Earlier) -> bool:
        """Whether an object is about where an earlier fit saw it."""
        shape = earlier.shape.uncut
        if shape.extent != self._grid.extent or not self._solver.accepts(earlier.shape):
            return False
        own = self._samples.ids == label
        coords = self._samples.coords[own]
        if (coords < earlier.look.start).any() or (coords >= earlier.look.stop).any():
            return False
        with torch.no_grad():
            every = torch.from_numpy((self._samples.coords + 0.5) * self._grid.pitch)
            level = shape.level(every).numpy()
            middle = float(level[own].min())
            if self._solver.is_convex:
                middle = float(shape.level(torch.from_numpy(Whitening.of_shape(shape).centre)))
        # Unless a stroke of its own lies in the earlier shape, the user has moved on; one of
        # others deep inside says that the shape is no good to start from.
        return bool((level[own] <= 0).any() and not (level[~own] < _DEEP * min(middle, 0)).any())

    def _cold_window(self, label: int) -> Window:
        """Window around what the coarse look says of an object."""
        self._check()
        territory = self._evidence.territory(label)
        coords = self._samples.coords[self._samples.ids == label]
        likely = self._evidence.probability(label, territory) > 0.5
        low, high = territory.box_of(stroke_component(likely, territory.cells(coords)))
        low, high = np.minimum(low, coords.min(axis=0)), np.maximum(high, coords.max(axis=0) + 1)
        return self._around(low.astype(float), high.astype(float))

    def _around(self, low: NDArray[np.float64], high: NDArray[np.float64]) -> Window:
        """Window around a box of voxels."""
        return window_around(low, high, self._grid, self._evidence.coarse)

    def _region(
        self, label: int, window: Window, start: ImplicitShape | None
    ) -> tuple[Window, BoolArray]:
        """Where an object seems to be: its earlier shape, or what the evidence says."""
        self._check()
        if start is None:
            reach = self._scout.search(label, window)
            return reach.window, reach.region
        every = np.arange(np.prod(window.shape))
        with torch.no_grad():
            level = start.level(torch.from_numpy(self._grid.cell_centres(window, every)))
        return window, (level <= 0).numpy().reshape(window.shape)

    def _problem(self, label: int, window: Window, level: float | None = None) -> Problem:
        """Pose the problem of an object in a window, at a level of the evidence if it is known."""
        self._check()
        if level is None:
            reach = self._scout.search(label, window)
        else:
            reach = self._scout.at(label, window, level)
        return pose(
            reach,
            self._evidence,
            self._samples,
            self._grid,
            settled=not self._solver.is_convex,
        )

    def _adopted(
        self, problem: Problem, starts: Mapping[int, ImplicitShape]
    ) -> ImplicitShape | None:
        """Shape to continue from, if there is one."""
        start = starts.get(problem.label)
        if start is not None and self._solver.is_convex:
            problem.whitening = Whitening.of_shape(start.uncut)
        return start

    def _grown(self, window: Window) -> Window:
        """Larger window around a window."""
        low, high = (np.asarray(side, float) for side in (window.start, window.stop))
        return self._around(low, high)

    def _wrong_start(self, item: Fitted, starts: Mapping[int, ImplicitShape]) -> bool:
        """Whether an object fitted from an earlier shape had better start anew."""
        return item.label in starts and bool(_missed(item).any())

    def _solved(
        self, problems: list[Problem], previous: Sequence[ImplicitShape | None]
    ) -> list[Fitted]:
        """Solve problems and rasterise the shapes."""
        shapes, losses = self._solver.solve(problems, previous)
        size = self._grid.shape
        return [
            Fitted(p, shape, shape.rasterize(size, region=p.window.slices), loss)
            for p, shape, loss in zip(problems, shapes, losses, strict=True)
        ]

    def _enforced(self, items: list[Fitted]) -> list[Fitted]:
        """Fit again, with more weight on them, where strokes were not satisfied.

        More weight on an object's own stroke may lose one of the background
        beside it, and the other way round: what is left is cut off.
        """
        for item in items:
            if self._solver.is_convex and _missed(item).any():
                item.problem.hopeless = contradicting(item.problem)
        best = {item.label: item for item in items}
        whole = {item.label: item for item in items if not _lost(item)}
        for _ in range(_MOST_ENFORCEMENTS):
            open_ = [item for item in best.values() if _missed(item).any()]
            if not open_:
                break
            for item in open_:
                item.problem.boost[_missed(item)] *= _BOOST
            again = self._solved([i.problem for i in open_], [i.shape for i in open_])
            for before, after in zip(open_, again, strict=True):
                after.losses[:0] = before.losses
                best[after.label] = _better(after, before)
                if not _lost(after):
                    whole[after.label] = _better(after, whole.get(after.label, after))
        for label, item in best.items():
            if self._solver.is_convex and _missed(item).any():
                kept = whole.get(label) or grown(item, self._grid)
                wrong = _missed(kept) & ~kept.problem.own
                best[label] = _better(trimmed(kept, wrong, self._grid), item)
        return list(best.values())


def _better(one: Fitted, other: Fitted) -> Fitted:
    """Return the one that contradicts fewer stroke voxels; the other if they are equal."""
    return one if _missed(one).sum() < _missed(other).sum() else other


def _lost(item: Fitted) -> bool:
    """Whether a mask leaves out some of the object's own strokes."""
    return bool((_missed(item) & item.problem.own).any())


def _missed(item: Fitted) -> BoolArray:
    """Stroke voxels of the window that the mask contradicts and need not, shape (K,)."""
    problem = item.problem
    at = problem.voxels - np.asarray(item.window.start)
    return np.asarray(item.mask[tuple(at.T)] != problem.own) & ~problem.hopeless
