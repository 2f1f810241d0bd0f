"""From affinities to a hierarchy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy._components import as_affinities, direct_edges
from napari_implicitseg.hierarchy._seeded import boundary_map
from napari_implicitseg.hierarchy.fragments import make_fragments
from napari_implicitseg.hierarchy.linkages import BINS, agglomerate, checked_quantile, merge_order
from napari_implicitseg.hierarchy.region_graph import region_graph
from napari_implicitseg.hierarchy.tree import AFFINITY_LINKAGES, Hierarchy, check_linkage
from napari_implicitseg.progress import part_of, silent

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_implicitseg._types import LabelArray, Progress
    from napari_implicitseg.affinities.ops import Affinities
    from napari_implicitseg.hierarchy.tree import Linkage

__all__ = ["FragmentChoice", "build_hierarchy", "has_membranes", "smallest_fragments"]

FragmentChoice = Literal["auto", "watershed", "higra", "distance", "voxels"]
"""How voxels become fragments; see `build_hierarchy`."""

# Below it an edge is weak, and above it, as the share of weak edges, a voxel is membrane: half of
# the edges of a voxel lead across the steps of an oblique border without any thickness.
_MEMBRANE = 0.5
# Watershed hierarchies of higra take minutes and gigabytes beyond this.
_MOST_VOXELS = 160**3
# Basins of few voxels are merged first in volumes of more, over edges of some affinity.
_SMALL, _FEW_VOXELS, _ALIKE = 25, 32**3, 0.1


def build_hierarchy(
    affinities: Affinities | ArrayLike,
    *,
    linkage: Linkage = "mean",
    fragments: FragmentChoice | ArrayLike = "auto",
    min_size: int | None = None,
    quantile: float = 0.5,
    per_section: bool | None = None,
    image: ArrayLike | None = None,
    offsets: Any = None,
    progress: Progress | None = None,
) -> Hierarchy:
    """Merge fragments of a volume into a tree, from which segmentations are cut.

    Parameters
    ----------
    affinities : Affinities, or array_like of float, shape (K, *S)
        0 to 1. Of an array the offsets are the negative unit vectors, unless `offsets` says
        otherwise.
    linkage : {"mean", "single", "quantile", "ward", "area", "dynamics", "volume"}
        What is merged first: regions whose contact has the highest mean affinity, the highest
        single one (which is thresholding, but for voxels that no edge above it joins: they go
        along with their fragment), or the highest quantile; those that Ward's criterion says; or
        the basins of least area, dynamics or volume.
    fragments : {"auto", "watershed", "higra", "distance", "voxels"} or array of int, shape S
        What is merged: basins of the affinities, by our kernel or by higra; basins about the
        points that are farthest from membranes; single voxels, of small images; or fragments of
        one's own, 0 for voxels of none. "auto" takes "distance" where the affinities show
        membranes (`has_membranes`), as those of networks do, else "watershed".
    min_size : int, optional
        Fragments of fewer voxels are merged to a neighbour first; not voxels, or one's own. By
        default 25 for basins of the affinities in volumes of more than 32^3 voxels, over edges of
        0.1 or more, else 0: of millions of basins, one for every few voxels, most are noise.
    quantile : float
        Of the linkage by quantile, 0 to 1.
    per_section : bool, optional
        Whether fragments lie in one section, (y, x); None leaves it to the method.
    image : array_like, shape S or (C, *S), optional
        What Ward's linkage compares the means of; the affinities by default.
    offsets : sequence of K sequences of int, optional
        Of an array.
    progress : Progress, optional
        Hears of the steps, and may cancel.

    Returns
    -------
    Hierarchy

    Raises
    ------
    InputError
        If affinities are NaN or outside 0 to 1, have no direct offset, or options or fragments
        do not fit.

    References
    ----------
    J. Funke et al., "Large scale image segmentation with structured loss based deep learning for
    connectome reconstruction", IEEE TPAMI 41 (2018), 1669-1680.
    """
    check_linkage(linkage)
    share = checked_quantile(quantile)
    edges = as_affinities(affinities, offsets)
    tell = progress or silent
    regions = _fragments(edges, fragments, min_size, per_section, part_of(tell, 0.0, 0.6))
    tell(0.6, "Contacts of fragments")
    graph = region_graph(edges, regions, bins=BINS if linkage == "quantile" else 0)
    tell(0.8, "Merging")
    if linkage in AFFINITY_LINKAGES:
        parents, altitudes = agglomerate(graph, linkage, quantile=share)
    else:
        features = _features(edges, regions, len(graph.sizes), image) if linkage == "ward" else None
        part = part_of(tell, 0.8, 1.0)
        parents, altitudes = merge_order(graph, linkage, features=features, progress=part)
    tell(1.0, "Merged")
    import higra as hg

    return Hierarchy(
        fragments=regions,
        tree=hg.Tree(parents),
        altitudes=altitudes,
        linkage=linkage,
        graph=graph,
        affinities=edges,
    )


def has_membranes(affinities: Affinities) -> bool:
    """Whether objects are apart by membranes of some thickness, and not by mere edges.

    So it is if most edges of an affinity below one half have an end of which most edges are.
    """
    _, axes = direct_edges(affinities, None)
    boundary = boundary_map(axes, int(np.prod(affinities.shape)))
    weak = inside = 0
    for axis in axes:
        length = axis.values.shape[1]
        rows = (boundary > _MEMBRANE).reshape(axis.values.shape)
        values = axis.values[:, axis.first : axis.first + length - 1]
        low = (values < _MEMBRANE) & (values >= 0)
        weak += int(np.count_nonzero(low))
        inside += int(np.count_nonzero(low & (rows[:, :-1] | rows[:, 1:])))
    return 2 * inside > weak


def smallest_fragments(shape: tuple[int, ...], method: str) -> tuple[int, float]:
    """Size that fragments of a volume are merged up to by default, and over which affinities.

    See `min_size` of `build_hierarchy`, and `min_affinity` of `make_fragments`.
    """
    many = len(shape) == 3 and math.prod(shape) > _FEW_VOXELS
    return (_SMALL if many and method != "distance" else 0), _ALIKE


def _fragments(
    affinities: Affinities,
    wanted: Any,
    min_size: int | None,
    per_section: bool | None,
    progress: Progress,
) -> LabelArray:
    """Make the fragments that are asked for, or number those that are given."""
    if isinstance(wanted, str) and wanted not in get_args(FragmentChoice):
        raise InputError(
            f"fragments is {wanted!r}; choose one of {', '.join(get_args(FragmentChoice))}, or "
            "give an array."
        )
    if min_size and (not isinstance(wanted, str) or wanted == "voxels"):
        raise InputError(
            f"min_size is {min_size}, but the fragments are given; leave it out, or let fragments "
            'be made, by fragments="auto".'
        )
    if not isinstance(wanted, str):
        return _numbered(wanted, affinities.shape)
    if wanted == "voxels":
        size = int(np.prod(affinities.shape))
        if not 0 < size <= _MOST_VOXELS:
            raise InputError(
                f"The volume has {size} voxels; a hierarchy of voxels takes 1 to {_MOST_VOXELS}. "
                'Cut it, or use fragments="watershed".'
            )
        return np.arange(1, size + 1, dtype=np.uint32).reshape(affinities.shape)
    if wanted == "auto":
        wanted = "distance" if has_membranes(affinities) else "watershed"
    size, affinity = (
        smallest_fragments(affinities.shape, wanted) if min_size is None else (min_size, 0.0)
    )
    return make_fragments(
        affinities,
        method=wanted,
        min_size=size,
        min_affinity=affinity,
        per_section=per_section,
        progress=progress,
    )


def _numbered(fragments: Any, shape: tuple[int, ...]) -> LabelArray:
    """Return fragments of a user with ids from 1 without gaps, in the order of their ids."""
    values = np.asarray(fragments)
    if values.dtype.kind not in "iub" or values.shape != shape:
        raise InputError(
            f"The fragments are {values.dtype} of shape {values.shape}; give whole numbers of "
            f"shape {shape}, as the affinities have."
        )
    if not values.any():
        raise InputError("The fragments are 0 everywhere; give at least one.")
    low, high = int(values.min()), int(values.max())
    if low < 0:
        raise InputError(f"The fragments hold {low}; ids are not negative.")
    if high > 2 * values.size:
        _, numbers = np.unique(values, return_inverse=True)
        sparse: LabelArray = (numbers.reshape(shape) + (low > 0)).astype(np.uint32)
        return sparse
    index = values.view(np.uint8) if values.dtype == np.bool_ else values
    there = np.zeros(high + 1, np.bool_)
    there[index] = True
    there[0] = False
    numbered: LabelArray = np.cumsum(there, dtype=np.uint32)[index]
    return numbered


def _features(
    affinities: Affinities, fragments: LabelArray, number: int, image: ArrayLike | None
) -> NDArray[np.float64]:
    """Mean of each channel over each fragment: (N, C)."""
    flat = fragments.reshape(-1)
    if image is None:
        # Each by the edges that are known; where none is, it says nothing.
        known = affinities.known
        pairs = zip(known, affinities.data, strict=True)
        sums = [_sums(flat, np.where(there, values, 0), number) for there, values in pairs]
        counts = np.stack([_sums(flat, there, number) for there in known], axis=1)
        means: NDArray[np.float64] = np.stack(sums, axis=1) / np.maximum(counts, 1)
        return means
    channels = np.atleast_1d(image)
    if channels.shape == fragments.shape:
        channels = channels[None]
    fits = len(channels) > 0 and channels.shape[1:] == fragments.shape
    if not fits or channels.dtype.kind not in "fiub":
        raise InputError(
            f"The image is {channels.dtype} of shape {channels.shape}; give numbers of shape "
            f"{fragments.shape}, channels first if there are several."
        )
    sizes = np.bincount(flat, minlength=number + 1)[1:]
    features = np.stack([_sums(flat, c, number) for c in channels], axis=1) / sizes[:, None]
    if not np.isfinite(features).all():
        raise InputError("The image holds NaN or infinity; replace them, by numpy.nan_to_num.")
    return features


def _sums(flat: LabelArray, values: NDArray[Any], number: int) -> NDArray[np.float64]:
    """Sum of some values over each fragment."""
    sums = np.bincount(flat, values.reshape(-1), minlength=number + 1)
    return sums[1:].astype(np.float64, copy=False)
