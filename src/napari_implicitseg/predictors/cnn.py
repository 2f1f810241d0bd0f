"""Plain convolutional network: affinities of a section from a small neighbourhood."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import nn
from torch.nn import functional

from napari_implicitseg.errors import InputError
from napari_implicitseg.predictors.conv_stages import Conv, convolution, fold_norm, initialise
from napari_implicitseg.predictors.cpu_kernels import convolve
from napari_implicitseg.predictors.cropping import checked_keep, cut, grown, within
from napari_implicitseg.predictors.local_norms import NORMS, make_norm
from napari_implicitseg.predictors.network_fields import (
    check_choice,
    check_count,
    check_counts,
    take_fields,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from napari_implicitseg.config import NormKind

__all__ = ["CNN", "CNNConfig"]

_MOST_CHANNELS, _MOST_LAYERS, _LONGEST_SIDE = 4096, 32, 31


@dataclass(frozen=True, slots=True, kw_only=True)
class CNNConfig:
    """What a plain convolutional network is made of.

    Parameters
    ----------
    ndim : {2, 3}
    in_channels : int
    features : tuple of int
        Of every layer; those of the last are the outputs.
    kernel : int
        Side of all kernels, odd.
    norm : {"batch", "group", "none"}
        After every layer but the last.

    Raises
    ------
    InputError
        If a field is wrong; it is named.

    References
    ----------
    Turaga, Briggman, Helmstaedter, Denk and Seung (2009), Maximin affinity learning
    of image segmentation, NeurIPS.
    """

    ndim: int = 2
    in_channels: int = 1
    features: tuple[int, ...] = (8, 32, 32, 32, 8, 2)
    kernel: int = 5
    norm: NormKind = "batch"

    kind: ClassVar[str] = "cnn"

    def __post_init__(self) -> None:
        check_count("ndim", self.ndim, 2, 3)
        check_count("in_channels", self.in_channels, 1, _MOST_CHANNELS)
        features = check_counts("features", self.features, None, 1, _MOST_CHANNELS)
        check_count("the number of features", len(features), 1, _MOST_LAYERS)
        check_count("kernel", self.kernel, 1, _LONGEST_SIDE)
        if self.kernel % 2 == 0:
            raise InputError(f"kernel is {self.kernel}; sides of kernels are odd.")
        check_choice("norm", self.norm, NORMS)
        object.__setattr__(self, "features", features)

    @property
    def out_channels(self) -> int:
        """Channels of the output."""
        return self.features[-1]

    @property
    def stride(self) -> tuple[int, ...]:
        """1 per axis: windows may start anywhere."""
        return (1,) * self.ndim

    @property
    def halo(self) -> tuple[int, ...]:
        """Furthest input voxel to either side that an output voxel depends on, per axis."""
        return (len(self.features) * (self.kernel // 2),) * self.ndim

    @property
    def receptive_field(self) -> tuple[int, ...]:
        """Span of the input that one output voxel depends on, per axis."""
        return tuple(2 * halo + 1 for halo in self.halo)

    @property
    def parameter_count(self) -> int:
        """Numbers to learn, without the running statistics of norms."""
        taps, extra = math.prod((self.kernel,) * self.ndim), 1 if self.norm == "none" else 2
        ins = (self.in_channels, *self.features[:-1])
        weights = sum(taps * a * b for a, b in zip(ins, self.features, strict=True))
        return weights + extra * sum(self.features[:-1]) + self.features[-1]

    @property
    def features_held(self) -> float:
        """About how many numbers per input voxel are in memory at once, at most."""
        return 3 * max(self.features) + self.in_channels + 2 * self.out_channels

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON knows them."""
        return {
            "ndim": self.ndim,
            "in_channels": self.in_channels,
            "features": list(self.features),
            "kernel": self.kernel,
            "norm": self.norm,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CNNConfig:
        """Read what `to_json` wrote.

        Raises
        ------
        InputError
            If a field is missing, unknown or wrong; it is named.
        """
        names = ("ndim", "in_channels", "features", "kernel")
        return cls(**take_fields(data, "CNN", names, ("norm",)))


class CNN(nn.Module):
    """Plain convolutional network: from raw to logits.

    Parameters
    ----------
    config : CNNConfig
    seed : int
        Of the weights; torch's own generator is left alone.

    Attributes
    ----------
    config : CNNConfig
    """

    def __init__(self, config: CNNConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        sides = (config.kernel,) * config.ndim
        ins, last = (config.in_channels, *config.features[:-1]), len(config.features) - 1
        with torch.random.fork_rng(devices=[]):  # Layers draw weights as they are made.
            self.convs = nn.ModuleList(
                convolution(config.ndim, a, b, sides, bias=config.norm == "none" or i == last)
                for i, (a, b) in enumerate(zip(ins, config.features, strict=True))
            )
        self._padding = (config.kernel // 2,) * config.ndim
        norms = [make_norm(config.norm, n, config.ndim) for n in config.features[:-1]]
        self.norms = nn.ModuleList(nn.Identity() if n is None else n for n in norms)
        initialise(self, torch.Generator().manual_seed(seed))

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
        if keep is None:
            return self._logits(x)
        shape = x.shape[2:]
        wanted = checked_keep(keep, shape)
        axes = list(zip(wanted, self.config.halo, shape, strict=True))
        sources = [grown(span, halo, length) for span, halo, length in axes]
        x = self._logits(cut(x, [slice(*span) for span in sources]))
        return cut(x, [within(w, s) for w, s in zip(wanted, sources, strict=True)])

    def _logits(self, x: Tensor) -> Tensor:
        *hidden, last = self._convs()
        for conv, norm in zip(hidden, self.norms, strict=True):
            x = norm(convolve(x, conv.weight, conv.bias, self._padding))
            x = functional.relu(x, inplace=True)
        return convolve(x, last.weight, last.bias, self._padding)

    def _convs(self) -> list[Conv]:
        return cast("list[Conv]", list(self.convs))

    def folded(self) -> CNN:
        """Return the same network without norms: their affine maps are in the convolutions.

        Returns
        -------
        CNN
            With norm "none", on the same device, in evaluation mode. It gives what this
            one gives in evaluation, faster.
        """
        made = CNN(replace(self.config, norm="none")).to(self._convs()[0].weight)
        norms = (*self.norms, nn.Identity())
        for source, norm, target in zip(self._convs(), norms, made._convs(), strict=True):
            fold_norm(source, norm, target)
        return made.eval()
