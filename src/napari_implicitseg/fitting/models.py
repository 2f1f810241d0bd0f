"""Batches of shapes under fit by gradient descent: what they share, and planes.

Each is made from problems, knows the level of points in its coordinates and
which parameters to move how fast, and hands out the shapes in the end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn

from napari_implicitseg.fitting.planes import spread_directions
from napari_implicitseg.shapes.convex import Polytope

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from torch import Tensor

    from napari_implicitseg.config import FitConfig
    from napari_implicitseg.fitting.points import Whitening
    from napari_implicitseg.fitting.problem import Problem
    from napari_implicitseg.shapes.base import ImplicitShape

__all__ = ["BatchModel", "FitModel", "PlanesModel"]

_KAPPA = 25.0
_PLANES = {2: 12, 3: 24}


class BatchModel(nn.Module, ABC):
    """A batch of B shapes under fit.

    Attributes
    ----------
    sharpness : tuple of float
        Slope of the boundary at the first and the last step of a fit.
    """

    sharpness: tuple[float, float]

    @abstractmethod
    def level(self, points: Tensor, /) -> Tensor:
        """Level of points (B, M, D) in the model's coordinates, (B, M)."""

    @abstractmethod
    def groups(self) -> list[dict[str, Any]]:
        """Parameters and their peak rates."""

    @abstractmethod
    def shape(self, row: int, frame: Whitening, extent: Sequence[float]) -> ImplicitShape:
        """Return one of the shapes; `frame` maps to the model's coordinates."""

    @abstractmethod
    def adopt(self, row: int, shape: ImplicitShape) -> None:
        """Start one row from a shape that an equal model handed out."""


class FitModel(BatchModel, ABC):
    """A batch of shapes of a family that a solver makes from problems.

    Attributes
    ----------
    makes : type of ImplicitShape
    steps, plain_steps : int
        Length of a fit; of shapes that show little detail, as many small objects do.
    """

    makes: ClassVar[type[ImplicitShape]]
    steps: ClassVar[int]
    plain_steps: ClassVar[int]

    @classmethod
    @abstractmethod
    def begin(
        cls,
        problems: Sequence[Problem],
        frames: Sequence[Whitening],
        config: FitConfig,
        *,
        generator: torch.Generator,
        plain: bool,
    ) -> Self:
        """Make the batch a cold fit starts with.

        Parameters
        ----------
        problems : sequence of Problem
        frames : sequence of Whitening
            Map to the model's coordinates, per object; see `frame`.
        config : FitConfig
        generator : torch.Generator
        plain : bool
            Whether the shapes show little detail.
        """

    @classmethod
    def frame(cls, problem: Problem) -> Whitening:
        """Return the map to the coordinates a cold fit works in."""
        return problem.whitening

    def posed(self, problems: Sequence[Problem]) -> Sequence[Problem]:
        """Return the problems as the model is to see them."""
        return problems

    @classmethod
    @abstractmethod
    def continues(cls, shape: ImplicitShape, config: FitConfig, *, plain: bool) -> bool:
        """Whether a fit can start from an earlier shape, one of `makes`: an equal model's."""


class PlanesModel(BatchModel):
    """Log-sum-exp of planes.

    Parameters
    ----------
    centres : ndarray of float, shape (B, D)
        Where the sets start as balls.
    radius : float
    sharpness : tuple of float
    anchored : bool
        Whether the sets have to keep their centres inside, and may not move them.
    planes : int, optional
        12 in 2D and 24 in 3D if None.
    """

    def __init__(
        self,
        centres: np.ndarray,
        radius: float,
        *,
        sharpness: tuple[float, float],
        anchored: bool = False,
        planes: int | None = None,
    ) -> None:
        super().__init__()
        count, ndim = centres.shape
        planes = planes or _PLANES[ndim]
        directions = torch.from_numpy(spread_directions(planes, ndim)).float()
        self.normals = nn.Parameter(directions.expand(count, -1, -1).clone())
        self.offsets = nn.Parameter(torch.full((count, planes), float(radius)))
        self.centres = nn.Parameter(torch.from_numpy(centres).float(), requires_grad=not anchored)
        self.sharpness = sharpness
        self._least = 1.5 * np.log(planes) / _KAPPA if anchored else -np.inf

    def level(self, points: Tensor, /) -> Tensor:
        """Level of points (B, M, D), (B, M)."""
        return self.level_about(points, self.centres)

    def level_about(self, points: Tensor, centres: Tensor) -> Tensor:
        """Level of points about centres (B, D) that are not the model's own."""
        normals, offsets = self._planes()
        away = points - centres[:, None]
        reach = torch.baddbmm(-offsets[:, None], away, normals.mT)
        return torch.logsumexp(_KAPPA * reach, -1) / _KAPPA

    def _planes(self) -> tuple[Tensor, Tensor]:
        """Return unit normals, and offsets no less than what keeps an anchor inside."""
        normals = self.normals / self.normals.norm(dim=-1, keepdim=True)
        return normals, self.offsets.clamp(min=self._least)

    def groups(self) -> list[dict[str, Any]]:
        """Parameters and their peak rates."""
        moved = [p for p in (self.normals, self.offsets, self.centres) if p.requires_grad]
        return [{"params": moved, "lr": 0.015 * self._size()}]

    def _size(self) -> float:
        """Length of the model's coordinates against the unit box."""
        return 80.0 / self.sharpness[1]

    def polytope(
        self, row: int, whiten: Tensor, centre: Tensor, extent: Sequence[float]
    ) -> Polytope:
        """One set as a shape; `centre` is where the whitened coordinates are 0."""
        normals, offsets = (t[row].detach().cpu() for t in self._planes())
        return Polytope(
            normals,
            offsets,
            whiten,
            centre,
            kappa=_KAPPA,
            sharpness=self.sharpness[1],
            extent=extent,
        )

    def shape(self, row: int, frame: Whitening, extent: Sequence[float]) -> Polytope:
        """Return one of the sets."""
        own = np.linalg.solve(frame.matrix, self.centres[row].detach().cpu().double().numpy())
        matrix = torch.from_numpy(frame.matrix)
        return self.polytope(row, matrix, torch.from_numpy(own + frame.centre), extent)

    def adopt(self, row: int, shape: ImplicitShape) -> None:
        """Start one row from a polytope; its centre has to be set by the caller's frame."""
        assert isinstance(shape, Polytope)
        with torch.no_grad():
            self.normals[row] = shape.normals.float()
            self.offsets[row] = shape.offsets.float()
