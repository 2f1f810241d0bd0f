"""Symmetric shapes: any family, made equal to its images under mirrors or rotations.

Two ways, both exact whatever the parameters are. *Folding* maps every point
and its images to one point, of which the family's level is taken. *Meeting*
takes the largest level over all images: the intersection of the images, which
of a convex set is convex, and of a star-shaped one star-shaped if the centres
agree.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_implicitseg.shapes.base import ImplicitShape, tensors_under
from napari_implicitseg.shapes.symmetries import Symmetry, group_matrices

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from torch import Tensor

__all__ = ["SymmetricShape", "fold", "group_elements"]


def group_elements(kind: str, order: int, ndim: int) -> Tensor:
    """All elements of a group, the identity first, as matrices (G, D, D).

    "mirror" of order k has k mirrors through one line or point, the first
    normal to axis 0; "rotation" of order k turns by 2 pi / k. Both act in the
    plane of the axes 0 and 1.
    """
    local = group_matrices(kind, order, np.eye(ndim))
    return torch.from_numpy(np.concatenate([np.eye(ndim)[None], local]))


def fold(points: Tensor, kind: str, order: int) -> Tensor:
    """Map points and their images to one point each, continuously.

    Mirrors fold the plane of the axes 0 and 1 into a wedge. For rotations the
    angle is multiplied by the order, which maps the plane onto itself.

    Parameters
    ----------
    points : Tensor, shape (..., D)
        Relative to the centre, along the axes of the symmetry.
    kind : {"mirror", "rotation"}
    order : int
    """
    if kind == "mirror" and order == 1:
        return torch.cat([points[..., :1].abs(), points[..., 1:]], -1)
    radius = points[..., :2].norm(dim=-1).clamp(min=1e-12)
    angle = torch.atan2(points[..., 0], points[..., 1])
    if kind == "rotation":
        angle = angle * order
    else:
        sector = 2 * math.pi / order
        angle = (angle - sector * (angle / sector).round()).abs()
    plane = torch.stack([radius * angle.sin(), radius * angle.cos()], -1)
    return torch.cat([plane, points[..., 2:]], -1)


class SymmetricShape(ImplicitShape):
    """A shape that equals its images under a group of mirrors or rotations.

    Parameters
    ----------
    base : ImplicitShape
        In the coordinates ``y = axes @ (x - centre)``, folded or not.
    centre : Tensor, shape (D,)
        In shape coordinates.
    axes : Tensor, shape (D, D)
        Orthonormal rows; row 0 is normal to the first mirror.
    group : {"mirror", "rotation"}
    order : int
        Number of mirrors, or of rotations that make a full turn.
    folds : bool
        Whether points are folded, or the images meet.
    extent : sequence of float
        Side lengths of the image box.
    """

    kind = "symmetric"

    def __init__(
        self,
        base: ImplicitShape,
        centre: Tensor,
        axes: Tensor,
        *,
        group: str,
        order: int,
        folds: bool,
        extent: Sequence[float],
    ) -> None:
        super().__init__(extent)
        self.base = base
        self.centre: Tensor
        self.register_buffer("centre", centre.double())
        self.axes: Tensor
        self.register_buffer("axes", axes.double())
        self.group = group
        self.order = int(order)
        self.folds = bool(folds)

    @property
    def whiten(self) -> Tensor:
        """Linear part of the map to the coordinates of the base."""
        return self.axes

    def symmetry(self, scale: float) -> Symmetry:
        """Return the group in units of which `scale` make one of the shape's."""
        return Symmetry(
            kind=self.group,
            order=self.order,
            centre=tuple((self.centre * scale).tolist()),
            axes=tuple(tuple(row) for row in self.axes.tolist()),
        )

    def level(self, coords: Tensor, /) -> Tensor:
        """Level of points (..., D), shape (...); see the class."""
        turned = (coords.to(self.axes) - self.centre) @ self.axes.T
        if self.folds:
            return self.base.level(fold(turned, self.group, self.order))
        elements = group_elements(self.group, self.order, self.ndim)
        return torch.stack([self.base.level(turned @ e.T) for e in elements]).amax(0)

    def lifted(self, by: float) -> Self:
        """Return the set ``level <= by`` as a shape."""
        return type(self)(
            self.base.lifted(by),
            self.centre,
            self.axes,
            group=self.group,
            order=self.order,
            folds=self.folds,
            extent=self.extent,
        )

    def description(self) -> dict[str, Any]:
        """Return kind, extent, group and the description of the base."""
        return {
            "kind": self.kind,
            "extent": list(self.extent),
            "group": self.group,
            "order": self.order,
            "folds": self.folds,
            "base": self.base.description(),
        }

    @classmethod
    def from_tensors(
        cls, description: dict[str, Any], tensors: dict[str, Tensor]
    ) -> SymmetricShape:
        """Build the shape that `description` and `state_dict` describe."""
        from napari_implicitseg.shapes import build_shape

        return cls(
            build_shape(description["base"], tensors_under(tensors, "base.")),
            tensors["centre"],
            tensors["axes"],
            **{name: description[name] for name in ("group", "order", "folds", "extent")},
        )
