"""Objects as the connected components of affinities above a threshold.

The simplest way from affinities to objects, and the one affinities are trained for:
two voxels end up together if some path between them has no affinity up to the
threshold, which is what the maximin affinity of the pair says (Turaga et al. 2009).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

from napari_implicitseg.affinities.ops import Affinities, checked_offsets, edge_slices
from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy._components import (
    Axis,
    Edges,
    boundary,
    checked_size,
    checked_threshold,
    components_above,
    direct_edges,
    own_objects,
)
from napari_implicitseg.hierarchy._unions import (
    grow_owners,
    join_edges,
    number_owners,
    number_trees,
    spanning_edges,
)
from napari_implicitseg.metrics import Contingency, adapted_rand, contingency, rand_index, voi

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_implicitseg._types import LabelArray

__all__ = [
    "CurvePoint",
    "ThresholdCurve",
    "image_affinities",
    "threshold_curve",
    "threshold_labels",
]

Score = Literal["voi", "voi_split", "voi_merge", "adapted_rand_error", "rand_index"]


class CurvePoint(NamedTuple):
    """Scores of the segmentation at one threshold; see `ThresholdCurve`."""

    threshold: float
    voi_split: float
    voi_merge: float
    adapted_rand_error: float
    rand_index: float
    objects: int

    @property
    def voi(self) -> float:
        """Sum of `voi_split` and `voi_merge`, in bits."""
        return self.voi_split + self.voi_merge


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ThresholdCurve:
    """Scores of the segmentations at some thresholds, in the order they were asked for.

    Attributes
    ----------
    thresholds : ndarray of float64, shape (T,)
    voi_split, voi_merge : ndarray of float64, shape (T,)
        Variation of information, in bits.
    adapted_rand_error, rand_index : ndarray of float64, shape (T,)
    objects : ndarray of int64, shape (T,)
        Number of objects, label 0 not counted.
    """

    thresholds: NDArray[np.float64]
    voi_split: NDArray[np.float64]
    voi_merge: NDArray[np.float64]
    adapted_rand_error: NDArray[np.float64]
    rand_index: NDArray[np.float64]
    objects: NDArray[np.int64]

    @property
    def voi(self) -> NDArray[np.float64]:
        """Sum of `voi_split` and `voi_merge`, in bits."""
        return self.voi_split + self.voi_merge

    def __len__(self) -> int:
        """Return the number of thresholds."""
        return len(self.thresholds)

    def __getitem__(self, index: int) -> CurvePoint:
        """Return the scores at one threshold."""
        return CurvePoint(
            float(self.thresholds[index]),
            float(self.voi_split[index]),
            float(self.voi_merge[index]),
            float(self.adapted_rand_error[index]),
            float(self.rand_index[index]),
            int(self.objects[index]),
        )

    def best(self, by: Score = "voi") -> CurvePoint:
        """Return the point of the best score; of equal ones the first.

        Parameters
        ----------
        by : {"voi", "voi_split", "voi_merge", "adapted_rand_error", "rand_index"}
            The Rand index is best where it is largest, the others where they are smallest.

        Raises
        ------
        InputError
            If there is no such score.
        """
        if by not in get_args(Score):
            raise InputError(f"by is {by!r}; choose one of {', '.join(get_args(Score))}.")
        scores: NDArray[np.float64] = getattr(self, by)
        return self[int(np.argmax(scores) if by == "rand_index" else np.argmin(scores))]


def threshold_labels(
    affinities: Affinities | ArrayLike,
    threshold: float,
    *,
    offsets: Any = None,
    min_size: int = 0,
    grow: bool = False,
) -> LabelArray:
    """Label the connected components of the affinities above a threshold.

    Only direct edges, to a neighbour one voxel away along an axis, join voxels; long-range
    ones are left aside. Edges that the mask of the affinities leaves out join nothing.

    Parameters
    ----------
    affinities : Affinities, or array_like of float, shape (K, *S)
        0 to 1; an edge joins its voxels if it is larger than the threshold.
    threshold : float
        0 to 1.
    offsets : sequence of K sequences of int, optional
        Offsets of an array; by default the negative unit vectors, in axis order.
    min_size : int
        Objects of fewer voxels become 0. From 2, voxels that are joined to none do, too; below,
        each of them is an object.
    grow : bool
        Give the voxels of the objects that are too small to the others, in the order of
        descending affinity: a seeded watershed on the maximum spanning tree. Among equal
        affinities the order is that of the channels, and then C order. 0 is left only where no
        known edge leads to an object of `min_size`.

    Returns
    -------
    ndarray of uint32, shape S
        Objects from 1, in the order of their first voxels.

    Raises
    ------
    InputError
        If the affinities have a wrong shape, no direct offset, NaN or values outside 0 to 1, or
        the threshold or `min_size` are out of range.

    References
    ----------
    S. C. Turaga, K. L. Briggman, M. Helmstaedter, W. Denk and H. S. Seung, "Maximin affinity
    learning of image segmentation", NeurIPS 2009.

    Examples
    --------
    >>> row = [[[0, 0.9, 0.2, 0.8, 0.7]]]
    >>> threshold_labels(row, 0.5, offsets=[(0, -1)]).tolist()
    [[1, 1, 2, 2, 2]]
    """
    level = checked_threshold(threshold)
    least = checked_size(min_size)
    shape, axes = direct_edges(affinities, offsets)
    components, count = components_above(axes, math.prod(shape), level)
    sizes = np.bincount(components, minlength=count)
    owners = own_objects(sizes, least)
    kept = owners > 0
    if grow and kept.any() and not kept.all():
        edges = boundary(axes, components, kept, -0.5)
        grow_owners(owners, edges.sources, edges.targets, edges.order())
    labels: LabelArray = number_owners(owners)[components].reshape(shape)
    return labels


def threshold_curve(
    affinities: Affinities | ArrayLike,
    truth: ArrayLike,
    thresholds: Iterable[float],
    *,
    offsets: Any = None,
    min_size: int = 0,
    grow: bool = False,
    ignore: int | None = 0,
) -> ThresholdCurve:
    """Score `threshold_labels` at many thresholds against the truth.

    The edges are sorted once. What one threshold has joined stays joined at the lower ones, whose
    scores come from its components and not from the voxels again.

    Parameters
    ----------
    affinities : Affinities, or array_like of float, shape (K, *S)
        As for `threshold_labels`.
    truth : array_like of int, shape S
    thresholds : iterable of float
        0 to 1, in any order.
    offsets, min_size, grow
        As for `threshold_labels`. Without `grow` the voxels of objects that are too small all
        have label 0, and count as one object.
    ignore : int, optional
        Voxels with this label in the truth are left out of the scores; None leaves out none.

    Returns
    -------
    ThresholdCurve

    Raises
    ------
    InputError
        As for `threshold_labels`, or if there is no threshold or no voxel to compare, or the
        truth is of another shape.
    """
    asked = list(thresholds)
    levels = np.array([checked_threshold(t) for t in asked], np.float32)
    if not asked:
        raise InputError("There are no thresholds; give one at least, for instance [0.5].")
    least = checked_size(min_size)
    shape, axes = direct_edges(affinities, offsets)
    steps, back = np.unique(-levels, return_inverse=True)
    state = _Joined.at(-steps[0], axes, shape, truth, ignore, -0.5 if grow else -steps[-1])
    points = []
    for step in -steps:
        state = state.down_to(step)
        points.append(state.scores(least, grow=grow))
    columns = np.array(points)[back.reshape(-1)].T
    return ThresholdCurve(
        thresholds=np.array(asked, np.float64),
        voi_split=columns[0],
        voi_merge=columns[1],
        adapted_rand_error=columns[2],
        rand_index=columns[3],
        objects=columns[4].astype(np.int64),
    )


def image_affinities(
    image: ArrayLike,
    offsets: Any,
    *,
    spacing: Sequence[float] | None = None,
    limits: tuple[float, float] | None = None,
) -> Affinities:
    """Affinities straight from the intensities: what thresholding an image amounts to.

    An edge has the intensity of the darker of its voxels, so that the components above a
    threshold are those of the voxels that are brighter. Made for images whose objects are bright
    and whose membranes are dark; give others as `-image`.

    Parameters
    ----------
    image : array_like of number, shape S
        2D or 3D, one channel.
    offsets : sequence of K sequences of int
        In voxels, axis order.
    spacing : sequence of float, optional
        Size of a voxel along each axis, kept in the result.
    limits : tuple of two float, optional
        Intensities that become 0 and 1; beyond them they are clipped. By default the smallest
        and largest of the image. Give them for a threshold to mean the same in several images.

    Returns
    -------
    Affinities
        0 where an edge leaves the image.

    Raises
    ------
    InputError
        If the image is not 2D or 3D, constant or not finite, or the offsets or limits do not fit.
    """
    values = np.asarray(image)
    if values.dtype.kind not in "iufb" or values.ndim not in (2, 3) or not values.size:
        raise InputError(
            f"The image is of type {values.dtype} and shape {values.shape}; give numbers of shape "
            "(y, x) or (z, y, x), one channel."
        )
    vectors = checked_offsets(offsets, values.ndim)
    grey = _normalised(values, limits)
    data = np.zeros((len(vectors), *grey.shape), np.float32)
    for k, offset in enumerate(vectors):
        here, there = edge_slices(grey.shape, offset)
        np.minimum(grey[here], grey[there], out=data[k][here])
    # The class makes a tuple of None and of lists.
    return Affinities(data=data, offsets=vectors, spacing=spacing)  # type: ignore[arg-type]


class _Joined(NamedTuple):
    """Components at one threshold, and all that is needed to go to a lower one.

    `sizes` are their voxels, `edges` the maximum spanning forest between them in descending
    order, `table` what they share with the truth, its label ids being their places.
    """

    sizes: NDArray[np.int64]
    edges: Edges
    table: Contingency

    @staticmethod
    def at(
        level: np.float32,
        axes: list[Axis],
        shape: tuple[int, ...],
        truth: ArrayLike,
        ignore: int | None,
        lowest: np.float32 | float,
    ) -> _Joined:
        """Join the voxels above a threshold."""
        components, count = components_above(axes, math.prod(shape), level)
        table = contingency(components.reshape(shape), truth, ignore=ignore)
        edges = boundary(axes, components, np.zeros(count, np.bool_), lowest)
        kept = spanning_edges(count, edges.sources, edges.targets, edges.order())
        return _Joined(np.bincount(components, minlength=count), edges.taken(kept), table)

    def down_to(self, level: np.float32) -> _Joined:
        """Join the components above a lower threshold."""
        joining = int(np.searchsorted(-self.edges.weights, -level))
        if not joining:
            return self
        places = np.arange(len(self.sizes), dtype=self.edges.sources.dtype)
        join_edges(places, self.edges.sources[:joining], self.edges.targets[:joining])
        sizes = np.zeros(number_trees(places), np.int64)
        np.add.at(sizes, places, self.sizes)
        left = Edges(
            places[self.edges.sources[joining:]],
            places[self.edges.targets[joining:]],
            self.edges.weights[joining:],
        )
        return _Joined(sizes, left, self.table.relabelled(places[self.table.label_ids]))

    def scores(self, least: int, *, grow: bool) -> tuple[float, float, float, float, int]:
        """Split and merge VOI, adapted Rand error, Rand index and number of objects."""
        owners = own_objects(self.sizes, least)
        kept = owners > 0
        if grow and kept.any() and not kept.all():
            order = np.arange(len(self.edges.weights))
            grow_owners(owners, self.edges.sources, self.edges.targets, order)
        # Where all are kept each has its own label already.
        table = self.table if kept.all() else self.table.relabelled(owners[self.table.label_ids])
        information = voi(table)
        return (
            information.split,
            information.merge,
            adapted_rand(table).error,
            rand_index(table),
            int(np.count_nonzero(kept)),
        )


def _normalised(image: NDArray[Any], limits: tuple[float, float] | None) -> NDArray[np.float32]:
    """Scale intensities to 0 to 1."""
    low, high = float(image.min()), float(image.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError("The image holds NaN or infinity; replace them, by numpy.nan_to_num.")
    if limits is None and low == high:
        raise InputError(
            f"The image is {low:g} everywhere; give an image with contrast, or limits."
        )
    if limits is not None:
        low, high = (float(v) for v in limits)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise InputError(f"limits are {limits}; give two intensities, the smaller first.")
    grey = np.clip(image.astype(np.float64), low, high)
    grey -= low
    grey /= high - low
    return grey.astype(np.float32)
