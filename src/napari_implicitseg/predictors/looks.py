"""Windows of an image as the sources of evidence see them, and what they say of territories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.features import Patch, Window, window_step
from napari_implicitseg.predictors.geodesic import TwoNearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg.features import Reader
    from napari_implicitseg.scribbles import Samples

__all__ = [
    "BACKGROUND",
    "Look",
    "closest_object",
    "coarse_window",
    "cropped",
    "in_territory",
    "is_own",
    "log_odds",
]

BACKGROUND = 0
"""Code of background among the seeds of a look; objects have 1, 2, ..."""
# Of a lazily read image that is larger than this, only the strokes' surroundings are looked at.
_LAZY_VOXELS = 1 << 24
_LAZY_MARGIN = 2.0


@dataclass(frozen=True, slots=True)
class Look:
    """A window with everything the sources need.

    Attributes
    ----------
    patch : Patch
    features : ndarray of float32, shape (C, *S)
        The channels, a little smoothed.
    seeds : ndarray of int32, shape S
        Codes of the strokes, -1 where there is none.
    embedded : ndarray of float32, shape (E, *S), optional
        What else is known of the cells.
    """

    patch: Patch
    features: NDArray[np.float32]
    seeds: NDArray[np.int32]
    embedded: NDArray[np.float32] | None = None

    def cropped(self, window: Window, box: tuple[slice, ...]) -> Look:
        """Part of the look that another window on the same grid sees."""
        channels, valid = self.patch.channels[:, *box], self.patch.valid[box]
        embedded = None if self.embedded is None else self.embedded[:, *box]
        patch = Patch(window, channels, valid)
        return Look(patch, self.features[:, *box], self.seeds[box], embedded)


def cropped(nearest: TwoNearest, box: tuple[Any, ...]) -> TwoNearest:
    """Part of the distances; a copy if the box is made of index arrays."""
    return TwoNearest(nearest.first[box], nearest.second[box], nearest.near[box], nearest.far[box])


def closest_object(nearest: TwoNearest) -> NDArray[np.int32]:
    """Code of the nearest object of every cell, -1 where there is none."""
    return np.where(nearest.first == BACKGROUND, nearest.second, nearest.first)


def is_own(nearest: TwoNearest, code: int) -> NDArray[np.bool_]:
    """Whether no other object is nearer to a cell."""
    closest = closest_object(nearest)
    return np.asarray((closest == code) | (closest <= BACKGROUND))


def in_territory(
    values: NDArray[np.float32], nearest: TwoNearest, code: int
) -> NDArray[np.float32]:
    """Where another object is nearer, being object speaks against this one."""
    own = is_own(nearest, code)
    return np.where(own, values, np.minimum(values, 1 - values)).astype(np.float32)


def log_odds(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log odds, bounded."""
    clipped = np.clip(values, 0.01, 0.99)
    return np.asarray(np.log(clipped / (1 - clipped)), np.float32)


def coarse_window(
    reader: Reader, samples: Samples, spacing: tuple[float, ...], cells: int
) -> Window:
    """Whole image in few cells; of a large lazy one only the surroundings of the objects."""
    shape = np.asarray(reader.shape)
    low, high = np.zeros_like(shape), shape
    if reader.lazy and float(np.prod(shape.astype(float))) > _LAZY_VOXELS:
        coords = samples.coords[~samples.is_background]
        first, last = coords.min(axis=0), coords.max(axis=0) + 1
        physical = (last - first) * np.asarray(spacing)
        margin = np.ceil((_LAZY_MARGIN * physical.max() + 64) / np.asarray(spacing)).astype(int)
        low, high = np.maximum(first - margin, 0), np.minimum(last + margin, shape)
    size = tuple(int(n) for n in high - low)
    step = window_step(size, spacing, cells)
    low = low - low % np.asarray(step)
    return Window(tuple(int(i) for i in low), tuple(int(i) for i in high), step)
