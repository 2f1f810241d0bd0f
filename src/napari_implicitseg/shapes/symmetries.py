"""Groups of mirrors and rotations: their images, and what of a mask they do not keep.

Physical coordinates are used: the centre of voxel i lies at ``(i + 0.5) * spacing``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_implicitseg.errors import InputError
from napari_implicitseg.shapes.hull import as_mask

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray

__all__ = ["Symmetry", "asymmetric_voxels", "checked_spacing", "find_symmetry", "group_matrices"]

# Voxels mapped at once: bounds the memory of large masks.
_MOST_FILLS = 8
# So few voxels may be set apart by rounding alone: then axes are tried that differ by about a
# share of a voxel.
_FEW, _FEW_SHARE = 3, 0.002
_TRIES = 60
_NUDGE = 0.15
_BLOCK = 2**18


@dataclass(frozen=True, slots=True, kw_only=True)
class Symmetry:
    """A group of mirrors, or of rotations, about a centre.

    Attributes
    ----------
    kind : {"mirror", "rotation"}
    order : int
        For mirrors the number of mirror axes, in 3D of mirror planes, all
        through one line: 1, 2, ... For rotations n of n-fold: 2, 3, ...
    centre : tuple of float, length D
        A point all elements keep, in physical units.
    axes : tuple of D tuples of D floats
        Orthonormal rows. Row 0 is normal to the (first) mirror. Rotations and
        further mirrors turn in the plane of the rows 0 and 1; in 3D row 2 is
        the axis of rotation.

    Raises
    ------
    InputError
        If the kind is unknown, the order too small, or the axes are not
        orthonormal or as many as the centre has numbers.
    """

    kind: str
    order: int
    centre: tuple[float, ...]
    axes: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        _check_group(self.kind, self.order)
        ndim = len(self.centre)
        if ndim not in (2, 3) or not np.isfinite(self.centre).all():
            raise InputError(f"centre is {self.centre}; give two or three finite numbers.")
        if len(self.axes) != ndim or any(len(row) != ndim for row in self.axes):
            raise InputError(f"axes are {self.axes}; give {ndim} rows of {ndim} numbers.")
        rows = np.array(self.axes, float)
        if not np.allclose(rows @ rows.T, np.eye(ndim), atol=1e-5):
            raise InputError(f"axes are {self.axes}; give rows of length 1, at right angles.")

    def elements(self) -> NDArray[np.float64]:
        """All elements but the identity, as matrices in physical coordinates, (G, D, D).

        Mirrors of order k make the dihedral group: k reflections and k - 1 rotations.
        """
        return group_matrices(self.kind, self.order, np.array(self.axes, float))

    def images(self, points: NDArray[np.floating[Any]]) -> list[NDArray[np.float64]]:
        """Apply each element about the centre.

        Parameters
        ----------
        points : ndarray of float, shape (N, D)
            In physical units.

        Returns
        -------
        list of ndarray of float64, shape (N, D)
            In the order of `elements`.
        """
        centre = np.array(self.centre, float)
        away = np.asarray(points, np.float64) - centre
        return [away @ element.T + centre for element in self.elements()]


def _check_group(kind: str, order: int) -> None:
    """Refuse groups there are not."""
    if kind not in ("mirror", "rotation"):
        raise InputError(f"kind of symmetry is {kind!r}; use one of 'mirror', 'rotation'.")
    least = 1 if kind == "mirror" else 2
    if order < least:
        raise InputError(f"order is {order}; a {kind} takes {least} or more.")


def group_matrices(kind: str, order: int, axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """All elements of a group but the identity, as matrices (G, D, D).

    Parameters
    ----------
    kind : {"mirror", "rotation"}
    order : int
    axes : ndarray of float64, shape (D, D)
        Orthonormal rows, see `Symmetry`.
    """
    angles = 2 * np.pi * np.arange(order) / order
    local = np.repeat(np.eye(len(axes))[None], order, axis=0)
    local[:, 0, 0] = local[:, 1, 1] = np.cos(angles)
    local[:, 1, 0] = np.sin(angles)
    local[:, 0, 1] = -local[:, 1, 0]
    if kind == "mirror":
        # A rotation by a, after the first mirror, is the mirror whose normal is turned by a / 2.
        flip = np.ones(len(axes))
        flip[0] = -1
        local = np.concatenate([local, local * flip])
    return np.asarray(axes.T @ local[1:] @ axes)


def checked_spacing(spacing: Sequence[float] | None, ndim: int) -> tuple[float, ...]:
    """Spacing as a tuple, 1 per axis if None.

    Raises
    ------
    InputError
        If there is not one positive number for each of the `ndim` axes.
    """
    if spacing is None:
        return (1.0,) * ndim
    try:
        values = np.asarray(spacing, float)
    except (TypeError, ValueError):
        values = np.zeros(1)
    if values.shape != (ndim,) or not (np.isfinite(values).all() and (values > 0).all()):
        raise InputError(
            f"spacing is {spacing!r}; give one positive number for each of the {ndim} axes "
            "of the mask."
        )
    return tuple(values.tolist())


def asymmetric_voxels(
    mask: NDArray[Any], symmetry: Symmetry, spacing: Sequence[float] | None = None
) -> int:
    """Count the voxels of a mask that have no counterpart under a symmetry.

    A voxel counts if the nearest voxel to one of its images lies in the grid,
    and more than one voxel (a neighbour by face, edge or corner) away from the
    mask. Images outside the grid are not held against it: nothing is known
    there of an object cut by the border of the image. So pass the whole grid,
    not the box of the mask.

    Parameters
    ----------
    mask : ndarray, 2D or 3D
        Non-zero voxels are inside.
    symmetry : Symmetry
    spacing : sequence of float, length D, optional
        Voxel size, in the unit of the symmetry's centre. Default 1.

    Returns
    -------
    int
        0 if the mask is symmetric, to a voxel.

    Raises
    ------
    InputError
        If the mask is not 2D or 3D, or the symmetry or the spacing is for
        another number of axes.
    """
    return len({tuple(v) for v, _ in _lacking(mask, symmetry, spacing)})


def fill_images(
    mask: NDArray[Any], symmetry: Symmetry, spacing: Sequence[float] | None = None
) -> BoolArray:
    """Add the nearest voxel of every image that `asymmetric_voxels` finds lacking.

    Rounding thins the tips of a symmetric shape here and not there.
    """
    out = as_mask(mask).copy()
    for _ in range(_MOST_FILLS):
        lacking = [image for _, image in _lacking(out, symmetry, spacing)]
        if not lacking:
            break
        out[tuple(np.array(lacking).T)] = True
    return out


def _lacking(
    mask: NDArray[Any], symmetry: Symmetry, spacing: Sequence[float] | None
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Voxels without a counterpart, each with the nearest voxel to an image of it."""
    # One direction is enough. A voxel y outside that has an image x = g(y) inside is found from
    # x: the group holds the inverse of g, and maps x to y.
    inside = as_mask(mask)
    size = np.array(checked_spacing(spacing, inside.ndim))
    if len(symmetry.centre) != inside.ndim:
        raise InputError(
            f"The symmetry has {len(symmetry.centre)} axes but the mask has {inside.ndim}; "
            "give one with as many."
        )
    near = _grown(inside)
    voxels = np.argwhere(inside)
    out = []
    for first in range(0, len(voxels), _BLOCK):
        part = voxels[first : first + _BLOCK]
        for image in symmetry.images((part + 0.5) * size):
            at = np.floor(image / size)
            lacks = np.flatnonzero(_misses(near, at))
            pairs = zip(part[lacks].tolist(), at[lacks].astype(int).tolist(), strict=True)
            out += [(tuple(v), tuple(i)) for v, i in pairs]
    return out


