"""Means over blocks of voxels: a coarse look at a large image."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import FloatArray

__all__ = ["finite_mean", "sampled_mean"]

# Voxels per axis that are enough to average a block from.
_SAMPLES = 3


def sampled_mean(data: NDArray[Any], step: Sequence[int]) -> FloatArray:
    """Average (C, *S) over blocks of `step` voxels, at most three voxels per axis of each.

    Parameters
    ----------
    data : ndarray of integer or bool, shape (C, *S)
    step : sequence of int
        Voxels per block and axis; the last block of an axis may be cut off.

    Returns
    -------
    ndarray of float, shape (C, *N)
        float64 if the integers have eight bytes: they may lie outside what
        float32 holds.
    """
    dtype = np.float64 if data.dtype.itemsize >= 8 else np.float32
    if all(s == 1 for s in step):
        return np.ascontiguousarray(data, dtype=dtype)
    picks = [_picks(n, s) for n, s in zip(data.shape[1:], step, strict=True)]
    total: FloatArray = np.zeros((len(data), *(len(p[0]) for p in picks)), dtype)
    for index in itertools.product(*picks):
        mesh: tuple[Any, ...] = np.ix_(*index)
        total += data[:, *mesh]
    total /= math.prod(len(p) for p in picks)
    return total


def _picks(size: int, step: int) -> list[NDArray[np.int64]]:
    """Choose a first, second, ... voxel of every block along an axis; return their indices."""
    starts = np.arange(0, size, step)
    lengths = np.minimum(step, size - starts)
    count = min(step, _SAMPLES)
    return [starts + (2 * i + 1) * lengths // (2 * count) for i in range(count)]


def finite_mean(
    data: NDArray[np.floating[Any]], step: Sequence[int]
) -> tuple[FloatArray, NDArray[np.float32], int]:
    """Average (C, *S) over blocks, over the voxels that are finite in every channel.

    Parameters
    ----------
    data : ndarray of float, shape (C, *S)
    step : sequence of int
        Voxels per block and axis; the last block of an axis may be cut off.

    Returns
    -------
    mean : ndarray of float, shape (C, *N)
        float64 if the data are, else float32; 0 where no voxel is finite.
    share : ndarray of float32, shape N
        Share of finite voxels in each block.
    finite : int
        Their number.
    """
    dtype = np.float64 if data.dtype.itemsize >= 8 else np.float32
    if data.dtype not in (np.float32, np.float64):
        data = data.astype(dtype)
    if all(s == 1 for s in step):
        whole = np.isfinite(data).all(axis=0)
        finite = int(np.count_nonzero(whole))
        mean: FloatArray = np.where(whole, data, 0).astype(dtype, copy=False)
        return mean, whole.astype(np.float32), finite
    from napari_implicitseg._block_sums import add_finite

    # In 2D a first axis of one voxel is added.
    deep = data.reshape(len(data), 1, *data.shape[1:]) if data.ndim == 3 else data
    steps = (1, *step) if data.ndim == 3 else tuple(step)
    shape = tuple(-(-n // s) for n, s in zip(data.shape[1:], step, strict=True))
    total = np.zeros((len(data), *shape))
    count = np.zeros(shape, np.int64)
    size = tuple(-(-n // s) for n, s in zip(deep.shape[1:], steps, strict=True))
    add_finite(deep, steps, total.reshape(len(data), *size), count.reshape(size))
    full = np.ones(())
    for axis, (n, s) in enumerate(zip(data.shape[1:], step, strict=True)):
        lengths = np.minimum(s, n - np.arange(0, n, s))
        full = full[..., None] * lengths if axis else lengths
    total /= np.maximum(count, 1)
    return total.astype(dtype), (count / full).astype(np.float32), int(count.sum())
