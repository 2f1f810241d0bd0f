"""Star-shaped sets under fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from napari_implicitseg.fitting.models import BatchModel
from napari_implicitseg.fitting.planes import spread_directions
from napari_implicitseg.shapes.star import StarShape, star_level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_implicitseg.fitting.points import Whitening
    from napari_implicitseg.shapes.base import ImplicitShape

__all__ = ["StarModel", "star_directions"]

_STAR_DIRECTIONS = {2: 64, 3: 256}
_PLAIN_DIRECTIONS = {2: 40, 3: 100}


def star_directions(ndim: int, *, plain: bool) -> int:
    """Directions of a star-shaped set."""
    return (_PLAIN_DIRECTIONS if plain else _STAR_DIRECTIONS)[ndim]


class StarModel(BatchModel):
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
        spread = spread_directions(star_directions(ndim, plain=plain), ndim)
        directions = torch.from_numpy(spread).float()
        self.directions: Tensor
        self.register_buffer("directions", directions)
        # Neighbours at the next direction weigh about half as much.
        cosine = (directions @ directions[len(directions) // 2]).sort(descending=True)[0][1]
        self.kappa = 0.7 / float(1 - cosine)
        self.hearts = nn.Parameter(torch.from_numpy(hearts).float(), requires_grad=not fixed)
        self.weights = nn.Parameter(torch.full((count, len(directions)), float(np.log(radius))))

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
