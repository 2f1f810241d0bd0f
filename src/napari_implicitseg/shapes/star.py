"""Star-shaped sets: a radius in every direction around a centre.

From the centre every point of the set is seen along a straight line within
the set, whatever the parameters are.
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

__all__ = ["StarShape", "star_level"]


def star_level(
    points: Tensor, heart: Tensor, weights: Tensor, directions: Tensor, kappa: float
) -> Tensor:
    """Distance from the heart less the radius in that direction.

    The logarithm of the radius is a mean of the weights over directions near
    by: smooth, and periodic in the plane as on the sphere.

    Parameters
    ----------
    points : Tensor, shape (B, M, D)
    heart : Tensor, shape (B, D)
    weights : Tensor, shape (B, K)
        Logarithm of the radius along each direction.
    directions : Tensor, shape (K, D)
        Unit vectors.
    kappa : float
        How sharply neighbouring directions are told apart.

    Returns
    -------
    Tensor, shape (B, M)
    """
    away = points - heart[:, None]
    distance = away.norm(dim=-1)
    outwards = away / distance.clamp(min=1e-9)[..., None]
    shares = torch.softmax(kappa * outwards @ directions.T, -1)
    radius: Tensor = torch.bmm(shares, weights[..., None])[..., 0].exp()
    level: Tensor = distance - radius
    return level


class StarShape(FramedShape):
    """A set that is star-shaped about its heart.

    ``level(x) = sharpness * (|y - heart| - radius(direction of y - heart))``
    with ``y = whiten @ (x - centre)``; straight lines stay straight under that map.

    Parameters
    ----------
    heart : Tensor, shape (D,)
        In whitened coordinates.
    weights : Tensor, shape (K,)
        Logarithm of the radius along each direction.
    directions : Tensor, shape (K, D)
        Unit vectors.
    whiten : Tensor, shape (D, D)
    centre : Tensor, shape (D,)
    kappa, sharpness : float
        See `star_level`; slope of the level across the boundary.
    extent : sequence of float
        Side lengths of the image box.
    """

    kind = "star"

    def __init__(
        self,
        heart: Tensor,
        weights: Tensor,
        directions: Tensor,
        whiten: Tensor,
        centre: Tensor,
        *,
        kappa: float,
        sharpness: float,
        extent: Sequence[float],
    ) -> None:
        super().__init__(whiten, centre, extent=extent)
        self.heart = nn.Parameter(heart.double())
        self.weights = nn.Parameter(weights.double())
        self.directions: Tensor
        self.register_buffer("directions", directions.double())
        self.kappa = float(kappa)
        self.sharpness = float(sharpness)

    @property
    def star_centre(self) -> Tensor:
        """The point the set is star-shaped about, in shape coordinates, (D,)."""
        heart: Tensor = torch.linalg.solve(self.whiten, self.heart.detach())
        return heart + self.centre

    def level(self, coords: Tensor, /) -> Tensor:
        """Level of points (..., D), shape (...); see the class."""
        whitened = self.whitened(coords)
        level = star_level(
            whitened.reshape(1, -1, self.ndim),
            self.heart[None],
            self.weights[None],
            self.directions,
            self.kappa,
        )
        return self.sharpness * level.reshape(coords.shape[:-1])

    def lifted(self, by: float) -> Self:
        """Return a star-shaped set about ``level <= by``: its radii are longer."""
        out = copy.deepcopy(self)
        with torch.no_grad():
            radius = out.weights.exp() + by / self.sharpness
            out.weights.copy_(radius.clamp(min=1e-9).log())
        return out

    def description(self) -> dict[str, Any]:
        """Return kind, extent and the two sharpness values."""
        return {
            "kind": self.kind,
            "extent": list(self.extent),
            "kappa": self.kappa,
            "sharpness": self.sharpness,
        }

    @classmethod
    def from_tensors(cls, description: dict[str, Any], tensors: dict[str, Tensor]) -> StarShape:
        """Build the shape that `description` and `state_dict` describe."""
        names = ("heart", "weights", "directions", "whiten", "centre")
        return cls(
            *(tensors[name] for name in names),
            kappa=description["kappa"],
            sharpness=description["sharpness"],
            extent=description["extent"],
        )