def _grown(mask: BoolArray) -> BoolArray:
    """Mask and all its neighbours, by axis after axis."""
    out = mask.copy()
    for axis in range(mask.ndim):
        before = np.moveaxis(out.copy(), axis, 0)
        after = np.moveaxis(out, axis, 0)
        after[1:] |= before[:-1]
        after[:-1] |= before[1:]
    return out


def _misses(near: BoolArray, at: NDArray[np.float64]) -> BoolArray:
    """Which indices (N, D) are of voxels in the grid that are not near the mask."""
    within = ((at >= 0) & (at < near.shape)).all(axis=1)
    out = np.zeros(len(at), bool)
    out[within] = ~near[tuple(at[within].astype(np.intp).T)]
    return out


def find_symmetry(
    mask: NDArray[Any],
    spacing: Sequence[float] | None = None,
    *,
    kind: Literal["mirror", "rotation"] | str = "mirror",
    order: int = 1,
) -> Symmetry:
    """Find the symmetry that a mask is closest to.

    Directions from the moments and a fan of directions, about the centroid,
    are ranked by how far images of a sample of voxels lie outside the mask; the
    best are refined without derivatives. Images outside the grid cost little,
    so that an object cut by the image border is completed by its mirror.

    Parameters
    ----------
    mask : ndarray, 2D or 3D
        Non-zero voxels are inside.
    spacing : sequence of float, length D, optional
        Voxel size. Default 1.
    kind : {"mirror", "rotation"}
        See `Symmetry`.
    order : int
        Number of mirrors, or n of an n-fold rotation.

    Returns
    -------
    Symmetry
        The best found, however bad: `asymmetric_voxels` tells. That of an
        empty mask lies at the centre of the grid, along its axes.

    Raises
    ------
    InputError
        If the mask is not 2D or 3D, the spacing is for another number of axes,
        or there is no such group.
    """
    from napari_implicitseg.shapes._symmetry_search import best_axes

    inside = as_mask(mask)
    size = np.array(checked_spacing(spacing, inside.ndim))
    _check_group(kind, order)
    if inside.any():
        centre, axes = best_axes(inside, size, kind, order)
    else:
        centre, axes = np.array(inside.shape) * size / 2, np.eye(inside.ndim)
    return _polished(inside, size, _symmetry(kind, order, centre, axes))


