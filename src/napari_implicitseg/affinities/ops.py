"""Affinities: what they are, their neighbourhoods, and the ways from and to labels and graphs.

An affinity says how likely two voxels belong to one object. `data[k][p]` belongs
to the edge from voxel `p` to voxel `p + offsets[k]`; an edge whose other end lies
outside the volume does not exist.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.affinities._offsets import (
    Offsets,
    checked_offsets,
    edge_slices,
    edge_step,
    edges_inside,
    neighbourhood,
)
from napari_implicitseg.errors import InputError
from napari_implicitseg.voxel_sizes import checked_spacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_implicitseg._types import BoolArray

__all__ = [
    "Affinities",
    "Offsets",
    "affinities_to_graph",
    "check_ids",
    "checked_mask",
    "checked_offsets",
    "checked_truth",
    "edge_slices",
    "edges_inside",
    "graph_to_affinities",
    "labels_to_affinities",
    "neighbourhood",
]

# Edges looked at in one go when a graph is turned into affinities.
_EDGES_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Affinities:
    """Affinities of a volume or an image.

    Attributes
    ----------
    data : ndarray of float32, shape (K, *S)
        `data[k][p]` is the affinity of the edge `p` -- `p + offsets[k]`; 1 means one object,
        0 two. S is (z, y, x) or (y, x).
    offsets : tuple of K tuples of int
        In voxels, axis order.
    spacing : tuple of float
        Size of a voxel along each axis, in any one unit.
    mask : ndarray of bool, shape (K, *S), optional
        Where an edge is known: inside the volume and, if made from labels, with both ends
        labelled. None stands for all that are inside.

    Raises
    ------
    InputError
        If the parts do not fit together. Nothing is converted: `data` has to be float32.
    """

    data: NDArray[np.float32]
    offsets: Offsets
    spacing: tuple[float, ...]
    mask: BoolArray | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.data, np.ndarray) or self.data.dtype != np.float32:
            kind = getattr(self.data, "dtype", type(self.data).__name__)
            raise InputError(f"The affinities are of type {kind}; give a float32 NumPy array.")
        if self.data.ndim not in (3, 4):
            raise InputError(
                f"The affinities have shape {self.data.shape}; they need (K, y, x) or "
                "(K, z, y, x), with one channel per offset."
            )
        # Lists are as good as tuples; the numbers in them are checked.
        object.__setattr__(self, "offsets", checked_offsets(self.offsets, self.data.ndim - 1))
        object.__setattr__(self, "spacing", checked_spacing(self.spacing, self.data.ndim - 1))
        if len(self.offsets) != len(self.data):
            raise InputError(
                f"There are {len(self.data)} channels of affinities but {len(self.offsets)} "
                "offsets; give one offset per channel."
            )
        if self.mask is not None:
            checked_mask(self.mask, self.data.shape)

    @property
    def ndim(self) -> int:
        """Number of axes of the volume."""
        return self.data.ndim - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape S of the volume."""
        return self.data.shape[1:]

    @property
    def known(self) -> BoolArray:
        """The mask, or where edges are inside the volume: bool (K, *S)."""
        return edges_inside(self.shape, self.offsets) if self.mask is None else self.mask


