"""One piece on the grid: joining what rasterising cut.

A filament thinner than a voxel may miss every voxel centre, so the raster of a
path-connected set can fall into pieces. The set itself says how they hang
together: the voxels along a path within it are added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray

__all__ = ["Joined", "Link", "join_pieces", "straight_link"]

# Pieces smaller than this share of the mask are specks, not parts of it.
_SPECK = 0.005
_OWN_COST, _FREE_COST = 0.01, 1.0


class Link(Protocol):
    """Voxels along a path within a set."""

    def __call__(self, start: NDArray[np.int64], stop: NDArray[np.int64], /) -> NDArray[np.int64]:
        """Return voxels (N, D) from start to stop, neighbours one step apart."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A mask of one piece.

    Attributes
    ----------
    mask : ndarray of bool
    added, dropped : int
        Voxels added between the pieces, and of pieces left out.
    """

    mask: BoolArray
    added: int
    dropped: int


def join_pieces(
    mask: BoolArray,
    link: Link,
    *,
    blocked: BoolArray | None = None,
    wanted: BoolArray | None = None,
) -> Joined:
    """Make a mask one piece, full connectivity.

    Specks are dropped, the other pieces joined to the main one, the nearest
    pair of voxels by the link; where that is blocked, by the shortest way
    around. A piece with no way to it is dropped.

    Parameters
    ----------
    mask : ndarray of bool
    link : Link
    blocked : ndarray of bool, optional
        Voxels that must not be added.
    wanted : ndarray of bool, optional
        Voxels whose pieces are no specks, and of which the main piece holds most.
    """
    full = np.ones((3,) * mask.ndim)
    labels, count = ndimage.label(mask, full)
    if count < 2:
        return Joined(mask, 0, 0)
    sizes = np.bincount(labels.ravel())[1:]
    asked = np.zeros(count, int)
    if wanted is not None:
        asked = np.bincount(labels[wanted & mask], minlength=count + 1)[1:]
    ranks = np.lexsort((-sizes, -asked))
    kept = [int(i) + 1 for i in ranks if asked[i] or sizes[i] >= max(2, _SPECK * sizes.sum())]
    # Of nothing but specks the largest is kept.
    kept = kept or [int(ranks[0]) + 1]
    out = labels == kept[0]
    added = 0
    for piece in kept[1:]:
        if not (ndimage.binary_dilation(labels == piece, full) & out).any():
            way = _way(out, labels == piece, link, blocked)
            if way is None:
                continue
            added += int(np.count_nonzero(~mask[tuple(way.T)] & ~out[tuple(way.T)]))
            out[tuple(way.T)] = True
        out |= labels == piece
    return Joined(out, added, int(np.count_nonzero(mask & ~out)))


def straight_link(start: NDArray[np.int64], stop: NDArray[np.int64], /) -> NDArray[np.int64]:
    """Voxels of the straight line between two, (N, D): a `Link`."""
    steps = max(int(np.abs(stop - start).max()), 1)
    share = np.arange(steps + 1)[:, None] / steps
    return np.asarray(np.rint(start + share * (stop - start)), np.int64)


def _way(
    main: BoolArray, piece: BoolArray, link: Link, blocked: BoolArray | None
) -> NDArray[np.int64] | None:
    """Voxels that join a piece to the main one; None if there is no way."""
    start, stop = _nearest_pair(main, piece)
    way = link(start, stop)
    inside = ((way >= 0) & (way < main.shape)).all(axis=1)
    if inside.all() and (blocked is None or not blocked[tuple(way.T)].any()):
        return way
    return _way_around(main | piece, start, stop, blocked)


def _nearest_pair(main: BoolArray, piece: BoolArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Voxel of the main piece and voxel of the other that are nearest to each other."""
    from scipy.spatial import cKDTree

    rims = [np.argwhere(part & ~ndimage.binary_erosion(part)) for part in (main, piece)]
    distance, index = cKDTree(rims[0]).query(rims[1])
    nearest = int(np.argmin(distance))
    return rims[0][index[nearest]], rims[1][nearest]


def _way_around(
    own: BoolArray, start: NDArray[np.int64], stop: NDArray[np.int64], blocked: BoolArray | None
) -> NDArray[np.int64] | None:
    """Shortest way through own and free voxels."""
    from skimage.graph import MCP

    cost = np.where(own, _OWN_COST, _FREE_COST)
    if blocked is not None:
        cost[blocked & ~own] = -1  # Which stands for no way through.
    finder = MCP(cost, fully_connected=True)
    total, _ = finder.find_costs([tuple(start)], [tuple(stop)])
    if not np.isfinite(total[tuple(stop)]):
        return None
    return np.asarray(finder.traceback(tuple(stop)), np.int64)
