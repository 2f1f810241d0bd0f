"""A sample, affinities with labels, checked and as the kernels of MALIS take it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.affinities._dense import dense_labels
from napari_implicitseg.affinities.ops import checked_mask, checked_offsets, checked_truth
from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_implicitseg._types import BoolArray

__all__ = ["Sample", "check_range", "check_size", "make_sample"]

# Edges sorted at one time are as many as voxels, but not fewer than this.
_LEAST_EDGES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A volume as the kernels take it: 3D and flat.

    Attributes
    ----------
    bits : ndarray of uint32, shape (K * N,)
        Affinities, float32 within 0 to 1, as bits.
    mask : ndarray of bool, shape (K * N,) or empty
        Edges that may be used; empty for all.
    labels : ndarray of int32, shape (N,)
        1 to `label_count`, 0 unlabelled.
    label_count : int
    shape : ndarray of int64, shape (3,)
    offsets : ndarray of int64, shape (K, 3)
    """

    bits: NDArray[np.uint32]
    mask: BoolArray
    labels: NDArray[np.int32]
    label_count: int
    shape: NDArray[np.int64]
    offsets: NDArray[np.int64]

    @property
    def steps(self) -> NDArray[np.int64]:
        """Offsets in flat order."""
        _, height, width = self.shape.tolist()
        strides = np.array([height * width, width, 1], np.int64)
        return np.asarray(self.offsets @ strides)

    @property
    def voxel_bits(self) -> int:
        """Bits that the index of a voxel takes."""
        return (self.labels.size - 1).bit_length()

    @property
    def edges_at_once(self) -> int:
        """Most edges to hold at one time."""
        return max(_LEAST_EDGES, self.labels.size)


def check_size(size: int, channels: int) -> None:
    """Complain about volumes whose edges have no number of 32 bits."""
    bits = (size - 1).bit_length()
    if bits > 31 or channels << bits > 1 << 32:
        raise InputError(
            f"There are {size} voxels with {channels} edges each; at most 2**32 edges can be "
            "told apart. Cut the volume into blocks."
        )


def check_range(affinities: NDArray[Any]) -> None:
    """Complain about affinities that are NaN or outside 0 to 1."""
    low, high = float(affinities.min()), float(affinities.max())
    if not (low >= 0 and high <= 1):
        found = "hold NaN" if np.isnan(low) else f"range from {low:g} to {high:g}"
        raise InputError(
            f"The affinities {found}; they need numbers within 0 to 1. Apply a sigmoid to logits, "
            "and mend what made NaN."
        )


def make_sample(
    affinities: ArrayLike, labels: ArrayLike, offsets: Any, mask: BoolArray | None
) -> Sample:
    """Check affinities, labels, offsets and a mask, and turn them into what the kernels take.

    Raises
    ------
    InputError
        If one of them is not what `malis_pair_counts` needs.
    """
    truth = checked_truth(labels)
    vectors = checked_offsets(offsets, truth.ndim)
    values = np.asarray(affinities)
    if values.shape != (len(vectors), *truth.shape):
        raise InputError(
            f"The affinities have shape {values.shape}; {len(vectors)} offsets and labels of shape "
            f"{truth.shape} need {(len(vectors), *truth.shape)}."
        )
    if values.dtype.kind not in "fiub":
        raise InputError(f"The affinities are of type {values.dtype}; give numbers within 0 to 1.")
    # Writable, although nothing is written: numba compiles for read-only arrays separately.
    values = np.require(values, np.float32, ["C", "W"])
    check_range(values)
    if mask is not None:
        checked_mask(mask, values.shape)
        mask = np.require(mask, np.bool_, ["C", "W"])
    check_size(truth.size, len(vectors))
    numbers, count = dense_labels(truth)
    missing = 3 - truth.ndim
    return Sample(
        bits=values.reshape(-1).view(np.uint32),
        mask=np.empty(0, np.bool_) if mask is None else mask.reshape(-1),
        labels=numbers,
        label_count=count,
        shape=np.array((1,) * missing + truth.shape, np.int64),
        offsets=np.array([(0,) * missing + offset for offset in vectors], np.int64),
    )
