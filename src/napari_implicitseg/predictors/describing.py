"""What networks are told about a cell: colours, place, edges and texture at several scales."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.config import FEATURES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Describer", "cell_places"]

# Scales of the features, in cells of the look they are learnt on, from fine to coarse.
_SIGMAS = (1.0, 4.0)
_SCALES = 3
# How much the place counts, against features of deviation 1.
_PLACE = 0.15


class Describer:
    """Features of cells, on the scales and in the units of a first look.

    Gaussians, edges and the eigenvalues of the structure or Hessian are those of
    scikit-image's `multiscale_basic_features`, per channel.

    Parameters
    ----------
    channels : ndarray of float32, shape (C, *S)
        The first look.
    places : ndarray of float32, shape (D, *S)
        Coordinates of its cells, from -1 to 1 along the longest side of the image.
    kinds : sequence of str
        Which of `config.FEATURES` to describe.
    """

    def __init__(
        self,
        channels: NDArray[np.float32],
        places: NDArray[np.float32],
        kinds: Sequence[str] = FEATURES,
    ) -> None:
        self._kinds = kinds
        flat = self._look(channels, 1.0).reshape(-1, channels[0].size)
        self._middle = flat.mean(axis=1)
        self._spread = np.maximum(flat.std(axis=1), 1e-6)
        self._ndim = len(places)

    def __call__(
        self, channels: NDArray[np.float32], places: NDArray[np.float32], *, finer: float = 1.0
    ) -> NDArray[np.float32]:
        """Return the features of a look, (F, *S), whose cells are so many times finer."""
        made = self._look(channels, finer)
        extra = (slice(None), *(None,) * self._ndim)
        scaled = (made - self._middle[extra]) / self._spread[extra]
        parts = [np.clip(scaled, -8, 8), *([_PLACE * places] * ("position" in self._kinds))]
        return np.concatenate(parts).astype(np.float32)

    def _look(self, channels: NDArray[np.float32], finer: float) -> NDArray[np.float32]:
        """Colours and texture, (F, *S)."""
        parts = [channels[:0]]
        if "colour" in self._kinds:
            parts.append(channels)
        if "multiscale" in self._kinds:
            parts.append(_multiscale(channels, finer))
        return np.concatenate(parts).astype(np.float32)


def _multiscale(channels: NDArray[np.float32], finer: float) -> NDArray[np.float32]:
    """Features of channels (C, *S) at scales that grow with how fine the cells are, (F, *S)."""
    from skimage.feature import multiscale_basic_features

    # Gradients need three cells along every axis.
    lacking = [(0, max(0, 3 - n)) for n in channels.shape[1:]]
    made = multiscale_basic_features(
        np.pad(np.moveaxis(channels, 0, -1), (*lacking, (0, 0)), mode="edge"),
        channel_axis=-1,
        sigma_min=_SIGMAS[0] * finer,
        sigma_max=_SIGMAS[1] * finer,
        num_sigma=_SCALES,
    )
    made = made[tuple(slice(0, n) for n in channels.shape[1:])]
    return np.asarray(np.moveaxis(made, -1, 0), np.float32)


def cell_places(
    centres: Sequence[NDArray[np.float64]], sizes: Sequence[float]
) -> NDArray[np.float32]:
    """Coordinates of a grid's cells from -1 to 1 along the longest of some sides, (D, *S)."""
    longest = max(sizes)
    axes = [(2 * c - n) / longest for c, n in zip(centres, sizes, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
