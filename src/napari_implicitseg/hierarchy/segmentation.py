"""From affinities to labels in one call."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy._components import as_affinities
from napari_implicitseg.hierarchy.building import build_hierarchy
from napari_implicitseg.hierarchy.components import threshold_labels
from napari_implicitseg.hierarchy.mutex import mutex_watershed
from napari_implicitseg.hierarchy.stitching import stitch_sections
from napari_implicitseg.hierarchy.tree import Linkage, checked_affinity

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from napari_implicitseg._types import LabelArray, Progress
    from napari_implicitseg.affinities.ops import Affinities
    from napari_implicitseg.hierarchy.building import FragmentChoice

__all__ = ["Cut", "segment_affinities"]

Cut = Literal["level", "optimal"]
"""Where a hierarchy is cut: at one level, or each part where that costs least."""


def segment_affinities(
    affinities: Affinities | ArrayLike,
    *,
    linkage: Linkage | Literal["mutex"] = "mean",
    threshold: float = 0.5,
    objects: int | None = None,
    seeds: ArrayLike | None = None,
    seed_threshold: float | None = None,
    cut: Cut = "level",
    fragments: FragmentChoice | ArrayLike = "auto",
    min_size: int | None = None,
    quantile: float = 0.5,
    per_section: bool | None = None,
    stitch: float | None = None,
    image: ArrayLike | None = None,
    offsets: Any = None,
    progress: Progress | None = None,
) -> LabelArray:
    """Segment a volume by its affinities.

    Parameters
    ----------
    affinities : Affinities, or array_like of float, shape (K, *S)
        0 to 1. Of an array the offsets are the negative unit vectors, unless `offsets` says
        otherwise.
    linkage : {"mean", "single", "quantile", "ward", "area", "dynamics", "volume", "mutex"}
        See `build_hierarchy`. "single" is thresholding, exactly: the connected components of the
        edges above the threshold, unless fragments, seeds or a number of objects are given.
        "mutex" is no hierarchy: the mutex watershed, which takes long-range edges and no
        threshold (`hierarchy.mutex.mutex_watershed`; extra `mutex`).
    threshold : float
        0 to 1: regions whose affinity is larger are one object. Of linkages without affinity an
        altitude; see `Hierarchy.cut`. It cuts nothing where there are seeds or a number of objects.
    objects : int, optional
        A number of objects in place of a threshold.
    seeds : array_like of int, shape S, optional
        Scribbles: objects have their ids, and no object has two. Everything that contacts lead to
        goes to a seed.
    seed_threshold : float, optional
        0 to 1: with seeds, regions whose affinity is not above it are not merged, and objects
        without seeds get new ids; see `Hierarchy.cut_with_seeds`.
    cut : {"level", "optimal"}
        At the threshold; or where each part of the tree costs least by it (`optimal_labels`).
    fragments, min_size, quantile, per_section, image, offsets
        See `build_hierarchy`. With thresholding, smaller objects than `min_size` go to others, by
        default none.
    stitch : float, optional
        Of stacks: join objects of neighbouring sections whose overlap, or whose mean affinity if
        there is one across sections, is above this (`hierarchy.stitching.stitch_sections`).
        For networks of sections, whose objects otherwise end with their section.
    progress : Progress, optional
        Hears of the steps, and may cancel.

    Returns
    -------
    ndarray of uint32, shape S
        Objects from 1, or seeds' ids; 0 where nothing is known.

    Raises
    ------
    InputError
        If affinities, options and seeds do not fit.

    See Also
    --------
    build_hierarchy : for many thresholds.

    Examples
    --------
    >>> row = [[[0, 0.9, 0.2, 0.8, 0.7]], [[0] * 5]]
    >>> segment_affinities(row, offsets=[(0, -1), (-1, 0)]).tolist()
    [[1, 1, 2, 2, 2]]
    """
    if cut not in get_args(Cut):
        raise InputError(f"cut is {cut!r}; choose one of {', '.join(get_args(Cut))}.")
    if linkage not in (*get_args(Linkage), "mutex"):
        known = ", ".join((*get_args(Linkage), "mutex"))
        raise InputError(f"linkage is {linkage!r}; choose one of {known}.")
    if objects is not None and (seeds is not None or stitch is not None or cut == "optimal"):
        raise InputError("A number of objects is no choice beside seeds, stitch or cut='optimal'.")
    if seeds is not None and cut == "optimal":
        raise InputError("cut='optimal' is no choice beside seeds: everything goes to a seed.")
    edges = as_affinities(affinities, offsets)
    if stitch is not None:
        if seeds is not None or edges.ndim != 3:
            raise InputError(
                "stitch is for stacks, and seeds go across sections by themselves: leave it out."
            )
        across = checked_affinity(stitch)
        sections = segment_affinities(
            _in_sections(edges),
            linkage=linkage,
            threshold=threshold,
            cut=cut,
            fragments=fragments,
            min_size=min_size,
            quantile=quantile,
            per_section=True,
            image=image,
            progress=progress,
        )
        return stitch_sections(sections, affinities=edges, threshold=across)
    if linkage == "mutex":
        if objects is not None or seeds is not None or cut == "optimal":
            raise InputError(
                "linkage='mutex' is no hierarchy: leave out objects, seeds and cut='optimal'."
            )
        return mutex_watershed(edges)
    plain = isinstance(fragments, str) and fragments == "auto"
    if linkage == "single" and plain and objects is None and seeds is None and cut == "level":
        least = 0 if min_size is None else min_size
        return threshold_labels(edges, threshold, min_size=least, grow=least > 0)
    hierarchy = build_hierarchy(
        edges,
        linkage=linkage,
        fragments=fragments,
        min_size=min_size,
        quantile=quantile,
        per_section=per_section,
        image=image,
        progress=progress,
    )
    if seeds is not None:
        hierarchy.level_of(threshold)  # A wrong one is refused though it cuts nothing.
        return hierarchy.cut_with_seeds(seeds, seed_threshold)
    if objects is not None:
        return hierarchy.cut_into(objects)
    if cut == "optimal":
        return hierarchy.cut_optimal(threshold)
    return hierarchy.cut(threshold)


def _in_sections(affinities: Affinities) -> Affinities:
    """Affinities without the edges across sections."""
    inside = [k for k, offset in enumerate(affinities.offsets) if not offset[0]]
    if not inside:
        raise InputError(
            f"The affinities have no edge inside a section among {affinities.offsets}; add one "
            "such as (0, 0, -1), or leave stitch out."
        )
    mask = None if affinities.mask is None else affinities.mask[inside]
    offsets = tuple(affinities.offsets[k] for k in inside)
    return replace(affinities, data=affinities.data[inside], offsets=offsets, mask=mask)
