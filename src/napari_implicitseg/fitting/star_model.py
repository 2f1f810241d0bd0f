"""Star-shaped sets under fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from napari_implicitseg.fitting.models import FitModel
from napari_implicitseg.fitting.parts import closed_depth
from napari_implicitseg.fitting.planes import spread_directions
from napari_implicitseg.shapes.star import StarShape, star_level

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from torch import Tensor

    from napari_implicitseg.config import FitConfig
    from napari_implicitseg.fitting.points import Whitening
    from napari_implicitseg.fitting.problem import Problem
    from napari_implicitseg.shapes.base import ImplicitShape

__all__ = ["StarModel"]

_STAR_DIRECTIONS = {2: 64, 3: 256}
_PLAIN_DIRECTIONS = {2: 40, 3: 100}


class StarModel(FitModel):
    """Radii in directions around hearts.

    Parameters
    ----------
    hearts : ndarray of float, shape (B, D)
    fixed : bool
        Whether the hearts stay where they are.
    plain : bool
        Whether the shapes show little detail.
    radius : float
        Of the ball each set starts as.
    """

    sharpness = (6.0, 40.0)
    makes = StarShape
    steps, plain_steps = 120, 80

    def __init__(
        self,
        hearts: np.ndarray,
        *,
        fixed: bool = False,
        plain: bool = False,
        radius: float = 1.5,
    ) -> None:
        super().__init__()
        count, ndim = hearts.shape
        spread = spread_directions(_directions(ndim, plain=plain), ndim)
        directions = torch.from_numpy(spread).float()
        self.directions: Tensor
        self.register_buffer("directions", directions)
        # Neighbours at the next direction weigh about half as much.
        cosine = (directions @ directions[len(directions) // 2]).sort(descending=True)[0][1]
        self.kappa = 0.7 / float(1 - cosine)
        self.hearts = nn.Parameter(torch.from_numpy(hearts).float(), requires_grad=not fixed)
        self.weights = nn.Parameter(torch.full((count, len(directions)), float(np.log(radius))))

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
        """Start as balls around the deepest points of the objects; see `FitModel`."""
        pairs = zip(problems, frames, strict=True)
        return cls(np.stack([_deepest(p, f) for p, f in pairs]), plain=plain)

    @classmethod
    def continues(cls, shape: ImplicitShape, config: FitConfig, *, plain: bool) -> bool:
        """Whether a shape has radii in as many directions."""
        assert isinstance(shape, StarShape)
        return len(shape.weights) == _directions(shape.ndim, plain=plain)

    def level(self, points: Tensor, /) -> Tensor:
        """Level of points (B, M, D), (B, M)."""
        return star_level(points, self.hearts, self.weights, self.directions, self.kappa)

    def groups(self) -> list[dict[str, Any]]:
        """Parameters and their peak rates."""
        groups = [{"params": [self.weights], "lr": 0.06}]
        if self.hearts.requires_grad:
            groups.append({"params": [self.hearts], "lr": 0.02})
        return groups

    def shape(self, row: int, frame: Whitening, extent: Sequence[float]) -> StarShape:
        """Return one of the shapes."""
        return StarShape(
            self.hearts[row].detach().cpu(),
            self.weights[row].detach().cpu(),
            self.directions.cpu(),
            torch.from_numpy(frame.matrix),
            torch.from_numpy(frame.centre),
            kappa=self.kappa,
            sharpness=self.sharpness[1],
            extent=extent,
        )

    def adopt(self, row: int, shape: ImplicitShape) -> None:
        """Start one row from a shape of an equal model."""
        assert isinstance(shape, StarShape)
        with torch.no_grad():
            self.hearts[row] = shape.heart.float()
            self.weights[row] = shape.weights.float()


def _directions(ndim: int, *, plain: bool) -> int:
    """Directions of a star-shaped set."""
    return (_PLAIN_DIRECTIONS if plain else _STAR_DIRECTIONS)[ndim]


def _deepest(problem: Problem, frame: Whitening) -> np.ndarray:
    """Find the point of an object furthest from its outside."""
    core = ndimage.binary_fill_holes(problem.core)
    pitch = (problem.grid.pitch * problem.window.step).tolist()
    at = np.array([int(closed_depth(core, pitch).argmax())])
    return np.asarray(frame(problem.grid.cell_centres(problem.window, at))[0])
