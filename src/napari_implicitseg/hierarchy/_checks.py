"""Whether the parts of a hierarchy fit together: a user may put one together by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy._region_kernels import count_sizes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import LabelArray

__all__ = ["check_affinities", "check_graph", "checked_altitudes", "checked_fragments", "leaves_of"]


def leaves_of(tree: Any) -> int:
    """Return the number of leaves of a tree of merges of two regions each.

    Raises
    ------
    InputError
        If it is no tree of higra, or a node joins more than two.
    """
    import higra as hg

    if not isinstance(tree, hg.Tree):
        raise InputError(f"The tree is of type {type(tree).__name__}; give a higra.Tree.")
    number, others = int(tree.num_leaves()), int(tree.num_vertices() - tree.num_leaves())
    children = np.bincount(np.asarray(tree.parents())[:-1], minlength=number + others)[number:]
    if (children != 2).any():
        raise InputError(
            f"The tree has {number} leaves and {others} other nodes; each of these has to "
            "join two nodes, as in higra.bpt_canonical."
        )
    return number


def checked_fragments(values: Any, number: int) -> LabelArray:
    """Return fragments as uint32 in C order, ids from 1 to a number, each in use.

    Raises
    ------
    InputError
        If they are not.
    """
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iu":
        kind = getattr(values, "dtype", type(values).__name__)
        raise InputError(f"The fragments are of type {kind}; give an array of integers.")
    if values.ndim not in (2, 3) or not values.size:
        raise InputError(f"The fragments have shape {values.shape}; give (y, x) or (z, y, x).")
    if values.dtype != np.uint32:
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > number:
            raise _not_leaves(f"The fragments range from {low} to {high}", number)
    fragments = np.ascontiguousarray(values, np.uint32)
    sizes = np.zeros(number + 1, np.int64)
    if not count_sizes(fragments.reshape(-1), sizes):
        raise _not_leaves(f"The fragments range up to {int(fragments.max())}", number)
    if not sizes[1:].all():
        missing = 1 + int(np.flatnonzero(sizes[1:] == 0)[0])
        raise _not_leaves(f"No voxel is in fragment {missing}", number)
    return fragments


def _not_leaves(what: str, number: int) -> InputError:
    return InputError(
        f"{what}, but the tree has {number} leaves: fragment i + 1 is leaf i, and each has voxels."
    )


def checked_altitudes(
    values: Any, parents: NDArray[np.int64], *, by_affinity: bool
) -> NDArray[np.float64]:
    """Return altitudes as float64: one for each node, from 0, that never fall towards the root.

    Raises
    ------
    InputError
        If they are not.
    """
    given = np.asarray(values)
    if given.dtype.kind not in "fiu" or given.shape != parents.shape:
        raise InputError(
            f"The altitudes are {given.dtype} {given.shape}; give a number for each of the "
            f"{len(parents)} nodes of the tree."
        )
    altitudes = np.ascontiguousarray(given, np.float64)
    if not (altitudes >= 0).all():
        raise InputError("Some altitudes are negative or NaN; give numbers from 0.")
    if (altitudes[parents] < altitudes).any():
        raise InputError(
            "The altitudes fall from a node to its parent; they have to rise towards the root, or "
            "stay."
        )
    highest = altitudes.max(initial=0, where=np.isfinite(altitudes))
    if by_affinity and highest > 1:
        raise InputError(
            f"The altitudes range up to {highest:g}; of a linkage by affinity they are 1 minus the "
            'affinity. Say which linkage it is, such as linkage="area".'
        )
    return altitudes


def check_graph(graph: Any, number: int) -> None:
    """Refuse a region graph of other fragments.

    Raises
    ------
    InputError
    """
    edges = graph.edges
    fits = len(graph.sizes) == number and edges.shape == (len(graph.counts), 2)
    if not fits or (edges.size and not (0 <= int(edges.min()) <= int(edges.max()) < number)):
        raise InputError(
            f"The region graph has {len(graph.sizes)} nodes and {len(edges)} edges, and does not "
            f"fit the {number} fragments; make it from them, by region_graph."
        )


def check_affinities(affinities: Any, shape: tuple[int, ...]) -> None:
    """Refuse affinities of another volume.

    Raises
    ------
    InputError
    """
    if affinities.shape != shape:
        raise InputError(
            f"The affinities are of a volume of {affinities.shape}, the fragments of {shape}; give "
            "both of one volume."
        )
