"""Convolutions of one level: the same code for the whole input and for a part that is cut out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias, cast

import torch
from torch import nn
from torch.nn import functional

from napari_implicitseg.predictors.cpu_kernels import convolve
from napari_implicitseg.predictors.cropping import Span, cut, within
from napari_implicitseg.predictors.local_norms import affine_of, make_norm

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import Tensor

    from napari_implicitseg.config import NormKind

__all__ = ["Conv", "ConvStage", "convolution", "fold_norm", "initialise"]


Conv: TypeAlias = nn.Conv2d | nn.Conv3d


def convolution(ndim: int, ins: int, outs: int, kernel: Sequence[int], *, bias: bool) -> Conv:
    """Make a convolution of `ndim` axes that keeps the shape; kernels are odd."""
    padding = [side // 2 for side in kernel]
    if ndim == 2:
        return nn.Conv2d(ins, outs, (kernel[0], kernel[1]), padding=tuple(padding), bias=bias)  # type: ignore[arg-type]
    return nn.Conv3d(ins, outs, tuple(kernel), padding=tuple(padding), bias=bias)  # type: ignore[arg-type]


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of all convolutions so that ReLUs keep the variance (He et al. 2015)."""
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Conv2d | nn.Conv3d):
                fan = math.prod(part.weight.shape[1:])
                part.weight.normal_(0, math.sqrt(2 / fan), generator=generator)
                if part.bias is not None:
                    part.bias.zero_()


def fold_norm(source: Conv, norm: nn.Module, target: Conv) -> None:
    """Give a convolution with bias the weights of one followed by a norm in evaluation."""
    assert target.bias is not None
    with torch.no_grad():
        weight = source.weight
        bias = weight.new_zeros(len(weight)) if source.bias is None else source.bias
        if not isinstance(norm, nn.Identity):
            factor, offset = affine_of(norm)
            weight = weight * factor.view(-1, *(1,) * (weight.ndim - 1))
            bias = bias * factor + offset
        target.weight.copy_(weight)
        target.bias.copy_(bias)


