"""How weights are moved, and averaged over steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from napari_implicitseg.training.task import LoopOptions

__all__ = ["make_optimizer", "moving_average"]


def moving_average(average: float) -> Any:
    """Average the weights, over fewer steps at first: they are far from good there."""

    def blend(kept: list[Tensor], new: list[Tensor], count: Tensor) -> None:
        if not kept[0].is_floating_point():  # Counters of batch norm.
            for old, value in zip(kept, new, strict=True):
                old.copy_(value)
            return
        steps = int(count)
        decay = min(average, (1 + steps) / (10 + steps))
        for old, value in zip(kept, new, strict=True):
            old.lerp_(value, 1 - decay)

    return torch.no_grad()(blend)


def make_optimizer(network: nn.Module, config: LoopOptions) -> torch.optim.Optimizer:
    """AdamW; biases and norms do not decay."""
    large = [p for p in network.parameters() if p.ndim > 1]
    small = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": large, "weight_decay": config.weight_decay},
        {"params": small, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
