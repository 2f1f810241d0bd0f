"""Evidence from colour: a smoothed histogram of what the strokes cover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray

__all__ = ["ColourModel"]

# Bins per axis of the colour space, by its number of axes.
_BINS = {1: 96, 2: 48, 3: 24}


@dataclass(frozen=True, slots=True)
class ColourModel:
    """Probability of object by colour, as a table.

    Attributes
    ----------
    axes : ndarray of float, shape (C, K)
        Principal colour directions, K at most 3.
    low, high : ndarray of float, shape (K,)
        Range of the table along each direction.
    table : ndarray of float32, shape (bins,) * K
        Probability of object, 0.5 where no stroke saw anything alike.
    """

    axes: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    table: NDArray[np.float32]

    @classmethod
    def fit(
        cls,
        objects: NDArray[np.float32],
        background: NDArray[np.float32],
        *,
        floors: tuple[float, float] = (0.1, 0.02),
        likely: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
        shares: tuple[float, float] = (0.5, 0.5),
    ) -> ColourModel:
        """Learn from stroke colours.

        Parameters
        ----------
        objects, background : ndarray of float32, shapes (C, N), (C, M)
            Normalised colours under the strokes.
        floors : tuple of float
            How often the objects and the background show colours that their
            strokes have not seen: half of that share goes to colours like
            those of the strokes, half to all colours alike.
        likely : tuple of ndarray of float32, shapes (C, K), (C, L), optional
            Colours of what is taken for objects and for background elsewhere.
        shares : tuple of float
            How much those count, against the strokes.

        Returns
        -------
        ColourModel
        """
        samples = [objects, background, *(likely or ())]
        both = np.concatenate(samples, axis=1).astype(np.float64)
        # Without a stroke on a finite voxel any range will do: all colours are undecided.
        seen = both if both.shape[1] else np.zeros((len(both), 2))
        axes = _principal_axes(seen)
        projected = axes.T @ both
        low, high = (axes.T @ seen).min(axis=1), (axes.T @ seen).max(axis=1)
        margin = 0.15 * (high - low) + 1e-3
        low, high = low - margin, high + margin
        bins = _BINS[axes.shape[1]]
        ends = np.cumsum([part.shape[1] for part in samples])[:-1]
        dense = [_density(p, low, high, bins) for p in np.split(projected, ends, axis=1)]
        if likely is not None:
            dense = [(1 - s) * dense[i] + s * dense[i + 2] for i, s in enumerate(shares)]
        uniform = 1 / bins ** axes.shape[1]
        foreground, rest = (
            (1 - floor) * d + floor * (0.5 * _broadened(d) + 0.5 * uniform) if floor else d
            for d, floor in zip(dense, floors, strict=True)
        )
        total = foreground + rest
        table = np.divide(foreground, total, out=np.full_like(total, 0.5), where=total > 0)
        return cls(axes, low, high, table.astype(np.float32))

    def predict(self, channels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of object for (C, *S) normalised colours, shape S."""
        spatial = channels.shape[1:]
        projected = self.axes.astype(np.float32).T @ channels.reshape(len(channels), -1)
        cells, inside = _cells(projected, self.low, self.high, self.table.shape[0])
        values = self.table.reshape(-1)[cells]
        values[~inside] = 0.5
        return values.reshape(spatial)


def _principal_axes(colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return at most three orthonormal directions of largest variance, shape (C, K)."""
    channels = len(colours)
    if channels == 1:
        return np.ones((1, 1))
    _, vectors = np.linalg.eigh(np.cov(colours))
    return np.ascontiguousarray(vectors[:, ::-1][:, : min(3, channels)])


def _cells(
    projected: NDArray[np.floating], low: NDArray[np.float64], high: NDArray[np.float64], bins: int
) -> tuple[NDArray[np.int64], BoolArray]:
    """Flat table index of colours (K, N), and whether they lie in the table's range."""
    scale = bins / (high - low)
    flat = np.zeros(projected.shape[1], np.int64)
    inside = np.ones(projected.shape[1], bool)
    for row, start, factor in zip(projected, low, scale, strict=True):
        cell = np.floor((row - start) * factor).astype(np.int64)
        inside &= (cell >= 0) & (cell < bins)
        flat = flat * bins + np.clip(cell, 0, bins - 1)
    return flat, inside


def _broadened(density: NDArray[np.float64]) -> NDArray[np.float64]:
    """Density of colours like the ones seen: blurred over an eighth of the range."""
    return np.asarray(ndimage.gaussian_filter(density, density.shape[0] / 8, mode="nearest"))


def _density(
    projected: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], bins: int
) -> NDArray[np.float64]:
    """Kernel density on the table; the kernel narrows with the number of samples (Scott)."""
    axes, count = projected.shape
    shape = (bins,) * axes
    if count == 0:
        return np.full(shape, 1 / bins**axes)
    flat, _ = _cells(projected, low, high, bins)
    counts = np.bincount(flat, minlength=bins**axes).astype(np.float64).reshape(shape)
    # Neighbouring voxels are alike: count one in four as independent.
    scott = max(count / 4, 1.0) ** (-1 / (axes + 4))
    spread = projected.std(axis=1) * bins / (high - low)
    sigma = np.clip(spread * scott, 0.7, bins / 8)
    smoothed = ndimage.gaussian_filter(counts, sigma, mode="nearest")
    return np.asarray(smoothed / count, np.float64)
