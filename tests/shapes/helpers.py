"""Shapes of random parameters."""

from __future__ import annotations

from itertools import pairwise

import torch

from napari_implicitseg.shapes import ConnectedShape, FreeShape, Polytope, StarShape
from napari_implicitseg.shapes.flow import Flow, LatticeFlow, RealNVP

BOX = {2: (1.0, 0.7), 3: (0.6, 1.0, 0.8)}
# Nodes a side, and the standard deviations of the logits that fits of spirals end with.
FITTED = {
    2: {3: 0.14, 5: 0.2, 9: 0.2, 17: 0.155, 33: 0.12},
    3: {3: 0.14, 5: 0.2, 9: 0.2, 13: 0.16},
}
LAYERS = {2: 8, 3: 9}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unit_rows(count: int, ndim: int, g: torch.Generator) -> torch.Tensor:
    """Directions drawn at random."""
    rows = torch.randn(count, ndim, generator=g, dtype=torch.float64)
    return rows / rows.norm(dim=1, keepdim=True)


def like_fits(g: torch.Generator, ndim: int, strength: float = 1.0) -> LatticeFlow:
    """One lattice flow whose logits are as strong as, or so many times stronger than, of fits."""
    return LatticeFlow(
        [
            strength
            * deviation
            * torch.randn(
                (1, LAYERS[ndim], *(n,) * (ndim - 1), n - 1), generator=g, dtype=torch.float64
            )
            for n, deviation in FITTED[ndim].items()
        ]
    )


def realnvp(seed: int, ndim: int, *, count: int = 1) -> RealNVP:
    """Affine couplings that differ within a batch and are far from the identity."""
    g = generator(seed)
    flow = RealNVP.random(count, ndim, layers=6, width=16, generator=g, dtype=torch.float64)
    with torch.no_grad():
        for tensor in flow.parameters():
            tensor += 0.3 * torch.randn(tensor.shape, generator=g, dtype=torch.float64)
    return flow


def polytope(g: torch.Generator, ndim: int, middle: torch.Tensor, size: float = 1.0) -> Polytope:
    """Log-sum-exp of planes 0.05 to 0.4 sizes away from a point."""
    planes = 12 if ndim == 2 else 24
    return Polytope(
        unit_rows(planes, ndim, g),
        size * (0.05 + 0.35 * torch.rand(planes, generator=g)),
        torch.eye(ndim),
        middle,
        kappa=25.0 / size,
        sharpness=80.0 / size,
        extent=(1.0,) * ndim,
    )


def connected(
    seed: int, ndim: int, strength: float = 1.0, *, flow: Flow | None = None
) -> ConnectedShape:
    """Random planes after a random flow of the whole image."""
    g = generator(seed)
    head = polytope(g, ndim, 0.2 + 0.6 * torch.rand(ndim, generator=g))
    sides = torch.tensor(BOX[ndim])
    return ConnectedShape(
        flow or like_fits(g, ndim, strength), head, 0 * sides, sides, extent=BOX[ndim]
    )


def star(
    seed: int, ndim: int, *, rough: float = 0.4, middle: float = 0.35, scale: float = 8.0
) -> StarShape:
    """Radii of random logarithms about a heart that is off the centre."""
    g = generator(seed)
    count = 48 if ndim == 2 else 120
    return StarShape(
        0.3 * torch.randn(ndim, generator=g),
        rough * torch.randn(count, generator=g),
        unit_rows(count, ndim, g),
        scale * torch.eye(ndim) + 0.1 * scale * torch.randn(ndim, ndim, generator=g),
        torch.full((ndim,), middle),
        kappa=25.0,
        sharpness=40.0,
        extent=BOX[ndim],
    )


def free(seed: int, ndim: int, *, middle: float = 0.35) -> FreeShape:
    """Random network on random features, within a ball of radius 1.5; its centre is inside."""
    g = generator(seed)
    sizes = (ndim + 2 * 16, 24, 24, 1)
    pairs = list(pairwise(sizes))
    shape = FreeShape(
        torch.tensor([1.5]),
        2 * torch.randn((ndim, 16), generator=g),
        [torch.randn((1, a, b), generator=g) * (2 / a) ** 0.5 for a, b in pairs],
        [torch.randn((1, 1, b), generator=g) for _, b in pairs],
        6 * torch.eye(ndim),
        torch.full((ndim,), middle),
        extent=BOX[ndim],
    )
    with torch.no_grad():
        shape.biases[-1].sub_(shape.level(shape.centre[None]) + 0.1)
    return shape