def checked_mask(mask: Any, shape: tuple[int, ...]) -> None:
    """Complain about a mask that has not one bool per affinity."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != shape:
        got = f"{getattr(mask, 'dtype', type(mask).__name__)} {getattr(mask, 'shape', '')}"
        raise InputError(
            f"The mask of the affinities is {got.strip()}; it needs bool {shape}, one value per "
            "affinity."
        )


def checked_truth(labels: Any, *, unlabelled: int | None = 0) -> NDArray[np.integer[Any]]:
    """Return labels as an array of integers; bool becomes uint8, nothing else is converted.

    Raises
    ------
    InputError
        If they are not 2D or 3D integers, or negative where that does not mean unlabelled.
    """
    values = np.asarray(labels)
    if values.dtype == np.bool_:
        values = values.view(np.uint8)
    if values.dtype.kind not in "iu":
        raise InputError(f"The labels are of type {values.dtype}; give integers, 0 for unlabelled.")
    if values.ndim not in (2, 3):
        raise InputError(f"The labels have shape {values.shape}; they need (y, x) or (z, y, x).")
    if not values.size:
        raise InputError(f"The labels have shape {values.shape}: there is no voxel in them.")
    check_ids(values, unlabelled=unlabelled)
    return values


def check_ids(labels: NDArray[Any], *, unlabelled: int | None = 0) -> None:
    """Complain about negative labels, but for the one that means unlabelled."""
    if labels.dtype.kind != "i" or not labels.size:
        return
    low = int(labels.min())
    if low < 0 and low == unlabelled:
        low = int(labels.min(where=labels != low, initial=0))
    if low < 0:
        raise InputError(
            f"The labels hold {low}; ids have to be positive, and 0 is unlabelled. Set voxels "
            "without a label to 0."
        )


def labels_to_affinities(
    labels: ArrayLike,
    offsets: Any,
    *,
    spacing: Sequence[float] | None = None,
    unlabelled: int | None = 0,
) -> Affinities:
    """Affinities that labels ask for.

    Parameters
    ----------
    labels : array_like of int or bool, shape S
        2D or 3D, ids of any size.
    offsets : sequence of K sequences of int
        In voxels, axis order.
    spacing : sequence of float, optional
        Size of a voxel along each axis, kept in the result.
    unlabelled : int or None
        Label of voxels about which nothing is known: the mask leaves out edges that touch them.
        None if there are none: 0 then is background, and edges that touch it are known and 0.

    Returns
    -------
    Affinities
        `data` is 1 where both ends have one label other than 0, else 0; `mask` where the edge is
        inside and both its ends are labelled.

    Raises
    ------
    InputError
        If the labels are no integers, the offsets or the spacing do not fit them, or `unlabelled`
        is no whole number.

    Examples
    --------
    >>> row = labels_to_affinities([[1, 1, 2, 0]], [(0, -1)])
    >>> row.data.tolist(), row.mask.tolist()
    ([[[0.0, 1.0, 0.0, 0.0]]], [[[False, True, True, False]]])
    """
    if unlabelled is not None and (
        isinstance(unlabelled, bool) or not isinstance(unlabelled, int | np.integer)
    ):
        raise InputError(f"unlabelled is {unlabelled!r}; give the label, a whole number, or None.")
    values = checked_truth(labels, unlabelled=unlabelled)
    vectors = checked_offsets(offsets, values.ndim)
    size = checked_spacing(spacing, values.ndim)
    data = np.zeros((len(vectors), *values.shape), np.float32)
    mask = np.zeros(data.shape, np.bool_)
    is_object = values != 0
    known = is_object if unlabelled == 0 else None
    if unlabelled:
        known = values != unlabelled
        is_object &= known
    for k, offset in enumerate(vectors):
        here, there = edge_slices(values.shape, offset)
        same = values[here] == values[there]
        same &= is_object[here]
        data[k][here] = same
        if known is None:
            mask[k][here] = True
        else:
            np.logical_and(known[here], known[there], out=mask[k][here])
    return Affinities(data=data, offsets=vectors, spacing=size, mask=mask)


def affinities_to_graph(affinities: Affinities) -> tuple[Any, NDArray[np.float32]]:
    """Turn affinities into a weighted higra graph.

    Parameters
    ----------
    affinities : Affinities

    Returns
    -------
    graph : higra.UndirectedGraph
        Vertices are the voxels in C order. Edges are those that are known, by offset and then in
        C order of the voxel they start from; `graph.edge_list()` gives the earlier of their two
        voxels first, whichever that is. higra knows the shape (`higra.CptGridGraph`).
    weights : ndarray of float32, shape (E,)
        The affinities. Hierarchies of higra join low weights first: give them `1 - weights`.

    See Also
    --------
    graph_to_affinities : the way back.
    """
    import higra as hg

    shape, known = affinities.shape, affinities.known
    graph = hg.UndirectedGraph(math.prod(shape))
    weights = []
    for k, offset in enumerate(affinities.offsets):
        inside = np.zeros(shape, np.bool_)
        inside[edge_slices(shape, offset)[0]] = True
        inside &= known[k]
        sources = np.flatnonzero(inside)
        graph.add_edges(sources, sources + edge_step(shape, offset))
        weights.append(affinities.data[k][inside])
    hg.CptGridGraph.link(graph, shape)
    return graph, np.concatenate(weights)


def graph_to_affinities(
    graph: Any,
    weights: ArrayLike,
    shape: Sequence[int],
    offsets: Any,
    *,
    spacing: Sequence[float] | None = None,
) -> Affinities:
    """Turn a weighted higra graph over voxels into affinities.

    Parameters
    ----------
    graph : higra.UndirectedGraph
        Vertices are the voxels in C order. Edges may come in any order and direction, from
        `affinities_to_graph` or `higra.get_nd_regular_graph`.
    weights : array_like of float, shape (E,)
        Affinity of each edge.
    shape : sequence of int
        Shape S of the volume.
    offsets : sequence of K sequences of int
        Channels of the result; each edge has to be one of them, or its opposite.
    spacing : sequence of float, optional
        Size of a voxel along each axis, kept in the result.

    Returns
    -------
    Affinities
        0 and not in the mask where the graph has no edge.

    Raises
    ------
    InputError
        If the graph has another number of vertices or weights, an edge that is none of the
        offsets, or two edges between the same voxels.
    """
    size = tuple(int(n) for n in shape)
    vectors = checked_offsets(offsets, len(size))
    values = np.asarray(weights, np.float32)
    if graph.num_vertices() != math.prod(size):
        raise InputError(
            f"The graph has {graph.num_vertices()} vertices, but shape {size} has "
            f"{math.prod(size)} voxels; give the shape it was made from."
        )
    if values.shape != (graph.num_edges(),):
        raise InputError(
            f"The weights have shape {values.shape}; the graph has {graph.num_edges()} edges and "
            "needs one weight for each."
        )
    data = np.zeros((len(vectors), *size), np.float32)
    mask = np.zeros(data.shape, np.bool_)
    for part, sources, targets in _edges(graph):
        _place(data, mask, vectors, sources, targets, values[part])
    if int(np.count_nonzero(mask)) != len(values):
        raise InputError(
            "The graph has several edges between the same voxels; leave one, for instance that of "
            "the largest weight."
        )
    return Affinities(
        data=data, offsets=vectors, spacing=checked_spacing(spacing, len(size)), mask=mask
    )


def _edges(graph: Any) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the ends of the edges of a graph, some at a time."""
    sources, targets = graph.edge_list()
    for begin in range(0, len(sources), _EDGES_AT_ONCE):
        part = slice(begin, begin + _EDGES_AT_ONCE)
        yield part, np.asarray(sources[part], np.int64), np.asarray(targets[part], np.int64)


def _place(
    data: NDArray[np.float32],
    mask: BoolArray,
    offsets: Offsets,
    sources: NDArray[np.int64],
    targets: NDArray[np.int64],
    weights: NDArray[np.float32],
) -> None:
    """Write edges to their places, from whichever end the offset starts."""
    shape = data.shape[1:]
    ends = [np.stack(np.unravel_index(v, shape)) for v in (sources, targets)]
    vectors = ends[1] - ends[0]
    open_ = np.ones(len(sources), np.bool_)
    for k, offset in enumerate(offsets):
        for sign, starts in ((1, sources), (-1, targets)):
            column = sign * np.asarray(offset)[:, None]
            found = np.flatnonzero((vectors == column).all(axis=0))
            data[k].reshape(-1)[starts[found]] = weights[found]
            mask[k].reshape(-1)[starts[found]] = True
            open_[found] = False
    if open_.any():
        first = int(np.flatnonzero(open_)[0])
        raise InputError(
            f"The graph has an edge along {tuple(vectors[:, first].tolist())}, which is none of "
            f"the offsets {offsets}; add it."
        )
