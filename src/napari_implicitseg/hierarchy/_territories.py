"""Voxels handed out to seeds: to a near one, that no membrane lies before.

A watershed would follow the noise where affinities are alike: borders fray, or one seed gets next
to nothing.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg.hierarchy._components import Axis

__all__ = ["hand_out"]

# What crossing an edge of affinity 0 adds to the distance, in voxels; it falls with the square of
# the affinity, so that noise near 1 adds next to nothing.
_WALL = 50.0


def hand_out(
    owners: NDArray[np.int64],
    mask: NDArray[np.bool_],
    axes: Sequence[Axis],
    spacing: Sequence[float],
) -> None:
    """Hand the voxels of a mask out to the seeds that lie in it, in place.

    From seed to seed voxels are taken in the order of their distance: that to the voxel of the
    seed they come from, and what the affinities on the way there add. So where these are alike
    borders lie half way between seeds, and else along the weak ones. What a seed gets is
    connected; voxels that no edge leads to stay 0.

    Parameters
    ----------
    owners : ndarray of int64, shape S
        C order. Seeds from 1 in the mask, 0 for all others; is changed.
    mask : ndarray of bool, shape S
    axes : sequence of Axis
        Edges along each axis that may be crossed, those of -1 left out.
    spacing : sequence of float
        Of voxels, along each axis.
    """
    size = np.array(spacing, float) / min(spacing)
    shape = np.array((1,) * (3 - mask.ndim) + mask.shape)
    size = np.concatenate([np.ones(3 - mask.ndim), size])
    values = [axis.values.reshape(-1) for axis in axes]
    values += [np.empty(0, np.float32)] * (3 - len(values))
    kinds = [(axis.first, *axis.values.shape[1:]) for axis in axes]
    firsts, lengths, inners = (np.array(column, np.int64) for column in zip(*kinds, strict=True))
    flat = owners.reshape(-1)
    flat[~mask.reshape(-1)] = -1
    _spread(flat, *values, firsts, lengths, inners, shape, size)
    flat[flat < 0] = 0


@numba.njit(cache=True, nogil=True)
def _distance(p, q, shape, size):  # type: ignore[no-untyped-def]
    """Distance of two voxels."""
    row, column = shape[1] * shape[2], shape[2]
    dz = (p // row - q // row) * size[0]
    dy = (p // column % shape[1] - q // column % shape[1]) * size[1]
    dx = (p % column - q % column) * size[2]
    return math.sqrt(dz * dz + dy * dy + dx * dx)


@numba.njit(cache=True, nogil=True)
def _spread(owners, first, second, third, firsts, lengths, inners, shape, size):  # type: ignore[no-untyped-def]
    """Hand voxels on, the nearest first; -1 is outside."""
    done = np.zeros(owners.size, np.bool_)
    # Distance, turn, voxel, the seed's voxel, and what affinities add.
    heap = [(0.0, 0, 0, 0, 0.0) for _ in range(0)]
    turn = 0
    for p in range(owners.size):
        if owners[p] > 0:
            heap.append((0.0, turn, p, p, 0.0))
            turn += 1
    while heap:
        _, _, p, seed, walls = heapq.heappop(heap)
        if done[p]:
            continue
        done[p] = True
        owners[p] = owners[seed]
        for k in range(2 * firsts.size):
            axis = k >> 1
            inner, place = inners[axis], p // inners[axis] % lengths[axis]
            if place == (lengths[axis] - 1 if k & 1 else 0):
                continue
            q = p + inner if k & 1 else p - inner
            if done[q] or owners[q] != 0:
                continue
            at = min(p, q) + firsts[axis] * inner
            value = first[at] if axis == 0 else second[at] if axis == 1 else third[at]
            if value < 0:
                continue
            added = walls + _WALL * (1.0 - value) * (1.0 - value)
            heapq.heappush(heap, (added + _distance(q, seed, shape, size), turn, q, seed, added))
            turn += 1
