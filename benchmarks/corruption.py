"""Label images with known truth, and seeded damage to them, for the repair benchmark.

Damage is done per object, each kind with probability 0.4 and at least one kind;
r is half the object's greatest thickness. New pixels go to background only, so
that objects stay disjoint, and ids stay.

- *rough*: the border moves by smooth noise, standard deviation 0.06 r.
- *chunk*: a disc of 0.35 to 0.65 r around a point of the boundary is missing.
- *cut*: a straight line of 2 to 4 pixels through a point near the middle.
- *blob*: a disc of 0.25 to 0.45 r around a point of the boundary is attached.
- *pieces*: one to three discs of 0.1 to 0.25 r, their middles 0.4 to 1 r off the object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from forms import tube

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

__all__ = ["KINDS", "bent_objects", "convex_objects", "corrupt", "volume"]

# Room around an object's box in which damage may add pixels, in r.
_ROOM = 1.5


def convex_objects(size: int = 1024, count: int = 100, seed: int = 0) -> NDArray[np.int32]:
    """Convex polygons and ellipses of varied size, about a fifth of them touching another.

    Each stays in its cell of a power diagram, which cuts it by straight lines
    only: what is left of a convex object is convex.
    """
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(count)))
    pitch = size / side
    out = np.zeros((size, size), np.int32)
    places = np.stack(np.divmod(np.arange(count), side), -1)
    centres = (places + 0.5 + rng.uniform(-0.12, 0.12, (count, 2))) * pitch
    radii = rng.uniform(0.25, 0.62, count) * pitch
    for k, (centre, radius) in enumerate(zip(centres, radii, strict=True)):
        box = _box(centre, pitch, out.shape)
        grid = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), -1)
        mine = _convex(grid - centre, radius, rng)
        own = ((grid - centre) ** 2).sum(-1) - radius**2
        for other in np.flatnonzero(np.abs(places - places[k]).max(axis=1) == 1):
            mine &= own < ((grid - centres[other]) ** 2).sum(-1) - radii[other] ** 2
        out[box][mine] = k + 1
    return out


def _box(centre: NDArray[np.float64], reach: float, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Pixels up to a distance from a point, inside the image."""
    return tuple(
        slice(max(0, int(c - reach)), min(n, int(np.ceil(c + reach)) + 1))
        for c, n in zip(centre, shape, strict=True)
    )


def _convex(off: NDArray[np.float64], radius: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Pixels, given by their offsets, of a random ellipse or polygon."""
    turn = rng.uniform(0, np.pi)
    if rng.random() < 0.5:
        cos, sin, aspect = np.cos(turn), np.sin(turn), rng.uniform(0.5, 1)
        along, across = off @ [cos, sin], off @ [-sin, cos]
        return along**2 + (across / aspect) ** 2 < radius**2
    angles = turn + np.sort(rng.uniform(0, 2 * np.pi, rng.integers(5, 10)))
    # Corners on a circle, no two neighbours over 120 degrees apart, so that none is a sliver.
    angles = np.concatenate([angles, turn + np.arange(3) * 2 * np.pi / 3])
    inside = np.ones(off.shape[:-1], bool)
    corners = radius * np.stack([np.sin(np.sort(angles)), np.cos(np.sort(angles))], -1)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        way, to = b - a, off - a
        inside &= way[1] * to[..., 0] - way[0] * to[..., 1] >= 0
    return inside


def bent_objects(size: int = 1024, count: int = 100, seed: int = 0) -> NDArray[np.int32]:
    """One-piece objects that are not convex: bananas, Ls and branches in turn, at any angle."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(count)))
    pitch = size / side
    out = np.zeros((size, size), np.int32)
    for k in range(count):
        centre = (np.array(divmod(k, side)) + 0.5 + rng.uniform(-0.05, 0.05, 2)) * pitch
        box = _box(centre, pitch / 2, out.shape)
        y, x = np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij")
        lines, width = _bent(k % 3, rng)
        turn = rng.uniform(0, 2 * np.pi)
        matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        unit = rng.uniform(0.3, 0.4) * pitch
        for line in lines:
            corners = centre + unit * np.asarray(line) @ matrix
            out[box][tube((y, x), corners, width * unit)] = k + 1
    return out


def _bent(kind: int, rng: np.random.Generator) -> tuple[list[list[tuple[float, float]]], float]:
    """Lines in the unit disc and half their width."""
    if kind == 0:
        bend = np.linspace(-1, 1, 13) * rng.uniform(1.0, 1.7)
        return [[(float(np.cos(a) - 0.5), float(0.9 * np.sin(a))) for a in bend]], 0.26
    if kind == 1:
        return [[(-0.8, -0.5), (0.6, -0.5), (0.6, rng.uniform(0.4, 0.8))]], 0.24
    fork = (rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2))
    ends = [(np.sin(a), np.cos(a)) for a in np.arange(3) * 2 * np.pi / 3 + rng.uniform(-0.3, 0.3)]
    return [[fork, (float(y), float(x))] for y, x in ends], 0.2


