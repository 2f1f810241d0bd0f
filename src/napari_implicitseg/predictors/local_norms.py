"""Norms whose answer at a voxel depends on nothing far away once training is over.

Tiled prediction can only equal whole prediction if no layer looks at the whole
tile. In evaluation every norm here is an affine map per channel, which can be
folded into the convolution before it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, get_args

import torch
from torch import nn
from torch.nn import functional

from napari_implicitseg.config import NormKind

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["NORMS", "LocalGroupNorm", "affine_of", "make_norm"]

NORMS: tuple[NormKind, ...] = get_args(NormKind)
"""Names of norms: batch norm, group norm with running statistics, none."""

# Groups have about so many channels.
_GROUP = 8
_BATCH_MOMENTUM = 0.05


class LocalGroupNorm(nn.Module):
    """Group norm in training; in evaluation the running averages of its statistics.

    Group norm (Wu and He 2018) needs no large batches, but its mean and variance
    are those of the whole sample: a tile is normed otherwise than the volume it
    was cut from, and tiled prediction shows seams. So evaluation uses running
    averages over training, as batch norm does. The price is batch norm's: what
    was learnt with the statistics of patches is applied with their average, which
    suits volumes whose intensities have been normed.

    Parameters
    ----------
    channels : int
    groups : int
        A divisor of `channels`.
    momentum : float
        Weight of a batch in the running averages.
    eps : float

    References
    ----------
    Wu and He (2018), Group Normalization, ECCV.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, channels: int, groups: int, *, momentum: float = 0.02, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.channels, self.groups, self.momentum, self.eps = channels, groups, momentum, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(groups))
        self.register_buffer("running_var", torch.ones(groups))
        # The first batches count more than later ones, so that the start is forgotten soon.
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))
        self.batches: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Norm (B, C, *S)."""
        if not self.training:
            each = self.channels // self.groups
            mean, var = (t.repeat_interleave(each) for t in (self.running_mean, self.running_var))
            return functional.batch_norm(
                x, mean, var, self.weight, self.bias, training=False, eps=self.eps
            )
        batch, size = x.shape[0], math.prod(x.shape[2:])
        # The function behind group_norm; it returns the statistics as well.
        out, mean, rstd = torch.native_group_norm(
            x,
            self.weight.to(x.dtype),
            self.bias.to(x.dtype),
            batch,
            self.channels,
            size,
            self.groups,
            self.eps,
        )
        self._remember(mean.detach(), rstd.detach())
        return out

    @torch.no_grad()
    def _remember(self, mean: Tensor, rstd: Tensor) -> None:
        """Take the statistics of a batch, (B, groups), into the averages."""
        self.batches += 1
        share = torch.clamp(1 / self.batches, min=self.momentum).to(self.running_mean.dtype)
        var = (rstd.float().pow(-2) - self.eps).clamp(min=0)
        self.running_mean.lerp_(mean.float().mean(dim=0), share)
        self.running_var.lerp_(var.mean(dim=0), share)


def make_norm(kind: NormKind, channels: int, ndim: int) -> nn.Module | None:
    """Make a norm of (B, C, *S) with `ndim` spatial axes; None for "none"."""
    if kind == "none":
        return None
    if kind == "batch":
        made = nn.BatchNorm2d if ndim == 2 else nn.BatchNorm3d
        return made(channels, momentum=_BATCH_MOMENTUM)
    groups = max(n for n in range(1, max(1, channels // _GROUP) + 1) if channels % n == 0)
    return LocalGroupNorm(channels, groups)


def affine_of(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return factor and offset per channel, (C,) each, of what a norm does in evaluation."""
    if isinstance(norm, LocalGroupNorm):
        each = norm.channels // norm.groups
        mean, var = (t.repeat_interleave(each) for t in (norm.running_mean, norm.running_var))
        weight, bias, eps = norm.weight, norm.bias, norm.eps
    elif isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, var, eps = norm.running_mean, norm.running_var, norm.eps
        weight, bias = norm.weight, norm.bias
    else:
        raise TypeError(f"{type(norm).__name__} is no norm of this module")
    factor = weight / torch.sqrt(var + eps)
    return factor, bias - mean * factor
