"""Networks that turn a downscaled sloppy outline into the masked image and its mask."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from napari_implicitseg.predictors.outline_looks import OutlineLook

__all__ = ["EncoderDecoder", "TransposedConvolutions"]

_WIDTHS = (16, 24, 32, 48, 64)
_FIRST_WIDTH = 256
_GROUPS = 4
# Half-width of the blur that tells how much of the image is left under the mask.
_BLUR = 5
_FAINT = 0.01


class TransposedConvolutions(nn.Module):
    """The original network: transposed convolutions from the grey outline to the masked image.

    Kernels are 4 wide without padding: 10 x 10 become 22, 46, 94, 97 and 100.

    Parameters
    ----------
    doublings : int
        Layers of stride 2; two of stride 1 follow.

    Attributes
    ----------
    snaps : bool
        Whether it learns random masks as the colours of the image draw them.
    rounds : int
        How often what comes out goes in again.
    steps, rate, batch
        Of its training.
    """

    #: The sides of what goes in and of what comes out, with three doublings.
    coarse, fine = 10, 100
    snaps, rounds = False, 1
    steps, rate, batch = 300, 2e-3, 8

    def __init__(self, doublings: int = 3) -> None:
        super().__init__()
        widths = [_FIRST_WIDTH, *(_FIRST_WIDTH >> (k + 1) for k in range(doublings)), 8, 3]
        strides = [2] * doublings + [1, 1]
        self.layers = nn.ModuleList(
            nn.ConvTranspose2d(a, b, 4, s)
            for (a, b), s in zip(pairwise(widths), strides, strict=True)
        )

    def forward(self, look: OutlineLook, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Masked image (B, 3, H, W) and log odds of the mask (B, H, W); see `OutlineLook`."""
        hidden = functional.interpolate(coarse[:, 1:], size=(self.coarse, self.coarse), mode="area")
        hidden = hidden.expand(-1, _FIRST_WIDTH, -1, -1)
        for number, layer in enumerate(self.layers):
            hidden = layer(torch.relu(hidden) if number else hidden)
        masked = functional.interpolate(
            torch.sigmoid(hidden), size=look.shape, mode="bilinear", align_corners=False
        )
        return masked, _odds_of_masked(masked, look.colours)

    def loss(self, look: OutlineLook, coarse: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error of the masked image, for masks (B, H, W)."""
        masked, _ = self(look, coarse)
        return functional.mse_loss(masked, look.colours * targets[:, None])


class EncoderDecoder(nn.Module):
    """Encoder of the image, decoder of the outline: a U-Net with the outline at its bottom.

    Its mask starts as the guess by colours and learns what to correct.

    Parameters
    ----------
    scale : int
        Pixels per coarse cell, a power of 2; the depth follows.
    """

    snaps, rounds = True, 3
    steps, rate, batch = 20, 4e-3, 4

    def __init__(self, scale: int = 8) -> None:
        super().__init__()
        depth = scale.bit_length() - 1
        widths = [_WIDTHS[min(k, len(_WIDTHS) - 1)] for k in range(depth + 1)]
        self.down = nn.ModuleList(_block(a, b) for a, b in pairwise([6, *widths[:-1]]))
        self.middle = _block(widths[-2] + 2, widths[-1])
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 2, 2) for a, b in reversed(list(pairwise(widths)))
        )
        self.merge = nn.ModuleList(_block(2 * a, a) for a in reversed(widths[:-1]))
        self.last = nn.Conv2d(widths[0], 4, 1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, look: OutlineLook, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Masked image (B, 3, H, W) and log odds of the mask (B, H, W); see `OutlineLook`."""
        guessed, odds = look.guess(coarse)
        colours = (look.colours - 0.5).expand(len(coarse), -1, -1, -1)
        hidden = torch.cat([colours, guessed], 1)
        skips = []
        for block in self.down:
            hidden = block(hidden)
            skips.append(hidden)
            hidden = functional.avg_pool2d(hidden, 2)
        hidden = self.middle(torch.cat([hidden, coarse], 1))
        for up, merge, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            hidden = merge(torch.cat([up(hidden), skip], 1))
        out = self.last(hidden)
        return torch.sigmoid(out[:, :3]), out[:, 3] + odds

    def loss(self, look: OutlineLook, coarse: Tensor, targets: Tensor) -> Tensor:
        """Mean squared error of the masked image and cross-entropy of the mask (B, H, W)."""
        masked, odds = self(look, coarse)
        error = functional.mse_loss(masked, look.colours * targets[:, None])
        return error + functional.binary_cross_entropy_with_logits(odds, targets)


def _block(channels: int, width: int) -> nn.Sequential:
    """Two convolutions with their norms."""
    layers: list[nn.Module] = []
    for inner in (channels, width):
        layers += [
            nn.Conv2d(inner, width, 3, padding=1),
            nn.GroupNorm(_GROUPS, width),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


def _odds_of_masked(masked: Tensor, colours: Tensor) -> Tensor:
    """Log odds that a pixel is under the mask: how much of its surroundings' light is left."""

    def blurred(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values, 2 * _BLUR + 1, 1, _BLUR, count_include_pad=False)

    light = blurred(colours.square().sum(0)[None, None]) + _FAINT
    left = blurred((masked * colours).sum(1)[:, None])
    share = (left / light)[:, 0].clamp(0.01, 0.99)
    return torch.logit(share)
