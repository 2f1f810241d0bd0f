"""Convex shapes: a smooth polytope, and an input-convex network.

Both levels are convex functions of the coordinates, so the set ``level <= 0``
is convex for every value of their parameters.

References
----------
Amos, Xu, Kolter 2017, "Input Convex Neural Networks".
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from napari_implicitseg.shapes.base import FramedShape, grid_axes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_implicitseg._types import BoolArray

__all__ = ["ConvexNetwork", "Polytope"]

# Half the side of a raster tile, in units of 1 / (sharpness of the planes): keeps exp() finite.
_TILE_EXPONENT = 300.0


class Polytope(FramedShape):
    """Log-sum-exp of planes: a convex polytope with rounded edges.

    ``level(x) = sharpness * log(sum_i exp(kappa * (n_i . y - h_i))) / kappa`` with
    ``y = whiten @ (x - centre)``.

    Parameters
    ----------
    normals : Tensor, shape (P, D)
        Unit normals of the planes.
    offsets : Tensor, shape (P,)
        Distance of each plane from the centre, in whitened coordinates.
    whiten : Tensor, shape (D, D)
        Linear part of the fixed map to whitened coordinates.
    centre : Tensor, shape (D,)
        Point the fixed map takes to 0, in shape coordinates.
    kappa : float
        Sharpness of the edges between planes.
    sharpness : float
        Slope of the level across the boundary.
    extent : sequence of float
        Side lengths of the image box.
    """

    kind = "polytope"

    def __init__(
        self,
        normals: Tensor,
        offsets: Tensor,
        whiten: Tensor,
        centre: Tensor,
        *,
        kappa: float,
        sharpness: float,
        extent: Sequence[float],
    ) -> None:
        super().__init__(whiten, centre, extent=extent)
        self.normals = nn.Parameter(normals.double())
        self.offsets = nn.Parameter(offsets.double())
        self.kappa = float(kappa)
        self.sharpness = float(sharpness)

    def level(self, coords: Tensor, /) -> Tensor:
        """Level of points (..., D), shape (...); see the class."""
        whitened = self.whitened(coords)
        planes = whitened @ self.normals.T - self.offsets
        return self.sharpness / self.kappa * torch.logsumexp(self.kappa * planes, dim=-1)

    def rasterize(
        self, shape: Sequence[int], *, region: Sequence[slice] | None = None
    ) -> BoolArray:
        """Mask on a grid over the image box; see `ImplicitShape.rasterize`.

        The sum of exponentials separates over the axes, so few have to be
        computed; the mask of each row is found by bisection.
        """
        self._check_grid(shape, region)
        with torch.no_grad():
            normals = (self.kappa * self.normals @ self.whiten).cpu().numpy()
            offsets = (self.kappa * self.offsets).cpu().numpy()
        axes = grid_axes(shape, self.extent, region)
        axes = [a - c for a, c in zip(axes, self.centre.cpu().numpy(), strict=True)]
        out = np.zeros([len(a) for a in axes], bool)
        lengths = _tile_lengths(axes, normals)
        for start in np.ndindex(*[-(-len(a) // n) for a, n in zip(axes, lengths, strict=True)]):
            box = tuple(slice(i * n, (i + 1) * n) for i, n in zip(start, lengths, strict=True))
            tile = [a[b] for a, b in zip(axes, box, strict=True)]
            _fill_tile(out[box], tile, normals, offsets)
        return out

    def lifted(self, by: float) -> Self:
        """Return the set ``level <= by`` as a polytope: its planes moved outwards."""
        out = copy.deepcopy(self)
        with torch.no_grad():
            out.offsets.add_(by / self.sharpness)
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
    def from_tensors(cls, description: dict[str, Any], tensors: dict[str, Tensor]) -> Polytope:
        """Build the polytope that `description` and `state_dict` describe."""
        return cls(
            tensors["normals"],
            tensors["offsets"],
            tensors["whiten"],
            tensors["centre"],
            kappa=description["kappa"],
            sharpness=description["sharpness"],
            extent=description["extent"],
        )


def _tile_lengths(axes: list[NDArray[np.float64]], normals: NDArray[np.float64]) -> list[int]:
    """Voxels per axis of a tile in which no exponential over- or underflows harmfully."""
    lengths = []
    for axis, slope in zip(axes, np.abs(normals).max(axis=0), strict=True):
        pitch = abs(axis[1] - axis[0]) if len(axis) > 1 else 0.0
        room = _TILE_EXPONENT / len(axes) / max(slope * pitch, 1e-12)
        lengths.append(int(np.clip(2 * room, 1, max(len(axis), 1))))
    return lengths


def _fill_tile(
    out: BoolArray,
    axes: list[NDArray[np.float64]],
    normals: NDArray[np.float64],
    offsets: NDArray[np.float64],
) -> None:
    """Set the voxels of a small grid with ``sum_i exp(normals_i . x - offsets_i) <= 1``."""
    from napari_implicitseg.shapes._rows import fill_rows

    middle = np.array([(a[0] + a[-1]) / 2 for a in axes])
    with np.errstate(over="ignore", under="ignore"):
        rows = np.exp(normals @ middle - offsets)[None]
        factors = [
            np.exp(np.outer(a - m, n)) for a, m, n in zip(axes, middle, normals.T, strict=True)
        ]
        for factor in factors[:-1]:
            rows = (rows[:, None] * factor).reshape(-1, len(offsets))
    lines = np.zeros((len(rows), len(axes[-1])), bool)
    fill_rows(rows, factors[-1], lines)
    out[:] = lines.reshape(out.shape)


class ConvexNetwork(FramedShape):
    """Input-convex network: ``z_{i+1} = relu(Wz_i z_i + Wx_i x + b_i)``, ``Wz >= 0``.

    The last layer is linear. Negative entries of ``Wz`` are clamped to 0 on
    use, so the level is convex whatever the parameters are. The inputs are
    moved and scaled by a fixed affine map first, which keeps convexity.

    Parameters
    ----------
    hidden : list of Tensor, shapes (W, W) and last (1, W)
        ``Wz`` of all layers but the first.
    skip : list of Tensor, shapes (W, D) and last (1, D)
        ``Wx`` of all layers.
    bias : list of Tensor, shapes (W,) and last (1,)
    whiten : Tensor, shape (D, D)
        Linear part of the fixed map.
    centre : Tensor, shape (D,)
        Point the fixed map takes to 0.
    extent : sequence of float
        Side lengths of the image box.
    """

    kind = "icnn"

    def __init__(
        self,
        hidden: Sequence[Tensor],
        skip: Sequence[Tensor],
        bias: Sequence[Tensor],
        whiten: Tensor,
        centre: Tensor,
        *,
        extent: Sequence[float],
    ) -> None:
        super().__init__(whiten, centre, extent=extent)
        self.hidden = nn.ParameterList([nn.Parameter(w.double()) for w in hidden])
        self.skip = nn.ParameterList([nn.Parameter(w.double()) for w in skip])
        self.bias = nn.ParameterList([nn.Parameter(b.double()) for b in bias])

    def level(self, coords: Tensor, /) -> Tensor:
        """Level of points (..., D), shape (...); see the class."""
        x = self.whitened(coords)
        z = torch.relu(nn.functional.linear(x, self.skip[0], self.bias[0]))
        last = len(self.hidden) - 1
        for i, weight in enumerate(self.hidden):
            z = nn.functional.linear(z, weight.clamp(min=0))
            z = z + nn.functional.linear(x, self.skip[i + 1], self.bias[i + 1])
            if i < last:
                z = torch.relu(z)
        return z.squeeze(-1)

    def lifted(self, by: float) -> Self:
        """Return the set ``level <= by`` as a network: its last bias is less."""
        out = copy.deepcopy(self)
        with torch.no_grad():
            out.bias[-1].sub_(by)
        return out

    def description(self) -> dict[str, Any]:
        """Return kind, extent and the number of layers."""
        return {"kind": self.kind, "extent": list(self.extent), "layers": len(self.hidden)}

    @classmethod
    def from_tensors(cls, description: dict[str, Any], tensors: dict[str, Tensor]) -> ConvexNetwork:
        """Build the network that `description` and `state_dict` describe."""
        layers = description["layers"]
        return cls(
            [tensors[f"hidden.{i}"] for i in range(layers)],
            [tensors[f"skip.{i}"] for i in range(layers + 1)],
            [tensors[f"bias.{i}"] for i in range(layers + 1)],
            tensors["whiten"],
            tensors["centre"],
            extent=description["extent"],
        )
