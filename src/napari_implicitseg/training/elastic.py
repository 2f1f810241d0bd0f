"""Smooth deformations and slipped sections, of raw image and labels together."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["COARSE", "Margins", "Slip", "Warp"]

Margins = tuple[tuple[int, int], ...]
"""Voxels beyond a patch, before and after it along each axis."""

COARSE = 2.0
"""Along axes so many times coarser than the finest nothing is bent, turned or scaled."""

_DEGREE = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Warp:
    """Where each voxel of a patch comes from: rotation, scale and a smooth displacement.

    The displacement is a cubic B-spline, which stays within its control points: so how far
    it reaches is known before anything is read.

    Attributes
    ----------
    control : ndarray of float, shape (D, *G)
        Displacement of the control points per axis, in voxels.
    angles : tuple of (int, int, float)
        Two axes and the angle from the one to the other, radians; applied in this order.
    spacing : tuple of float
        Voxel size per axis: rotations are rigid in space, not in voxels.
    zoom : float
        Voxels of the source per voxel of the patch, along axes not much coarser than the finest.
    """

    control: NDArray[np.float64]
    angles: tuple[tuple[int, int, float], ...]
    spacing: tuple[float, ...]
    zoom: float = 1.0

    def reach(self, shape: Sequence[int]) -> NDArray[np.float64]:
        """Most voxels per axis that anything in a patch of this shape moves."""
        corners = np.array(list(itertools.product(*((-(n - 1) / 2, (n - 1) / 2) for n in shape))))
        turned = np.abs(corners @ (self._matrix() - np.eye(len(shape))).T).max(axis=0)
        bent = np.abs(self.control.reshape(len(shape), -1)).max(axis=1)
        return np.asarray(turned + bent, np.float64)

    def within(self, shape: Sequence[int], room: Sequence[int]) -> Warp:
        """Weaken it so that it reaches no further than `room` voxels per axis."""
        reach = np.maximum(self.reach(shape), 1e-9)
        share = np.minimum(np.asarray(room) / reach, 1.0)
        angles = tuple((a, b, angle * min(share[a], share[b])) for a, b, angle in self.angles)
        along = share.reshape(-1, *(1,) * len(shape))
        zoom = 1 + (self.zoom - 1) * float(share.min())
        return replace(self, control=self.control * along, angles=angles, zoom=zoom)

    def apply(
        self, raw: NDArray[np.float32], ids: NDArray[np.int32], margins: Margins
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Deform what was read with margins, and cut the margins off.

        Parameters
        ----------
        raw : ndarray of float32, shape (C, *S)
            Interpolated linearly.
        ids : ndarray of int32, shape S
            Taken from the nearest voxel.
        margins : tuple of (int, int)

        Returns
        -------
        raw, ids : ndarray
            The patch, without margins.
        """
        shape = tuple(n - low - high for n, (low, high) in zip(ids.shape, margins, strict=True))
        warp = self.within(shape, [min(pair) for pair in margins])
        coordinates = warp.coordinates(shape, [low for low, _ in margins])
        if len(shape) == 3 and not warp._moves_along(0):
            return _by_section(raw, ids, coordinates[1:], margins[0][0])
        return _resampled(raw, ids, coordinates)

    def coordinates(self, shape: Sequence[int], origin: Sequence[int]) -> NDArray[np.float32]:
        """Where each voxel of a patch comes from, shape (D, *shape).

        Parameters
        ----------
        shape : sequence of int
        origin : sequence of int
            Where the patch begins in what was read.
        """
        matrix = self._matrix()
        ndim = len(shape)
        found = self._displacement(shape)
        centred = [np.arange(n) - (n - 1) / 2 for n in shape]
        for i in range(ndim):
            for j in range(ndim):
                line = matrix[i, j] * centred[j]
                if i == j:
                    line += (shape[i] - 1) / 2 + origin[i]
                if i == j or matrix[i, j]:
                    found[i] += line.astype(np.float32).reshape(
                        [-1 if k == j else 1 for k in range(ndim)]
                    )
        return found

    def _displacement(self, shape: Sequence[int]) -> NDArray[np.float32]:
        """Interpolate the displacement between the control points, one axis after the other."""
        found = self.control.astype(np.float32)
        for axis, n in enumerate(shape):
            weights = _spline_weights(n, found.shape[axis + 1])
            found = np.moveaxis(np.tensordot(weights, found, (1, axis + 1)), 0, axis + 1)
        return np.ascontiguousarray(found)

    def _matrix(self) -> NDArray[np.float64]:
        """Rotation and scale in voxels."""
        ndim = len(self.spacing)
        turn = np.eye(ndim)
        for a, b, angle in self.angles:
            one = np.eye(ndim)
            one[a, a] = one[b, b] = np.cos(angle)
            one[a, b], one[b, a] = -np.sin(angle), np.sin(angle)
            turn = one @ turn
        size = np.asarray(self.spacing)
        scales = np.where(size <= COARSE * size.min(), self.zoom, 1.0)
        return np.asarray(turn * size / size[:, None] * scales)

    def _moves_along(self, axis: int) -> bool:
        """Whether anything leaves its place along an axis."""
        turned = any(axis in (a, b) and angle for a, b, angle in self.angles)
        scaled = self.zoom != 1 and self.spacing[axis] <= COARSE * min(self.spacing)
        return turned or scaled or bool(self.control[axis].any())


