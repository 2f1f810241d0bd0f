"""The synthetic shapes, as functions of points, drawn at any size and pose.

All lie in the unit square or cube, clear of its border at any turn in the
plane of the last two axes. Coordinates are (y, x) or (z, y, x).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = ["FLAT", "SOLID", "draw", "tube"]

_Points = tuple["NDArray[np.float64]", ...]

_NEURITE = (
    ((0.12, 0.50), (0.45, 0.48)),
    ((0.45, 0.48), (0.70, 0.25), (0.85, 0.20)),
    ((0.70, 0.25), (0.85, 0.40)),
    ((0.45, 0.48), (0.75, 0.70), (0.90, 0.72)),
    ((0.75, 0.70), (0.60, 0.88)),
)
_NEURITE_3D = (
    ((0.12, 0.50, 0.50), (0.42, 0.48, 0.50)),
    ((0.42, 0.48, 0.50), (0.62, 0.28, 0.35), (0.86, 0.22, 0.40)),
    ((0.62, 0.28, 0.35), (0.75, 0.45, 0.18)),
    ((0.42, 0.48, 0.50), (0.65, 0.65, 0.68), (0.88, 0.70, 0.62)),
    ((0.65, 0.65, 0.68), (0.55, 0.82, 0.78)),
)


def draw(
    form: Callable[[_Points], NDArray[np.bool_]],
    n: int,
    *,
    ndim: int = 2,
    angle: float = 0.0,
    scale: float = 1.0,
) -> NDArray[np.bool_]:
    """Mask of a form over an image with sides of n voxels.

    Parameters
    ----------
    form : callable
        One of `FLAT` (ndim 2) or `SOLID` (ndim 3).
    n : int
        Side in voxels; centres lie at ``(i + 0.5) / n``.
    ndim : {2, 3}
    angle : float
        Turn about the middle in the plane of the last two axes, in degrees.
    scale : float
        Size about the middle, 1 as it is defined.
    """
    axis = ((np.arange(n) + 0.5) / n - 0.5) / scale
    *rest, y, x = np.meshgrid(*(axis,) * ndim, indexing="ij")
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turned = (*rest, cos * y - sin * x, sin * y + cos * x)
    return form(tuple(c + 0.5 for c in turned))


def tube(
    points: _Points, line: Sequence[Sequence[float]] | NDArray[np.float64], radius: float
) -> NDArray[np.bool_]:
    """Points closer than a radius to a line through the given corners."""
    out = np.zeros(points[0].shape, bool)
    corners = np.asarray(line, float)
    for start, end in pairwise(corners):
        way = end - start
        off = [p - s for p, s in zip(points, start, strict=True)]
        along = sum(o * w for o, w in zip(off, way, strict=True)) / (way @ way)
        along = np.clip(along, 0, 1)
        out |= sum((o - along * w) ** 2 for o, w in zip(off, way, strict=True)) < radius**2
    return out


def _ball(points: _Points, centre: Sequence[float], radius: float) -> NDArray[np.bool_]:
    return sum((p - c) ** 2 for p, c in zip(points, centre, strict=True)) < radius**2


def _polar(points: _Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance from the middle and angle of (y, x) from the last axis."""
    y, x = (p - 0.5 for p in points)
    return np.hypot(y, x), np.arctan2(y, x)


def letter_c(points: _Points) -> NDArray[np.bool_]:
    """Ring with a quarter missing."""
    r, a = _polar(points)
    return (r > 0.2) & (r < 0.36) & (np.abs(a) > 0.7)


def star(points: _Points) -> NDArray[np.bool_]:
    """Smooth star of five points."""
    r, a = _polar(points)
    return r < 0.27 * (1 + 0.45 * np.cos(5 * a))


def crescent(points: _Points) -> NDArray[np.bool_]:
    """Disc less another one: two sharp horns."""
    return _ball(points, (0.5, 0.45), 0.33) & ~_ball(points, (0.5, 0.6), 0.29)


def letter_l(points: _Points) -> NDArray[np.bool_]:
    """Two bars with right angles."""
    y, x = points
    upright = (x > 0.25) & (x < 0.4) & (y > 0.2) & (y < 0.8)
    return upright | ((y > 0.65) & (y < 0.8) & (x > 0.25) & (x < 0.75))


def ring(points: _Points) -> NDArray[np.bool_]:
    """Ring with a gap of 17 degrees."""
    r, a = _polar(points)
    return (r > 0.22) & (r < 0.34) & (np.abs(a) > 0.15)


def neurite(points: _Points) -> NDArray[np.bool_]:
    """Round body with branches 0.056 wide."""
    out = _ball(points, (0.45, 0.48), 0.08)
    for branch in _NEURITE:
        out |= tube(points, branch, 0.028)
    return out


def spiral(points: _Points) -> NDArray[np.bool_]:
    """Band 0.064 wide over two turns, 0.087 apart."""
    r, a = _polar(points)
    out = np.zeros(r.shape, bool)
    for turn in a + 2 * np.pi * np.arange(3).reshape(-1, *(1,) * r.ndim):
        on = np.abs(r - (0.06 + 0.024 * turn)) < 0.032
        out |= on & (turn > 0.3) & (turn < 4.2 * np.pi)
    return out


def ellipsoid(points: _Points) -> NDArray[np.bool_]:
    """Ellipsoid with half axes 0.40, 0.26 and 0.18, tilted about two axes."""
    z, y, x = (p - 0.5 for p in points)
    c, s = np.cos(0.6), np.sin(0.6)
    z, y = c * z - s * y, s * z + c * y
    y, x = c * y - s * x, s * y + c * x
    return (z / 0.40) ** 2 + (y / 0.26) ** 2 + (x / 0.18) ** 2 < 1


def helix(points: _Points) -> NDArray[np.bool_]:
    """Tube 0.15 thick over two turns of 0.36 each, 0.27 from its axis."""
    turn = np.linspace(0, 4 * np.pi, 65)
    line = np.stack(
        [0.14 + 0.72 * turn / turn[-1], 0.5 + 0.27 * np.sin(turn), 0.5 + 0.27 * np.cos(turn)], -1
    )
    return tube(points, line, 0.075)


def neurite_3d(points: _Points) -> NDArray[np.bool_]:
    """Round body with branches 0.1 thick that leave the plane."""
    out = _ball(points, (0.42, 0.48, 0.50), 0.12)
    for branch in _NEURITE_3D:
        out |= tube(points, branch, 0.05)
    return out


FLAT: dict[str, Callable[[_Points], NDArray[np.bool_]]] = {
    "C": letter_c,
    "star": star,
    "crescent": crescent,
    "L": letter_l,
    "ring": ring,
    "neurite": neurite,
    "spiral": spiral,
}
SOLID: dict[str, Callable[[_Points], NDArray[np.bool_]]] = {
    "ellipsoid": ellipsoid,
    "helix": helix,
    "neurite": neurite_3d,
}
