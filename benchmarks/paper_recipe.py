"""The path-connectedness paper's own recipe for a full mask, to measure against.

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

from napari_implicitseg.fitting.published import BATCH, EPOCHS, EXTRA, RATE, box_coordinates
from napari_implicitseg.shapes.published import PublishedNetwork

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["EPOCHS", "Outcome", "fit"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A mask, and what it took: epochs, steps and CPU seconds."""

    mask: NDArray[np.bool_]
    epochs: int
    steps: int
    seconds: float


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
    points, truth = box_coordinates(mask.shape), torch.from_numpy(mask.ravel().copy()).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, steps = _trained(points, truth, labelled, epochs)
    inside = _draw(model, points).reshape(mask.shape)
    return Outcome(inside, epochs, steps, time.process_time() - begin)


def _trained(
    points: Tensor, truth: Tensor, labelled: int | None, epochs: int
) -> tuple[PublishedNetwork, int]:
    """Model after so many epochs, and the steps they took."""
    order = torch.randperm(len(points))
    fixed, others = order[:labelled], order[labelled or len(order) :]
    model = PublishedNetwork(points.shape[1], flow=True)
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    steps = 0
    for _ in range(epochs):
        extra = others[torch.randint(len(others), (EXTRA,))] if len(others) else others
        chosen = torch.cat([fixed, extra])
        for batch in chosen[torch.randperm(len(chosen))].split(BATCH):
            _step(model, optimiser, points[batch], truth[batch])
            steps += 1
    return model, steps


def _step(
    model: PublishedNetwork, optimiser: torch.optim.Optimizer, points: Tensor, truth: Tensor
) -> None:
    """One step of binary cross-entropy."""
    optimiser.zero_grad()
    nn.functional.binary_cross_entropy_with_logits(-model(points), truth).backward()
    optimiser.step()
    model.clamp()


@torch.no_grad()
def _draw(model: PublishedNetwork, points: Tensor) -> NDArray[np.bool_]:
    """Voxels inside, in blocks."""
    return torch.cat([model(block) <= 0 for block in points.split(1 << 16)]).numpy()
