"""Connected sets under fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_implicitseg.fitting.models import FitModel, PlanesModel
from napari_implicitseg.fitting.points import Whitening
from napari_implicitseg.shapes.connected import ConnectedShape
from napari_implicitseg.shapes.flow import LatticeFlow, RealNVP

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from torch import Tensor

    from napari_implicitseg.config import FitConfig
    from napari_implicitseg.fitting.problem import Problem
    from napari_implicitseg.shapes.base import ImplicitShape
    from napari_implicitseg.shapes.flow import Flow

__all__ = ["FlowModel"]

# The lattices of a flow, from coarse to fine; the finer, the slower they move. Of many small
# objects each shows less detail, and gets smaller and fewer ones.
_SIZES = {2: (3, 5, 9, 17, 33), 3: (3, 5, 9, 13)}
_LAYERS = {2: 8, 3: 9}
_PLAIN_SIZES = {2: (3, 5, 9, 17), 3: (3, 5, 9)}
_PLAIN_LAYERS = {2: 4, 3: 6}
_FINE_RATE = 0.7
_NVP_LAYERS = 8
_NVP_WIDTH = 64


class FlowModel(FitModel):
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
    makes = ConnectedShape
    steps, plain_steps = 440, 280

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
            layers, sizes = _flow_size(ndim, plain=plain)
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
        """Start as balls in the middle of the objects; see `FitModel`."""
        pairs = zip(problems, frames, strict=True)
        centres = np.stack([f(p.whitening.centre[None])[0] for p, f in pairs])
        return cls(centres, flow=config.flow, generator=generator, plain=plain)

    @classmethod
    def frame(cls, problem: Problem) -> Whitening:
        """Return the map from the window to the unit box."""
        low = np.asarray(problem.window.start) * problem.grid.pitch
        high = np.asarray(problem.window.stop) * problem.grid.pitch
        return Whitening(low, np.diag(1 / (high - low)))

    @classmethod
    def continues(cls, shape: ImplicitShape, config: FitConfig, *, plain: bool) -> bool:
        """Whether a shape has the flow asked for, in the same size."""
        assert isinstance(shape, ConnectedShape)
        if shape.flow.kind != config.flow or not isinstance(shape.flow, LatticeFlow):
            return shape.flow.kind == config.flow
        size = _flow_size(shape.ndim, plain=plain)
        return (shape.flow.layers, shape.flow.sizes) == size

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


def _flow_size(ndim: int, *, plain: bool) -> tuple[int, tuple[int, ...]]:
    """Layers of a lattice flow, and nodes a side of its lattices."""
    sizes, layers = (_PLAIN_SIZES, _PLAIN_LAYERS) if plain else (_SIZES, _LAYERS)
    return layers[ndim], sizes[ndim]
