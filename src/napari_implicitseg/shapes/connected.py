"""Path-connected shapes: a convex set in the coordinates a flow maps to.

References
----------
Dinh, Sohl-Dickstein, Bengio 2017, "Density estimation using Real NVP", for the
flow on the whole space; see `flow` for the one on the box.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from napari_implicitseg.shapes.base import FramedShape, tensors_under
from napari_implicitseg.shapes.flow import build_flow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from torch import Tensor

    from napari_implicitseg.shapes.convex import Polytope
    from napari_implicitseg.shapes.flow import Flow

__all__ = ["ConnectedShape"]

# Slope of the level outside the box of the flow, in sides of the box.
_OUTSIDE_SLOPE = 100.0


class ConnectedShape(FramedShape):
    """A convex set bent by a flow on a box: path-connected.

    ``level(x) = head.level(flow(y))`` with ``y = whiten @ (x - centre)``, the
    coordinates of the box; points outside the box are outside the shape.

    Parameters
    ----------
    flow : Flow
        One flow (B = 1) in the box's coordinates.
    head : Polytope
        Convex set in the coordinates the flow maps to.
    low, high : Tensor, shape (D,)
        Corners of the box in shape coordinates.
    extent : sequence of float
        Side lengths of the image box.
    """

    kind = "connected"

    def __init__(
        self, flow: Flow, head: Polytope, low: Tensor, high: Tensor, *, extent: Sequence[float]
    ) -> None:
        super().__init__(torch.diag(1 / (high - low).double()), low, extent=extent)
        self.flow = flow.double()
        self.head = head

    def level(self, coords: Tensor, /) -> Tensor:
        """Level of points (..., D), shape (...); see the class."""
        inner = (coords.to(self.whiten) - self.centre) * self.whiten.diagonal()
        inside = inner.clamp(0, 1)
        level = self.head.level(self._flowed(inside))
        beyond = (inner - inside).abs().amax(-1)
        return torch.where(beyond > 0, level.clamp(min=0) + _OUTSIDE_SLOPE * beyond, level)

    def path(self, start: Tensor, stop: Tensor, count: int) -> Tensor:
        """Points of a path within the shape between two of its points.

        ``p(t) = flow^-1((1 - t) flow(start) + t flow(stop))``: the straight line
        lies in the convex set, so the path lies in the shape.

        Parameters
        ----------
        start, stop : Tensor, shape (D,)
            Points of the box, in shape coordinates.
        count : int
            Number of points, the ends included.

        Returns
        -------
        Tensor, shape (count, D)
        """
        ends = torch.stack([start, stop]).to(self.whiten)
        inner = ((ends - self.centre) * self.whiten.diagonal()).clamp(0, 1)
        first, last = self._flowed(inner)
        share = torch.linspace(0, 1, count, dtype=first.dtype)[:, None]
        back = self.flow.inverse(((1 - share) * first + share * last)[None])[0]
        return back / self.whiten.diagonal() + self.centre

    def _flowed(self, points: Tensor) -> Tensor:
        """Map points (..., D) of the box by the flow."""
        out: Tensor = self.flow(points.reshape(1, -1, self.ndim))
        return out.reshape(points.shape)

    def lifted(self, by: float) -> Self:
        """Return the set ``level <= by`` as a shape: its head is larger."""
        out = copy.deepcopy(self)
        out.head = self.head.lifted(by)
        return out

    def description(self) -> dict[str, Any]:
        """Return kind, extent and the descriptions of flow and head."""
        return {
            "kind": self.kind,
            "extent": list(self.extent),
            "flow": self.flow.description(),
            "head": self.head.description(),
        }

    @classmethod
    def from_tensors(
        cls, description: dict[str, Any], tensors: dict[str, Tensor]
    ) -> ConnectedShape:
        """Build the shape that `description` and `state_dict` describe."""
        from napari_implicitseg.shapes.convex import Polytope

        low = tensors["centre"]
        return cls(
            build_flow(description["flow"], tensors_under(tensors, "flow.")),
            Polytope.from_tensors(description["head"], tensors_under(tensors, "head.")),
            low,
            low + 1 / tensors["whiten"].diagonal(),
            extent=description["extent"],
        )
