"""Points with evidence in whitened coordinates: what every solver fits its shapes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.fitting.problem import Cells, Problem
    from napari_implicitseg.shapes.base import ImplicitShape

__all__ = [
    "PointBatch",
    "Points",
    "Whitening",
    "gather",
    "padded",
    "weigh_strokes",
]

# Weight of a stroke point against a cell, and the most all of them may weigh against the cells.
_STROKE_WEIGHT = 8.0
_STROKE_SHARE = 0.05


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
    weight = cells.weight[index]
    picked, mass = weigh_strokes(problem, weight, most, max(len(index), 1))
    centres = problem.grid.cell_centres(cells.window, index)
    return Points(
        problem.whitening(np.concatenate([centres, problem.strokes[picked]])),
        np.concatenate([cells.target[index], problem.own[picked]]),
        np.concatenate([weight, mass]),
    )


def weigh_strokes(
    problem: Problem, weight: NDArray[np.float32], most: int, points: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Pick stroke voxels of a problem, and say what each weighs.

    Parameters
    ----------
    problem : Problem
    weight : ndarray of float32
        That of the cells they are set against.
    most : int
        Points there may be; strokes are at most a quarter.
    points : int
        Cells they are drawn with: all strokes together weigh at most a share of them.

    Returns
    -------
    picked : ndarray of int64, shape (K,)
        Rows of `problem.voxels`.
    mass : ndarray of float32, shape (K,)
    """
    strokes = len(problem.own)
    picked = np.linspace(0, strokes - 1, min(strokes, most // 4)).astype(int)
    # Strokes that an earlier fit missed are all kept.
    picked = np.union1d(picked, np.flatnonzero(problem.boost > 1)[: most // 4])
    each = max(float(weight.mean()) if weight.size else 0.0, 1e-3)
    share = min(1.0, _STROKE_SHARE * points / max(len(picked), 1))
    mass = _STROKE_WEIGHT * each * share * problem.boost[picked]
    return picked, mass.astype(np.float32)


def padded(parts: Sequence[NDArray[Any]], device: torch.device) -> Tensor:
    """Stack arrays of different lengths; what is lacking is 0."""
    longest = max(len(p) for p in parts)
    out = np.zeros((len(parts), longest, *parts[0].shape[1:]), parts[0].dtype)
    for row, part in zip(out, parts, strict=True):
        row[: len(part)] = part
    return torch.from_numpy(out).to(device)


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
        weights = [p.weight / max(float(p.weight.sum()), 1e-9) for p in points]
        columns = [p.coords for p in points], [p.target for p in points], weights
        return cls(*(padded([a.astype(np.float32) for a in c], device) for c in columns))
