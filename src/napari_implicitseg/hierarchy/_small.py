"""Small fragments merged, each over its best edge.

The result is that of going through all edges between fragments by descending affinity and
joining the ends of each as long as one is small. But the edges are never listed or sorted.
What is small at its turn joins over its best edge, whatever else happens, since no other
edge comes before that; so it is enough to follow best edges until two small ones have the
same, or one leads to a large one. A small fragment has few voxels to look for its edges at.

As the order of the joins does not matter, parts of the volume are gone through at once, in
threads; what leads from one to another comes last.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numba
import numpy as np

from napari_implicitseg.hierarchy._region_kernels import count_sizes
from napari_implicitseg.hierarchy._unions import number_trees, root_of
from napari_implicitseg.hierarchy._watershed import LOWEST, renumber

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import LabelArray
    from napari_implicitseg.hierarchy._components import Axis

__all__ = ["merge_small"]

_NONE = np.uint32(2**32 - 1)
# Voxels of a part; in fewer, most fragments lie next to another part.
_PART = 1 << 18
_MOST_PARTS = 16


class _Edges(NamedTuple):
    """Edges between voxels.

    `first`, `second` and `third` are the affinities along each axis, flat, those of missing axes
    empty; `shifts` and `steps`, of shape (2 axes,), say how far the affinity of an edge, and the
    voxel at its end, lie from a voxel: before it along the first axis, after it, and so on. The
    bits of `ways` mark the edges of a voxel that may join it to other fragments, those that
    were found to lead nowhere else any more left out.
    """

    labels: LabelArray
    first: NDArray[np.float32]
    second: NDArray[np.float32]
    third: NDArray[np.float32]
    shifts: NDArray[np.int64]
    steps: NDArray[np.int64]
    ways: NDArray[np.uint8]


class _Pieces(NamedTuple):
    """Fragments, by their ids from 0, and what they have become.

    `parent` are trees whose roots are the smallest members and hold the `sizes`. `members`, by
    voxel, are circular lists of the voxels of each small one, and `heads` one of these. `owners`
    are the parts that fragments lie in, from 1, and 0 for those in several.
    """

    parent: NDArray[np.uint32]
    sizes: NDArray[np.int64]
    heads: NDArray[np.uint32]
    members: NDArray[np.uint32]
    owners: NDArray[np.uint8]


def merge_small(labels: LabelArray, axes: list[Axis], least: int, lowest: float) -> None:
    """Merge fragments of fewer voxels than `least` with others, in place.

    Parameters
    ----------
    labels : ndarray of uint32, shape (voxels,)
        From 1 without gaps; so they are afterwards.
    axes : list of Axis
    least : int
    lowest : float
        Affinity from which on an edge may join fragments.
    """
    count = int(labels.max())
    edges = _edges(labels, axes, np.float32(lowest))
    pieces = _Pieces(
        parent=np.arange(count + 1, dtype=np.uint32),
        sizes=np.zeros(count + 1, np.int64),
        heads=np.full(count + 1, _NONE),
        members=np.empty(labels.size, np.uint32),
        owners=np.zeros(count + 1, np.uint8),
    )
    count_sizes(labels, pieces.sizes)
    _list_members(labels, least, pieces)
    parts = min(_MOST_PARTS, labels.size // _PART, os.cpu_count() or 1)
    if parts > 1:
        _share_out(labels, -(-labels.size // parts), pieces.owners)
        with ThreadPoolExecutor(parts) as pool:
            jobs = [pool.submit(_merge, edges, pieces, least, k + 1) for k in range(parts)]
        for job in jobs:
            job.result()
    _merge(edges, pieces, least, 0)
    # Id 0 is a tree of its own and the first, so that numbers are ids.
    number_trees(pieces.parent)
    renumber(labels, pieces.parent)


def _edges(labels: LabelArray, axes: list[Axis], lowest: np.float32) -> _Edges:
    """Return the edges as the kernels take them."""
    ways = np.zeros(labels.size, np.uint8)
    for k, axis in enumerate(axes):
        _mark_ways(ways, labels, *axis, k, lowest)
    none: NDArray[np.float32] = np.empty(0, np.float32)
    values = [axis.values.reshape(-1) for axis in axes] + [none] * (3 - len(axes))
    inner = [axis.values.shape[2] for axis in axes]
    steps = np.array([sign * step for step in inner for sign in (-1, 1)], np.int64)
    firsts = np.repeat([axis.first for axis in axes], 2)
    # Edges lie with the earlier of their voxels, or with the later one.
    shifts = np.minimum(steps, 0) + firsts * np.abs(steps)
    return _Edges(labels, values[0], values[1], values[2], shifts, steps, ways)


@numba.njit(cache=True, nogil=True)
def _mark_ways(ways, labels, values, first, axis, lowest):  # type: ignore[no-untyped-def]
    """Mark the edges of one axis from an affinity on between different fragments."""
    before, after = np.uint8(1 << (2 * axis)), np.uint8(2 << (2 * axis))
    outer, length, inner = values.shape
    for o in range(outer):
        for i in range(length - 1):
            start = (o * length + i) * inner
            for j in range(inner):
                p, q = start + j, start + inner + j
                apart = (labels[p] != labels[q]) & (values[o, i + first, j] >= lowest)
                ways[p] |= after if apart else np.uint8(0)
                ways[q] |= before if apart else np.uint8(0)


@numba.njit(cache=True, nogil=True)
def _list_members(labels, least, pieces):  # type: ignore[no-untyped-def]
    """List the voxels of each fragment of fewer than `least`."""
    sizes, heads, members = pieces.sizes, pieces.heads, pieces.members
    for p in range(labels.size):
        a = labels[p]
        if sizes[a] < least:
            if heads[a] == _NONE:
                heads[a] = members[p] = p
            else:
                members[p] = members[heads[a]]
                members[heads[a]] = p


@numba.njit(cache=True, nogil=True)
def _share_out(labels, size, owners):  # type: ignore[no-untyped-def]
    """Write which of the parts of `size` voxels a fragment lies in."""
    several = np.uint8(255)
    for p in range(labels.size):
        part, a = np.uint8(p // size + 1), labels[p]
        owners[a] = part if owners[a] == 0 or owners[a] == part else several
    for a in range(owners.size):
        if owners[a] == several:
            owners[a] = 0


@numba.njit(cache=True, nogil=True)
def _before(a, b, low, high):  # type: ignore[no-untyped-def]
    """Whether the edge between two ids comes before that from `low` to `high`."""
    u = min(a, b)
    return u < low or (u == low and max(a, b) < high)


@numba.njit(cache=True, nogil=True)
def _best_edge(a, edges, pieces, own):  # type: ignore[no-untyped-def]
    """Return the fragments that the best edge out of a small one leads between, or 0."""
    labels, first, second, third, shifts, steps, ways = edges
    parent, _, heads, members, owners = pieces
    best, low, high = np.float32(-1), np.uint32(0), np.uint32(0)
    start = p = np.int64(heads[a])
    while True:
        here, marks = labels[p], np.int64(ways[p])
        while marks:
            k = LOWEST[marks]
            marks &= marks - 1
            at = p + shifts[k]
            value = first[at] if k < 2 else second[at] if k < 4 else third[at]
            if value < best:
                continue
            other = labels[p + steps[k]]
            if value == best and not _before(here, other, low, high):
                continue
            if (own == 0 or owners[other] == own) and root_of(parent, other) == a:
                ways[p] ^= np.uint8(1 << k)
            else:
                best, low, high = value, min(here, other), max(here, other)
        p = np.int64(members[p])
        if p == start:
            return low, high


@numba.njit(cache=True, nogil=True)
def _join(a, b, pieces, least):  # type: ignore[no-untyped-def]
    """Join two trees and return the root, the smaller of both."""
    parent, sizes, heads, members, _ = pieces
    root, other = min(a, b), max(a, b)
    if sizes[root] < least and sizes[other] < least:
        # Two circles become one when two links change places.
        one, two = heads[root], heads[other]
        members[one], members[two] = members[two], members[one]
    parent[other] = root
    sizes[root] += sizes[other]
    return root


@numba.njit(cache=True, nogil=True)
def _merge(edges, pieces, least, own):  # type: ignore[no-untyped-def]
    """Join fragments of fewer than `least` voxels with others.

    From `own` 1, only fragments of that owner are read, joined or written; those whose best edge
    leads to another one stay as they are.
    """
    parent, sizes, _, _, owners = pieces
    # Each is small, and its best edge leads to the next one. On the way edges get better: so it
    # never comes back to where it was.
    chain = np.empty(64, np.uint32)
    for fragment in range(1, parent.size):
        if own and owners[fragment] != own:
            continue
        chain[0], top = root_of(parent, np.uint32(fragment)), 0
        while top >= 0:
            a = chain[top]
            if sizes[a] >= least:
                top -= 1
                if top >= 0:
                    chain[top] = _join(chain[top], a, pieces, least)
                continue
            low, high = _best_edge(a, edges, pieces, own)
            if low == 0 or (own and (owners[low] != own or owners[high] != own)):
                break
            b = root_of(parent, low)
            if b == a:
                b = root_of(parent, high)
            if top > 0 and b == chain[top - 1]:
                top -= 1
                chain[top] = _join(a, b, pieces, least)
            elif sizes[b] >= least:
                chain[top] = _join(a, b, pieces, least)
            else:
                top += 1
                if top == chain.size:
                    chain = np.append(chain, np.empty(chain.size, np.uint32))
                chain[top] = b
