"""Fragments: the small pieces that affinities are cut into before they are put together.

Agglomeration on voxels is too slow and large for volumes. So the voxels are joined first
to pieces that no membrane crosses, and regions are made of these.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from napari_implicitseg.affinities.ops import Affinities
from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy._components import (
    Axis,
    checked_size,
    checked_threshold,
    direct_edges,
)
from napari_implicitseg.hierarchy._seeded import seeded_fragments
from napari_implicitseg.hierarchy._small import merge_small
from napari_implicitseg.hierarchy._unions import number_owners
from napari_implicitseg.hierarchy._watershed import (
    find_roots,
    label_basins,
    leave_plateaus,
    mark_best,
    raise_best,
)
from napari_implicitseg.progress import silent

if TYPE_CHECKING:
    from napari_implicitseg._types import LabelArray, Progress

__all__ = ["FragmentMethod", "make_fragments"]

FragmentMethod = Literal["watershed", "higra", "distance"]
"""Ways to make fragments; see `make_fragments`."""

# Voxels longer than this, over the others, are cut section by section.
_LONG = 3
_MOST_VOXELS = 2**32 - 2


def make_fragments(
    affinities: Affinities,
    *,
    method: FragmentMethod = "watershed",
    min_size: int = 0,
    min_affinity: float = 0.0,
    per_section: bool | None = None,
    threshold: float = 0.5,
    seed_distance: float = 3.0,
    progress: Progress | None = None,
) -> LabelArray:
    """Cut a volume into fragments that are smaller than its objects.

    Only direct edges, to a neighbour one voxel away along an axis, make fragments. Every voxel is
    in one, and each is connected by known direct edges.

    Parameters
    ----------
    affinities : Affinities
        2D or 3D, 0 to 1.
    method : {"watershed", "higra", "distance"}
        `"watershed"` is the watershed cut of the affinities [1]_: each fragment is the basin of
        one place whose affinities are higher than all that lead out of it. `"higra"` is the same
        by `higra.labelisation_watershed`, as a reference; it is slow, holds the interpreter lock,
        and differs where affinities are equal. In both, edges of affinity 0 join nothing.
        `"distance"` floods the voxels from those farthest from any membrane [2]_: larger
        fragments, of smoother outline.
    min_size : int
        Fragments of fewer voxels are merged, in the order of descending affinity of the best
        edges between fragments, until all have as many. A fragment that no known edge joins to
        another one stays.
    min_affinity : float
        Fragments are merged over edges of this affinity or more, 0 to 1; over those of 0, too, by
        default.
    per_section : bool, optional
        Cut each section along z for itself, by the edges inside it. By default where voxels are
        more than 3 times as long along z as along the other axes. No matter in 2D.
    threshold : float
        Of `"distance"`: voxels are membrane if 1 less the mean affinity of their direct edges is
        this or more, 0 to 1.
    seed_distance : float
        Of `"distance"`: a seed is farthest from membranes among the points up to this far along
        every axis, in voxels of the finest axis. Larger values make fewer, larger fragments.
    progress : Progress, optional
        Hears of each step, and may cancel.

    Returns
    -------
    ndarray of uint32, shape S
        Fragments from 1 without gaps, in the order of their first voxels in C order. 0 never
        occurs: a voxel without a known edge is a fragment of its own.

    Raises
    ------
    InputError
        If the affinities have no voxel, no direct offset (along the section, if cut by
        sections), NaN or values outside 0 to 1, or an option is out of range.

    Notes
    -----
    `"watershed"` takes linear time and 6 bytes per voxel with the result, 12 more with a mask.
    From plateaus, edges of one affinity that lead nowhere higher, voxels go to the nearest
    place that does; of equal ways the first is taken, by channel and then backwards first.
    `min_size` takes 5 bytes more per voxel, and 16 for each fragment.

    References
    ----------
    .. [1] J. Cousty, G. Bertrand, L. Najman and M. Couprie, "Watershed cuts: minimum spanning
       forests and the drop of water principle", IEEE TPAMI 31 (2009), 1362-1374.
    .. [2] J. Funke et al., "Large scale image segmentation with structured loss based deep
       learning for connectome reconstruction", IEEE TPAMI 41 (2018), 1669-1680.

    Examples
    --------
    >>> row = np.array([[[0, 0.9, 0.2, 0.8, 0.7, 0]]], np.float32)
    >>> make_fragments(Affinities(data=row, offsets=((0, -1),), spacing=(1, 1))).tolist()
    [[1, 1, 2, 2, 2, 3]]
    """
    if method not in get_args(FragmentMethod):
        raise InputError(
            f"The method is {method!r}; choose one of {', '.join(get_args(FragmentMethod))}."
        )
    if isinstance(min_size, bool):
        raise InputError(f"min_size is {min_size}; give a whole number of voxels.")
    least, level = checked_size(min_size), checked_threshold(threshold)
    lowest = checked_threshold(min_affinity, "min_affinity")
    reach = _checked_reach(seed_distance)
    report = progress or silent
    shape, axes, by_section = _edges(affinities, per_section)
    report(0.0, "Cutting into fragments")
    if method == "distance":
        labels = seeded_fragments(
            axes, affinities.shape, affinities.spacing, level, reach, by_section, _basins, report
        )
    else:
        make = _basins if method == "watershed" else _basins_of_higra
        labels = make(axes, math.prod(shape))
    if least > 1:
        report(0.8, "Merging small fragments")
        merge_small(labels, axes, least, float(lowest))
    report(1.0, "Cut into fragments")
    return labels.reshape(shape)


def _checked_reach(value: Any) -> float:
    """Return a distance between seeds."""
    try:
        reach = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(f"seed_distance is {value!r}; give a number of voxels.") from error
    if not 1 <= reach < math.inf:
        raise InputError(f"seed_distance is {reach:g}; give a number of voxels from 1.")
    return reach


def _edges(
    affinities: Affinities, per_section: bool | None
) -> tuple[tuple[int, ...], list[Axis], bool]:
    """Check affinities; return their shape, direct edges, and whether to go by sections."""
    if not isinstance(affinities, Affinities):
        raise InputError(
            f"The affinities are of type {type(affinities).__name__}; give Affinities, which know "
            "their offsets and the size of a voxel."
        )
    if not (per_section is None or isinstance(per_section, bool)):
        raise InputError(f"per_section is {per_section!r}; give True, False or None.")
    voxels = math.prod(affinities.shape)
    if not 0 < voxels <= _MOST_VOXELS:
        raise InputError(
            f"The affinities have shape {affinities.data.shape}; give a volume of 1 to "
            f"{_MOST_VOXELS} voxels, a larger one in blocks."
        )
    shape, axes = direct_edges(affinities, None)
    if per_section is None:
        per_section = affinities.spacing[0] > _LONG * max(affinities.spacing[1:])
    if not per_section or len(shape) == 2:
        return shape, axes, False
    direct = [o for o in affinities.offsets if sum(map(abs, o)) == 1]
    inside = [axis for axis, offset in zip(axes, direct, strict=True) if not offset[0]]
    if not inside:
        raise InputError(
            f"The affinities have no direct offset inside a section among {affinities.offsets}; "
            "add one such as (0, 0, -1), or set per_section=False."
        )
    return shape, inside, True


def _basins(axes: list[Axis], voxels: int) -> LabelArray:
    """Label the basins of the watershed, flat."""
    labels: LabelArray = np.zeros(voxels, np.uint32)
    # They serve three purposes, one after the other: highest affinities, queues, labels.
    best = labels.view(np.float32)
    for axis in axes:
        raise_best(best, axis.values, axis.first)
    bits, ways = np.zeros(voxels, np.uint8), np.zeros(voxels, np.uint8)
    for k, axis in enumerate(axes):
        mark_best(bits, best, axis.values, axis.first, k)
    inner = [axis.values.shape[2] for axis in axes]
    steps = np.array([sign * step for step in inner for sign in (-1, 1)], np.int64)
    leave_plateaus(ways, bits, steps, labels)
    find_roots(ways, bits, steps, labels)
    label_basins(labels, ways, steps)
    return labels


def _basins_of_higra(axes: list[Axis], voxels: int) -> LabelArray:
    """Label the basins of the watershed by higra, flat."""
    import higra as hg

    best = np.zeros(voxels, np.float32)
    for axis in axes:
        raise_best(best, axis.values, axis.first)
    graph, weights = hg.UndirectedGraph(voxels), []
    for axis in axes:
        length, inner = axis.values.shape[1:]
        values = axis.values[:, axis.first : axis.first + length - 1]
        rows = best.reshape(axis.values.shape)
        # Ways go along best edges only: a third of all in 3D, and of the memory.
        joining = (values > 0) & ((values == rows[:, :-1]) | (values == rows[:, 1:]))
        sources = np.flatnonzero(joining)
        if axis.values.shape[0] > 1:
            # Of the last row along the axis no edge begins.
            sources += sources // ((length - 1) * inner) * inner
        graph.add_edges(sources, sources + inner)
        weights.append(values[joining])
    del best
    # Its basins have low edges. Negative affinities keep the order that 1 less them may round off.
    found = hg.labelisation_watershed(graph, -np.concatenate(weights))
    labels: LabelArray = number_owners(found)
    return labels