def corrupt(labels: NDArray[np.int32], seed: int = 0) -> NDArray[np.int32]:
    """Damage every object of a 2D label image; see the module."""
    rng = np.random.default_rng(seed)
    out = labels.copy()
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        radius = float(ndimage.distance_transform_edt(np.pad(labels[box] == label, 1)).max())
        room = tuple(
            slice(max(0, int(s.start - _ROOM * radius)), int(s.stop + _ROOM * radius)) for s in box
        )
        mask = labels[room] == label
        bad = mask.copy()
        chosen = rng.random(len(KINDS)) < 0.4
        chosen[rng.integers(len(KINDS))] = True
        for kind, do in zip(KINDS.values(), chosen, strict=True):
            if do:
                bad = kind(bad, mask, radius, rng)
        bad &= (labels[room] == label) | (out[room] == 0)
        if bad.any():
            out[room][mask & ~bad] = 0
            out[room][bad] = label
    return out


def _disc(shape: tuple[int, ...], centre: NDArray[np.float64], radius: float) -> NDArray[np.bool_]:
    y, x = np.ogrid[tuple(slice(0, n) for n in shape)]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def _boundary_point(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float64]:
    rim = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    return rim[rng.integers(len(rim))].astype(float)


def _chunk(bad, mask, radius, rng):
    return bad & ~_disc(mask.shape, _boundary_point(mask, rng), rng.uniform(0.35, 0.65) * radius)


def _blob(bad, mask, radius, rng):
    return bad | _disc(mask.shape, _boundary_point(mask, rng), rng.uniform(0.25, 0.45) * radius)


def _pieces(bad, mask, radius, rng):
    away = ndimage.distance_transform_edt(~mask) / radius
    places = np.argwhere((away > 0.4) & (away < 1))
    for centre in rng.permutation(places)[: rng.integers(1, 4)]:
        bad = bad | _disc(mask.shape, centre, rng.uniform(0.1, 0.25) * radius)
    return bad


def _cut(bad, mask, radius, rng):
    inside = np.argwhere(mask)
    near = np.argsort(((inside - inside.mean(axis=0)) ** 2).sum(axis=1))
    point = inside[near[rng.integers(max(1, len(near) // 4))]]
    turn, width = rng.uniform(0, np.pi), rng.uniform(2, 4)
    y, x = np.ogrid[tuple(slice(0, n) for n in mask.shape)]
    off = (y - point[0]) * np.cos(turn) - (x - point[1]) * np.sin(turn)
    return bad & ~(np.abs(off) <= width / 2)


def _rough(bad, mask, radius, rng):
    noise = ndimage.gaussian_filter(rng.normal(size=mask.shape), 0.15 * radius)
    noise *= 0.06 * radius / max(float(noise.std()), 1e-9)
    depth = ndimage.distance_transform_edt(bad) - ndimage.distance_transform_edt(~bad)
    return depth + noise > 0


# The border first, then what is missing, then what is too much.
KINDS: dict[str, Callable[..., NDArray[np.bool_]]] = {
    "rough": _rough,
    "chunk": _chunk,
    "cut": _cut,
    "blob": _blob,
    "pieces": _pieces,
}


def volume(size: int = 512, count: int = 1000, seed: int = 0) -> NDArray[np.uint16]:
    """Ellipsoids on a grid of a cube, each with a bite out of it.

    It is made object by object, so that making it takes little more memory
    than it has.
    """
    rng = np.random.default_rng(seed)
    side = int(np.ceil(count ** (1 / 3) - 1e-9))
    pitch = size / side
    out = np.zeros((size,) * 3, np.uint16)
    for k in range(count):
        centre = (np.array(np.unravel_index(k, (side,) * 3)) + 0.5) * pitch
        half = rng.uniform(0.28, 0.46, 3) * pitch
        bite = centre + half * np.array([0.8, *rng.uniform(-0.4, 0.4, 2)])
        box = _box(centre, pitch / 2, out.shape)
        grid = np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij", sparse=True)
        inside = sum(((g - c) / h) ** 2 for g, c, h in zip(grid, centre, half, strict=True)) < 1
        near = sum((g - b) ** 2 for g, b in zip(grid, bite, strict=True)) < (0.17 * pitch) ** 2
        out[box][inside & ~near] = k + 1
    return out
