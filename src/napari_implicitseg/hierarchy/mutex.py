"""The mutex watershed: long-range edges say what must not be joined, and no threshold is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_implicitseg.affinities.ops import edges_inside
from napari_implicitseg.errors import InputError
from napari_implicitseg.hierarchy._components import as_affinities, check_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    from napari_implicitseg._types import LabelArray
    from napari_implicitseg.affinities.ops import Affinities

__all__ = ["mutex_watershed"]


def mutex_watershed(
    affinities: Affinities | ArrayLike,
    *,
    strides: Sequence[int] | None = None,
    offsets: Any = None,
) -> LabelArray:
    """Segment a volume by the mutex watershed, as bioimage-cpp does it (extra `mutex`).

    Edges are taken by their strength, strongest first: direct ones, whose strength is their
    affinity, join two clusters unless these exclude each other; long-range ones, whose strength
    is 1 minus their affinity, make clusters exclude each other.

    Parameters
    ----------
    affinities : Affinities, or array_like of float, shape (K, *S)
        0 to 1, with direct and long-range offsets.
    strides : sequence of int, optional
        Use long-range edges only from every so many voxels along each axis: quicker, and fewer
        pieces. By default all.
    offsets : sequence of K sequences of int, optional
        Of an array.

    Returns
    -------
    ndarray of uint32, shape S
        Objects from 1.

    Raises
    ------
    InputError
        If affinities are NaN or outside 0 to 1, there are no direct or no long-range edges, or
        the package bioimage-cpp is not installed.

    References
    ----------
    S. Wolf et al., "The mutex watershed and its objective: efficient, parameter-free graph
    partitioning", IEEE TPAMI 43 (2021), 3724-3738.
    """
    edges = as_affinities(affinities, offsets)
    direct = [k for k, o in enumerate(edges.offsets) if sum(map(abs, o)) == 1]
    far = [k for k in range(len(edges.offsets)) if k not in direct]
    if not direct or not far:
        raise InputError(
            f"The affinities have the offsets {edges.offsets}; a mutex watershed needs direct ones "
            'and long-range ones. Train with neighbourhood="direct+long-range".'
        )
    inside = edges_inside(edges.shape, edges.offsets)
    known = inside if edges.mask is None else inside & edges.mask
    for k in (*direct, *far):
        check_values(edges.data[k], known[k])
    strength = edges.data.copy()
    strength[far] = 1 - strength[far]
    strength[~known] = 0
    order = [*direct, *far]
    try:
        from bioimage_cpp import segmentation
    except ImportError as error:
        raise InputError(
            "The mutex watershed is done by bioimage-cpp, which is not installed: "
            'pip install "napari-implicitseg[mutex]".'
        ) from error
    steps = None if strides is None else _checked_strides(strides, edges.ndim)
    labels = segmentation.mutex_watershed(
        np.ascontiguousarray(strength[order]),
        [list(edges.offsets[k]) for k in order],
        len(direct),
        strides=steps,
    )
    found: LabelArray = labels.astype(np.uint32)
    return found


def _checked_strides(strides: Any, ndim: int) -> list[int]:
    """Return one positive step per axis."""
    values = list(strides) if np.ndim(strides) else []
    if len(values) != ndim or not all(isinstance(s, int | np.integer) and s > 0 for s in values):
        raise InputError(f"strides is {strides!r}; give {ndim} whole numbers from 1.")
    return [int(s) for s in values]
