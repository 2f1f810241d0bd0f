"""Flows: invertible maps that bend a convex set into any shape that is one piece.

The pre-image of a convex set under a homeomorphism is path-connected. That is
a statement about the space the flow acts on: a `LatticeFlow` maps the box
``[0, 1]^D`` onto itself, so what it bends stays one piece *within the box*. A
`RealNVP` acts on the whole space; cut off at the border of an image, the same
set may fall into several pieces.

All flows here are batches: B flows of one size, each with points of its own.

References
----------
Dinh, Sohl-Dickstein, Bengio 2017, "Density estimation using Real NVP".
Müller et al. 2019, "Neural Importance Sampling" (piecewise couplings on the
unit box).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from torch import Tensor

__all__ = ["Flow", "LatticeFlow", "RealNVP", "build_flow"]

# Most that the logarithm of a slope may differ from the mean one of its line, per layer:
# without a cap filaments get thinner than any grid.
_CAP = 1.0


class Flow(nn.Module, ABC):
    """A batch of B homeomorphisms of D-dimensional space, or of the unit box."""

    #: What the flow is called in a file.
    kind: ClassVar[str]

    @property
    @abstractmethod
    def ndim(self) -> int:
        """Number of axes, D."""

    @abstractmethod
    def forward(self, points: Tensor) -> Tensor:
        """Map points (B, M, D); returns the same shape."""

    @abstractmethod
    def inverse(self, points: Tensor) -> Tensor:
        """Map points (B, M, D) back; returns the same shape."""

    @abstractmethod
    def rows(self, first: int, last: int) -> Self:
        """Return the flows `first` to `last` (exclusive) of the batch, as copies."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Return what is needed besides the tensors to build the flow again, as JSON values."""


class LatticeFlow(Flow):
    """Lattice coupling flow on the unit box: each layer bends one axis.

    Layer l maps ``x_j -> f(x_others, x_j)`` with ``j = l mod D``: a table over a
    lattice, linear between its nodes, that rises along ``x_j`` from exactly 0
    to exactly 1. So each layer maps the box onto itself, every face onto
    itself, and its inverse along a line is that of a piecewise linear function.
    The logits of the increments are summed over lattices of several sizes, from
    coarse to fine.

    Parameters
    ----------
    logits : sequence of Tensor
        Of each lattice of n nodes a side: shape (B, L, n, ..., n, n - 1) with
        L layers and D - 1 times n; the last axis is the bent one.
    """

    kind = "lattice"

    def __init__(self, logits: Sequence[Tensor]) -> None:
        super().__init__()
        self.logits = nn.ParameterList([nn.Parameter(lattice.clone()) for lattice in logits])

    @classmethod
    def identity(
        cls, count: int, ndim: int, *, layers: int, sizes: Sequence[int], dtype: torch.dtype
    ) -> LatticeFlow:
        """Return `count` flows that change nothing, with lattices of `sizes` nodes a side."""
        return cls(
            [torch.zeros((count, layers, *(n,) * (ndim - 1), n - 1), dtype=dtype) for n in sizes]
        )

    @property
    def ndim(self) -> int:
        """Number of axes, D."""
        return int(self.logits[0].ndim) - 2

    @property
    def layers(self) -> int:
        """Number of layers, L."""
        return int(self.logits[0].shape[1])

    @property
    def sizes(self) -> tuple[int, ...]:
        """Nodes a side of the lattices, from coarse to fine."""
        return tuple(lattice.shape[-1] + 1 for lattice in self.logits)

    def tables(self) -> tuple[Tensor, ...]:
        """Values of f at the nodes of each layer, shape (B, n, ..., n): 0 to 1 along the last."""
        coarsest, *finer = self.logits
        total: Tensor = coarsest
        for lattice in finer:
            total = _refined(total, lattice.shape[2:]) + lattice
        steps = torch.softmax(_CAP * torch.tanh(total / _CAP), -1)
        zero = torch.zeros_like(steps[..., :1])
        # The sum of the steps is 1 up to rounding: the end has to be exact.
        return torch.cat([zero, steps[..., :-1].cumsum(-1), zero + 1], -1).unbind(1)

    def forward(self, points: Tensor) -> Tensor:
        """Map points (B, M, D) of the unit box."""
        return self.bend(points, self.tables())

    def bend(self, points: Tensor, tables: Sequence[Tensor]) -> Tensor:
        """Map points (B, M, D) by tables found before; saves finding them again."""
        columns = list(points.unbind(-1))
        for layer, table in enumerate(tables):
            axis = layer % self.ndim
            others = [c for i, c in enumerate(columns) if i != axis]
            columns[axis] = _looked_up(table, [*others, columns[axis]])
        return torch.stack(columns, -1)

    def inverse(self, points: Tensor) -> Tensor:
        """Map points (B, M, D) of the unit box back, in closed form."""
        columns = list(points.unbind(-1))
        tables = self.tables()
        for layer in reversed(range(len(tables))):
            axis = layer % self.ndim
            others = [c for i, c in enumerate(columns) if i != axis]
            columns[axis] = _line_inverse(_lines(tables[layer], others), columns[axis])
        return torch.stack(columns, -1)

    def rows(self, first: int, last: int) -> LatticeFlow:
        """Return some flows of the batch, as copies."""
        return LatticeFlow([lattice.detach()[first:last] for lattice in self.logits])

    def description(self) -> dict[str, Any]:
        """Return kind and number of lattices."""
        return {"kind": self.kind, "lattices": len(self.logits)}


