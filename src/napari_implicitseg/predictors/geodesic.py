"""Evidence from distance: how far the strokes are, counting edges as detours.

The geodesic distance of a voxel to a stroke is the length of the shortest path
between them, where a step across a change in colour counts as longer
(Criminisi et al. 2008, "GeoS"; Bai and Sapiro 2007).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray

__all__ = ["TwoNearest", "geodesic_evidence", "two_nearest"]

# Changes up to this many times the typical one count as noise: they lengthen no path.
_NOISE = 1.0
_MOST_BUCKETS = 1 << 22


@dataclass(frozen=True, slots=True)
class TwoNearest:
    """The two nearest labels of every voxel, and how far they are.

    Attributes
    ----------
    first, second : ndarray of int32, shape S
        Label of the nearest seed, and of the nearest seed with another label;
        -1 where there is none.
    near, far : ndarray of float32, shape S
        Their distances; infinite where there is none.
    """

    first: NDArray[np.int32]
    second: NDArray[np.int32]
    near: NDArray[np.float32]
    far: NDArray[np.float32]

    def evidence(self, label: int) -> NDArray[np.float32]:
        """Probability that a voxel belongs to `label`, from the ratio of distances, shape S."""
        return geodesic_evidence(
            np.where(self.first == label, self.near, self.far),
            np.where(self.first == label, self.far, self.near),
            (self.first == label) | (self.second == label),
        )


def geodesic_evidence(
    own: NDArray[np.float32], other: NDArray[np.float32], known: BoolArray
) -> NDArray[np.float32]:
    """Turn distances to the own and the nearest other label into a probability."""
    with np.errstate(invalid="ignore"):
        ratio = np.where(np.isinf(other), 1.0, other / (own + other))
    # Both seeds in one voxel, or no way to either: undecided.
    ratio = np.where(np.isnan(ratio), 0.5, ratio)
    return np.where(known, ratio, 0.0).astype(np.float32)


def two_nearest(
    channels: NDArray[np.float32],
    seeds: NDArray[np.int32],
    *,
    spacing: tuple[float, ...],
    edge_weight: float,
    valid: BoolArray | None = None,
    initial: TwoNearest | None = None,
) -> TwoNearest:
    """Distances to the two nearest labels over an image.

    Parameters
    ----------
    channels : ndarray of float32, shape (C, *S)
        Features; a step between voxels p and q of length l costs
        ``sqrt(l^2 + edge_weight^2 max(|f_p - f_q| - noise, 0)^2)``, where the
        noise is the median change between neighbours.
    seeds : ndarray of int32, shape S
        Label of each seed voxel, -1 elsewhere.
    spacing : tuple of float
        Voxel size per axis.
    edge_weight : float
        Length that a unit change of the features is worth.
    valid : ndarray of bool, shape S, optional
        Voxels without a known feature cost their length only.
    initial : TwoNearest, optional
        Distances known from elsewhere, say at the border of a window; infinite
        where unknown.

    Returns
    -------
    TwoNearest
    """
    shape = seeds.shape
    padded_shape = tuple(n + 2 for n in shape)
    inner = (slice(1, -1),) * len(shape)
    features = np.zeros((*padded_shape, len(channels)), np.float32)
    features[inner] = np.moveaxis(channels, 0, -1) * np.float32(edge_weight)
    open_ = np.zeros(padded_shape, np.uint8)
    open_[inner] = 1 if valid is None else np.where(valid, 1, 2)
    first, second = (np.full(padded_shape, -1, np.int32) for _ in range(2))
    near, far = (np.full(padded_shape, np.inf, np.float32) for _ in range(2))
    if initial is not None:
        first[inner], second[inner] = initial.first, initial.second
        near[inner], far[inner] = initial.near, initial.far
    planted = np.zeros(padded_shape, bool)
    planted[inner] = seeds >= 0
    first[planted], near[planted] = seeds[seeds >= 0], 0
    second[planted], far[planted] = -1, np.inf
    offsets, lengths = _half_neighbourhood(padded_shape, spacing)
    costs = np.empty((open_.size, len(offsets)), np.float32)
    floor = np.float32(_NOISE * edge_weight * _typical_change(channels))
    _edge_costs(
        features.reshape(-1, len(channels)), open_.reshape(-1), offsets, lengths, floor, costs
    )
    state = [array.reshape(-1) for array in (first, second, near, far)]
    width = float(lengths.min()) * 0.999
    capacity = 4 * near.size + 16
    # What was settled before a queue overflowed stays true: only go on with a longer one.
    while not _spread(costs, offsets, *state, width, capacity):
        capacity *= 2
    return TwoNearest(first[inner], second[inner], near[inner], far[inner])


def _typical_change(channels: NDArray[np.float32]) -> float:
    """Median change of the features between neighbours: what noise and texture amount to."""
    axis = int(np.argmax(channels.shape[1:])) + 1
    steps = np.diff(channels, axis=axis)
    return float(np.median(np.sqrt((steps**2).sum(axis=0)))) if steps.size else 0.0


def _half_neighbourhood(
    shape: tuple[int, ...], spacing: tuple[float, ...]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Flat offsets and lengths of the neighbours that come before a voxel in raster order."""
    strides = np.cumprod((1, *shape[:0:-1]))[::-1]
    steps = np.stack(np.meshgrid(*[(-1, 0, 1)] * len(shape), indexing="ij"), -1)
    steps = steps.reshape(-1, len(shape))[: 3 ** len(shape) // 2]
    lengths = np.linalg.norm(steps * np.asarray(spacing), axis=1)
    return steps @ strides, lengths.astype(np.float32)


@numba.njit(cache=True, nogil=True)
def _edge_costs(features, open_, offsets, lengths, floor, costs):  # type: ignore[no-untyped-def]
    """Cost of the step from each voxel to each earlier neighbour; infinite across the rim."""
    for p in range(open_.size):
        for k in range(offsets.size):
            q = p + offsets[k]
            costs[p, k] = np.inf
            if open_[p] and open_[q]:
                change = np.float32(0)
                if open_[p] == 1 and open_[q] == 1:
                    for c in range(features.shape[1]):
                        d = features[p, c] - features[q, c]
                        change += d * d
                    change = max(np.sqrt(change) - floor, np.float32(0))
                costs[p, k] = np.sqrt(lengths[k] * lengths[k] + change * change)


@numba.njit(inline="always")
def _offer(p, distance, label, first, second, near, far):  # type: ignore[no-untyped-def]
    """Take a distance smaller than `far[p]`, unless the label is nearer already."""
    if label == first[p]:
        if distance >= near[p]:
            return False
        near[p] = distance
    elif distance < near[p]:
        far[p] = near[p]
        second[p] = first[p]
        near[p] = distance
        first[p] = label
    else:
        far[p] = distance
        second[p] = label
    return True


@numba.njit(cache=True, nogil=True)
def _spans(costs, near, far):  # type: ignore[no-untyped-def]
    """Smallest and largest known distance, and the largest cost of a step."""
    low, high, step = np.inf, 0.0, 0.0
    for p in range(near.size):
        for d in (near[p], far[p]):
            if d < np.inf:
                low, high = min(low, d), max(high, d)
        for k in range(costs.shape[1]):
            if costs[p, k] < np.inf:
                step = max(step, costs[p, k])
    return low, high, step


@numba.njit(cache=True, nogil=True)
def _spread(costs, offsets, first, second, near, far, width, capacity):  # type: ignore[no-untyped-def]
    """Dijkstra's algorithm with buckets (Dial 1969); False if `capacity` was too small.

    No step costs less than `width`, the width of a bucket, so what lies in one
    bucket cannot improve on one another. Where steps differ so much that buckets
    must be wider, it can, and is then looked at again: the distances are exact
    all the same.
    """
    n = near.size
    low, high, step = _spans(costs, near, far)
    if low == np.inf:
        return True
    base = np.float32(low)
    # The buckets are used in turn: enough for all distances that can wait at one time.
    width = max(width, (high - low + step) / _MOST_BUCKETS)
    per_width = np.float32(1 / width)
    buckets = int((high - low + step) / width) + 3
    head = np.full(buckets, -1, np.int32)
    link = np.empty(capacity, np.int32)
    voxel = np.empty(capacity, np.int32)
    value = np.empty(capacity, np.float32)
    tag = np.empty(capacity, np.int32)
    used, waiting, spare = 0, 0, -1
    for p in range(n):
        for d, label in ((near[p], first[p]), (far[p], second[p])):
            if d < np.inf:
                slot = int((d - base) * per_width) % buckets
                voxel[used], value[used], link[used] = p, d, head[slot]
                tag[used] = label
                head[slot] = used
                used += 1
    waiting = used
    turn = 0
    while waiting:
        slot = turn % buckets
        while head[slot] >= 0:
            entry = head[slot]
            head[slot] = link[entry]
            link[entry] = spare
            spare = entry
            waiting -= 1
            p, d, label = voxel[entry], value[entry], tag[entry]
            # Entries that something nearer has replaced are left behind in the queue.
            if not (d == near[p] and label == first[p]) and not (
                d == far[p] and label == second[p]
            ):
                continue
            for k in range(2 * offsets.size):
                if k < offsets.size:
                    q = p + offsets[k]
                    reached = d + costs[p, k]
                else:
                    q = min(p - offsets[k - offsets.size], n - 1)
                    reached = d + costs[q, k - offsets.size]
                if reached < far[q] and _offer(q, reached, label, first, second, near, far):
                    if spare >= 0:
                        entry = spare
                        spare = link[entry]
                    elif used < capacity:
                        entry = used
                        used += 1
                    else:
                        return False
                    there = int((reached - base) * per_width) % buckets
                    voxel[entry], value[entry], link[entry] = q, reached, head[there]
                    tag[entry] = label
                    head[there] = entry
                    waiting += 1
        turn += 1
    return True
