"""U-Net of two or three dimensions whose receptive field is known and which computes only parts.

An output voxel depends on its surroundings: a tile needs a halo. Most of what a
plain U-Net computes in the halo is not needed, above all on the way up, where
most of its time goes. Asked for a part of its output, this one computes at every
level just what that part depends on.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torch.nn import functional

from napari_implicitseg.predictors.conv_stages import (
    ConvStage,
    convolution,
    initialise,
)
from napari_implicitseg.predictors.cpu_kernels import convolve, is_traced, max_pool
from napari_implicitseg.predictors.cropping import (
    LevelSpans,
    checked_keep,
    cut,
    plan_axis,
    within,
)
from napari_implicitseg.predictors.unet_config import UNetConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["UNet", "UNetConfig"]


class UNet(nn.Module):
    """U-Net: from raw to logits.

    Parameters
    ----------
    config : UNetConfig
    seed : int
        Of the weights; torch's own generator is left alone.

    Attributes
    ----------
    config : UNetConfig

    Notes
    -----
    Convolutions pad with zeros. An input whose sides are no multiples of
    `config.stride` is filled up with zeros at its far ends.
    """

    def __init__(self, config: UNetConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        widths, last = config.widths, config.depth - 1
        with torch.random.fork_rng(devices=[]):  # Layers draw weights as they are made.
            self.encoder = nn.ModuleList(
                self._stage(level, config.in_channels if level == 0 else widths[level - 1], 0)
                for level in range(config.depth)
            )
            self.decoder = nn.ModuleList(
                self._stage(level, widths[level], widths[level + 1]) for level in range(last)
            )
            self.classifier = convolution(
                config.ndim, widths[0], config.out_channels, (1,) * config.ndim, bias=True
            )
        initialise(self, torch.Generator().manual_seed(seed))
        self._stride = config.stride
        self._reaches = [config.axis_reaches(axis) for axis in range(config.ndim)]

    def _stage(self, level: int, channels: int, below: int) -> ConvStage:
        config = self.config
        counts = config.decoder_convolutions if below else config.convolutions
        return ConvStage(
            channels,
            config.widths[level],
            config.kernels[level],
            count=counts[level],
            norm=config.norm,
            residual=config.residual,
            below=below,
            pooling=config.poolings[level] if below else (),
        )

    def forward(self, x: Tensor, keep: Sequence[slice] | None = None) -> Tensor:
        """Predict.

        Parameters
        ----------
        x : Tensor, shape (B, in_channels, *S)
        keep : sequence of slice, optional
            The part of the output that is wanted, one slice per spatial axis; None
            is all of it. What that part does not depend on is not computed.

        Returns
        -------
        Tensor, shape (B, out_channels, *S) or of the part kept
            Logits.
        """
        if keep is None and is_traced():
            return self._whole(x)
        shape = x.shape[2:]
        lacking = [-n % m for n, m in zip(shape, self._stride, strict=True)]
        if keep is None:
            if not any(lacking):
                return self._whole(x)
            keep = [slice(0, n) for n in shape]
        spans = checked_keep(keep, shape)
        if any(lacking):
            x = functional.pad(x, [n for lack in reversed(lacking) for n in (0, lack)])
        plans = [
            plan_axis(span, n + lack, **reaches)
            for span, n, lack, reaches in zip(spans, shape, lacking, self._reaches, strict=True)
        ]
        return self._part(x, list(zip(*plans, strict=True)))

    def _whole(self, x: Tensor) -> Tensor:
        """Logits of all of an input whose sides are multiples of the stride."""
        skips: list[Tensor] = []
        for level, stage in enumerate(self._stages(self.encoder)):
            if level > 0:
                skips.append(x)
                x = self._pooled(x, level)
            x = stage(x)
        for stage in reversed(self._stages(self.decoder)):
            x = stage(skips.pop(), x)
        return self._logits(x)

    def _part(self, x: Tensor, levels: Sequence[Sequence[LevelSpans]]) -> Tensor:
        """Logits of a part, given the spans of every level and axis."""
        x = cut(x, [within(a.source, (0, a.length)) for a in levels[0]])
        skips: list[Tensor] = []
        for level, stage in enumerate(self._stages(self.encoder)):
            if level > 0:
                skips.append(x)
                x = self._pooled(x, level)
            axes = levels[level]
            x = stage.on_part(x, [a.source for a in axes], [a.encoded for a in axes])
        pairs = zip(self._stages(self.decoder), pairwise(levels), strict=True)
        for stage, (axes, lower) in reversed(list(pairs)):
            skip = cut(skips.pop(), [within(a.joined, a.encoded) for a in axes])
            enlarged = [
                (a.wanted[0] * factor, a.wanted[1] * factor)
                for a, factor in zip(lower, stage.pooling, strict=True)
            ]
            x = stage.on_part(skip, [a.joined for a in axes], [a.wanted for a in axes], x, enlarged)
        return self._logits(x)

    @staticmethod
    def _stages(stages: nn.ModuleList) -> list[ConvStage]:
        return cast("list[ConvStage]", list(stages))

    def _pooled(self, x: Tensor, level: int) -> Tensor:
        """Cells of a level, from features of the finer one."""
        return max_pool(x, self.config.poolings[level - 1])

    def _logits(self, x: Tensor) -> Tensor:
        padding = (0,) * self.config.ndim
        return convolve(x, self.classifier.weight, self.classifier.bias, padding)

    def folded(self) -> UNet:
        """Return the same network without norms: their affine maps are in the convolutions.

        Returns
        -------
        UNet
            With norm "none", on the same device, in evaluation mode. It gives what this
            one gives in evaluation, faster.
        """
        made = UNet(replace(self.config, norm="none")).to(self.classifier.weight)
        for name in ("encoder", "decoder"):
            ours, theirs = (self._stages(getattr(net, name)) for net in (self, made))
            for source, target in zip(ours, theirs, strict=True):
                source.fold_into(target)
        made.classifier.load_state_dict(self.classifier.state_dict())
        return made.eval()
