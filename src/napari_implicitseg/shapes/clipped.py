"""A shape cut by half-spaces, which keeps touching objects apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_implicitseg.shapes.base import ImplicitShape, grid_axes, tensors_under

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from torch import Tensor

    from napari_implicitseg._types import BoolArray

__all__ = ["ClippedShape"]


class ClippedShape(ImplicitShape):
    """A shape cut by half-spaces: convex if the shape is.

    ``level(x) = max(shape.level(x), slope * max_i(n_i . x - b_i))``. Touching
    objects are kept apart this way.

    Parameters
    ----------
    base : ImplicitShape
    normals : Tensor, shape (P, D)
        Unit normals that point to the side cut away.
    bounds : Tensor, shape (P,)
        ``n . x <= b`` stays.
    slope : float
        Slope of the level at the cuts.
    """

    kind = "clipped"

    def __init__(
        self, base: ImplicitShape, normals: Tensor, bounds: Tensor, *, slope: float
    ) -> None:
        super().__init__(base.extent)
        self.base = base
        self.normals: Tensor
        self.register_buffer("normals", normals.double())
        self.bounds: Tensor
        self.register_buffer("bounds", bounds.double())
        self.slope = float(slope)

    @classmethod
    def cut(
        cls, shape: ImplicitShape, normals: Tensor, bounds: Tensor, *, slope: float
    ) -> ClippedShape:
        """Cut a shape that may have been cut before; see the class."""
        if isinstance(shape, ClippedShape):
            normals = torch.cat([shape.normals, normals])
            bounds = torch.cat([shape.bounds, bounds])
        return cls(shape.uncut, normals, bounds, slope=slope)

    @property
    def uncut(self) -> ImplicitShape:
        """The shape without any planes that were cut off it."""
        return self.base

    def level(self, coords: Tensor, /) -> Tensor:
        """Level of points (..., D), shape (...); see the class."""
        cut = (coords.to(self.normals) @ self.normals.T - self.bounds).amax(-1)
        return torch.maximum(self.base.level(coords), self.slope * cut)

    def rasterize(
        self, shape: Sequence[int], *, region: Sequence[slice] | None = None
    ) -> BoolArray:
        """Mask on a grid over the image box; see `ImplicitShape.rasterize`."""
        mask = self.base.rasterize(shape, region=region)
        axes = np.ix_(*grid_axes(shape, self.extent, region))
        for normal, bound in zip(self.normals.tolist(), self.bounds.tolist(), strict=True):
            mask &= sum(n * a for n, a in zip(normal, axes, strict=True)) <= bound
        return mask

    def lifted(self, by: float) -> Self:
        """Return the set ``level <= by`` as a shape: the cuts are moved, too."""
        return type(self)(
            self.base.lifted(by), self.normals, self.bounds + by / self.slope, slope=self.slope
        )

    def description(self) -> dict[str, Any]:
        """Return kind, slope and the description of the shape that is cut."""
        return {"kind": self.kind, "slope": self.slope, "base": self.base.description()}

    @classmethod
    def from_tensors(cls, description: dict[str, Any], tensors: dict[str, Tensor]) -> ClippedShape:
        """Build the shape that `description` and `state_dict` describe."""
        from napari_implicitseg.shapes import build_shape

        return cls(
            build_shape(description["base"], tensors_under(tensors, "base.")),
            tensors["normals"],
            tensors["bounds"],
            slope=description["slope"],
        )
