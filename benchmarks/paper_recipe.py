"""The path-connectedness paper's own recipe, written anew in plain torch, to measure against.

An input-convex network after a RealNVP flow on coordinates in [-1, 1], trained
by Adam at 1e-4 on binary cross-entropy, in batches of 1500, over 300 epochs
(Schneider et al., "Implicit Representations for Constrained Image
Segmentation", ICML 2024). There, strokes are the training set and 1200 random
unlabelled pixels are added to it at each epoch. From a full mask two readings
are possible, and both can be measured: every pixel is labelled (``labelled``
None), or a fixed sample is, and the 1200 come on top of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["EPOCHS", "Outcome", "PathConnected", "fit"]

EPOCHS = 300
_BATCH = 1500
_EXTRA = 1200
_RATE = 1e-4
_COUPLINGS, _HIDDEN = 6, 64
_LAYERS, _WIDTH = 3, 130


@dataclass(frozen=True, slots=True)
class Outcome:
    """A mask, and what it took: epochs, steps and CPU seconds."""

    mask: NDArray[np.bool_]
    epochs: int
    steps: int
    seconds: float


class AffineCoupling(nn.Module):
    """Scale and shift one coordinate by a network of the others (Dinh et al. 2017)."""

    def __init__(self, ndim: int, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.others = [a for a in range(ndim) if a != axis]
        self.network = nn.Sequential(
            nn.Linear(ndim - 1, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, 2),
        )
        # The flow starts as the identity.
        nn.init.zeros_(self.network[-1].weight)
        nn.init.zeros_(self.network[-1].bias)

    def forward(self, x: Tensor) -> Tensor:
        """Points (N, D) to points."""
        scale, shift = self.network(x[:, self.others]).unbind(-1)
        columns = list(x.unbind(-1))
        columns[self.axis] = columns[self.axis] * torch.exp(torch.tanh(scale)) + shift
        return torch.stack(columns, -1)


class ConvexNetwork(nn.Module):
    """Input-convex network (Amos et al. 2017): weights between its layers stay non-negative."""

    def __init__(self, ndim: int) -> None:
        super().__init__()
        widths = [_WIDTH] * (_LAYERS - 1) + [1]
        self.first = nn.Linear(ndim, _WIDTH)
        self.skips = nn.ModuleList(nn.Linear(ndim, w) for w in widths)
        self.inner = nn.ModuleList(nn.Linear(_WIDTH, w, bias=False) for w in widths)
        self.clamp()

    def forward(self, x: Tensor) -> Tensor:
        """Points (N, D) to levels (N,)."""
        z = torch.relu(self.first(x))
        for skip, inner in zip(self.skips[:-1], self.inner[:-1], strict=True):
            z = torch.relu(inner(z) + skip(x))
        return (self.inner[-1](z) + self.skips[-1](x))[:, 0]

    @torch.no_grad()
    def clamp(self) -> None:
        """Set negative weights between layers to 0."""
        for layer in self.inner:
            layer.weight.clamp_(min=0)


class PathConnected(nn.Module):
    """A convex level after a flow of the whole plane."""

    def __init__(self, ndim: int) -> None:
        super().__init__()
        self.flow = nn.Sequential(*(AffineCoupling(ndim, k % ndim) for k in range(_COUPLINGS)))
        self.convex = ConvexNetwork(ndim)

    def forward(self, x: Tensor) -> Tensor:
        """Points (N, D) to levels (N,); at most 0 is inside."""
        return self.convex(self.flow(x))


def _coordinates(shape: tuple[int, ...]) -> Tensor:
    """Voxel centres, the longest axis over [-1, 1], (N, D)."""
    longest = max(shape)
    axes = [(2 * torch.arange(n) + 1 - n) / longest for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(shape))


def fit(
    mask: NDArray[np.bool_], *, labelled: int | None = None, epochs: int = EPOCHS, seed: int = 0
) -> Outcome:
    """Train the recipe on a mask and draw what it learned.

    Parameters
    ----------
    mask : ndarray of bool, 2D or 3D
    labelled : int, optional
        Size of the fixed training set, drawn at random; all voxels if None.
        1200 others are added at each epoch where there are others.
    epochs : int
        300 in the paper; fewer cut the schedule off.
    seed : int
        Of the start, the sample and the batches.
    """
    begin = time.process_time()
    points, truth = _coordinates(mask.shape), torch.from_numpy(mask.ravel().copy()).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, steps = _trained(points, truth, labelled, epochs)
    inside = _draw(model, points).reshape(mask.shape)
    return Outcome(inside, epochs, steps, time.process_time() - begin)


def _trained(
    points: Tensor, truth: Tensor, labelled: int | None, epochs: int
) -> tuple[PathConnected, int]:
    """Model after so many epochs, and the steps they took."""
    order = torch.randperm(len(points))
    fixed, others = order[:labelled], order[labelled or len(order) :]
    model = PathConnected(points.shape[1])
    optimiser = torch.optim.Adam(model.parameters(), lr=_RATE)
    steps = 0
    for _ in range(epochs):
        extra = others[torch.randint(len(others), (_EXTRA,))] if len(others) else others
        chosen = torch.cat([fixed, extra])
        for batch in chosen[torch.randperm(len(chosen))].split(_BATCH):
            _step(model, optimiser, points[batch], truth[batch])
            steps += 1
    return model, steps


def _step(
    model: PathConnected, optimiser: torch.optim.Optimizer, points: Tensor, truth: Tensor
) -> None:
    """One step of binary cross-entropy."""
    optimiser.zero_grad()
    nn.functional.binary_cross_entropy_with_logits(-model(points), truth).backward()
    optimiser.step()
    model.convex.clamp()


@torch.no_grad()
def _draw(model: PathConnected, points: Tensor) -> NDArray[np.bool_]:
    """Voxels inside, in blocks."""
    return torch.cat([model(block) <= 0 for block in points.split(1 << 16)]).numpy()