def _symmetry(
    kind: str, order: int, centre: NDArray[np.float64], axes: NDArray[np.float64]
) -> Symmetry:
    """Symmetry from arrays."""
    rows = tuple(tuple(row) for row in axes.tolist())
    return Symmetry(kind=kind, order=int(order), centre=tuple(centre.tolist()), axes=rows)


def _polished(mask: BoolArray, size: NDArray[np.float64], found: Symmetry) -> Symmetry:
    """Try axes close by for a last few voxels, which only rounding sets apart."""
    best, lacking = found, asymmetric_voxels(mask, found, tuple(size.tolist()))
    if not 0 < lacking <= max(_FEW, _FEW_SHARE * np.count_nonzero(mask)):
        return found
    rng = np.random.default_rng(0)
    reach = float(np.linalg.norm(np.argwhere(mask).std(axis=0) * size)) + float(size.max())
    ndim = mask.ndim
    for _ in range(_TRIES):
        turn = np.zeros((ndim, ndim))
        turn[np.triu_indices(ndim, 1)] = rng.normal(size=ndim * (ndim - 1) // 2)
        turn = (turn - turn.T) * (_NUDGE * size.min() / reach)
        left, _, right = np.linalg.svd(np.array(best.axes) @ (np.eye(ndim) + turn))
        centre = np.array(best.centre) + rng.normal(size=ndim) * _NUDGE * size
        tried = _symmetry(found.kind, found.order, centre, left @ right)
        count = asymmetric_voxels(mask, tried, tuple(size.tolist()))
        if count < lacking:
            best, lacking = tried, count
        if not lacking:
            break
    return best
