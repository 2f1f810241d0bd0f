"""A stack of planar shapes along the first axis: what a slice-by-slice fit returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from napari_implicitseg.shapes.base import ImplicitShape, tensors_under

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from torch import Tensor

__all__ = ["SliceStack"]

# Level of points in a slice that has no shape: surely outside.
_OUTSIDE = 100.0


class SliceStack(ImplicitShape):
    """One shape per slice; points take the shape of the slice they lie in.

    Parameters
    ----------
    slices : mapping of int to ImplicitShape
        Shapes by index along the first axis; slices that are missing are empty.
    scale : float
        Length of the volume's longest side over the longest side of a slice.
    count : int
        Number of slices of the volume.
    extent : sequence of float
        Side lengths of the volume's box.
    """

    kind = "stack"

    def __init__(
        self,
        slices: Mapping[int, ImplicitShape],
        *,
        scale: float,
        count: int,
        extent: Sequence[float],
    ) -> None:
        super().__init__(extent)
        self.scale = float(scale)
        self.count = int(count)
        self.slices = nn.ModuleDict({str(i): s for i, s in sorted(slices.items())})

    def level(self, coords: Tensor, /) -> Tensor:
        """Level of points (..., D), shape (...)."""
        index = torch.floor(coords[..., 0] * (self.count / self.extent[0])).long()
        out = torch.full(index.shape, _OUTSIDE, dtype=torch.float64)
        for name, shape in self.slices.items():
            here = index == int(name)
            if bool(here.any()):
                assert isinstance(shape, ImplicitShape)
                out[here] = shape.level(coords[here][:, 1:] * self.scale).double()
        return out

    def lifted(self, by: float) -> Self:
        """Return the set ``level <= by`` as a stack."""
        parts = {int(name): cast("ImplicitShape", s).lifted(by) for name, s in self.slices.items()}
        return type(self)(parts, scale=self.scale, count=self.count, extent=self.extent)

    def description(self) -> dict[str, Any]:
        """Return kind, extent, geometry and the description of every slice."""
        return {
            "kind": self.kind,
            "extent": list(self.extent),
            "scale": self.scale,
            "count": self.count,
            "slices": {
                name: shape.description()
                for name, shape in self.slices.items()
                if isinstance(shape, ImplicitShape)
            },
        }

    @classmethod
    def from_tensors(cls, description: dict[str, Any], tensors: dict[str, Tensor]) -> SliceStack:
        """Build the stack that `description` and `state_dict` describe."""
        from napari_implicitseg.shapes import build_shape

        slices = {
            int(name): build_shape(part, tensors_under(tensors, f"slices.{name}."))
            for name, part in description["slices"].items()
        }
        return cls(
            slices,
            scale=description["scale"],
            count=description["count"],
            extent=description["extent"],
        )
