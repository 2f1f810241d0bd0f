"""Certificates: what is checked on the voxels of a mask.

A mask is *convex on the grid* if no voxel centre outside it lies inside the
convex hull of the voxel centres inside it, and *star-shaped on the grid* if all
its voxels are seen from one of them along digital segments (see `rays`). Both
are checked in integers. It is *symmetric* if no image of its voxels lies more
than one voxel away from it (see `symmetries`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from scipy import ndimage

from napari_implicitseg.errors import InputError
from napari_implicitseg.shapes.hull import as_mask, crop_box, digital_hull
from napari_implicitseg.shapes.rays import best_centre, hidden_voxels, nearest_voxel
from napari_implicitseg.shapes.symmetries import (
    Symmetry,
    asymmetric_voxels,
    checked_spacing,
    find_symmetry,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray

__all__ = [
    "Certificate",
    "CertificateKind",
    "certify",
    "count_components",
    "crop_box",
    "digital_hull",
]

CertificateKind: TypeAlias = Literal["convex", "connected", "star", "symmetric", "none"]
_KINDS = ("convex", "connected", "star", "symmetric", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What was checked on the voxels of a mask.

    Attributes
    ----------
    kind : str
        The promise: "convex", "connected", "star", "symmetric" or "none".
    holds : bool
        Whether the voxels keep it.
    components : int
        Pieces of the mask, full connectivity.
    repaired : int
        Voxels added to keep the promise on the grid.
    detail : str
        Why it does not hold, in words; empty if it does.
    """

    kind: str
    holds: bool
    components: int
    repaired: int = 0
    detail: str = ""


def certify(
    mask: NDArray[Any],
    *,
    kind: CertificateKind | Literal["free"],
    centre: Sequence[float] | None = None,
    symmetry: Symmetry | None = None,
    spacing: Sequence[float] | None = None,
) -> Certificate:
    """Check a promise on the voxels of a mask.

    Parameters
    ----------
    mask : ndarray, 2D or 3D
        Non-zero voxels are inside. For "symmetric" pass the whole grid: images
        outside it are not held against the mask.
    kind : {"convex", "connected", "star", "symmetric", "none"}
        The promise to check; "free", the family without one, means "none".
    centre : sequence of float, length D, optional
        For "star": the point to see all voxels from, in voxel index
        coordinates, rounded to a voxel. By default one is searched for: among
        all voxels if there are at most 2,000; in larger masks a centre may be
        missed, so that a promise that holds is reported as broken.
    symmetry : Symmetry, optional
        For "symmetric": mirrors or rotations. By default the best single
        mirror that is found. The less of a mask has its images in the grid, the
        less is checked: of an object at the border that may be little.
    spacing : sequence of float, length D, optional
        For "symmetric": voxel size, in the unit of the symmetry. Default 1. The
        other promises are kept by stretching an axis.

    Returns
    -------
    Certificate
        An empty mask keeps every promise, with 0 components.

    Raises
    ------
    InputError
        If the kind is unknown, the mask is not 2D or 3D, or the centre, the
        symmetry or the spacing is for another number of axes.
    """
    kind = "none" if kind == "free" else kind
    if kind not in _KINDS:
        raise InputError(f"kind is {kind!r}; use one of {', '.join(map(repr, _KINDS))}.")
    inside = as_mask(mask)
    voxel_size = checked_spacing(spacing, inside.ndim)
    if centre is not None:
        nearest_voxel(centre, inside.ndim)
    detail = ""
    if kind == "symmetric":
        detail = _symmetry_flaw(inside, symmetry, voxel_size)
    elif kind == "star":
        detail = _star_flaw(inside, centre)
    inside = inside[crop_box(inside)]
    if kind == "convex":
        missing = int(np.count_nonzero(digital_hull(inside) != inside))
        if missing:
            detail = f"{missing} voxels of its convex hull are outside the mask"
    rows_are_runs = kind == "convex" and not detail and inside.ndim == 2
    components = _count_runs(inside) if rows_are_runs else count_components(inside)
    if kind == "connected" and components > 1:
        detail = f"the mask is in {components} pieces"
    return Certificate(kind=kind, holds=not detail, components=components, detail=detail)


def _star_flaw(inside: BoolArray, centre: Sequence[float] | None) -> str:
    """Why a mask is not star-shaped; empty if it is."""
    if not inside.any():
        return ""
    if centre is None:
        best, hidden = best_centre(inside)
        where = f"the best centre found, {best}"
    else:
        hidden = hidden_voxels(inside, centre)
        where = f"the centre {_written(centre)}"
    return f"{hidden} voxels cannot be seen from {where}" if hidden else ""


def _symmetry_flaw(inside: BoolArray, symmetry: Symmetry | None, spacing: tuple[float, ...]) -> str:
    """Why a mask is not symmetric; empty if it is."""
    if symmetry is not None:
        missed = asymmetric_voxels(inside, symmetry, spacing)
        return f"{missed} voxels have no counterpart in the mask" if missed else ""
    if not inside.any():
        return ""
    found = find_symmetry(inside, spacing)
    missed = asymmetric_voxels(inside, found, spacing)
    if not missed:
        return ""
    where = f"through {_written(found.centre)}, normal to {_written(found.axes[0])}"
    return f"{missed} voxels have no counterpart across the best mirror found, {where}"


def _written(numbers: Sequence[float]) -> str:
    """Numbers in parentheses, short."""
    return f"({', '.join(f'{float(n):.4g}' for n in numbers)})"


def count_components(mask: BoolArray) -> int:
    """Pieces of a mask, full connectivity."""
    return int(ndimage.label(mask, np.ones((3,) * mask.ndim))[1])


def _count_runs(mask: BoolArray) -> int:
    """Pieces of a 2D mask whose rows are single runs: where runs of neighbouring rows part."""
    if not mask.size:
        return 0
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask.argmax(axis=1)[rows]
    last = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)[rows]
    apart = (first[1:] > last[:-1] + 1) | (last[1:] < first[:-1] - 1) | (np.diff(rows) > 1)
    return 1 + int(np.count_nonzero(apart))
