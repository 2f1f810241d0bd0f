"""What every implicit shape has in common.

Coordinates are the image box in physical units, scaled so that its longest
side is 1: voxel i of n along an axis has its centre at ``(i + 0.5) / n`` times
the side's length, so a square image is [0, 1]^2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import nn

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_implicitseg._types import BoolArray

__all__ = ["FramedShape", "ImplicitShape", "box_extent", "grid_axes", "tensors_under"]

_CHUNK = 1 << 18


def box_extent(shape: Sequence[int], spacing: Sequence[float]) -> tuple[float, ...]:
    """Side lengths of an image box in shape coordinates; the longest is 1."""
    sides = np.asarray(shape, float) * np.asarray(spacing, float)
    return tuple(float(s) for s in sides / (sides.max() or 1.0))


def grid_axes(
    shape: Sequence[int], extent: Sequence[float], region: Sequence[slice] | None = None
) -> list[NDArray[np.float64]]:
    """Coordinates of the voxel centres of a grid along each axis, cropped to a region."""
    boxes = region or [slice(None)] * len(shape)
    return [
        (np.arange(*box.indices(n), dtype=np.float64) + 0.5) * (side / n)
        for n, side, box in zip(shape, extent, boxes, strict=True)
    ]


def tensors_under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose name starts with a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


class ImplicitShape(nn.Module, ABC):
    """A set of points given by the sign of a function: ``level(coords) <= 0`` is inside.

    Parameters
    ----------
    extent : sequence of float
        Side lengths of the image box in shape coordinates; the longest is 1.
    """

    #: What the shape is called in a file.
    kind: ClassVar[str]

    def __init__(self, extent: Sequence[float]) -> None:
        super().__init__()
        self.extent = tuple(float(e) for e in extent)

    @property
    def ndim(self) -> int:
        """Number of axes of the space the shape lives in."""
        return len(self.extent)

    @property
    def uncut(self) -> ImplicitShape:
        """The shape without any planes that were cut off it."""
        return self

    @abstractmethod
    def level(self, coords: Tensor, /) -> Tensor:
        """Level of points; ``sigmoid(-level)`` is the probability of object.

        Parameters
        ----------
        coords : Tensor, shape (..., D)

        Returns
        -------
        Tensor, shape (...)
        """

    @abstractmethod
    def lifted(self, by: float) -> Self:
        """Return the set ``level <= by``, at least nearly, as a shape of its own."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Return what is needed besides the tensors to build the shape again, as JSON values."""

    @classmethod
    @abstractmethod
    def from_tensors(cls, description: dict[str, Any], tensors: dict[str, Tensor]) -> ImplicitShape:
        """Build a shape from its description and its tensors."""

    def forward(self, coords: Tensor) -> Tensor:
        """Return `level(coords)`."""
        return self.level(coords)

    def rasterize(
        self, shape: Sequence[int], *, region: Sequence[slice] | None = None
    ) -> BoolArray:
        """Mask of the shape on a grid over the image box.

        Parameters
        ----------
        shape : sequence of int
            Voxels of the whole box per axis: any resolution.
        region : sequence of slice, optional
            Crop of that grid to return, in its voxels.

        Returns
        -------
        ndarray of bool
            True where a voxel's centre is inside.
        """
        return np.asarray(self.sample(shape, region=region) <= 0)

    def sample(
        self, shape: Sequence[int], *, region: Sequence[slice] | None = None
    ) -> NDArray[np.float64]:
        """Levels at the voxel centres of a grid over the image box; see `rasterize`."""
        self._check_grid(shape, region)
        axes = [torch.from_numpy(a) for a in grid_axes(shape, self.extent, region)]
        size = tuple(len(a) for a in axes)
        out = np.empty(int(np.prod(size)))
        with torch.no_grad():
            points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, self.ndim)
            for begin in range(0, len(points), _CHUNK):
                chunk = points[begin : begin + _CHUNK]
                out[begin : begin + _CHUNK] = self.level(chunk).double().numpy()
        return out.reshape(size)

    def _check_grid(self, shape: Sequence[int], region: Sequence[slice] | None) -> None:
        """Raise an InputError unless grid and region have the shape's axes."""
        given = len(shape) if region is None else len(region)
        if len(shape) != self.ndim or given != self.ndim:
            raise InputError(
                f"The shape has {self.ndim} axes but the grid has {len(shape)} and the region "
                f"{given}. Give one number and one slice per axis."
            )


class FramedShape(ImplicitShape):
    """A shape given in coordinates of its own: ``y = whiten @ (x - centre)``.

    Parameters
    ----------
    whiten : Tensor, shape (D, D)
        Linear part of the fixed map.
    centre : Tensor, shape (D,)
        Point the fixed map takes to 0, in shape coordinates.
    extent : sequence of float
        Side lengths of the image box.
    """

    def __init__(self, whiten: Tensor, centre: Tensor, *, extent: Sequence[float]) -> None:
        super().__init__(extent)
        self.whiten: Tensor
        self.register_buffer("whiten", whiten.double())
        self.centre: Tensor
        self.register_buffer("centre", centre.double())

    def whitened(self, coords: Tensor) -> Tensor:
        """Map points (..., D) to the shape's own coordinates."""
        return (coords.to(self.whiten) - self.centre) @ self.whiten.T