class ConvStage(nn.Module):
    """Some convolutions with norm and ReLU.

    A stage of the decoder sees the level below, enlarged, beside the features of
    its own level: its first weight is that of a convolution of both, enlarged ones
    first. It is computed as the sum of two convolutions, and that of enlarged cells
    as a transposed convolution of the cells themselves. The result is the same;
    neither the enlarged nor the joined array is ever made, and with pooling by 2
    and kernels of 3 a voxel takes 8 products instead of 27.

    Parameters
    ----------
    channels : int
        Of the input, without those of the level below.
    width : int
        Of the output.
    kernel : tuple of int
        Odd, one for each spatial axis.
    count : int
        Convolutions.
    norm : {"batch", "group", "none"}
    residual : bool
        Whether what the first convolution gives is added before the last ReLU.
    below : int
        Channels of the level below; 0 on the way down.
    pooling : tuple of int
        Factors to the level below.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: tuple[int, ...],
        *,
        count: int,
        norm: NormKind,
        residual: bool = False,
        below: int = 0,
        pooling: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.below, self.pooling, self.residual = below, pooling, residual
        ins = [below + channels, *(width,) * (count - 1)]
        self.width = width
        self.convs = nn.ModuleList(
            convolution(len(kernel), n, width, kernel, bias=norm == "none") for n in ins
        )
        norms = [make_norm(norm, width, len(kernel)) for _ in ins]
        self.norms = nn.ModuleList(nn.Identity() if n is None else n for n in norms)
        self.margin = tuple(side // 2 for side in kernel)
        self.reach = tuple(count * m for m in self.margin)

    def forward(
        self,
        x: Tensor,
        below: Tensor | None = None,
        inner: Sequence[bool] | None = None,
        part: Sequence[slice] | None = None,
    ) -> Tensor:
        """Convolve.

        Parameters
        ----------
        x : Tensor, shape (B, C, *S)
        below : Tensor, optional
            Cells of the level below.
        inner : sequence of bool, optional
            Axes without padding: the output is shorter by the reach.
        part : sequence of slice, optional
            The part of `below`, enlarged, that covers what the first convolution
            gives.
        """
        padding = self.margin
        if inner is not None:
            padding = tuple(0 if i else m for i, m in zip(inner, self.margin, strict=True))
        (conv, norm), *others = self._layers()
        x = convolve(x, conv.weight[:, self.below :], conv.bias, padding)
        if below is not None:
            weight = conv.weight[:, : self.below]
            coarse = _convolve_enlarged(below, weight, self.pooling, self.margin)
            x = x.add_(coarse if part is None else cut(coarse, part))
        # In place: neither convolutions nor norms need what they gave.
        first = x = functional.relu(norm(x), inplace=True)
        for i, (conv, norm) in enumerate(others, start=1):
            x = norm(convolve(x, conv.weight, conv.bias, padding))
            if self.residual and i == len(others):
                x = x + _shortened(first, x.shape)
            x = functional.relu(x, inplace=True)
        return x

    def on_part(
        self,
        x: Tensor,
        sources: Sequence[Span],
        wanted: Sequence[Span],
        below: Tensor | None = None,
        enlarged: Sequence[Span] = (),
    ) -> Tensor:
        """Convolve a part of a level.

        Along an axis on which the part touches a border of the level, it is padded as
        the whole level would be, at both ends, and what is wrong at the other is cut
        off: that is quicker than to pad each end by itself.

        Parameters
        ----------
        x : Tensor, shape (B, C, *S)
            Features over the spans `sources`, one for each axis.
        sources, wanted : sequence of Span
            `sources` is `wanted` with a margin of `reach`, clipped to the level.
        below : Tensor, optional
            Cells of the level below.
        enlarged : sequence of Span
            What they span, enlarged to this level.

        Returns
        -------
        Tensor, shape (B, width, *S)
            Over the spans `wanted`.
        """
        spans = list(zip(sources, wanted, self.reach, strict=True))
        inner = [w[0] - s[0] == r == s[1] - w[1] for s, w, r in spans]
        part = None
        if below is not None:
            shrunk = [m if i else 0 for i, m in zip(inner, self.margin, strict=True)]
            given = [(s[0] + m, s[1] - m) for s, m in zip(sources, shrunk, strict=True)]
            part = [within(g, e) for g, e in zip(given, enlarged, strict=True)]
        x = self(x, below, inner, part)
        axes = zip(inner, spans, strict=True)
        return cut(x, [slice(None) if i else within(w, s) for i, (s, w, _) in axes])

    def fold_into(self, bare: ConvStage) -> None:
        """Write weights into a stage without norms, so that it gives the same in evaluation."""
        for (conv, norm), (target, _) in zip(self._layers(), bare._layers(), strict=True):
            fold_norm(conv, norm, target)

    def _layers(self) -> list[tuple[Conv, nn.Module]]:
        return list(zip(cast("Iterable[Conv]", self.convs), self.norms, strict=True))


def _convolve_enlarged(
    x: Tensor, weight: Tensor, pooling: tuple[int, ...], margin: tuple[int, ...]
) -> Tensor:
    """Convolve cells enlarged to their nearest neighbours, without enlarging them.

    Voxel `o` sees voxel `o + t`, which repeats cell `j` where `o + t = p j + c` with
    `0 <= c < p`. So the cell counts `sum_c w[c - q]` at `q = o - p j`: the mirrored
    kernel, summed over p shifts.
    """
    kernel = weight.float() if weight.dtype in (torch.float16, torch.bfloat16) else weight
    for axis, factor in enumerate(pooling, start=2):
        mirrored = kernel.flip(axis)
        after = 2 * (kernel.ndim - 1 - axis)
        kernel = torch.stack(
            [
                functional.pad(mirrored, (*(0,) * after, shift, factor - 1 - shift))
                for shift in range(factor)
            ]
        ).sum(dim=0)
    kernel = kernel.to(weight.dtype).transpose(0, 1)
    enlarge = functional.conv_transpose2d if x.ndim == 4 else functional.conv_transpose3d
    return enlarge(x, kernel, stride=pooling, padding=margin)


def _shortened(x: Tensor, shape: torch.Size) -> Tensor:
    """Cut the middle out of (B, C, *S)."""
    for axis in range(2, x.ndim):
        lost = (x.shape[axis] - shape[axis]) // 2
        if lost:
            x = x.narrow(axis, lost, shape[axis])
    return x
