"""Masks of fitted objects: kept in files, and parted from those that were there before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_implicitseg.batch.block_arrays import load_arrays, save_arrays
from napari_implicitseg.batch.blocks import relative
from napari_implicitseg.shapes.certificate import crop_box, digital_hull

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray
    from napari_implicitseg.batch.blocks import Box

__all__ = ["Mask", "cut_off", "load_masks", "paint_masks", "part_convex", "save_masks"]

_TURNS = (0.5, 0.2, 0.08, 0.03)
"""How far the normal of a plane is tilted in search of a better one."""
_LEAST_KEPT = 0.5
"""Share of an object that a plane has to leave: else one object lies within the other."""


@dataclass(frozen=True, slots=True)
class Mask:
    """An object's voxels.

    Attributes
    ----------
    id : int
    box : tuple of slice
        In the volume.
    inside : ndarray of bool, the box's shape
    """

    id: int
    box: Box
    inside: BoolArray

    @classmethod
    def of(cls, identity: int, inside: BoolArray, window: Box) -> Mask:
        """Crop what is inside of a window of the volume."""
        crop = crop_box(inside)
        box = tuple(
            slice(w.start + c.start, w.start + c.stop) for w, c in zip(window, crop, strict=True)
        )
        return cls(identity, box, inside[crop])


def save_masks(path: Path, masks: Sequence[Mask]) -> int:
    """Write masks into a file, a bit per voxel; its bytes."""
    bits = [np.packbits(mask.inside) for mask in masks]
    ndim = masks[0].inside.ndim if masks else 1
    bounds = [([p.start for p in m.box], [p.stop for p in m.box]) for m in masks]
    return save_arrays(
        path,
        ids=np.array([mask.id for mask in masks], np.uint64),
        boxes=np.array(bounds, np.int64).reshape(-1, 2, ndim),
        ends=np.cumsum([len(part) for part in bits], dtype=np.int64),
        bits=np.concatenate([np.empty(0, np.uint8), *bits]),
    )


def load_masks(paths: Iterable[Path], window: Box) -> Iterator[Mask]:
    """Read the masks in some files that reach into a window of the volume."""
    low, high = [p.start for p in window], [p.stop for p in window]
    for path in paths:
        found = load_arrays(path)
        boxes = found["boxes"]
        near = ((boxes[:, 0] < high) & (boxes[:, 1] > low)).all(axis=1)
        for k in np.flatnonzero(near).tolist():
            start, stop = boxes[k].tolist()
            shape = [b - a for a, b in zip(start, stop, strict=True)]
            begin = int(found["ends"][k - 1]) if k else 0
            bits = found["bits"][begin : int(found["ends"][k])]
            inside = np.unpackbits(bits, count=int(np.prod(shape))).astype(bool).reshape(shape)
            box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
            yield Mask(int(found["ids"][k]), box, inside)


def paint_masks(
    values: NDArray[np.unsignedinteger],
    window: Box,
    masks: Iterable[Mask],
    value: Callable[[Mask], int],
) -> None:
    """Write masks into labels of a window, as far as they reach into it."""
    for mask in masks:
        both = tuple(
            slice(max(a.start, b.start), min(a.stop, b.stop))
            for a, b in zip(mask.box, window, strict=True)
        )
        values[relative(both, window)][mask.inside[relative(both, mask.box)]] = value(mask)


def part_convex(
    mask: BoolArray, others: NDArray[np.uint32], fixed: NDArray[np.uint32]
) -> BoolArray:
    """Return a convex part of a mask that leaves others their voxels.

    Parameters
    ----------
    mask : ndarray of bool
    others : ndarray of uint32
        Labels of what holds voxels already, 0 where there is nothing.
    fixed : ndarray of uint32
        Labels of convex objects, each of which a plane parts from the mask; unless one object lies
        within the other. Then, and where other labels hold voxels, the mask has a dent.
    """
    whole = digital_hull(mask)
    rivals = np.unique(others[whole])
    for rival in rivals[np.isin(rivals, fixed)].tolist():
        held = whole & (others == rival)
        if not held.any():
            continue
        part = cut_off(whole, held)
        if 0 < _LEAST_KEPT * np.count_nonzero(whole & ~held) <= np.count_nonzero(part):
            whole = part
    return np.asarray(whole & (others == 0))


def cut_off(mask: BoolArray, held: BoolArray) -> BoolArray:
    """Return what of a mask lies on one side of a plane, off voxels that another one holds.

    The plane is the one found that leaves the most. A convex mask stays convex.

    Parameters
    ----------
    mask, held : ndarray of bool
        Some of the mask's voxels are held.
    """
    coords = np.argwhere(mask).astype(np.float64)
    is_held = held[mask]
    best, most = np.zeros(mask.ndim), -1
    for normal in _normals(coords, is_held):
        kept = _kept(coords, is_held, normal)
        if kept > most:
            best, most = normal, kept
    for turn in _TURNS:
        for step in (*np.eye(mask.ndim), *-np.eye(mask.ndim)):
            normal = _unit(best + turn * step)
            kept = _kept(coords, is_held, normal)
            if kept > most:
                best, most = normal, kept
    out = np.zeros_like(mask)
    along = coords @ best
    out[mask] = along < along[is_held].min() - 1e-9
    return out


def _normals(coords: NDArray[np.float64], is_held: BoolArray) -> Iterator[NDArray[np.float64]]:
    """Yield likely normals of a plane that parts some points from the others."""
    away = coords[is_held].mean(axis=0) - coords.mean(axis=0)
    yield _unit(away)
    for points in (coords[is_held], coords):
        centred = points - points.mean(axis=0)
        spread = centred.T @ centred / len(points) + 1e-3 * np.eye(coords.shape[1])
        yield _unit(np.linalg.solve(spread, away))
        # What two masks share is a lens, thin across the plane between them.
        for axis in np.linalg.eigh(spread)[1].T:
            yield axis if axis @ away >= 0 else -axis


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale a vector to length 1."""
    length = float(np.linalg.norm(vector))
    return vector / length if length > 1e-12 else np.eye(len(vector))[0]


def _kept(coords: NDArray[np.float64], is_held: BoolArray, normal: NDArray[np.float64]) -> int:
    """Count the points before all that are held."""
    along = coords @ normal
    return int(np.count_nonzero(along < along[is_held].min() - 1e-9))
