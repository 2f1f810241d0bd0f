"""Free shapes: a coordinate network, which promises nothing.

References
----------
Tancik et al. 2020, "Fourier features let networks learn high frequency
functions in low dimensional domains".
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from napari_implicitseg.shapes.base import FramedShape

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from torch import Tensor

__all__ = ["FreeShape", "free_level"]


# Slope of the level outside the ball that bounds a shape.
_OUTSIDE_SLOPE = 10.0


def free_level(
    points: Tensor,
    bounds: Tensor,
    frequencies: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
) -> Tensor:
    """Level of points under B networks on Fourier features, within a ball each.

    Where no evidence was seen a network may say anything: the shape ends there.

    Parameters
    ----------
    points : Tensor, shape (B, M, D)
    bounds : Tensor, shape (B,)
        Radii of the balls.
    frequencies : Tensor, shape (D, F)
    weights : sequence of Tensor, shapes (B, D + 2 F, W), (B, W, W), ..., (B, W, 1)
    biases : sequence of Tensor, shapes (B, 1, W), ..., (B, 1, 1)

    Returns
    -------
    Tensor, shape (B, M)
    """
    phase = points @ frequencies
    hidden = torch.cat([points, phase.sin(), phase.cos()], -1)
    last = len(weights) - 1
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        hidden = torch.baddbmm(bias, hidden, weight)
        if i < last:
            hidden = torch.relu(hidden)
    beyond = _OUTSIDE_SLOPE * (points.norm(dim=-1) - bounds[:, None])
    return torch.maximum(hidden[..., 0], beyond)


class FreeShape(FramedShape):
    """A coordinate network on Fourier features of whitened coordinates.

    Parameters
    ----------
    bound : Tensor, shape (1,)
        Radius of the ball that holds the shape, in whitened coordinates.
    frequencies : Tensor, shape (D, F)
    weights : sequence of Tensor, shapes (1, D + 2 F, W), ..., (1, W, 1)
    biases : sequence of Tensor, shapes (1, 1, W), ..., (1, 1, 1)
    whiten : Tensor, shape (D, D)
    centre : Tensor, shape (D,)
    extent : sequence of float
        Side lengths of the image box.
    """

    kind = "free"

    def __init__(
        self,
        bound: Tensor,
        frequencies: Tensor,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor],
        whiten: Tensor,
        centre: Tensor,
        *,
        extent: Sequence[float],
    ) -> None:
        super().__init__(whiten, centre, extent=extent)
        self.bound: Tensor
        self.register_buffer("bound", bound.double())
        self.frequencies: Tensor
        self.register_buffer("frequencies", frequencies.double())
        self.weights = nn.ParameterList([nn.Parameter(w.double()) for w in weights])
        self.biases = nn.ParameterList([nn.Parameter(b.double()) for b in biases])

    def level(self, coords: Tensor, /) -> Tensor:
        """Level of points (..., D), shape (...)."""
        whitened = self.whitened(coords)
        flat = whitened.reshape(1, -1, self.ndim)
        level = free_level(
            flat, self.bound, self.frequencies, list(self.weights), list(self.biases)
        )
        return level.reshape(coords.shape[:-1])

    def lifted(self, by: float) -> Self:
        """Return the set ``level <= by`` as a network: its last bias is less, its ball larger."""
        out = copy.deepcopy(self)
        with torch.no_grad():
            out.biases[-1].sub_(by)
            out.bound.add_(by / _OUTSIDE_SLOPE)
        return out

    def description(self) -> dict[str, Any]:
        """Return kind, extent and the number of layers."""
        return {"kind": self.kind, "extent": list(self.extent), "layers": len(self.weights)}

    @classmethod
    def from_tensors(cls, description: dict[str, Any], tensors: dict[str, Tensor]) -> FreeShape:
        """Build the network that `description` and `state_dict` describe."""
        layers = range(description["layers"])
        return cls(
            tensors["bound"],
            tensors["frequencies"],
            [tensors[f"weights.{i}"] for i in layers],
            [tensors[f"biases.{i}"] for i in layers],
            tensors["whiten"],
            tensors["centre"],
            extent=description["extent"],
        )
