"""Fragments of blocks: what is one across faces, and the contacts of all.

Blocks are cut into fragments with a margin around them. What two neighbours take for the same
fragment, on the voxels that both have seen, is one: so a block's faces leave no seam.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.affinities.ops import edge_slices
from napari_implicitseg.hierarchy.linkages import BINS
from napari_implicitseg.hierarchy.region_graph import region_graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from napari_implicitseg.affinities.ops import Affinities
    from napari_implicitseg.batch.blocks import Box

__all__ = [
    "Contacts",
    "block_contacts",
    "chosen_leanings",
    "joined_pieces",
    "leaning_pieces",
    "split_pieces",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contacts:
    """Edges between fragments, by ids of the whole volume; see `RegionGraph`.

    Attributes
    ----------
    pairs : ndarray of int64, shape (E, 2)
        Ids from 1, the smaller first; rows in ascending order, none twice.
    counts, sums, maxima : ndarray, shape (E,)
        Of direct edges: number, sum and largest of the affinities; 0, 0 and -1 without any.
    far_counts, far_sums : ndarray, shape (E,)
        Of all other edges.
    histograms : ndarray of uint32, shape (E, B)
        Of direct edges; B is 0 where none is needed.
    """

    pairs: NDArray[np.int64]
    counts: NDArray[np.int64]
    sums: NDArray[np.float64]
    maxima: NDArray[np.float32]
    far_counts: NDArray[np.int64]
    far_sums: NDArray[np.float64]
    histograms: NDArray[np.uint32]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def added(cls, parts: Sequence[Contacts]) -> Contacts:
        """Return the sum of several, which may name the same pairs."""
        whole = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(cls)
        }
        pairs = whole.pop("pairs")
        # Stable, so that sums run in the order of the parts, and are the same each time.
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        pairs = pairs[order]
        new = np.ones(len(pairs), np.bool_)
        new[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
        starts = np.flatnonzero(new)
        reduced = {}
        for name, values in whole.items():
            add = np.maximum if name == "maxima" else np.add
            sized = len(starts) and values.size
            reduced[name] = add.reduceat(values[order], starts, axis=0) if sized else values[starts]
            reduced[name] = reduced[name].astype(values.dtype, copy=False)
        return cls(pairs=pairs[starts], **reduced)


def split_pieces(
    fragments: NDArray[np.uint32], core: Box
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Cut fragments of a block with its margin down to the block.

    Parameters
    ----------
    fragments : ndarray of uint32, shape S
        Of the block and its margin.
    core : tuple of slice
        The block in it.

    Returns
    -------
    pieces : ndarray of uint32
        Like the core, from 1 without gaps: a fragment that falls apart is several.
    origins : ndarray of uint32, shape (N + 1,)
        The fragment each piece comes from.
    """
    from skimage.measure import label

    inner = np.ascontiguousarray(fragments[core])
    pieces = label(inner, background=0, connectivity=1).astype(np.uint32)
    origins = np.zeros(int(pieces.max(initial=0)) + 1, np.uint32)
    origins[pieces] = inner
    return pieces, origins


def joined_pieces(
    seen: NDArray[np.uint32],
    before: NDArray[np.uint32],
    after: NDArray[np.uint32],
    before_origins: NDArray[np.uint32],
    after_origins: NDArray[np.uint32],
) -> NDArray[np.int64]:
    """Find pieces on both sides of a face that are of one fragment.

    Two fragments are one if each is what most voxels of the other are, among those just after
    the face, which both blocks have seen.

    Parameters
    ----------
    seen : ndarray of uint32
        Fragments of the block before the face, on the voxels just after it.
    before, after : ndarray of uint32
        Pieces of both blocks on the voxels just before and just after the face.
    before_origins, after_origins : ndarray of uint32
        See `split_pieces`.

    Returns
    -------
    ndarray of int64, shape (J, 2)
        Pieces before and after, in ascending order; they touch.
    """
    theirs = after_origins[after].reshape(-1).astype(np.int64)
    ours = seen.reshape(-1).astype(np.int64)
    width = int(theirs.max(initial=0)) + 1
    keys, counts = np.unique(ours * width + theirs, return_counts=True)
    first, second = np.divmod(keys, width)
    same = _is_most(first, counts) & _is_most(second, counts) & (first > 0) & (second > 0)
    agreed = np.isin(ours * width + theirs, keys[same])
    agreed &= before_origins[before].reshape(-1) == ours
    found = np.stack([before.reshape(-1)[agreed], after.reshape(-1)[agreed]], axis=1)
    return np.unique(found.astype(np.int64), axis=0).reshape(-1, 2)


