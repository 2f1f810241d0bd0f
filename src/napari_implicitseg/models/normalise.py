"""Grey levels of any instrument to the range networks are trained on."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.models.volume_checks import check_finite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["Normalisation", "Scaling", "spread_blocks"]

_BLOCK = {2: 512, 3: 64}
_MOST_BLOCKS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """A line per channel that takes grey levels to about -1 to 1.

    Attributes
    ----------
    low, high : tuple of float
        Grey levels that become -1 and 1, per channel; those beyond go beyond.
    name : str
        What to call the volume in messages.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    name: str = "volume"

    def __call__(self, raw: Any, place: Sequence[int] = ()) -> NDArray[np.float32]:
        """Scale a window.

        Parameters
        ----------
        raw : array, shape (C, *S)
        place : sequence of int, optional
            Where the window begins in the volume, for the message.

        Returns
        -------
        ndarray of float32, shape (C, *S)

        Raises
        ------
        InputError
            If a voxel is NaN or infinite.
        """
        values = np.asarray(raw)
        check_finite(values, place or (0,) * (values.ndim - 1), self.name)
        column = (-1, *(1,) * (values.ndim - 1))
        # Single precision cannot tell large numbers that lie close together.
        dtype = np.float32 if values.dtype.itemsize < 4 else np.float64
        low, high = (np.asarray(v, np.float64).reshape(column) for v in (self.low, self.high))
        scaled = (values.astype(dtype) - low.astype(dtype)) * (2 / (high - low)).astype(dtype) - 1
        return np.asarray(scaled, np.float32)

    def reader(self, raw: Any) -> Callable[[tuple[slice, ...]], NDArray[np.float32]]:
        """Return a function that reads windows of a volume (C, *S) and scales them."""

        def read(window: tuple[slice, ...]) -> NDArray[np.float32]:
            return self(raw[:, *window], [part.start or 0 for part in window])

        return read


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """How grey levels are scaled before a network sees them.

    Attributes
    ----------
    kind : {"percentiles", "range"}
        Between two percentiles of each volume's channels, or between two grey levels.
    low, high : float
        Percentiles, 0 to 100, or grey levels; they become -1 and 1.
    """

    kind: Literal["percentiles", "range"] = "percentiles"
    low: float = 1.0
    high: float = 99.0

    def __post_init__(self) -> None:
        """Refuse what is no range."""
        if self.kind not in ("percentiles", "range"):
            raise InputError(f"kind is {self.kind!r}; use 'percentiles' or 'range'.")
        numbers = all(np.isfinite(v) for v in (self.low, self.high))
        inside = self.kind == "range" or (self.low >= 0 and self.high <= 100)
        if not numbers or not inside or not self.low < self.high:
            raise InputError(
                f"low and high are {self.low} and {self.high}; low must be less than high, and "
                "percentiles lie from 0 to 100."
            )

    def scaling(self, raw: Any, name: str = "volume") -> Scaling:
        """Measure a volume.

        Parameters
        ----------
        raw : array-like, shape (C, *S)
            Of a large one blocks spread over it are read.
        name : str
            What to call it in messages.
        """
        channels = int(raw.shape[0])
        if self.kind == "range":
            return Scaling(low=(self.low,) * channels, high=(self.high,) * channels, name=name)
        seen = [np.concatenate(parts) for parts in zip(*spread_blocks(raw), strict=True)]
        bounds = [_percentiles(values, (self.low, self.high)) for values in seen]
        return Scaling(low=tuple(b[0] for b in bounds), high=tuple(b[1] for b in bounds), name=name)


def _percentiles(values: NDArray[Any], shares: tuple[float, float]) -> tuple[float, float]:
    """Two percentiles of what is finite, apart also if nearly all voxels are equal."""
    values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    values = values.astype(np.uint8) if values.dtype.kind == "b" else values
    if not values.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(values, shares))
    if high > low:
        return low, high
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low, low + max(1.0, 1e-6 * abs(low)))


def spread_blocks(raw: Any) -> Iterator[list[NDArray[Any]]]:
    """Yield the values of each channel in blocks that lie evenly over a volume.

    Blocks do not overlap; of a volume of up to 24 blocks all are read. They are the same
    for arrays in memory and in files.

    Parameters
    ----------
    raw : array-like, shape (C, *S)
    """
    shape = tuple(int(n) for n in raw.shape[1:])
    side = _BLOCK.get(len(shape), min(_BLOCK.values()))
    there = [-(-n // side) for n in shape]
    chosen = list(there)
    while math.prod(chosen) > _MOST_BLOCKS:
        chosen[chosen.index(max(chosen))] -= 1
    numbers = [np.linspace(0, n - 1, k).round() for n, k in zip(there, chosen, strict=True)]
    for corner in itertools.product(*numbers):
        window = tuple(slice(int(c) * side, (int(c) + 1) * side) for c in corner)
        yield [channel.ravel() for channel in np.asarray(raw[:, *window])]
