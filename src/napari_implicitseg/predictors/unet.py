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
from napari_implicitseg.predictors.cpu_kernels import (
    convolve,
    is_cpu_inference,
    is_traced,
    max_pool,
)
from napari_implicitseg.predictors.cropping import (
    LevelSpans,
    checked_keep,
    cut,
    cut_first,
    grown,
    plan_axis,
    slabs,
    stacked,
    within,
)
from napari_implicitseg.predictors.unet_config import UNetConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["UNet", "UNetConfig"]

# Arrays of levels are computed in slabs of about so many bytes where that is of use. They stay
# in the cache, and below 32 MB the C library gives memory out again without asking the system.
_SLAB_BYTES = 16 << 20
# Thinner ones would mostly compute their margins.
_LEAST_PLANES = 8


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
                x = max_pool(x, self.config.poolings[level - 1])
            x = stage(x)
        for stage in reversed(self._stages(self.decoder)):
            x = stage(skips.pop(), x)
        return self._logits(x)

    def _part(self, x: Tensor, levels: Sequence[Sequence[LevelSpans]]) -> Tensor:
        """Logits of a part, given the spans of every level and axis."""
        x = cut(x, [within(a.source, (0, a.length)) for a in levels[0]])
        *stages, lowest = self._stages(self.encoder)
        skips: list[Tensor] = []
        for level, (stage, axes) in enumerate(zip(stages, levels[:-1], strict=True)):
            x, skip = self._down(level, stage, x, axes)
            skips.append(skip)
        x = lowest.on_part(x, [a.source for a in levels[-1]], [a.encoded for a in levels[-1]])
        pairs = zip(self._stages(self.decoder), pairwise(levels), strict=True)
        for level, (stage, (axes, lower)) in reversed(list(enumerate(pairs))):
            x = self._up(level, stage, skips.pop(), x, axes, lower)
        return x if self.decoder else self._logits(x)

    def _down(
        self, level: int, stage: ConvStage, x: Tensor, axes: Sequence[LevelSpans]
    ) -> tuple[Tensor, Tensor]:
        """Return the cells of the next level and what the way up needs of this one."""
        sources, encoded = [a.source for a in axes], [a.encoded for a in axes]
        joined, pooling = axes[0].joined, self.config.poolings[level]
        cells, skips = [], []
        for slab in slabs(encoded[0], _thickness(x, stage.width), pooling[0]):
            seen = grown(slab, stage.reach[0], axes[0].length)
            part = cut_first(x, within(seen, sources[0]))
            made = stage.on_part(part, [seen, *sources[1:]], [slab, *encoded[1:]])
            cells.append(max_pool(made, pooling))
            kept = max(slab[0], joined[0]), min(slab[1], joined[1])
            if kept[0] < kept[1]:
                others = [within(a.joined, a.encoded) for a in axes[1:]]
                skips.append(cut(made, [within(kept, slab), *others]))
        return stacked(cells), stacked(skips)

    def _up(
        self,
        level: int,
        stage: ConvStage,
        skip: Tensor,
        below: Tensor,
        axes: Sequence[LevelSpans],
        lower: Sequence[LevelSpans],
    ) -> Tensor:
        """Return features of a level from what was kept of it and the level below."""
        joined, wanted = [a.joined for a in axes], [a.wanted for a in axes]
        cells, pooling = [a.wanted for a in lower], stage.pooling
        made = []
        for slab in slabs(wanted[0], _thickness(skip, stage.width), pooling[0]):
            seen = grown(slab, stage.reach[0], axes[0].length)
            first = (seen[0] // pooling[0], -(-seen[1] // pooling[0]))
            enlarged = [
                (a * factor, b * factor)
                for (a, b), factor in zip([first, *cells[1:]], pooling, strict=True)
            ]
            x = stage.on_part(
                cut_first(skip, within(seen, joined[0])),
                [seen, *joined[1:]],
                [slab, *wanted[1:]],
                cut_first(below, within(first, cells[0])),
                enlarged,
            )
            made.append(x if level else self._logits(x))
        return stacked(made)

    @staticmethod
    def _stages(stages: nn.ModuleList) -> list[ConvStage]:
        return cast("list[ConvStage]", list(stages))

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


def _thickness(x: Tensor, width: int) -> int:
    """Planes of (B, C, *S) to be convolved at a time to `width` features."""
    if not is_cpu_inference(x):
        return int(x.shape[2])
    plane = width * x[:, 0, 0].numel() * x.element_size()
    return max(_LEAST_PLANES, _SLAB_BYTES // plane)
