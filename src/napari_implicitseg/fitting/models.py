"""Batches of shapes under fit by gradient descent: what they share, planes and flows.

Each is made from problems, knows the level of points in its coordinates and
which parameters to move how fast, and hands out the shapes in the end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from napari_implicitseg.fitting.planes import spread_directions
from napari_implicitseg.shapes.connected import ConnectedShape
from napari_implicitseg.shapes.convex import Polytope
from napari_implicitseg.shapes.flow import LatticeFlow, RealNVP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_implicitseg.fitting.points import Whitening
    from napari_implicitseg.shapes.base import ImplicitShape
    from napari_implicitseg.shapes.flow import Flow

__all__ = ["BatchModel", "FlowModel", "PlanesModel", "flow_sizes", "has_flow"]

_KAPPA = 25.0
_PLANES = {2: 12, 3: 24}
# The lattices of a flow, from coarse to fine; the finer, the slower they move. Of many small
# objects each shows less detail, and gets smaller and fewer ones.
_SIZES = {2: (3, 5, 9, 17, 33), 3: (3, 5, 9, 13)}
_LAYERS = {2: 8, 3: 9}
_PLAIN_SIZES = {2: (3, 5, 9, 17), 3: (3, 5, 9)}
_PLAIN_LAYERS = {2: 4, 3: 6}
_FINE_RATE = 0.7
_NVP_LAYERS = 8
_NVP_WIDTH = 64


def flow_sizes(ndim: int, *, plain: bool) -> tuple[int, tuple[int, ...]]:
    """Layers of a lattice flow, and nodes a side of its lattices."""
    sizes, layers = (_PLAIN_SIZES, _PLAIN_LAYERS) if plain else (_SIZES, _LAYERS)
    return layers[ndim], sizes[ndim]


def has_flow(shape: ConnectedShape, kind: str, sizes: tuple[int, tuple[int, ...]]) -> bool:
    """Whether a shape has a flow of a kind and, if it is a lattice flow, of these sizes."""
    if shape.flow.kind != kind or not isinstance(shape.flow, LatticeFlow):
        return shape.flow.kind == kind
    return (shape.flow.layers, shape.flow.sizes) == sizes


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
    """

    def __init__(
        self,
        centres: np.ndarray,
        radius: float,
        *,
        sharpness: tuple[float, float],
        anchored: bool = False,
    ) -> None:
        super().__init__()
        count, ndim = centres.shape
        planes = _PLANES[ndim]
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


class FlowModel(BatchModel):
    """Planes after a flow of the unit box.

    Parameters
    ----------
    centres : ndarray of float, shape (B, D)
        Where the sets start, in the box.
    flow : {"lattice", "realnvp"}
    generator : torch.Generator
    plain : bool
        Whether the shapes show little detail, as small objects do.
    anchors : ndarray of float, shape (B, D), optional
        Points of the box the sets have to hold.
    """

    sharpness = (10.0, 80.0)

    def __init__(
        self,
        centres: np.ndarray,
        *,
        flow: str,
        generator: torch.Generator,
        plain: bool = False,
        anchors: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        count, ndim = centres.shape
        self.head = PlanesModel(
            centres, 0.25, sharpness=self.sharpness, anchored=anchors is not None
        )
        self.anchors = None if anchors is None else torch.from_numpy(anchors).float()
        self.flow: Flow
        if flow == LatticeFlow.kind:
            layers, sizes = flow_sizes(ndim, plain=plain)
            self.flow = LatticeFlow.identity(
                count, ndim, layers=layers, sizes=sizes, dtype=torch.float32
            )
        else:
            self.flow = RealNVP.random(
                count,
                ndim,
                layers=_NVP_LAYERS,
                width=_NVP_WIDTH,
                generator=generator,
                dtype=torch.float32,
            )

    def level(self, points: Tensor, /) -> Tensor:
        """Level of points (B, M, D) of the box, (B, M)."""
        inside = points.clamp(0, 1)
        if self.anchors is None:
            return self.head.level(self.flow(inside))
        flowed = self.flow(torch.cat([inside, self.anchors[:, None].to(inside)], 1))
        return self.head.level_about(flowed[:, :-1], flowed[:, -1])

    def groups(self) -> list[dict[str, Any]]:
        """Parameters and their peak rates."""
        if isinstance(self.flow, LatticeFlow):
            flow = [
                {"params": [lattice], "lr": 0.03 * _FINE_RATE**k}
                for k, lattice in enumerate(self.flow.logits)
            ]
        else:
            flow = [{"params": list(self.flow.parameters()), "lr": 0.003}]
        return flow + self.head.groups()

    def shape(self, row: int, frame: Whitening, extent: Sequence[float]) -> ConnectedShape:
        """Return one of the shapes."""
        flow = self.flow.rows(row, row + 1).cpu().double()
        ndim = len(frame.centre)
        centre = self.head.centres[row].detach().cpu().double()
        if self.anchors is not None:
            with torch.no_grad():
                centre = flow(self.anchors[row].cpu().double()[None, None])[0, 0]
        head = self.head.polytope(row, torch.eye(ndim), centre, (1.0,) * ndim)
        low = torch.from_numpy(frame.centre)
        high = low + 1 / torch.from_numpy(np.diag(frame.matrix).copy())
        return ConnectedShape(flow, head, low, high, extent=extent)

    def adopt(self, row: int, shape: ImplicitShape) -> None:
        """Start one row from a shape of an equal model."""
        assert isinstance(shape, ConnectedShape)
        self.head.adopt(row, shape.head)
        with torch.no_grad():
            self.head.centres[row] = shape.head.centre.float()
            own = shape.flow.state_dict()
            for name, tensor in self.flow.named_parameters():
                tensor[row] = own[name][0].float()