def _spline_weights(length: int, points: int) -> NDArray[np.float32]:
    """Weight of each control point at each voxel, shape (length, points); rows add up to 1."""
    from scipy.interpolate import BSpline

    spans = points - _DEGREE
    places = np.linspace(0, spans, length) if length > 1 else np.array([spans / 2])
    knots = np.arange(-_DEGREE, points + 1, dtype=np.float64)
    return np.asarray(BSpline.design_matrix(places, knots, _DEGREE).toarray(), np.float32)


def _resampled(
    raw: NDArray[np.float32], ids: NDArray[np.int32], coordinates: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Look up raw image and labels at coordinates."""
    from scipy import ndimage

    def look(data: NDArray[Any], order: int) -> NDArray[Any]:
        found = np.empty(coordinates.shape[1:], data.dtype)
        ndimage.map_coordinates(data, coordinates, found, order=order, mode="nearest")
        return found

    return np.stack([look(channel, 1) for channel in raw]), look(ids, 0)


def _by_section(
    raw: NDArray[np.float32],
    ids: NDArray[np.int32],
    coordinates: NDArray[np.float32],
    first: int,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Deform each section in itself, which is quicker."""
    sections = [
        _resampled(raw[:, first + z], ids[first + z], coordinates[:, z])
        for z in range(coordinates.shape[1])
    ]
    return np.stack([s[0] for s in sections], axis=1), np.stack([s[1] for s in sections])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slip:
    """Sections, across the first axis, that lie aside from where they should.

    Attributes
    ----------
    shifts : ndarray of int, shape (sections, D - 1)
        How far each section of the patch is off, in voxels of the other axes.
    """

    shifts: NDArray[np.int64]

    def reach(self) -> tuple[int, ...]:
        """Most voxels per axis that a section is off."""
        return (0, *(int(m) for m in np.abs(self.shifts).max(axis=0)))

    def apply(
        self, raw: NDArray[np.float32], ids: NDArray[np.int32], margins: Margins
    ) -> tuple[NDArray[np.float32], NDArray[np.int32], Margins]:
        """Shift the sections of what was read, which uses up a part of its margins.

        Parameters
        ----------
        raw : ndarray of float32, shape (C, *S)
        ids : ndarray of int32, shape S
        margins : tuple of (int, int)
            The patch's sections are those without margins; the shifts of the first and the
            last go on beyond.

        Returns
        -------
        raw, ids : ndarray
        margins : tuple of (int, int)
            What is left of them.
        """
        used = [
            (min(low, r), min(high, r))
            for (low, high), r in zip(margins, self.reach(), strict=True)
        ]
        before, after = margins[0]
        shifts = np.pad(self.shifts, ((before, after), (0, 0)), mode="edge")
        raws, labels = [], []
        for z, shift in enumerate(shifts):
            window: tuple[Any, ...] = tuple(
                slice(low + _limited(int(s), low, high), n - high + _limited(int(s), low, high))
                for s, (low, high), n in zip(shift, used[1:], ids.shape[1:], strict=True)
            )
            raws.append(raw[(slice(None), z, *window)])
            labels.append(ids[(z, *window)])
        left = tuple((low - a, high - b) for (low, high), (a, b) in zip(margins, used, strict=True))
        return np.stack(raws, axis=1), np.stack(labels), left


def _limited(shift: int, low: int, high: int) -> int:
    """Shift no further than there is something."""
    return max(-low, min(high, shift))
