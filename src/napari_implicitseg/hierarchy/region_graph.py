"""The region graph: which fragments touch, and what the affinities between them say."""

from __future__ import annotations

import operator
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.affinities.ops import Affinities
from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy._components import Axis, direct_edges
from napari_implicitseg.hierarchy._region_kernels import (
    add_contacts,
    add_far,
    count_bins,
    count_sizes,
    fill_quantiles,
    list_faces,
    sort_rows,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_implicitseg._types import Progress

__all__ = ["RegionGraph", "find_contacts", "region_graph"]

_MOST_BINS = 1 << 16
_MOST_NODES = 2**31 - 1
# For each edge that threads are worth their memory.
_VOXELS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegionGraph:
    """Fragments as nodes, those that touch joined by edges; node `i` is fragment `i + 1`.

    Attributes
    ----------
    sizes : ndarray of int64, shape (N,)
        Voxels of each fragment.
    edges : ndarray of int32, shape (E, 2)
        Nodes that touch, the smaller first; rows in ascending order, none twice.
    counts : ndarray of int64, shape (E,)
        Area of contact: known direct edges between the voxels of both, at least 1.
    sums : ndarray of float64, shape (E,)
        Of the affinities over these.
    maxima : ndarray of float32, shape (E,)
        The largest of these.
    places : ndarray of int64, shape (E,)
        Where the largest lies: the place in C order of the earlier of its two voxels; of equal
        ones the first by channel, and then in C order.
    histograms : ndarray of uint32, shape (E, B), optional
        How many affinities lie in each of B equal bins from 0 to 1; the last holds 1, too.
    far_counts, far_sums : ndarray of int64 and float64, shape (E,), optional
        Number and sum of the known affinities of all other offsets between the two fragments;
        the number may be 0. None if there are no such offsets.
    """

    sizes: NDArray[np.int64]
    edges: NDArray[np.int32]
    counts: NDArray[np.int64]
    sums: NDArray[np.float64]
    maxima: NDArray[np.float32]
    places: NDArray[np.int64]
    histograms: NDArray[np.uint32] | None = None
    far_counts: NDArray[np.int64] | None = None
    far_sums: NDArray[np.float64] | None = None

    def __repr__(self) -> str:
        """Name the sizes; the arrays may be long."""
        bins = "" if self.histograms is None else f", {self.histograms.shape[1]} bins"
        return f"RegionGraph({self.nodes} nodes, {len(self.edges)} edges{bins})"

    @property
    def nodes(self) -> int:
        """Number of fragments."""
        return len(self.sizes)

    @property
    def means(self) -> NDArray[np.float64]:
        """Mean affinity of each edge, float64 (E,)."""
        return self.sums / self.counts

    def quantiles(self, q: float) -> NDArray[np.float64]:
        """Quantile of the affinities of each edge, up to the width of a bin.

        Parameters
        ----------
        q : float
            0 to 1; 0.5 is the median.

        Returns
        -------
        ndarray of float64, shape (E,)
            Linear inside a bin. In the bin of the smallest affinity up to which there is a
            share of `q` of all.

        Raises
        ------
        InputError
            If there are no histograms, or `q` is not from 0 to 1.
        """
        if self.histograms is None:
            raise InputError("The graph has no histograms; make it with bins, such as bins=256.")
        try:
            share = float(q)
        except (TypeError, ValueError) as error:
            raise InputError(f"q is {q!r}; give a number from 0 to 1.") from error
        if not 0 <= share <= 1:
            raise InputError(f"q is {share:g}; give a number from 0 to 1.")
        values = np.empty(len(self.counts))
        fill_quantiles(self.histograms, self.counts, share, values)
        return values


def region_graph(
    affinities: Affinities,
    fragments: NDArray[np.uint32],
    *,
    bins: int = 0,
    long_range: bool = True,
    progress: Progress | None = None,
) -> RegionGraph:
    """Collect the affinities between fragments that touch.

    Fragments touch if a known direct edge, to a neighbour one voxel away along an axis, leads from
    one to the other. Edges of other offsets count only between fragments that touch.

    Parameters
    ----------
    affinities : Affinities
        2D or 3D, 0 to 1.
    fragments : ndarray of int, shape S
        Ids from 1 without gaps, such as those of `make_fragments`. Voxels of 0 are outside
        everything: they have no edges.
    bins : int
        Bins of the histograms, up to 65536; without any by default.
    long_range : bool
        Collect the affinities of the offsets that are not direct, too.
    progress : Progress, optional
        Hears of each step, and may cancel.

    Returns
    -------
    RegionGraph

    Raises
    ------
    InputError
        If the fragments are no integers, of another shape than the affinities, or have gaps; if
        the affinities have no direct offset, NaN or values outside 0 to 1; if `bins` is out of
        range.

    Notes
    -----
    Sums run in C order, in float64, and then over the channels: they are the same each time. Beside
    the result, of 36 bytes per edge, memory is 4 bytes for each voxel face between fragments (of
    faces in a row, one), 28 bytes per edge, three times that in threads, and nothing per voxel, but
    12 bytes if the affinities have a mask.

    Examples
    --------
    >>> row = np.array([[[0, 0.75, 0.25, 0.5]]], np.float32)
    >>> edges = Affinities(data=row, offsets=((0, -1),), spacing=(1, 1))
    >>> graph = region_graph(edges, np.array([[1, 1, 2, 3]], np.uint32))
    >>> graph.edges.tolist(), graph.means.tolist()
    ([[0, 1], [1, 2]], [0.25, 0.5])
    """
    labels, sizes = _checked_fragments(affinities, fragments)
    number = _checked_bins(bins)
    axes = direct_edges(affinities, None)[1]
    steps = _Steps(progress, 2 + bool(number) + bool(long_range))
    steps.begin("Finding fragments that touch")
    flat = labels.reshape(-1)
    starts, others = find_contacts(flat, axes, len(sizes))
    found = len(others)
    edges = np.empty((found, 2), np.int32)
    edges[:, 0] = np.repeat(np.arange(-1, len(sizes) - 1, dtype=np.int32), np.diff(starts))
    np.subtract(others, 1, out=edges[:, 1], casting="unsafe")
    steps.begin("Collecting affinities")
    counts, sums, maxima, places = _collected(flat, axes, starts, others)
    histograms = None
    if number:
        steps.begin("Counting affinities")
        histograms = np.zeros((found, number), np.uint32)
        for axis in axes:
            count_bins(flat, *axis, starts, others, histograms)
    far: tuple[NDArray[np.int64] | None, NDArray[np.float64] | None] = (None, None)
    if long_range:
        steps.begin("Collecting affinities of long range")
        far = _far(affinities, labels, starts, others)
    steps.end("Collected affinities")
    return RegionGraph(
        sizes=sizes[1:],
        edges=edges,
        counts=counts,
        sums=sums,
        maxima=maxima,
        places=places,
        histograms=histograms,
        far_counts=far[0],
        far_sums=far[1],
    )


def find_contacts(
    labels: NDArray[np.uint32], axes: list[Axis], ids: int
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Find the pairs of fragments that touch, of ids from 0 to `ids` - 1.

    Parameters
    ----------
    labels : ndarray of uint32, shape (voxels,)
    axes : list of Axis
    ids : int

    Returns
    -------
    starts : ndarray of int64, shape (ids + 1,)
        Where the pairs begin of which an id is the smaller one, and how many there are.
    others : ndarray of uint32, shape (E,)
        The larger ids, in ascending order for each smaller one.
    """
    starts = np.zeros(ids + 1, np.int64)
    nothing: NDArray[np.uint32] = np.empty(0, np.uint32)
    for axis in axes:
        list_faces(labels, *axis, starts, nothing)
    np.cumsum(starts, out=starts)
    others = np.empty(starts[-1], np.uint32)
    for axis in axes if len(others) else ():
        list_faces(labels, *axis, starts, others)
    return starts, others[: sort_rows(starts, others)].copy()


def _collected(
    labels: NDArray[np.uint32],
    axes: list[Axis],
    starts: NDArray[np.int64],
    others: NDArray[np.uint32],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float32], NDArray[np.int64]]:
    """Count and add up the affinities of each edge; the largest, and where it lies.

    Axis by axis, each in a thread, unless there are about as many edges as voxels.
    """
    threads = min(len(axes), os.cpu_count() or 1) if _VOXELS * len(others) < len(labels) else 1

    def collect(axis: Axis) -> tuple[NDArray[Any], ...]:
        number = len(others)
        counts, sums = np.zeros(number, np.int64), np.zeros(number)
        maxima, places = np.full(number, -1, np.float32), np.zeros(number, np.int64)
        add_contacts(labels, *axis, starts, others, counts, sums, maxima, places)
        return counts, sums, maxima, places

    with ThreadPoolExecutor(threads) as pool:
        # Without threads one after the other, so that two are there at a time.
        found = pool.map(collect, axes) if threads > 1 else map(collect, axes)
        counts, sums, maxima, places = next(found)
        for more, added, higher, elsewhere in found:
            counts += more
            sums += added
            np.copyto(places, elsewhere, where=higher > maxima)
            np.maximum(maxima, higher, out=maxima)
    return counts, sums, maxima, places


class _Steps:
    """Steps of one length that a callback hears of."""

    def __init__(self, progress: Progress | None, number: int) -> None:
        self._progress = progress
        self._number = number
        self._done = 0

    def begin(self, message: str) -> None:
        if self._progress is not None:
            self._progress(self._done / self._number, message)
        self._done += 1

    def end(self, message: str) -> None:
        if self._progress is not None:
            self._progress(1.0, message)


def _checked_fragments(
    affinities: Any, fragments: Any
) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Return fragments in C order, and the voxels of each id from 0."""
    if not isinstance(affinities, Affinities):
        raise InputError(
            f"The affinities are of type {type(affinities).__name__}; give Affinities, which know "
            "their offsets."
        )
    values = np.asarray(fragments)
    if values.dtype.kind not in "iu":
        raise InputError(f"The fragments are of type {values.dtype}; give integers from 1.")
    if values.shape != affinities.shape:
        raise InputError(
            f"The fragments have shape {values.shape}, but the affinities are of a volume of shape "
            f"{affinities.shape}; give fragments of that volume."
        )
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if low < 0:
        raise InputError(f"The fragments hold {low}; ids have to be positive, 0 is outside.")
    if high > min(values.size, _MOST_NODES):
        raise _gaps(f"The largest id of the fragments is {high}, of {values.size} voxels")
    labels = np.ascontiguousarray(values, np.uint32)
    sizes: NDArray[np.int64] = np.zeros(high + 1, np.int64)
    count_sizes(labels.reshape(-1), sizes)
    if not sizes[1:].all():
        missing = 1 + int(np.flatnonzero(sizes[1:] == 0)[0])
        raise _gaps(f"The fragments have ids up to {high}, but none is {missing}")
    return labels, sizes


def _gaps(what: str) -> InputError:
    return InputError(
        f"{what}; ids have to be without gaps from 1. Relabel them, for instance by "
        "skimage.segmentation.relabel_sequential."
    )


def _checked_bins(value: Any) -> int:
    try:
        bins = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        bins = -1
    if not 0 <= bins <= _MOST_BINS:
        raise InputError(f"bins is {value!r}; give a whole number from 0 to {_MOST_BINS}.")
    return bins


def _far(
    affinities: Affinities,
    labels: NDArray[np.uint32],
    starts: NDArray[np.int64],
    others: NDArray[np.uint32],
) -> tuple[NDArray[np.int64] | None, NDArray[np.float64] | None]:
    """Count and add up the affinities along the offsets that are not direct; None without."""
    far = [k for k, offset in enumerate(affinities.offsets) if sum(map(abs, offset)) > 1]
    if not far:
        return None, None
    counts, sums = np.zeros(len(others), np.int64), np.zeros(len(others))
    shape = (1,) * (3 - labels.ndim) + labels.shape
    for k in far:
        mask = np.empty((0, 0, 0), np.bool_)
        if affinities.mask is not None:
            mask = np.ascontiguousarray(affinities.mask[k]).reshape(shape)
        offset = np.array((0,) * (3 - labels.ndim) + affinities.offsets[k], np.int64)
        values = np.ascontiguousarray(affinities.data[k]).reshape(shape)
        arguments = (labels.reshape(shape), values, mask, offset, starts, others, counts, sums)
        if not add_far(*arguments):
            raise InputError(
                f"The affinities of the offset {affinities.offsets[k]} hold NaN or values outside "
                "0 to 1; give logits through a sigmoid first."
            )
    return counts, sums
