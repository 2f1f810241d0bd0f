"""The networks as published: input-convex, or input-convex after a flow of the whole space.

They are here to reproduce the papers; `Polytope` and `ConnectedShape` are better.

References
----------
Amos, Xu and Kolter 2017, "Input convex neural networks".
Dinh, Sohl-Dickstein and Bengio 2017, "Density estimation using Real NVP".
Schneider et al. 2024, "Implicit representations for constrained image segmentation".
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from napari_implicitseg.shapes.base import ImplicitShape, tensors_under

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from torch import Tensor

__all__ = ["PublishedNetwork", "PublishedShape"]

_COUPLINGS, _HIDDEN = 6, 64
_LAYERS, _WIDTH = 3, 130


class _AffineCoupling(nn.Module):
    """Scale and shift one coordinate by a network of the others."""

    def __init__(self, ndim: int, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.others = [a for a in range(ndim) if a != axis]
        last = nn.Linear(_HIDDEN, 2)
        # The flow starts as the identity.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(
            nn.Linear(ndim - 1, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU(), last
        )

    def forward(self, x: Tensor) -> Tensor:
        """Points (N, D) to points."""
        scale, shift = self.network(x[:, self.others]).unbind(-1)
        columns = list(x.unbind(-1))
        columns[self.axis] = columns[self.axis] * torch.exp(torch.tanh(scale)) + shift
        return torch.stack(columns, -1)


class PublishedNetwork(nn.Module):
    """Level of points of [-1, 1]^D by an input-convex network, after a flow or not.

    Parameters
    ----------
    ndim : int
    flow : bool
        Whether a RealNVP bends the space first: then the sub-level set is no longer
        convex, but path-connected in the whole space.
    """

    def __init__(self, ndim: int, *, flow: bool) -> None:
        super().__init__()
        couplings = [_AffineCoupling(ndim, k % ndim) for k in range(_COUPLINGS)] if flow else []
        self.flow = nn.Sequential(*couplings)
        widths = [_WIDTH] * (_LAYERS - 1) + [1]
        self.first = nn.Linear(ndim, _WIDTH)
        self.skips = nn.ModuleList(nn.Linear(ndim, w) for w in widths)
        self.inner = nn.ModuleList(nn.Linear(_WIDTH, w, bias=False) for w in widths)
        self.clamp()

    def forward(self, x: Tensor) -> Tensor:
        """Points (N, D) to levels (N,); at most 0 is inside."""
        x = self.flow(x)
        z = torch.relu(self.first(x))
        for skip, inner in zip(self.skips[:-1], self.inner[:-1], strict=True):
            z = torch.relu(inner(z) + skip(x))
        return torch.squeeze(self.inner[-1](z) + self.skips[-1](x), -1)

    @torch.no_grad()
    def clamp(self) -> None:
        """Set negative weights between layers to 0: then the level is convex."""
        for layer in self.inner:
            assert isinstance(layer, nn.Linear)
            layer.weight.clamp_(min=0)


class PublishedShape(ImplicitShape):
    """The sub-level set of a `PublishedNetwork` over the image box.

    Parameters
    ----------
    network : PublishedNetwork
        On coordinates from -1 to 1 along the longest side.
    extent : sequence of float
        Side lengths of the image box; the longest is 1.
    by : float
        The level that counts as the boundary.
    """

    kind = "published"

    def __init__(
        self, network: PublishedNetwork, *, extent: Sequence[float], by: float = 0.0
    ) -> None:
        super().__init__(extent)
        self.network = network
        self.by = by

    def level(self, coords: Tensor, /) -> Tensor:
        """Level of points (..., D), shape (...)."""
        middle = torch.tensor(self.extent).to(coords) / 2
        points = (2 * (coords - middle)).float().reshape(-1, self.ndim)
        level: Tensor = self.network(points)
        return level.reshape(coords.shape[:-1]) - self.by

    def lifted(self, by: float) -> Self:
        """Return the set ``level <= by``."""
        out = copy.deepcopy(self)
        out.by += by
        return out

    def description(self) -> dict[str, Any]:
        """Return kind, extent, boundary and whether there is a flow."""
        return {
            "kind": self.kind,
            "extent": list(self.extent),
            "by": self.by,
            "flow": len(self.network.flow) > 0,
        }

    @classmethod
    def from_tensors(
        cls, description: dict[str, Any], tensors: dict[str, Tensor]
    ) -> PublishedShape:
        """Build the network that `description` and `state_dict` describe."""
        network = PublishedNetwork(len(description["extent"]), flow=description["flow"])
        network.load_state_dict(tensors_under(tensors, "network."))
        return cls(network, extent=description["extent"], by=description["by"])
