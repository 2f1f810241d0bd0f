"""Coordinate networks under fit."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from napari_implicitseg.fitting.models import FitModel
from napari_implicitseg.shapes.free import FreeShape, free_level

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from torch import Tensor

    from napari_implicitseg.config import FitConfig
    from napari_implicitseg.fitting.points import Whitening
    from napari_implicitseg.fitting.problem import Problem
    from napari_implicitseg.shapes.base import ImplicitShape

__all__ = ["FreeModel", "reach_of"]

_FREE_FEATURES = 48
_FREE_WIDTH = 64
_PLAIN_WIDTH = 32
# Standard deviation of the frequencies, in radians per whitened unit.
_FREE_BAND = 2.5
_BALL_ROOM = 1.2


class FreeModel(FitModel):
    """Coordinate networks.

    Parameters
    ----------
    bounds : ndarray of float, shape (B,)
        Radii of the balls the shapes stay in.
    ndim : int
    generator : torch.Generator
    plain : bool
        Whether the shapes show little detail.
    """

    sharpness = (2.0, 8.0)
    makes = FreeShape
    steps, plain_steps = 200, 120

    def __init__(
        self, bounds: np.ndarray, ndim: int, *, generator: torch.Generator, plain: bool = False
    ) -> None:
        super().__init__()
        count = len(bounds)
        self.bounds: Tensor
        self.register_buffer("bounds", torch.from_numpy(bounds).float())
        self.frequencies: Tensor
        band = _FREE_BAND * torch.randn((ndim, _FREE_FEATURES), generator=generator)
        self.register_buffer("frequencies", band)
        width = _width(plain=plain)
        sizes = (ndim + 2 * _FREE_FEATURES, width, width, 1)
        made = [
            torch.randn((1, a, b), generator=generator) * (2 / a) ** 0.5 for a, b in pairwise(sizes)
        ]
        self.weights = nn.ParameterList([nn.Parameter(w.repeat(count, 1, 1)) for w in made])
        self.biases = nn.ParameterList(
            [nn.Parameter(torch.zeros((count, 1, n))) for n in sizes[1:]]
        )

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
        """Start as no shape in particular; see `FitModel`."""
        bounds = np.array([reach_of(p, f) for p, f in zip(problems, frames, strict=True)])
        return cls(bounds, len(frames[0].centre), generator=generator, plain=plain)

    @classmethod
    def continues(cls, shape: ImplicitShape, config: FitConfig, *, plain: bool) -> bool:
        """Whether a shape has a network of the same width."""
        assert isinstance(shape, FreeShape)
        return len(shape.biases[0][0, 0]) == _width(plain=plain)

    def level(self, points: Tensor, /) -> Tensor:
        """Level of points (B, M, D), (B, M)."""
        weights, biases = list(self.weights), list(self.biases)
        return free_level(points, self.bounds, self.frequencies, weights, biases)

    def groups(self) -> list[dict[str, Any]]:
        """Parameters and their peak rates."""
        return [{"params": list(self.parameters()), "lr": 0.01}]

    def shape(self, row: int, frame: Whitening, extent: Sequence[float]) -> FreeShape:
        """Return one of the shapes."""
        weights, biases = (
            [t[row : row + 1].detach().cpu().clone() for t in tensors]
            for tensors in (self.weights, self.biases)
        )
        weights[-1] *= self.sharpness[1]
        biases[-1] *= self.sharpness[1]
        return FreeShape(
            self.bounds[row : row + 1].cpu(),
            self.frequencies.cpu(),
            weights,
            biases,
            torch.from_numpy(frame.matrix),
            torch.from_numpy(frame.centre),
            extent=extent,
        )

    def adopt(self, row: int, shape: ImplicitShape) -> None:
        """Start one row from a shape of an equal model."""
        assert isinstance(shape, FreeShape)
        with torch.no_grad():
            for own, theirs in ((self.weights, shape.weights), (self.biases, shape.biases)):
                for target, tensor in zip(own, theirs, strict=True):
                    target[row] = tensor[0].float()
                own[-1][row] /= self.sharpness[1]


def reach_of(problem: Problem, frame: Whitening) -> float:
    """Radius, in the coordinates of a model, of a ball that holds an object with some room."""
    cells = frame(problem.grid.cell_centres(problem.window, problem.core))
    own = frame(problem.strokes[problem.own])
    return float(_BALL_ROOM * np.linalg.norm(np.concatenate([cells, own]), axis=1).max())


def _width(*, plain: bool) -> int:
    """Units per layer of a free shape's network."""
    return _PLAIN_WIDTH if plain else _FREE_WIDTH
