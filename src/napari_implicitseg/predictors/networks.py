"""Small networks that tell object from background, trained on the strokes of one image.

`pixel` and `teacher` look at the features of one cell at a time, `cnn` at those
of its neighbours, too. Cells without a stroke say nothing in training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import expit
from torch.nn import functional

from napari_implicitseg.descent_steps import Adam, torch_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from napari_implicitseg._types import BoolArray

__all__ = ["KINDS", "StrokeNetwork"]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a network is made of.

    Without the decay of squared weights networks are sure of what no stroke shows.
    """

    widths: tuple[int, ...]
    kernel: int
    rate: float
    decay: float
    steps: int


KINDS = {
    "pixel": _Kind((16,) * 5, 1, 0.01, 0.003, 150),
    "cnn": _Kind((16,) * 4, 3, 0.01, 0.01, 80),
    "teacher": _Kind((130, 130), 1, 0.005, 0.003, 150),
}
"""Networks by name: hidden widths, side of the kernels, peak rate, decay, steps of a cold fit."""

# A warm start needs fewer steps.
_WARM = 0.3
_MOST_CELLS = 4000
_NAMES = ("weight", "bias")


class StrokeNetwork:
    """A network from features to the probability of object.

    Parameters
    ----------
    kind : {"pixel", "cnn", "teacher"}
    seed : int
    state : mapping of str to ndarray, optional
        Weights of an earlier training on the same features to go on from.
    silent : bool
        Whether a network without an earlier training starts as 0 everywhere.

    Attributes
    ----------
    losses : list of float
        Cross-entropy at every step.
    """

    def __init__(
        self,
        kind: str,
        *,
        seed: int,
        state: Mapping[str, NDArray[np.float32]] | None = None,
        silent: bool = False,
    ) -> None:
        self._kind = KINDS[kind]
        self._seed = seed
        self._silent = silent
        self._earlier = dict(state or {})
        self._weights: list[Tensor] = []
        self._biases: list[Tensor] = []
        self.losses: list[float] = []

    @property
    def state(self) -> dict[str, NDArray[np.float32]]:
        """Weights, for a warm start."""
        named = zip(_NAMES, (self._weights, self._biases), strict=True)
        return {
            f"{name}.{i}": tensor.detach().numpy().copy()
            for name, tensors in named
            for i, tensor in enumerate(tensors)
        }

    def train(
        self,
        features: NDArray[np.float32],
        is_object: BoolArray,
        is_background: BoolArray,
        *,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Learn from strokes.

        Parameters
        ----------
        features : ndarray of float32, shape (C, *S)
            About of mean 0 and deviation 1.
        is_object, is_background : ndarray of bool, shape S
            Cells with strokes; both have some.
        check : callable
            Called before every step; may raise to cancel.
        """
        look, target, weight = self._examples(features, is_object, is_background)
        warm = self.start(len(features), look.ndim - 2)
        parameters = self.parameters
        optimiser = Adam([{"params": parameters, "lr": self._kind.rate}])
        steps = self._kind.steps
        with torch_threads(look.numel() * self._kind.widths[0]), torch.enable_grad():
            for step in range(int(steps * (1 - _WARM)) if warm else 0, steps):
                check()
                entropy = functional.binary_cross_entropy_with_logits(
                    self.odds(look), target, weight, reduction="sum"
                )
                grads = torch.autograd.grad(entropy + self.decay(), parameters)
                optimiser.step(grads, 0.5 * (1 + math.cos(math.pi * step / steps)))
                self.losses.append(float(entropy.detach()))

    @property
    def rate(self) -> float:
        """Peak learning rate."""
        return self._kind.rate

    @property
    def is_local(self) -> bool:
        """Whether it looks at one cell at a time."""
        return self._kind.kernel == 1

    @property
    def parameters(self) -> list[Tensor]:
        """Weights and biases, to be trained."""
        return [t.requires_grad_() for t in (*self._weights, *self._biases)]

    def decay(self) -> Tensor:
        """Cost of large weights."""
        return self._kind.decay * torch.stack([w.square().sum() for w in self._weights]).sum()

    def predict(self, features: NDArray[np.float32], *, finer: float = 1.0) -> NDArray[np.float32]:
        """Probability of object; see `log_odds`."""
        return np.asarray(expit(self.log_odds(features, finer=finer)), np.float32)

    def log_odds(self, features: NDArray[np.float32], *, finer: float = 1.0) -> NDArray[np.float32]:
        """Log odds of object for features (C, *S), shape S, of cells so many times finer."""
        look = torch.from_numpy(np.ascontiguousarray(features, np.float32))
        if self.is_local:
            look = look.flatten(1)
        with torch_threads(look.numel() * self._kind.widths[0]), torch.no_grad():
            odds = self.odds(look[None], finer)
        return np.asarray(odds.numpy().reshape(features.shape[1:]), np.float32)

    def _examples(
        self, features: NDArray[np.float32], is_object: BoolArray, is_background: BoolArray
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features, targets and weights of what is looked at; both classes weigh one half."""
        weight = np.zeros(is_object.shape, np.float32)
        weight[is_object] = 0.5 / np.count_nonzero(is_object)
        weight[is_background] = 0.5 / np.count_nonzero(is_background)
        target = is_object.astype(np.float32)
        if self.is_local:
            parts = [np.flatnonzero(part) for part in (is_object, is_background)]
            chosen = np.concatenate([p[:: max(1, len(p) // _MOST_CELLS)] for p in parts])
            features = features.reshape(len(features), -1)[:, chosen]
            target, weight = target.reshape(-1)[chosen], weight.reshape(-1)[chosen]
            weight /= weight.sum()
        else:
            box = _box(weight > 0, len(self._kind.widths) + 1)
            features, target, weight = features[:, *box], target[box], weight[box]
        look, *rest = (
            torch.from_numpy(np.ascontiguousarray(a, np.float32))[None]
            for a in (features, target, weight)
        )
        return look, rest[0], rest[1]

    def start(self, channels: int, ndim: int) -> bool:
        """Set the weights to go on from; returns whether they are those of an earlier training."""
        sizes = list(pairwise((channels, *self._kind.widths, 1)))
        ndim = 1 if self.is_local else ndim
        shapes = [(b, a, *(self._kind.kernel,) * ndim) for a, b in sizes]
        earlier = [self._earlier.get(f"weight.{i}") for i in range(len(sizes))]
        if all(
            w is not None and w.shape == shape for w, shape in zip(earlier, shapes, strict=True)
        ):
            names = range(len(sizes))
            self._weights = [torch.from_numpy(self._earlier[f"weight.{i}"].copy()) for i in names]
            self._biases = [torch.from_numpy(self._earlier[f"bias.{i}"].copy()) for i in names]
            return True
        generator = torch.Generator().manual_seed(self._seed)
        self._weights = [
            torch.randn(shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))
            for shape in shapes
        ]
        self._biases = [torch.zeros(b) for _, b in sizes]
        if self._silent:
            self._weights[-1].zero_()
        return False

    def odds(self, look: Tensor, finer: float = 1.0) -> Tensor:
        """Log odds of object for features (1, C, *S), shape (1, *S), of cells so much finer."""
        apart = max(1, round(finer))
        convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[look.ndim - 3]
        hidden = look
        for i, (weight, bias) in enumerate(zip(self._weights, self._biases, strict=True)):
            if i:
                hidden = torch.relu(hidden)
            padding = apart * (self._kind.kernel // 2)
            hidden = convolve(hidden, weight, bias, padding=padding, dilation=apart)
        return hidden[:, 0]


def _box(mask: BoolArray, margin: int) -> tuple[slice, ...]:
    """Box around what is true, with a margin, within the array."""
    found = np.argwhere(mask)
    low, high = found.min(axis=0) - margin, found.max(axis=0) + 1 + margin
    return tuple(
        slice(max(0, int(a)), min(n, int(b))) for a, b, n in zip(low, high, mask.shape, strict=True)
    )
