"""Points with evidence in whitened coordinates: what every solver fits its shapes to."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.fitting.problem import Cells, Problem
    from napari_implicitseg.shapes.base import ImplicitShape

__all__ = ["PointBatch", "Points", "Whitening", "gather", "torch_threads"]

# Below this many numbers per step OpenMP threads cost more than they bring.
_SERIAL_SIZE = 4_000_000
# Weight of a stroke point against a cell, and the most all of them may weigh against the cells.
_STROKE_WEIGHT = 8.0
_STROKE_SHARE = 0.05


@contextlib.contextmanager
def torch_threads(size: int) -> Iterator[None]:
    """Use one torch thread for steps over few numbers, and restore the count after."""
    before = torch.get_num_threads()
    if size < _SERIAL_SIZE and before > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


@dataclass(frozen=True, slots=True)
class Whitening:
    """Affine map to coordinates in which an object is about a ball of radius 2.

    Attributes
    ----------
    centre : ndarray of float64, shape (D,)
    matrix : ndarray of float64, shape (D, D)
        ``y = matrix @ (x - centre)``.
    """

    centre: NDArray[np.float64]
    matrix: NDArray[np.float64]

    @classmethod
    def of(cls, points: NDArray[np.float64], floor: float) -> Whitening:
        """Centre and inverse root covariance of points (N, D), with a least spread per axis."""
        centre = points.mean(axis=0)
        moved = points - centre
        values, vectors = np.linalg.eigh(moved.T @ moved / len(points))
        scale = 1 / np.sqrt(np.maximum(values, floor**2))
        return cls(centre, vectors * scale @ vectors.T)

    @classmethod
    def of_shape(cls, shape: ImplicitShape) -> Whitening:
        """Return the map that a fitted shape is in the coordinates of."""
        return cls(*(cast("Tensor", part).numpy() for part in (shape.centre, shape.whiten)))

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points (N, D)."""
        return np.asarray((points - self.centre) @ self.matrix.T)


@dataclass(frozen=True, slots=True)
class Points:
    """Evidence at points of one object.

    Attributes
    ----------
    coords : ndarray of float64, shape (M, D)
        Whitened coordinates.
    target : ndarray of bool, shape (M,)
    weight : ndarray of float, shape (M,)
    """

    coords: NDArray[np.float64]
    target: BoolArray
    weight: NDArray[np.float32]


def gather(
    problem: Problem, cells: Cells, most: int, chosen: NDArray[np.int64] | None = None
) -> Points:
    """Pick at most `most` cells of a problem, and add its strokes with a weight of their own.

    Parameters
    ----------
    problem : Problem
    cells : Cells
        The problem's coarse or fine cells.
    most : int
    chosen : ndarray of int, optional
        Flat indices of the cells to pick from; all if None.
    """
    count = len(cells.target) if chosen is None else len(chosen)
    thin = max(1.0, count / most)
    index = (np.arange(int(count / thin)) * thin).astype(np.int64)
    if chosen is not None:
        index = chosen[index]
    strokes = len(problem.own)
    picked = np.linspace(0, strokes - 1, min(strokes, most // 4)).astype(int)
    # Strokes that an earlier fit missed are all kept.
    picked = np.union1d(picked, np.flatnonzero(problem.boost > 1)[: most // 4])
    weight = cells.weight[index]
    each = max(float(weight.mean()) if weight.size else 0.0, 1e-3)
    share = min(1.0, _STROKE_SHARE * max(len(index), 1) / max(len(picked), 1))
    mass = _STROKE_WEIGHT * each * share * problem.boost[picked]
    centres = problem.grid.cell_centres(cells.window, index)
    return Points(
        problem.whitening(np.concatenate([centres, problem.strokes[picked]])),
        np.concatenate([cells.target[index], problem.own[picked]]),
        np.concatenate([weight, mass.astype(np.float32)]),
    )


@dataclass(frozen=True, slots=True)
class PointBatch:
    """Evidence at points of several objects, padded to one length.

    Attributes
    ----------
    coords : Tensor, shape (B, M, D)
        Whitened coordinates.
    target : Tensor, shape (B, M)
        1 where the evidence says object, else 0.
    weight : Tensor, shape (B, M)
        Strength of the evidence, of sum 1 per object; 0 for padding.
    """

    coords: Tensor
    target: Tensor
    weight: Tensor

    @classmethod
    def pack(cls, points: Sequence[Points], device: torch.device) -> PointBatch:
        """Pad per-object points to one length and move them to a device."""
        longest = max(len(p.coords) for p in points)
        coords = np.zeros((len(points), longest, points[0].coords.shape[1]), np.float32)
        target = np.zeros((len(points), longest), np.float32)
        weight = np.zeros((len(points), longest), np.float32)
        for i, p in enumerate(points):
            coords[i, : len(p.coords)] = p.coords
            target[i, : len(p.coords)] = p.target
            weight[i, : len(p.coords)] = p.weight / max(float(p.weight.sum()), 1e-9)
        return cls(*(torch.from_numpy(a).to(device) for a in (coords, target, weight)))