def leaning_pieces(
    seen: NDArray[np.uint32],
    own: NDArray[np.uint32],
    other: NDArray[np.uint32],
    origins: NDArray[np.uint32],
    remnants: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Find where remnants go on behind a face.

    A remnant is a piece of a fragment that lies for the most part outside its block. If the
    blocks do not agree on that fragment, the remnant would be an object that ends at the face.

    Parameters
    ----------
    seen : ndarray of uint32
        Fragments of the remnants' block, on the voxels just behind the face.
    own, other : ndarray of uint32
        Pieces of that block just before the face, and of the other one just behind it.
    origins : ndarray of uint32, shape (N + 1,)
        See `split_pieces`.
    remnants : ndarray of bool, shape (N + 1,)
        Which of the pieces are remnants.

    Returns
    -------
    ndarray of int64, shape (L, 3)
        A remnant, a piece behind the face, and how many voxels say so.
    """
    goes_on = (remnants[own] & (origins[own] == seen)).reshape(-1)
    pairs = np.stack([own.reshape(-1)[goes_on], other.reshape(-1)[goes_on]], axis=1)
    found, counts = np.unique(pairs.astype(np.int64), axis=0, return_counts=True)
    return np.column_stack([found.reshape(-1, 2), counts]).astype(np.int64)


def chosen_leanings(
    leanings: NDArray[np.int64], joins: NDArray[np.int64], number: int
) -> NDArray[np.int64]:
    """Join each remnant that is not joined yet to the piece that most voxels name.

    Parameters
    ----------
    leanings : ndarray of int64, shape (L, 3)
        Of all blocks, by ids of the volume; see `leaning_pieces`.
    joins : ndarray of int64, shape (J, 2)
    number : int
        Of ids.

    Returns
    -------
    ndarray of int64, shape (M, 2)
        One row for a remnant, so that none joins two others.
    """
    joined = np.zeros(number + 1, np.bool_)
    joined[joins] = True
    left = leanings[~joined[leanings[:, 0]]]
    left = left[np.lexsort((left[:, 1], -left[:, 2], left[:, 0]))]
    first = np.ones(len(left), np.bool_)
    first[1:] = left[1:, 0] != left[:-1, 0]
    return left[first, :2]


def _is_most(names: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mark the row of the largest count of each name, the first of equal ones."""
    order = np.lexsort((np.arange(len(names)), -counts, names))
    chosen = np.zeros(len(names), np.bool_)
    ordered = names[order]
    first = np.ones(len(names), np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    chosen[order[first]] = True
    return chosen


def block_contacts(
    affinities: Affinities, labels: NDArray[np.uint32], names: NDArray[np.int64], *, bins: bool
) -> Contacts:
    """Collect the affinities between the fragments of a window.

    Parameters
    ----------
    affinities : Affinities
        Their mask says which edges belong to the block.
    labels : ndarray of uint32
        From 1 without gaps.
    names : ndarray of int64, shape (N,)
        Ids of the labels in the volume, ascending.
    bins : bool
        Whether histograms are needed.

    Returns
    -------
    Contacts
        Far edges are there of all pairs, as these may touch in another block.
    """
    graph = region_graph(affinities, labels, bins=BINS if bins else 0, long_range=False)
    count = len(graph.edges)
    histograms = graph.histograms
    if histograms is None:
        histograms = np.zeros((count, 0), np.uint32)
    near = Contacts(
        pairs=names[graph.edges.astype(np.int64)].reshape(-1, 2),
        counts=graph.counts,
        sums=graph.sums,
        maxima=graph.maxima,
        far_counts=np.zeros(count, np.int64),
        far_sums=np.zeros(count),
        histograms=histograms,
    )
    parts = [near, *_far_contacts(affinities, labels, names, histograms.shape[1])]
    return Contacts.added(parts) if len(parts) > 1 else near


def _far_contacts(
    affinities: Affinities, labels: NDArray[np.uint32], names: NDArray[np.int64], bins: int
) -> Iterable[Contacts]:
    """Collect the affinities of each offset that is not direct."""
    known = affinities.known
    for k, offset in enumerate(affinities.offsets):
        if sum(map(abs, offset)) == 1:
            continue
        begin, end = edge_slices(affinities.shape, offset)
        a, b = labels[begin], labels[end]
        chosen = known[k][begin] & (a != b) & (a > 0) & (b > 0)
        one, two = a[chosen].astype(np.int64), b[chosen].astype(np.int64)
        keys = np.minimum(one, two) * (len(names) + 1) + np.maximum(one, two)
        found, places = np.unique(keys, return_inverse=True)
        pairs = np.stack(np.divmod(found, len(names) + 1), axis=1)
        values = affinities.data[k][begin][chosen].astype(np.float64)
        count = len(found)
        yield Contacts(
            pairs=names[pairs - 1].reshape(-1, 2),
            counts=np.zeros(count, np.int64),
            sums=np.zeros(count),
            maxima=np.full(count, -1, np.float32),
            far_counts=np.bincount(places, minlength=count).astype(np.int64),
            far_sums=np.bincount(places, values, minlength=count).astype(np.float64, copy=False),
            histograms=np.zeros((count, bins), np.uint32),
        )
