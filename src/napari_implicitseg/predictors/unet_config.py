"""What a U-Net is made of, and how far its outputs see."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from napari_implicitseg.errors import InputError
from napari_implicitseg.predictors.cropping import reach
from napari_implicitseg.predictors.local_norms import NORMS
from napari_implicitseg.predictors.network_fields import (
    axis_tuples,
    check_choice,
    check_count,
    check_counts,
    take_fields,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_implicitseg.config import NormKind

__all__ = ["UNetConfig"]

_MOST_LEVELS, _MOST_CHANNELS, _MOST_CONVOLUTIONS, _LONGEST_SIDE = 8, 4096, 8, 15
# An axis is coarse while its voxels are at least so many times as long as the finest.
_COARSE = 2.0
_NEEDED = ("ndim", "in_channels", "out_channels", "widths")
_OPTIONAL = ("kernels", "poolings", "convolutions", "decoder_convolutions", "norm", "residual")


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetConfig:
    """What a U-Net is made of.

    Parameters
    ----------
    ndim : {2, 3}
    in_channels, out_channels : int
    widths : tuple of int
        Features of every level, from the finest; their number is the depth.
    kernels : tuple of tuple of int
        Sides of the kernels of every level, odd, per axis; 3 by default.
    poolings : tuple of tuple of int
        Factors between levels, per axis; one less than levels; 2 by default.
    convolutions : tuple of int
        Convolutions of every level on the way down; 2 by default.
    decoder_convolutions : tuple of int
        The same on the way up, one less than levels; by default as on the way down.
    norm : {"batch", "group", "none"}
        After every convolution but the last. "group" uses the sample's statistics
        in training and their running averages after it.
    residual : bool
        Whether what the first convolution of a level gives is added to what the last
        one gives; levels with one convolution have nothing to add.

    Raises
    ------
    InputError
        If a field is wrong; it is named.

    References
    ----------
    Ronneberger, Fischer and Brox (2015), U-Net, MICCAI. Çiçek et al. (2016), 3D
    U-Net, MICCAI. Lee, Zung, Li, Jain and Seung (2017), Superhuman accuracy on the
    SNEMI3D connectomics challenge, for residual stages and anisotropic kernels.
    """

    ndim: int
    in_channels: int
    out_channels: int
    widths: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...] = ()
    poolings: tuple[tuple[int, ...], ...] = ()
    convolutions: tuple[int, ...] = ()
    decoder_convolutions: tuple[int, ...] = ()
    norm: NormKind = "batch"
    residual: bool = False

    kind: ClassVar[str] = "unet"

    def __post_init__(self) -> None:
        check_count("ndim", self.ndim, 2, 3)
        for name in ("in_channels", "out_channels"):
            check_count(name, getattr(self, name), 1, _MOST_CHANNELS)
        widths = check_counts("widths", self.widths, None, 1, _MOST_CHANNELS)
        depth = check_count("the number of widths", len(widths), 1, _MOST_LEVELS)
        kernels = axis_tuples(
            "kernels",
            self.kernels or ((3,) * self.ndim,) * depth,
            depth,
            self.ndim,
            low=1,
            high=_LONGEST_SIDE,
            odd=True,
        )
        poolings = axis_tuples(
            "poolings",
            self.poolings or ((2,) * self.ndim,) * (depth - 1),
            depth - 1,
            self.ndim,
            low=1,
            high=_LONGEST_SIDE,
        )
        counts = check_counts(
            "convolutions", self.convolutions or (2,) * depth, depth, 1, _MOST_CONVOLUTIONS
        )
        upward = self.decoder_convolutions or counts[:-1]
        if depth > 1:
            upward = check_counts("decoder_convolutions", upward, depth - 1, 1, _MOST_CONVOLUTIONS)
        check_choice("norm", self.norm, NORMS)
        if not isinstance(self.residual, bool):
            raise InputError(f"residual is {self.residual!r}; needed is true or false.")
        for name, value in (
            ("widths", widths),
            ("kernels", kernels),
            ("poolings", poolings),
            ("convolutions", counts),
            ("decoder_convolutions", upward),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def from_spacing(
        cls,
        spacing: Sequence[float],
        *,
        in_channels: int = 1,
        out_channels: int,
        depth: int = 3,
        width: int = 12,
        growth: float = 2.0,
        **options: Any,
    ) -> UNetConfig:
        """Choose kernels and pooling so that voxels become cubes on the way down.

        Voxels that are at least twice as long along an axis as along the finest are
        neither pooled nor convolved along it, until pooling of the others has made
        them less than twice as long. The lowest level convolves every axis, so that
        no section is blind to its neighbours.

        Parameters
        ----------
        spacing : sequence of float
            Length of a voxel along each axis, in any unit.
        in_channels, out_channels : int
        depth : int
            Levels.
        width : int
            Features of the finest level.
        growth : float
            Features of a level over those of the finer one, at least 1.
        **options
            Other fields of `UNetConfig`.
        """
        sizes = _checked_spacing(spacing)
        check_count("depth", depth, 1, _MOST_LEVELS)
        check_count("width", width, 1, _MOST_CHANNELS)
        if not (math.isfinite(growth) and 1 <= growth <= 8):
            raise InputError(f"growth is {growth}; needed is a number from 1 to 8.")
        kernels, poolings = [], []
        for _ in range(depth):
            fine = [size < _COARSE * min(sizes) for size in sizes]
            kernels.append(tuple(3 if f else 1 for f in fine))
            poolings.append(tuple(2 if f else 1 for f in fine))
            sizes = [size * p for size, p in zip(sizes, poolings[-1], strict=True)]
        kernels[-1] = (3,) * len(sizes)
        return cls(
            ndim=len(sizes),
            in_channels=in_channels,
            out_channels=out_channels,
            widths=tuple(round(width * growth**level) for level in range(depth)),
            kernels=tuple(kernels),
            poolings=tuple(poolings[:-1]),
            **options,
        )

    @classmethod
    def preset(cls, name: str, in_channels: int, out_channels: int) -> UNetConfig:
        """Return a configuration by name.

        Parameters
        ----------
        name : {"report-2024"}
            2D, stages of 64, 128 and 256 features (the last is the bottleneck), two
            convolutions of 3 x 3 with batch norm and ReLU in each, max pooling,
            nearest upsampling, stages of 128 and 64 features, and a convolution of
            1 x 1.
        in_channels, out_channels : int
        """
        check_choice("preset", name, ("report-2024",))
        return cls(
            ndim=2, in_channels=in_channels, out_channels=out_channels, widths=(64, 128, 256)
        )

    @property
    def depth(self) -> int:
        """Number of levels."""
        return len(self.widths)

    @property
    def stride(self) -> tuple[int, ...]:
        """Voxels in a cell of the coarsest level per axis; windows start at its multiples."""
        return tuple(math.prod(p[a] for p in self.poolings) for a in range(self.ndim))

    @property
    def receptive_field(self) -> tuple[int, ...]:
        """Longest span of the input that one output voxel depends on, per axis."""
        return tuple(field for field, _ in self._reaches())

    @property
    def halo(self) -> tuple[int, ...]:
        """Furthest input voxel to either side that an output voxel depends on, per axis."""
        return tuple(halo for _, halo in self._reaches())

    @property
    def parameter_count(self) -> int:
        """Numbers to learn, without the running statistics of norms."""
        widths, extra = self.widths, 1 if self.norm == "none" else 2
        total = (widths[0] + 1) * self.out_channels
        for level, (width, kernel) in enumerate(zip(widths, self.kernels, strict=True)):
            taps = math.prod(kernel)
            ways = [(self.in_channels if level == 0 else widths[level - 1], self.convolutions)]
            if level + 1 < self.depth:
                ways.append((widths[level + 1] + width, self.decoder_convolutions))
            for ins, counts in ways:
                more = counts[level] - 1
                total += width * (taps * (ins + more * width) + extra * (1 + more))
        return total

    @property
    def features_held(self) -> float:
        """About how many numbers per input voxel are in memory at once, at most."""
        cells, most = 1, 0.0
        for level, width in enumerate(self.widths):
            most = max(most, width / cells)
            if level + 1 < self.depth:
                cells *= math.prod(self.poolings[level])
        return 4 * most + self.in_channels + 2 * self.out_channels

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON knows them."""
        return {
            name: [list(v) if isinstance(v, tuple) else v for v in value]
            if isinstance(value, tuple)
            else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> UNetConfig:
        """Read what `to_json` wrote.

        Raises
        ------
        InputError
            If a field is missing, unknown or wrong; it is named.
        """
        return cls(**take_fields(data, "U-Net", _NEEDED, _OPTIONAL))

    def axis_reaches(self, axis: int) -> dict[str, list[int]]:
        """Reach of the convolutions of every level along an axis, and factors between levels."""
        sides = [kernel[axis] // 2 for kernel in self.kernels]
        return {
            "encoder": [r * n for r, n in zip(sides, self.convolutions, strict=True)],
            "decoder": [r * n for r, n in zip(sides, self.decoder_convolutions, strict=False)],
            "pooling": [p[axis] for p in self.poolings],
        }

    def _reaches(self) -> list[tuple[int, int]]:
        """Receptive field and halo of every axis."""
        return [
            reach(stride=stride, **self.axis_reaches(axis))
            for axis, stride in enumerate(self.stride)
        ]


def _checked_spacing(spacing: Sequence[float]) -> list[float]:
    sizes = [float(size) for size in spacing]
    if len(sizes) not in (2, 3) or not all(math.isfinite(s) and s > 0 for s in sizes):
        raise InputError(
            f"spacing is {tuple(spacing)}; needed are two or three lengths above 0, one per axis."
        )
    return sizes
