"""An image as the upsampler sees it, and what colours say about an outline.

The colours of an image are sorted into a palette once; how much likelier each
is inside an outline than outside then takes two sums per outline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["OutlineLook"]

_COLOURS = 96
_SAMPLE = 4000
# The second palette tells colours by their neighbourhood, too.
_BLUR = 3.0
# An outline's coarse cells are sure from this share on; those between are anyone's guess.
_SURE = 0.8
_UNSEEN = 1e-3
# Log odds of the palettes, and slope of the outline itself, in the first guess.
_ODDS_GAIN = 2.0 / 3.0
_OUTLINE_GAIN = 4.0
# Far outside an outline nothing is the object, whatever its colour.
_NOWHERE = 0.02


@dataclass(frozen=True, slots=True)
class OutlineLook:
    """An image prepared for outlines; sides are multiples of the scale.

    Attributes
    ----------
    colours : Tensor, shape (3, H, W)
        0 to 1.
    codes : Tensor of int64, shape (2, H, W)
        Place of each pixel in two palettes.
    scale : int
        Pixels per coarse cell and axis.
    """

    colours: Tensor
    codes: Tensor
    scale: int

    @classmethod
    def of(cls, channels: NDArray[np.float32], scale: int, *, seed: int) -> OutlineLook:
        """Prepare the channels (C, H, W) of an image; sides are padded to multiples of `scale`."""
        lacking = [(0, -n % scale) for n in channels.shape[1:]]
        padded = np.pad(channels, ((0, 0), *lacking), mode="edge").astype(np.float32)
        blurred = ndimage.gaussian_filter(padded, (0, _BLUR, _BLUR))
        palettes = [padded, np.concatenate([padded, blurred])]
        codes = np.stack([_coded(values, seed) for values in palettes])
        return cls(torch.from_numpy(_three_channels(padded)), torch.from_numpy(codes), scale)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, padded."""
        return self.colours.shape[1], self.colours.shape[2]

    def coarse(self, masks: Tensor) -> Tensor:
        """Downscaled outline and grey image under it, (B, 2, h, w), for masks (B, H, W)."""
        grey = self.colours.mean(0) * masks
        return functional.avg_pool2d(torch.stack([masks, grey], 1), self.scale)

    def guess(self, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Say what the colours make of downscaled outlines.

        Parameters
        ----------
        coarse : Tensor, shape (B, 2, h, w)

        Returns
        -------
        channels : Tensor, shape (B, 3, H, W)
            Log odds by either palette, and the outline enlarged, from -1/2 to 1/2.
        odds : Tensor, shape (B, H, W)
            A first guess at the log odds of object.
        """
        soft = functional.interpolate(
            coarse[:, :1], size=self.shape, mode="bilinear", align_corners=False
        )[:, 0]
        palettes = self._odds((soft > _SURE).float(), (soft < 1 - _SURE).float())
        odds = self._summed(palettes, soft)
        # Once more, from what the colours take for the object.
        likely = torch.sigmoid(odds) * (soft > _NOWHERE)
        palettes = self._odds(likely, 1 - likely)
        channels = torch.cat([palettes / 3, soft[:, None] - 0.5], 1)
        return channels, self._summed(palettes, soft)

    def _summed(self, palettes: Tensor, soft: Tensor) -> Tensor:
        """Log odds by colours and place together."""
        return _ODDS_GAIN * palettes.sum(1) + _OUTLINE_GAIN * (soft - 0.5)

    def _odds(self, inside: Tensor, outside: Tensor) -> Tensor:
        """Log odds of each pixel's colour, (B, 2, H, W), for weights (B, H, W)."""
        out = []
        for code in self.codes:
            where = code.reshape(1, -1).expand(len(inside), -1)
            shares = []
            for weight in (inside, outside):
                count = torch.zeros(len(inside), _COLOURS)
                count.scatter_add_(1, where, weight.flatten(1))
                shares.append(count / count.sum(1, keepdim=True).clamp(min=1) + _UNSEEN)
            odds = (shares[0] / shares[1]).log()
            out.append(odds.gather(1, where).view(inside.shape))
        return torch.stack(out, 1)


def _three_channels(channels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours (3, H, W), 0 to 1: of one channel repeated, of many their principal components."""
    count = len(channels)
    if count == 1:
        channels = np.repeat(channels, 3, axis=0)
    elif count == 2:
        channels = np.concatenate([channels, channels.mean(0, keepdims=True)])
    elif count > 3:
        flat = channels.reshape(count, -1) - channels.reshape(count, -1).mean(1, keepdims=True)
        _, axes = np.linalg.eigh(flat @ flat.T)
        channels = (axes[:, :-4:-1].T @ flat).reshape(3, *channels.shape[1:])
    low, high = np.percentile(channels, (0.5, 99.5), axis=(1, 2), keepdims=True)
    scaled = (channels - low) / np.maximum(high - low, 1e-6)
    return np.asarray(np.clip(scaled, 0, 1), np.float32)


def _coded(values: NDArray[np.float32], seed: int) -> NDArray[np.int64]:
    """Return the number of the nearest of a few colours, for values (C, H, W)."""
    from scipy.cluster.vq import kmeans2, vq

    flat = values.reshape(len(values), -1).T.astype(np.float64)
    rng = np.random.default_rng(seed)
    chosen = flat[rng.choice(len(flat), min(_SAMPLE, len(flat)), replace=False)]
    distinct = np.unique(chosen, axis=0)
    if len(distinct) <= _COLOURS:
        book = distinct
    else:
        book, _ = kmeans2(chosen, _COLOURS, minit="++", rng=rng, missing="warn")
    codes, _ = vq(flat, book)
    return np.asarray(codes, np.int64).reshape(values.shape[1:])
