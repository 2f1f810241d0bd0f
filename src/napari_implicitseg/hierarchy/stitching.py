"""Objects of single sections joined to objects of a stack."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.affinities.ops import Affinities
from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy._lookups import number_roots, paint, roots_up_to
from napari_implicitseg.hierarchy.linkages import agglomerate
from napari_implicitseg.hierarchy.region_graph import region_graph
from napari_implicitseg.hierarchy.tree import checked_affinity

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_implicitseg._types import LabelArray
    from napari_implicitseg.hierarchy.region_graph import RegionGraph

__all__ = ["stitch_sections"]

_ACROSS = (-1, 0, 0)


def stitch_sections(
    labels: ArrayLike, *, affinities: Affinities | None = None, threshold: float = 0.5
) -> LabelArray:
    """Join the objects of neighbouring sections of a stack.

    Parameters
    ----------
    labels : array_like of int, shape (z, y, x)
        Objects of each section; an id in two sections is two objects. 0 is background.
    affinities : Affinities, optional
        With the offset (-1, 0, 0): objects are joined by the mean affinity between them, highest
        first, as long as it is above the threshold. Without them, or without that offset, by
        their overlap: its area, in that of both together (intersection over union).
    threshold : float
        0 to 1.

    Returns
    -------
    ndarray of uint32, shape (z, y, x)
        Objects from 1, by their first voxels; 0 stays. Objects may branch and join.

    Raises
    ------
    InputError
        If the labels are no stack of whole numbers, or do not fit the affinities.
    """
    values = np.asarray(labels)
    if values.dtype.kind not in "iub" or values.ndim != 3 or not values.size:
        raise InputError(
            f"The labels are {values.dtype} of shape {values.shape}; give a stack of whole "
            "numbers, (z, y, x)."
        )
    level = checked_affinity(threshold)
    sections = _numbered(values)
    if not sections.any():
        return sections
    graph, linkage = _contacts(sections, affinities)
    parents, altitudes = agglomerate(graph, linkage)
    roots = np.empty(len(parents), np.int64)
    roots_up_to(parents, altitudes, 1 - level, False, roots)
    lookup = np.zeros(len(graph.sizes) + 1, np.uint32)
    number_roots(roots, lookup)
    return paint(lookup, sections)


def _numbered(labels: NDArray[Any]) -> LabelArray:
    """Give the objects of each section ids of their own, without gaps."""
    out = np.zeros(labels.shape, np.uint32)
    count = 0
    for section, ids in zip(labels, out, strict=True):
        found, numbers = np.unique(section, return_inverse=True)
        own = np.cumsum(found != 0)
        own[found == 0] = 0
        ids[...] = np.where(own > 0, own + count, 0)[numbers.reshape(section.shape)]
        count += int(own.max())
    return out


def _contacts(sections: LabelArray, affinities: Affinities | None) -> tuple[RegionGraph, Any]:
    """Region graph across sections, and the linkage it is for."""
    known = None
    if affinities is not None:
        if affinities.shape != sections.shape:
            raise InputError(
                f"The labels have shape {sections.shape} but the affinities {affinities.shape}; "
                "give those of one stack."
            )
        known = next((k for k, o in enumerate(affinities.offsets) if o == _ACROSS), None)
    if affinities is not None and known is not None:
        mask = None if affinities.mask is None else affinities.mask[known : known + 1]
        across = replace(
            affinities, data=affinities.data[known : known + 1], offsets=(_ACROSS,), mask=mask
        )
        return region_graph(across, sections), "mean"
    ones = Affinities(
        data=np.ones((1, *sections.shape), np.float32), offsets=(_ACROSS,), spacing=(1.0,) * 3
    )
    graph = region_graph(ones, sections)
    both = graph.sizes[graph.edges].sum(axis=1)
    overlap = graph.counts / (both - graph.counts)
    return replace(graph, maxima=overlap.astype(np.float32)), "single"
