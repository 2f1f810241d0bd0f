"""How good a network is on parts of the volumes it has not learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.hierarchy.components import threshold_curve
from napari_implicitseg.training.arrays import read_window

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    from napari_implicitseg.models.affinity import AffinityModel
    from napari_implicitseg.training.examples import TrainingVolume

__all__ = ["Validation", "middle_window"]

_VOXELS = {2: 512 * 512 * 4, 3: 112**3}
_SMALLEST = {2: 30, 3: 100}
_THRESHOLDS = (*(k / 20 for k in range(1, 20)), 0.98, 0.99)


class Validation:
    """Thresholds the affinities of held-out parts and compares with their labels.

    Parameters
    ----------
    volumes : sequence of TrainingVolume
        Of large ones the middle is used.
    ndim : int
        Axes of the network. Two compare section by section.
    voxels : int, optional
        How many of each volume at most; by default what takes some seconds.
    """

    def __init__(
        self, volumes: Sequence[TrainingVolume], ndim: int, *, voxels: int | None = None
    ) -> None:
        self._ndim = ndim
        self._cases = []
        for volume in volumes:
            window = middle_window(volume.shape, voxels or _VOXELS[ndim], ndim)
            truth = np.asarray(read_window(volume.labels, window))
            if truth.any():
                self._cases.append((volume, window, _by_section(truth, ndim)))

    def __bool__(self) -> bool:
        return bool(self._cases)

    def __call__(self, model: AffinityModel, device: torch.device) -> dict[str, float]:
        """Figures of a model at the threshold that is best for all parts together.

        Returns
        -------
        dict of str to float
            "voi", "voi_split" and "voi_merge" in bits, "adapted_rand_error", "rand",
            "threshold"; means over the parts.
        """
        rows = []
        for volume, window, truth in self._cases:
            raw = volume.crop(window).raw
            axis = 0 if len(raw.shape) > len(volume.shape) else None
            affinities = model.predict(raw, channel_axis=axis, device=device, name=volume.name)
            curve = threshold_curve(
                affinities, truth, _THRESHOLDS, min_size=_SMALLEST[self._ndim], grow=True
            )
            rows.append(
                [curve.voi_split, curve.voi_merge, curve.adapted_rand_error, curve.rand_index]
            )
        split, merge, error, rand = np.mean(rows, axis=0)
        best = int(np.argmin(split + merge))
        return {
            "voi": float(split[best] + merge[best]),
            "voi_split": float(split[best]),
            "voi_merge": float(merge[best]),
            "adapted_rand_error": float(error[best]),
            "rand": float(rand[best]),
            "threshold": _THRESHOLDS[best],
        }


def middle_window(shape: tuple[int, ...], most: int, ndim: int) -> tuple[slice, ...]:
    """Window about the middle of so many voxels at most."""
    sides = list(shape)
    while np.prod(sides, dtype=float) > most:
        # Of a stack of sections fewer are taken before they are cut.
        longest = 0 if len(sides) > ndim and sides[0] > 1 else int(np.argmax(sides))
        sides[longest] -= max(1, sides[longest] // 8)
    starts = [(n - side) // 2 for n, side in zip(shape, sides, strict=True)]
    return tuple(slice(a, a + side) for a, side in zip(starts, sides, strict=True))


def _by_section(truth: NDArray[np.integer], ndim: int) -> NDArray[np.int64]:
    """Labels with ids of their own in every section, where the network has two axes."""
    _, numbers = np.unique(truth, return_inverse=True)
    dense: NDArray[np.int64] = numbers.reshape(truth.shape).astype(np.int64)
    if not (truth == 0).any():
        dense += 1
    if truth.ndim == ndim:
        return dense
    apart: NDArray[np.int64] = dense + (dense.max() + 1) * np.arange(len(dense)).reshape(-1, 1, 1)
    apart[dense == 0] = 0
    return apart
