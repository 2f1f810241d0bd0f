"""Scribbles simulated from the truth, by a seeded rule that tries to be like a person.

Objects: one stroke each, 3 pixels wide. Two points are drawn among the pixels
deeper than 35 % of the object's greatest depth; of twelve such pairs the one
whose distance is closest to 45 % of the square root of the area is taken, and
joined by an arc with a random sag of up to a fifth of its length. So a stroke
lies well inside but rarely in the middle, and never shows the boundary.

Background: for one object, an arc around it at 4 to 12 pixels from it, over 90
to 220 degrees from a random direction on. For many objects, three wavy strokes
of 40 to 80 pixels at random places. Pixels closer than 2 pixels to any object,
scribbled or not, are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["background_arc", "background_waves", "object_stroke"]

_CORE = 0.35
_EXTENT = 0.45
_CLEAR = 2.0


def _draw(points: NDArray[np.float64], shape: tuple[int, ...], width: int) -> NDArray[np.bool_]:
    """Pixels of a stroke through points (N, 2)."""
    out = np.zeros(shape, bool)
    cells = np.round(points).astype(int)
    inside = ((cells >= 0) & (cells < shape)).all(axis=1)
    out[tuple(cells[inside].T)] = True
    return np.asarray(ndimage.binary_dilation(out, np.ones((3, 3)), iterations=width // 2))


def object_stroke(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Stroke inside one object; see the module."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    core = np.argwhere(depth >= _CORE * depth.max())
    wanted = _EXTENT * np.sqrt(mask.sum())
    pairs = core[rng.integers(len(core), size=(12, 2))]
    lengths = np.linalg.norm(pairs[:, 0] - pairs[:, 1], axis=1)
    first, last = pairs[np.abs(lengths - wanted).argmin()].astype(float)
    way = np.linspace(0, 1, 200)[:, None]
    sag = rng.uniform(-0.2, 0.2) * (last - first)[::-1] * [1, -1]
    points = first + way * (last - first) + 4 * way * (1 - way) * sag
    return _draw(points, mask.shape, 3) & mask


def background_arc(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Arc around one object; see the module."""
    away = ndimage.distance_transform_edt(~mask)
    gap = rng.uniform(4, 12)
    middle = np.argwhere(mask).mean(axis=0)
    y, x = np.indices(mask.shape) - middle[:, None, None]
    turn = (np.arctan2(y, x) - rng.uniform(0, 2 * np.pi)) % (2 * np.pi)
    ring = (np.abs(away - gap) < 1.2) & (turn < np.radians(rng.uniform(90, 220)))
    # The arc may leave a tight image: then the whole ring, or the far pixels, stand in.
    for choice in (ring, np.abs(away - gap) < 1.2, away >= 0.8 * away.max()):
        stroke = choice & (away > _CLEAR)
        if stroke.sum() >= 10:
            return np.asarray(stroke)
    return np.asarray(away > _CLEAR)


def background_waves(objects: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Three wavy strokes off all objects; see the module."""
    away = ndimage.distance_transform_edt(~objects)
    free = np.argwhere(away > 2 * _CLEAR)
    out = np.zeros(objects.shape, bool)
    for _ in range(3):
        start = free[rng.integers(len(free))].astype(float)
        turn, length = rng.uniform(0, 2 * np.pi), rng.uniform(40, 80)
        along = np.linspace(0, length, 300)
        across = 5 * np.sin(along / 8)
        direction = np.array([np.sin(turn), np.cos(turn)])
        points = start + np.outer(along, direction) + np.outer(across, direction[::-1] * [1, -1])
        out |= _draw(points, objects.shape, 3)
    return np.asarray(out & (away > _CLEAR))
