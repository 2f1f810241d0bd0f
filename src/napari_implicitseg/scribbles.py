"""Scribbles as a sparse set of labelled voxels.

A scribble layer is mostly empty, so the fit works on the painted voxels only,
whether they come from a NumPy array, a dask array or a zarr array.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_implicitseg.errors import InputError, ScribbleError
from napari_implicitseg.features import iter_blocks
from napari_implicitseg.ids import MAX_ID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_implicitseg._types import BoolArray

__all__ = ["Samples", "read_scribbles", "stroke_numbers"]

# Bytes looked at together in search of strokes.
_RUN = 1024
# Strokes are told apart only while the box around them stays this small.
_STROKE_BOX = 1 << 26


@dataclass(frozen=True, slots=True)
class Samples:
    """Labelled voxels of an image.

    Attributes
    ----------
    coords : ndarray of int64, shape (N, D)
        Array index of each painted voxel, ascending along the first axis.
    ids : ndarray of int64, shape (N,)
        What was painted there.
    shape : tuple of int
        Shape of the image the indices refer to.
    background : int
        The id that means background.
    """

    coords: NDArray[np.int64]
    ids: NDArray[np.int64]
    shape: tuple[int, ...]
    background: int

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of the objects, in ascending order."""
        return tuple(int(i) for i in np.unique(self.ids) if i != self.background)

    @property
    def is_background(self) -> BoolArray:
        """Whether each voxel was painted as background, shape (N,)."""
        return np.asarray(self.ids == self.background)

    def inside(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.int64]:
        """Numbers of the voxels that lie in the box from `start` up to `stop`."""
        first, last = np.searchsorted(self.coords[:, 0], [start[0], stop[0]])
        rest = self.coords[first:last, 1:]
        within = ((rest >= np.asarray(start[1:])) & (rest < np.asarray(stop[1:]))).all(axis=1)
        return np.asarray(np.flatnonzero(within) + first)

    def at_slice(self, index: int) -> Samples:
        """Return the voxels with this index along the first axis, one axis less."""
        chosen = self.coords[:, 0] == index
        return Samples(self.coords[chosen, 1:], self.ids[chosen], self.shape[1:], self.background)


def read_scribbles(scribbles: Any, *, background: int, name: str = "scribbles") -> Samples:
    """Collect the painted voxels of a label array.

    Parameters
    ----------
    scribbles : array of integer
        0 is unlabelled, `background` background, other positive values objects.
        NumPy, dask and zarr arrays are read block by block.
    background : int
        Id of background strokes, positive.
    name : str
        What to call the array in messages.

    Returns
    -------
    Samples

    Raises
    ------
    InputError
        If the array is not of integers, or `background` is not positive.
    ScribbleError
        If there are no strokes, only background strokes, or ids out of range.
    """
    if background < 1:
        raise InputError(f"background is {background}; it is the id of a stroke, so 1 or more.")
    dtype = np.dtype(scribbles.dtype)
    if dtype.kind not in "iub":
        raise InputError(
            f"The {name} have dtype {dtype}; labels must be integers. Convert them, "
            "for instance with scribbles.astype('uint32')."
        )
    parts = [_painted(block, origin) for origin, block in iter_blocks(scribbles)]
    shape = tuple(int(n) for n in scribbles.shape)
    coords = np.concatenate([c for c, _ in parts] or [np.empty((0, len(shape)), np.int64)])
    ids = np.concatenate([v for _, v in parts] or [np.empty(0, np.int64)])
    _check_ids(ids, coords, background, name)
    if (np.diff(coords[:, 0]) < 0).any():
        order = np.argsort(coords[:, 0], kind="stable")
        coords, ids = coords[order], ids[order]
    return Samples(coords, ids, shape, background)


def _painted(
    block: NDArray[Any], origin: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return indices (N, D) and values (N,) of the non-zero voxels of a block."""
    flat = _nonzero(block)
    coords = np.stack(np.unravel_index(flat, block.shape), axis=1).astype(np.int64)
    values = block.reshape(-1)[flat]
    if values.dtype.kind == "u" and values.size and values.max() > MAX_ID:
        values = np.minimum(values, np.uint64(MAX_ID + 1))
    return coords + np.asarray(origin, np.int64), values.astype(np.int64)


def _nonzero(block: NDArray[Any]) -> NDArray[np.int64]:
    """Flat indices of the non-zero voxels; passes over empty runs of bytes where it can."""
    flat = block.reshape(-1)
    if not block.flags.c_contiguous or flat.nbytes < _RUN:
        return np.flatnonzero(flat)
    # Strokes cover little of an image: one number per run says whether there is any.
    count = _RUN // flat.itemsize
    whole = flat.size // count * count
    words = flat[:whole].view(np.uint64).reshape(-1, _RUN // 8)
    runs = np.flatnonzero(np.bitwise_or.reduce(words, axis=1))
    near = (runs[:, None] * count + np.arange(count)).reshape(-1)
    return np.concatenate([near[flat[near] != 0], np.flatnonzero(flat[whole:]) + whole])


def _check_ids(
    ids: NDArray[np.int64], coords: NDArray[np.int64], background: int, name: str
) -> None:
    """Raise a ScribbleError unless the ids name at least one object and all fit."""
    if ids.size == 0:
        raise ScribbleError(
            f"The {name} are empty. Paint at least one stroke on an object "
            f"(label {background + 1} or more) and one on the background (label {background})."
        )
    for wrong, need in ((ids < 0, "positive"), (ids > MAX_ID, f"at most {MAX_ID}")):
        if wrong.any():
            first = int(np.flatnonzero(wrong)[0])
            got = f"{int(ids[first])}" if ids[first] < 0 else f"over {MAX_ID}"
            raise ScribbleError(
                f"The {name} have a label {got} at {tuple(coords[first].tolist())}; "
                f"labels must be {need}. Paint that stroke again with a small label."
            )
    if (ids == background).all():
        raise ScribbleError(
            f"The {name} have only background strokes (label {background}). Paint a stroke "
            f"on each object with its own label, {background + 1} or more."
        )


def stroke_numbers(coords: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tell connected strokes among voxels (N, D) apart; all 1 if they lie too far apart."""
    low = coords.min(axis=0)
    size = coords.max(axis=0) - low + 1
    if np.prod(size.astype(float)) > _STROKE_BOX:
        return np.ones(len(coords), np.int64)
    mask = np.zeros(size, bool)
    at = tuple((coords - low).T)
    mask[at] = True
    return np.asarray(ndimage.label(mask, np.ones((3,) * mask.ndim))[0][at], np.int64)