class RealNVP(Flow):
    """Affine coupling flow on the whole space: the one of Dinh et al. 2017.

    Layer l maps ``u_j -> u_j exp(s(u_others)) + t(u_others)`` with
    ``j = l mod D`` and ``u = 2 x - 1``; s and t come from one small network per
    layer, s bounded by tanh.

    Parameters
    ----------
    weights : sequence of sequence of Tensor
        Per layer the matrices of its network, shapes (B, D - 1, W),
        (B, W, W), (B, W, 2).
    biases : sequence of sequence of Tensor
        Shapes (B, 1, W), (B, 1, W), (B, 1, 2).
    """

    kind = "realnvp"

    def __init__(
        self, weights: Sequence[Sequence[Tensor]], biases: Sequence[Sequence[Tensor]]
    ) -> None:
        super().__init__()
        self.depth = len(weights[0])
        self.weights = nn.ParameterList([nn.Parameter(w.clone()) for ws in weights for w in ws])
        self.biases = nn.ParameterList([nn.Parameter(b.clone()) for bs in biases for b in bs])

    @classmethod
    def random(
        cls,
        count: int,
        ndim: int,
        *,
        layers: int,
        width: int,
        generator: torch.Generator,
        dtype: torch.dtype,
    ) -> RealNVP:
        """Return `count` equal flows near the identity, with random first layers."""
        sizes = (ndim - 1, width, width, 2)
        weights, biases = [], []
        for _ in range(layers):
            made = [
                torch.randn((1, a, b), generator=generator, dtype=dtype) * (2 / a) ** 0.5
                for a, b in pairwise(sizes)
            ]
            made[-1] *= 0.01
            weights.append([w.expand(count, -1, -1) for w in made])
            bends = torch.randn((1, 1, width), generator=generator, dtype=dtype)
            zeros = [torch.zeros((1, 1, n), dtype=dtype) for n in sizes[2:]]
            biases.append([b.expand(count, -1, -1) for b in (bends, *zeros)])
        return cls(weights, biases)

    @property
    def ndim(self) -> int:
        """Number of axes, D."""
        return int(self.weights[0].shape[1]) + 1

    @property
    def _layers(self) -> int:
        return len(self.weights) // self.depth

    def forward(self, points: Tensor) -> Tensor:
        """Map points (B, M, D)."""
        columns = list((2 * points - 1).unbind(-1))
        for layer in range(self._layers):
            axis = layer % self.ndim
            scale, shift = self._coupling(layer, columns)
            columns[axis] = columns[axis] * scale.exp() + shift
        return (torch.stack(columns, -1) + 1) / 2

    def inverse(self, points: Tensor) -> Tensor:
        """Map points (B, M, D) back."""
        columns = list((2 * points - 1).unbind(-1))
        for layer in reversed(range(self._layers)):
            axis = layer % self.ndim
            scale, shift = self._coupling(layer, columns)
            columns[axis] = (columns[axis] - shift) * (-scale).exp()
        return (torch.stack(columns, -1) + 1) / 2

    def _coupling(self, layer: int, columns: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logarithm of the scale, and the shift, of one layer: (B, M) each."""
        axis = layer % self.ndim
        hidden = torch.stack([c for i, c in enumerate(columns) if i != axis], -1)
        begin = layer * self.depth
        for i in range(begin, begin + self.depth):
            hidden = torch.baddbmm(self.biases[i], hidden, self.weights[i])
            if i < begin + self.depth - 1:
                hidden = torch.relu(hidden)
        return torch.tanh(hidden[..., 0]), hidden[..., 1]

    def rows(self, first: int, last: int) -> RealNVP:
        """Return some flows of the batch, as copies."""
        weights, biases = (
            [tensor.detach()[first:last] for tensor in tensors]
            for tensors in (self.weights, self.biases)
        )
        begins = range(0, len(weights), self.depth)
        return RealNVP(
            [weights[i : i + self.depth] for i in begins],
            [biases[i : i + self.depth] for i in begins],
        )

    def description(self) -> dict[str, Any]:
        """Return kind, number of layers and matrices per layer."""
        return {"kind": self.kind, "layers": self._layers, "depth": self.depth}


def build_flow(description: dict[str, Any], tensors: dict[str, Tensor]) -> Flow:
    """Build a flow from `description()` and `state_dict()` of the one that was saved.

    Raises
    ------
    KeyError
        If a tensor is missing or the kind is unknown.
    """
    if description["kind"] == LatticeFlow.kind:
        return LatticeFlow([tensors[f"logits.{i}"] for i in range(description["lattices"])])
    if description["kind"] == RealNVP.kind:
        size = description["layers"], description["depth"]
        return RealNVP(_grouped(tensors, "weights", *size), _grouped(tensors, "biases", *size))
    raise KeyError(description["kind"])


def _grouped(tensors: dict[str, Tensor], name: str, layers: int, each: int) -> list[list[Tensor]]:
    """Return the tensors of a parameter list, layer by layer."""
    return [[tensors[f"{name}.{layer * each + i}"] for i in range(each)] for layer in range(layers)]


def _refined(table: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate coarse tables (B, L, ...) to the nodes of finer ones."""
    mode = "bilinear" if len(size) == 2 else "trilinear"
    return functional.interpolate(table, size=tuple(size), mode=mode, align_corners=True)


def _looked_up(table: Tensor, columns: Sequence[Tensor]) -> Tensor:
    """Interpolate tables (B, n, ..., n) linearly at points given by D columns (B, M)."""
    # grid_sample wants coordinates in -1..1, the last axis first.
    grid = torch.stack(list(reversed(columns)), -1) * 2 - 1
    grid = grid[:, None] if len(columns) == 2 else grid[:, None, None]
    values = functional.grid_sample(
        table[:, None], grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    return values.flatten(1)


def _lines(table: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Interpolate tables (B, n, ..., K) over all axes but the last, (B, M, K)."""
    nodes = table.shape[1]
    batch = torch.arange(len(table), device=table.device)[:, None]
    scaled = [c.clamp(0, 1) * (nodes - 1) for c in others]
    lower = [s.floor().clamp(max=nodes - 2).long() for s in scaled]
    out = torch.zeros((), dtype=table.dtype, device=table.device)
    for corner in product((0, 1), repeat=len(others)):
        share = torch.ones_like(scaled[0])
        for s, low, side in zip(scaled, lower, corner, strict=True):
            share = share * (s - low if side else 1 - (s - low))
        index = [low + side for low, side in zip(lower, corner, strict=True)]
        out = out + share[..., None] * table[(batch, *index)]
    return out


def _line_inverse(lines: Tensor, values: Tensor) -> Tensor:
    """Where rising lines (B, M, K) over [0, 1] take values (B, M)."""
    last = lines.shape[-1] - 2
    values = values.clamp(0, 1)[..., None].contiguous()
    piece = (torch.searchsorted(lines.contiguous(), values, right=True) - 1).clamp(0, last)
    low, high = (lines.gather(-1, piece + i) for i in (0, 1))
    return ((piece + (values - low) / (high - low)) / (last + 1))[..., 0]
