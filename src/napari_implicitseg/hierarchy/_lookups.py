"""Compiled cuts of a tree over regions, and the way from regions back to voxels.

Nodes 0 to N - 1 are the regions, those after them merges; the parent of a node comes
after it, and the root is its own parent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from napari_implicitseg.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import LabelArray

__all__ = [
    "bounding_boxes",
    "first_places",
    "join_roots",
    "look_up",
    "number_roots",
    "paint",
    "roots_up_to",
]


@numba.njit(cache=True, nogil=True)
def join_roots(parents, number, merges):  # type: ignore[no-untyped-def]
    """Join the trees of a forest of `merges` merges, one after the other; how many joins."""
    joins, last = 0, -1
    for node in range(number + merges):
        if parents[node] != node:
            continue
        if last >= 0:
            parents[last] = parents[node] = number + merges + joins
            last = number + merges + joins
            joins += 1
        else:
            last = node
    return joins


@numba.njit(cache=True, nogil=True)
def roots_up_to(parents, altitudes, level, inclusive, roots):  # type: ignore[no-untyped-def]
    """Write for each node the last of its ancestors that lies below a level.

    With `inclusive` those at the level count as below. Leaves are always below.
    """
    for node in range(parents.size - 1, -1, -1):
        parent = parents[node]
        altitude = altitudes[parent]
        joined = altitude < level or (inclusive and altitude == level)
        roots[node] = roots[parent] if joined and parent != node else node


@numba.njit(cache=True, nogil=True)
def number_roots(roots, lookup):  # type: ignore[no-untyped-def]
    """Write numbers from 1 in place of roots, by the first region of each; how many there are.

    `lookup` has one place more than there are regions: region i is fragment i + 1, and 0 stays.
    """
    known = np.zeros(roots.size, np.uint32)
    count = 0
    lookup[0] = 0
    for region in range(lookup.size - 1):
        root = roots[region]
        if known[root] == 0:
            count += 1
            known[root] = count
        lookup[region + 1] = known[root]
    return count


@numba.njit(cache=True, nogil=True)
def look_up(lookup, fragments, out):  # type: ignore[no-untyped-def]
    """Write the label of each voxel's fragment; whether each has one. Else it is that of 0.

    Without a branch: in small fragments these would be guessed wrong too often.
    """
    fits = True
    for p in range(fragments.size):
        fragment = np.int64(fragments[p])
        inside = (fragment >= 0) & (fragment < lookup.size)
        fits &= inside
        out[p] = lookup[fragment if inside else 0]
    return fits


def paint(
    lookup: NDArray[Any], fragments: NDArray[Any], out: LabelArray | None = None
) -> LabelArray:
    """Return the volume of the labels of its fragments.

    Parameters
    ----------
    lookup : ndarray of uint32, shape (N + 1,)
        Label of each fragment, by its id; that of 0 comes first.
    fragments : ndarray of uint32, shape S
        C order.
    out : ndarray of uint32, shape S, optional
        To write to, in C order.

    Raises
    ------
    InputError
        If `out` does not fit, or a fragment has no label.
    """
    if out is None:
        out = np.empty(fragments.shape, np.uint32)
    _check_out(out, fragments.shape)
    if not look_up(lookup, fragments.reshape(-1), out.reshape(-1)):
        raise InputError(
            f"The fragments hold ids beyond {len(lookup) - 1}, which is how many there were when "
            "the hierarchy was made. Make a new one, and leave its arrays as they are."
        )
    return out


def _check_out(out: Any, shape: tuple[int, ...]) -> None:
    """Refuse an array that labels cannot be written to without a copy or a loss."""
    if (
        not isinstance(out, np.ndarray)
        or out.shape != shape
        or out.dtype != np.uint32
        or not (out.flags.c_contiguous and out.flags.writeable)
    ):
        got = f"{getattr(out, 'dtype', type(out).__name__)} {getattr(out, 'shape', '')}".strip()
        raise InputError(
            f"out is {got}; give a writable array of uint32 in C order, of shape {shape}."
        )


@numba.njit(cache=True, nogil=True)
def bounding_boxes(fragments, low, high):  # type: ignore[no-untyped-def]
    """Write the first and last index of each fragment along each of three axes.

    `low` and `high`, of shape (N + 1, 3), hold the largest and smallest number to begin with.
    """
    depth, height, width = fragments.shape
    for z in range(depth):
        for y in range(height):
            x = 0
            while x < width:
                i = fragments[z, y, x]
                first = x
                while x < width and fragments[z, y, x] == i:
                    x += 1
                low[i, 0], high[i, 0] = min(low[i, 0], z), max(high[i, 0], z)
                low[i, 1], high[i, 1] = min(low[i, 1], y), max(high[i, 1], y)
                low[i, 2], high[i, 2] = min(low[i, 2], first), max(high[i, 2], x - 1)


@numba.njit(cache=True, nogil=True)
def first_places(fragments, wanted, places):  # type: ignore[no-untyped-def]
    """Write where each of some fragments begins; other places stay as they are."""
    for p in range(fragments.size - 1, -1, -1):
        if wanted[fragments[p]]:
            places[fragments[p]] = p
